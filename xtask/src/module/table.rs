//! What was found, as tables for people.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};

use super::Plan;
use super::judge;
use super::transcript::{Kernel, Transcript};

/// Prints what belongs to a plan.
pub(super) fn show(plan: Plan, transcript: &Transcript) {
    match plan {
        Plan::Chain | Plan::Kfence => println!("{}", chain(&transcript.kernels)),
        Plan::KfenceBoot => judge::kfence_boot_words(transcript).iter().for_each(|line| println!("{line}")),
        Plan::Misuse => {
            for kernel in &transcript.kernels {
                kernel.refused.iter().for_each(|what| println!("refused: {what}"));
                let told = ["misuse", "atomic", "short_of", "stressed", "unloaded"];
                let notes = kernel.notes.iter().filter(|note| told.iter().any(|word| note.starts_with(word)));
                notes.for_each(|note| println!("{note}"));
            }
        }
        Plan::Refuse => {
            for kernel in &transcript.kernels {
                if let Some(why) = &kernel.no_pool {
                    println!("kernel {}: refused: {why}", kernel.generation);
                }
            }
        }
        Plan::Table => trials(&transcript.kernels),
        Plan::Dump => {}
    }
}

fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn chain(kernels: &[Kernel]) -> Table {
    let header = [
        "kernel",
        "inherited",
        "blocks",
        "verified",
        "lost",
        "corrupt",
        "torn",
        "stale B",
        "broken",
        "live",
        "blocks now",
        "saved MiB",
        "verify ms",
        "churn ms",
        "KFENCE",
        "warnings",
    ];
    let row = |kernel: &Kernel| {
        let number =
            |name: &str| kernel.number(name).map_or_else(|| "-".to_owned(), |number| number.to_string());
        let sum = |at: usize| kernel.verified.iter().map(|verified| verified[at]).sum::<u64>().to_string();
        let took = |what: &str| kernel.took.get(what).map_or_else(|| "-".to_owned(), u64::to_string);
        let (objects, blocks) = kernel.inherited.unwrap_or((0, 0));
        let saved = kernel.number("stats bytes_saved").unwrap_or(0) as f64 / f64::from(1 << 20);
        [
            kernel.generation.to_string(),
            objects.to_string(),
            blocks.to_string(),
            sum(0),
            sum(1),
            sum(2),
            kernel.torn.to_string(),
            number("check stale_bytes"),
            number("check broken"),
            number("check live_objects"),
            number("check blocks"),
            format!("{saved:.0}"),
            took("verify"),
            took("churn"),
            kernel.kfence.get("total allocations").map_or_else(|| "off".to_owned(), u64::to_string),
            kernel.warnings.len().to_string(),
        ]
    };
    table(header, kernels.iter().map(row))
}

/// The trials `records` and `time`: ours beside Linux's own.
fn trials(kernels: &[Kernel]) {
    let all: Vec<&BTreeMap<String, String>> = kernels.iter().flat_map(|kernel| &kernel.trials).collect();
    let text = |trial: &BTreeMap<String, String>, name: &str| trial.get(name).cloned().unwrap_or_default();
    let number =
        |trial: &BTreeMap<String, String>, name: &str| text(trial, name).parse::<f64>().unwrap_or(f64::NAN);
    let of = |kind: &str, who: &str| -> Vec<&BTreeMap<String, String>> {
        let is_it =
            |trial: &&&BTreeMap<String, String>| text(trial, "trial") == kind && text(trial, "who") == who;
        all.iter().filter(is_it).copied().collect()
    };
    let control = kernels.iter().find_map(|kernel| kernel.number("stats control_bytes")).unwrap_or(0) as f64;
    let each = |trial: &BTreeMap<String, String>, name: &str| number(trial, name) / number(trial, "nr");
    println!(
        "bytes preserved for each record, and ns for each alloc and free (emulated, debug kernel: compare, do not quote)"
    );
    let header = [
        "record B",
        "records",
        "page each B",
        "heirloom B",
        "ratio",
        "with control area B",
        "page ns",
        "heirloom ns",
    ];
    let rows = of("records", "page").into_iter().zip(of("records", "heirloom")).map(|(page, ours)| {
        let with_control = (number(ours, "preserved") + control) / number(ours, "nr");
        let ns = |trial| format!("{:.0} + {:.0}", each(trial, "alloc_ns"), each(trial, "free_ns"));
        [
            text(ours, "size"),
            text(ours, "nr"),
            format!("{:.0}", each(page, "preserved")),
            format!("{:.1}", each(ours, "preserved")),
            format!("{:.1}", number(page, "preserved") / number(ours, "preserved")),
            format!("{with_control:.1}"),
            ns(page),
            ns(ours),
        ]
    });
    println!("{}", table(header, rows));
    println!("the control area has {control:.0} bytes, however many records there are");
    let header = [
        "B",
        "kmalloc pair ns",
        "heirloom pair ns",
        "ratio",
        "kmalloc alloc + free of 10,000",
        "heirloom",
        "ratio",
    ];
    // Of the rounds the fastest, each figure by itself: what disturbs a round is not ours to measure.
    let best = |who: &str| -> Vec<BTreeMap<String, String>> {
        let mut sizes: Vec<BTreeMap<String, String>> = Vec::new();
        for trial in of("time", who) {
            match sizes.iter_mut().find(|best| best.get("size") == trial.get("size")) {
                None => sizes.push(trial.clone()),
                Some(best) => {
                    for name in ["pair_ns", "alloc_ns", "free_ns"] {
                        if number(trial, name) < number(best, name) {
                            best.insert(name.to_owned(), text(trial, name));
                        }
                    }
                }
            }
        }
        sizes
    };
    let (theirs, ours) = (best("kmalloc"), best("heirloom"));
    let rows = theirs.iter().zip(&ours).map(|(theirs, ours)| {
        let bulk = |trial| number(trial, "alloc_ns") + number(trial, "free_ns");
        [
            text(ours, "size"),
            text(theirs, "pair_ns"),
            text(ours, "pair_ns"),
            format!("{:.2}", number(ours, "pair_ns") / number(theirs, "pair_ns")),
            format!("{} + {}", text(theirs, "alloc_ns"), text(theirs, "free_ns")),
            format!("{} + {}", text(ours, "alloc_ns"), text(ours, "free_ns")),
            format!("{:.2}", bulk(ours) / bulk(theirs)),
        ]
    });
    println!("{}", table(header, rows));
}
