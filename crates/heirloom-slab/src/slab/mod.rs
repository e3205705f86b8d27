//! A slab: a run of units cut into equal slots, and the bitmaps that say which are free.
//!
//! ```text
//!            owner (plain loads and stores, under its CPU's lock)       everybody else (atomics)
//! free words   [1011..][0000..][1111..]                  remote words   [0100..][0000..][0000..]
//! summary      101                                       summary        1
//!                  ^ bit set: the slot is free               ^ freed by others, not folded in yet
//! ```
//!
//! **The bitmap is the free list.** No list runs through free slots, so a free slot can be all zeros. A slot is free if its
//! free word, its remote word, an accumulator or a magazine says so (a union): every step lists the slot in its new
//! place first and drops it from the old one after, so that a kill between the two loses nothing.
//!
//! **The trap.** The union is sound only while nobody takes the slot at the new place before the old one is
//! dropped. A CPU that publishes its accumulator ORs it into a remote word first and clears the accumulator after; if
//! the owner took the bits between the two and handed the slot out, a kill would leave a live object listed as free.
//! So a publisher counts itself in `publishing`, and the owner, having read the bits, leaves them where the count
//! is not zero.
//!
//! # Invariants
//!
//! - *listed*: a free slot is in the union at every instant.
//! - *alone*: a live slot is not.
//! - *kept*: a slab is taken down only when all its bits are in the free words and nobody publishes into it.

mod local;
mod remote;

pub(crate) use remote::Accumulator;

use crate::sync::{AtomicU32, AtomicU64};

/// The descriptor's fixed part: `heirloom_abi::pool::SlabRecord` with atomics.
#[repr(C, align(64))]
pub(crate) struct SlabHead {
    pub(crate) kind: AtomicU32,
    pub(crate) cache: AtomicU32,
    pub(crate) units: AtomicU32,
    pub(crate) slot_bytes: AtomicU32,
    pub(crate) nr_slots: AtomicU32,
    pub(crate) nr_free: AtomicU32,
    pub(crate) owner: AtomicU64,
    pub(crate) reciprocal: AtomicU64,
    pub(crate) summary: AtomicU64,
    pub(crate) next: AtomicU64,
    pub(crate) prev: AtomicU64,
    pub(crate) remote_summary: AtomicU64,
    pub(crate) remote_next: AtomicU64,
    pub(crate) publishing: AtomicU32,
    pub(crate) announced: AtomicU32,
    pub(crate) head_unit: AtomicU32,
    pub(crate) listed: AtomicU32,
    pub(crate) object_bytes: AtomicU64,
    pub(crate) seal: AtomicU64,
    pub(crate) reserved: [AtomicU64; 2],
}

/// A descriptor with its bitmaps, wherever they lie.
#[derive(Clone, Copy)]
pub(crate) struct Slab<'a> {
    /// Offset of the descriptor.
    pub(crate) at: u64,
    pub(crate) head: &'a SlabHead,
    pub(crate) free: &'a [AtomicU64],
    pub(crate) remote: &'a [AtomicU64],
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    use heirloom_abi::pool::SlabRecord;
    assert!(size_of::<SlabHead>() == size_of::<SlabRecord>());
    assert!(offset_of!(SlabHead, owner) == offset_of!(SlabRecord, owner));
    assert!(offset_of!(SlabHead, summary) == offset_of!(SlabRecord, summary));
    assert!(offset_of!(SlabHead, remote_summary) == offset_of!(SlabRecord, remote_summary));
    assert!(offset_of!(SlabHead, publishing) == offset_of!(SlabRecord, publishing));
    assert!(offset_of!(SlabHead, head_unit) == offset_of!(SlabRecord, head_unit));
    assert!(offset_of!(SlabHead, object_bytes) == offset_of!(SlabRecord, object_bytes));
    assert!(offset_of!(SlabHead, seal) == offset_of!(SlabRecord, seal));
};
