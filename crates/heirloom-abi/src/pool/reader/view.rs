//! What the records of a pool say, copied out.

use crate::pool::records::*;

/// One cache as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheView {
    /// Its index.
    pub index: u32,
    /// Its name, padded with zeros.
    pub name: [u8; CACHE_NAME_BYTES],
    /// Bytes of a slot.
    pub slot_bytes: u32,
    /// Alignment of a slot.
    pub align: u32,
    /// Order of its slabs.
    pub slab_order: u32,
    /// Slots of a slab.
    pub nr_slots: u32,
    /// Slots of a magazine.
    pub magazine: u32,
    /// Flags.
    pub flags: u32,
}

impl CacheView {
    /// The name up to its padding; `"?"` where it is no UTF-8.
    pub fn name(&self) -> &str {
        let len = self.name.iter().position(|&byte| byte == 0).unwrap_or(CACHE_NAME_BYTES);
        self.name.get(..len).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or("?")
    }
}

/// One entry of the block table as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockView {
    /// Its index in the table.
    pub index: u32,
    /// Offset of the block.
    pub offset: u64,
    /// One of the `BLOCK_KIND_*`.
    pub kind: u32,
    /// Blocks in a row.
    pub run: u32,
    /// Units that nothing holds.
    pub free_units: u64,
    /// Slabs with free slots.
    pub partial_units: u64,
    /// Units that may hold old bytes.
    pub dirty_units: u64,
    /// Bytes of a huge object.
    pub object_bytes: u64,
}

/// One slab or large object as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabView {
    /// Entry of its block in the table.
    pub block: u32,
    /// Its first unit.
    pub unit: u32,
    /// `SLAB_KIND_SLAB` or `SLAB_KIND_LARGE`.
    pub kind: u32,
    /// Its cache.
    pub cache: u32,
    /// Its units.
    pub units: u32,
    /// Bytes of a slot.
    pub slot_bytes: u32,
    /// Slots.
    pub nr_slots: u32,
    /// Slots counted as free.
    pub nr_free: u32,
    /// Slots whose bit is set in the free or the remote words.
    pub free_bits: u32,
    /// Bytes of a large object.
    pub object_bytes: u64,
    /// Offset of the descriptor.
    pub descriptor: u64,
    /// Offset of the first slot.
    pub base: u64,
}

/// Sums over a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Allocated slots and large objects.
    pub live_objects: u64,
    /// Bytes of their slots.
    pub live_bytes: u64,
    /// Blocks, those of huge objects included.
    pub blocks: u64,
    /// Bytes of all blocks.
    pub pool_bytes: u64,
    /// Slabs.
    pub slabs: u64,
    /// Free slots.
    pub free_slots: u64,
    /// Bytes of headers in the blocks.
    pub metadata_bytes: u64,
    /// Bytes that hold no live object and that nothing can be allocated from: tails of slabs and of huge objects.
    pub stranded_bytes: u64,
    /// Bytes of free slots and free units that are not zero.
    pub stale_bytes: u64,
}
