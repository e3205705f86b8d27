//! One contestant's process: it is told what to live through, and answers how long each part took.
//!
//! ```text
//! parent --{"collection","n"}--> worker      a line each, over its standard input and output
//!        <------{"ns":[..]}-----
//! ```
//!
//! A process each, because the allocator is a process's own, and so that nobody meets what another left behind.

use std::hash::RandomState;
use std::io::{self, BufRead as _};
use std::process::Command;

use ::heirloom::Scrub;
use serde::{Deserialize, Serialize};

use super::contestant;
use super::kinds::{Collection, Family, Heirloom, Std};
use super::life;
use crate::contestant_process::ContestantProcess;

#[derive(Debug, clap::Args)]
pub(crate) struct WorkerArgs {
    /// Its name
    contestant: String,
}

/// What is to be run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Order {
    collection: Collection,
    n: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// Nanoseconds of each operation.
    ns: Vec<f64>,
}

/// The parent's side.
pub(super) struct Worker(ContestantProcess);

impl Worker {
    /// Starts the process; says why not, where the contestant is not to be had.
    pub(super) fn start(name: &'static str) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        contestant::prepare(name, &mut command)?;
        ContestantProcess::start(name, command.args(["collections-worker", name])).map(Self)
    }

    /// The contestant.
    pub(super) fn name(&self) -> &'static str {
        self.0.name()
    }

    /// Runs one sample: nanoseconds of each operation of the collection.
    pub(super) fn sample(&mut self, collection: Collection, n: usize) -> io::Result<Vec<f64>> {
        self.0.ask(&Order { collection, n }).map(|answer: Answer| answer.ns)
    }
}

/// The worker's side.
pub(crate) fn run_worker(args: &WorkerArgs) -> Result<(), String> {
    let heap = match args.contestant.as_str() {
        "heirloom" => contestant::open(Scrub::OnFree, true),
        "heirloom-atfreeze" => contestant::open(Scrub::AtFreeze, true),
        "heirloom-4k" => contestant::open(Scrub::OnFree, false),
        "std-default" => return serve::<Std<RandomState>>(),
        "std" | "std-huge" | "std-mimalloc" => return serve::<Std>(),
        name => Err(format!("no contestant `{name}`")),
    };
    match heap {
        Ok(heap) => {
            let _inside = heap.enter();
            serve::<Heirloom>()
        }
        Err(reason) => {
            println!("{reason}");
            Ok(())
        }
    }
}

fn serve<F: Family>() -> Result<(), String> {
    println!("ready");
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let order: Order = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        let answer = Answer { ns: life::sample::<F>(order.collection, order.n) };
        println!("{}", serde_json::to_string(&answer).map_err(|error| error.to_string())?);
    }
    Ok(())
}
