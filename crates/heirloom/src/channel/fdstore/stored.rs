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
/// `NAME:main` or `NAME:other`. The name has the heap's id in it, so it says nothing to a program with another heap.
const WORD: &str = "HEIRLOOM_HANDOVER_STORED";

/// What the predecessor said of the descriptor of this name: `Some(true)` from a main process.
pub(super) fn word_of_predecessor(name: &str) -> Option<bool> {
    let value = std::env::var(WORD).ok()?;
    let (stored, role) = value.split_once(':')?;
    (stored == name).then_some(role == "main")
}

/// The variable for a successor, where there is something to tell.
pub(crate) fn word_to_successor() -> Option<CString> {
    let changes = changes();
    let role = if manager::is_main_process() { "main" } else { "other" };
    CString::new(format!("{WORD}={}:{role}", changes.stored.last()?.name)).ok()
}
