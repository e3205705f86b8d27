//! The index of the demo, over this repository's own text, through generations: its roots reach every object, so none is reported as
//! leaked; and what is dropped without its heap knowing is.
#![allow(dead_code, unused_imports, reason = "the demo's own modules, of which the demo uses more")]

#[path = "../src/demo/index.rs"]
mod index;
#[path = "../src/demo/random.rs"]
mod random;
#[path = "../src/demo/words.rs"]
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use heirloom::{Heap, Options};
use index::{INDEX, NewFile};

fn collect_texts(folder: &Path, texts: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the repository can be read") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect_texts(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md") {
            texts.push(path);
        }
    }
}

/// What `heirloom verify --leaks` says of a heap file.
fn leaks(path: &Path) -> (Option<i32>, serde_json::Value) {
    let arguments = ["verify", "--leaks", "--json", path.to_str().expect("UTF-8")];
    let run = Command::new(env!("CARGO_BIN_EXE_heirloom")).args(arguments).output().expect("the binary runs");
    let json = serde_json::from_slice(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
    (run.status.code(), json)
}

#[test]
fn the_index_of_the_demo_has_no_leaks() {
    let path = Path::new("/dev/shm").join(format!("heirloom-test-{}-demo-index", std::process::id()));
    let _ = fs::remove_file(&path);
    let mut texts = Vec::new();
    collect_texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut texts);
    let open =
        || Heap::inherit_or_create("demo", Options::new().file(&path).size_limit(1 << 30)).expect("a heap");
    for generation in 0..3 {
        let heap = open();
        {
            let inside = heap.enter();
            let mut index = INDEX.get(&inside).write();
            if generation > 0 {
                let rows: Vec<usize> = (0..index.files.len()).filter(|row| row % 7 == generation).collect();
                index.drop_files(&rows);
            }
            for text in texts.iter().enumerate().filter(|(nr, _)| generation == 0 || nr % 7 == generation) {
                let bytes = fs::read(text.1).expect("readable");
                let name = text.1.as_os_str().as_encoded_bytes();
                index.add(NewFile { path: name, bytes: &bytes, modified_ns: 0 }).expect("room");
            }
            index.choose_queries().expect("room");
        }
        drop(heap);
        let (status, found) = leaks(&path);
        let (reached, leaked) = (&found["leaks"]["reached"], &found["leaks"]["objects"]);
        println!("generation {generation}: {reached} objects reached, {leaked} reported");
        assert_eq!((status, leaked.as_u64()), (Some(0), Some(0)), "{found}");
        assert!(found["leaks"]["certain"] == true && reached.as_u64() > Some(2_000), "{found}");
    }
    let heap = open();
    {
        let inside = heap.enter();
        let mut index = INDEX.get(&inside).write();
        let term = index.terms.keys().max_by_key(|term| term.len()).expect("a term").to_string();
        std::mem::forget(index.terms.remove(term.as_str()).expect("it is there"));
    }
    drop(heap);
    let (status, found) = leaks(&path);
    assert_eq!((status, &found["leaks"]["objects"]), (Some(1), &1.into()), "{found}");
    // Postings are two numbers: other vectors of the index might hold the same bytes, and are named too.
    let likely = found["leaks"]["rows"][0]["likely"].as_str().unwrap_or_default();
    assert!(likely.contains("block of Vec<Posting>"), "{found}");
    fs::remove_file(&path).expect("ours");
}
