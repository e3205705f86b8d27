//! `heirloom demo`: a search index over real text that lives through upgrades of its own binary.
//!
//! ```text
//! supervise    starts generation 1, listens to all, reaps           plan, message   what passes between processes
//! generation   one life: inherit, answer, verify, churn, hand over  workload        what it does with its heap
//! index, words, walk_input    the inverted index over files         objects         the other workload
//! verify, churn, journal      on both                               floor           what a bare spawn takes
//! progress, report            what people see
//! kernel_chain, init          the same with a kernel a generation, for virtual machines
//! ```

mod churn;
pub(crate) mod clock;
mod floor;
mod generation;
mod index;
mod init;
mod journal;
mod kernel_chain;
mod kernel_server;
mod message;
pub(crate) mod objects;
pub(crate) mod plan;
mod progress;
pub(crate) mod random;
mod report;
mod supervise;
#[cfg(test)]
pub(crate) mod tests;
mod verify;
mod walk_input;
mod words;
mod workload;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use self::plan::Plan;
use self::progress::Screen;
use self::supervise::Outcome;
use crate::args::DemoArgs;
use crate::output::print_line;
use crate::{EXIT_BROKEN, EXIT_USAGE};

pub(crate) use self::objects::SMALLEST_OBJECT;

/// Runs this process as one of the helpers that the demo starts, if its arguments say so.
pub(crate) fn run_as_helper(arguments: &[OsString]) -> Option<ExitCode> {
    let (role, rest) = arguments.split_first()?;
    match role.to_str()? {
        floor::FLOOR => Some(floor::run_child().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)),
        plan::GENERATION => Some(generation::run(rest)),
        kernel_chain::KERNEL => Some(kernel_chain::run(rest)),
        _ => None,
    }
}

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs) -> ExitCode {
    let inputs = if args.input.is_empty() { vec![PathBuf::from(".")] } else { args.input.clone() };
    if args.objects.is_none()
        && let Err(error) = walk_input::check(&inputs)
    {
        eprintln!("heirloom: {error}");
        return ExitCode::from(EXIT_USAGE);
    }
    match supervise_all(args, &inputs) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("heirloom: the demo cannot be run: {error}");
            ExitCode::from(EXIT_BROKEN)
        }
    }
}

fn supervise_all(args: &DemoArgs, inputs: &[PathBuf]) -> io::Result<ExitCode> {
    let program = std::env::current_exe()?;
    let plan = Plan::of_first(args);
    let mut screen = Screen::new(args.generations, args.json, args.quiet);
    let outcome = supervise::run(&program, &plan, inputs, &mut screen)?;

    screen.say("measuring the floor");
    let size_bytes = outcome.reports.last().map(|report| report.pool_bytes);
    // A floor that cannot be measured takes nothing from the verdict.
    let floor = size_bytes.and_then(|bytes| Some((floor::measure(&program, bytes).ok()?, bytes)));
    screen.finish();
    print(args, &plan, &outcome, floor);
    Ok(match outcome.failed_status {
        Some(status) => ExitCode::from(status),
        None if outcome.is_verified(&plan) => ExitCode::SUCCESS,
        None => ExitCode::from(EXIT_BROKEN),
    })
}

fn print(args: &DemoArgs, plan: &Plan, outcome: &Outcome, floor: Option<(u64, u64)>) {
    let verdict = report::verdict(plan, outcome, floor.map(|(floor_us, _)| floor_us));
    let floor_sentence = floor.map(|(floor_us, size_bytes)| report::floor_sentence(floor_us, size_bytes));
    for fault in &outcome.faults {
        eprintln!("heirloom: {fault}");
    }
    if args.json {
        // The objects went out as they came; what is for people goes where it is in nobody's way.
        if !args.quiet {
            if let Some(sentence) = floor_sentence {
                eprintln!("{sentence}");
            }
            eprintln!("{verdict}");
        }
        return;
    }
    if !args.quiet && !outcome.reports.is_empty() {
        print_line(report::table(&outcome.reports, floor.map(|(floor_us, _)| floor_us)));
        if let Some(sentence) = floor_sentence {
            print_line(sentence);
        }
    }
    print_line(verdict);
}
