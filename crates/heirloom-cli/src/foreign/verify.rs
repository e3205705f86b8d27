//! `heirloom verify`: every check, and a scan of every free byte.

use std::process::ExitCode;

use heirloom::foreign::{ForeignError, Image, Verdict};
use serde_json::json;

use crate::EXIT_BROKEN;
use crate::args::TargetArgs;
use crate::output::print_line;
use crate::quantity::{Bytes, Count};

pub(super) fn run(args: &TargetArgs, image: &Image) -> Result<ExitCode, ForeignError> {
    let verdict = image.verify()?;
    if args.json {
        print_json(args, &verdict);
    } else {
        print(args, &verdict);
    }
    Ok(if verdict.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_BROKEN) })
}

fn print_json(args: &TargetArgs, verdict: &Verdict) {
    let totals = &verdict.totals;
    let object = json!({
        "target": args.target.to_string(),
        "ok": verdict.is_clean(),
        "running": verdict.running,
        "broken": verdict.broken,
        "objects": totals.live_objects,
        "live_bytes": totals.live_bytes,
        "blocks": totals.blocks,
        "pool_bytes": totals.pool_bytes,
        "stranded_bytes": totals.stranded_bytes,
        "stale_bytes": totals.stale_bytes,
    });
    print_line(object);
}

fn print(args: &TargetArgs, verdict: &Verdict) {
    let totals = &verdict.totals;
    print_line(format_args!(
        "{}: {} objects, {} live in {} blocks; {} stranded, {} stale",
        args.target,
        Count(totals.live_objects),
        Bytes(totals.live_bytes),
        Count(totals.blocks),
        Bytes(totals.stranded_bytes),
        Bytes(totals.stale_bytes)
    ));
    if verdict.running {
        print_line(format_args!(
            "The heap was in use while it was read: what was just changing may look stale or out of step."
        ));
    }
    for broken in &verdict.broken {
        print_line(format_args!("broken: {broken}"));
    }
    if verdict.is_clean() {
        print_line(format_args!("Nothing is broken."));
    } else if verdict.broken.is_empty() {
        print_line(format_args!("Stale: bytes of freed objects can still be read."));
    } else {
        print_line(format_args!("{} broken.", Count(verdict.broken.len() as u64)));
    }
}
