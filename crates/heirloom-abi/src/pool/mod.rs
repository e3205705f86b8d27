//! The `heirloom-slab` record: the pool of preserved blocks as it lies in memory.
//!
//! Unlike most formats this one is the *running* state, not a copy made at the end: the allocator works on these
//! very bytes, and a successor finds them where they are. This module says where each field lies and what may
//! stand there; `heirloom-slab` works on them with atomics and asserts that its offsets are these.
//!
//! ```text
//! control area                                  block (aligned to its size)
//! +--------------------------------+            +-----------------------------+  unit 0
//! | PoolRecord            (4 KiB)  |            | BlockHead                   |
//! | CacheRecord x max_caches       |            | SlabRecord + bitmaps        |  one for each unit
//! | BlockRecord x max_blocks       |--offset--> | SlabRecord + bitmaps        |
//! | CpuRecord   x max_cpus         |            | ...                         |
//! |   CpuCacheRecord x max_caches  |            +-----------------------------+  header_units
//! +--------------------------------+            | slab: 2^order units         |
//!                                               | slab ...                    |
//!                                               +-----------------------------+
//! ```
//!
//! All integers are little-endian. Every reference is an offset from the base of the memory that the pool lives
//! in (a file offset, or a physical address), never a pointer.

mod geometry;
mod reader;
mod records;

pub use geometry::{Geometry, GeometryError, MIN_SLOT_BYTES, WORD_SLOTS};
pub use reader::{BlockView, CacheView, Listed, Memory, PoolError, PoolReader, SlabView, Tally};
pub use records::{
    BLOCK_KIND_HUGE, BLOCK_KIND_NONE, BLOCK_KIND_SLABS, BLOCK_MAGIC, BlockHead, BlockRecord, CACHE_MERGEABLE,
    CACHE_NAME_BYTES, COMPATIBLE, CacheRecord, CpuCacheRecord, CpuRecord, MAGAZINE_SLOTS, MIN_MAGAZINE,
    POOL_RECORD_BYTES, PoolRecord, SLAB_KIND_FREE, SLAB_KIND_LARGE, SLAB_KIND_SLAB, SLAB_KIND_TAIL,
    SlabRecord,
};
