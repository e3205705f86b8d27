//! `heirloom-bench collections` runs, and every line that it prints can be read.

use std::process::Command;

use serde_json::Value;

#[test]
fn each_figure_is_a_line_that_can_be_read() {
    let output = Command::new(env!("CARGO_BIN_EXE_heirloom-bench"))
        .args(["collections", "--json", "--rounds", "1", "--n", "300"])
        .args([
            "--collection",
            "map-u64,map-string,tree-u64,tree-string,vec,queue,string,string-long,box,arc",
            "--contestant",
            "heirloom,heirloom-atfreeze,std",
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut rows = Vec::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["bench"], "collections");
        assert_eq!(row["n"], 300);
        assert!(row["ns_per_op"].as_f64().unwrap() > 0.0 && row["spread"].as_f64().unwrap() >= 0.0, "{row}");
        let word = |key: &str| row[key].as_str().unwrap().to_owned();
        rows.push((word("collection"), word("op"), word("contestant")));
    }
    let nr = rows.len();
    rows.sort();
    rows.dedup();
    assert_eq!(rows.len(), nr, "each figure stands there once");
    for contestant in ["heirloom", "heirloom-atfreeze", "std"] {
        for (collection, op) in [
            ("map-u64", "hit"),
            ("map-string", "insert"),
            ("tree-u64", "iterate"),
            ("tree-string", "miss"),
            ("vec", "push"),
            ("queue", "cycle"),
            ("string", "new"),
            ("string-long", "new"),
            ("box", "drop"),
            ("arc", "new"),
        ] {
            let row = (collection.to_owned(), op.to_owned(), contestant.to_owned());
            assert!(rows.contains(&row), "{row:?} is missing");
        }
    }
}

#[test]
fn an_unknown_name_is_refused_with_those_that_there_are() {
    let output = Command::new(env!("CARGO_BIN_EXE_heirloom-bench"))
        .args(["collections", "--contestant", "std2"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("std-mimalloc"));
}
