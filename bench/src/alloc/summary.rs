//! What the figures come to: a table for each workload, and each contestant against the best peer case by case.

use super::sizes::Size;
use super::workload::{self, Workload};
use crate::output::Output;
use crate::statistics::{Figure, geometric_mean};

/// All figures of one case.
pub(super) struct Cell {
    pub(super) workload: Workload,
    pub(super) size: Size,
    pub(super) threads: usize,
    pub(super) figures: Vec<(&'static str, Figure)>,
}

impl Cell {
    fn ns(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|&&(other, _)| other == name).map(|(_, figure)| figure.median)
    }

    /// The fastest peer as it comes (`zeroing` false), or the fastest whose freed memory is zeroed.
    fn best_peer(&self, zeroing: bool) -> Option<(&'static str, f64)> {
        let peers =
            self.figures.iter().filter(|&&(name, _)| is_peer(name) && name.ends_with("-zero") == zeroing);
        peers.map(|&(name, figure)| (name, figure.median)).min_by(|a, b| a.1.total_cmp(&b.1))
    }
}

fn is_peer(name: &str) -> bool {
    name != "null" && !name.starts_with("heirloom")
}

pub(super) fn print(cells: &[Cell], output: &Output) {
    for workload in workload::ALL {
        for threads in 1..=64 {
            let of_it: Vec<&Cell> =
                cells.iter().filter(|cell| cell.workload == workload && cell.threads == threads).collect();
            if !of_it.is_empty() {
                let title = format!(
                    "{workload}, {threads} thread{}: ns an operation (spread)",
                    if threads == 1 { "" } else { "s" }
                );
                output.table(&title, &header(&of_it), &rows(&of_it));
            }
        }
    }
    print_ratios(cells, output);
}

fn header<'a>(cells: &[&'a Cell]) -> Vec<&'a str> {
    let size = |cell: &&Cell| match cell.size {
        Size::Fixed(16) => "16 B",
        Size::Fixed(64) => "64 B",
        Size::Fixed(256) => "256 B",
        Size::Fixed(1024) => "1 KiB",
        Size::Fixed(4096) => "4 KiB",
        Size::Fixed(65536) => "64 KiB",
        Size::Fixed(_) => "other",
        Size::Mix => "mix",
    };
    std::iter::once("allocator").chain(cells.iter().map(size)).collect()
}

fn rows(cells: &[&Cell]) -> Vec<Vec<String>> {
    let names: Vec<&str> = cells[0].figures.iter().map(|&(name, _)| name).collect();
    let cell = |cell: &&Cell, i: usize| {
        let Figure { median, spread } = cell.figures[i].1;
        format!("{median:.1} (±{:.0} %)", 50.0 * spread)
    };
    let row = |(i, name): (usize, &&str)| {
        std::iter::once((*name).to_owned()).chain(cells.iter().map(|one| cell(one, i))).collect()
    };
    names.iter().enumerate().map(row).collect()
}

/// Each contestant against the best peer of each case.
fn print_ratios(cells: &[Cell], output: &Output) {
    let names: Vec<&str> = match cells.first() {
        Some(cell) => cell.figures.iter().map(|&(name, _)| name).filter(|&name| name != "null").collect(),
        None => return,
    };
    let mut rows = Vec::new();
    for name in names {
        for zeroing in [false, true] {
            if zeroing != name.ends_with("-zero") && !(zeroing && name.starts_with("heirloom-onfree")) {
                continue;
            }
            rows.push(ratio_row(cells, name, zeroing));
        }
    }
    let header = ["allocator", "against", "all", "1 thread", "2 threads", "to 1 KiB", "worst case", "where"];
    output.table(
        "Geometric mean of the ratio to the best peer, case by case (less is better)",
        &header,
        &rows,
    );
}

fn ratio_row(cells: &[Cell], name: &str, zeroing: bool) -> Vec<String> {
    let ratio = |cell: &&Cell| Some(cell.ns(name)? / cell.best_peer(zeroing)?.1);
    let mean = |keep: &dyn Fn(&&Cell) -> bool| {
        let ratios = cells.iter().filter(|cell| keep(cell)).filter_map(|cell| ratio(&cell));
        geometric_mean(ratios).map_or("-".to_owned(), |mean| format!("{mean:.2}"))
    };
    let is_small = |cell: &&Cell| !matches!(cell.size, Size::Fixed(bytes) if bytes > 1024);
    let worst =
        cells.iter().filter_map(|cell| Some((ratio(&cell)?, cell))).max_by(|a, b| a.0.total_cmp(&b.0));
    let (worst_ratio, worst_where) = match worst {
        Some((ratio, cell)) => {
            let best = cell.best_peer(zeroing).map_or("", |(name, _)| name);
            (
                format!("{ratio:.2}"),
                format!("{} {} B, {} thr., {best}", cell.workload, cell.size, cell.threads),
            )
        }
        None => ("-".to_owned(), String::new()),
    };
    vec![
        name.to_owned(),
        if zeroing { "zeroing peers" } else { "peers" }.to_owned(),
        mean(&|_| true),
        mean(&|cell| cell.threads == 1),
        mean(&|cell| cell.threads == 2),
        mean(&|cell| is_small(cell)),
        worst_ratio,
        worst_where,
    ]
}
