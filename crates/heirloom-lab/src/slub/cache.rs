//! A cache: how its slabs are laid out, and which of them it is allocating from.

use super::list::{List, NONE};
use super::merge::Flags;

/// A cache, by its number. Two names that merged have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheId(pub u16);

/// How the slabs of a cache are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of a slot, a multiple of 8.
    pub slot_bytes: u64,
    /// Slots of a slab.
    pub slots: u32,
    /// Binary logarithm of a slab's pages.
    pub order: u32,
}

#[derive(Debug)]
pub(super) struct Cache {
    pub(super) layout: Layout,
    pub(super) flags: Flags,
    pub(super) active: u32,
    pub(super) partial: List,
}

impl Cache {
    pub(super) fn new(layout: Layout, flags: Flags) -> Self {
        Self { layout, flags, active: NONE, partial: List::new() }
    }
}

/// Partial slabs that a cache keeps even if they are empty: half the binary logarithm of the size, 5 to 10.
pub(super) fn min_partial(slot_bytes: u64) -> u32 {
    (slot_bytes.ilog2() / 2).clamp(5, 10)
}
