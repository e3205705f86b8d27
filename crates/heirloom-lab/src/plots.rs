//! Which numbers become which plots.

use crate::design::ALL_DESIGNS;
use crate::run::Row;
use crate::summary::Summary;
use crate::svg::{Panel, Scale, Series, panels};

/// Colour and dashes of each design, in the order of [`ALL_DESIGNS`]. Designs whose lines lie on each other differ in their dashes.
const STYLES: [(&str, &str); 8] = [
    ("#1f4e9c", ""),
    ("#d0342c", ""),
    ("#e0a100", ""),
    ("#8a6d00", "7 4"),
    ("#b26bd1", ""),
    ("#6a3d86", "7 4"),
    ("#2a9d55", ""),
    ("#777777", "2 3"),
];

const KIB: f64 = 1024.0;

/// A plot: the name of its file, and its SVG.
pub type Plot = (&'static str, String);

/// Draws all plots of these rows. `note` says which workload it was.
pub fn all(rows: &[Row], note: &str) -> Vec<Plot> {
    let shares = shares_of(rows);
    // Where everything was lost there is nothing stranded either: that is no merit, and no point.
    let over_generations = |title: &str, of: fn(&Row) -> f64| -> Vec<Panel> {
        shares
            .iter()
            .map(|&share| Panel {
                title: format!("{title}, {share} % of all objects preserved"),
                x_label: "handover".to_owned(),
                y_label: "KiB (logarithmic)".to_owned(),
                y_scale: Scale::Log,
                x_scale: Scale::Linear,
                series: series(|name| {
                    let mine =
                        rows.iter().filter(|row| row.design == name && row.share == share && row.lost == 0);
                    mine.map(|row| (f64::from(row.generation), of(row))).collect()
                }),
            })
            .collect()
    };
    let summaries: Vec<Summary> = ALL_DESIGNS
        .iter()
        .flat_map(|design| shares.iter().map(|&share| (design.name(), share)))
        .filter_map(|(name, share)| {
            let mine: Vec<Row> =
                rows.iter().filter(|row| row.design == name && row.share == share).cloned().collect();
            Summary::of(&mine)
        })
        .collect();
    let against_share = |title: &str, y_label: &str, of: fn(&Summary) -> f64| Panel {
        title: title.to_owned(),
        x_label: "objects preserved, % of all (logarithmic)".to_owned(),
        y_label: y_label.to_owned(),
        y_scale: Scale::Log,
        x_scale: Scale::Log,
        series: series(|name| {
            let mine = summaries.iter().filter(|summary| summary.design == name);
            mine.map(|summary| (f64::from(summary.share), of(summary))).collect()
        }),
    };
    let cost = [
        against_share("Memory", "bytes per preserved byte, records too", Summary::cost),
        against_share("To allocate and mark an object", "ns", |summary| summary.preserve_ns),
        against_share("The freeze", "us", |summary| summary.freeze_us),
        against_share("Boot, and all objects back", "us", |summary| summary.restore_us),
    ];
    vec![
        (
            "stranded.svg",
            panels(
                "Stranded: bytes of preserved pages that hold nothing and cannot be allocated from",
                note,
                &over_generations("Stranded", |row| row.stranded_bytes as f64 / KIB),
            ),
        ),
        (
            "exposed.svg",
            panels(
                "Exposed: old bytes of objects that were never to be handed over, in preserved pages",
                note,
                &over_generations("Exposed", |row| row.foreign_stale_bytes as f64 / KIB),
            ),
        ),
        ("cost.svg", panels("What a design costs, against the share that is preserved", note, &cost)),
    ]
}

fn series(points: impl Fn(&str) -> Vec<(f64, f64)>) -> Vec<Series> {
    ALL_DESIGNS
        .iter()
        .zip(STYLES)
        .map(|(design, (color, dashes))| Series {
            name: design.title().to_owned(),
            color,
            dashes,
            points: points(design.name()),
        })
        .collect()
}

fn shares_of(rows: &[Row]) -> Vec<u32> {
    let mut shares: Vec<u32> = rows.iter().map(|row| row.share).collect();
    shares.sort_unstable();
    shares.dedup();
    shares
}
