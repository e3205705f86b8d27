//! The validating reader of a pool: for a successor before it trusts one, for `check`, and for tools that look at a
//! pool which is not theirs.
//!
//! It goes from the outside in, believes no number before it was compared with its limit, and visits each record
//! once: blocks by the table's length, slabs by the units of a block. It follows no list.
//!
//! `error` says what can be wrong, `view` what a record says, `tables` reads them all at once, `listed` tells where free slots are
//! listed, `check` walks it all.
//!
//! # Invariants it states
//!
//! - *pure*: each unit of a block is header, slab, large object or free, and nothing twice.
//! - *accounted*: the bits of a slab agree with its counts, and no bit stands for a slot that is not there.
//! - *settled*: in a frozen pool no free slot is listed anywhere but in the bitmap.

mod check;
mod error;
mod listed;
mod tables;
mod view;

use core::mem::offset_of;

use xxhash_rust::xxh64::Xxh64;

use super::Geometry;
use super::records::*;

pub use error::PoolError;
pub use listed::Listed;
pub use view::{BlockView, CacheView, SlabView, Tally};

/// Bytes of another generation (or our own) by offset.
pub trait Memory {
    /// Copies `buffer.len()` bytes from `offset`; `None` where the memory does not reach.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Option<()>;

    /// Reads eight words from `offset`, a multiple of 8; `None` where the memory does not reach. The tables are read with this.
    #[inline]
    fn read_eight(&self, offset: u64) -> Option<[u64; 8]> {
        let mut bytes = [0; 64];
        self.read(offset, &mut bytes)?;
        Some(core::array::from_fn(|n| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[8 * n..][..8]);
            u64::from_le_bytes(word)
        }))
    }

    /// Counts the bytes of `offset..offset + len` that are not zero.
    fn count_nonzero(&self, offset: u64, len: u64) -> Option<u64>;
}

/// A pool whose record was found to be whole.
pub struct PoolReader<'m, M: Memory + ?Sized> {
    memory: &'m M,
    control: u64,
    geometry: Geometry,
    nr_blocks: u32,
    nr_cpus: u32,
    nr_caches: u32,
    frozen: bool,
    sealed: bool,
    pool_id: u64,
    scrub: u32,
    next_tenure: u64,
}

/// A field of a record that was copied out.
macro_rules! field {
    ($bytes:expr, $record:ty, $field:ident, u32) => {{
        let mut four = [0; 4];
        four.copy_from_slice(&$bytes[offset_of!($record, $field)..][..4]);
        u32::from_le_bytes(four)
    }};
    ($bytes:expr, $record:ty, $field:ident, u64) => {{
        let mut eight = [0; 8];
        eight.copy_from_slice(&$bytes[offset_of!($record, $field)..][..8]);
        u64::from_le_bytes(eight)
    }};
}

fn ensure(holds: bool, error: PoolError) -> Result<(), PoolError> {
    if holds { Ok(()) } else { Err(error) }
}

impl<'m, M: Memory + ?Sized> PoolReader<'m, M> {
    /// Reads the pool record at `control` and compares every number in it with its limit.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn open(memory: &'m M, control: u64) -> Result<Self, PoolError> {
        const SIZE: usize = size_of::<PoolRecord>();
        let mut bytes = [0; SIZE];
        memory
            .read(control, &mut bytes)
            .ok_or(PoolError::Outside { what: "pool record", offset: control })?;
        ensure(bytes[..16] == COMPATIBLE, PoolError::Foreign(control))?;
        let identity = &bytes[..offset_of!(PoolRecord, identity_checksum)];
        let found = xxhash_rust::xxh64::xxh64(identity, 0);
        let recorded = field!(bytes, PoolRecord, identity_checksum, u64);
        ensure(found == recorded, PoolError::Checksum { what: "the pool's identity", found, recorded })?;
        let geometry = Geometry {
            block_shift: field!(bytes, PoolRecord, block_shift, u32),
            unit_shift: field!(bytes, PoolRecord, unit_shift, u32),
            max_caches: field!(bytes, PoolRecord, max_caches, u32),
            max_cpus: field!(bytes, PoolRecord, max_cpus, u32),
            max_blocks: field!(bytes, PoolRecord, max_blocks, u32),
        };
        geometry.check()?;
        let at = field!(bytes, PoolRecord, control_offset, u64);
        ensure(at == control, PoolError::Moved { found: control, recorded: at })?;
        let reader = Self {
            memory,
            control,
            geometry,
            nr_blocks: field!(bytes, PoolRecord, nr_blocks, u32),
            nr_cpus: field!(bytes, PoolRecord, nr_cpus, u32),
            nr_caches: field!(bytes, PoolRecord, nr_caches, u32),
            frozen: field!(bytes, PoolRecord, frozen, u32) == 1,
            sealed: field!(bytes, PoolRecord, sealed, u32) == 1,
            pool_id: field!(bytes, PoolRecord, pool_id, u64),
            scrub: field!(bytes, PoolRecord, scrub, u32),
            next_tenure: field!(bytes, PoolRecord, next_tenure, u64),
        };
        for (what, value, most) in [
            ("nr_blocks", reader.nr_blocks, geometry.max_blocks),
            ("nr_cpus", reader.nr_cpus, geometry.max_cpus),
            ("nr_caches", reader.nr_caches, geometry.max_caches),
            ("scrub", reader.scrub, 1),
            ("frozen", field!(bytes, PoolRecord, frozen, u32), 1),
        ] {
            ensure(value <= most, PoolError::Count { what, value: value.into(), most: most.into() })?;
        }
        let most = 1 << 47;
        ensure(
            reader.next_tenure <= most,
            PoolError::Count { what: "next_tenure", value: reader.next_tenure, most },
        )?;
        let mut last = [0; 1];
        let end = control.checked_add(geometry.control_bytes()).and_then(|end| end.checked_sub(1));
        end.and_then(|end| memory.read(end, &mut last))
            .ok_or(PoolError::Outside { what: "control area", offset: control })?;
        Ok(reader)
    }

    /// The numbers that the pool is laid out by.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Entries of the block table that were ever in use.
    pub fn nr_blocks(&self) -> u32 {
        self.nr_blocks
    }

    /// Caches in use.
    pub fn nr_caches(&self) -> u32 {
        self.nr_caches
    }

    /// CPU slots that were ever in use.
    pub fn nr_cpus(&self) -> u32 {
        self.nr_cpus
    }

    /// True from the end of a freeze to the next thaw or restore.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Judges the pool as one that runs: what only a freeze makes true (counts that agree, nothing on its way) is not asked.
    /// For a recovery, which makes all of that anew.
    #[must_use]
    pub fn as_running(self) -> Self {
        Self { frozen: false, ..self }
    }

    /// True where the last freeze wrote a checksum for each slab.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// When free slots are zeroed: 0 on free, 1 at the freeze.
    pub fn scrub(&self) -> u32 {
        self.scrub
    }

    /// The random number that every block of this pool carries.
    pub fn pool_id(&self) -> u64 {
        self.pool_id
    }

    fn read<const N: usize>(&self, what: &'static str, offset: u64) -> Result<[u8; N], PoolError> {
        let mut bytes = [0; N];
        self.memory.read(offset, &mut bytes).ok_or(PoolError::Outside { what, offset })?;
        Ok(bytes)
    }

    /// Reads cache `index` and compares its numbers with each other.
    ///
    /// # Errors
    ///
    /// [`PoolError::Cache`], [`PoolError::Outside`].
    pub fn cache(&self, index: u32) -> Result<CacheView, PoolError> {
        let at = self.control + self.geometry.cache_offset(index);
        let bytes: [u8; size_of::<CacheRecord>()] = self.read("cache", at)?;
        let mut name = [0; CACHE_NAME_BYTES];
        name.copy_from_slice(&bytes[..CACHE_NAME_BYTES]);
        let view = CacheView {
            index,
            name,
            slot_bytes: field!(bytes, CacheRecord, slot_bytes, u32),
            align: field!(bytes, CacheRecord, align, u32),
            slab_order: field!(bytes, CacheRecord, slab_order, u32),
            nr_slots: field!(bytes, CacheRecord, nr_slots, u32),
            magazine: field!(bytes, CacheRecord, magazine, u32),
            flags: field!(bytes, CacheRecord, flags, u32),
        };
        let wrong = |what, value: u32| PoolError::Cache { index, what, value: value.into() };
        let slot = u64::from(view.slot_bytes);
        ensure(
            slot % 16 == 0 && slot > 0 && slot <= self.geometry.max_slot_bytes(),
            wrong("slot_bytes", view.slot_bytes),
        )?;
        ensure(
            view.align.is_power_of_two() && slot % u64::from(view.align) == 0,
            wrong("align", view.align),
        )?;
        ensure(view.slab_order <= self.geometry.max_order(), wrong("slab_order", view.slab_order))?;
        let slots = self.geometry.slab_slots(slot, view.slab_order);
        ensure(
            view.nr_slots == slots && slots <= self.geometry.max_slots(),
            wrong("nr_slots", view.nr_slots),
        )?;
        ensure(
            (MIN_MAGAZINE..=MAGAZINE_SLOTS as u32).contains(&view.magazine),
            wrong("magazine", view.magazine),
        )?;
        Ok(view)
    }

    /// Compares a block's head with its entry in the table.
    ///
    /// # Errors
    ///
    /// [`PoolError::Block`], [`PoolError::Outside`].
    pub fn check_block_head(&self, block: &BlockView) -> Result<(), PoolError> {
        let bytes: [u8; size_of::<BlockHead>()] = self.read("block head", block.offset)?;
        let wrong = |what, value| PoolError::Block { index: block.index, offset: block.offset, what, value };
        let magic = field!(bytes, BlockHead, magic, u64);
        ensure(magic == BLOCK_MAGIC, wrong("magic", magic))?;
        let id = field!(bytes, BlockHead, pool_id, u64);
        ensure(id == self.pool_id, wrong("pool_id", id))?;
        let offset = field!(bytes, BlockHead, offset, u64);
        ensure(offset == block.offset, wrong("head offset", offset))?;
        let index = field!(bytes, BlockHead, index, u32);
        ensure(index == block.index, wrong("head index", index.into()))?;
        let rest = &bytes[offset_of!(BlockHead, reserved)..];
        ensure(rest.iter().all(|&byte| byte == 0), wrong("reserved", 1))
    }

    /// Reads the descriptor of `unit` of `block` and compares its numbers with its cache's and its bits with its
    /// counts; `None` where the unit is free or another's tail.
    ///
    /// # Errors
    ///
    /// [`PoolError::Slab`], [`PoolError::Cache`], [`PoolError::Outside`].
    pub fn slab(&self, block: &BlockView, unit: u32) -> Result<Option<SlabView>, PoolError> {
        let geometry = self.geometry;
        let descriptor = block.offset + geometry.descriptor_offset(unit);
        let bytes: [u8; size_of::<SlabRecord>()] = self.read("slab descriptor", descriptor)?;
        let mut view = SlabView {
            block: block.index,
            unit,
            kind: field!(bytes, SlabRecord, kind, u32),
            cache: field!(bytes, SlabRecord, cache, u32),
            units: field!(bytes, SlabRecord, units, u32),
            slot_bytes: field!(bytes, SlabRecord, slot_bytes, u32),
            nr_slots: field!(bytes, SlabRecord, nr_slots, u32),
            nr_free: field!(bytes, SlabRecord, nr_free, u32),
            free_bits: 0,
            object_bytes: field!(bytes, SlabRecord, object_bytes, u64),
            descriptor,
            base: block.offset + (u64::from(unit) << geometry.unit_shift),
        };
        let wrong = |what, value| PoolError::Slab { block: block.index, unit, what, value };
        let head_unit = field!(bytes, SlabRecord, head_unit, u32);
        let speaks_for_itself = ensure(head_unit == unit, wrong("head_unit", head_unit.into()));
        match view.kind {
            SLAB_KIND_FREE | SLAB_KIND_TAIL => return Ok(None),
            SLAB_KIND_LARGE => {
                speaks_for_itself?;
                let units_fit = view.units > 0 && view.units <= geometry.units() - unit;
                ensure(units_fit, wrong("units", view.units.into()))?;
                let room = u64::from(view.units) << geometry.unit_shift;
                let huge = block.kind == BLOCK_KIND_HUGE;
                let fits =
                    if huge { view.object_bytes == block.object_bytes } else { view.object_bytes <= room };
                ensure(fits && view.object_bytes > 0, wrong("object_bytes", view.object_bytes))?;
                return Ok(Some(view));
            }
            SLAB_KIND_SLAB => speaks_for_itself?,
            kind => return Err(wrong("kind", kind.into())),
        }
        ensure(view.cache < self.nr_caches, wrong("cache", view.cache.into()))?;
        let cache = self.cache(view.cache)?;
        ensure(view.slot_bytes == cache.slot_bytes, wrong("slot_bytes", view.slot_bytes.into()))?;
        ensure(view.nr_slots == cache.nr_slots, wrong("nr_slots", view.nr_slots.into()))?;
        let units_fit = view.units == 1 << cache.slab_order && unit % view.units == 0;
        ensure(units_fit && unit + view.units <= geometry.units(), wrong("units", view.units.into()))?;
        let reciprocal = field!(bytes, SlabRecord, reciprocal, u64);
        ensure(reciprocal == (1u64 << 40).div_ceil(view.slot_bytes.into()), wrong("reciprocal", reciprocal))?;
        let mut local = 0;
        for word in 0..geometry.words() {
            let (free, remote) = self.words(descriptor, word)?;
            let slots = view.nr_slots.saturating_sub(word * 64).min(64);
            let valid = if slots == 64 { u64::MAX } else { (1 << slots) - 1 };
            ensure((free | remote) & !valid == 0, wrong("a bit beyond the last slot", free | remote))?;
            local += free.count_ones();
            view.free_bits += (free | remote).count_ones();
            if self.frozen {
                ensure(remote == 0, wrong("remote word", remote))?;
                let summary = field!(bytes, SlabRecord, summary, u64);
                ensure(free == 0 || summary >> word & 1 == 1, wrong("summary", summary))?;
            }
        }
        if self.frozen {
            ensure(local == view.nr_free, wrong("nr_free", view.nr_free.into()))?;
            for (what, value) in [
                ("publishing", field!(bytes, SlabRecord, publishing, u32)),
                ("announced", field!(bytes, SlabRecord, announced, u32)),
            ] {
                ensure(value == 0, wrong(what, value.into()))?;
            }
            // Otherwise the next thread could find itself the owner of a slab that it never looked at.
            let owner = field!(bytes, SlabRecord, owner, u64);
            ensure(owner >> 16 < self.next_tenure || owner == u64::MAX, wrong("owner", owner))?;
        }
        Ok(Some(view))
    }

    /// Computes the checksum that a sealing freeze writes into a descriptor.
    ///
    /// # Errors
    ///
    /// [`PoolError::Outside`].
    pub fn compute_seal(&self, descriptor: u64) -> Result<u64, PoolError> {
        let mut record: [u8; size_of::<SlabRecord>()] = self.read("slab descriptor", descriptor)?;
        record[offset_of!(SlabRecord, seal)..][..8].fill(0);
        let mut hash = Xxh64::new(descriptor);
        hash.update(&record);
        for word in 0..self.geometry.words() {
            let (free, remote) = self.words(descriptor, word)?;
            hash.update(&free.to_le_bytes());
            hash.update(&remote.to_le_bytes());
        }
        Ok(hash.digest())
    }

    fn words(&self, descriptor: u64, word: u32) -> Result<(u64, u64), PoolError> {
        let at = descriptor + size_of::<SlabRecord>() as u64 + 8 * u64::from(word);
        let free = u64::from_le_bytes(self.read("free word", at)?);
        let remote = u64::from_le_bytes(self.read("remote word", at + 8 * u64::from(self.geometry.words()))?);
        Ok((free, remote))
    }
}

use field;
