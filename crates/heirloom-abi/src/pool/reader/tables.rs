//! The tables: caches and the block table, summed up by a freeze and believed by a restore.
//!
//! ```text
//! | record | caches ..        | block table: 64 bytes an entry ..                  |
//!              each copied out, a chunk at a time, before any number of it is used
//! ```
//!
//! A restore reads all of the block table while nobody answers: hence chunks, and numbers that are the same for all entries outside
//! of the loop.

use core::mem::offset_of;

use xxhash_rust::xxh64::Xxh64;

use super::{BlockView, Memory, PoolError, PoolReader, ensure, field};
use crate::pool::Geometry;
use crate::pool::records::*;

/// Bytes that are copied at a time.
const CHUNK: usize = 2048;

const ENTRY: usize = size_of::<BlockRecord>();

const _: () = assert!(CHUNK % ENTRY == 0);

/// What every entry of a block table is compared with.
#[derive(Clone, Copy)]
struct Limits {
    geometry: Geometry,
    usable: u64,
    header_bytes: u64,
}

impl<M: Memory + ?Sized> PoolReader<'_, M> {
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
        let caches = size_of::<PoolRecord>() as u64..self.geometry.cache_offset(self.nr_caches);
        self.for_each_chunk("tables", caches, |chunk| {
            hash.update(chunk);
            Ok::<_, PoolError>(())
        })?;
        self.for_each_chunk("tables", self.block_table(), |chunk| {
            hash.update(chunk);
            Ok::<_, PoolError>(())
        })?;
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

    /// Reads entry `index` of the block table; `None` where no block is.
    ///
    /// # Errors
    ///
    /// [`PoolError::Block`], [`PoolError::Outside`].
    pub fn block(&self, index: u32) -> Result<Option<BlockView>, PoolError> {
        let at = self.control + self.geometry.block_offset(index);
        Limits::of(self.geometry).read(index, &self.read("block table", at)?)
    }

    /// Reads every entry of the block table that has a block, and hands them to `each` in their order.
    ///
    /// # Errors
    ///
    /// [`PoolError::Block`], [`PoolError::Outside`], and those of `each`; the first ends it.
    pub fn for_each_block<E: From<PoolError>>(
        &self,
        mut each: impl FnMut(&BlockView) -> Result<(), E>,
    ) -> Result<(), E> {
        let (limits, mut index) = (Limits::of(self.geometry), 0);
        self.for_each_chunk("block table", self.block_table(), |chunk| {
            // A chunk is a whole number of entries, and so is the last one.
            for entry in chunk.chunks_exact(ENTRY).filter_map(|entry| entry.try_into().ok()) {
                if let Some(view) = limits.read(index, entry)? {
                    each(&view)?;
                }
                index += 1;
            }
            Ok(())
        })
    }

    /// The bytes of the block table that were ever in use, within the control area.
    fn block_table(&self) -> core::ops::Range<u64> {
        self.geometry.block_offset(0)..self.geometry.block_offset(self.nr_blocks)
    }

    /// Copies a range of the control area, at most [`CHUNK`] bytes at a time.
    fn for_each_chunk<E: From<PoolError>>(
        &self,
        what: &'static str,
        range: core::ops::Range<u64>,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut buffer = [0; CHUNK];
        let mut at = range.start;
        while at < range.end {
            let len = (range.end - at).min(CHUNK as u64);
            let (chunk, offset) = (&mut buffer[..len as usize], self.control + at);
            self.memory.read(offset, chunk).ok_or(PoolError::Outside { what, offset })?;
            each(chunk)?;
            at += len;
        }
        Ok(())
    }
}

impl Limits {
    fn of(geometry: Geometry) -> Self {
        let header_bytes = u64::from(geometry.header_units()) << geometry.unit_shift;
        Self { geometry, usable: geometry.usable_units(), header_bytes }
    }

    /// Takes an entry apart and compares its numbers with what they can be.
    #[inline]
    fn read(&self, index: u32, bytes: &[u8; ENTRY]) -> Result<Option<BlockView>, PoolError> {
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
        match view.kind {
            BLOCK_KIND_NONE => return Ok(None),
            // Most entries of most tables, in a few comparisons; what is wrong with another is found out below.
            BLOCK_KIND_SLABS if view.run == 1 && self.is_placed(&view) && self.has_units(&view) => {}
            _ => self.find_fault(&view)?,
        }
        Ok(Some(view))
    }

    fn is_placed(&self, view: &BlockView) -> bool {
        let bytes = u64::from(view.run) << self.geometry.block_shift;
        let ends = view.offset.checked_add(bytes).is_some_and(|end| end < 1 << 62);
        ends && view.offset % self.geometry.block_bytes() == 0
    }

    fn has_units(&self, view: &BlockView) -> bool {
        (view.free_units | view.partial_units | view.dirty_units) & !self.usable == 0
    }

    /// Names the first number that cannot be.
    #[cold]
    fn find_fault(&self, view: &BlockView) -> Result<(), PoolError> {
        let (index, offset) = (view.index, view.offset);
        let wrong = |what, value| PoolError::Block { index, offset, what, value };
        match view.kind {
            BLOCK_KIND_SLABS => ensure(view.run == 1, wrong("run", view.run.into()))?,
            BLOCK_KIND_HUGE => {
                let all = u64::from(view.run).checked_mul(self.geometry.block_bytes());
                let room = all.and_then(|all| all.checked_sub(self.header_bytes));
                let fits = view.run > 0 && room.is_some_and(|room| view.object_bytes <= room);
                ensure(fits, wrong("object_bytes", view.object_bytes))?;
            }
            kind => return Err(wrong("kind", kind.into())),
        }
        ensure(self.is_placed(view), wrong("offset", view.offset))?;
        for (what, units) in [
            ("free_units", view.free_units),
            ("partial_units", view.partial_units),
            ("dirty_units", view.dirty_units),
        ] {
            ensure(units & !self.usable == 0, wrong(what, units))?;
        }
        Ok(())
    }
}
