//! Recovery: the owner died at some instruction. What it listed as free anywhere is free, everything else is live.
//!
//! It walks known tables (blocks, units, CPU slots), never a list, and works in two passes: the first only looks, so that
//! a pool which is refused is as it was; the second writes. Killed in the second, it is done again: every step
//! lists a slot in the bitmap before it drops it elsewhere.

use heirloom_abi::pool::{
    BLOCK_KIND_HUGE, BLOCK_KIND_NONE, BLOCK_KIND_SLABS, MAGAZINE_SLOTS, PoolError, SLAB_KIND_FREE,
    SLAB_KIND_LARGE, SLAB_KIND_SLAB,
};

use super::restore::{Believed, RestoreError};
use super::{Pool, Scrub};
use crate::host::Host;
use crate::knobs::window;
use crate::slab::Slab;
use crate::sync::{AtomicU64, Ordering::*};

/// What a recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Free slots that were listed outside the bitmaps.
    pub folded: u64,
    /// Slots given back because `alloc_into` had not stored them yet.
    pub returned: u64,
    /// Slabs and large objects.
    pub slabs: u64,
}

impl<H: Host> Pool<H> {
    /// Takes over a pool whose owner died without a freeze. Costs a look at each slab's bitmap.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]; nothing in memory was changed.
    ///
    /// # Safety
    ///
    /// As [`Pool::restore`], and the owner is dead.
    #[expect(unsafe_code, reason = "the memory is the caller's promise")]
    pub unsafe fn recover(
        host: H,
        control: u64,
        control_bytes: u64,
    ) -> Result<(Self, Recovered), RestoreError> {
        // SAFETY: by the caller's promise.
        let pool = unsafe { Self::open(host, control, control_bytes)? };
        pool.adopt_blocks(Believed::ByItsNumbers)?;
        pool.look()?;
        let mut recovered = Recovered::default();
        pool.arena.record().frozen.store(0, Relaxed);
        pool.fold_slots(&mut recovered);
        pool.rebuild(&mut recovered);
        pool.take_over();
        Ok((pool, recovered))
    }

    /// Takes a pool back from a successor that had restored it, used it and then died: recovers it as it is open here, and the threads
    /// for whose CPU slot `is_live` answers true go on with theirs.
    ///
    /// The caller's door is closed, and the host knows of no block: it is asked for each in the table, as at a restore, before anything
    /// else in memory is looked at.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]: the records are damaged; nothing was changed.
    pub fn reclaim_used(&self, is_live: impl Fn(u32) -> bool) -> Result<Recovered, RestoreError> {
        self.adopt_blocks(Believed::ByItsNumbers)?;
        self.look()?;
        let mut recovered = Recovered::default();
        self.arena.record().frozen.store(0, Relaxed);
        self.fold_slots(&mut recovered);
        self.rebuild(&mut recovered);
        for room in &self.room {
            room.store(0, Relaxed);
        }
        self.vacant.store(0, Relaxed);
        self.reclaim(is_live);
        Ok(recovered)
    }

    /// First pass: every block's head and every slab's numbers.
    fn look(&self) -> Result<(), RestoreError> {
        self.with_reader(|reader| {
            // Whether or not a freeze had begun: its counts are made anew.
            let reader = reader?.as_running();
            for index in 0..reader.nr_blocks() {
                let Some(block) = reader.block(index)? else { continue };
                reader.check_block_head(&block)?;
                let mut unit = self.geometry.header_units();
                while unit < self.geometry.units() {
                    let units = match reader.slab(&block, unit) {
                        Ok(slab) => slab.map_or(1, |slab| slab.units),
                        // A huge object whose resize was cut: the descriptor's size counts (see `rebuild_huge`).
                        Err(PoolError::Slab { what: "object_bytes", .. })
                            if block.kind == BLOCK_KIND_HUGE =>
                        {
                            self.geometry.units()
                        }
                        Err(error) => return Err(error.into()),
                    };
                    unit += units.max(1);
                }
            }
            Ok(())
        })
    }

    /// Lists what magazines and accumulators hold in the bitmaps.
    fn fold_slots(&self, recovered: &mut Recovered) {
        for index in 0..self.nr_cpus() {
            let cpu = self.arena.cpu(index);
            for cache in cpu.caches.iter().take(self.nr_caches()) {
                let (top, nr) = (cache.top.load(Relaxed), cache.nr());
                // Where the numbers are damaged and say more than there can be, no entry is to be believed.
                for back in 1..=if nr <= MAGAZINE_SLOTS as u32 { nr } else { 0 } {
                    let slot = cache.entry(top.wrapping_sub(back)).load(Relaxed);
                    recovered.folded += u64::from(self.list_free(slot));
                }
                window();
                cache.bottom.store(top, Release);
            }
            let (at, word, mask) = (
                cpu.slot.out_slab.load(Relaxed),
                cpu.slot.out_word.load(Relaxed),
                cpu.slot.out_mask.load(Relaxed),
            );
            if let Some(slab) = self.known_slab(at).filter(|_| mask != 0) {
                let mask = mask & slab.valid_bits(word);
                if let Some(free) = slab.free.get(word as usize) {
                    recovered.folded += u64::from((mask & !free.load(Relaxed)).count_ones());
                    free.fetch_or(mask, Release);
                }
            }
            window();
            cpu.slot.out_mask.store(0, Release);
        }
        for index in 0..self.nr_cpus() {
            let slot = self.arena.cpu(index).slot;
            let placed = slot.placed.load(Relaxed);
            if placed != 0 {
                let place = slot.place.load(Relaxed);
                // A place that cannot be read may hold the object: better one slot lost than a live one given away.
                let stored = self.known_word(place).map(|word| word.load(Relaxed));
                if stored.is_some_and(|stored| stored != self.arena.address(placed).addr() as u64) {
                    recovered.returned += u64::from(self.list_free(placed));
                }
                slot.placed.store(0, Release);
            }
        }
    }

    /// Sets the bit of a slot; false where it was set, or no such slot is (its slab was taken down).
    fn list_free(&self, slot: u64) -> bool {
        let Some((block, _)) = self.known_block(slot) else { return false };
        let mut unit = ((slot - block) >> self.geometry.unit_shift) as u32;
        // The slab that covers this unit starts at one of a few.
        for _ in 0..=self.geometry.max_order() {
            let slab = self.arena.slab(block, unit);
            if slab.head.kind.load(Relaxed) == SLAB_KIND_SLAB {
                let within = slot - block - (u64::from(unit) << self.geometry.unit_shift);
                let size = u64::from(slab.head.slot_bytes.load(Relaxed).max(1));
                let index = within / size;
                let covers = index < slab.head.nr_slots.load(Relaxed).into() && index * size == within;
                let Some(free) = slab.free.get((index / 64) as usize) else { return false };
                let bit = 1 << (index % 64);
                return covers && free.fetch_or(bit, Release) & bit == 0;
            }
            // Clears the lowest set bit: the next candidate start.
            unit &= unit.wrapping_sub(1);
        }
        false
    }

    /// The block that an offset lies in, if it is one of slabs.
    fn known_block(&self, offset: u64) -> Option<(u64, usize)> {
        let block = offset & !(self.geometry.block_bytes() - 1);
        let blocks = &self.arena.blocks()[..self.nr_blocks()];
        let is_it = |entry: &super::records::Block| {
            entry.offset.load(Relaxed) == block && entry.kind.load(Relaxed) != BLOCK_KIND_NONE
        };
        // The table is asked and not the block's head: of an offset from a damaged magazine we do not know yet whether
        // there is any block.
        blocks.iter().position(is_it).map(|index| (block, index))
    }

    fn known_slab(&self, at: u64) -> Option<Slab<'_>> {
        let (block, _) = self.known_block(at)?;
        let unit =
            (at - block).checked_sub(self.geometry.descriptor_offset(0))? / self.geometry.descriptor_bytes();
        let unit = u32::try_from(unit).ok().filter(|&unit| unit < self.geometry.units())?;
        let slab = self.arena.slab(block, unit);
        (slab.at == at && slab.head.kind.load(Relaxed) == SLAB_KIND_SLAB).then_some(slab)
    }

    fn known_word(&self, offset: u64) -> Option<&AtomicU64> {
        let holds = |entry: &super::records::Block| {
            let start = entry.offset.load(Relaxed);
            let bytes = u64::from(entry.run.load(Relaxed)) << self.geometry.block_shift;
            entry.kind.load(Relaxed) != BLOCK_KIND_NONE
                && offset.checked_sub(start).is_some_and(|at| at < bytes)
        };
        // A huge object's later blocks too.
        self.arena.blocks()[..self.nr_blocks()].iter().any(holds).then(|| self.arena.word(offset)).flatten()
    }

    /// Second pass over the slabs: remote words in, counts and maps from the bits, ownerless all.
    fn rebuild(&self, recovered: &mut Recovered) {
        for block in &self.arena.blocks()[..self.nr_blocks()] {
            let kind = block.kind.load(Relaxed);
            if kind == BLOCK_KIND_NONE {
                continue;
            }
            let base = block.offset.load(Relaxed);
            let (mut covered, mut partial, mut hints) = (0u64, 0u64, [0u64; 2]);
            let mut unit = self.geometry.header_units();
            while unit < self.geometry.units() {
                let slab = self.arena.slab(base, unit);
                let units = match slab.head.kind.load(Relaxed) {
                    SLAB_KIND_SLAB => {
                        let has_room = self.rebuild_slab(&slab);
                        partial |= u64::from(has_room) << unit;
                        let cache = slab.head.cache.load(Relaxed) as usize;
                        hints[cache / 64 % 2] |= 1 << (cache % 64);
                        slab.head.units.load(Relaxed)
                    }
                    SLAB_KIND_LARGE => {
                        if kind == BLOCK_KIND_SLABS {
                            self.clean_behind(block, &slab);
                        }
                        slab.head.units.load(Relaxed)
                    }
                    // Free, or the tail of a slab whose making or taking down was cut.
                    _ => {
                        slab.head.kind.store(SLAB_KIND_FREE, Relaxed);
                        unit += 1;
                        continue;
                    }
                };
                recovered.slabs += 1;
                if kind == BLOCK_KIND_SLABS {
                    self.write_tails(base, unit, units);
                }
                covered |= super::blocks::span(unit, units);
                unit += units.max(1);
            }
            if kind == BLOCK_KIND_HUGE {
                for field in [&block.free_units, &block.partial_units, &block.dirty_units] {
                    field.store(0, Relaxed);
                }
                self.rebuild_huge(block, base);
                continue;
            }
            let free = self.geometry.usable_units() & !covered;
            self.scrub_free_units(block, base, free);
            block.free_units.store(free, Relaxed);
            block.partial_units.store(partial, Relaxed);
            for (hint, bits) in block.caches.iter().zip(hints) {
                hint.store(bits, Relaxed);
            }
        }
        self.give_dead_huge_back();
        self.nr_empty.store(self.count_empty(), Relaxed);
    }

    /// Folds the remote words in and counts; true where the slab has free slots.
    fn rebuild_slab(&self, slab: &Slab<'_>) -> bool {
        let head = slab.head;
        let (mut bits, mut summary) = (0, 0);
        for (word, (free, remote)) in slab.free.iter().zip(slab.remote).enumerate() {
            let all = free.load(Relaxed) | remote.load(Relaxed);
            free.store(all, Release);
            window();
            remote.store(0, Relaxed);
            bits += all.count_ones();
            summary |= u64::from(all != 0) << word;
        }
        head.nr_free.store(bits, Relaxed);
        head.summary.store(summary, Relaxed);
        head.remote_summary.store(0, Relaxed);
        head.publishing.store(0, Relaxed);
        head.announced.store(0, Relaxed);
        head.listed.store(0, Relaxed);
        head.owner.store(0, Relaxed);
        if self.scrub == Scrub::AtFreeze {
            self.scrub_slab(slab);
        }
        bits > 0
    }

    /// A huge object whose descriptor was not written yet, or was cleared already, is nobody's.
    fn rebuild_huge(&self, block: &super::records::Block, base: u64) {
        let head = self.arena.slab(base, self.geometry.header_units()).head;
        let header = u64::from(self.geometry.header_units()) << self.geometry.unit_shift;
        let room = (u64::from(block.run.load(Relaxed)) << self.geometry.block_shift).saturating_sub(header);
        let bytes = match head.kind.load(Relaxed) {
            SLAB_KIND_LARGE => head.object_bytes.load(Relaxed).min(room),
            _ => 0,
        };
        head.object_bytes.store(bytes, Relaxed);
        block.object_bytes.store(bytes, Relaxed);
    }

    fn give_dead_huge_back(&self) {
        let _guard = self.lock();
        for index in 0..self.nr_blocks() {
            let block = &self.arena.blocks()[index];
            if block.kind.load(Relaxed) == BLOCK_KIND_HUGE && block.object_bytes.load(Relaxed) == 0 {
                self.give_block_back(index);
            }
        }
    }

    /// Free units that may hold old bytes: of a slab or large object whose taking down was cut.
    #[expect(unsafe_code, reason = "zeroes units that hold nothing")]
    fn scrub_free_units(&self, block: &super::records::Block, base: u64, free: u64) {
        let mut units = free & (!block.free_units.load(Relaxed) | block.dirty_units.load(Relaxed));
        while units != 0 {
            let unit = units.trailing_zeros();
            units &= units - 1;
            let from = base + (u64::from(unit) << self.geometry.unit_shift);
            // SAFETY: no slab and no object covers this unit.
            unsafe { self.arena.zero(from, self.geometry.unit_bytes()) };
        }
        block.dirty_units.store(0, Relaxed);
    }

    fn count_empty(&self) -> u32 {
        let blocks = &self.arena.blocks()[..self.nr_blocks()];
        blocks.iter().filter(|block| block.free_units.load(Relaxed) == self.geometry.usable_units()).count()
            as u32
    }
}
