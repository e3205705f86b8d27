//! One contestant's process: it is told what to live through, and answers how long each part took.
//!
//! ```text
//! parent --{"collection","n"}--> worker      a line each, over its standard input and output
//!        <------{"ns":[..]}-----
//! ```
//!
//! A process each, because the allocator is a process's own, and so that nobody meets what another left behind.

use std::hash::RandomState;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use ::heirloom::Scrub;
use serde::{Deserialize, Serialize};

use super::contestant;
use super::kinds::{Collection, Family, Heirloom, Std};
use super::life;

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
pub(super) struct Worker {
    pub(super) name: &'static str,
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts the process; says why not, where the contestant is not to be had.
    pub(super) fn start(name: &'static str) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        contestant::prepare(name, &mut command)?;
        let mut child = command
            .args(["collections-worker", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".to_owned());
        };
        let mut worker = Self { name, child, orders, answers: BufReader::new(answers) };
        let ready = worker.line().map_err(|error| error.to_string())?;
        if ready.trim() == "ready" { Ok(worker) } else { Err(ready.trim().to_owned()) }
    }

    /// Runs one sample: nanoseconds of each operation of the collection.
    pub(super) fn sample(&mut self, collection: Collection, n: usize) -> io::Result<Vec<f64>> {
        writeln!(self.orders, "{}", serde_json::to_string(&Order { collection, n })?)?;
        let line = self.line()?;
        let answer: Answer = serde_json::from_str(&line)
            .map_err(|error| io::Error::other(format!("{}: {error}: `{}`", self.name, line.trim())))?;
        Ok(answer.ns)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            let status = self.child.wait()?;
            return Err(io::Error::other(format!("the process of {} ended with {status}", self.name)));
        }
        Ok(line)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Nothing of it is of use after this.
        let _ = self.child.kill();
        let _ = self.child.wait();
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
