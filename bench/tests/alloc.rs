//! A short round of `heirloom-bench alloc`: each allocator that is to be had answers in each case, in lines that can be read.

use std::process::Command;

use serde_json::Value;

fn bench(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_heirloom-bench")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn each_allocator_gives_a_figure_in_each_case() {
    let short = ["--json", "alloc", "--rounds", "1", "--sample-us", "100", "--size", "64,mix"];
    let (passed, rows, left_out) = bench(&short);
    assert!(passed, "{left_out}");
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let nr_left_out = left_out.lines().filter(|line| line.contains(" is left out: ")).count();
    // Six workloads on one thread and two, one on two alone; two sizes; eighteen allocators.
    assert_eq!(rows.len(), (6 * 2 + 1) * 2 * (18 - nr_left_out), "{left_out}");
    for row in &rows {
        assert_eq!(row["bench"], "alloc");
        assert!(row["ns_per_op"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["spread"].as_f64().is_some() && row["threads"].as_u64().is_some(), "{row}");
    }
    assert!(rows.iter().any(|row| row["allocator"] == "heirloom-onfree" && row["size"] == "mix"));
}

#[test]
fn an_unknown_allocator_is_refused_with_those_that_there_are() {
    let (passed, _, error) = bench(&["alloc", "--allocator", "dlmalloc"]);
    assert!(!passed);
    assert!(error.contains("no allocator `dlmalloc`") && error.contains("snmalloc"), "{error}");
}
