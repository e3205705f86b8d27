//! The pool's records with atomics in place of their fields, at the same offsets.

use core::mem::offset_of;

use heirloom_abi::pool::{BlockHead, BlockRecord, CACHE_NAME_BYTES, CacheRecord, PoolRecord};

use crate::sync::{AtomicU32, AtomicU64};

/// [`PoolRecord`], of which only the running half is edited after the format.
#[repr(C)]
pub(crate) struct Record {
    pub(crate) identity: [AtomicU64; 8],
    pub(crate) nr_blocks: AtomicU32,
    pub(crate) nr_cpus: AtomicU32,
    pub(crate) nr_caches: AtomicU32,
    pub(crate) frozen: AtomicU32,
    pub(crate) next_tenure: AtomicU64,
    pub(crate) nr_freezes: AtomicU64,
    pub(crate) tables_checksum: AtomicU64,
    pub(crate) sealed: AtomicU32,
    pub(crate) reserved: AtomicU32,
}

/// [`CacheRecord`].
#[repr(C)]
pub(crate) struct Cache {
    pub(crate) name: [AtomicU64; CACHE_NAME_BYTES / 8],
    pub(crate) slot_bytes: AtomicU32,
    pub(crate) align: AtomicU32,
    pub(crate) slab_order: AtomicU32,
    pub(crate) nr_slots: AtomicU32,
    pub(crate) magazine: AtomicU32,
    pub(crate) flags: AtomicU32,
    pub(crate) orphan_stamp: AtomicU64,
    pub(crate) reserved: [AtomicU64; 8],
}

/// [`BlockRecord`].
#[repr(C)]
pub(crate) struct Block {
    pub(crate) offset: AtomicU64,
    pub(crate) kind: AtomicU32,
    pub(crate) run: AtomicU32,
    pub(crate) free_units: AtomicU64,
    pub(crate) partial_units: AtomicU64,
    pub(crate) dirty_units: AtomicU64,
    pub(crate) caches: [AtomicU64; 2],
    pub(crate) object_bytes: AtomicU64,
}

/// [`BlockHead`].
#[repr(C)]
pub(crate) struct BlockHeader {
    pub(crate) magic: AtomicU64,
    pub(crate) pool_id: AtomicU64,
    pub(crate) offset: AtomicU64,
    pub(crate) index: AtomicU32,
    pub(crate) node: AtomicU32,
    pub(crate) reserved: [AtomicU64; 12],
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Record>() == size_of::<PoolRecord>());
    assert!(offset_of!(Record, nr_blocks) == offset_of!(PoolRecord, nr_blocks));
    assert!(offset_of!(Record, tables_checksum) == offset_of!(PoolRecord, tables_checksum));
    assert!(size_of::<Cache>() == size_of::<CacheRecord>());
    assert!(offset_of!(Cache, orphan_stamp) == offset_of!(CacheRecord, orphan_stamp));
    assert!(size_of::<Block>() == size_of::<BlockRecord>());
    assert!(offset_of!(Block, caches) == offset_of!(BlockRecord, caches));
    assert!(size_of::<BlockHeader>() == size_of::<BlockHead>());
    assert!(offset_of!(BlockHeader, index) == offset_of!(BlockHead, index));
};
