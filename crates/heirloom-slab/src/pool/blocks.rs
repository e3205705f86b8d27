//! Blocks: taken from the host when no block has room, given back when nothing is in them.
//!
//! A block's map of free units is a copy for quick search; the descriptors' kinds are the truth, and recovery
//! rebuilds the map from them.

use heirloom_abi::pool::{BLOCK_KIND_HUGE, BLOCK_KIND_NONE, BLOCK_KIND_SLABS, BLOCK_MAGIC, PoolRecord};

use super::large::Contents;
use super::records::Block;
use super::{Pool, Scrub};
use crate::host::{Fault, Host};
use crate::knobs::window;
use crate::sync::Ordering::*;

const POOL_ID_WORD: usize = core::mem::offset_of!(PoolRecord, pool_id) / 8;

/// Hints of `Pool::room` for aligned runs, one for each order; as many follow for runs of any length, of which hint `n` is for
/// those of `2^n` units and more, up to the next.
const NR_ORDERS: usize = 7;
pub(super) const NR_HINTS: usize = 2 * NR_ORDERS;

impl<H: Host> Pool<H> {
    /// Takes `2^order` units, aligned to as many, from a block with room: the entry and the first unit.
    pub(super) fn take_units(&self, order: u32) -> Option<(usize, u32)> {
        let find = |free| aligned_run(free, order);
        self.take_run(order as usize, find, find, 1 << order)
    }

    /// Takes `units` adjacent units from a block with room: the entry and the first unit.
    pub(super) fn take_any_units(&self, units: u32) -> Option<(usize, u32)> {
        let least = units.max(1).ilog2();
        self.take_run(
            NR_ORDERS + least as usize,
            |free| any_run(free, units),
            |free| any_run(free, 1 << least),
            units,
        )
    }

    /// Zeroes those of the units, in which nothing is, that may hold old bytes.
    #[expect(unsafe_code, reason = "zeroes units that hold nothing")]
    pub(super) fn clean_units(&self, block: &Block, units: u64) {
        let dirty = block.dirty_units.load(Acquire) & units;
        let mut rest = dirty;
        while rest != 0 {
            let (unit, nr) = (rest.trailing_zeros(), (rest >> rest.trailing_zeros()).trailing_ones());
            rest &= !span(unit, nr);
            let from = block.offset.load(Relaxed) + (u64::from(unit) << self.geometry.unit_shift);
            // SAFETY: the caller holds these units: no slab, no object and no other CPU has them.
            unsafe { self.arena.zero(from, u64::from(nr) << self.geometry.unit_shift) };
        }
        if dirty != 0 {
            block.dirty_units.fetch_and(!dirty, AcqRel);
        }
    }

    /// Takes what `find` finds in the first block where it does. Blocks in which `find_least` finds nothing are passed over from
    /// now on by whoever comes with the same `hint`, as no other request with it can be served there.
    fn take_run(
        &self,
        hint: usize,
        find: impl Fn(u64) -> Option<u32>,
        find_least: impl Fn(u64) -> Option<u32>,
        units: u32,
    ) -> Option<(usize, u32)> {
        let _guard = self.lock();
        let nr = self.nr_blocks();
        let from = self.room[hint].load(Relaxed) as usize;
        let mut is_first = true;
        for (index, block) in self.arena.blocks()[..nr].iter().enumerate().skip(from) {
            if block.kind.load(Relaxed) != BLOCK_KIND_SLABS {
                continue;
            }
            let free = block.free_units.load(Relaxed);
            if free != 0 && is_first && find_least(free).is_some() {
                self.room[hint].store(index as u32, Relaxed);
                is_first = false;
            }
            if let Some(unit) = if free == 0 { None } else { find(free) } {
                if free == self.geometry.usable_units() {
                    self.nr_empty.fetch_sub(1, Relaxed);
                }
                self.mend_head(index);
                block.free_units.store(free & !span(unit, units), Relaxed);
                return Some((index, unit));
            }
        }
        if is_first {
            self.room[hint].store(nr as u32, Relaxed);
        }
        None
    }

    /// Gives units back to their block, and the block to the host if nothing is left in it and another is empty.
    pub(super) fn give_units(&self, index: usize, unit: u32, units: u32) {
        let _guard = self.lock();
        let block = &self.arena.blocks()[index];
        let free = block.free_units.load(Relaxed) | span(unit, units);
        block.free_units.store(free, Release);
        self.note_room(index);
        if free == self.geometry.usable_units() {
            if self.nr_empty.load(Relaxed) > self.spare_blocks.load(Relaxed) {
                self.give_block_back(index);
            } else {
                self.nr_empty.fetch_add(1, Relaxed);
            }
        }
    }

    /// Keeps up to `nr` empty blocks, and the one that is kept always, when things are freed. The default is none.
    /// Blocks that are empty at a freeze go back to the host.
    pub fn set_spare_blocks(&self, nr: u32) {
        self.spare_blocks.store(nr, Relaxed);
    }

    /// Gives idle slabs back to their blocks, and empty blocks to the host.
    pub fn trim(&self) {
        self.release_idle(None);
    }

    /// Searches begin no further than at this entry from now on. The caller holds the pool's lock.
    fn note_room(&self, index: usize) {
        for room in &self.room {
            if room.load(Relaxed) > index as u32 {
                room.store(index as u32, Relaxed);
            }
        }
    }

    /// Takes a block from the host; false where it has none.
    pub(super) fn grow(&self) -> bool {
        let _guard = self.lock();
        let Some(index) = self.vacant_entry() else { return false };
        let Some(offset) = self.host.take(1) else { return false };
        self.set_up_block(index, offset, BLOCK_KIND_SLABS, 1, 0);
        self.nr_empty.fetch_add(1, Relaxed);
        self.note_room(index);
        true
    }

    /// Takes `run` blocks in a row for one object of `bytes`: the entry. They are zero but for what the object may hold.
    pub(super) fn take_huge(&self, run: u32, bytes: u64, contents: Contents) -> Option<usize> {
        let header = u64::from(self.geometry.header_units()) << self.geometry.unit_shift;
        let _guard = self.lock();
        let index = self.vacant_entry()?;
        let offset = match (contents, self.scrub) {
            (Contents::Any, Scrub::AtFreeze) => self.host.take_with(run, header..header + bytes)?,
            _ => self.host.take(run)?,
        };
        self.set_up_block(index, offset, BLOCK_KIND_HUGE, run, bytes);
        Some(index)
    }

    /// Gives all empty blocks back.
    pub(super) fn give_empty_blocks_back(&self) {
        if self.nr_empty.load(Relaxed) == 0 {
            return;
        }
        let _guard = self.lock();
        for index in 0..self.nr_blocks() {
            let block = &self.arena.blocks()[index];
            let is_empty = block.free_units.load(Relaxed) == self.geometry.usable_units();
            if block.kind.load(Relaxed) == BLOCK_KIND_SLABS && is_empty {
                self.give_block_back(index);
            }
        }
        self.nr_empty.store(0, Relaxed);
    }

    /// Drops the entry, then the block: cut in between, the host's memory is nobody's, which recovery sees.
    ///
    /// The caller holds the pool's lock.
    pub(super) fn give_block_back(&self, index: usize) {
        let block = &self.arena.blocks()[index];
        let (offset, run) = (block.offset.load(Relaxed), block.run.load(Relaxed));
        let header = u64::from(self.geometry.header_units()) << self.geometry.unit_shift;
        let object_bytes = block.object_bytes.load(Relaxed);
        // Free units are all zeros unless they are dirty; what a huge object held is not.
        let is_huge = block.kind.load(Relaxed) == BLOCK_KIND_HUGE;
        let is_clean = !is_huge && block.dirty_units.load(Relaxed) == 0;
        block.kind.store(BLOCK_KIND_NONE, Release);
        self.vacant.fetch_min(index as u32, Relaxed);
        window();
        for field in
            [&block.offset, &block.free_units, &block.partial_units, &block.dirty_units, &block.object_bytes]
        {
            field.store(0, Relaxed);
        }
        block.caches[0].store(0, Relaxed);
        block.caches[1].store(0, Relaxed);
        block.run.store(0, Relaxed);
        window();
        if is_clean {
            self.host.give_back_clean(offset, header);
        } else if is_huge && object_bytes > 0 && self.scrub == Scrub::AtFreeze {
            // Of none but an object that a kill cut short, nobody knows how much it held.
            self.host.give_back_dirty(offset, run, header.saturating_add(object_bytes));
        } else {
            self.host.give_back(offset, run);
        }
    }

    /// A block's head follows from its entry in the table. A restore trusts the table, by its checksum, and visits no
    /// block, so a head is compared when something new is put behind it.
    fn mend_head(&self, index: usize) {
        let offset = self.arena.blocks()[index].offset.load(Relaxed);
        let head = self.arena.block_head(offset);
        let is_right = head.magic.load(Relaxed) == BLOCK_MAGIC
            && head.pool_id.load(Relaxed) == self.pool_id()
            && head.offset.load(Relaxed) == offset
            && head.index.load(Relaxed) as usize == index;
        if !is_right {
            self.host.report(Fault::Damaged(offset));
            self.write_head(index, offset);
        }
    }

    fn write_head(&self, index: usize, offset: u64) {
        let head = self.arena.block_head(offset);
        head.pool_id.store(self.pool_id(), Relaxed);
        head.offset.store(offset, Relaxed);
        head.index.store(index as u32, Relaxed);
        head.magic.store(BLOCK_MAGIC, Release);
    }

    fn pool_id(&self) -> u64 {
        self.arena.record().identity[POOL_ID_WORD].load(Relaxed)
    }

    fn vacant_entry(&self) -> Option<usize> {
        let nr = self.nr_blocks();
        let from = (self.vacant.load(Relaxed) as usize).min(nr);
        let is_vacant = |block: &Block| block.kind.load(Relaxed) == BLOCK_KIND_NONE;
        let index = self.arena.blocks()[from..nr].iter().position(is_vacant).map_or(nr, |at| from + at);
        // Where it is used now, the next search goes one step further.
        self.vacant.store(index as u32, Relaxed);
        (index < self.arena.blocks().len()).then_some(index)
    }

    fn set_up_block(&self, index: usize, offset: u64, kind: u32, run: u32, object_bytes: u64) {
        self.write_head(index, offset);
        let block = &self.arena.blocks()[index];
        block.offset.store(offset, Relaxed);
        block.run.store(run, Relaxed);
        let free = if kind == BLOCK_KIND_SLABS { self.geometry.usable_units() } else { 0 };
        block.free_units.store(free, Relaxed);
        block.partial_units.store(0, Relaxed);
        block.dirty_units.store(0, Relaxed);
        block.object_bytes.store(object_bytes, Relaxed);
        window();
        block.kind.store(kind, Release);
        window();
        let nr = &self.arena.record().nr_blocks;
        if index as u32 >= nr.load(Relaxed) {
            nr.store(index as u32 + 1, Release);
        }
    }
}

/// The first `2^order` adjacent set bits at a multiple of `2^order`.
fn aligned_run(free: u64, order: u32) -> Option<u32> {
    let mut starts = free;
    let mut multiples = u64::MAX;
    for step in 0..order {
        starts &= starts >> (1 << step);
        multiples = match step {
            0 => 0x5555_5555_5555_5555,
            1 => 0x1111_1111_1111_1111,
            2 => 0x0101_0101_0101_0101,
            3 => 0x0001_0001_0001_0001,
            _ => 1,
        };
    }
    let starts = starts & multiples;
    (starts != 0).then(|| starts.trailing_zeros())
}

/// The first `units` adjacent set bits.
fn any_run(free: u64, units: u32) -> Option<u32> {
    let mut starts = free;
    let mut len = 1;
    while len < units {
        let step = len.min(units - len);
        starts &= starts >> step;
        len += step;
    }
    (starts != 0 && units > 0).then(|| starts.trailing_zeros())
}

/// Bits `unit..unit + units`.
pub(super) fn span(unit: u32, units: u32) -> u64 {
    let ones = if units >= 64 { u64::MAX } else { (1 << units) - 1 };
    ones << unit
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{aligned_run, any_run};

    #[test]
    fn runs_are_found_where_a_slow_search_finds_them() {
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..if cfg!(miri) { 3 } else { 20_000 } {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let free = seed | seed.rotate_left(1) | seed.rotate_left(3);
            let is_free = |from: u32, len: u32| (from..from + len).all(|bit| free >> bit & 1 == 1);
            for order in 0..4 {
                let len = 1 << order;
                let slow = (0..64 / len).map(|i| i * len).find(|&at| is_free(at, len));
                assert_eq!(aligned_run(free, order), slow, "{free:#x} order {order}");
            }
            for len in 1..63 {
                let slow = (0..=64 - len).find(|&at| is_free(at, len));
                assert_eq!(any_run(free, len), slow, "{free:#x} length {len}");
            }
        }
    }
}
