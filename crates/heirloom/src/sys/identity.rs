//! Who a process is: its number, its parent, when it was started.
#![expect(unsafe_code, reason = "ends this process at once")]

use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::FileType;

pub(crate) fn pid() -> u32 {
    std::process::id()
}

/// The parent's process id; 0 where it is in another pid namespace.
pub(crate) fn parent_pid() -> u32 {
    rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid().cast_unsigned())
}

/// When this process was started. It does not change, and asking takes a good part of a hand-over: only the first call does.
pub(crate) fn own_start_ticks() -> u64 {
    static KNOWN: std::sync::Mutex<(u32, u64)> = std::sync::Mutex::new((0, 0));
    let mut known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // A child that was forked is another process.
    if known.0 != pid() {
        *known = (pid(), start_ticks(pid()).unwrap_or(0));
    }
    known.1
}

/// When a process was started, in clock ticks since boot: with the pid, it names one process only.
pub(crate) fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets and may hold anything, brackets and blanks included.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

pub(crate) fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Ends this process at once: no destructor and no `atexit` handler runs.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition.
    unsafe { libc::_exit(code) }
}

pub(crate) fn is_pipe(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_was_started_once() {
        assert_eq!(Some(own_start_ticks()), start_ticks(pid()));
        assert_eq!(own_start_ticks(), own_start_ticks());
    }
}
