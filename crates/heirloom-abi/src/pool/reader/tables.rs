//! The tables: caches and the block table, summed up by a freeze and believed by a restore.
//!
//! ```text
//! | record | caches ..        | block table: 64 bytes an entry ..                  |
//!                                each copied out before any number of it is used
//! ```
//!
//! A freeze and a restore read all of the block table while nobody answers: hence one reading for the checksum and for what the entries say
//! ([`PoolReader::check_blocks`]), an entry at a time, and numbers that are the same for all entries outside of the loop.

use core::mem::offset_of;

use super::{BlockView, Memory, PoolError, PoolReader, ensure};
use crate::checksum::EntrySum;
use crate::pool::Geometry;
use crate::pool::records::*;

/// An entry of the block table, and as many bytes of the tables before it.
type Entry = [u64; 8];

const ENTRY: usize = size_of::<Entry>();

/// The first byte of the record that is summed up.
const HEAD: u64 = offset_of!(PoolRecord, nr_blocks) as u64;

/// The word of the first [`ENTRY`] bytes that counts as zero.
const CHECKSUM_WORD: usize = (offset_of!(PoolRecord, tables_checksum) - HEAD as usize) / 8;

// The record from there on, the caches and the block table are pieces of that size.
const _: () = {
    assert!(CHECKSUM_WORD < 8 && (POOL_RECORD_BYTES - HEAD) % ENTRY as u64 == 0);
    assert!(size_of::<CacheRecord>() % ENTRY == 0 && size_of::<BlockRecord>() == ENTRY);
};

/// A field of an entry: a word, or a half of one.
macro_rules! word {
    ($entry:expr, $field:ident) => {{
        let at = offset_of!(BlockRecord, $field);
        // The conversion takes the bytes that the field has.
        ($entry[at / 8] >> (at % 8 * 8)) as _
    }};
}

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
        self.sum_up_tables(|_| ())
    }

    /// Computes the checksum, and hands each entry of the block table to `each`, as it was summed up.
    fn sum_up_tables(&self, mut each: impl FnMut(&Entry)) -> Result<u64, PoolError> {
        let mut sum = EntrySum::new();
        for at in (HEAD..self.geometry.cache_offset(self.nr_caches)).step_by(ENTRY) {
            let mut words = self.entry("tables", at)?;
            if at == HEAD {
                words[CHECKSUM_WORD] = 0;
            }
            sum.add(&words);
        }
        self.for_each_entry("tables", |entry| {
            sum.add(entry);
            each(entry);
            Ok::<_, PoolError>(())
        })?;
        Ok(sum.finish())
    }

    /// Compares the tables of a frozen pool with the checksum that its freeze wrote.
    ///
    /// # Errors
    ///
    /// [`PoolError::NotFrozen`], [`PoolError::Checksum`], [`PoolError::Outside`].
    pub fn check_tables(&self) -> Result<(), PoolError> {
        self.check_tables_with(|_| ())
    }

    /// As [`PoolReader::check_tables`], and hands every entry of the block table that has a block to `each`, in their order: from the
    /// very bytes that were summed up, which are read once. What `each` was told is to be forgotten after an error.
    ///
    /// # Errors
    ///
    /// Those of [`PoolReader::check_tables`] before all others; then, in the order of the table, [`PoolError::Block`] and those of
    /// `each`, which is not called any more after the first.
    pub fn check_blocks<E: From<PoolError>>(
        &self,
        mut each: impl FnMut(&BlockView) -> Result<(), E>,
    ) -> Result<(), E> {
        let (limits, mut index) = (Limits::of(self.geometry), 0);
        let mut outcome = Ok(());
        self.check_tables_with(|entry| {
            if outcome.is_ok() {
                outcome = limits.read_for(index, entry, &mut each);
            }
            index += 1;
        })?;
        outcome
    }

    fn check_tables_with(&self, each: impl FnMut(&Entry)) -> Result<(), PoolError> {
        ensure(self.frozen, PoolError::NotFrozen)?;
        let offset = self.control + offset_of!(PoolRecord, tables_checksum) as u64;
        let recorded = u64::from_le_bytes(self.read("tables checksum", offset)?);
        let found = self.sum_up_tables(each)?;
        ensure(found == recorded, PoolError::Checksum { what: "the pool's tables", found, recorded })
    }

    /// Reads entry `index` of the block table; `None` where no block is.
    ///
    /// # Errors
    ///
    /// [`PoolError::Block`], [`PoolError::Outside`].
    pub fn block(&self, index: u32) -> Result<Option<BlockView>, PoolError> {
        let entry = self.entry("block table", self.geometry.block_offset(index))?;
        Limits::of(self.geometry).read(index, &entry)
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
        self.for_each_entry("block table", |entry| {
            let read = limits.read_for(index, entry, &mut each);
            index += 1;
            read
        })
    }

    /// Copies each entry of the block table that was ever in use.
    fn for_each_entry<E: From<PoolError>>(
        &self,
        what: &'static str,
        mut each: impl FnMut(&Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        (0..self.nr_blocks).try_for_each(|index| {
            let entry = self.entry(what, self.geometry.block_offset(index))?;
            each(&entry)
        })
    }

    /// Copies the eight words at `at` of the control area.
    #[inline]
    fn entry(&self, what: &'static str, at: u64) -> Result<Entry, PoolError> {
        let offset = self.control + at;
        self.memory.read_eight(offset).ok_or(PoolError::Outside { what, offset })
    }
}

impl Limits {
    fn of(geometry: Geometry) -> Self {
        let header_bytes = u64::from(geometry.header_units()) << geometry.unit_shift;
        Self { geometry, usable: geometry.usable_units(), header_bytes }
    }

    /// Hands an entry to `each`, if it has a block.
    #[inline]
    fn read_for<E: From<PoolError>>(
        &self,
        index: u32,
        entry: &Entry,
        each: &mut impl FnMut(&BlockView) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.read(index, entry)? {
            Some(view) => each(&view),
            None => Ok(()),
        }
    }

    /// Takes an entry apart and compares its numbers with what they can be.
    #[inline]
    fn read(&self, index: u32, entry: &Entry) -> Result<Option<BlockView>, PoolError> {
        let view = BlockView {
            index,
            offset: word!(entry, offset),
            kind: word!(entry, kind),
            run: word!(entry, run),
            free_units: word!(entry, free_units),
            partial_units: word!(entry, partial_units),
            dirty_units: word!(entry, dirty_units),
            object_bytes: word!(entry, object_bytes),
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
