//! What the tests of the collections have in common: values that count themselves, or that panic.

use std::cell::Cell;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A process has one heap at a time: tests that open one take turns.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many values live.
pub(crate) type Live = Rc<Cell<i64>>;

/// Runs a job and returns whether it panicked.
pub(crate) fn panics(job: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(job)).is_err()
}

/// A value that counts how many of its kind live.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) id: u8,
    live: Live,
}

impl Counted {
    pub(crate) fn new(id: u8, live: &Live) -> Self {
        live.set(live.get() + 1);
        Self { id, live: live.clone() }
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(self.id, &self.live)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.live.set(self.live.get() - 1);
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Counted {}

impl PartialOrd for Counted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Counted {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

/// A value that counts how often its kind is dropped, and panics then if it is armed.
pub(crate) struct Grenade<'a>(pub(crate) bool, pub(crate) &'a Cell<u32>);

impl Drop for Grenade<'_> {
    fn drop(&mut self) {
        self.1.set(self.1.get() + 1);
        assert!(!self.0, "bang");
    }
}
