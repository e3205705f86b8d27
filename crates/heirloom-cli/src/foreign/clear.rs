//! `heirloom clear`: sets a heap aside that no program owns. Nothing is deleted: the file gets another name.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use heirloom::foreign::{ForeignError, Image, Target, set_aside};

use super::refuse;
use crate::EXIT_USAGE;
use crate::args::ClearArgs;
use crate::output::print_line;

pub(super) fn run(args: &ClearArgs) -> ExitCode {
    let Target::File(path) = &args.target.target else {
        eprintln!("heirloom: {}: the heap of a program goes with the program; end it", args.target.target);
        return ExitCode::from(EXIT_USAGE);
    };
    // A heap that is broken can be set aside too: it is the one that most needs to be.
    match Image::open(&args.target.target).and_then(|image| image.summary()) {
        Ok(summary) if !args.target.json => {
            print_line(format_args!(
                "{}: heap `{}`, generation {}, {} objects, {}",
                args.target.target,
                summary.name,
                summary.generation,
                summary.totals.live_objects,
                summary.phase
            ));
        }
        Err(error @ (ForeignError::Open { .. } | ForeignError::NoHeap(_))) => {
            return refuse(&args.target, &error);
        }
        Err(error) if !args.target.json => {
            print_line(format_args!("{}: broken: {error}", args.target.target))
        }
        Ok(_) | Err(_) => {}
    }
    if !args.yes && !is_agreed(args) {
        eprintln!("heirloom: nothing was changed");
        return ExitCode::from(EXIT_USAGE);
    }
    match set_aside(path) {
        Ok(aside) if args.target.json => {
            let (target, aside) = (args.target.target.to_string(), aside.display().to_string());
            print_line(serde_json::json!({ "target": target, "ok": true, "set_aside": aside }));
            ExitCode::SUCCESS
        }
        Ok(aside) => {
            print_line(format_args!("set aside as {}; the next program starts cold", aside.display()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("heirloom: {}: {error}", args.target.target);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn is_agreed(args: &ClearArgs) -> bool {
    if !io::stdin().is_terminal() {
        eprintln!("heirloom: this is no terminal to ask on; say --yes");
        return false;
    }
    eprint!("Set {} aside? [y/N] ", args.target.target);
    let mut answer = String::new();
    let is_read = io::stderr().flush().and_then(|()| io::stdin().lock().read_line(&mut answer)).is_ok();
    is_read && matches!(answer.trim(), "y" | "Y" | "yes")
}
