//! What a heap tells about itself.

use heirloom_abi::pool::{PoolError, Tally};

/// Where the heap of this process came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is new.
    Created,
    /// A predecessor handed it over, or closed its file in order.
    Inherited,
    /// Its owner died: what the magazines held was folded back, and what threads were changing may be half done.
    Recovered {
        /// Free slots that were listed outside the bitmaps.
        folded: u64,
        /// Slots given back because they had not been stored anywhere yet.
        returned: u64,
    },
}

/// Figures of the last hand-over and of the heap's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// This generation, counted from 1.
    pub generation: u32,
    /// By which channel it came to this generation; `None` in the first.
    pub channel: Option<crate::Channel>,
    /// Microseconds that the predecessor's freeze took; 0 in the first generation.
    pub freeze_us: u64,
    /// Microseconds from the frozen heap to the claimed one in this generation; 0 in the first.
    pub restore_us: u64,
    /// Microseconds in which this generation made objects of its own types from its predecessor's, before it acknowledged.
    pub migration_us: u64,
    /// When the predecessor began its freeze, on `CLOCK_MONOTONIC` in nanoseconds; 0 in the first generation.
    pub frozen_ns: u64,
    /// Bytes of the file, holes included.
    pub file_bytes: u64,
    /// Bytes of it that have memory: most of the records are holes until a thread needs them.
    pub held_bytes: u64,
    /// Bytes that the heap may grow to.
    pub size_limit: u64,
    /// Bytes of records outside the blocks: header, map, roots, caches, block table, CPU slots in use.
    pub metadata_bytes: u64,
    /// True where huge pages were asked for and the system offers them.
    pub huge_pages: bool,
    /// True where the heap's file is on a disk: slower, and not memory that a successor finds as it was after a power cut.
    pub on_disk: bool,
    /// Frees that named no slot or a free one, and damaged slab records, seen so far.
    pub faults: u64,
    /// Objects that no root reached and that were given back when the heap was opened; see [`crate::Heap::reclaimed`].
    pub reclaimed_objects: u64,
    /// Bytes of their slots.
    pub reclaimed_bytes: u64,
}

/// What a walk over every block found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Allocated objects.
    pub live_objects: u64,
    /// Bytes of their slots.
    pub live_bytes: u64,
    /// Blocks.
    pub blocks: u64,
    /// Bytes of all blocks.
    pub pool_bytes: u64,
    /// Bytes of records: block headers, and [`Stats::metadata_bytes`].
    pub metadata_bytes: u64,
    /// Bytes that hold no live object and cannot be allocated.
    pub stranded_bytes: u64,
    /// Bytes of free memory that are not zero.
    pub stale_bytes: u64,
}

impl Scan {
    pub(super) fn new(tally: &Tally, records: u64) -> Self {
        Self {
            live_objects: tally.live_objects,
            live_bytes: tally.live_bytes,
            blocks: tally.blocks,
            pool_bytes: tally.pool_bytes,
            metadata_bytes: tally.metadata_bytes + records,
            stranded_bytes: tally.stranded_bytes,
            stale_bytes: tally.stale_bytes,
        }
    }
}

/// A walk over the heap was not made, or found something broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The calling thread, or another for too long, was inside.
    #[error("a thread stayed inside the heap: drop every `Inside` first")]
    Inside,
    /// Another thread hands the heap over.
    #[error("a hand-over is under way: wait for its end")]
    HandOver,
    /// The first broken record, and how many there are.
    #[error("{first} (and {more} more)")]
    Pool {
        /// The first.
        first: PoolError,
        /// How many came after it.
        more: u64,
    },
}
