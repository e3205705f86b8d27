//! One generation: inherits (or builds), answers, verifies, reports, churns, hands over.
//!
//! ```text
//!  inherit ─▶ first query ─▶ verify ─▶ report ─▶ churn ─▶ hand over, while a thread goes on answering
//!             └ blackout ends                                        └ the next blackout begins with its last answer
//! ```
//!
//! The order matters: the first query comes before anything that takes time, and the thread that answers during the
//! hand-over makes the blackout what a client would see, not the time between two well-chosen moments.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};

use heirloom::{Broken, Channel, Command, Heap, HeapError, Inside, Options, Scrub};

use super::clock::now_ns;
use super::journal::JOURNAL;
use super::message::{Message, Report, tell};
use super::plan::Plan;
use super::random::Random;
use super::workload::{Files, NR_QUERIES, RandomObjects, WorkError, Workload};
use crate::args::{ChannelArg, ScrubArg};
use crate::quantity::Bytes;
use crate::{EXIT_BROKEN, EXIT_FULL, EXIT_USAGE};

/// Name of the heap.
const HEAP: &str = "heirloom-demo";

/// Why a generation cannot go on.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the command line of a generation cannot be read: {0}")]
    Plan(String),
    #[error("cannot {} the heap: {source}", if *.is_first { "create" } else { "inherit" })]
    Heap { is_first: bool, source: HeapError },
    #[error("this process is generation {expected} and the heap says {found}")]
    Generation { expected: u32, found: u32 },
    #[error("the last operation was to be that of generation {expected} and the journal says {found}")]
    Journal { expected: u32, found: u64 },
    #[error(transparent)]
    Input(WorkError),
    #[error("the heap is full at its limit of {limit}, {work}; what is in it is {state}")]
    Full { limit: String, work: WorkError, state: String },
    #[error("the heap cannot be walked: {0}")]
    Walk(#[from] Broken),
    #[error("the hand-over was called off: {0}")]
    HandOver(String),
}

impl Failure {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Plan(_) | Self::Input(_) => EXIT_USAGE,
            Self::Full { .. } => EXIT_FULL,
            Self::Heap { .. }
            | Self::Generation { .. }
            | Self::Journal { .. }
            | Self::Walk(_)
            | Self::HandOver(_) => EXIT_BROKEN,
        }
    }
}

/// Runs the generation that these arguments describe. Ends in its successor, or returns as the last.
pub(crate) fn run(arguments: &[OsString]) -> ExitCode {
    let (generation, lived) = match Plan::parse(arguments) {
        Ok((plan, inputs)) => (plan.generation, live(&plan, inputs)),
        Err(error) => (0, Err(Failure::Plan(error))),
    };
    let Err(failure) = lived else { return ExitCode::SUCCESS };
    let exit_status = failure.exit_status();
    tell(&Message::Failed { generation, text: failure.to_string(), exit_status });
    ExitCode::from(exit_status)
}

fn live(plan: &Plan, inputs: Vec<PathBuf>) -> Result<(), Failure> {
    let is_first = plan.generation == 1;
    let workload: Box<dyn Workload> = match plan.objects {
        Some(plan) => Box::new(RandomObjects { plan }),
        None => Box::new(Files { inputs }),
    };
    let heap =
        Heap::inherit_or_create(HEAP, options(plan)).map_err(|source| Failure::Heap { is_first, source })?;
    if heap.generation() != plan.generation {
        return Err(Failure::Generation { expected: plan.generation, found: heap.generation() });
    }

    let inside = heap.enter();
    let blackout_us = if is_first { 0 } else { answer_first(plan, &inside, &*workload)? };
    let mut random = Random(if is_first { plan.seed } else { journal(&inside).random });
    let explain = |error| explain(error, plan, &heap, &*workload);
    if is_first {
        let built = workload.build(&inside, &mut random);
        drop(inside);
        built.map_err(explain)?;
    } else {
        drop(inside);
    }

    report(plan, &heap, &*workload, blackout_us, &mut random)?;
    let inside = heap.enter();
    let churned = workload.churn(&inside, &mut random);
    journal(&inside).random = random.0;
    drop(inside);
    churned.map_err(explain)?;

    match plan.of_next() {
        Some(next) => hand_over(&heap, &*workload, &next),
        None => Ok(()),
    }
}

fn options(plan: &Plan) -> Options {
    let scrub = match plan.scrub {
        ScrubArg::OnFree => Scrub::OnFree,
        ScrubArg::AtFreeze => Scrub::AtFreeze,
    };
    let options = Options::new().scrub(scrub);
    match plan.size_limit {
        Some(limit) => options.size_limit(limit),
        None => options,
    }
}

fn journal<'a>(inside: &'a Inside<'_>) -> heirloom::sync::MutexGuard<'a, super::journal::Journal> {
    JOURNAL.get(inside).lock()
}

/// Answers one query and returns how long nobody had answered any, in microseconds.
fn answer_first(plan: &Plan, inside: &Inside<'_>, workload: &dyn Workload) -> Result<u64, Failure> {
    std::hint::black_box(workload.query(inside, 0));
    let answered_ns = now_ns();
    let journal = journal(inside);
    if journal.generation + 1 != u64::from(plan.generation) {
        return Err(Failure::Journal { expected: plan.generation - 1, found: journal.generation });
    }
    Ok(answered_ns.saturating_sub(journal.last_operation_ns) / 1000)
}

/// Verifies everything, answers the three queries, and tells the figures.
fn report(
    plan: &Plan,
    heap: &Heap,
    workload: &dyn Workload,
    blackout_us: u64,
    random: &mut Random,
) -> Result<(), Failure> {
    let generation = plan.generation;
    let inside = heap.enter();
    let started_ns = now_ns();
    let mut faults = workload.verify(&inside, random);
    let verify_us = (now_ns() - started_ns) / 1000;
    let answers = (0..NR_QUERIES).map(|which| workload.answer(&inside, which)).collect();
    tell(&Message::Answers { generation, answers });
    drop(inside);

    // Both close the door for their walk, so nobody may be inside.
    if let Err(broken) = heap.check() {
        faults.push(format!("the heap is broken: {broken}"));
    }
    let (stats, scan) = (heap.stats(), heap.scan()?);
    // Generation 1 was not frozen yet: with `--scrub at-freeze` its free slots may still hold what was freed.
    let must_be_clean = generation > 1 || plan.scrub == ScrubArg::OnFree;
    if scan.stale_bytes > 0 && must_be_clean {
        faults.push(format!("{} bytes of freed objects can still be read", scan.stale_bytes));
    }
    let verified = faults.is_empty();
    for text in faults {
        tell(&Message::Fault { generation, text });
    }
    tell(&Message::Report(Report {
        generation,
        pid: std::process::id(),
        channel: plan.channel,
        objects: scan.live_objects,
        live_bytes: scan.live_bytes,
        blocks: scan.blocks,
        pool_bytes: scan.pool_bytes,
        metadata_bytes: scan.metadata_bytes,
        stranded_bytes: scan.stranded_bytes,
        stale_bytes: scan.stale_bytes,
        freeze_us: stats.freeze_us,
        blackout_us,
        restore_us: stats.restore_us,
        verify_us,
        verified,
    }));
    Ok(())
}

/// Says of a full heap what is in it: nothing is lost, and what is freed can be used again.
fn explain(error: WorkError, plan: &Plan, heap: &Heap, workload: &dyn Workload) -> Failure {
    let work @ WorkError::Full { .. } = error else { return Failure::Input(error) };
    let mut random = Random(plan.seed);
    let inside = heap.enter();
    let mut faults = workload.verify(&inside, &mut random);
    // Others may need more than was freed; that is no fault either.
    let is_churned = workload.churn(&inside, &mut random).is_ok();
    faults.extend(workload.verify(&inside, &mut random));
    drop(inside);
    faults.extend(heap.check().err().map(|broken| broken.to_string()));
    let state = match faults.first() {
        None if is_churned => {
            "whole and verified, before and after a tenth was freed and allocated again".to_owned()
        }
        None => "whole and verified".to_owned(),
        Some(fault) => format!("NOT whole ({fault})"),
    };
    let limit = plan.size_limit.map_or("the machine's memory".to_owned(), |limit| Bytes(limit).to_string());
    Failure::Full { limit, work, state }
}

/// Hands over to a fresh process of this binary, answering queries until the door closes.
fn hand_over(heap: &Heap, workload: &dyn Workload, next: &Plan) -> Result<(), Failure> {
    let successor = Command::current_exe().map_err(|error| Failure::HandOver(error.to_string()))?;
    let successor = successor.args(next.arguments(&[]));
    let channel = match next.channel {
        ChannelArg::Spawn => Channel::Spawn,
        ChannelArg::Exec => Channel::Exec,
    };
    let is_called_off = AtomicBool::new(false);
    let (answered, has_answered) = mpsc::channel();
    std::thread::scope(|scope| {
        let is_called_off = &is_called_off;
        scope.spawn(move || answer_until(is_called_off, heap, workload, &answered));
        // Without this a quick hand-over would close the door before the first answer, and nobody could say how long
        // there had been none. The thread sends once it has answered, and ends only when told to.
        has_answered.recv().map_err(|_| Failure::HandOver("the answering thread ended".to_owned()))?;
        let Err(error) = heap.hand_over_with(successor, channel);
        is_called_off.store(true, Ordering::Relaxed);
        Err(Failure::HandOver(error.to_string()))
    })
}

/// Answers queries and notes when, until the process ends or the hand-over is called off. Tells of the first answer.
fn answer_until(is_called_off: &AtomicBool, heap: &Heap, workload: &dyn Workload, answered: &Sender<()>) {
    for number in 0_usize.. {
        if is_called_off.load(Ordering::Relaxed) {
            break;
        }
        let inside = heap.enter();
        std::hint::black_box(workload.query(&inside, number % NR_QUERIES));
        let mut journal = journal(&inside);
        journal.last_operation_ns = now_ns();
        journal.generation = u64::from(heap.generation());
        drop(journal);
        drop(inside);
        if number == 0 {
            // Nobody waits any more only where the hand-over is over.
            let _ = answered.send(());
        }
        std::thread::yield_now();
    }
}
