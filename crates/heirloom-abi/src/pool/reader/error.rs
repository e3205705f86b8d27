//! What can be wrong with a pool.

use crate::pool::GeometryError;

/// What is wrong with a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// A record lies outside the memory.
    #[error("{what} at {offset:#x} lies outside the memory")]
    Outside {
        /// Which record.
        what: &'static str,
        /// Its offset.
        offset: u64,
    },
    /// The record is no pool, or one of another format.
    #[error("no `heirloom-slab-v2` pool at {0:#x}")]
    Foreign(u64),
    /// The record says that it lies elsewhere.
    #[error("the pool record at {found:#x} says that it lies at {recorded:#x}")]
    Moved {
        /// Where it was read.
        found: u64,
        /// Where it says it is.
        recorded: u64,
    },
    /// The geometry is out of range.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// A checksum does not agree.
    #[error("checksum of {what} is {found:#018x}, recorded as {recorded:#018x}")]
    Checksum {
        /// Of what.
        what: &'static str,
        /// Computed.
        found: u64,
        /// Recorded.
        recorded: u64,
    },
    /// The pool was not frozen: its owner died, or still runs.
    #[error("the pool is not frozen: its owner still runs, or died without a freeze")]
    NotFrozen,
    /// A count is above its limit.
    #[error("{what} is {value}, at most {most} is possible")]
    Count {
        /// Of what.
        what: &'static str,
        /// What the record says.
        value: u64,
        /// The limit.
        most: u64,
    },
    /// A cache's numbers do not fit each other.
    #[error("cache {index}: {what} is {value}")]
    Cache {
        /// Which cache.
        index: u32,
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// A block table entry or a block's header is wrong.
    #[error("block {index} at {offset:#x}: {what} is {value:#x}")]
    Block {
        /// Its entry in the table.
        index: u32,
        /// Its offset.
        offset: u64,
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// A slab descriptor is wrong.
    #[error("slab at unit {unit} of block {block}: {what} is {value:#x}")]
    Slab {
        /// Entry of its block in the table.
        block: u32,
        /// Its first unit.
        unit: u32,
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// Free slots of a frozen pool are listed outside the bitmaps.
    #[error("cpu slot {cpu}: {what} is {value}, not 0 as in a frozen pool")]
    Unsettled {
        /// Which CPU slot.
        cpu: u32,
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
}
