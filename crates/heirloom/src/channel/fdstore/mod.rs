//! systemd's file descriptor store: the manager keeps the heap while the service is down.
//!
//! ```text
//! service starts          LISTEN_FDS=1 LISTEN_FDNAMES=heirloom-NAME-ID   -> the heap of the life before: inherit, or recover
//!                         nothing of that name                           -> a new heap
//! heap is open            FDSTORE=1 FDNAME=heirloom-NAME-ID + descriptor -> kept from the first moment on
//! heap took another's     FDSTOREREMOVE=1 FDNAME=heirloom-NAME-OLD       -> only after the new one is stored
//! place
//! hand-over (spawn)       MAINPID=pid of the successor; the store keeps what it has
//! stop, crash, kill -9    nothing to be done: the manager has it
//! ```
//!
//! A heap is stored under its id too, so that for a moment two may stand beside each other: stored in the new place first, then
//! dropped from the old. Storing what is stored already changes nothing, so it is done at every start.
//!
//! The lock that says "this heap has an owner" belongs to an *open file*, and what is sent to the manager is the same
//! open file: its lock would outlive every owner. So the manager gets, and each service makes for itself, an open file of its own
//! on the same memory, through `/proc/self/fd`.
//!
//! # Invariants (tested in `tests/fdstore.rs`, against a stand-in manager)
//!
//! - *stored*: from the first answer of a service on, the manager has its heap.
//! - *one owner*: what the manager holds locks nothing.
//! - *distrust*: a descriptor under our name that is no heap of that id is passed over, and said so.

mod manager;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use heirloom_abi::heap::{HEADER_BYTES, Header};

use crate::backing;
use crate::sys;

/// What stands before the heap's name in the names of its descriptors.
const PREFIX: &str = "heirloom-";

/// A heap that the manager has kept for us.
#[derive(Debug)]
pub(crate) struct Kept {
    /// An open file of our own; nothing is locked.
    pub(crate) heap: OwnedFd,
    /// The name under which the manager has it.
    pub(crate) name: String,
}

/// Returns the heaps of this name that the manager has kept, the most useful one first: whoever has seen more generations.
///
/// What is under our name and is no heap is passed over with a line on standard error.
pub(crate) fn find(heap_name: &str) -> io::Result<Vec<Kept>> {
    let mut found = Vec::new();
    for (fd, name) in manager::inherited()? {
        let Some(id) = name.strip_prefix(&format!("{}-", name_of(heap_name))).filter(|id| is_id(id)) else {
            continue;
        };
        match open_anew(fd.as_fd()).map_err(Refused::from).and_then(|fd| Ok((header_of(&fd)?, fd))) {
            Ok((header, heap)) if is_the_one(&header, heap_name, id) => {
                found.push((header.state.generation, Kept { heap, name }));
            }
            Ok(_) => eprintln!("heirloom: the stored descriptor {name:?} is of another heap; it is passed over"),
            // A header that cannot be read may be one of another version: opening it says why.
            Err(Refused::Header(error)) => {
                eprintln!("heirloom: the stored descriptor {name:?}: {error}");
                if let Ok(heap) = open_anew(fd.as_fd()) {
                    found.push((0, Kept { heap, name }));
                }
            }
            Err(Refused::System(error)) => {
                eprintln!("heirloom: the stored descriptor {name:?} cannot be opened ({error}); it is passed over");
            }
        }
    }
    found.sort_by_key(|(generation, _)| std::cmp::Reverse(*generation));
    Ok(found.into_iter().map(|(_, kept)| kept).collect())
}

fn is_the_one(header: &Header, heap_name: &str, id: &str) -> bool {
    id_text(&header.identity.id) == id && header.identity.name.as_str() == heap_name
}

enum Refused {
    Header(String),
    System(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Looks at a descriptor before anything is done with it. A regular file without a heap's header in it is none of ours.
fn header_of(fd: &OwnedFd) -> Result<Header, Refused> {
    let facts = sys::file_facts(fd.as_fd())?;
    let mut page = [0; HEADER_BYTES];
    let read = sys::read_start(fd.as_fd(), &mut page)?;
    Header::read(&page[..read], facts.len, &backing::host()).map_err(|error| Refused::Header(error.to_string()))
}

/// Gives the manager the heap to keep, and takes those out of the store that it has replaced; false where no manager
/// keeps anything.
///
/// Sent, not acknowledged: the manager reads its socket in order, so what a service sends before it ends is stored.
pub(crate) fn store(heap: &str, id: &[u8; 16], fd: BorrowedFd<'_>, replaced: &[String]) -> io::Result<bool> {
    if !manager::keeps_descriptors() {
        return Ok(false);
    }
    let name = format!("{}-{}", name_of(heap), id_text(id));
    if !was_stored(&name) {
        // An open file is compared with those in the store, so a second one of the same memory would fill it up.
        let stored = open_anew(fd)?;
        manager::store(&name, stored.as_fd())?;
        is_stored(&name);
    }
    for old in replaced.iter().filter(|old| **old != name) {
        manager::remove(old)?;
    }
    Ok(true)
}

/// The variable that tells a successor what the manager has already.
const STORED: &str = "HEIRLOOM_HANDOVER_STORED";

static STORED_NAME: Mutex<Option<String>> = Mutex::new(None);

/// Notes that the manager has a descriptor of this name.
pub(crate) fn is_stored(name: &str) {
    *STORED_NAME.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.to_owned());
}

fn was_stored(name: &str) -> bool {
    let stored = STORED_NAME.lock().unwrap_or_else(PoisonError::into_inner);
    // The name has the heap's id in it: another heap's word says nothing of this one.
    stored.as_deref() == Some(name) || std::env::var(STORED).is_ok_and(|stored| stored == name)
}

/// The variable for a successor, where there is something to tell.
pub(crate) fn word_to_successor() -> Option<CString> {
    let stored = STORED_NAME.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // Without a word of our own, what we were told holds on.
    let stored = stored.or_else(|| std::env::var(STORED).ok())?;
    CString::new(format!("{STORED}={stored}")).ok()
}

/// All that the manager has opened for this process, ours or not.
pub(super) fn all_inherited() -> Vec<BorrowedFd<'static>> {
    manager::all_inherited()
}

/// Tells the manager that this process is the service from now on. Not every process may say so: `NotifyAccess=all`.
pub(crate) fn announce_main_process() {
    if manager::is_there() {
        let _ = manager::main_process(sys::pid());
    }
}

/// Opens the memory behind a descriptor anew: locks of one do not concern the other.
fn open_anew(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    if !sys::file_facts(fd)?.is_regular {
        // Opening a fifo or a device may have effects.
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    sys::open(std::path::Path::new(&format!("/proc/self/fd/{}", fd.as_raw_fd())), false)
}

/// The heap's name in the manager's alphabet: printable ASCII, no colon; the id behind it makes it exact.
fn name_of(heap: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '_' };
    format!("{PREFIX}{}", heap.chars().map(plain).collect::<String>())
}

fn id_text(id: &[u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}
