//! Kills at every named moment of every channel: each time exactly one heir, or the old owner, or the next start has everything.
//!
//! ```text
//! faults                   a run of each case's kind, as a test
//! faults --runs 2000       all cases again and again, and a table
//! faults --seed 7          another order
//! ```
//!
//! The parent starts generations of its own program (`life`), one of which kills itself at the point that the case names, or its whole
//! process group, and reads from a log who says that it owns the heap. It looks who of them lives, and where nobody does, it
//! starts the program once more. Whoever owns the heap looks at every object, frees and allocates, and says so.

mod case;
mod life;
mod table;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::var_os(life::ROLE).is_some() {
        life::live();
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    // What the test runner of cargo may pass is not for this program.
    if args.iter().any(|arg| arg == "--list" || arg == "--ignored") {
        return ExitCode::SUCCESS;
    }
    let number = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<usize>().ok()
    };
    let mut cases = case::all();
    let seed = number("--seed").unwrap_or(1) as u64;
    case::shuffle(&mut cases, seed);
    // As a test: every third case of all kinds, which is every point of most channels.
    let nr_runs = number("--runs").unwrap_or(cases.len() / 3);
    println!("{} cases, {nr_runs} runs, seed {seed}", cases.len());
    let mut table = table::Table::default();
    for nr in 0..nr_runs {
        let case = &cases[nr % cases.len()];
        let outcome = watch::run(case, nr);
        if let Err(fault) = &outcome {
            println!("run {nr}, {case}: {fault}");
        }
        table.add(case, &outcome);
        if nr % 100 == 99 {
            eprintln!("{} of {nr_runs} runs, {} failed", nr + 1, table.nr_failed());
        }
    }
    println!("{table}");
    if table.nr_failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
