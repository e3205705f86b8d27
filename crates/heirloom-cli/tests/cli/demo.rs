//! `heirloom demo`.

use std::fs;

use crate::support::{Folder, heirloom, reports};

const KEYS: [&str; 15] = [
    "generation",
    "pid",
    "channel",
    "objects",
    "live_bytes",
    "blocks",
    "pool_bytes",
    "metadata_bytes",
    "stranded_bytes",
    "stale_bytes",
    "freeze_us",
    "blackout_us",
    "restore_us",
    "verify_us",
    "verified",
];

/// A few texts, enough for a tenth of them to be some.
fn texts(name: &str) -> Folder {
    let folder = Folder::new(name);
    for number in 0..30 {
        let text: String = (0..200)
            .map(|line| {
                format!("line {line} of text {number}: the slab holds {} slots\n", (line * 7 + number) % 97)
            })
            .collect();
        folder.write(&format!("sub{}/text{number}.txt", number % 3), text.as_bytes());
    }
    folder.write("image.bin", b"\x89PNG\r\n\0\0\0");
    folder
}

#[test]
fn three_generations_over_spawn_all_verify() {
    let folder = texts("spawn");
    let run = heirloom(["demo", "--generations", "3", "--json", "--input", folder.as_str()]);
    assert_eq!(run.status, Some(0), "{run:?}");
    let reports = reports(&run);
    assert_eq!(reports.len(), 3);
    for (report, generation) in reports.iter().zip(1..) {
        let keys: Vec<&str> = report.as_object().expect("object").keys().map(String::as_str).collect();
        assert!(KEYS.iter().all(|key| keys.contains(key)) && keys.len() == KEYS.len(), "{keys:?}");
        assert_eq!(report["generation"], generation);
        assert_eq!(report["channel"], "spawn");
        assert_eq!(report["verified"], true);
        assert_eq!(report["stale_bytes"], 0);
        assert!(report["objects"].as_u64() > Some(100), "{report}");
        assert_eq!(report["blackout_us"].as_u64() > Some(0), generation > 1, "{report}");
    }
    let mut pids: Vec<u64> = reports.iter().filter_map(|report| report["pid"].as_u64()).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 3, "each generation is a process of its own");
}

#[test]
fn three_generations_over_exec_all_verify_in_one_process() {
    let folder = texts("exec");
    let run =
        heirloom(["demo", "--generations", "3", "--channel", "exec", "--json", "--input", folder.as_str()]);
    assert_eq!(run.status, Some(0), "{run:?}");
    let reports = reports(&run);
    assert_eq!(reports.len(), 3);
    assert!(reports.iter().all(|report| report["verified"] == true && report["pid"] == reports[0]["pid"]));
}

#[test]
fn without_subcommand_the_demo_runs_and_ends_with_one_sentence() {
    let folder = texts("table");
    let run = heirloom(["--generations", "2", "--input", folder.as_str()]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.stdout.contains("blackout") && run.stdout.contains("floor"), "{run:?}");
    let verdict = run.stdout.lines().last().unwrap_or_default();
    assert!(verdict.starts_with("Verified: 2 generations"), "{verdict}");

    let quiet = heirloom(["--generations", "2", "--quiet", "--input", folder.as_str()]);
    assert_eq!((quiet.status, quiet.stdout.lines().count()), (Some(0), 1), "{quiet:?}");
}

#[test]
fn objects_of_random_sizes_are_inherited() {
    for scrub in ["on-free", "at-freeze"] {
        let run = heirloom(["demo", "--objects", "20000", "--generations", "3", "--scrub", scrub, "--json"]);
        assert_eq!(run.status, Some(0), "{run:?}");
        let reports = reports(&run);
        assert_eq!(reports.len(), 3);
        for report in &reports {
            assert_eq!(report["verified"], true);
            assert!(report["objects"].as_u64() >= Some(20_000), "{report}");
        }
        assert!(reports[1..].iter().all(|report| report["stale_bytes"] == 0), "{reports:?}");
    }
}

#[test]
fn one_seed_gives_one_heap() {
    let run = |seed| {
        let run = heirloom(["--objects", "5000", "--generations", "2", "--seed", seed, "--json"]);
        reports(&run).iter().map(|report| report["live_bytes"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(run("7"), run("7"));
    assert_ne!(run("7"), run("8"));
}

#[test]
fn a_file_that_changes_or_goes_between_generations_is_no_fault() {
    let folder = texts("changing");
    // The text of the walk itself changes while the generations live.
    let run = std::thread::scope(|scope| {
        let changing = scope.spawn(|| {
            for round in 0..200 {
                folder.write("sub0/text0.txt", format!("changed {round}\n").as_bytes());
                let _ = fs::remove_file(folder.path().join("sub1/text1.txt"));
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let run = heirloom(["--generations", "6", "--json", "--input", folder.as_str()]);
        changing.join().expect("the writer does not panic");
        run
    });
    assert_eq!(run.status, Some(0), "{run:?}");
}

#[test]
fn a_missing_or_unreadable_input_is_named() {
    let missing = heirloom(["demo", "--input", "/nonexistent/texts"]);
    assert_eq!(missing.status, Some(2), "{missing:?}");
    assert!(missing.stderr.contains("/nonexistent/texts") && missing.stdout.is_empty(), "{missing:?}");

    // Opens for anybody, and cannot be read by anybody.
    let unreadable = heirloom(["demo", "--input", "/proc/self/mem"]);
    assert_eq!(unreadable.status, Some(2), "{unreadable:?}");
    assert!(unreadable.stderr.contains("cannot read input `/proc/self/mem`"), "{unreadable:?}");

    let device = heirloom(["demo", "--input", "/dev/zero"]);
    assert_eq!(device.status, Some(2), "{device:?}");
    assert!(device.stderr.contains("neither a file nor a directory"), "{device:?}");
}

#[test]
fn a_folder_without_text_is_an_error() {
    let folder = Folder::new("empty");
    folder.write("image.bin", b"\0\0\0");
    let run = heirloom(["demo", "--input", folder.as_str()]);
    assert_eq!(run.status, Some(2), "{run:?}");
    assert!(run.stderr.contains("no text file below"), "{run:?}");
}

#[test]
fn bad_arguments_are_refused_with_a_reason() {
    for (arguments, reason) in [
        (&["demo", "--generations", "0"][..], "0"),
        (&["demo", "--channel", "pigeon"], "pigeon"),
        (&["demo", "--objects", "10", "--size", "4..8"], "smallest"),
        (&["demo", "--objects", "10", "--size", "64..16"], "holds no size"),
        (&["demo", "--size-limit", "lots"], "not a size"),
        (&["demo", "--objects", "10", "--input", "."], "cannot be used with"),
        (&["frobnicate"], "frobnicate"),
    ] {
        let run = heirloom(arguments);
        assert_eq!(run.status, Some(2), "{arguments:?}: {run:?}");
        assert!(run.stderr.contains(reason), "{arguments:?}: {run:?}");
    }
}

#[test]
fn a_full_heap_is_an_error_and_loses_nothing() {
    for arguments in [
        &["demo", "--objects", "1000000", "--size-limit", "16M"][..],
        // The table has room, the objects have not.
        &["demo", "--objects", "1000000", "--size-limit", "64M"],
    ] {
        let run = heirloom(arguments);
        assert_eq!(run.status, Some(3), "{run:?}");
        assert!(run.stderr.contains("full at its limit"), "{run:?}");
        assert!(run.stderr.contains("whole and verified"), "{run:?}");
    }
    let folder = Folder::new("full");
    for number in 0..40 {
        let text: String = (0..2000).map(|line| format!("word{number}x{line} again{line}\n")).collect();
        folder.write(&format!("{number}.txt"), text.as_bytes());
    }
    let run = heirloom(["demo", "--size-limit", "8M", "--input", folder.as_str()]);
    assert_eq!(run.status, Some(3), "{run:?}");
    assert!(
        run.stderr.contains("files, at `") && run.stderr.contains("freed and allocated again"),
        "{run:?}"
    );
}

#[test]
fn a_generation_that_is_killed_is_noticed() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    let mut supervisor = Command::new(env!("CARGO_BIN_EXE_heirloom"))
        .args(["--objects", "20000", "--generations", "1000000", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // The second report says which process to kill: it will be churning, handing over or gone by then, and so the
    // newest one is killed until one was caught before its report.
    let mut lines = BufReader::new(supervisor.stdout.take().expect("piped")).lines();
    let mut nr_killed = 0;
    while let Some(Ok(line)) = lines.next() {
        let report: serde_json::Value = serde_json::from_str(&line).expect("a report");
        if report["generation"].as_u64() >= Some(2) {
            let pid = report["pid"].to_string();
            let killed = Command::new("kill").args(["-9", &pid]).stderr(Stdio::null()).status();
            nr_killed += u32::from(killed.expect("kill is there").success());
        }
    }
    let output = supervisor.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(nr_killed > 0, "{stderr}");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("NOT VERIFIED") && stderr.contains("signal 9"), "{stderr}");
}
