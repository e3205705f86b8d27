//! What may not live in a heap does not compile, and the message tells what to use instead.
//!
//! The frame of a message is the compiler's, and changes with it. So the files beside the cases are those of one version and are
//! compared by that one; what a case must tell, in any version's words, stands in [`TOLD`].
//!
//! `TRYBUILD=overwrite cargo test -p heirloom --test compile_fail` writes the files anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiler whose messages are recorded.
const COMPILER: &str = "rustc 1.95.";

const FOLDER: &str = "tests/compile_fail";

/// What the message of each case tells to use.
const TOLD: &[(&str, &[&str])] = &[
    ("borrowed", &["cannot live in a heap", "atomic"]),
    ("enum_without_repr", &["`Level` needs `#[repr(u8)]`", "`Event` needs `#[repr(C, u8)]`"]),
    ("file", &["`std::fs::File` cannot live in a heap", "a number of this process"]),
    ("function_pointer", &["`fn(u64) -> u64` cannot live in a heap", "an index, or an enum instead"]),
    ("inside_not_sent", &["cannot be sent between threads safely"]),
    ("option_without_niche", &["cannot live in a heap", "heirloom::Maybe"]),
    ("outside_the_door", &["does not live long enough"]),
    ("place_kept_from_a_transaction", &["borrowed data escapes", "`short` does not live long enough"]),
    ("place_sent_out_of_a_transaction", &["borrowed data escapes"]),
    ("raw_pointer", &["`*mut u64` cannot live in a heap", "heirloom::Box"]),
    ("reference_to_static", &["`&'static str` cannot live in a heap", "heirloom::String"]),
    ("root_not_shared", &["cannot live in a heap", "atomic"]),
    ("root_of_foreign_type", &["cannot live in a heap", "heirloom::sync::{Mutex, RwLock}"]),
    ("std_arc", &["cannot live in a heap", "heirloom::arc::Arc"]),
    ("std_box", &["cannot live in a heap", "heirloom::{"]),
    ("std_hash_map", &["cannot live in a heap", "HashMap"]),
    ("std_mutex", &["cannot live in a heap", "heirloom::sync::{Mutex, RwLock}"]),
    ("std_rc", &["cannot live in a heap", "heirloom::arc::Arc"]),
    ("std_result", &["cannot live in a heap", "heirloom::Outcome"]),
    ("std_string", &["cannot live in a heap", "heirloom::{String, Vec"]),
    ("std_trait_object", &["cannot live in a heap", "an enum instead"]),
    ("std_vec", &["cannot live in a heap", "heirloom::{String, Vec"]),
    ("struct_without_repr", &["`Session` needs `#[repr(C)]`", "use an enum with `#[repr(C, u8)]`"]),
    ("thread_handle", &["`JoinHandle<()>` cannot live in a heap", "ends with this process"]),
    ("trait_object", &["cannot live in a heap", "an enum instead"]),
];

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

#[test]
fn each_message_tells_what_to_use() {
    let cases = cases();
    assert_eq!(cases.len(), TOLD.len(), "a case without a line in the table, or a line without a case");
    for (name, told) in TOLD {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER).join(format!("{name}.stderr"));
        let message = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // The compiler breaks long notes.
        let words: Vec<&str> = message.split_whitespace().collect();
        let message = words.join(" ");
        for part in *told {
            assert!(message.contains(part), "{name}: the message does not say {part:?}:\n{message}");
        }
    }
}

#[test]
fn what_may_not_live_in_a_heap_does_not_compile() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("rustc says its version").stdout;
    let version = String::from_utf8_lossy(&version);
    if !version.starts_with(COMPILER) {
        return eprintln!(
            "skipped: the messages are those of {COMPILER}x (rustup toolchain install 1.95), this is {version}"
        );
    }
    trybuild::TestCases::new().compile_fail(format!("{FOLDER}/*.rs"));
}
