//! `heirloom check`: what five versions of one program (`heirloom-chain`) say of each other's heaps, before anything happens to them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::support::{Folder, Run, heirloom};

const OBJECTS: u64 = 500;

/// Builds the versions of the program, once, and returns the path of one.
fn program(version: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let dir = BUILT.get_or_init(|| {
        let profile = Path::new(env!("CARGO_BIN_EXE_heirloom")).parent().expect("the profile's folder");
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chain-for-check");
        fs::create_dir_all(&dir).expect("a directory can be made");
        for version in ["v5", "v4", "v3", "v2", "v1"] {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "--package", "heirloom-chain", "--target-dir"]);
            cargo.arg(profile.parent().expect("the target directory"));
            if version != "v1" {
                cargo.args(["--features", version]);
            }
            if !cfg!(debug_assertions) {
                cargo.arg("--release");
            }
            let built = cargo.stdin(Stdio::null()).output().expect("cargo starts");
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
            fs::copy(profile.join("heirloom-chain"), dir.join(version)).expect("the program is there");
        }
        dir
    });
    dir.join(version)
}

fn chain(version: &str, file: &Path) -> Command {
    let mut command = Command::new(program(version));
    command.args(["--objects", &OBJECTS.to_string(), "--file"]).arg(file);
    command
}

/// A heap of a version, in a file that nobody has open.
fn closed_heap(version: &str, folder: &Folder) -> PathBuf {
    let file = folder.path().join(version);
    let output = chain(version, &file).stdin(Stdio::null()).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    file
}

fn check(version: &str, heap: &str) -> (Run, Run, Value) {
    let binary = program(version);
    let binary = binary.to_str().expect("the path is UTF-8");
    let text = heirloom(["check", binary, "--heap", heap]);
    let json = heirloom(["check", binary, "--heap", heap, "--json"]);
    assert_eq!(text.status, json.status, "{text:?} {json:?}");
    let report = serde_json::from_str(&json.stdout).unwrap_or_else(|_| panic!("{json:?}"));
    (text, json, report)
}

fn root<'a>(report: &'a Value, name: &str) -> &'a Value {
    let found = report["roots"].as_array().and_then(|roots| roots.iter().find(|root| root["name"] == name));
    found.unwrap_or_else(|| panic!("{report}"))
}

#[test]
fn the_same_version_takes_all_as_it_is() {
    let folder = Folder::on_tmpfs("check-taken");
    let file = closed_heap("v1", &folder);
    let before = fs::read(&file).expect("the heap is there");
    let (text, json, report) = check("v1", file.to_str().expect("UTF-8"));
    assert_eq!(json.status, Some(0), "{text:?}");
    assert_eq!(
        (&report["ok"], &report["values"], &report["estimated_ms"]),
        (&true.into(), &0.into(), &0.into())
    );
    assert_eq!(root(&report, "sessions")["what"], "taken");
    assert_eq!(root(&report, "events")["what"], "taken");
    assert!(text.stdout.contains("can take over"), "{text:?}");
    assert_eq!(fs::read(&file).expect("the heap is there"), before, "a look changes nothing");
}

/// The sessions are made anew, each of them and the root; the events have a new variant that fits, and stay.
#[test]
fn the_next_version_migrates_and_says_how_much() {
    let folder = Folder::on_tmpfs("check-migrates");
    let file = closed_heap("v1", &folder);
    let (text, json, report) = check("v2", file.to_str().expect("UTF-8"));
    assert_eq!(json.status, Some(0), "{text:?}");
    let sessions = root(&report, "sessions");
    assert_eq!((&sessions["what"], &sessions["values"]), (&"migrates".into(), &(OBJECTS + 1).into()));
    assert_eq!(sessions["conversions"], Value::Array(Vec::new()));
    assert!(sessions["estimated_ms"].is_u64() && report["values"] == OBJECTS + 1, "{report}");
    assert_eq!(root(&report, "events")["what"], "described anew");
    for word in ["sessions", "migrates", "501", "field by field", "the layout is the same", "can take over"] {
        assert!(text.stdout.contains(word), "{word}: {text:?}");
    }
    let (text, _, report) = check("v5", file.to_str().expect("UTF-8"));
    assert_eq!(root(&report, "sessions")["conversions"], Value::from(vec!["Session"]));
    assert!(text.stdout.contains("the program's own conversions: Session"), "{text:?}");
}

/// Nobody lives who would write for the older program.
#[test]
fn an_older_version_is_refused_with_the_field() {
    let folder = Folder::on_tmpfs("check-refused");
    let file = closed_heap("v2", &folder);
    let (text, json, report) = check("v1", file.to_str().expect("UTF-8"));
    assert_ne!(json.status, Some(0), "{text:?}");
    assert_eq!((&report["ok"], &root(&report, "sessions")["what"]), (&false.into(), &"refused".into()));
    let reason = root(&report, "sessions")["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("seen"), "the field is named: {reason}");
    assert!(text.stdout.contains("refused") && text.stdout.contains("cannot take over"), "{text:?}");
    assert!(text.stdout.contains(reason), "{text:?}");
}

/// A program with a heap, that ends when its input does.
struct Alive(Child);

impl Drop for Alive {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The owner lives, and its own notes say what it writes for its ancestors.
#[test]
fn an_older_version_is_rolled_back_to_by_an_owner_that_lives() {
    let folder = Folder::on_tmpfs("check-back");
    let mut command = chain("v3", &folder.path().join("v3"));
    let child = command.arg("--stay").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut alive = Alive(child.expect("the program starts"));
    let mut line = String::new();
    let stdout = alive.0.stdout.take().expect("it is a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("a line comes");
    assert!(line.contains("\"version\":3"), "{line}");

    let (text, json, report) = check("v2", &format!("pid:{}", alive.0.id()));
    assert_eq!(json.status, Some(0), "{text:?}");
    let sessions = root(&report, "sessions");
    assert_eq!(
        (&sessions["what"], &sessions["values"]),
        (&"rolls back".into(), &(OBJECTS + 1).into()),
        "{report}"
    );
    assert_eq!(root(&report, "events")["what"], "taken");
    for word in ["rolls back", "501", "can take over"] {
        assert!(text.stdout.contains(word), "{word}: {text:?}");
    }
}
