//! The floor under a blackout: what the machine takes to start a process that reads one byte of a shared memory.
//!
//! ```text
//! parent    memfd of the same size, untouched    t0   spawn (same binary)
//! child                                               start   mmap(stdin)   read one byte   t1 -> stdout
//! ```
//!
//! The child does this before anything else, its arguments unread but for the first, so that the floor is as low as it
//! can honestly be.

#![expect(
    unsafe_code,
    reason = "mapping a file is unsafe; the one mapping here is read at one place and then left"
)]

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags};

use super::clock::now_ns;

/// First argument of the child; not for people.
pub(crate) const FLOOR: &str = "__floor";

/// How often it is measured; the median counts.
const NR_RUNS: usize = 11;

/// Returns the median of the time from before the spawn to the first byte read, in microseconds.
pub(crate) fn measure(program: &Path, size_bytes: u64) -> io::Result<u64> {
    let mut runs = Vec::with_capacity(NR_RUNS);
    for _ in 0..NR_RUNS {
        runs.push(measure_once(program, size_bytes)?);
    }
    runs.sort_unstable();
    Ok(runs[NR_RUNS / 2] / 1000)
}

fn measure_once(program: &Path, size_bytes: u64) -> io::Result<u64> {
    let memory = rustix::fs::memfd_create("heirloom-floor", MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&memory, size_bytes)?;
    let mut command = Command::new(program);
    command.arg(FLOOR).stdin(Stdio::from(memory)).stdout(Stdio::piped());
    let started_ns = now_ns();
    let output = command.spawn()?.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let read_ns: u64 =
        text.trim().parse().map_err(|_| io::Error::other(format!("the child said `{text}`")))?;
    Ok(read_ns.saturating_sub(started_ns))
}

/// The child: maps its standard input, reads one byte, and prints when it had done so.
pub(crate) fn run_child() -> io::Result<()> {
    let stdin = io::stdin();
    let size_bytes = usize::try_from(rustix::fs::fstat(stdin.as_fd())?.st_size).map_err(io::Error::other)?;
    let null = std::ptr::null_mut();
    let (read, shared) = (ProtFlags::READ, MapFlags::SHARED);
    // SAFETY: the kernel picks an address where nothing of ours lies.
    let memory = unsafe { rustix::mm::mmap(null, size_bytes, read, shared, stdin.as_fd(), 0)? };
    // SAFETY: the mapping is readable, as long as its file, which nobody shortens, and not empty: mmap refuses that.
    // Volatile, since the byte is read for the time it takes and not for its value.
    let _byte = unsafe { memory.cast::<u8>().read_volatile() };
    let read_ns = now_ns();
    io::stdout().write_all(read_ns.to_string().as_bytes())
}
