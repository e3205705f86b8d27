//! The notify protocol: `sd-notify` reads what the manager says, and is not used to tell it anything, as it waits without end where the
//! manager does not read.
#![expect(unsafe_code, reason = "looks at descriptors by the numbers in LISTEN_FDS")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::sys;

/// Why no service manager keeps descriptors of this process, as far as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoStore {
    /// No manager hears this process.
    #[error(
        "no service manager hears this process (NOTIFY_SOCKET is not set): it is no service of systemd, or its unit has \
         NotifyAccess=none"
    )]
    NoManager,
    /// There is one, and it keeps nothing for this service.
    #[error(
        "the service manager keeps no descriptors of this service (FDSTORE=0): set FileDescriptorStoreMax=8 in its unit"
    )]
    KeepsNothing,
    /// There is one that does not say whether it keeps any.
    #[error(
        "the service manager does not say that it keeps descriptors (FDSTORE is not set): set FileDescriptorStoreMax=8 in the unit; \
         systemd before 254 keeps them without saying so, and is believed with Environment=FDSTORE=8"
    )]
    Silent,
}

/// Says whether it keeps descriptors: systemd tells since 254, `FDSTORE` has the most it keeps.
pub(crate) fn check_store() -> Result<(), NoStore> {
    if std::env::var_os("NOTIFY_SOCKET").is_none_or(|path| path.is_empty()) {
        return Err(NoStore::NoManager);
    }
    match std::env::var("FDSTORE") {
        Ok(most) if most.trim() == "0" => Err(NoStore::KeepsNothing),
        Ok(_) => Ok(()),
        Err(_) => Err(NoStore::Silent),
    }
}

/// True where it may keep descriptors. One that does not say is not asked: what it does not want it drops.
pub(super) fn may_keep() -> bool {
    matches!(check_store(), Ok(()) | Err(NoStore::Silent))
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
        .filter_map(|(number, name)| {
            // SAFETY: the manager has opened this number for this process, and the borrow ends with this line. Were it closed since, the copy would fail; were it another file by now, it is looked at before
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

/// True for the process that the manager has started as the service, and for one to which that has handed over.
pub(super) fn is_main_process() -> bool {
    let started = std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid.parse() == Ok(sys::pid()));
    started || IS_MAIN.load(Relaxed)
}

/// Notes that this process is the service now.
pub(super) fn become_main_process() {
    IS_MAIN.store(true, Relaxed);
}

/// Says which process the service is from now on, if it is this one. As the manager listens to the service's main process in any case
/// (`NotifyAccess=main`), and reads what it says before it looks who has ended, that is for the predecessor to say.
pub(super) fn pass_on_main_process(successor: u32) -> io::Result<()> {
    match check_store() {
        Err(NoStore::NoManager) => Ok(()),
        _ if !is_main_process() => Ok(()),
        _ => tell(&format!("MAINPID={successor}\n"), &[]),
    }
}
