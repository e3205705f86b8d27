//! One allocator's process: it is told what to run, and answers how long it took.
//!
//! ```text
//! parent --{"workload","size","threads"}--> worker      a line each, over its standard input and output
//!        <--------{"ns_per_op"}------------
//! ```
//!
//! A process each, because a process has one heap of Heirloom's at a time, and so that nobody meets what another left behind.

use std::collections::HashMap;
use std::io::{self, BufRead as _};
use std::process::Command;

use ::heirloom::Scrub;
use serde::{Deserialize, Serialize};

use super::heirloom::{Called, Inlined};
use super::peers::{
    Glibc, Jemalloc, Mimalloc, Null, Shared, Snmalloc, Talc, Zeroing, open_shared, open_talc,
};
use super::workload::Workload;
use super::{contestant::Contestant, heirloom};
use crate::contestant_process::ContestantProcess;

/// The allocators, Heirloom first. Those of the peers that zero what is freed come with `-zero`.
pub(super) const NAMES: [&str; 18] = [
    "null",
    "heirloom-atfreeze",
    "heirloom-atfreeze-call",
    "heirloom-onfree",
    "heirloom-onfree-call",
    "mimalloc",
    "mimalloc2",
    "snmalloc",
    "jemalloc",
    "tcmalloc",
    "glibc",
    "talc",
    "mimalloc-zero",
    "mimalloc2-zero",
    "snmalloc-zero",
    "jemalloc-zero",
    "tcmalloc-zero",
    "glibc-zero",
];

#[derive(Debug, clap::Args)]
pub(crate) struct WorkerArgs {
    /// Its name
    allocator: String,
}

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Order {
    workload: String,
    size: String,
    threads: usize,
    sample_us: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    ns_per_op: f64,
}

/// The parent's side.
pub(super) struct Worker(ContestantProcess);

impl Worker {
    /// Starts the process; says why not, where the allocator is not to be had.
    pub(super) fn start(name: &'static str) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        ContestantProcess::start(name, Command::new(program).args(["alloc-worker", name])).map(Self)
    }

    /// The allocator.
    pub(super) fn name(&self) -> &'static str {
        self.0.name()
    }

    /// Runs one sample: nanoseconds of an operation.
    pub(super) fn sample(
        &mut self,
        workload: Workload,
        size: &str,
        threads: usize,
        sample_us: u64,
    ) -> io::Result<f64> {
        let order = Order { workload: workload.to_string(), size: size.to_owned(), threads, sample_us };
        self.0.ask(&order).map(|answer: Answer| answer.ns_per_op)
    }
}

/// The worker's side.
pub(crate) fn run_worker(args: &WorkerArgs) -> Result<(), String> {
    match args.allocator.as_str() {
        "null" => serve::<Null>(Ok(())),
        "heirloom-atfreeze" => serve::<Inlined<false>>(heirloom::open(Scrub::AtFreeze)),
        "heirloom-atfreeze-call" => serve::<Called<Inlined<false>>>(heirloom::open(Scrub::AtFreeze)),
        "heirloom-onfree" => serve::<Inlined<true>>(heirloom::open(Scrub::OnFree)),
        "heirloom-onfree-call" => serve::<Called<Inlined<true>>>(heirloom::open(Scrub::OnFree)),
        "mimalloc" => serve::<Mimalloc>(Ok(())),
        "mimalloc-zero" => serve::<Zeroing<Mimalloc>>(Ok(())),
        "mimalloc2" => serve::<Shared>(open_mimalloc2()),
        "mimalloc2-zero" => serve::<Zeroing<Shared>>(open_mimalloc2()),
        "snmalloc" => serve::<Snmalloc>(Ok(())),
        "snmalloc-zero" => serve::<Zeroing<Snmalloc>>(Ok(())),
        "jemalloc" => serve::<Jemalloc>(Ok(())),
        "jemalloc-zero" => serve::<Zeroing<Jemalloc>>(Ok(())),
        "tcmalloc" => serve::<Shared>(open_tcmalloc()),
        "tcmalloc-zero" => serve::<Zeroing<Shared>>(open_tcmalloc()),
        "glibc" => serve::<Glibc>(Ok(())),
        "glibc-zero" => serve::<Zeroing<Glibc>>(Ok(())),
        "talc" => serve::<Talc>(open_talc()),
        name => Err(format!("no allocator `{name}`")),
    }
}

fn open_mimalloc2() -> Result<(), String> {
    open_shared(&["libmimalloc.so.2"], "mi_").map_err(|error| format!("{error} (Debian: libmimalloc2.0)"))
}

fn open_tcmalloc() -> Result<(), String> {
    open_shared(&["libtcmalloc_minimal.so.4"], "tc_")
        .map_err(|error| format!("{error} (Debian: libtcmalloc-minimal4)"))
}

fn serve<C: Contestant>(opened: Result<(), String>) -> Result<(), String> {
    if let Err(reason) = opened {
        println!("{reason}");
        return Ok(());
    }
    println!("ready");
    let mut calibrated: HashMap<Order, usize> = HashMap::new();
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let order: Order = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        let ops = calibrated.get(&order).copied();
        let answer = run::<C>(&order, ops)?;
        calibrated.insert(order, answer.0);
        println!(
            "{}",
            serde_json::to_string(&Answer { ns_per_op: answer.1 }).map_err(|error| error.to_string())?
        );
    }
    Ok(())
}

/// Operations of the first run that finds out how many fill a sample.
const FIRST_OPS: usize = 2000;

/// Runs that find it out, at most.
const MOST_TRIES: usize = 12;

fn run<C: Contestant>(order: &Order, ops: Option<usize>) -> Result<(usize, f64), String> {
    let (workload, size) = (order.workload.parse::<Workload>()?, order.size.parse()?);
    let ops = match ops {
        Some(ops) => ops,
        None => calibrate::<C>(workload, size, order),
    };
    let (_, ns) = workload.run::<C>(size, order.threads, ops);
    Ok((ops, ns))
}

/// Finds out how many operations fill a sample: more and more, until they do. The first ones are not asked: all memory is new to them, and a
/// sample that went by their time would be a short one.
fn calibrate<C: Contestant>(workload: Workload, size: super::Size, order: &Order) -> usize {
    let wanted_ns = (order.sample_us * 1000) as f64;
    let mut ops = FIRST_OPS;
    workload.run::<C>(size, order.threads, ops);
    for _ in 0..MOST_TRIES {
        let (done, ns) = workload.run::<C>(size, order.threads, ops);
        let took_ns = ns * done as f64;
        let fitting = (wanted_ns / ns.max(0.1)).max(FIRST_OPS as f64) as usize;
        if took_ns > 0.7 * wanted_ns {
            return fitting;
        }
        ops = fitting.min(ops * 16);
    }
    ops
}
