//! Heirloom beside its peers.
//!
//! ```text
//! alloc         alloc and free, eleven allocators, each in a process of its own, a sample of each in turn
//! collections   heirloom's HashMap and Vec beside std's
//! handover      freeze, blackout, first read, everything read, beside serializers, servers and a bare spawn
//! server        `heirloom serve` beside redis-server and memcached: throughput, memory, restart, upgrades under load
//! map           the preserved-memory map: mark, unmark, look up, walk
//! ```
//!
//! A benchmark prints a table for people; with `--json` one object a line. A figure is the median of several rounds and its
//! spread; the contestants take turns within a round, so that what disturbs the machine disturbs all of them.

mod alloc;
mod collections;
mod contestant_process;
mod handover;
mod map;
mod output;
mod plot;
mod server;
mod statistics;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::output::Output;

#[derive(Debug, Parser)]
#[command(
    name = "heirloom-bench",
    about = "Heirloom beside its peers, measured in one run",
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
    /// Print one JSON object a line instead of tables
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// alloc and free: pairs, batches, random replacement, cross-thread frees, growth, zeroed memory
    Alloc(alloc::Args),
    /// Handing objects over: freeze, blackout, first read, everything read, memory at the peak
    Handover(handover::Args),
    /// `heirloom serve` beside redis-server and memcached: throughput, memory, restart, upgrades under load
    Server(server::Args),
    /// The preserved-memory map: mark, look up, walk, unmark, by the frame and by the range
    Map(map::Args),
    /// Draws lines from the JSON of a benchmark, as SVG
    Plot(plot::Args),
    /// One allocator's process; started by `alloc`
    #[command(hide = true)]
    AllocWorker(alloc::WorkerArgs),
    /// HashMap, Vec, String and Box beside std's: insert, look up, iterate, push, drop and the like
    Collections(collections::Args),
    /// One contestant's process; started by `collections`
    #[command(hide = true)]
    CollectionsWorker(collections::WorkerArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json);
    let outcome = match cli.bench {
        Bench::Alloc(args) => alloc::run(&args, &output),
        Bench::Handover(args) => handover::run(&args, &output),
        Bench::Server(args) => server::run(&args, &output),
        Bench::Map(args) => map::run(&args, &output),
        Bench::Plot(args) => plot::run(&args),
        Bench::AllocWorker(args) => alloc::run_worker(&args),
        Bench::Collections(args) => collections::run(&args, &output),
        Bench::CollectionsWorker(args) => collections::run_worker(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heirloom-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
