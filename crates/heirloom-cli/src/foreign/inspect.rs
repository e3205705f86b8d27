//! `heirloom inspect`: what a heap says about itself.

use std::process::ExitCode;

use heirloom::foreign::{ForeignError, Image, Summary};
use serde_json::{Value, json};

use super::table;
use crate::args::TargetArgs;
use crate::output::print_line;
use crate::quantity::{Bytes, Count};

pub(super) fn run(args: &TargetArgs, image: &Image) -> Result<ExitCode, ForeignError> {
    let summary = image.summary()?;
    if args.json {
        print_line(to_json(args, &summary));
    } else {
        print(args, &summary);
    }
    Ok(ExitCode::SUCCESS)
}

fn to_json(args: &TargetArgs, summary: &Summary) -> Value {
    let caches = summary.caches.iter().map(|cache| {
        json!({
            "name": cache.name,
            "slot_size": cache.slot_size,
            "slots": cache.slots,
            "used": cache.used,
            "slabs": cache.slabs,
            "blocks": cache.blocks,
            "waste_bytes": cache.waste_bytes,
        })
    });
    let roots = summary.roots.iter().map(
        |root| json!({ "name": root.name, "type": root.type_text, "size": root.size, "offset": root.offset }),
    );
    let totals = &summary.totals;
    json!({
        "target": args.target.to_string(),
        "ok": true,
        "name": summary.name,
        "generation": summary.generation,
        "phase": summary.phase,
        "owner_pid": summary.owner_pid,
        "owner_lives": summary.owner_lives,
        "base": summary.base,
        "block_bytes": summary.block_bytes,
        "file_bytes": summary.file_bytes,
        "size_limit": summary.size_limit,
        "caches": caches.collect::<Vec<_>>(),
        "large": { "objects": summary.large.0, "bytes": summary.large.1 },
        "roots": roots.collect::<Vec<_>>(),
        "totals": {
            "objects": totals.live_objects,
            "live_bytes": totals.live_bytes,
            "blocks": totals.blocks,
            "pool_bytes": totals.pool_bytes,
            "slabs": totals.slabs,
            "free_slots": totals.free_slots,
            "metadata_bytes": totals.metadata_bytes,
            "stranded_bytes": totals.stranded_bytes,
        },
    })
}

fn print(args: &TargetArgs, summary: &Summary) {
    print_line(format_args!(
        "{}: heap `{}`, generation {}, {}",
        args.target,
        summary.name,
        summary.generation,
        owner(summary)
    ));
    print_line(format_args!(
        "mapped at {:#x}, file {}, limit {}, blocks of {}",
        summary.base,
        Bytes(summary.file_bytes),
        Bytes(summary.size_limit),
        Bytes(summary.block_bytes)
    ));

    let header = ["cache", ">slot", ">slots", ">used", ">full", ">slabs", ">blocks", ">waste"];
    let caches = summary.caches.iter().map(|cache| {
        [
            cache.name.clone(),
            Bytes(cache.slot_size).to_string(),
            Count(cache.slots).to_string(),
            Count(cache.used).to_string(),
            percent(cache.used, cache.slots),
            Count(cache.slabs).to_string(),
            Count(cache.blocks).to_string(),
            Bytes(cache.waste_bytes).to_string(),
        ]
    });
    print_line(table(header, caches));

    let roots = summary.roots.iter().map(|root| {
        [
            root.name.clone(),
            root.type_text.clone(),
            Bytes(root.size).to_string(),
            format!("{:#x}", root.offset),
        ]
    });
    print_line(table(["root", "type", ">size", ">offset"], roots));

    let totals = &summary.totals;
    print_line(format_args!(
        "{} objects, {} live in {} blocks of {} in all; {} large ({}); {} of records in blocks, {} stranded",
        Count(totals.live_objects),
        Bytes(totals.live_bytes),
        Count(totals.blocks),
        Bytes(totals.pool_bytes),
        Count(summary.large.0),
        Bytes(summary.large.1),
        Bytes(totals.metadata_bytes),
        Bytes(totals.stranded_bytes)
    ));
}

fn owner(summary: &Summary) -> String {
    match (summary.phase, summary.owner_lives) {
        ("running", true) => format!("running in pid {}", summary.owner_pid),
        ("running", false) => format!("left running by pid {}, which is gone", summary.owner_pid),
        (phase, _) => phase.to_owned(),
    }
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / whole as f64) }
}
