//! Who a process is: its number, its parent, when it was started.
#![expect(unsafe_code, reason = "ends this process at once, and asks what it was started with")]

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Instant;

use rustix::fs::FileType;
use rustix::process::{Pid, Resource};

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
    stat_fields(pid, [START_TICKS]).map(|[ticks]| ticks)
}

/// True where the process that was started at `ticks` under this number is on its way out. Its children are given another parent
/// only then, and its memory may still be there.
pub(crate) fn is_ending(pid: u32, ticks: u64) -> bool {
    /// `PF_EXITING`, in the kernel's flags of the first thread.
    const EXITING: u64 = 4;
    stat_fields(pid, [FLAGS, START_TICKS])
        .is_some_and(|[flags, started]| flags & EXITING != 0 && started == ticks)
}

/// Fields of `/proc/<pid>/stat`, by the numbers that its manual gives them.
const FLAGS: usize = 9;
const START_TICKS: usize = 22;

fn stat_fields<const N: usize>(pid: u32, wanted: [usize; N]) -> Option<[u64; N]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets and may hold anything, brackets and blanks included.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut values = [0; N];
    for (value, number) in values.iter_mut().zip(wanted) {
        *value = rest.split_ascii_whitespace().nth(number - 3)?.parse().ok()?;
    }
    Some(values)
}

/// How many descriptors a process may have open; `None` for this one. Unlimited, and unknown, count as the most there can be.
pub(crate) fn descriptor_limit(pid: Option<u32>) -> u64 {
    let pid = pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let limit = match pid {
        Some(pid) => prlimit_of(pid),
        None => rustix::process::getrlimit(Resource::Nofile).current,
    };
    limit.unwrap_or(u64::MAX)
}

fn prlimit_of(pid: Pid) -> Option<u64> {
    // Not `prlimit`, which a wrapper only offers for setting: the file says the same to whoever may look.
    let limits = fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_pid())).ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_ascii_whitespace().nth(3)?.parse().ok()
}

/// True where the process that was started at `ticks` under this number has ended, all of its threads included.
pub(crate) fn has_ended(pid: u32, ticks: u64) -> bool {
    let Some(number) = Pid::from_raw(pid.cast_signed()) else { return false };
    match rustix::process::pidfd_open(number, rustix::process::PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => true,
        Err(_) => start_ticks(pid).is_some_and(|found| found != ticks),
        Ok(pidfd) => {
            // Its parent may not have collected it yet; then it has ended all the same.
            let has_ended =
                super::wait_readable(&[pidfd.as_fd()], Some(Instant::now())).is_ok_and(|ended| ended[0]);
            has_ended || start_ticks(pid).is_some_and(|found| found != ticks)
        }
    }
}

/// True where this program got rights from its file that whoever started it may not have: it is set-uid, or has capabilities.
pub(crate) fn is_privileged() -> bool {
    // SAFETY: the call reads what the system left on the stack.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

pub(crate) fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Ends this process as `kill -9` does; with `group`, all of its process group.
#[cfg(any(test, feature = "points"))]
pub(crate) fn kill_self(group: bool) -> ! {
    // SAFETY: the call sends a signal, and has no precondition.
    unsafe { libc::kill(if group { 0 } else { libc::getpid() }, libc::SIGKILL) };
    exit_now(137)
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
