//! A session of the Live Update Orchestrator: under its name, descriptors outlive the kernel.
//!
//! ```text
//! outgoing   open device -> create "heirloom:NAME" -> preserve fd, token -> reboot(KEXEC) with the session open
//! incoming   open device -> retrieve "heirloom:NAME" -> retrieve token -> finish
//! ```
//!
//! The device has one opener at a time, so it is held for the one call and let go; one that is taken is waited for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use super::LuoError;
use super::ioctl::{self, NAME_BYTES};

/// Where the orchestrator is spoken to.
pub(crate) const DEVICE: &str = "/dev/liveupdate";

/// How long another opener of the device is waited for: each has it for a call or two.
const PATIENCE: Duration = Duration::from_secs(2);

/// The name of a heap's session, zeros behind it.
pub(super) fn session_name(heap: &str) -> Result<[u8; NAME_BYTES], LuoError> {
    let text = format!("heirloom:{heap}");
    let mut name = [0; NAME_BYTES];
    let fits = text.len() < NAME_BYTES && !text.as_bytes().contains(&0);
    if !fits {
        return Err(LuoError::Name { longest: NAME_BYTES - 1 - "heirloom:".len(), name: heap.to_owned() });
    }
    name[..text.len()].copy_from_slice(text.as_bytes());
    Ok(name)
}

/// Makes a session of this name.
pub(super) fn create(name: &[u8; NAME_BYTES]) -> Result<OwnedFd, LuoError> {
    let device = open(PATIENCE).map_err(LuoError::Device)?;
    ioctl::create_session(device.as_fd(), name)
        .map_err(|source| LuoError::System { step: "make a live update session", source })
}

/// Finds the session of this name that the kernel before has left; `None` where there is none, or no orchestrator.
pub(super) fn find(name: &[u8; NAME_BYTES]) -> Result<Option<OwnedFd>, LuoError> {
    let device = match open(PATIENCE) {
        Ok(device) => device,
        // No such device, none behind it, or not for this user: then nobody has left anything there for us.
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(LuoError::Device(error)),
    };
    match ioctl::retrieve_session(device.as_fd(), name) {
        Ok(session) => Ok(Some(session)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        // Retrieved before in this boot: by a program that has it, or had it.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(None),
        Err(source) => Err(LuoError::System { step: "find the live update session", source }),
    }
}

/// Looks whether the device can be opened.
pub(super) fn check_device() -> Result<(), LuoError> {
    open(PATIENCE).map(drop).map_err(LuoError::Device)
}

fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | PermissionDenied)
        || matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENODEV | libc::EOPNOTSUPP))
}

fn open(patience: Duration) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let until = Instant::now() + patience;
    loop {
        match rustix::fs::open(Path::new(DEVICE), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
            Err(rustix::io::Errno::BUSY) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return Ok(opened?),
        }
    }
}

/// Takes what stands under a token; `None` where nothing does.
pub(super) fn take(session: BorrowedFd<'_>, token: u64) -> io::Result<Option<OwnedFd>> {
    match ioctl::retrieve_fd(session, token) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_fit_is_refused_with_the_longest_that_would() {
        assert!(session_name("sessions").unwrap().starts_with(b"heirloom:sessions\0"));
        let longest = "x".repeat(54);
        assert_eq!(session_name(&longest).unwrap()[NAME_BYTES - 1], 0);
        let refused = session_name(&format!("{longest}x"));
        assert!(matches!(refused, Err(LuoError::Name { longest: 54, .. })), "{refused:?}");
        assert!(session_name("a\0b").is_err());
    }
}
