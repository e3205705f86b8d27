//! The notify protocol: `sd-notify` reads what the manager says, and is not used to tell it anything, as it waits without end where the
//! manager does not read.
#![expect(unsafe_code, reason = "looks at descriptors by the numbers in LISTEN_FDS")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

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

/// How long the manager may take to make room for one more message.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends the manager lines, and descriptors with them.
fn tell(lines: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let socket = sys::connect_datagram(&path)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match sys::send_with(socket.as_fd(), lines.as_bytes(), fds) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            sent => return sent,
        }
    }
}

/// Stores a descriptor. `FDPOLL=0`: the manager would watch it for a hang-up that regular files never have.
pub(super) fn store(name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
    tell(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0\n"), &[fd])
}

/// Drops what is stored under a name.
pub(super) fn remove(name: &str) -> io::Result<()> {
    tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}\n"), &[])
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
    tell(&format!("MAINPID={pid}\n"), &[])
}
