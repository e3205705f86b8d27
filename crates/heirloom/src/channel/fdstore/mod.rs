//! systemd's file descriptor store: the manager keeps the heap while the service is down.
//!
//! ```text
//! service starts          LISTEN_FDS=1 LISTEN_FDNAMES=heirloom-NAME-ID   -> the heap of the life before: inherit, or recover
//!                         nothing of that name                           -> a new heap
//! heap is open            FDSTORE=1 FDNAME=heirloom-NAME-ID + descriptor -> kept from the first moment on
//! heap took another's     FDSTOREREMOVE=1 FDNAME=heirloom-NAME-OLD       -> only after the new one is stored
//! place
//! hand-over (spawn)       MAINPID=pid of the successor, from the one that leaves; the store keeps what it has
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
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use heirloom_abi::heap::{HEADER_BYTES, Header};

pub use manager::NoStore;
pub(crate) use manager::check_store;

use super::rescue::rescue;
use super::{Channel, Found, Kept, Open, Point, Source, SourceError, point};
use crate::backing;
use crate::sys;

/// What stands before the heap's name in the names of its descriptors.
const PREFIX: &str = "heirloom-";

/// A heap that the manager has kept for us.
#[derive(Debug)]
struct Stored {
    /// An open file of our own; nothing is locked.
    heap: OwnedFd,
    /// The name under which the manager has it.
    name: String,
}

/// The manager's store, as a place where a heap may be and that keeps the one which is open.
#[derive(Default)]
pub(super) struct Store {
    found: Mutex<Vec<Stored>>,
    heap: Mutex<String>,
}

impl Store {
    fn found(&self) -> MutexGuard<'_, Vec<Stored>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heap_name(&self) -> MutexGuard<'_, String> {
        self.heap.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Store {
    fn channel(&self) -> Channel {
        Channel::SystemdStore
    }

    /// Where several are kept, one of them was to take the other's place: the one that has seen most generations counts, or the
    /// one that can be read at all.
    fn find(&self, name: &str) -> Result<Option<Found>, SourceError> {
        let mut found = self.found();
        *found = find(name)?;
        name.clone_into(&mut self.heap_name());
        let Some(first) = found.first() else { return Ok(None) };
        point(Point::FinderFound);
        let heap = sys::duplicate(first.heap.as_fd())?;
        Ok(Some(Found::Left { heap, luggage: Vec::new() }))
    }

    fn set_aside(&self) -> io::Result<PathBuf> {
        let found = self.found();
        let first = found.first().ok_or(io::ErrorKind::NotFound)?;
        rescue(&self.heap_name(), &first.heap)
    }

    fn try_again(&self) {
        super::reexec_self_for_address(None, None);
    }

    fn keep(&self, heap: &Open<'_>) -> Result<Option<Box<dyn Kept>>, SourceError> {
        let replaced: Vec<String> = self.found().drain(..).map(|stored| stored.name).collect();
        // A socket that was inherited from somebody who is gone must not keep a program from starting.
        if let Err(error) = store(heap, &replaced) {
            eprintln!("heirloom: the service manager does not keep the heap: {error}");
        }
        // A heap that is closed stays with the manager: that is what it is there for.
        Ok(None)
    }
}

/// Returns the heaps of this name that the manager has kept, the most useful one first: whoever has seen more generations.
///
/// What is under our name and is no heap is passed over with a line on standard error.
fn find(heap_name: &str) -> io::Result<Vec<Stored>> {
    let mut found = Vec::new();
    for (fd, name) in manager::inherited()? {
        if !is_name_of_heap(&name) {
            continue;
        }
        let Some(id) = name.strip_prefix(&format!("{}-", name_of(heap_name))).filter(|id| is_id(id)) else {
            continue;
        };
        match open_anew(fd.as_fd()).map_err(Refused::from).and_then(|fd| Ok((header_of(&fd)?, fd))) {
            Ok((header, heap)) if is_the_one(&header, heap_name, id) => {
                found.push((header.state.generation, Stored { heap, name }));
            }
            Ok(_) => {
                eprintln!("heirloom: the stored descriptor {name:?} is of another heap; it is passed over")
            }
            // A header that cannot be read may be one of another version: opening it says why.
            Err(Refused::Header(error)) => {
                eprintln!("heirloom: the stored descriptor {name:?}: {error}");
                if let Ok(heap) = open_anew(fd.as_fd()) {
                    found.push((0, Stored { heap, name }));
                }
            }
            Err(Refused::System(error)) => {
                eprintln!(
                    "heirloom: the stored descriptor {name:?} cannot be opened ({error}); it is passed over"
                );
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
    Header::read(&page[..read], facts.len, &backing::host())
        .map_err(|error| Refused::Header(error.to_string()))
}

/// Gives the manager the heap to keep, if it keeps anything, and takes those out of the store that it has replaced.
///
/// Sent, not acknowledged: the manager reads its socket in order, so what a service sends before it ends is stored.
fn store(heap: &Open<'_>, replaced: &[String]) -> io::Result<()> {
    if !manager::may_keep() {
        return Ok(());
    }
    let name = format!("{}-{}", name_of(heap.name), id_text(&heap.id));
    let word = word_of_predecessor().filter(|word| word.stored == name);
    let has_it = word.is_some() || replaced.contains(&name) || stored_name().as_deref() == Some(&name);
    if !has_it {
        // An open file is compared with those in the store, so a second one of the same memory would fill it up.
        manager::store(&name, open_anew(heap.heap)?.as_fd())?;
    }
    *stored_name() = Some(name.clone());
    for old in replaced.iter().filter(|old| **old != name) {
        manager::remove(old)?;
    }
    Ok(())
}

/// The variable that tells a successor what the manager has already, and whether its predecessor was the service's main process:
/// `NAME:main` or `NAME:other`. The name has the heap's id in it, so it says nothing to a program with another heap; it is empty where
/// the manager has nothing.
const STORED: &str = "HEIRLOOM_HANDOVER_STORED";

/// The name under which the manager has this process's heap.
static STORED_NAME: Mutex<Option<String>> = Mutex::new(None);

fn stored_name() -> MutexGuard<'static, Option<String>> {
    STORED_NAME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a predecessor has said.
struct Word {
    stored: String,
    was_main: bool,
}

fn word_of_predecessor() -> Option<Word> {
    let value = std::env::var(STORED).ok()?;
    let (stored, role) = value.split_once(':')?;
    Some(Word { stored: stored.to_owned(), was_main: role == "main" })
}

/// The variable for a successor, where there is something to tell.
pub(crate) fn word_to_successor() -> Option<CString> {
    let stored = stored_name();
    let is_main = manager::is_main_process();
    if stored.is_none() && !is_main {
        return None;
    }
    let role = if is_main { "main" } else { "other" };
    CString::new(format!("{STORED}={}:{role}", stored.as_deref().unwrap_or_default())).ok()
}

/// Notes, in a process to which another has just handed over, whether it is the service's main process now.
pub(crate) fn take_role_of_predecessor() {
    if word_of_predecessor().is_some_and(|word| word.was_main) {
        manager::become_main_process();
    }
}

/// Tells the manager, from a process that has handed over and is about to end, that its successor is the service now.
pub(crate) fn leave_role_to(successor: u32) {
    if let Err(error) = manager::pass_on_main_process(successor) {
        eprintln!("heirloom: the service manager was not told of the new main process: {error}");
    }
}

/// The name under which the manager was given the open heap to keep; `None` where it was not.
pub(crate) fn stored_as() -> Option<String> {
    stored_name().clone()
}

/// What the manager has opened for this process besides heaps, such as sockets to listen on.
pub(crate) fn others() -> io::Result<Vec<(String, OwnedFd)>> {
    let others = manager::inherited()?.into_iter().filter(|(_, name)| !is_name_of_heap(name));
    Ok(others.map(|(fd, name)| (name, fd)).collect())
}

/// All that the manager has opened for this process, ours or not.
pub(super) fn all_inherited() -> Vec<BorrowedFd<'static>> {
    manager::all_inherited()
}

/// Opens the memory behind a descriptor anew: locks of one do not concern the other.
fn open_anew(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    if !sys::file_facts(fd)?.is_regular {
        // Opening a fifo or a device may have effects.
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    sys::reopen(fd)
}

/// The heap's name in the manager's alphabet: printable ASCII, no colon; the id behind it makes it exact.
fn name_of(heap: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '_' };
    format!("{PREFIX}{}", heap.chars().map(plain).collect::<String>())
}

/// A socket unit may be called `heirloom-` something too.
fn is_name_of_heap(name: &str) -> bool {
    name.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('-')).is_some_and(|(_, id)| is_id(id))
}

fn id_text(id: &[u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}
