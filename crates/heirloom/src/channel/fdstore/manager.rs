//! The notify protocol, through `sd-notify`.
#![expect(unsafe_code, reason = "looks at descriptors by the numbers in LISTEN_FDS")]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use sd_notify::NotifyState;

use crate::sys;

/// True where a service manager hears us.
pub(super) fn is_there() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|path| !path.is_empty())
}

/// True where it keeps descriptors. systemd says so since 254 (`FDSTORE` has the most it keeps); an older one is not asked, and what
/// it does not want it drops.
pub(super) fn keeps_descriptors() -> bool {
    is_there() && std::env::var("FDSTORE").map_or(true, |most| most.trim() != "0")
}

/// How many descriptors it keeps, where it says so.
pub(super) fn most_kept() -> Option<usize> {
    std::env::var("FDSTORE").ok()?.trim().parse().ok()
}

/// The descriptors that this process was started with, with their names. Each is a copy: who else looks at `LISTEN_FDS` finds
/// what it expects.
pub(super) fn inherited() -> io::Result<Vec<(OwnedFd, String)>> {
    let named = sd_notify::listen_fds_with_names()?;
    Ok(named
        .filter(|(_, name)| name.starts_with(super::PREFIX))
        .filter_map(|(number, name)| {
            // SAFETY: the manager has opened this number for this process, under a name of ours, and the borrow ends with
            // this line. Were it closed since, the copy would fail; were it another file by now, it is looked at before
            // it is used.
            let copy = sys::duplicate(unsafe { BorrowedFd::borrow_raw(number) });
            copy.ok().map(|copy| (copy, name))
        })
        .collect())
}

/// Every descriptor that this process was started with by the manager.
pub(super) fn all_inherited() -> Vec<BorrowedFd<'static>> {
    let Ok(numbers) = sd_notify::listen_fds() else { return Vec::new() };
    // SAFETY: the call has found them open. Who borrows them starts this program anew, and closes nothing.
    numbers.map(|number| unsafe { BorrowedFd::borrow_raw(number) }).collect()
}

/// Stores a descriptor. `FDPOLL=0`: the manager would watch it for a hang-up that regular files never have.
pub(super) fn store(name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
    let state = [NotifyState::FdStore, NotifyState::FdName(name), NotifyState::Custom("FDPOLL=0")];
    sd_notify::notify_with_fds(&state, &[fd])
}

/// Drops what is stored under a name.
pub(super) fn remove(name: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)])
}

static IS_MAIN: AtomicBool = AtomicBool::new(false);

/// True for the process that the manager has started as the service, and for one that has said that it is the service now.
pub(super) fn is_main_process() -> bool {
    let started = std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid.parse() == Ok(sys::pid()));
    started || IS_MAIN.load(Relaxed)
}

/// Says that this process is the service now. Not every process may say so: `NotifyAccess=all`.
pub(super) fn i_am_main() -> io::Result<()> {
    IS_MAIN.store(true, Relaxed);
    main_process(sys::pid())
}

/// Says which process the service is.
pub(super) fn main_process(pid: u32) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::MainPid(pid)])
}
