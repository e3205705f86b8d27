//! The validating reader of a pool: for a successor before it trusts one, for `check`, and for tools that look at a
//! pool which is not theirs.
//!
//! It goes from the outside in, believes no number before it was compared with its limit, and visits each record
//! once: blocks by the table's length, slabs by the units of a block. It follows no list.
//!
//! # Invariants it states
//!
//! - *pure*: each unit of a block is header, slab, large object or free, and nothing twice.
//! - *accounted*: the bits of a slab agree with its counts, and no bit stands for a slot that is not there.
//! - *settled*: in a frozen pool no free slot is listed anywhere but in the bitmap.

use core::mem::offset_of;

use xxhash_rust::xxh64::Xxh64;

use super::records::*;
use super::{Geometry, GeometryError};

/// Bytes of another generation (or our own) by offset.
pub trait Memory {
    /// Copies `buffer.len()` bytes from `offset`; `None` where the memory does not reach.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Option<()>;

    /// Counts the bytes of `offset..offset + len` that are not zero.
    fn count_nonzero(&self, offset: u64, len: u64) -> Option<u64>;
}

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
    #[error("no `heirloom-slab-v1` pool at {0:#x}")]
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

    /// Computes the checksum that a freeze writes over the tables.
    ///
    /// # Errors
    ///
    /// [`PoolError::Outside`].
    pub fn compute_tables_checksum(&self) -> Result<u64, PoolError> {
        let start = offset_of!(PoolRecord, nr_blocks);
        let skip = offset_of!(PoolRecord, tables_checksum);
        let mut record: [u8; size_of::<PoolRecord>()] = self.read("pool record", self.control)?;
        record[skip..skip + 8].fill(0);
        let mut hash = Xxh64::new(0);
        hash.update(&record[start..]);
        let geometry = self.geometry;
        for (from, to) in [
            (size_of::<PoolRecord>() as u64, geometry.cache_offset(self.nr_caches)),
            (geometry.block_offset(0), geometry.block_offset(self.nr_blocks)),
        ] {
            let mut at = from;
            let mut buffer = [0; 2048];
            while at < to {
                let len = (to - at).min(2048) as usize;
                let chunk = &mut buffer[..len];
                let offset = self.control + at;
                self.memory.read(offset, chunk).ok_or(PoolError::Outside { what: "tables", offset })?;
                hash.update(chunk);
                at += len as u64;
            }
        }
        Ok(hash.digest())
    }

    /// Compares the tables of a frozen pool with the checksum that its freeze wrote.
    ///
    /// # Errors
    ///
    /// [`PoolError::NotFrozen`], [`PoolError::Checksum`], [`PoolError::Outside`].
    pub fn check_tables(&self) -> Result<(), PoolError> {
        ensure(self.frozen, PoolError::NotFrozen)?;
        let offset = self.control + offset_of!(PoolRecord, tables_checksum) as u64;
        let recorded = u64::from_le_bytes(self.read("tables checksum", offset)?);
        let found = self.compute_tables_checksum()?;
        ensure(found == recorded, PoolError::Checksum { what: "the pool's tables", found, recorded })
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
        ensure((2..=MAGAZINE_SLOTS as u32).contains(&view.magazine), wrong("magazine", view.magazine))?;
        Ok(view)
    }

    /// Reads entry `index` of the block table; `None` where no block is.
    ///
    /// # Errors
    ///
    /// [`PoolError::Block`], [`PoolError::Outside`].
    pub fn block(&self, index: u32) -> Result<Option<BlockView>, PoolError> {
        let at = self.control + self.geometry.block_offset(index);
        let bytes: [u8; size_of::<BlockRecord>()] = self.read("block table", at)?;
        let view = BlockView {
            index,
            offset: field!(bytes, BlockRecord, offset, u64),
            kind: field!(bytes, BlockRecord, kind, u32),
            run: field!(bytes, BlockRecord, run, u32),
            free_units: field!(bytes, BlockRecord, free_units, u64),
            partial_units: field!(bytes, BlockRecord, partial_units, u64),
            dirty_units: field!(bytes, BlockRecord, dirty_units, u64),
            object_bytes: field!(bytes, BlockRecord, object_bytes, u64),
        };
        let geometry = self.geometry;
        let wrong = |what, value| PoolError::Block { index, offset: view.offset, what, value };
        match view.kind {
            BLOCK_KIND_NONE => return Ok(None),
            BLOCK_KIND_SLABS => ensure(view.run == 1, wrong("run", view.run.into()))?,
            BLOCK_KIND_HUGE => {
                let room = u64::from(view.run).checked_mul(geometry.block_bytes()).and_then(|bytes| {
                    bytes.checked_sub(u64::from(geometry.header_units()) << geometry.unit_shift)
                });
                let fits = view.run > 0 && room.is_some_and(|room| view.object_bytes <= room);
                ensure(fits, wrong("object_bytes", view.object_bytes))?;
            }
            kind => return Err(wrong("kind", kind.into())),
        }
        let bytes = u64::from(view.run) << geometry.block_shift;
        let ends = view.offset.checked_add(bytes).is_some_and(|end| end < 1 << 62);
        ensure(ends && view.offset % geometry.block_bytes() == 0, wrong("offset", view.offset))?;
        let usable = geometry.usable_units();
        for (what, units) in [
            ("free_units", view.free_units),
            ("partial_units", view.partial_units),
            ("dirty_units", view.dirty_units),
        ] {
            ensure(units & !usable == 0, wrong(what, units))?;
        }
        Ok(Some(view))
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

    /// Walks the whole pool: hands every violation of an invariant to `broken` and sums up the rest.
    ///
    /// A pool that runs while it is read is checked for what holds at every instant; the counts of a frozen one
    /// must agree to the bit. `scan` reads every free byte as well, and counts those that are not zero.
    pub fn check(&self, scan: bool, mut broken: impl FnMut(PoolError)) -> Tally {
        let mut tally = Tally::default();
        if self.frozen {
            self.check_tables().unwrap_or_else(&mut broken);
            self.check_settled(&mut broken);
        }
        for index in 0..self.nr_caches {
            self.cache(index).map(drop).unwrap_or_else(&mut broken);
        }
        for index in 0..self.nr_blocks {
            match self.block(index) {
                Ok(None) => {}
                Ok(Some(block)) => self.check_block(&block, scan, &mut tally, &mut broken),
                Err(error) => broken(error),
            }
        }
        tally
    }

    fn check_settled(&self, broken: &mut impl FnMut(PoolError)) {
        for cpu in 0..self.nr_cpus {
            let at = self.control + self.geometry.cpu_offset(cpu);
            let bytes: [u8; 64] = match self.read("cpu slot", at) {
                Ok(bytes) => bytes,
                Err(error) => return broken(error),
            };
            let spill: u64 = field!(bytes, CpuRecord, nr_spill, u32).into();
            let out = field!(bytes, CpuRecord, out_mask, u64);
            for (what, value) in [("nr_spill", spill), ("out_mask", out)] {
                ensure(value == 0, PoolError::Unsettled { cpu, what, value }).unwrap_or_else(&mut *broken);
            }
            for cache in 0..self.nr_caches {
                let at = at
                    + size_of::<CpuRecord>() as u64
                    + u64::from(cache) * size_of::<CpuCacheRecord>() as u64;
                let value = match self.read::<4>("magazine", at) {
                    Ok(bytes) => u32::from_le_bytes(bytes).into(),
                    Err(error) => return broken(error),
                };
                ensure(value == 0, PoolError::Unsettled { cpu, what: "magazine", value })
                    .unwrap_or_else(&mut *broken);
            }
        }
    }

    fn check_block(
        &self,
        block: &BlockView,
        scan: bool,
        tally: &mut Tally,
        broken: &mut impl FnMut(PoolError),
    ) {
        let geometry = self.geometry;
        let block_bytes = u64::from(block.run) * geometry.block_bytes();
        let header = geometry.header_bytes().next_multiple_of(4096);
        tally.blocks += u64::from(block.run);
        tally.pool_bytes += block_bytes;
        tally.metadata_bytes += header;
        tally.stranded_bytes += (u64::from(geometry.header_units()) << geometry.unit_shift) - header;
        if let Err(error) = self.check_block_head(block) {
            return broken(error);
        }
        if scan {
            let end = u64::from(geometry.header_units()) << geometry.unit_shift;
            self.scan(block.offset + geometry.header_bytes(), end - geometry.header_bytes(), tally, broken);
        }
        let (mut covered, mut partial) = (0u64, 0u64);
        let mut unit = geometry.header_units();
        while unit < geometry.units() {
            let step = match self.slab(block, unit) {
                Ok(None) => 1,
                Ok(Some(slab)) => {
                    let units =
                        if block.kind == BLOCK_KIND_HUGE { geometry.units() - unit } else { slab.units };
                    covered |= span(unit, units);
                    partial |= u64::from(slab.kind == SLAB_KIND_SLAB && slab.nr_free > 0) << unit;
                    if self.frozen && block.kind == BLOCK_KIND_SLABS {
                        self.check_tails(&slab, block, broken);
                    }
                    self.tally_slab(&slab, block, scan, tally, broken);
                    units
                }
                Err(error) => {
                    broken(error);
                    covered |= span(unit, 1);
                    1
                }
            };
            unit += step;
        }
        let free = geometry.usable_units() & !covered;
        let wrong = |what, value| PoolError::Block { index: block.index, offset: block.offset, what, value };
        if self.frozen {
            if free != block.free_units {
                broken(wrong("free_units", block.free_units));
            }
            // A slab with room that is not marked would never be found: the pool would grow instead.
            if partial != block.partial_units {
                broken(wrong("partial_units", block.partial_units));
            }
            if block.dirty_units != 0 {
                broken(wrong("dirty_units", block.dirty_units));
            }
        }
        if scan {
            let mut rest = free & block.free_units;
            while rest != 0 {
                let unit = rest.trailing_zeros();
                rest &= rest - 1;
                let at = block.offset + (u64::from(unit) << geometry.unit_shift);
                self.scan(at, geometry.unit_bytes(), tally, broken);
            }
        }
    }

    /// Each further unit of a slab or large object says that it is one, and whose.
    fn check_tails(&self, slab: &SlabView, block: &BlockView, broken: &mut impl FnMut(PoolError)) {
        for unit in slab.unit + 1..slab.unit + slab.units {
            let at = block.offset + self.geometry.descriptor_offset(unit);
            let bytes: [u8; size_of::<SlabRecord>()] = match self.read("slab descriptor", at) {
                Ok(bytes) => bytes,
                Err(error) => return broken(error),
            };
            let kind = field!(bytes, SlabRecord, kind, u32);
            let head_unit = field!(bytes, SlabRecord, head_unit, u32);
            for (what, value, right) in
                [("kind of a tail", kind, SLAB_KIND_TAIL), ("head_unit of a tail", head_unit, slab.unit)]
            {
                ensure(
                    value == right,
                    PoolError::Slab { block: block.index, unit, what, value: value.into() },
                )
                .unwrap_or_else(&mut *broken);
            }
        }
    }

    fn tally_slab(
        &self,
        slab: &SlabView,
        block: &BlockView,
        scan: bool,
        tally: &mut Tally,
        broken: &mut impl FnMut(PoolError),
    ) {
        let wrong = |what, value| PoolError::Slab { block: slab.block, unit: slab.unit, what, value };
        if self.frozen && self.sealed {
            let at = slab.descriptor + offset_of!(SlabRecord, seal) as u64;
            match (self.compute_seal(slab.descriptor), self.read::<8>("seal", at)) {
                (Ok(found), Ok(recorded)) if found == u64::from_le_bytes(recorded) => {}
                (Ok(found), Ok(_)) => broken(wrong("seal", found)),
                (Err(error), _) | (_, Err(error)) => broken(error),
            }
        }
        if slab.kind == SLAB_KIND_LARGE {
            tally.live_objects += 1;
            tally.live_bytes += slab.object_bytes;
            let first = u64::from(slab.unit) << self.geometry.unit_shift;
            let room = if block.kind == BLOCK_KIND_HUGE {
                u64::from(block.run) * self.geometry.block_bytes() - first
            } else {
                u64::from(slab.units) << self.geometry.unit_shift
            };
            tally.stranded_bytes += room.saturating_sub(slab.object_bytes);
            return;
        }
        let slot = u64::from(slab.slot_bytes);
        tally.slabs += 1;
        tally.free_slots += u64::from(slab.free_bits);
        tally.live_objects += u64::from(slab.nr_slots - slab.free_bits);
        tally.live_bytes += u64::from(slab.nr_slots - slab.free_bits) * slot;
        let used = u64::from(slab.nr_slots) * slot;
        let room = u64::from(slab.units) << self.geometry.unit_shift;
        tally.stranded_bytes += room - used;
        if !scan {
            return;
        }
        self.scan(slab.base + used, room - used, tally, broken);
        for word in 0..self.geometry.words() {
            let mut bits = match self.words(slab.descriptor, word) {
                Ok((free, _)) => free,
                Err(error) => return broken(error),
            };
            while bits != 0 {
                // A run of free slots at a time.
                let start = bits.trailing_zeros();
                let len = (bits >> start).trailing_ones();
                bits &= !span(start, len);
                let at = slab.base + (u64::from(word) * 64 + u64::from(start)) * slot;
                self.scan(at, u64::from(len) * slot, tally, broken);
            }
        }
    }

    fn scan(&self, offset: u64, len: u64, tally: &mut Tally, broken: &mut impl FnMut(PoolError)) {
        match self.memory.count_nonzero(offset, len) {
            Some(stale) => tally.stale_bytes += stale,
            None => broken(PoolError::Outside { what: "free bytes", offset }),
        }
    }
}

/// Bits `start..start + len`.
fn span(start: u32, len: u32) -> u64 {
    let ones = if len >= 64 { u64::MAX } else { (1 << len) - 1 };
    ones << start
}
