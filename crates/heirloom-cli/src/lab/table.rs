//! The tables: one for each share, a line a design.

use heirloom_lab::{Design, Row, Summary, Workload};

use crate::foreign::table;
use crate::output::print_line;

const HEADER: [&str; 13] = [
    "design",
    ">preserved",
    ">records",
    ">stranded",
    ">exposed",
    ">idle",
    ">2 MiB",
    ">lost",
    ">guard",
    ">keep\nns",
    ">freeze\nus",
    ">boot\nus",
    ">alloc\nns",
];

const LEGEND: [&str; 10] = [
    "Memory in KiB, as the successor finds it before it allocates anything; a > b: at the first and at the last handover.",
    "preserved  pages that objects lie on        records  pages that say what is preserved",
    "stranded   bytes of preserved pages that hold nothing, and from which nothing can be allocated",
    "exposed    old bytes in preserved pages of objects that were never to be handed over",
    "idle       free bytes in preserved pages: for any object, or (own) only for what is to be preserved",
    "2 MiB      huge pages' worth of memory in which a preserved page lies, at the end of the run",
    "lost       objects that did not come through, and at how many handovers",
    "guard      objects to be preserved that the guard pool served (they had to be allocated anew) + map roots that it served",
    "keep       to allocate an object and mark it         boot   from power-on until all objects are back",
    "alloc      an ordinary object, allocated and freed   times are medians",
];

/// How many blocks of 2 MiB a design has a preserved page in.
pub(super) struct Pinned {
    pub(super) design: &'static str,
    pub(super) share: u32,
    pub(super) nr_pinned: usize,
}

pub(super) fn print(rows: &[Row], pinned: &[Pinned], designs: &[&dyn Design], workloads: &[Workload]) {
    for workload in workloads {
        let summaries: Vec<(&str, Summary)> = designs
            .iter()
            .filter_map(|design| {
                let is_mine = |row: &&Row| row.design == design.name() && row.share == workload.share;
                let mine: Vec<Row> = rows.iter().filter(is_mine).cloned().collect();
                Some((design.title(), Summary::of(&mine)?))
            })
            .collect();
        let live = summaries.first().map_or(0, |(_, summary)| summary.last.live_bytes);
        print_line(format_args!(
            "{} % preserved: {} objects, {} KiB",
            workload.share,
            workload.nr_preserved(),
            kib(live)
        ));
        let line = |(title, summary): &(&str, Summary)| {
            let is_mine = |pinned: &&Pinned| pinned.design == summary.design && pinned.share == summary.share;
            line(title, summary, pinned.iter().find(is_mine).map_or(0, |pinned| pinned.nr_pinned))
        };
        print_line(table(HEADER, summaries.iter().map(line)));
        print_line("");
    }
    LEGEND.iter().for_each(print_line);
}

fn line(title: &str, summary: &Summary, nr_pinned: usize) -> [String; 13] {
    let (first, last) = (&summary.first, &summary.last);
    let mut lost = match summary.lost {
        0 => "0".to_owned(),
        lost => format!("{lost} at {}", summary.nr_losses),
    };
    if summary.corrupt > 0 {
        lost += &format!(", {} corrupt", summary.corrupt);
    }
    let hits = summary.guard_hits;
    let from_to = |of: fn(&Row) -> u64| match (kib(of(first)), kib(of(last))) {
        (from, to) if from == to => to,
        (from, to) => format!("{from} > {to}"),
    };
    let idle = match last.idle_bytes() {
        0 => "0".to_owned(),
        bytes if ["flag-and-pool", "special-cache"].contains(&summary.design) => {
            format!("{} own", kib(bytes))
        }
        bytes => kib(bytes),
    };
    [
        title.to_owned(),
        from_to(|row| row.preserved_bytes),
        kib(last.metadata_bytes),
        from_to(|row| row.stranded_bytes),
        from_to(|row| row.foreign_stale_bytes),
        idle,
        nr_pinned.to_string(),
        lost,
        format!("{} + {}", hits.data, hits.metadata),
        format!("{:.0}", summary.preserve_ns),
        format!("{:.0}", summary.freeze_us),
        format!("{:.0}", summary.restore_us),
        format!("{:.0}", summary.alloc_ns),
    ]
}

fn kib(bytes: u64) -> String {
    // What is there should not read as nothing.
    if bytes == 0 { "0".to_owned() } else { bytes.div_ceil(1024).to_string() }
}
