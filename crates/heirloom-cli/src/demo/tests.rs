//! Both workloads within one process: what is put in comes out, and verification sees what was changed behind its back.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use heirloom::{Heap, Options};

use super::churn::{churn_index, churn_objects};
use super::index::{Index, NewFile, Posting};
use super::objects::Objects;
use super::plan::ObjectsPlan;
use super::random::Random;
use super::verify::{verify_index, verify_objects};
use super::walk_input::read_text;
use crate::args::SizeRange;

/// The collections need a heap to lie in; one serves all tests.
pub(crate) fn with_heap() -> &'static Heap {
    static HEAP: OnceLock<Heap> = OnceLock::new();
    HEAP.get_or_init(|| Heap::inherit_or_create("demo-tests", Options::new()).expect("a heap can be made"))
}

fn texts(name: &str, count: usize) -> Vec<PathBuf> {
    let folder = std::env::temp_dir().join(format!("heirloom-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a directory can be made");
    let write = |number: usize| {
        let path = folder.join(number.to_string());
        let line = |line| format!("text {number} line {line} word{} again again\n", line % 7);
        std::fs::write(&path, (0..50).map(line).collect::<String>()).expect("a file can be written");
        path
    };
    let paths = (0..count).map(write).collect();
    // Files as fresh as these would not be compared.
    std::thread::sleep(std::time::Duration::from_millis(30));
    paths
}

fn index_of(paths: &[PathBuf]) -> Index {
    let mut index = Index::default();
    for path in paths {
        add(&mut index, path);
    }
    index.choose_queries().expect("the heap has room");
    index
}

fn add(index: &mut Index, path: &Path) {
    let text = read_text(path).expect("readable").expect("text");
    let new =
        NewFile { path: path.as_os_str().as_bytes(), bytes: &text.bytes, modified_ns: text.modified_ns };
    index.add(new).expect("the heap has room");
}

fn remove(paths: &[PathBuf]) {
    std::fs::remove_dir_all(paths[0].parent().expect("in a folder")).expect("ours to remove");
}

#[test]
fn an_index_verifies_through_many_churns_and_ends_empty() {
    with_heap();
    let paths = texts("churn", 25);
    let (mut index, mut random) = (index_of(&paths), Random(3));
    let tally = index.tally;
    assert_eq!((tally.nr_files, index.queries.len()), (25, 3));
    assert_eq!(index.find("text").map(|hit| hit.nr_lines), Some(25 * 50));
    assert_eq!(index.find("word3").map(|hit| hit.line), Some(4));
    assert!(index.find("absent").is_none());
    for _ in 0..20 {
        churn_index(&mut index, &mut random).expect("the heap has room");
        assert_eq!(index.tally, tally, "the files are what they were");
        assert_eq!(verify_index(&index, &mut random), Vec::<String>::new());
        assert_eq!(index.files.len(), 25, "free rows are taken again");
    }
    index.drop_files(&(0..25).collect::<Vec<_>>());
    assert_eq!((index.terms.len(), index.tally), (0, super::index::Tally::default()));
    remove(&paths);
}

#[test]
fn verification_sees_what_was_changed_behind_its_back() {
    with_heap();
    let paths = texts("tamper", 12);
    type Tamper = (&'static str, fn(&mut Index));
    let tampers: [Tamper; 6] = [
        ("a posting of another line", |index| {
            index.terms.get_mut("text").expect("indexed")[5] = Posting { file: 0, line: 99 };
        }),
        ("a posting of no file", |index| {
            index.terms.get_mut("text").expect("indexed")[5] = Posting { file: 1000, line: 1 };
        }),
        ("a posting gone", |index| index.terms.get_mut("again").expect("indexed").truncate(3)),
        ("a term gone", |index| drop(index.terms.remove("word3").expect("indexed"))),
        ("a file of another checksum", |index| index.files.iter_mut().for_each(|file| file.checksum ^= 1)),
        ("a file forgotten", |index| index.files[3].is_alive = 0),
    ];
    for (name, tamper) in tampers {
        let mut index = index_of(&paths);
        assert_eq!(verify_index(&index, &mut Random(1)), Vec::<String>::new());
        tamper(&mut index);
        assert_ne!(verify_index(&index, &mut Random(1)), Vec::<String>::new(), "{name}");
    }
    remove(&paths);
}

#[test]
fn a_file_that_is_gone_stays_out() {
    with_heap();
    let paths = texts("gone", 10);
    let (mut index, mut random) = (index_of(&paths), Random(5));
    remove(&paths);
    for left in (0..10).rev() {
        churn_index(&mut index, &mut random).expect("the heap has room");
        assert_eq!(index.tally.nr_files, left);
        assert_eq!(verify_index(&index, &mut random), Vec::<String>::new());
    }
    assert_eq!(index.terms.len(), 0);
}

#[test]
fn objects_verify_through_churns_and_show_a_flipped_bit() {
    with_heap();
    let plan = ObjectsPlan { count: 1000, size: SizeRange { start: 16, end: 300 } };
    let (mut objects, mut random) = (Objects::default(), Random(11));
    objects.reserve(plan).expect("the heap has room");
    for _ in 0..plan.count {
        objects.add(plan, &mut random).expect("the heap has room");
    }
    for _ in 0..20 {
        churn_objects(&mut objects, plan, &mut random).expect("the heap has room");
        assert_eq!(verify_objects(&objects), Vec::<String>::new());
        assert_eq!(objects.tally.nr_objects, plan.count);
    }
    for place in [0, 500, 999] {
        for at in [0, 8, objects.table[place].len() - 1] {
            objects.table[place][at] ^= 4;
            assert_ne!(verify_objects(&objects), Vec::<String>::new(), "byte {at} of object {place}");
            objects.table[place][at] ^= 4;
        }
    }
    objects.table.pop();
    assert_eq!(verify_objects(&objects).len(), 1, "one object less than was left");
}
