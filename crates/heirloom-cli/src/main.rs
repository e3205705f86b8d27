//! The `heirloom` command: shows memory that outlives its program, and looks into heaps from outside.
//!
//! | exit status | meaning |
//! | --- | --- |
//! | 0 | all is well: every generation verified, nothing broken found |
//! | 1 | something is broken, lost or not as it was left |
//! | 2 | the command line, an input or a target cannot be used |
//! | 3 | the heap reached its size limit |

mod args;
mod demo;
mod doctor;
mod foreign;
mod lab;
mod output;
mod quantity;
mod server;
mod service;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use self::args::{Cli, Task};

/// Something is broken, lost or not as it was left.
const EXIT_BROKEN: u8 = 1;
/// The command line, an input or a target cannot be used; clap ends with the same.
const EXIT_USAGE: u8 = 2;
/// The heap reached its size limit.
const EXIT_FULL: u8 = 3;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // Helpers come before clap: what they do first is what is measured.
    if let Some(status) = demo::run_as_helper(&arguments) {
        return status;
    }
    if let Some((_, rest)) = arguments.split_first().filter(|(role, _)| *role == service::check::CHECK) {
        return service::check::run(rest);
    }
    if let Some((_, rest)) = arguments.split_first().filter(|(role, _)| *role == server::check::CHECK) {
        return server::check::run(rest);
    }
    let cli = Cli::parse();
    match cli.command {
        None => demo::run(&cli.demo),
        Some(Task::Demo(args)) => demo::run(&args),
        Some(Task::Inspect(args)) => foreign::inspect(&args),
        Some(Task::Verify(args)) => foreign::verify(&args),
        Some(Task::Check(args)) => foreign::check(&args),
        Some(Task::Serve(args)) => server::serve(&args),
        Some(Task::Upgrade(args)) => server::upgrade(&args),
        Some(Task::Map(args)) => foreign::map(&args),
        Some(Task::Service(args)) => service::run(&args),
        Some(Task::Doctor(args)) => doctor::run(&args),
        Some(Task::Clear(args)) => foreign::clear(&args),
        Some(Task::Lab(args)) => lab::run(&args),
    }
}
