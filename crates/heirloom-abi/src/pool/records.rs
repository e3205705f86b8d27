//! The records of a pool, field by field.
//!
//! They are declared as plain `repr(C)` structures so that the compiler states their offsets; nothing reads memory
//! through them. `heirloom-slab` has structures of atomics with the same offsets.

/// The `compatible` string of the record. It changes with any layout below.
pub const COMPATIBLE: [u8; 16] = *b"heirloom-slab-v2";

/// Bytes that [`PoolRecord`] takes, its reserved rest included.
pub const POOL_RECORD_BYTES: u64 = 4096;

/// Bytes of a cache's name, padded with zeros.
pub const CACHE_NAME_BYTES: usize = 32;

/// Slots that a magazine can hold at most: a power of two.
pub const MAGAZINE_SLOTS: usize = 1024;

/// Slots that a magazine holds at least.
pub const MIN_MAGAZINE: u32 = 8;

/// First word of each block that holds slabs: "HLBLOCK1".
pub const BLOCK_MAGIC: u64 = u64::from_le_bytes(*b"HLBLOCK1");

/// A table entry without a block.
pub const BLOCK_KIND_NONE: u32 = 0;
/// A block that is cut into slabs and large objects.
pub const BLOCK_KIND_SLABS: u32 = 1;
/// The first block of an object that is larger than a block.
pub const BLOCK_KIND_HUGE: u32 = 2;

/// A descriptor whose unit is free (or a tail whose head says so).
pub const SLAB_KIND_FREE: u32 = 0;
/// A slab of equal slots.
pub const SLAB_KIND_SLAB: u32 = 1;
/// One object on a run of units.
pub const SLAB_KIND_LARGE: u32 = 2;
/// A further unit; `head_unit` says which descriptor speaks for it.
pub const SLAB_KIND_TAIL: u32 = 3;

/// Flag of a cache: others of like size may share it.
pub const CACHE_MERGEABLE: u32 = 1;

/// The head of the control area.
#[repr(C)]
pub struct PoolRecord {
    /// [`COMPATIBLE`].
    pub compatible: [u8; 16],
    /// [`super::Geometry::block_shift`].
    pub block_shift: u32,
    /// [`super::Geometry::unit_shift`].
    pub unit_shift: u32,
    /// [`super::Geometry::max_caches`].
    pub max_caches: u32,
    /// [`super::Geometry::max_cpus`].
    pub max_cpus: u32,
    /// [`super::Geometry::max_blocks`].
    pub max_blocks: u32,
    /// When free slots are zeroed: 0 on free, 1 at the freeze.
    pub scrub: u32,
    /// A random number that every block of this pool carries.
    pub pool_id: u64,
    /// Offset of the control area itself.
    pub control_offset: u64,
    /// Checksum (XXH64, seed 0) of the bytes above.
    pub identity_checksum: u64,
    /// Entries of the block table that were ever in use.
    pub nr_blocks: u32,
    /// CPU slots that were ever in use.
    pub nr_cpus: u32,
    /// Caches in use.
    pub nr_caches: u32,
    /// 1 from the end of a freeze to the next thaw or restore.
    pub frozen: u32,
    /// The next tenure: each use of a CPU slot gets a number of its own.
    pub next_tenure: u64,
    /// Freezes of this pool so far.
    pub nr_freezes: u64,
    /// Checksum of the tables, written by the freeze: this record from `nr_blocks` (this field as zero), caches, block table.
    pub tables_checksum: u64,
    /// 1 where each slab's `seal` was written by the last freeze too.
    pub sealed: u32,
    /// Zero.
    pub reserved: u32,
}

/// One cache: slots of one size.
#[repr(C)]
pub struct CacheRecord {
    /// Its name, padded with zeros.
    pub name: [u8; CACHE_NAME_BYTES],
    /// Bytes of a slot.
    pub slot_bytes: u32,
    /// Alignment of a slot, a power of two.
    pub align: u32,
    /// A slab has `2^slab_order` units.
    pub slab_order: u32,
    /// Slots of a slab.
    pub nr_slots: u32,
    /// Slots that a magazine of this cache holds: [`MIN_MAGAZINE`] to [`MAGAZINE_SLOTS`].
    pub magazine: u32,
    /// [`CACHE_MERGEABLE`].
    pub flags: u32,
    /// Counts up whenever slabs of this cache were left without an owner.
    pub orphan_stamp: u64,
    /// Zero.
    pub reserved: [u64; 8],
}

/// One entry of the block table. Sorted by nothing; an entry keeps its index for the block's life.
#[repr(C)]
pub struct BlockRecord {
    /// Offset of the block.
    pub offset: u64,
    /// One of the `BLOCK_KIND_*`.
    pub kind: u32,
    /// Blocks of a huge object (only the first has a header and an entry); 1 otherwise.
    pub run: u32,
    /// Units that no slab and no large object holds. Derived: the descriptors' kinds are the truth.
    pub free_units: u64,
    /// First units of slabs with at least one free slot. Derived.
    pub partial_units: u64,
    /// First units of slabs whose free slots may hold old bytes, and free units that may.
    pub dirty_units: u64,
    /// Caches that have, or had, a slab here: bit `n % 64` of word `n / 64`. A hint for the search.
    pub caches: [u64; 2],
    /// Bytes of the huge object that starts here.
    pub object_bytes: u64,
}

/// The first bytes of a block.
#[repr(C)]
pub struct BlockHead {
    /// [`BLOCK_MAGIC`].
    pub magic: u64,
    /// [`PoolRecord::pool_id`].
    pub pool_id: u64,
    /// The block's own offset.
    pub offset: u64,
    /// Its entry in the block table.
    pub index: u32,
    /// NUMA node of its pages.
    pub node: u32,
    /// Zero.
    pub reserved: [u64; 12],
}

/// A slab descriptor: what the thread asked to record (cache, order, slot size, slots, node, bitmap), and the running state.
/// The free words, then the remote words, follow it.
#[repr(C, align(64))]
pub struct SlabRecord {
    /// One of the `SLAB_KIND_*`. Written last when a slab is made, first when it goes.
    pub kind: u32,
    /// Its cache.
    pub cache: u32,
    /// Units of the slab or large object.
    pub units: u32,
    /// Bytes of a slot.
    pub slot_bytes: u32,
    /// Slots.
    pub nr_slots: u32,
    /// Slots whose bit in the free words is set.
    pub nr_free: u32,
    /// Who edits the free words: `tenure << 16 | cpu + 1`; 0 or a tenure that ended: nobody.
    pub owner: u64,
    /// `ceil(2^40 / slot_bytes)`: an offset times this, shifted right by 40, is the slot.
    pub reciprocal: u64,
    /// Which free words may have bits.
    pub summary: u64,
    /// Next descriptor on the owner's list of slabs with free slots. Void under another owner.
    pub next: u64,
    /// The one before.
    pub prev: u64,
    /// Which remote words may have bits.
    pub remote_summary: u64,
    /// Next descriptor on the owner's list of slabs that others freed into.
    pub remote_next: u64,
    /// CPUs that are between the first and the last step of publishing remote frees here.
    pub publishing: u32,
    /// 1 while on such a list.
    pub announced: u32,
    /// In a tail: the unit whose descriptor speaks.
    pub head_unit: u32,
    /// 1 while on the owner's list.
    pub listed: u32,
    /// Bytes of a large object.
    pub object_bytes: u64,
    /// Checksum of kind, cache, sizes and free words, written by a sealing freeze.
    pub seal: u64,
    /// Zero.
    pub reserved: [u64; 2],
}

/// One CPU's (thread's) slot, without its caches, which follow it.
#[repr(C, align(64))]
pub struct CpuRecord {
    /// Taken for everything but the magazine's own pop and push.
    pub lock: u32,
    /// The door word: 1 while the thread is inside the heap, so that a recovery knows who was. No business of the pool's.
    pub inside: u32,
    /// `tenure << 16 | cpu + 1` while some thread has this slot, else 0.
    pub tag: u64,
    /// Accumulator of remote frees: descriptor.
    pub out_slab: u64,
    /// Which of its words.
    pub out_word: u64,
    /// Slots freed.
    pub out_mask: u64,
    /// `alloc_into`: where the caller will store the object, as an offset.
    pub place: u64,
    /// The object.
    pub placed: u64,
    /// Offset of the diary (`crate::diary`) of whoever has this slot, or 0. No business of the pool's.
    pub diary: u64,
}

/// One cache of one CPU.
#[repr(C, align(64))]
pub struct CpuCacheRecord {
    /// The magazine lists entries `bottom..top` of the ring `slots`, counted on without end: entry `n` is `slots[n % 1024]`.
    pub top: u32,
    /// The coldest entry.
    pub bottom: u32,
    /// `bottom` plus [`CacheRecord::magazine`] or more, up to [`MAGAZINE_SLOTS`]: the magazine is full where `top` is there. Derived.
    pub limit: u32,
    /// Slabs on `partial`.
    pub nr_partial: u32,
    /// First slab with free slots, as the offset of its descriptor.
    pub partial: u64,
    /// Slabs of this CPU that others freed into: head of a list.
    pub pending: u64,
    /// Where the search for slabs without an owner goes on: index of the block table.
    pub search: u32,
    /// Slots of the last refill: the next one takes twice as many.
    pub refilled: u32,
    /// [`CacheRecord::orphan_stamp`] when that search began.
    pub search_stamp: u64,
    /// Units of the slabs on `partial` that have all their slots. Derived.
    pub idle_units: u64,
    /// Slots that the thread gave to the slabs and did not take again, up to [`MAGAZINE_SLOTS`]: a hint, and any value is right.
    pub given: u64,
    /// Offsets of free slots: a ring, the hottest at `top - 1`.
    pub slots: [u64; MAGAZINE_SLOTS],
}

const _: () = {
    assert!(size_of::<PoolRecord>() == 112);
    assert!(core::mem::offset_of!(PoolRecord, identity_checksum) == 56);
    assert!(core::mem::offset_of!(PoolRecord, nr_blocks) == 64);
    assert!(core::mem::offset_of!(PoolRecord, tables_checksum) == 96);
    assert!(size_of::<CacheRecord>() == 128);
    assert!(size_of::<BlockRecord>() == 64);
    assert!(size_of::<BlockHead>() == 128);
    assert!(size_of::<SlabRecord>() == 128);
    assert!(core::mem::offset_of!(SlabRecord, remote_summary) == 64);
    assert!(size_of::<CpuRecord>() == 64);
    assert!(size_of::<CpuCacheRecord>() == 64 + 8 * MAGAZINE_SLOTS && MAGAZINE_SLOTS.is_power_of_two());
};
