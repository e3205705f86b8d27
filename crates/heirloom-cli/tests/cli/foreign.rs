//! `heirloom inspect`, `verify` and `clear` on heaps of this very process, of files, and on what is none.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use heirloom::{Heap, Options};

use crate::support::{Folder, Run, heirloom};

heirloom::root! {
    static NUMBERS: heirloom::sync::Mutex<heirloom::Vec<u64>> = "numbers";
}

/// A process has one heap open at a time, and a file that a test reads should not be taken for it. Held by each test.
static ONE_HEAP: Mutex<()> = Mutex::new(());

fn one_heap() -> MutexGuard<'static, ()> {
    ONE_HEAP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a heap in a file and puts numbers into it.
fn open_heap(path: &Path) -> Heap {
    let heap =
        Heap::inherit_or_create("numbers", Options::new().file(path).size_limit(64 << 20)).expect("new heap");
    let inside = heap.enter();
    let mut numbers = NUMBERS.get(&inside).lock();
    numbers.extend(0..10_000);
    drop(numbers);
    drop(inside);
    heap
}

/// A heap file that nobody owns.
fn closed_heap(folder: &Folder) -> PathBuf {
    let path = folder.path().join("numbers.heap");
    drop(open_heap(&path));
    path
}

fn json(run: &Run) -> serde_json::Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

#[test]
fn a_closed_heap_file_is_shown_and_verified() {
    let _one = one_heap();
    let folder = Folder::on_tmpfs("closed");
    let path = closed_heap(&folder);
    let before = fs::read(&path).expect("the heap is there");

    let shown = heirloom(["inspect", text(&path), "--json"]);
    assert_eq!(shown.status, Some(0), "{shown:?}");
    let shown = json(&shown);
    assert_eq!(shown["name"], "numbers");
    assert_eq!(shown["generation"], 1);
    assert_eq!(shown["phase"], "frozen");
    assert_eq!(shown["roots"][0]["name"], "numbers");
    assert!(shown["roots"][0]["type"].as_str().is_some_and(|text| text.contains("u64")), "{shown}");
    assert!(shown["totals"]["live_bytes"].as_u64() >= Some(80_000), "{shown}");

    let table = heirloom(["inspect", text(&path)]);
    assert_eq!(table.status, Some(0), "{table:?}");
    assert!(table.stdout.contains("numbers") && table.stdout.contains("generation 1"), "{table:?}");

    let verified = heirloom(["verify", text(&path), "--json"]);
    assert_eq!(verified.status, Some(0), "{verified:?}");
    let verified = json(&verified);
    assert_eq!((&verified["ok"], &verified["stale_bytes"]), (&true.into(), &0.into()), "{verified}");
    assert_eq!(fs::read(&path).expect("the heap is there"), before, "looking changes nothing");
}

#[test]
fn a_running_heap_is_shown_by_file_and_by_pid_and_not_cleared() {
    let _one = one_heap();
    let folder = Folder::on_tmpfs("running");
    let path = folder.path().join("numbers.heap");
    let heap = open_heap(&path);
    let pid = format!("pid:{}", std::process::id());
    for target in [text(&path), &pid] {
        let shown = heirloom(["inspect", target, "--json"]);
        assert_eq!(shown.status, Some(0), "{shown:?}");
        assert_eq!(json(&shown)["phase"], "running");
        assert_eq!(json(&shown)["owner_pid"], std::process::id());
        let verified = heirloom(["verify", target]);
        assert_eq!(verified.status, Some(0), "{verified:?}");
    }
    let refused = heirloom(["clear", text(&path), "--yes"]);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(path.exists());
    let refused = heirloom(["clear", &pid, "--yes"]);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert_eq!(heap.check(), Ok(()));
}

#[test]
fn clear_asks_first_and_renames() {
    let _one = one_heap();
    let folder = Folder::on_tmpfs("clear");
    let path = closed_heap(&folder);
    let asked = heirloom(["clear", text(&path)]);
    assert_eq!(asked.status, Some(2), "{asked:?}");
    assert!(asked.stderr.contains("--yes") && path.exists(), "{asked:?}");

    let before = fs::read(&path).expect("the heap is there");
    let cleared = heirloom(["clear", text(&path), "--yes", "--json"]);
    assert_eq!(cleared.status, Some(0), "{cleared:?}");
    let aside = json(&cleared)["set_aside"].as_str().map(PathBuf::from).expect("a path");
    assert!(!path.exists());
    assert_eq!(fs::read(aside).expect("set aside, not deleted"), before);
}

#[test]
fn a_broken_heap_file_is_named_and_left_alone() {
    let _one = one_heap();
    let folder = Folder::on_tmpfs("broken");
    let whole = fs::read(closed_heap(&folder)).expect("the heap is there");
    let path = folder.path().join("broken.heap");
    let mut cases = vec![
        ("empty", Vec::new()),
        ("short", whole[..100].to_vec()),
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("zeroed", vec![0; whole.len()]),
        ("no heap", b"just text\n".repeat(1000)),
    ];
    for at in [0, 9, 17, 40, 4096 + 3] {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        cases.push(("flipped", flipped));
    }
    for (name, bytes) in cases {
        fs::write(&path, &bytes).expect("a file can be written");
        for command in ["inspect", "verify"] {
            let run = heirloom([command, text(&path), "--json"]);
            // What `inspect` does not look at, such as the tree of records, may be broken unnoticed.
            let is_fine = run.status == Some(1) || (command == "inspect" && run.status == Some(0));
            assert!(is_fine, "{command} {name}: {run:?}");
            assert!(!run.stderr.contains("panicked"), "{command} {name}: {run:?}");
        }
        assert_eq!(fs::read(&path).expect("the file is there"), bytes, "{name}");
    }
    // The worst heap is the one that most needs to be set aside.
    let cleared = heirloom(["clear", text(&path), "--yes"]);
    assert_eq!((cleared.status, path.exists()), (Some(0), false), "{cleared:?}");
}

#[test]
fn what_is_no_target_is_refused() {
    for (target, reason) in [
        ("/nonexistent/heap", "No such file"),
        ("pid:0", "pid:0"),
        ("pid:seven", "seven"),
        // The first process of the machine has no heap, or may not be looked at.
        ("pid:1", "1"),
    ] {
        for command in ["inspect", "verify"] {
            let run = heirloom([command, target]);
            assert_eq!(run.status, Some(2), "{command} {target}: {run:?}");
            assert!(run.stderr.contains(reason), "{command} {target}: {run:?}");
        }
    }
}

#[test]
fn a_heap_is_drawn_page_by_page_and_not_changed() {
    let _one = one_heap();
    let folder = Folder::on_tmpfs("map");
    let path = closed_heap(&folder);
    let before = fs::read(&path).expect("the heap is there");
    let svg_path = folder.path().join("heap.svg");

    let run = heirloom(["map", text(&path), "-o", text(&svg_path)]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.stdout.contains("2 objects"), "{run:?}");
    let svg = fs::read_to_string(&svg_path).expect("it was drawn");
    assert!(svg.contains("heap `numbers`") && svg.ends_with("</svg>\n"));
    // One of them is a large one: 10,000 numbers with room for more.
    assert!(svg.contains("large object: ") && !svg.contains("large object: 0 KiB"), "{svg}");
    assert!(svg.contains("broken: 0 KiB"));
    assert_eq!(fs::read(&path).expect("the heap is there"), before);

    let printed = heirloom(["map", text(&path), "-o", "-"]);
    assert_eq!((printed.status, printed.stdout), (Some(0), svg));

    let none = heirloom(["map", text(&svg_path), "-o", "-"]);
    assert_eq!(none.status, Some(1), "{none:?}");
    let nowhere = heirloom(["map", text(&path), "-o", "/nowhere/heap.svg"]);
    assert_eq!(nowhere.status, Some(2), "{nowhere:?}");
}

#[test]
fn the_heap_of_a_running_program_is_drawn() {
    let _one = one_heap();
    let folder = Folder::on_tmpfs("map-pid");
    let path = folder.path().join("numbers.heap");
    let heap = open_heap(&path);
    let run = heirloom(["map", &format!("pid:{}", std::process::id()), "-o", "-"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.stdout.contains("running, generation 1"), "{run:?}");
    drop(heap);
}
