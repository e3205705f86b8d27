//! The floor under a blackout: what the machine takes to start this program, map a shared memory and read one byte of it.
//!
//! `floor` starts it beside its parent, `floor-exec` in place of itself: the least that either channel can take whatever it hands
//! over. The memory is an untouched memfd of the heap's size, on standard input.
#![expect(unsafe_code, reason = "maps a file and reads one byte of it")]

use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::mm::{MapFlags, ProtFlags};

use super::sample::{now_ns, us_between};

/// Maps standard input, reads one byte, and says how long ago `since_ns` was.
pub(super) fn read_a_byte(since_ns: &str) -> Result<(), String> {
    let stdin = std::io::stdin();
    let size = rustix::fs::fstat(stdin.as_fd()).map_err(|error| error.to_string())?.st_size;
    let size_bytes = usize::try_from(size).map_err(|error| error.to_string())?;
    let flags = MapFlags::SHARED | MapFlags::NORESERVE;
    // SAFETY: the kernel picks an address where nothing of ours lies.
    let memory = unsafe {
        rustix::mm::mmap(std::ptr::null_mut(), size_bytes, ProtFlags::READ, flags, stdin.as_fd(), 0)
    };
    let memory = memory.map_err(|error| error.to_string())?;
    // SAFETY: the mapping is readable, as long as its file, which nobody shortens, and not empty: mmap refuses that.
    // Volatile, since the byte is read for the time it takes and not for its value.
    let _byte = unsafe { memory.cast::<u8>().read_volatile() };
    let read_ns = now_ns();
    let since_ns: u64 = since_ns.parse().map_err(|_| format!("no time: `{since_ns}`"))?;
    super::say(&us_between(since_ns, read_ns).to_string())
}

/// Becomes `floor`, by the clock of this moment. Another thread sleeps, as in a program that serves.
pub(super) fn exec() -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let (tell, told) = std::sync::mpsc::channel();
    let _sleeper = std::thread::spawn(move || {
        let _ = tell.send(());
        std::thread::sleep(std::time::Duration::from_secs(60));
    });
    told.recv().map_err(|error| error.to_string())?;
    Err(Command::new(program).args(["floor", &now_ns().to_string()]).exec().to_string())
}
