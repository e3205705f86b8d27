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
//! A heap is stored under its id too, so that for a moment two may stand beside each other: the one that cannot be used is copied to a
//! file and marked in its header, the new one stored, the old one dropped. Cut anywhere, the next start finds the one that counts: what is
//! marked is passed over. What a process has stored it remembers, since `LISTEN_FDS` tells of its start alone.
//!
//! The lock that says "this heap has an owner" belongs to an *open file*, and what is sent to the manager is the same
//! open file: its lock would outlive every owner. So the manager gets, and each service makes for itself, an open file of its own
//! on the same memory, through `/proc/self/fd`.
//!
//! # Invariants (tested in `tests/fdstore.rs`, against a stand-in manager)
//!
//! - *stored*: from the first answer of a service on, the manager has its heap.
//! - *nothing is thrown away*: what is dropped from the store was copied to a file before, unless it is the heap of a life that went on.
//! - *one owner*: what the manager holds locks nothing.
//! - *distrust*: a descriptor under our name that is no heap of that id is passed over, and said so.

mod manager;
mod stored;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use heirloom_abi::heap::{HEADER_BYTES, Header, Phase};

pub use manager::NoStore;
pub(crate) use manager::check_store;

use super::rescue::rescue;
use super::{Channel, Found, Kept, Open, Point, Source, SourceError, point};
use crate::backing;
use crate::sys;
use stored::Stored;
pub(crate) use stored::{leave_role_to, stored_as, take_role_of_predecessor, word_to_successor};

/// What stands before the heap's name in the names of its descriptors.
const PREFIX: &str = "heirloom-";

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

    /// Where several are kept, one of them was to take the other's place: those that are marked count for nothing, of the others the
    /// one that has seen most generations, or the one that can be read at all.
    fn find(&self, name: &str) -> Result<Option<Found>, SourceError> {
        let mut found = self.found();
        *found = find(name)?;
        name.clone_into(&mut self.heap_name());
        let Some(first) = found.first().filter(|first| !first.is_aside) else { return Ok(None) };
        point(Point::FinderFound);
        let heap = sys::duplicate(first.heap.as_fd())?;
        Ok(Some(Found::Left { heap, luggage: Vec::new() }))
    }

    fn set_aside(&self) -> io::Result<PathBuf> {
        let mut found = self.found();
        let first = found.first_mut().ok_or(io::ErrorKind::NotFound)?;
        let path = rescue(&self.heap_name(), &first.heap)?;
        first.mark();
        Ok(path)
    }

    fn try_again(&self) {
        super::reexec_self_for_address(None, None);
    }

    fn keep(&self, heap: &Open<'_>) -> Result<Option<Box<dyn Kept>>, SourceError> {
        let found: Vec<Stored> = self.found().drain(..).collect();
        // A socket that was inherited from somebody who is gone must not keep a program from starting.
        if let Err(error) = store(heap, found) {
            eprintln!("heirloom: the service manager does not keep the heap: {error}");
        }
        // A heap that is closed stays with the manager: that is what it is there for.
        Ok(None)
    }
}

/// Returns the heaps of this name that the manager has kept, the most useful one first: whoever has seen more generations. Those that
/// were set aside come last.
///
/// What is under our name and is no heap is passed over with a line on standard error.
fn find(heap_name: &str) -> io::Result<Vec<Stored>> {
    let mut found = Vec::new();
    let inherited = manager::inherited().unwrap_or_else(|error| {
        eprintln!(
            "heirloom: what the service manager has passed on is not understood, and passed over: {error}"
        );
        Vec::new()
    });
    for (fd, name) in stored::all(inherited) {
        if !is_name_of_heap(&name) {
            continue;
        }
        let Some(id) = name.strip_prefix(&format!("{}-", name_of(heap_name))).filter(|id| is_id(id)) else {
            continue;
        };
        match open_anew(fd.as_fd()).map_err(Refused::from).and_then(|fd| Ok((header_of(&fd)?, fd))) {
            Ok((header, heap)) if is_the_one(&header, heap_name, id) => {
                let is_aside = header.state.phase == Phase::SetAside;
                found.push((header.state.generation, Stored { heap, name, is_aside }));
            }
            Ok(_) => {
                eprintln!("heirloom: the stored descriptor {name:?} is of another heap; it is passed over")
            }
            // A header that cannot be read may be one of another version: opening it says why.
            Err(Refused::Header(error)) => {
                eprintln!("heirloom: the stored descriptor {name:?}: {error}");
                if let Ok(heap) = open_anew(fd.as_fd()) {
                    found.push((0, Stored { heap, name, is_aside: false }));
                }
            }
            Err(Refused::System(error)) => {
                eprintln!(
                    "heirloom: the stored descriptor {name:?} cannot be opened ({error}); it is passed over"
                );
            }
        }
    }
    found.sort_by_key(|(generation, stored)| (stored.is_aside, std::cmp::Reverse(*generation)));
    Ok(found.into_iter().map(|(_, stored)| stored).collect())
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

/// Gives the manager the heap to keep, if it keeps anything, and takes those out of the store in whose place it stands.
///
/// Sent, not acknowledged: the manager reads its socket in order, so what a service sends before it ends is stored.
fn store(heap: &Open<'_>, found: Vec<Stored>) -> io::Result<()> {
    if !manager::may_keep() {
        return Ok(());
    }
    let name = format!("{}-{}", name_of(heap.name), id_text(&heap.id));
    let has_it =
        stored::was_stored(&name) || found.iter().any(|stored| stored.name == name) || stored::has(&name);
    // An open file is compared with those in the store, so a second one of the same memory would fill it up.
    let kept = open_anew(heap.heap)?;
    if !has_it {
        manager::store(&name, kept.as_fd())?;
    }
    let copy = sys::duplicate(kept.as_fd())?;
    stored::remember(Stored { heap: kept, name: name.clone(), is_aside: false });
    let mut nr_removed = 0;
    for other in found.into_iter().filter(|other| other.name != name) {
        if may_be_removed(heap.name, &other) {
            manager::remove(&other.name)?;
            stored::forget(&other.name);
            nr_removed += 1;
        }
    }
    // A store that was full has dropped the new one. One that was not knows the open file that it has.
    let was_full = manager::most_kept().is_some_and(|most| manager::all_inherited().len() >= most);
    if !has_it && nr_removed > 0 && was_full {
        manager::store(&name, copy.as_fd())?;
    }
    Ok(())
}

/// Whether a heap of the same name can go out of the store: it was copied to a file, now if not before.
fn may_be_removed(heap_name: &str, other: &Stored) -> bool {
    if other.is_aside {
        return true;
    }
    let name = &other.name;
    // One that is owned is somebody's, whatever its name.
    let copied = other.lock().map_err(io::Error::other).and_then(|()| rescue(heap_name, &other.heap));
    match copied {
        Ok(path) => {
            let path = path.display();
            eprintln!(
                "heirloom: the service manager kept another heap of this name, {name}: it is in {path} now"
            );
            true
        }
        Err(error) => {
            eprintln!(
                "heirloom: the service manager keeps another heap of this name, {name}, which stays: {error}"
            );
            false
        }
    }
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
