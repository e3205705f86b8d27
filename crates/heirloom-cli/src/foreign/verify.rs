//! `heirloom verify`: every check, a scan of every free byte, and, with `--leaks`, what no root reaches.

use std::process::ExitCode;

use heirloom::foreign::trace::Leaks;
use heirloom::foreign::{ForeignError, Image, Verdict};
use serde_json::json;

use super::table;
use crate::EXIT_BROKEN;
use crate::args::VerifyArgs;
use crate::output::print_line;
use crate::quantity::{Bytes, Count};

pub(super) fn run(args: &VerifyArgs, image: &Image) -> Result<ExitCode, ForeignError> {
    let verdict = image.verify()?;
    // Where slabs are broken it cannot be said what lies where: the verdict says so already.
    let leaks = match args.leaks.then(|| image.leaks()) {
        None => None,
        Some(Ok(leaks)) => Some(leaks),
        Some(Err(error)) if verdict.broken.is_empty() => return Err(error),
        Some(Err(error)) => Some(Leaks { doubts: vec![error.to_string()], ..Leaks::default() }),
    };
    if args.target.json {
        print_json(args, &verdict, leaks.as_ref());
    } else {
        print(args, &verdict);
        if let Some(leaks) = &leaks {
            print_leaks(leaks);
        }
    }
    let leaked = leaks.is_some_and(|leaks| leaks.is_certain() && leaks.objects > 0);
    Ok(if verdict.is_clean() && !leaked { ExitCode::SUCCESS } else { ExitCode::from(EXIT_BROKEN) })
}

fn print_json(args: &VerifyArgs, verdict: &Verdict, leaks: Option<&Leaks>) {
    let totals = &verdict.totals;
    let mut object = json!({
        "target": args.target.target.to_string(),
        "ok": verdict.is_clean() && leaks.is_none_or(|leaks| !leaks.is_certain() || leaks.objects == 0),
        "running": verdict.running,
        "broken": verdict.broken,
        "objects": totals.live_objects,
        "live_bytes": totals.live_bytes,
        "blocks": totals.blocks,
        "pool_bytes": totals.pool_bytes,
        "stranded_bytes": totals.stranded_bytes,
        "stale_bytes": totals.stale_bytes,
    });
    if let Some(leaks) = leaks {
        let rows = leaks.rows.iter().map(|row| {
            json!({
                "cache": row.cache,
                "slot_size": row.slot_size,
                "likely": row.likely,
                "objects": row.objects,
                "bytes": row.bytes,
            })
        });
        object["leaks"] = json!({
            "certain": leaks.is_certain(),
            "doubts": leaks.doubts,
            "reached": leaks.reached,
            "objects": leaks.objects,
            "bytes": leaks.bytes,
            "rows": rows.collect::<Vec<_>>(),
        });
    }
    print_line(object);
}

fn print_leaks(leaks: &Leaks) {
    if !leaks.rows.is_empty() {
        let header = ["cache", ">slot", "likely", ">objects", ">bytes"];
        let rows = leaks.rows.iter().map(|row| {
            [
                row.cache.clone(),
                Bytes(row.slot_size).to_string(),
                row.likely.clone().unwrap_or_else(|| "?".to_owned()),
                Count(row.objects).to_string(),
                Bytes(row.bytes).to_string(),
            ]
        });
        print_line(table(header, rows));
    }
    let (reached, objects, bytes) = (Count(leaks.reached), Count(leaks.objects), Bytes(leaks.bytes));
    match (leaks.is_certain(), leaks.objects) {
        (true, 0) => print_line(format_args!("No leaks: the roots reach all {reached} objects.")),
        (true, _) => {
            print_line(format_args!("{objects} leaked, {bytes}; the roots reach {reached}."));
            print_line(format_args!(
                "Types are inferred from the bytes. The next start with `reclaim_leaks` gives them back."
            ));
        }
        (false, _) => {
            for doubt in &leaks.doubts {
                print_line(format_args!("doubt: {doubt}"));
            }
            print_line(format_args!(
                "Leaks unknown: {objects} not reached, {bytes}, but they may be in use. The roots reach {reached}."
            ));
        }
    }
}

fn print(args: &VerifyArgs, verdict: &Verdict) {
    let totals = &verdict.totals;
    print_line(format_args!(
        "{}: {} objects, {} live in {} blocks; {} stranded, {} stale",
        args.target.target,
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
