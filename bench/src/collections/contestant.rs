//! Who takes part: a family of collections, and the environment that its process needs.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use heirloom::{Heap, Options, Scrub};
use siphasher::sip::SipHasher13;

/// All of them, Heirloom first.
pub(super) const NAMES: [&str; 7] =
    ["heirloom", "heirloom-atfreeze", "heirloom-4k", "std", "std-huge", "std-mimalloc", "std-default"];

/// The one that the others are compared with.
pub(super) const BAR: &str = "std";

/// Where Debian and its kin, and others, keep mimalloc.
const MIMALLOC: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2",
    "/usr/lib/aarch64-linux-gnu/libmimalloc.so.2",
    "/usr/lib/libmimalloc.so.2",
];

/// Prepares the process of a contestant; an error says why it cannot take part.
pub(super) fn prepare(name: &str, process: &mut Command) -> Result<(), String> {
    match name {
        "std-mimalloc" => {
            let found = MIMALLOC.iter().find(|path| Path::new(path).exists());
            process.env("LD_PRELOAD", found.ok_or("libmimalloc.so.2 is not there (Debian: libmimalloc2.0)")?);
        }
        "std-huge" => {
            process.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");
        }
        _ => {}
    }
    Ok(())
}

static HEAP: OnceLock<Heap> = OnceLock::new();

/// Opens the heap of this process.
pub(super) fn open(scrub: Scrub, huge_pages: bool) -> Result<&'static Heap, String> {
    let options = Options::new().scrub(scrub).huge_pages(huge_pages).size_limit(16 << 30);
    let heap = Heap::inherit_or_create("heirloom-bench", options).map_err(|error| error.to_string())?;
    HEAP.set(heap).map_err(|_| "the heap is open already".to_owned())?;
    HEAP.get().ok_or_else(|| "the heap is gone".to_owned())
}

/// Heirloom's hash for std's maps: the same algorithm by the same crate, and the first key of a process drawn at random.
#[derive(Clone)]
pub(super) struct HeirloomHash {
    key: [u64; 2],
}

impl Default for HeirloomHash {
    fn default() -> Self {
        static KEY: OnceLock<[u64; 2]> = OnceLock::new();
        let draw = || RandomState::new().hash_one(0);
        Self { key: *KEY.get_or_init(|| [draw(), draw()]) }
    }
}

impl BuildHasher for HeirloomHash {
    type Hasher = SipHasher13;

    #[inline]
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.key[0], self.key[1])
    }
}
