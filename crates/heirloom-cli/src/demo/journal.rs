//! What a generation leaves for the next beside the data: where the random numbers stand, and when it last did work.

use heirloom::Heritable;
use heirloom::sync::Mutex;

heirloom::root! {
    /// The journal that all generations share.
    pub(crate) static JOURNAL: Mutex<Journal> = "journal";
}

/// The journal.
#[derive(Clone, Copy, Debug, Default, Heritable)]
#[repr(C)]
pub(crate) struct Journal {
    /// State of [`Random`](super::random::Random).
    pub(crate) random: u64,
    /// When the last operation was completed, by [`now_ns`](super::clock::now_ns).
    pub(crate) last_operation_ns: u64,
    /// The generation that completed it.
    pub(crate) generation: u64,
}
