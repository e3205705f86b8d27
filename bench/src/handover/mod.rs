//! What a hand-over costs, beside what people would do instead.
//!
//! ```text
//! mod         the rounds: a sample of each system in turn        generation    the program that is handed to: found, or built
//! chain       both channels of Heirloom                          snapshot      rkyv and bincode
//! floor       a bare start and one byte read                     server        memcached -e and Redis, where they are installed
//! contestant  who there is, and what memory each one needs       summary       tables, and what grows
//! ```

mod chain;
mod contestant;
mod floor;
mod generation;
#[path = "../generation/objects.rs"]
mod objects;
#[path = "../generation/sample.rs"]
mod sample;
mod server;
mod snapshot;
mod summary;

use serde::Serialize;

use self::contestant::System;
use self::sample::Sample;
use crate::output::Output;
use crate::statistics::Figure;

/// The numbers of objects, unless others are asked for. 40 million of them are 5 GiB.
const COUNTS: [u64; 6] = [10_000, 100_000, 1_000_000, 10_000_000, 40_000_000, 100_000_000];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Numbers of objects, such as 10000 or 1e7 [default: 1e4,1e5,1e6,1e7,4e7,1e8]
    #[arg(long, value_delimiter = ',', value_parser = parse_count)]
    objects: Vec<u64>,
    /// Systems by name [default: all that the memory suffices for]
    #[arg(long, value_delimiter = ',')]
    system: Vec<String>,
    /// Rounds: each system gives one sample a round
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Ask for huge pages behind Heirloom's heaps
    #[arg(long)]
    huge_pages: bool,
}

fn parse_count(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no number of objects from 1 to 1e9");
    let count: f64 = text.parse().map_err(|_| wrong())?;
    if (1.0..=1e9).contains(&count) && count.fract() == 0.0 { Ok(count as u64) } else { Err(wrong()) }
}

/// The figures of a system with so many objects.
#[derive(Debug, Serialize)]
struct Row {
    bench: &'static str,
    system: &'static str,
    objects: u64,
    bytes: u64,
    freeze_us: Option<f64>,
    blackout_us: f64,
    first_read_us: f64,
    read_all_us: Option<f64>,
    start_us: f64,
    open_us: f64,
    peak_bytes: Option<u64>,
    /// Of the blackout.
    spread: f64,
    rounds: usize,
}

/// Runs what was asked for, prints each system's figures, and what they come to.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), String> {
    let systems = contestant::chosen(&args.system)?;
    let counts = if args.objects.is_empty() { COUNTS.to_vec() } else { args.objects.clone() };
    let program = generation::find()?;
    let bar = output.progress((counts.len() * args.rounds.max(1)) as u64);
    let mut rows = Vec::new();
    for count in counts {
        let fitting = contestant::fitting(&systems, count);
        bar.set_message(format!("{count} objects: made by {} systems", fitting.len()));
        let mut contestants = contestant::start(&fitting, &program, count, args.huge_pages)?;
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); contestants.len()];
        for round in 0..args.rounds.max(1) {
            for turn in 0..contestants.len() {
                let which = (round + turn) % contestants.len();
                let contestant = &mut contestants[which];
                bar.set_message(format!("{count} objects: {}", contestant.system().name()));
                let sample = contestant.sample();
                let name = contestant.system().name();
                samples[which].push(sample.map_err(|error| format!("{name}, {count} objects: {error}"))?);
            }
            bar.inc(1);
        }
        let bytes = (0..count).map(|number| objects::size_bytes(number) as u64).sum();
        for (contestant, samples) in contestants.iter().zip(&samples) {
            let row = row(contestant.system(), count, bytes, samples);
            output.json(&row);
            rows.push(row);
        }
    }
    bar.finish_and_clear();
    summary::print(&rows, output);
    Ok(())
}

fn row(system: System, objects: u64, bytes: u64, samples: &[Sample]) -> Row {
    let figure = |of: fn(&Sample) -> f64| {
        let values: Vec<f64> = samples.iter().map(of).collect();
        Figure::of(&values).expect("a round at least")
    };
    let blackout = figure(|sample| sample.blackout_us);
    let has_data = !system.is_floor();
    Row {
        bench: "handover",
        system: system.name(),
        objects,
        bytes,
        freeze_us: has_data.then(|| figure(|sample| sample.freeze_us).median),
        blackout_us: blackout.median,
        first_read_us: figure(|sample| sample.first_read_us).median,
        read_all_us: has_data.then(|| figure(|sample| sample.read_all_us).median),
        start_us: figure(|sample| sample.start_us).median,
        open_us: figure(|sample| sample.open_us).median,
        peak_bytes: samples.iter().map(|sample| sample.peak_bytes).max().filter(|_| has_data),
        spread: blackout.spread,
        rounds: samples.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_people_write_them() {
        assert_eq!((parse_count("1e7"), parse_count("10000")), (Ok(10_000_000), Ok(10_000)));
        for wrong in ["0", "-1", "1.5", "1e10", "many", ""] {
            assert!(parse_count(wrong).is_err(), "{wrong}");
        }
    }
}
