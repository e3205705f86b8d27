//! What the manager has of ours, as this process knows it: what it was started with, and what it has stored and dropped since.
//!
//! ```text
//! LISTEN_FDS      at the start: H1, H2     all() = what was there at the start
//! FDSTORE         H3                               + what was stored since
//! FDSTOREREMOVE   H1                               - what was dropped since
//! HEIRLOOM_HANDOVER_STORED=H3:main                 a successor knows that it need not store H3 again
//! ```

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::manager;
use crate::backing::{self, BackingError};
use crate::sys;

/// A heap that the manager has.
#[derive(Debug)]
pub(super) struct Stored {
    /// An open file of our own, or the one that was sent; nothing is locked.
    pub(super) heap: OwnedFd,
    /// The name under which the manager has it.
    pub(super) name: String,
    /// It was copied to a file, and another one stands in its place.
    pub(super) is_aside: bool,
}

impl Stored {
    /// Notes in the heap that it was set aside, where it can be noted: whatever becomes of the store, it is not taken for the heap
    /// that counts any more.
    pub(super) fn mark(&mut self) {
        // One whose header cannot be read comes behind all others in any case.
        let _ = self.lock().and_then(|()| backing::mark_set_aside(&self.heap));
        self.is_aside = true;
    }

    /// Makes sure that no program owns it.
    pub(super) fn lock(&self) -> Result<(), BackingError> {
        backing::Backing::lock(&self.heap)
    }
}

/// What changed since the start.
struct Changes {
    /// The last is the heap of this process.
    stored: Vec<Stored>,
    removed: Vec<String>,
}

static CHANGES: Mutex<Changes> = Mutex::new(Changes { stored: Vec::new(), removed: Vec::new() });

fn changes() -> MutexGuard<'static, Changes> {
    CHANGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the manager has now, by what it had `at_start`.
pub(super) fn all(at_start: Vec<(OwnedFd, String)>) -> Vec<(OwnedFd, String)> {
    let changes = changes();
    let is_stored = |name: &String| changes.stored.iter().any(|stored| stored.name == *name);
    let mut all = at_start;
    all.retain(|(_, name)| !changes.removed.contains(name) && !is_stored(name));
    all.extend(changes.stored.iter().filter_map(|stored| {
        let copy = sys::duplicate(stored.heap.as_fd()).ok()?;
        Some((copy, stored.name.clone()))
    }));
    all
}

/// True where this process has stored it.
pub(super) fn has(name: &str) -> bool {
    changes().stored.iter().any(|stored| stored.name == name)
}

/// The manager has it, and it is this process's heap.
pub(super) fn remember(heap: Stored) {
    let mut changes = changes();
    changes.removed.retain(|removed| *removed != heap.name);
    changes.stored.retain(|stored| stored.name != heap.name);
    changes.stored.push(heap);
}

/// The manager is told to drop it.
pub(super) fn forget(name: &str) {
    let mut changes = changes();
    changes.stored.retain(|stored| stored.name != name);
    changes.removed.push(name.to_owned());
}

/// The variable that tells a successor what the manager has already, and whether its predecessor was the service's main process:
/// `NAME:main` or `NAME:other`. The name has the heap's id in it, so it says nothing to a program with another heap; it is empty where
/// the manager has nothing.
const WORD: &str = "HEIRLOOM_HANDOVER_STORED";

/// What a predecessor has said.
struct Word {
    stored: String,
    was_main: bool,
}

fn word_of_predecessor() -> Option<Word> {
    let value = std::env::var(WORD).ok()?;
    let (stored, role) = value.split_once(':')?;
    Some(Word { stored: stored.to_owned(), was_main: role == "main" })
}

/// True where the predecessor has stored it.
pub(super) fn was_stored(name: &str) -> bool {
    word_of_predecessor().is_some_and(|word| word.stored == name)
}

/// The variable for a successor, where there is something to tell.
pub(crate) fn word_to_successor() -> Option<CString> {
    let stored = stored_as();
    let is_main = manager::is_main_process();
    if stored.is_none() && !is_main {
        return None;
    }
    let role = if is_main { "main" } else { "other" };
    CString::new(format!("{WORD}={}:{role}", stored.as_deref().unwrap_or_default())).ok()
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
    Some(changes().stored.last()?.name.clone())
}
