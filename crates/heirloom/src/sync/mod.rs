//! Locks that lie in the heap and outlive their holders.
//!
//! A lock word names the generation of its holder. Threads do not survive their process, so a lock that an earlier
//! generation left taken is free; and as its holder was stopped at some instruction, it is poisoned too. A panic
//! poisons a lock as it does in std, but locking does not return a `Result`: data that must not be trusted after a
//! panic is asked for with `is_poisoned`, which a program does at its start, root by root.
//!
//! ```text
//!           lock (one compare-and-swap)
//!   free  ------------------------------>  held by this generation
//!     ^                                       |              |
//!     |            unlock                     |              | the process ends
//!     +---------------------------------------+              v
//!     |                                       held by an earlier generation
//!     |  lock: free, and poisoned                            |
//!     +------------------------------------------------------+
//! ```
//!
//! Waiting threads sleep on the word by futex. Nobody is served in order.

mod futex;
mod mutex;
mod once;
mod rwlock;

pub use mutex::{Mutex, MutexGuard};
pub use once::{Once, OnceLock};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// In what state a lock was left by those who held it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nobody held it.
    Free,
    /// So many threads were reading.
    BeingRead {
        /// How many.
        readers: u32,
    },
    /// A thread was in the middle of changing it: the value may be half changed.
    BeingChanged {
        /// The generation of that thread; for a mutex, modulo 2^29.
        generation: u32,
    },
    /// A thread had panicked while it changed it, and nobody has looked after it since.
    Poisoned,
}

impl Left {
    /// Reads what a lock's first eight bytes say, by the name of its type; `None` where that is no lock.
    pub(crate) fn read(type_text: &str, word: u64) -> Option<Self> {
        if type_text.starts_with("Mutex<") {
            Some(mutex::left_in(word as u32))
        } else if type_text.starts_with("RwLock<") {
            Some(rwlock::left_in(word))
        } else {
            None
        }
    }
}

/// Version of the layout of [`Mutex`].
pub const MUTEX_FORMAT_VERSION: u32 = 1;

/// Version of the layouts of [`Once`] and [`OnceLock`].
pub const ONCE_FORMAT_VERSION: u32 = 1;

/// Version of the layout of [`RwLock`].
pub const RWLOCK_FORMAT_VERSION: u32 = 1;
