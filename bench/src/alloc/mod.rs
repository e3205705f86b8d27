//! alloc and free, beside the allocators that people would pick instead.
//!
//! Heirloom stands in the tables as a Rust user gets it (inlined) and behind function pointers (`-call`), as the peers' C functions
//! are called; with [`Scrub::AtFreeze`](heirloom::Scrub::AtFreeze) beside the peers as they are, and with `OnFree` beside them and
//! beside peers whose caller zeroes what it frees (`-zero`), which is what `OnFree` gives.

mod contestant;
mod heirloom;
mod peers;
mod sizes;
mod summary;
mod worker;
mod workload;

use serde::Serialize;

pub(crate) use worker::{WorkerArgs, run_worker};

use crate::output::Output;
use crate::statistics::Figure;
use sizes::Size;
use summary::Cell;
use worker::{NAMES, Worker};
use workload::Workload;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Workloads: pair, batch, batch-shuffled, replace, cross, grow, zeroed [default: all]
    #[arg(long, value_delimiter = ',')]
    workload: Vec<Workload>,
    /// Sizes in bytes, or `mix` [default: 16,64,256,1024,4096,65536,mix]
    #[arg(long, value_delimiter = ',')]
    size: Vec<Size>,
    /// Threads [default: 1,2]
    #[arg(long, value_delimiter = ',')]
    threads: Vec<usize>,
    /// Allocators by name [default: all]
    #[arg(long, value_delimiter = ',')]
    allocator: Vec<String>,
    /// Rounds: each contestant gives one sample a round
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How long a sample should take, in microseconds
    #[arg(long, default_value_t = 5000)]
    sample_us: u64,
}

#[derive(Serialize)]
struct Row<'a> {
    bench: &'static str,
    workload: Workload,
    size: Size,
    threads: usize,
    allocator: &'a str,
    ns_per_op: f64,
    spread: f64,
}

/// Runs the cells that were asked for, prints each allocator's figure in each, and what they come to.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), String> {
    let mut workers = start(&args.allocator)?;
    let workloads = or_all(&args.workload, &workload::ALL);
    let sizes = or_all(&args.size, &sizes::ALL);
    let threads = or_all(&args.threads, &[1, 2]);
    let mut cells = Vec::new();
    for &workload in &workloads {
        for &threads in threads.iter().filter(|&&threads| workload.takes(threads)) {
            for &size in &sizes {
                cells.push((workload, size, threads));
            }
        }
    }
    let bar = output.progress(cells.len() as u64);
    let mut measured: Vec<Cell> = Vec::new();
    for (workload, size, threads) in cells {
        bar.set_message(format!("{workload} {size} B, {threads} threads"));
        let figures = measure(&mut workers, args, workload, size, threads)?;
        for &(allocator, figure) in &figures {
            let Figure { median: ns_per_op, spread } = figure;
            output.json(&Row { bench: "alloc", workload, size, threads, allocator, ns_per_op, spread });
        }
        measured.push(Cell { workload, size, threads, figures });
        bar.inc(1);
    }
    bar.finish_and_clear();
    summary::print(&measured, output);
    Ok(())
}

fn or_all<T: Clone>(chosen: &[T], all: &[T]) -> Vec<T> {
    if chosen.is_empty() { all.to_vec() } else { chosen.to_vec() }
}

/// A process for each allocator; those that are not to be had are named.
fn start(chosen: &[String]) -> Result<Vec<Worker>, String> {
    if let Some(unknown) = chosen.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(format!("no allocator `{unknown}`; there are {}", NAMES.join(", ")));
    }
    let mut workers = Vec::new();
    for name in NAMES.into_iter().filter(|name| chosen.is_empty() || chosen.iter().any(|other| other == name))
    {
        match Worker::start(name) {
            Ok(worker) => workers.push(worker),
            Err(reason) => eprintln!("{name} is left out: {reason}"),
        }
    }
    Ok(workers)
}

/// Each contestant's figure in one cell. A round takes a sample of each, and each round begins with another.
fn measure(
    workers: &mut [Worker],
    args: &Args,
    workload: Workload,
    size: Size,
    threads: usize,
) -> Result<Vec<(&'static str, Figure)>, String> {
    let mut samples = vec![Vec::new(); workers.len()];
    let nr = workers.len();
    for round in 0..args.rounds.max(1) {
        for turn in 0..nr {
            let which = (round + turn) % nr;
            let ns = workers[which]
                .sample(workload, &size.to_string(), threads, args.sample_us)
                .map_err(|error| error.to_string())?;
            samples[which].push(ns);
        }
    }
    let figure = |samples: &Vec<f64>| Figure::of(samples).expect("a round at least");
    Ok(workers.iter().zip(&samples).map(|(worker, samples)| (worker.name(), figure(samples))).collect())
}
