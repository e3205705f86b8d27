//! Five binaries of one program, built from one source by features, hand one heap to each other: forward, back, and with a successor that is
//! killed at random moments of its migration.
//!
//! `HEIRLOOM_CHAIN_OBJECTS` and `HEIRLOOM_CHAIN_KILLS` make the tests as long as one likes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// Builds a version of the program, once, and returns its path.
fn program(version: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let dir = BUILT.get_or_init(|| {
        let bin = Path::new(env!("CARGO_BIN_EXE_heirloom-chain"));
        let target = bin.ancestors().nth(2).expect("target directory, profile, binary");
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chain");
        std::fs::create_dir_all(&dir).unwrap();
        for version in ["shuffled", "v5", "v4", "v3", "v2", "v1"] {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "--package", "heirloom-chain", "--target-dir"]).arg(target);
            if version != "v1" {
                cargo.args(["--features", version]);
            }
            if !cfg!(debug_assertions) {
                cargo.arg("--release");
            }
            let built = cargo.stdin(Stdio::null()).output().expect("cargo starts");
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
            std::fs::copy(bin, dir.join(version)).unwrap();
        }
        dir
    });
    dir.join(version)
}

/// A file on tmpfs that is gone when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
        Self(Path::new(dir).join(format!("heirloom-chain-{}-{name}", std::process::id())))
    }

    fn empty(&self) -> &Path {
        let _ = std::fs::remove_file(&self.0);
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Runs a chain to its end: the process that is started hands over and ends, so the file tells when the last one is done.
fn run(first: &str, objects: u64, file: &Path, next: &[&str], envs: &[(&str, String)]) -> Output {
    run_with(&[], first, objects, file, next, envs)
}

fn run_with(
    flags: &[&str],
    first: &str,
    objects: u64,
    file: &Path,
    next: &[&str],
    envs: &[(&str, String)],
) -> Output {
    let mut command = Command::new(program(first));
    command.args(flags).args(["--objects", &objects.to_string(), "--file"]).arg(file);
    command.args(next.iter().map(|version| program(version)));
    command.envs(envs.iter().map(|(name, value)| (name, value)));
    // Every generation has the same standard output, so it ends when the last one has ended.
    command.stdin(Stdio::null()).output().expect("the first generation starts")
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Field added, variant added, field removed and renamed, widened and reordered, split by the program's own code; and two versions back.
#[test]
fn five_versions_and_two_back() {
    let objects = setting("HEIRLOOM_CHAIN_OBJECTS", 3000);
    let file = Scratch::new("five");
    let output = run("v1", objects, file.empty(), &["v2", "v3", "v4", "v5", "v4", "v3"], &[]);
    let lines = lines(&output);
    eprintln!("{}", errors(&output));
    let versions: Vec<_> = lines.iter().map(|line| line["version"].as_u64().unwrap_or(0)).collect();
    assert_eq!(versions, [1, 2, 3, 4, 5, 4, 3], "{}", errors(&output));
    for line in &lines {
        eprintln!("{line}");
        assert_eq!(line["checked"], objects + objects / 10, "{line}");
    }
    // What one version has made, and the next replaced, is given back.
    let live = |nth: usize| lines[nth]["live_objects"].as_u64().unwrap_or(0);
    assert_eq!(live(2), live(3), "version 4 has as many objects as version 3");
    assert_eq!(live(3), live(5), "back at version 4 there are as many as there were");
    assert_eq!(live(2), live(6), "back at version 3 there are as many as there were");
}

/// A field lies elsewhere, and nobody has said a word about it.
#[test]
fn a_field_that_moved_is_never_misread() {
    let file = Scratch::new("moved");
    let output = run("v1", 500, file.empty(), &["shuffled", "v1", "shuffled", "v2"], &[]);
    let lines = lines(&output);
    assert_eq!(lines.len(), 5, "{}", errors(&output));
    assert!(lines.iter().all(|line| line["checked"] == 550));
    assert!(errors(&output).contains("sessions: migrates"), "{}", errors(&output));
}

/// Versions may be left out: the rules of the newest name all that its ancestors had.
#[test]
fn a_version_can_be_skipped() {
    let file = Scratch::new("skipped");
    let output = run("v1", 300, file.empty(), &["v5"], &[]);
    assert_eq!(lines(&output).len(), 2, "{}", errors(&output));
    assert!(errors(&output).contains("the program's own conversion"), "{}", errors(&output));
}

/// Version 4 does not come from version 5, and says so, where nobody writes the older type for it.
#[test]
fn a_version_that_nobody_goes_back_to_is_refused() {
    let file = Scratch::new("refused");
    let output = run("v3", 100, file.empty(), &["v2", "v1"], &[]);
    assert_eq!(lines(&output).len(), 3, "v3 and v2 write for their ancestors: {}", errors(&output));
    let file = Scratch::new("refused-5");
    let output = run("v5", 100, file.empty(), &["v3", "v2"], &[]);
    // From 5 to 3 through what 5 writes for 4: the rules of version 4 go on from there.
    assert_eq!(lines(&output).len(), 3, "{}", errors(&output));
    let file = Scratch::new("refused-1");
    let output = run("shuffled", 100, file.empty(), &["v1"], &[]);
    assert_eq!(lines(&output).len(), 2, "{}", errors(&output));
}

/// Version 5 writes its roots as version 4 has them, whatever another hand-over of the same process has come to meanwhile.
#[test]
fn a_hand_over_that_is_called_off_takes_nothing_from_another() {
    let file = Scratch::new("twice");
    let output = run_with(&["--twice"], "v5", 300, file.empty(), &["v4"], &[]);
    let lines = lines(&output);
    let checked: Vec<_> = lines.iter().map(|line| (&line["version"], &line["checked"])).collect();
    assert_eq!(checked, [(&5.into(), &330.into()), (&4.into(), &330.into())], "{}", errors(&output));
}

/// The program answers before anything is migrated, and each root is of the new type when it is used.
#[test]
fn roots_migrate_at_their_first_use() {
    let file = Scratch::new("first-use");
    let output = run_with(&["--at-first-use"], "v1", 2000, file.empty(), &["v2", "v5"], &[]);
    let lines = lines(&output);
    assert_eq!(lines.len(), 3, "{}", errors(&output));
    for line in &lines {
        assert_eq!(line["checked"], 2200, "{line}");
    }
    // Version 2 has changed nothing that roots share; version 5 has, and that is made at the opening.
    assert_eq!(lines[1]["migration_ms"], 0.0, "{}", lines[1]);
    // Nothing of the old objects is left: as many as where it was done at the opening.
    let output = run("v1", 2000, Scratch::new("at-open").empty(), &["v2", "v5"], &[]);
    let at_open = self::lines(&output);
    assert!(at_open[1]["migration_ms"].as_f64() > Some(0.0), "{at_open:?}");
    for (first_use, at_open) in lines.iter().zip(&at_open) {
        assert_eq!(first_use["live_objects"], at_open["live_objects"]);
    }
}

/// Killed at its first use of a root, a program that is started again finds the root as it was, or migrated.
#[test]
fn a_first_use_that_is_killed_is_done_again() {
    let file = Scratch::new("first-use-killed");
    let trial = run("v2", 2000, file.empty(), &[], &[]);
    assert_eq!(lines(&trial).len(), 1, "{}", errors(&trial));
    let trial = run_with(&["--at-first-use"], "v4", 2000, &file.0, &[], &[]);
    let line = lines(&trial).pop().unwrap_or_else(|| panic!("{}", errors(&trial)));
    let micros = |name: &str| (line[name].as_f64().expect("a number") * 1000.0) as u64;
    let (opened, first_use) = (micros("opened_ms"), micros("first_use_ms").max(8));
    let mut killed = 0;
    for nth in 0..8 {
        run("v2", 2000, file.empty(), &[], &[]);
        let after = (opened + first_use * nth / 8).to_string();
        let output =
            run_with(&["--at-first-use"], "v4", 2000, &file.0, &[], &[("CHAIN_KILL_AFTER_US", after)]);
        killed += u64::from(lines(&output).is_empty());
        let again = run_with(&["--at-first-use"], "v4", 2000, &file.0, &[], &[]);
        let line = lines(&again).pop().unwrap_or_else(|| panic!("kill {nth}: {}", errors(&again)));
        assert_eq!(line["checked"], 2200, "kill {nth}");
    }
    assert!(killed > 0, "no kill came before the program was done");
}

/// Version 2 dies while it changes the sessions; version 4 has another type for them. What becomes of them is decided before anything is read that
/// may be half changed.
#[test]
fn a_poisoned_root_of_an_older_type_is_what_the_options_say() {
    let file = Scratch::new("poisoned");
    for flags in [&[][..], &["--at-first-use"]] {
        let dead = || {
            let output = run_with(&["--die"], "v2", 500, file.empty(), &[], &[]);
            assert!(output.status.code().is_none(), "it was killed: {}", errors(&output));
        };
        dead();
        let output = run_with(flags, "v4", 500, &file.0, &[], &[]);
        let refused = "root `sessions` is poisoned (a thread died, or panicked, while it changed it) and of an older type";
        assert!(!output.status.success() && errors(&output).contains(refused), "{}", errors(&output));
        // It was not touched: the program whose type it is takes it as it is.
        let output = run("v2", 500, &file.0, &[], &[]);
        let line = lines(&output).pop().unwrap_or_else(|| panic!("{}", errors(&output)));
        assert_eq!((&line["checked"], &line["remedies"]), (&550.into(), &vec!["sessions None"].into()));
        for (what, remedy, seen) in
            [("replace", "Replaced", 0), ("repair", "Repaired", 500), ("keep", "Kept", 0)]
        {
            dead();
            let flags = [flags, &["--on-poison", what]].concat();
            let output = run_with(&flags, "v4", 500, &file.0, &[], &[]);
            let line = lines(&output).pop().unwrap_or_else(|| panic!("{what}: {}", errors(&output)));
            assert_eq!(line["remedies"], Value::from(vec![format!("sessions {remedy}")]), "{line}");
            assert_eq!((&line["repaired"], &line["checked"]), (&seen.into(), &550.into()), "{line}");
            // Nothing is poisoned any more, and what was left over is no harm.
            let output = run("v4", 500, &file.0, &[], &[]);
            let line = lines(&output).pop().unwrap_or_else(|| panic!("{what}: {}", errors(&output)));
            assert_eq!(line["remedies"], Value::Array(Vec::new()), "{line}");
        }
    }
}

/// The successor is killed at a random moment of its life. Either the old program has all as it was, or the file is the new one's.
#[test]
fn a_killed_migration_leaves_the_old_or_the_new() {
    let kills = setting("HEIRLOOM_CHAIN_KILLS", 24);
    let objects = setting("HEIRLOOM_CHAIN_KILL_OBJECTS", 2000);
    let file = Scratch::new("kill");
    let (mut old, mut frozen, mut new, mut seed) = (0, 0, 0, 0x1234_5678_9abc_def0_u64);
    let mut window = (0, 1);
    for nth in 0..kills {
        if nth % 20 == 0 {
            // When a successor that is not killed migrates, from its start on: machines are busy now and idle then.
            let trial = run("v2", objects, file.empty(), &["v4"], &[]);
            let line = lines(&trial).pop().expect("the successor's line");
            let micros = |name: &str| (line[name].as_f64().expect("a number") * 1000.0) as u64;
            let (opened, migration) = (micros("opened_ms"), micros("migration_ms"));
            window = (opened.saturating_sub(migration * 3 / 2), migration * 3 / 2 + 200);
        }
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let after = window.0 + seed % window.1;
        let envs = [("CHAIN_KILLS", after.to_string())];
        let output = run("v2", objects, file.empty(), &["v4"], &envs);
        let lines = lines(&output);
        let context = format!("kill {nth} after {after} us: {lines:?} {}", errors(&output));
        let last = lines.last().unwrap_or(&Value::Null);
        if last["old"] == "whole" {
            assert_eq!(last["checked"], objects + objects / 10, "{context}");
            assert_eq!(last["nothing_left_over"], true, "{context}");
            old += 1;
            // Behind the freeze: as it took the heap, or migrated.
            frozen += u64::from(last["why"].as_str().is_some_and(|why| why.contains("acknowledged")));
        }
        // The heap that the old one has closed, or that the new one was killed over, is one that the next can take.
        let again = run("v4", objects, &file.0, &[], &[]);
        let line = &self::lines(&again)[..];
        assert_eq!(line.len(), 1, "{context}: {}", errors(&again));
        assert_eq!(line[0]["checked"], objects + objects / 10, "{context}");
        new += u64::from(last["old"] != "whole");
    }
    eprintln!(
        "{kills} kills: {old} times the old one went on ({frozen} times from behind the freeze), {new} times \
         the new one had it"
    );
    assert!(old > 0, "no kill came before the acknowledgement");
}
