//! Heap files in folders that others use: renamed while they are opened, and made by somebody else.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use heirloom::{BackingError, Heap, HeapError, Options};

mod common;

use common::{Scratch, turn};

/// What the other process does, with which file.
const ROLE: &str = "HEIRLOOM_TEST_PLACES";

heirloom::root! { static NUMBER: AtomicU64 = "number"; }

fn options(path: &Path) -> Options {
    Options::new().file(path).size_limit(32 << 20).block_size(64 << 10).huge_pages(false)
}

/// A heap that is closed in order, with a number in it.
fn make(path: &Path, number: u64) {
    let heap = Heap::inherit_or_create("places", options(path)).unwrap();
    NUMBER.get(&heap.enter()).store(number, Relaxed);
}

#[test]
fn other() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (what, path) = role.split_once(' ').unwrap();
    let path = Path::new(path);
    match what {
        "aside" => {
            let aside = heirloom::foreign::set_aside(path).unwrap();
            fs::remove_file(aside).unwrap();
        }
        _ => {
            let heap = Heap::inherit_or_create("places", options(path)).unwrap();
            println!("<{} {}>", heap.generation(), NUMBER.get(&heap.enter()).load(Relaxed));
        }
    }
}

/// Starts the other process, which waits at a point until the file goes.
fn start(what: &str, path: &Path, point: &str, pause: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["other", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, format!("{what}{}", path.display()));
    command.env("HEIRLOOM_POINT", format!("pause {point} {}", pause.display()));
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !pause.exists() {
        assert!(Instant::now() < deadline, "it does not come by {point}");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

fn refusal(path: &Path) -> BackingError {
    match Heap::inherit_or_create("places", options(path).cold_start(true)) {
        Err(HeapError::Backing(error)) => error,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    }
}

/// The lock was let go before the rename: who opened the heap in between, or made a new one, had it renamed under its feet.
#[test]
fn a_heap_that_is_set_aside_is_locked_until_it_has_its_new_name() {
    if std::env::var_os(ROLE).is_some() {
        return;
    }
    let _turn = turn();
    let (scratch, pause) = (Scratch::new("aside"), Scratch::new("aside-pause"));
    make(&scratch.0, 7);
    let mut other = start("aside ", &scratch.0, "AsideLocked", &pause.0);
    let refused = refusal(&scratch.0);
    assert!(matches!(refused, BackingError::Busy { .. }), "{refused}");
    fs::remove_file(&pause.0).unwrap();
    assert!(other.wait().unwrap().success());
    make(&scratch.0, 8);
}

/// Between its opening and its lock the file lost its name to another one: that is the heap which counts.
#[test]
fn a_heap_that_was_renamed_while_it_was_opened_is_not_taken() {
    if std::env::var_os(ROLE).is_some() {
        return;
    }
    let _turn = turn();
    let (scratch, pause) = (Scratch::new("renamed"), Scratch::new("renamed-pause"));
    make(&scratch.0, 7);
    let other = start("open ", &scratch.0, "FinderOpened", &pause.0);
    let aside = heirloom::foreign::set_aside(&scratch.0).unwrap();
    make(&scratch.0, 8);
    fs::remove_file(&pause.0).unwrap();
    let output = other.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("<2 8>"), "{said}");
    fs::remove_file(aside).unwrap();
}

/// Everybody may make a file in such a folder, before this program does.
#[test]
fn a_file_that_others_could_have_written_is_no_heap() {
    const NOBODY: u32 = 65534;
    if std::env::var_os(ROLE).is_some() {
        return;
    }
    let _turn = turn();
    let scratch = Scratch::new("others");
    make(&scratch.0, 7);
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&scratch.0, Permissions::from_mode(mode)).unwrap();
        let refused = refusal(&scratch.0);
        assert!(
            matches!(refused, BackingError::OthersWrite { mode: found, .. } if found == mode),
            "{refused}"
        );
    }
    fs::set_permissions(&scratch.0, Permissions::from_mode(0o644)).unwrap();
    if chown(&scratch.0, Some(NOBODY), None).is_ok() {
        let refused = refusal(&scratch.0);
        assert!(matches!(refused, BackingError::OtherUser { uid: NOBODY, .. }), "{refused}");
        let heap = Heap::inherit_or_create("places", options(&scratch.0).trust_user(NOBODY)).unwrap();
        assert_eq!(NUMBER.get(&heap.enter()).load(Relaxed), 7);
        drop(heap);
        // Nor is an empty one filled.
        fs::write(&scratch.0, "").unwrap();
        let refused = refusal(&scratch.0);
        assert!(matches!(refused, BackingError::OtherUser { .. }), "{refused}");
        chown(&scratch.0, Some(0), None).unwrap();
    } else {
        eprintln!("skipped: only root can give a file to another user");
    }
    // A link in a folder where everybody may put one.
    let folder = Scratch::new("everybodys");
    fs::create_dir(&folder.0).unwrap();
    fs::set_permissions(&folder.0, Permissions::from_mode(0o777)).unwrap();
    let link = folder.0.join("heap");
    symlink(&scratch.0, &link).unwrap();
    let refused = refusal(&link);
    assert!(matches!(refused, BackingError::System { .. }), "{refused}");
    fs::set_permissions(&folder.0, Permissions::from_mode(0o755)).unwrap();
    drop(Heap::inherit_or_create("places", options(&link)).unwrap());
    fs::remove_dir_all(&folder.0).unwrap();
}
