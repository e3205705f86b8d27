//! `heirloom lab`: tables, JSON and pictures of a small run.

use std::fs;

use crate::support::{Folder, heirloom, reports};

const SMALL: [&str; 7] = ["lab", "--objects", "400", "--generations", "5", "--share", "20"];

/// The fields that whoever reads the lines may count on, in this order.
const FIELDS: [&str; 15] = [
    "design",
    "share",
    "generation",
    "live_bytes",
    "preserved_bytes",
    "stranded_bytes",
    "stale_bytes",
    "foreign_stale_bytes",
    "metadata_bytes",
    "lost",
    "corrupt",
    "preserve_ns",
    "freeze_us",
    "restore_us",
    "alloc_ns",
];

#[test]
fn each_handover_of_each_design_is_a_line_of_json() {
    let run = heirloom(SMALL.into_iter().chain(["--json"]));
    assert_eq!(run.status, Some(0), "{run:?}");
    let rows = reports(&run);
    assert_eq!(rows.len(), heirloom_lab::ALL_DESIGNS.len() * 5);
    for (line, row) in run.stdout.lines().zip(&rows) {
        let places: Vec<_> = FIELDS.iter().map(|field| line.find(&format!("\"{field}\":"))).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{line}");
        assert_eq!(row.as_object().map(serde_json::Map::len), Some(FIELDS.len()), "{line}");
    }
    let pool: Vec<_> = rows.iter().filter(|row| row["design"] == "flag-and-pool").collect();
    assert!(pool.iter().all(|row| row["foreign_stale_bytes"] == 0 && row["lost"] == 0 && row["share"] == 20));
}

#[test]
fn tables_plots_and_a_map_of_each_design_are_made() {
    let folder = Folder::new("lab");
    let run = heirloom(SMALL.into_iter().chain(["--share", "50", "--seed", "3", "--out", folder.as_str()]));
    assert_eq!(run.status, Some(0), "{run:?}");
    for words in ["seed 3", "20 % preserved", "50 % preserved", "stranded", "exposed"] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    let plots = ["stranded.svg", "exposed.svg", "cost.svg"].map(String::from);
    let maps = heirloom_lab::ALL_DESIGNS.map(|design| format!("map-{}.svg", design.name()));
    for name in plots.into_iter().chain(maps) {
        let svg =
            fs::read_to_string(folder.path().join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{name}");
        assert!(svg.contains("seed 3"), "{name}");
    }
}

#[test]
fn a_table_of_ones_own_is_used_and_what_is_none_is_refused() {
    let folder = Folder::new("slabinfo");
    let path = folder.path().join("slabinfo");
    let text = path.to_str().expect("the path is UTF-8");
    let run_with = |table: &str| {
        fs::write(&path, table).expect("it can be written");
        let pool = ["--design", "flag-and-pool", "--json", "--slabinfo", text];
        heirloom(SMALL.into_iter().chain(pool))
    };
    let run =
        run_with("slabinfo - version: 2.1\nsession 800 800 56 73 1 : tunables 0 0 0 : slabdata 11 11 0\n");
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(reports(&run).iter().all(|row| row["live_bytes"] == 80 * 56), "{run:?}");

    let run = run_with("slabinfo - version: 2.1\nsession 800 800 56 74 1\n");
    assert_eq!(run.status, Some(2), "{run:?}");
    assert!(run.stderr.contains("line 2"), "{run:?}");
    let run = heirloom(["lab", "--slabinfo", "/nowhere/slabinfo"]);
    assert_eq!(run.status, Some(2), "{run:?}");
    assert!(run.stderr.contains("/nowhere/slabinfo"), "{run:?}");
    assert_eq!(heirloom(["lab", "--guard-every", "1"]).status, Some(2));
    assert_eq!(heirloom(["lab", "--share", "0"]).status, Some(2));
    assert_eq!(heirloom(["lab", "--design", "none"]).status, Some(2));
}
