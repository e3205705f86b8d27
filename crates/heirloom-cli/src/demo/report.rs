//! The table and the one sentence at the end.

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::message::Report;
use super::plan::Plan;
use super::supervise::Outcome;
use crate::quantity::{Bytes, Count, Micros};

const HEADER: [&str; 14] = [
    "gen", "pid", "objects", "live", "pool", "blocks", "metadata", "stranded", "stale", "freeze", "blackout",
    "restore", "verify", "verified",
];

/// Builds the table: a row a generation, and one for the floor.
pub(crate) fn table(reports: &[Report], floor_us: Option<u64>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(HEADER.map(|name| Cell::new(name).set_alignment(CellAlignment::Center)));
    for report in reports {
        table.add_row(right(row(report)));
    }
    if let Some(floor_us) = floor_us {
        let mut cells = [const { String::new() }; HEADER.len()];
        "floor".clone_into(&mut cells[0]);
        cells[10] = Micros(floor_us).to_string();
        table.add_row(right(cells));
    }
    table
}

fn right(cells: [String; HEADER.len()]) -> [Cell; HEADER.len()] {
    cells.map(|text| Cell::new(text).set_alignment(CellAlignment::Right))
}

fn row(report: &Report) -> [String; HEADER.len()] {
    let inherited = |us| if report.generation == 1 { "-".to_owned() } else { Micros(us).to_string() };
    [
        report.generation.to_string(),
        report.pid.to_string(),
        Count(report.objects).to_string(),
        Bytes(report.live_bytes).to_string(),
        Bytes(report.pool_bytes).to_string(),
        report.blocks.to_string(),
        Bytes(report.metadata_bytes).to_string(),
        Bytes(report.stranded_bytes).to_string(),
        Bytes(report.stale_bytes).to_string(),
        inherited(report.freeze_us),
        inherited(report.blackout_us),
        inherited(report.restore_us),
        Micros(report.verify_us).to_string(),
        if report.verified { "yes" } else { "NO" }.to_owned(),
    ]
}

/// Says what the floor is, for the line below the table.
pub(crate) fn floor_sentence(floor_us: u64, size_bytes: u64) -> String {
    format!(
        "floor {}: a bare spawn of this binary that maps an untouched memfd of {} and reads one byte (median)",
        Micros(floor_us),
        Bytes(size_bytes)
    )
}

/// Sums it all up in one sentence.
pub(crate) fn verdict(plan: &Plan, outcome: &Outcome, floor_us: Option<u64>) -> String {
    if !outcome.is_verified(plan) {
        let verified = outcome.reports.iter().filter(|report| report.verified).count();
        let reason = match outcome.faults.len() {
            0 => String::new(),
            1 => " (the reason stands above)".to_owned(),
            more => format!(" ({more} reasons stand above)"),
        };
        return format!("NOT VERIFIED: {verified} of {} generations verified{reason}.", plan.generations);
    }
    let channel = match plan.channel {
        crate::args::ChannelArg::Spawn => "spawn",
        crate::args::ChannelArg::Exec => "exec",
    };
    let Some(last) = outcome.reports.last() else {
        return "Nothing was to be done.".to_owned();
    };
    let (objects, live) = (Count(last.objects), Bytes(last.live_bytes));
    let mut blackouts: Vec<u64> = outcome.reports.iter().skip(1).map(|report| report.blackout_us).collect();
    blackouts.sort_unstable();
    let Some(&median) = blackouts.get(blackouts.len() / 2) else {
        return format!("Verified: one generation, {objects} objects ({live}), and nobody to inherit them.");
    };
    let stale: u64 = outcome.reports.iter().skip(1).map(|report| report.stale_bytes).sum();
    let stale = if stale == 0 { "no stale byte".to_owned() } else { format!("{} stale", Bytes(stale)) };
    let beside = floor_us.map_or(String::new(), |floor| format!(" beside a floor of {}", Micros(floor)));
    format!(
        "Verified: {} generations inherited {objects} objects ({live}) in place over {channel}, nothing lost, {stale}, \
         median blackout {}{beside}.",
        plan.generations,
        Micros(median)
    )
}
