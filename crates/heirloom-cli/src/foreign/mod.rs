//! `heirloom inspect`, `verify`, `check`, `map` and `clear`: heaps that are not our own, looked at from outside.
//!
//! Reading is the library's: everything is copied out before it is judged. Here it is only shown, and asked about.

mod check;
mod clear;
mod inspect;
mod map;
mod verify;

use std::process::ExitCode;

use comfy_table::{Cell, CellAlignment, Table, presets};
use heirloom::foreign::{ForeignError, Image};

use crate::args::{CheckArgs, ClearArgs, MapArgs, TargetArgs, VerifyArgs};
use crate::output::print_line;
use crate::{EXIT_BROKEN, EXIT_USAGE};

/// Runs `heirloom inspect`.
pub(crate) fn inspect(args: &TargetArgs) -> ExitCode {
    open(args).and_then(|image| inspect::run(args, &image)).unwrap_or_else(|error| refuse(args, &error))
}

/// Runs `heirloom verify`.
pub(crate) fn verify(args: &VerifyArgs) -> ExitCode {
    let run = open(&args.target).and_then(|image| verify::run(args, &image));
    run.unwrap_or_else(|error| refuse(&args.target, &error))
}

/// Runs `heirloom map`.
pub(crate) fn map(args: &MapArgs) -> ExitCode {
    let target = TargetArgs { target: args.target.clone(), json: false };
    open(&target).and_then(|image| map::run(args, &image)).unwrap_or_else(|error| refuse(&target, &error))
}

/// Runs `heirloom check`.
pub(crate) fn check(args: &CheckArgs) -> ExitCode {
    let about = TargetArgs { target: args.heap.clone(), json: args.json };
    match open(&about).and_then(|image| check::run(args, &image)) {
        Ok(status) => status,
        Err(ForeignError::Candidate(error)) => {
            let text = format!("{}: {error}", args.binary.display());
            match args.json {
                true => print_line(serde_json::json!({ "binary": args.binary, "ok": false, "error": text })),
                false => eprintln!("heirloom: {text}"),
            }
            ExitCode::from(EXIT_BROKEN)
        }
        Err(error) => refuse(&about, &error),
    }
}

/// Runs `heirloom clear`.
pub(crate) fn clear(args: &ClearArgs) -> ExitCode {
    clear::run(args)
}

fn open(args: &TargetArgs) -> Result<Image, ForeignError> {
    Image::open(&args.target)
}

/// Says why a heap cannot be looked at, and whether that is because it is broken.
fn refuse(args: &TargetArgs, error: &ForeignError) -> ExitCode {
    let is_there = !matches!(error, ForeignError::Open { .. } | ForeignError::NoHeap(_));
    // Some errors name the target, the ones about its bytes do not.
    let text = if is_there { format!("{}: {error}", args.target) } else { error.to_string() };
    if args.json {
        let broken: &[&str] = if is_there { &[&text] } else { &[] };
        let target = args.target.to_string();
        print_line(serde_json::json!({ "target": target, "ok": false, "error": text, "broken": broken }));
    } else {
        eprintln!("heirloom: {text}");
    }
    ExitCode::from(if is_there { EXIT_BROKEN } else { EXIT_USAGE })
}

/// Builds a table; columns whose name begins with `>` stand to the right.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let is_right = header.map(|name| name.starts_with('>'));
    let cell = |(text, is_right): (String, bool)| {
        Cell::new(text).set_alignment(if is_right { CellAlignment::Right } else { CellAlignment::Left })
    };
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(header.map(|name| name.trim_start_matches('>')));
    for row in rows {
        table.add_row(row.into_iter().zip(is_right).map(cell).collect::<Vec<_>>());
    }
    table
}
