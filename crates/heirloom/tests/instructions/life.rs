//! What the children do: make the heap of a case, make its change, or make it and say which pages it wrote.

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

use heirloom::{Heap, Options};

use super::case::{self, Case};

/// `make`, `step` or `touch`.
pub(crate) const ROLE: &str = "HEIRLOOM_TEST_INSTRUCTIONS";
pub(crate) const CASE: &str = "HEIRLOOM_TEST_INSTRUCTIONS_CASE";
pub(crate) const FILE: &str = "HEIRLOOM_TEST_INSTRUCTIONS_FILE";

pub(crate) const PAGE: usize = 4096;

/// A small heap, so that its file is copied in no time.
pub(crate) fn open(path: &Path) -> Heap {
    let options = Options::new().file(path).size_limit(12 << 20).block_size(64 << 10).huge_pages(false);
    Heap::inherit_or_create("instructions", options).unwrap()
}

pub(crate) fn live(role: &str) -> ! {
    let name = std::env::var(CASE).unwrap();
    let path = PathBuf::from(std::env::var(FILE).unwrap());
    let cases = case::all();
    let case = cases.iter().find(|case| case.name == name).expect("the parent names a case");
    match role {
        "make" => {
            let heap = open(&path);
            (case.make)(&heap.enter());
            drop(heap);
        }
        "step" => step(case, &path),
        _ => touch(case, &path),
    }
    std::process::exit(0)
}

/// Stops before the change and behind it, for who traces this process.
fn step(case: &Case, path: &Path) {
    let heap = open(path);
    // SAFETY: the parent is to trace this process.
    unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    (case.change)(&heap.enter(), &|| {
        // SAFETY: stops this process, and nothing else.
        unsafe { libc::raise(libc::SIGSTOP) };
    });
    unreachable!("the parent kills at the second stop");
}

/// Makes the change with the heap's pages write-protected, and prints those that were written.
fn touch(case: &Case, path: &Path) {
    let heap = open(path);
    let is_begun = AtomicU64::new(0);
    let (start, bytes) = mapping(path);
    START.store(start, Relaxed);
    BYTES.store(bytes, Relaxed);
    (case.change)(&heap.enter(), &|| {
        if is_begun.swap(1, Relaxed) == 0 {
            protect();
            return;
        }
        let written = WRITTEN.iter().map(|word| word.load(Relaxed));
        for (nr, word) in written.enumerate() {
            (0..64).filter(|bit| word & 1 << bit != 0).for_each(|bit| println!("{}", nr * 64 + bit));
        }
        std::process::exit(0);
    });
}

static START: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
static WRITTEN: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

/// Where the heap's file is mapped.
fn mapping(path: &Path) -> (usize, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = path.to_str().unwrap();
    let mut ranges = maps.lines().filter(|line| line.ends_with(path)).map(|line| {
        let (start, rest) = line.split_once('-').unwrap();
        let end = rest.split(' ').next().unwrap();
        [start, end].map(|address| usize::from_str_radix(address, 16).unwrap())
    });
    let first = ranges.next().expect("the heap is mapped");
    let end = ranges.fold(first[1], |_, range| range[1]);
    (first[0], end - first[0])
}

fn protect() {
    // SAFETY: the handler only touches atomics and protection; the mapping is the heap's.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_fault as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()), 0);
        let start = std::ptr::with_exposed_provenance_mut(START.load(Relaxed));
        assert_eq!(libc::mprotect(start, BYTES.load(Relaxed), libc::PROT_READ), 0);
    }
}

/// The first write to a page: notes it and lets it happen.
extern "C" fn on_fault(_signal: i32, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the system passes what it says.
    let address = unsafe { (*info).si_addr() } as usize;
    let offset = address.wrapping_sub(START.load(Relaxed));
    if offset >= BYTES.load(Relaxed) || offset / PAGE >= 64 * WRITTEN.len() {
        // SAFETY: ends this process.
        unsafe { libc::_exit(3) };
    }
    let page = offset / PAGE;
    WRITTEN[page / 64].fetch_or(1 << (page % 64), Relaxed);
    let start = std::ptr::with_exposed_provenance_mut(address & !(PAGE - 1));
    // SAFETY: a page of the heap's own mapping.
    unsafe { libc::mprotect(start, PAGE, libc::PROT_READ | libc::PROT_WRITE) };
}
