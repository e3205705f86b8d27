//! Heirloom's collections beside std's, on the same work.
//!
//! ```text
//! std            std's collections over glibc, maps with Heirloom's hash (SipHash-1-3, seed drawn alike): the bar
//! std-huge       the same, glibc told to ask for huge pages, as Heirloom does
//! std-mimalloc   the same over mimalloc (Debian: libmimalloc2.0)
//! std-default    std's as it comes: maps with std's own hasher, over glibc
//! heirloom       as it comes: freed memory zeroed at once, huge pages where the system has them
//! heirloom-atfreeze, heirloom-4k     zeroed at the freeze; zeroed at once on small pages
//! ```
//!
//! Each contestant is a process of its own, and they take turns in each round. One sample is a whole life of a collection: built,
//! searched, walked, emptied, dropped, each part timed by itself. `std-default` differs from `std` in maps alone.

mod contestant;
mod kinds;
mod life;
mod summary;
mod worker;

use serde::Serialize;

pub(crate) use worker::{WorkerArgs, run_worker};

use crate::output::Output;
use crate::statistics::Figure;
use contestant::NAMES;
use kinds::Collection;
use summary::Line;
use worker::Worker;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Collections: map-u64, map-string, tree-u64, tree-string, vec, queue, string, string-long, box, arc [default: all]
    #[arg(long, value_delimiter = ',')]
    collection: Vec<Collection>,
    /// Operations to print, by name, such as insert, push or drop [default: all]
    #[arg(long, value_delimiter = ',')]
    op: Vec<String>,
    /// Numbers of elements [default: 1000,100000,10000000]
    #[arg(long, value_delimiter = ',')]
    n: Vec<usize>,
    /// Contestants by name [default: all]
    #[arg(long, value_delimiter = ',')]
    contestant: Vec<String>,
    /// Rounds: each contestant gives one sample a round (a third as many from a million elements on)
    #[arg(long, default_value_t = 9)]
    rounds: usize,
}

#[derive(Serialize)]
struct Row<'a> {
    bench: &'static str,
    collection: Collection,
    op: &'a str,
    n: usize,
    contestant: &'a str,
    ns_per_op: f64,
    spread: f64,
}

/// From this many elements on, a sample is long and its rounds are few.
const MANY: usize = 1_000_000;

/// Runs what was asked for and prints each contestant's figures, its ratio to the bar, and the worst.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), String> {
    let mut workers = start(&args.contestant)?;
    let collections = if args.collection.is_empty() { kinds::ALL.to_vec() } else { args.collection.clone() };
    let known = |op: &String| kinds::ALL.iter().any(|collection| collection.ops().contains(&op.as_str()));
    if let Some(unknown) = args.op.iter().find(|op| !known(op)) {
        return Err(format!("no collection has an operation `{unknown}`"));
    }
    let sizes = if args.n.is_empty() { vec![1000, 100_000, 10_000_000] } else { args.n.clone() };
    if sizes.contains(&0) {
        return Err("there is nothing to measure on no elements".to_owned());
    }
    let cases: Vec<(Collection, usize)> =
        collections.iter().flat_map(|&collection| sizes.iter().map(move |&n| (collection, n))).collect();
    let bar = output.progress(cases.len() as u64);
    let mut lines: Vec<Line> = Vec::new();
    for (collection, n) in cases {
        bar.set_message(format!("{collection}, {n}"));
        bar.inc(1);
        let needed = collection.most_bytes(n);
        if let Some(free) = available_bytes().filter(|&free| free < needed) {
            eprintln!("{collection} of {n} is left out: it needs {needed} bytes, and {free} are free");
            continue;
        }
        let rounds = if n < MANY { args.rounds } else { args.rounds.div_ceil(3) };
        let samples = measure(&mut workers, rounds.max(1), collection, n)?;
        for (nth, &op) in collection.ops().iter().enumerate() {
            if !args.op.is_empty() && !args.op.iter().any(|chosen| chosen == op) {
                continue;
            }
            let mut figures = Vec::new();
            for (worker, samples) in workers.iter().zip(&samples) {
                let of_op: Vec<f64> = samples.iter().map(|sample| sample[nth]).collect();
                let figure = Figure::of(&of_op).expect("a round at least");
                let Figure { median: ns_per_op, spread } = figure;
                let (bench, contestant) = ("collections", worker.name());
                output.json(&Row { bench, collection, op, n, contestant, ns_per_op, spread });
                figures.push((contestant, figure));
            }
            lines.push(Line { collection, op, n, figures });
        }
    }
    bar.finish_and_clear();
    summary::print(&lines, output);
    Ok(())
}

/// A process for each contestant; those that are not to be had are named.
fn start(chosen: &[String]) -> Result<Vec<Worker>, String> {
    if let Some(unknown) = chosen.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(format!("no contestant `{unknown}`; there are {}", NAMES.join(", ")));
    }
    let mut workers = Vec::new();
    for name in NAMES.into_iter().filter(|name| chosen.is_empty() || chosen.iter().any(|other| other == name))
    {
        match Worker::start(name) {
            Ok(worker) => workers.push(worker),
            Err(reason) => eprintln!("{name} is left out: {reason}"),
        }
    }
    if workers.is_empty() { Err("no contestant is to be had".to_owned()) } else { Ok(workers) }
}

/// For each contestant the samples of its rounds: nanoseconds of an operation, in the order of the collection's operations.
fn measure(
    workers: &mut [Worker],
    rounds: usize,
    collection: Collection,
    n: usize,
) -> Result<Vec<Vec<Vec<f64>>>, String> {
    let nr = workers.len();
    let mut samples = vec![Vec::new(); nr];
    for round in 0..rounds {
        for turn in 0..nr {
            let which = (round + turn) % nr;
            let sample = workers[which].sample(collection, n).map_err(|error| error.to_string())?;
            if sample.len() != collection.ops().len() {
                return Err(format!("{} answered {} figures", workers[which].name(), sample.len()));
            }
            samples[which].push(sample);
        }
    }
    Ok(samples)
}

/// What the system could give without swapping.
fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib << 10)
}
