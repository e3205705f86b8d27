//! Restore: a successor takes over a pool that lies in its memory.
//!
//! Nothing is written before everything was checked, so a refused pool is as it was and another may try. Only the
//! tables are read: a slab is looked at when a cache wants it (see `Pool::adopt`).

use heirloom_abi::pool::{BlockView, Geometry, Memory, PoolError, PoolReader};

use super::format::classes;
use super::{Pool, Scrub};
use crate::host::Host;
use crate::memory::{Arena, Reader};
use crate::size_class::class_bytes;
use crate::sync::Ordering::*;
use crate::sync::commit;

/// Why a pool was not restored. Nothing in memory was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A record is wrong.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A block lies outside the host's memory, or two overlap.
    #[error("block {index} at {offset:#x} is not the host's to have, or overlaps another")]
    Block {
        /// Its entry in the table.
        index: u32,
        /// Its offset.
        offset: u64,
    },
}

impl<H: Host> Pool<H> {
    /// Takes over a frozen pool. `control` is where its control area lies, `control_bytes` how much memory is there.
    /// Costs a look at the tables: nothing for each object, nothing for each slab. A slab's record is checked when the slab is
    /// first wanted. One thing in it is the predecessor's word alone: an owner of a tenure that is still to come.
    /// [`Pool::restore_checked`] asks for that too.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]; [`PoolError::NotFrozen`] where the predecessor died: then [`Pool::recover`] is the way.
    ///
    /// # Safety
    ///
    /// - `host.base() + control` starts `control_bytes` bytes, aligned to a page, that are this pool's alone from now on.
    /// - No slot that the pool lists as free is in anybody's hands.
    #[expect(unsafe_code, reason = "the memory is the caller's promise")]
    pub unsafe fn restore(host: H, control: u64, control_bytes: u64) -> Result<Self, RestoreError> {
        // SAFETY: by the caller's promise.
        unsafe { Self::restore_if(host, control, control_bytes, |_| Ok(())) }
    }

    /// As [`Pool::restore`], and looks at every slab (its seal too, where the freeze wrote one) before it takes over:
    /// for memory that lay about, where a hand-over between two living programs needs no such doubt.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]: the first thing that is wrong.
    ///
    /// # Safety
    ///
    /// As [`Pool::restore`].
    #[expect(unsafe_code, reason = "the memory is the caller's promise")]
    pub unsafe fn restore_checked(host: H, control: u64, control_bytes: u64) -> Result<Self, RestoreError> {
        let every_slab = |pool: &Self| {
            let mut first = None;
            pool.check(false, |broken| {
                first.get_or_insert(broken);
            });
            first.map_or(Ok(()), |broken| Err(broken.into()))
        };
        // SAFETY: by the caller's promise.
        unsafe { Self::restore_if(host, control, control_bytes, every_slab) }
    }

    /// # Safety
    ///
    /// As [`Pool::restore`].
    #[expect(unsafe_code, reason = "the memory is the caller's promise")]
    unsafe fn restore_if(
        host: H,
        control: u64,
        control_bytes: u64,
        check: impl FnOnce(&Self) -> Result<(), RestoreError>,
    ) -> Result<Self, RestoreError> {
        // SAFETY: by the caller's promise.
        let pool = unsafe { Self::open(host, control, control_bytes)? };
        pool.adopt_blocks(Believed::ByChecksum)?;
        check(&pool)?;
        pool.take_over();
        Ok(pool)
    }

    /// A pool over records whose geometry fits the memory; nothing else was looked at yet.
    ///
    /// # Safety
    ///
    /// As [`Pool::restore`].
    #[expect(unsafe_code, reason = "the memory is the caller's promise")]
    pub(super) unsafe fn open(host: H, control: u64, control_bytes: u64) -> Result<Self, RestoreError> {
        // A geometry of one of each, only to read the record itself; the reader checks all against `contains`.
        let probe = Geometry { block_shift: 21, unit_shift: 15, max_caches: 1, max_cpus: 1, max_blocks: 1 };
        // SAFETY: only bytes within `control_bytes` are read through it.
        let arena = unsafe { Arena::new(host.base(), control, probe) };
        let end = control.saturating_add(control_bytes);
        let (geometry, scrub) = {
            let memory = Reader { arena: &arena, within: control..end };
            let reader = PoolReader::open(&memory, control)?;
            check_caches(&reader)?;
            (reader.geometry(), reader.scrub())
        };
        // SAFETY: the reader found the whole control area of this geometry inside the memory.
        let arena = unsafe { Arena::new(host.base(), control, geometry) };
        let scrub = if scrub == 0 { Scrub::OnFree } else { Scrub::AtFreeze };
        Ok(Self::assemble(host, arena, geometry, scrub))
    }

    /// Asks the host for each block of the table. What it has granted before an error it is to forget.
    pub(super) fn adopt_blocks(&self, table: Believed) -> Result<(), RestoreError> {
        let (mut nr_empty, usable) = (0, self.geometry.usable_units());
        self.with_reader(|reader| {
            let mut wanted =
                Wanted { host: &self.host, blocks: [(0, 0); WANTED], indices: [0; WANTED], nr: 0 };
            let mut add = |block: &BlockView| {
                nr_empty += u32::from(block.free_units == usable);
                wanted.add(block)
            };
            match table {
                Believed::ByChecksum => reader?.check_blocks(&mut add)?,
                Believed::ByItsNumbers => reader?.for_each_block(&mut add)?,
            }
            wanted.ask()
        })?;
        self.nr_empty.store(nr_empty, Relaxed);
        Ok(())
    }

    /// Makes every slab one without an owner, and opens the pool for use.
    ///
    /// No longer frozen comes first: cut behind it, the pool is one to recover. Were a table changed before, it would be a
    /// frozen one with a wrong checksum, and refused for good.
    pub(super) fn take_over(&self) {
        self.arena.record().frozen.store(0, Relaxed);
        commit();
        for index in 0..self.nr_cpus() {
            // No checksum covers a CPU slot, and whatever it listed is in the bitmaps.
            self.arena.cpu(index).reset(self.nr_caches());
        }
        // The lists went with the slots, and with them the owners.
        self.idle_units.store(0, Relaxed);
        self.wider_bytes.store(0, Relaxed);
        self.may_have_ownerless.store(true, Relaxed);
        for cache in &self.arena.caches()[..self.nr_caches()] {
            cache.orphan_stamp.fetch_add(1, Relaxed);
        }
        commit();
    }

    /// Takes a pool back from a successor that had restored it and then died without using it: every slab is one
    /// without an owner now, and the threads for whose CPU slot `is_live` answers true go on with theirs.
    ///
    /// The caller's door is closed, as for the freeze.
    pub fn reclaim(&self, is_live: impl Fn(u32) -> bool) {
        self.take_over();
        let record = self.arena.record();
        for index in (0..self.nr_cpus()).filter(|&index| is_live(index)) {
            let cpu = self.arena.cpu(index);
            self.open_magazines(cpu);
            let tenure = record.next_tenure.load(Relaxed);
            record.next_tenure.store(tenure + 1, Relaxed);
            cpu.slot.tag.store(tenure << 16 | (u64::from(index) + 1), SeqCst);
        }
    }

    /// True where some thread has CPU slot `index`.
    pub fn is_claimed(&self, index: u32) -> bool {
        index < self.nr_cpus() && self.arena.cpu(index).slot.tag.load(SeqCst) != 0
    }
}

/// What a block table is believed by.
#[derive(Clone, Copy)]
pub(super) enum Believed {
    /// A freeze has summed it up.
    ByChecksum,
    /// Its owner died, and what it was changing is whole all the same.
    ByItsNumbers,
}

/// Blocks that the host is asked for at a time.
const WANTED: usize = 64;

/// Blocks that the host is asked for next.
struct Wanted<'a, H> {
    host: &'a H,
    blocks: [(u64, u32); WANTED],
    /// Their entries in the table.
    indices: [u32; WANTED],
    nr: usize,
}

impl<H: Host> Wanted<'_, H> {
    #[inline]
    fn add(&mut self, block: &BlockView) -> Result<(), RestoreError> {
        if self.nr == WANTED {
            self.ask()?;
        }
        self.blocks[self.nr] = (block.offset, block.run);
        self.indices[self.nr] = block.index;
        self.nr += 1;
        Ok(())
    }

    fn ask(&mut self) -> Result<(), RestoreError> {
        let blocks = &self.blocks[..self.nr];
        let granted = self.host.adopt_all(blocks);
        self.nr = 0;
        match blocks.get(granted) {
            None => Ok(()),
            Some(&(offset, _)) => Err(RestoreError::Block { index: self.indices[granted], offset }),
        }
    }
}

/// Each cache's numbers fit each other, and the first ones are the size classes: `alloc` takes a class for its slot size.
fn check_caches<M: Memory>(reader: &PoolReader<'_, M>) -> Result<(), PoolError> {
    for index in 0..reader.nr_caches() {
        reader.cache(index)?;
    }
    for class in 0..classes(&reader.geometry()) {
        let index = class as u32;
        if index >= reader.nr_caches() {
            let value = reader.nr_caches().into();
            return Err(PoolError::Cache { index, what: "size class beyond nr_caches, which", value });
        }
        let slot_bytes = reader.cache(index)?.slot_bytes;
        if slot_bytes as usize != class_bytes(class) {
            return Err(PoolError::Cache {
                index,
                what: "slot_bytes of a size class",
                value: slot_bytes.into(),
            });
        }
    }
    Ok(())
}
