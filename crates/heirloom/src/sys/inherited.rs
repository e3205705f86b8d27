//! What a program was started with: descriptors by number, and its environment.
#![expect(unsafe_code, reason = "takes over descriptors by number, and changes the environment")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::{fs, io};

use rustix::io::{Errno, FdFlags};

use super::is_message_socket;

/// Whether a descriptor of this number is open and one end of a `message_pair`; whose it is does not matter.
pub(crate) fn is_open_message_socket(number: RawFd) -> bool {
    // SAFETY: asking for flags is harmless whatever the number means, and an open descriptor may be borrowed to be
    // asked for its type. Were it closed in between, the question would fail.
    number >= 0
        && unsafe {
            libc::fcntl(number, libc::F_GETFD) >= 0 && is_message_socket(BorrowedFd::borrow_raw(number))
        }
}

/// Takes over a descriptor whose number came in the environment and hides it from programs started later.
///
/// # Safety
///
/// Nothing else in this process owns the number, unless it is closed.
pub(crate) unsafe fn inherit_fd(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asking for flags is harmless whatever the number means.
    if number < 0 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: it is open, and the caller says that nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// Closes all descriptors but these two.
///
/// # Safety
///
/// Nothing in this process uses any other.
pub(crate) unsafe fn close_all_but(one: BorrowedFd<'_>, other: BorrowedFd<'_>) {
    let mut kept = [one.as_raw_fd().cast_unsigned(), other.as_raw_fd().cast_unsigned()];
    kept.sort_unstable();
    let mut first = 0;
    for last in kept.into_iter().map(Some).chain([None]) {
        let end = last.map_or(u32::MAX, |last| last.wrapping_sub(1));
        if last != Some(first) {
            // SAFETY: the caller says that nobody uses what is closed. The kept numbers are not in the range.
            unsafe { libc::syscall(libc::SYS_close_range, first, end, 0) };
        }
        first = last.map_or(u32::MAX, |last| last + 1);
    }
}

/// Makes the standard streams lead nowhere, whether or not they are open.
pub(crate) fn be_silent() {
    let flags = rustix::fs::OFlags::RDWR;
    let Ok(nowhere) = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()) else { return };
    for stream in 0..3 {
        // SAFETY: the standard streams are everybody's; a copy onto one of them replaces it and nothing else.
        unsafe { libc::dup2(nowhere.as_raw_fd(), stream) };
    }
    if nowhere.as_raw_fd() < 3 {
        // It is one of them itself.
        std::mem::forget(nowhere);
    }
}

/// Removes a variable from the environment, if no other thread can be reading it.
pub(crate) fn remove_env_if_alone(name: &str) {
    if is_alone() {
        // SAFETY: this is the only thread, so nobody reads or writes the environment meanwhile.
        unsafe { std::env::remove_var(name) };
    }
}

/// True where this is the only thread of its process.
fn is_alone() -> bool {
    const TASKS: &str = "/proc/self/task";
    // Each thread has a directory there, and each directory is a link to the one it stands in, which has two of its own. Listing
    // them says the same, and takes ten times as long.
    match rustix::fs::stat(TASKS) {
        Ok(stat) if stat.st_nlink > 2 => stat.st_nlink == 3,
        _ => fs::read_dir(TASKS).is_ok_and(|tasks| tasks.count() == 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_threads_are_not_alone() {
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || told.recv());
        assert!(!is_alone());
        drop(tell);
        assert!(other.join().is_ok_and(|end| end.is_err()));
    }
}
