//! The `handover` benchmark runs, and programs can read what it prints.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn run(arguments: &[&str]) -> (String, String) {
    // The other binary lies beside it; cargo has built both for this test.
    assert!(Path::new(env!("CARGO_BIN_EXE_heirloom-generation")).is_file());
    let mut bench = Command::new(env!("CARGO_BIN_EXE_heirloom-bench"));
    bench.arg("handover").args(arguments).env_remove("CARGO");
    let output = bench.output().expect("the benchmark starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{arguments:?}: {stdout}{stderr}");
    (stdout, stderr)
}

/// Few objects, one round: every system gives a figure of each kind, or says why it is not there.
#[test]
fn each_system_gives_a_row_of_json() {
    let (stdout, stderr) = run(&["--json", "--objects", "2000", "--rounds", "1"]);
    let rows: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for system in [
        "floor",
        "floor-exec",
        "heirloom-spawn",
        "heirloom-exec",
        "heirloom-atfreeze",
        "rkyv",
        "rkyv-checked",
        "bincode",
        "memcached",
        "redis",
    ] {
        let Some(row) = rows.iter().find(|row| row["system"] == system) else {
            assert!(stderr.contains(&format!("{system} is left out")), "{system}: {stdout}{stderr}");
            continue;
        };
        assert_eq!((&row["bench"], &row["objects"]), (&Value::from("handover"), &Value::from(2000)));
        let bytes = row["bytes"].as_u64().expect("bytes");
        assert!((16 * 2000..256 * 2000).contains(&bytes), "{row}");
        let is_floor = system.starts_with("floor");
        for key in ["blackout_us", "first_read_us", "freeze_us", "read_all_us", "peak_bytes"] {
            let is_empty = is_floor && !["blackout_us", "first_read_us"].contains(&key);
            let value = row[key].as_f64();
            assert_eq!(value.is_some_and(|value| value > 0.0), !is_empty, "{key} of {row}");
        }
        assert!(row["spread"].is_number(), "{row}");
    }
}

#[test]
fn people_get_tables_and_a_sentence_on_what_grows() {
    let (stdout, _) =
        run(&["--objects", "500,1000", "--rounds", "2", "--system", "floor,heirloom-exec,bincode"]);
    for part in
        ["**1000 objects", "Blackout by number of objects", "heirloom-exec", "From 500 to 1000 objects"]
    {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
}

#[test]
fn an_unknown_system_is_refused_with_those_that_there_are() {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_heirloom-bench"));
    let output = bench.args(["handover", "--system", "valkey"]).output().expect("the benchmark starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && stderr.contains("valkey") && stderr.contains("bincode"), "{stderr}");
}
