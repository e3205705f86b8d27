//! A generation of the `handover` benchmark: a small program that is handed objects, reads them, and hands them on.
//!
//! ```text
//! heap       one life over a heap of Heirloom's: inherit, answer, read all, wait for the order, hand over
//! snapshot   the same by a serialized file on tmpfs
//! floor      a process that maps a memfd and reads one byte
//! objects    what is handed over      sample   what it took
//! ```
//!
//! It is a program of its own because its start is part of what is measured: `heirloom-bench` links the allocators of the
//! `alloc` benchmark and takes twice as long to start.

mod floor;
mod heap;
mod objects;
mod sample;
mod snapshot;

use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: until now the system and the language's runtime have started the program.
    let main_ns = sample::now_ns();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["heap", plan @ ..] => heap::live(plan, main_ns),
        ["snapshot-old", system, count, path] => snapshot::be_old(system, count, path),
        ["snapshot-new", system, count, path] => snapshot::be_new(system, count, path, main_ns),
        ["floor", since_ns] => floor::read_a_byte(since_ns),
        ["floor-exec"] => floor::exec(),
        _ => Err("this program is started by `heirloom-bench handover`".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heirloom-generation: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Tells the benchmark, or the other generation.
fn say(line: &str) -> Result<(), String> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).map_err(|error| error.to_string())
}

/// Waits for the next order; empty where there are no more.
fn hear() -> Result<String, String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|error| error.to_string())?;
    Ok(line.trim().to_owned())
}
