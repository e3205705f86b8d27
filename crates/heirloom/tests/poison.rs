//! A generation dies while it changes a root: the next one knows which, and does what its options say.
//!
//! The child is this test again, told by the environment; it ends by a kill of its own at the place that the test names.
#![expect(unsafe_code, reason = "kills processes, and opens a heap more than once in one")]

mod common;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::*};

use common::{Scratch, turn};
use heirloom::foreign::{Image, Target};
use heirloom::sync::{Mutex, RwLock};
use heirloom::{Box, Heap, Heritable, OnPoison, Options, Origin, Remedy, Vec};
use heirloom_abi::heap::{Header, Host};
use heirloom_abi::roots::{self, Batch, NewRoot, Roots};

const CHILD: &str = "HEIRLOOM_TEST_POISON_CHILD";
const DEED: &str = "HEIRLOOM_TEST_POISON_DEED";

/// Two numbers that are equal when nobody is at work on them.
#[derive(Default, Heritable)]
#[repr(C)]
struct Pair(AtomicU64, AtomicU64);

heirloom::root! {
    static LIST: Mutex<Vec<u64>> = "list";
    static TABLE: RwLock<Vec<u64>> = "table";
    static PAIR: Pair = "pair";
    static OTHER: Mutex<u64> = "other";
    static HOARD: Mutex<Hoard> = "hoard";
}

/// What a program keeps of its heap outside of it.
static KEPT: std::sync::Mutex<std::vec::Vec<Box<u64>>> = std::sync::Mutex::new(std::vec::Vec::new());

/// Makes more than it has.
#[derive(Heritable)]
#[repr(C)]
struct Hoard(Vec<Box<u64>>);

impl Default for Hoard {
    fn default() -> Self {
        KEPT.lock().unwrap().push(Box::new(1));
        Self((0..10).map(Box::new).collect())
    }
}

fn options(path: &Path) -> Options {
    Options::new().file(path).size_limit(64 << 20)
}

fn reclaiming(path: &Path) -> Options {
    // SAFETY: the tests hold nothing of a heap while it is closed.
    unsafe { options(path).reclaim_leaks(true).holds_nothing() }
}

fn die() -> ! {
    // SAFETY: ends this process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    unreachable!("SIGKILL cannot be blocked")
}

#[test]
fn child() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let heap = Heap::inherit_or_create("poison", options(Path::new(&path))).unwrap();
    let inside = heap.enter();
    let (list, table, pair) = (LIST.get(&inside), TABLE.get(&inside), PAIR.get(&inside));
    *OTHER.get(&inside).lock() += 1;
    match std::env::var(DEED).unwrap().as_str() {
        "lock" => {
            let mut list = list.lock();
            list.push(1);
            die();
        }
        "hoard" => {
            let _hoard = HOARD.get(&inside).lock();
            let _list = list.lock();
            die();
        }
        "read" => {
            let _reading = table.read();
            die();
        }
        "write" => {
            let mut writing = table.write();
            writing.push(1);
            die();
        }
        "change" => {
            let changing = PAIR.change(&inside).unwrap();
            let twice = PAIR.change(&inside).unwrap();
            drop(twice);
            changing.0.store(1, Relaxed);
            die();
        }
        "changed" => {
            let changing = PAIR.change(&inside).unwrap();
            changing.0.store(1, Relaxed);
            changing.1.store(1, Relaxed);
            drop(changing);
            pair.0.load(Relaxed);
            die();
        }
        deed => panic!("{deed}?"),
    }
}

fn run_child(path: &Path, deed: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture"]).env(CHILD, path).env(DEED, deed);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(!status.success() && status.code().is_none(), "{deed}: {status}");
}

/// The roots that the next generation finds poisoned.
fn poisoned(heap: &Heap) -> std::vec::Vec<(&str, Remedy)> {
    heap.poisoned().iter().map(|poisoned| (poisoned.root.as_str(), poisoned.remedy)).collect()
}

#[test]
fn the_root_that_was_being_changed_is_poisoned_and_no_other() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let _turn = turn();
    for (deed, expected) in [
        ("lock", Some("list")),
        ("read", None),
        ("write", Some("table")),
        ("change", Some("pair")),
        ("changed", None),
    ] {
        let path = Scratch::new(&format!("poison-{deed}"));
        run_child(&path.0, deed);
        let heap = Heap::inherit_or_create("poison", options(&path.0)).unwrap();
        assert!(matches!(heap.origin(), Origin::Recovered { .. }));
        assert_eq!(
            poisoned(&heap),
            expected.map(|root| (root, Remedy::None)).into_iter().collect::<std::vec::Vec<_>>()
        );
        let inside = heap.enter();
        assert_eq!(LIST.is_poisoned(&inside), expected == Some("list"));
        assert_eq!(LIST.get(&inside).is_poisoned(), expected == Some("list"));
        assert_eq!(PAIR.is_poisoned(&inside), expected == Some("pair"));
        drop(inside);
        drop(heap);
        // It stays so until somebody says otherwise.
        let heap = Heap::inherit_or_create("poison", options(&path.0)).unwrap();
        assert_eq!(heap.origin(), Origin::Inherited);
        assert_eq!(heap.poisoned().len(), usize::from(expected.is_some()));
        {
            let inside = heap.enter();
            LIST.clear_poison(&inside).unwrap();
            TABLE.clear_poison(&inside).unwrap();
            PAIR.clear_poison(&inside).unwrap();
        }
        drop(heap);
        let heap = Heap::inherit_or_create("poison", options(&path.0)).unwrap();
        assert_eq!(poisoned(&heap), []);
    }
}

/// ```text
/// |list|table|pair|other|    list migrates    |retired|table|pair|other|list'|    4 roots, and the one is entry 4
/// ```
#[test]
fn a_root_that_has_migrated_is_poisoned_as_before() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let _turn = turn();
    let path = Scratch::new("poison-migrated");
    let heap = Heap::inherit_or_create("poison", options(&path.0)).unwrap();
    {
        let inside = heap.enter();
        LIST.get(&inside);
        TABLE.get(&inside);
        PAIR.get(&inside);
        OTHER.get(&inside);
    }
    drop(heap);
    // As a migration that leaves the object where it is does.
    let file = std::fs::File::options().read(true).write(true).open(&path.0).unwrap();
    let mut page = vec![0; 4096];
    file.read_exact_at(&mut page, 0).unwrap();
    let host = Host::current(4096);
    let region = Header::read(&page, file.metadata().unwrap().len(), &host).unwrap().identity.roots;
    let mut record = vec![0; region.bytes as usize];
    file.read_exact_at(&mut record, region.offset).unwrap();
    let old = {
        let old = Roots::read(&record).unwrap().find("list").unwrap();
        (old.index, old.object_offset, old.ty.to_vec())
    };
    let next = NewRoot { name: "list", object_offset: old.1, ty: &old.2, generation: 1 };
    let new = roots::supersede(&mut record, &next, Batch::ALONE).unwrap();
    roots::retire(&mut record, old.0).unwrap();
    assert_eq!((old.0, new, Roots::read(&record).unwrap().len()), (0, 4, 4));
    file.write_all_at(&record, region.offset).unwrap();
    for deed in ["lock", "change"] {
        run_child(&path.0, deed);
    }
    let replace = options(&path.0).on_poison(&LIST, OnPoison::replace());
    let heap = Heap::inherit_or_create("poison", replace).unwrap();
    assert_eq!(poisoned(&heap), [("pair", Remedy::None), ("list", Remedy::Replaced)]);
}

#[test]
fn the_options_say_what_becomes_of_it() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let _turn = turn();
    let path = Scratch::new("poison-options");
    let fill = |options: Options| {
        let heap = Heap::inherit_or_create("poison", options).unwrap();
        let inside = heap.enter();
        LIST.get(&inside).lock().extend(0..1000);
        TABLE.get(&inside).write().extend(0..1000);
    };
    fill(options(&path.0));
    let decided = || {
        reclaiming(&path.0)
            .on_poison(&LIST, OnPoison::replace())
            .on_poison(&TABLE, OnPoison::repair(|table: &mut RwLock<Vec<u64>>| table.get_mut().truncate(10)))
            .on_poison(&PAIR, OnPoison::keep())
    };
    for (deed, root, remedy) in [
        ("lock", "list", Remedy::Replaced),
        ("write", "table", Remedy::Repaired),
        ("change", "pair", Remedy::Kept),
    ] {
        run_child(&path.0, deed);
        let heap = Heap::inherit_or_create("poison", decided()).unwrap();
        assert_eq!(poisoned(&heap), [(root, remedy)]);
        // The replaced list and what it had are given back; nothing else is.
        assert_eq!(heap.stats().reclaimed_objects, 2 * u64::from(deed == "lock"), "{:?}", heap.reclaimed());
        let inside = heap.enter();
        assert!(!LIST.is_poisoned(&inside) && !TABLE.is_poisoned(&inside) && !PAIR.is_poisoned(&inside));
        assert_eq!(LIST.get(&inside).lock().len(), 0);
        assert!(!LIST.get(&inside).is_poisoned());
        let table = TABLE.get(&inside).read().len();
        assert_eq!(table, if deed == "lock" { 1000 } else { 10 });
        drop(inside);
        assert_eq!(heap.check(), Ok(()));
    }
    // Nothing is done twice.
    let heap = Heap::inherit_or_create("poison", decided()).unwrap();
    assert_eq!(poisoned(&heap), []);
    drop(heap);
    let leaks = Image::open(&Target::File(path.0.clone())).unwrap().leaks().unwrap();
    assert_eq!((leaks.objects, leaks.is_certain()), (0, true), "{leaks:?}");
}

#[test]
fn a_repair_that_panics_leaves_the_root_poisoned() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let _turn = turn();
    let path = Scratch::new("poison-panic");
    run_child(&path.0, "lock");
    let panics = options(&path.0)
        .on_poison(&LIST, OnPoison::repair(|_: &mut Mutex<Vec<u64>>| panic!("cannot be repaired")));
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        drop(Heap::inherit_or_create("poison", panics))
    }));
    assert!(opened.is_err());
    let heap = Heap::inherit_or_create("poison", options(&path.0)).unwrap();
    assert_eq!(poisoned(&heap), [("list", Remedy::None)]);
}

#[test]
fn a_panic_poisons_what_it_was_changing() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let _turn = turn();
    let path = Scratch::new("poison-unwind");
    let heap = Heap::inherit_or_create("poison", options(&path.0)).unwrap();
    let blown = std::thread::scope(|scope| {
        let job = || {
            let inside = heap.enter();
            let _changing = PAIR.change(&inside).unwrap();
            panic!("bang");
        };
        scope.spawn(job).join().is_err()
    });
    let inside = heap.enter();
    assert!(blown && PAIR.is_poisoned(&inside) && !LIST.is_poisoned(&inside));
}

#[test]
fn a_leaked_guard_poisons_nothing_once_the_heap_was_closed_in_order() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let _turn = turn();
    let path = Scratch::new("poison-leaked");
    let heap = Heap::inherit_or_create("poison", options(&path.0)).unwrap();
    {
        let inside = heap.enter();
        std::mem::forget(PAIR.change(&inside).unwrap());
    }
    drop(heap);
    run_child(&path.0, "read");
    let heap = Heap::inherit_or_create("poison", options(&path.0)).unwrap();
    assert!(matches!(heap.origin(), Origin::Recovered { .. }));
    assert_eq!(poisoned(&heap), []);
}

/// ```text
/// list    repaired: what it had is taken out               KEPT: nothing of it is given back
/// hoard   replaced: its default keeps an object beside it  KEPT: not given back; the old one is, with a block and ten boxes
/// ```
#[test]
fn what_a_default_and_a_repair_keep_is_not_given_back() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let _turn = turn();
    let path = Scratch::new("poison-kept");
    let heap = Heap::inherit_or_create("poison", options(&path.0)).unwrap();
    LIST.get(&heap.enter()).lock().extend(0..100);
    drop(heap);
    run_child(&path.0, "hoard");
    static SAVED: std::sync::Mutex<std::vec::Vec<Vec<u64>>> = std::sync::Mutex::new(std::vec::Vec::new());
    let take = |list: &mut Mutex<Vec<u64>>| SAVED.lock().unwrap().push(std::mem::take(list.get_mut()));
    let decided =
        reclaiming(&path.0).on_poison(&LIST, OnPoison::repair(take)).on_poison(&HOARD, OnPoison::replace());
    let heap = Heap::inherit_or_create("poison", decided).unwrap();
    assert_eq!(poisoned(&heap), [("list", Remedy::Repaired), ("hoard", Remedy::Replaced)]);
    // The child's own was on its stack: it makes thirteen with the old hoard.
    assert_eq!(heap.stats().reclaimed_objects, 13, "{:?}", heap.reclaimed());
    let inside = heap.enter();
    let others: std::vec::Vec<Box<u64>> = (0..1000).map(|_| Box::new(u64::MAX)).collect();
    let saved = SAVED.lock().unwrap().pop().unwrap();
    let kept = KEPT.lock().unwrap().pop().unwrap();
    assert!(saved.iter().copied().eq(0..100) && *kept == 1);
    assert!(HOARD.get(&inside).lock().0.iter().map(|one| **one).eq(0..10));
    drop((others, saved, kept));
    drop(inside);
    assert_eq!(heap.check(), Ok(()));
}
