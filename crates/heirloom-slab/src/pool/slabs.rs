//! Slabs as members: made and taken down, listed by their owner, adopted when nobody owns them.

use heirloom_abi::pool::{BLOCK_KIND_SLABS, BLOCK_MAGIC, SLAB_KIND_FREE, SLAB_KIND_SLAB, SLAB_KIND_TAIL};

use super::records::Block;
use super::{Pool, Scrub};
use crate::cpu::{CpuCache, Locked};
use crate::host::{Fault, Host};
use crate::knobs::window;
use crate::slab::Slab;
use crate::sync::Ordering::*;

/// Owner of a slab whose record contradicts itself: no tag names such a CPU, and nobody adopts it.
pub(super) const DAMAGED: u64 = u64::MAX;

impl<H: Host> Pool<H> {
    /// Cuts a new slab of `cache` from a block with room and puts it on the CPU's list; false where no block has room.
    pub(super) fn new_slab(&self, cpu: &Locked<'_>, cache: usize) -> bool {
        let shape = &self.arena.caches()[cache];
        let order = shape.slab_order.load(Relaxed);
        let Some((block, unit)) = self.take_units(order) else { return false };
        let entry = &self.arena.blocks()[block];
        let base = entry.offset.load(Relaxed);
        let slab = self.arena.slab(base, unit);
        let (head, units) = (slab.head, 1 << order);
        self.write_tails(base, unit, units);
        let slot_bytes = shape.slot_bytes.load(Relaxed);
        let nr_slots = shape.nr_slots.load(Relaxed);
        head.cache.store(cache as u32, Relaxed);
        head.units.store(units, Relaxed);
        head.slot_bytes.store(slot_bytes, Relaxed);
        head.nr_slots.store(nr_slots, Relaxed);
        head.nr_free.store(nr_slots, Relaxed);
        head.reciprocal.store((1u64 << 40).div_ceil(slot_bytes.max(1).into()), Relaxed);
        head.remote_summary.store(0, Relaxed);
        head.publishing.store(0, Relaxed);
        head.announced.store(0, Relaxed);
        head.head_unit.store(unit, Relaxed);
        head.object_bytes.store(0, Relaxed);
        let (full, rest) = ((nr_slots / 64) as usize, nr_slots % 64);
        let (first, others) = slab.free.split_at(full.min(slab.free.len()));
        first.iter().for_each(|free| free.store(u64::MAX, Relaxed));
        others.iter().for_each(|free| free.store(0, Relaxed));
        slab.remote.iter().for_each(|remote| remote.store(0, Relaxed));
        if let Some(last) = others.first() {
            last.store((1 << rest) - 1, Relaxed);
        }
        head.summary.store(super::blocks::span(0, nr_slots.div_ceil(64)), Relaxed);
        head.owner.store(cpu.slot.tag.load(Relaxed), Relaxed);
        self.inherit_dirt(entry, unit, units, u64::from(nr_slots) * u64::from(slot_bytes));
        window();
        // Before the slab is there: without the hint no search would find it after a kill.
        let hint = &entry.caches[cache / 64 % 2];
        if hint.load(Relaxed) >> (cache % 64) & 1 == 0 {
            hint.fetch_or(1 << (cache % 64), AcqRel);
        }
        // The slab is there from this store on.
        head.kind.store(SLAB_KIND_SLAB, Release);
        window();
        self.link(&cpu.caches[cache], &slab);
        true
    }

    /// Makes the further units of a slab or large object say whose they are.
    pub(super) fn write_tails(&self, block: u64, unit: u32, units: u32) {
        for tail in unit + 1..unit + units {
            let tail = self.arena.slab(block, tail).head;
            tail.head_unit.store(unit, Relaxed);
            tail.kind.store(SLAB_KIND_TAIL, Relaxed);
        }
    }

    /// Under [`Scrub::AtFreeze`]: units may hold old bytes, and the slab that is cut from them is one that may then. What no slot
    /// covers is zeroed now, as no scrub of slots will see it.
    #[expect(unsafe_code, reason = "zeroes what is left behind the last slot of a new slab")]
    fn inherit_dirt(&self, entry: &Block, unit: u32, units: u32, used: u64) {
        let span = super::blocks::span(unit, units);
        if self.scrub == Scrub::OnFree || entry.dirty_units.load(Relaxed) & span == 0 {
            return;
        }
        let base = entry.offset.load(Relaxed) + (u64::from(unit) << self.geometry.unit_shift);
        let room = u64::from(units) << self.geometry.unit_shift;
        // SAFETY: the units were just taken from the block, and nothing is in them.
        unsafe { self.arena.zero(base + used, room - used) };
        entry.dirty_units.fetch_or(1 << unit, AcqRel);
        entry.dirty_units.fetch_and(!(span & !(1 << unit)), AcqRel);
    }

    /// Takes a slab down whose slots are all free: its units go back to the block, as dirty as it was.
    pub(super) fn take_down(&self, cache: &CpuCache, slab: &Slab<'_>) {
        self.unlink(cache, slab);
        let (block, unit) = self.place_of(slab);
        let head = slab.head;
        let units = head.units.load(Relaxed);
        // The owner's tag stays, so that nobody adopts what is going.
        head.kind.store(SLAB_KIND_FREE, Release);
        let entry = &self.arena.blocks()[block];
        let base = entry.offset.load(Relaxed);
        for tail in unit + 1..unit + units {
            self.arena.slab(base, tail).head.kind.store(SLAB_KIND_FREE, Relaxed);
        }
        window();
        if entry.dirty_units.load(Relaxed) >> unit & 1 == 1 {
            entry.dirty_units.fetch_or(super::blocks::span(unit, units), AcqRel);
        }
        window();
        self.give_units(block, unit, units);
    }

    /// Takes the slab down if nothing is in it and enough is kept without it: of this cache half a block, and of all caches
    /// as much as the pool keeps in empty blocks. What is freed and soon wanted again need not be cut anew.
    #[inline]
    pub(super) fn take_down_if_idle(&self, cpu: &Locked<'_>, cache: usize, slab: &Slab<'_>) {
        let list = &cpu.caches[cache];
        let others = list.nr_partial.load(Relaxed).saturating_sub(1);
        let enough =
            others > 0 && others.saturating_mul(slab.head.units.load(Relaxed)) >= self.geometry.units() / 2;
        if enough && slab.is_idle() && self.idle_units.load(Relaxed) > self.most_idle_units() {
            self.take_down(list, slab);
        }
    }

    /// Units of idle slabs that are kept beyond the half block of each cache.
    fn most_idle_units(&self) -> u64 {
        let units = u64::from(self.spare_blocks.load(Relaxed)) * u64::from(self.geometry.units());
        units.saturating_sub(self.wider_bytes.load(Relaxed) >> self.geometry.unit_shift)
    }

    /// Notes that a slab on a CPU's list has all its slots now, if it has.
    #[inline]
    pub(super) fn count_idle(&self, list: &CpuCache, slab: &Slab<'_>) {
        let head = slab.head;
        if head.nr_free.load(Relaxed) == head.nr_slots.load(Relaxed) {
            let units = head.units.load(Relaxed);
            list.idle_units.store(list.idle_units.load(Relaxed).saturating_add(units.into()), Relaxed);
            self.idle_units.fetch_add(units.into(), Relaxed);
        }
    }

    /// Notes that a slab on a CPU's list does not have all its slots any more, or is on it no more, if it had them.
    #[inline]
    pub(super) fn discount_idle(&self, list: &CpuCache, slab: &Slab<'_>) {
        let head = slab.head;
        if head.nr_free.load(Relaxed) == head.nr_slots.load(Relaxed) {
            self.discount_units(list, head.units.load(Relaxed).into());
        }
    }

    /// Counts so many units less, or all that were counted.
    pub(super) fn discount_units(&self, list: &CpuCache, units: u64) {
        let counted = list.idle_units.load(Relaxed);
        let units = units.min(counted);
        list.idle_units.store(counted - units, Relaxed);
        let less = |all: u64| Some(all.saturating_sub(units));
        let _ = self.idle_units.fetch_update(Relaxed, Relaxed, less);
    }

    /// Takes idle slabs of a CPU's list down until it has no more than `leave` slabs, or none of them is idle. True where there
    /// were any.
    pub(super) fn take_down_idle(&self, cpu: &Locked<'_>, cache: usize, leave: u32) -> bool {
        let list = &cpu.caches[cache];
        let mut at = list.partial.load(Relaxed);
        let mut found = false;
        // A list that a damaged record made a ring ends too.
        for _ in 0..list.nr_partial.load(Relaxed) {
            let is_done = list.nr_partial.load(Relaxed) <= leave || list.idle_units.load(Relaxed) == 0;
            if at == 0 || is_done {
                break;
            }
            let slab = self.arena.slab_at(at);
            at = slab.head.next.load(Relaxed);
            if slab.is_idle() {
                self.take_down(list, &slab);
                found = true;
            }
        }
        found
    }

    /// Puts a slab of this CPU on its list.
    pub(super) fn link(&self, cache: &CpuCache, slab: &Slab<'_>) {
        let first = cache.partial.load(Relaxed);
        slab.head.next.store(first, Relaxed);
        slab.head.prev.store(0, Relaxed);
        slab.head.listed.store(1, Relaxed);
        if first != 0 {
            self.arena.slab_at(first).head.prev.store(slab.at, Relaxed);
        }
        cache.partial.store(slab.at, Relaxed);
        cache.nr_partial.store(cache.nr_partial.load(Relaxed).wrapping_add(1), Relaxed);
        self.count_idle(cache, slab);
        self.mark_partial(slab, true);
    }

    /// Takes a slab off its CPU's list: it has no free slot any more, or goes.
    pub(super) fn unlink(&self, cache: &CpuCache, slab: &Slab<'_>) {
        if slab.head.listed.load(Relaxed) == 0 {
            return;
        }
        let (next, prev) = (slab.head.next.load(Relaxed), slab.head.prev.load(Relaxed));
        match prev {
            0 => cache.partial.store(next, Relaxed),
            prev => self.arena.slab_at(prev).head.next.store(next, Relaxed),
        }
        if next != 0 {
            self.arena.slab_at(next).head.prev.store(prev, Relaxed);
        }
        slab.head.listed.store(0, Relaxed);
        cache.nr_partial.store(cache.nr_partial.load(Relaxed).wrapping_sub(1), Relaxed);
        self.discount_idle(cache, slab);
        self.mark_partial(slab, false);
    }

    /// Notes in the block table whether the slab has free slots: that is how it is found when nobody owns it.
    pub(super) fn mark_partial(&self, slab: &Slab<'_>, partial: bool) {
        let (block, unit) = self.place_of(slab);
        let units = &self.arena.blocks()[block].partial_units;
        if (units.load(Relaxed) >> unit & 1 == 1) == partial {
            return;
        }
        if partial {
            units.fetch_or(1 << unit, AcqRel);
        } else {
            units.fetch_and(!(1 << unit), AcqRel);
        }
    }

    /// Under [`Scrub::AtFreeze`]: the slab has free slots that may hold old bytes.
    #[inline]
    pub(super) fn mark_dirty(&self, slab: &Slab<'_>) {
        if self.scrub == Scrub::OnFree {
            return;
        }
        let (block, unit) = self.place_of(slab);
        let units = &self.arena.blocks()[block].dirty_units;
        if units.load(Relaxed) >> unit & 1 == 0 {
            units.fetch_or(1 << unit, AcqRel);
        }
    }

    /// The block table entry and the unit of a slab.
    pub(super) fn place_of(&self, slab: &Slab<'_>) -> (usize, u32) {
        let block = slab.at & !(self.geometry.block_bytes() - 1);
        let index = self.arena.block_head(block).index.load(Relaxed) as usize;
        (index, slab.head.head_unit.load(Relaxed))
    }

    /// Offset of the slab's first slot.
    pub(super) fn base_of(&self, slab: &Slab<'_>) -> u64 {
        let block = slab.at & !(self.geometry.block_bytes() - 1);
        block + (u64::from(slab.head.head_unit.load(Relaxed)) << self.geometry.unit_shift)
    }

    /// Makes this CPU the owner of a slab that nobody owns. Its record is foreign until now, so it is checked:
    /// false where it was lost to another CPU or is damaged.
    pub(super) fn adopt(&self, cpu: &Locked<'_>, slab: &Slab<'_>, cache: usize) -> bool {
        let head = slab.head;
        let old = head.owner.load(Acquire);
        if old == DAMAGED || self.is_live(old) {
            return false;
        }
        let tag = cpu.slot.tag.load(Relaxed);
        if tag == 0 || head.owner.compare_exchange(old, tag, AcqRel, Relaxed).is_err() {
            return false;
        }
        // The caller saw to it that the slab stays. For one that does not, as little as possible is done.
        if head.kind.load(Acquire) != SLAB_KIND_SLAB || head.cache.load(Relaxed) as usize != cache {
            let _ = head.owner.compare_exchange(tag, old, AcqRel, Relaxed);
            return false;
        }
        if head.owner.load(Acquire) != tag {
            return false;
        }
        if !self.is_sound(slab, cache) {
            head.owner.store(DAMAGED, Release);
            self.host.report(Fault::Damaged(slab.at));
            return false;
        }
        head.listed.store(0, Relaxed);
        head.next.store(0, Relaxed);
        head.prev.store(0, Relaxed);
        true
    }

    /// True where the numbers of a slab's record fit its cache and its bits fit its numbers.
    fn is_sound(&self, slab: &Slab<'_>, cache: usize) -> bool {
        let head = slab.head;
        let shape = &self.arena.caches()[cache];
        let block = slab.at & !(self.geometry.block_bytes() - 1);
        let unit = head.head_unit.load(Relaxed);
        let nr_slots = head.nr_slots.load(Relaxed);
        let slot_bytes = head.slot_bytes.load(Relaxed);
        let entry = self.arena.block_head(block);
        let index = entry.index.load(Relaxed) as usize;
        let known = entry.magic.load(Relaxed) == BLOCK_MAGIC
            && index < self.nr_blocks()
            && self.arena.blocks()[index].offset.load(Relaxed) == block;
        let shape_fits = known
            && head.kind.load(Relaxed) == SLAB_KIND_SLAB
            && head.cache.load(Relaxed) as usize == cache
            && slot_bytes == shape.slot_bytes.load(Relaxed)
            && nr_slots == shape.nr_slots.load(Relaxed)
            && head.units.load(Relaxed) == 1 << shape.slab_order.load(Relaxed)
            && head.reciprocal.load(Relaxed) == (1u64 << 40).div_ceil(slot_bytes.max(1).into())
            && unit < self.geometry.units()
            && block + self.geometry.descriptor_offset(unit) == slab.at;
        if !shape_fits {
            return false;
        }
        let mut bits = 0;
        let mut summary = 0;
        for (word, (free, remote)) in slab.free.iter().zip(slab.remote).enumerate() {
            let slots = nr_slots.saturating_sub(word as u32 * 64).min(64);
            let valid = if slots == 64 { u64::MAX } else { (1 << slots) - 1 };
            let free = free.load(Relaxed);
            if (free | remote.load(Relaxed)) & !valid != 0 {
                return false;
            }
            bits += free.count_ones();
            summary |= u64::from(free != 0) << word;
        }
        bits == head.nr_free.load(Relaxed) && summary & !head.summary.load(Relaxed) == 0
    }

    /// Searches the block table for a slab of `cache` that nobody owns and that has free slots, and adopts it.
    pub(super) fn adopt_orphan(&self, cpu: &Locked<'_>, cache: usize) -> bool {
        let mine = &cpu.caches[cache];
        let stamp = self.arena.caches()[cache].orphan_stamp.load(Acquire);
        if mine.search_stamp.load(Relaxed) != stamp {
            mine.search_stamp.store(stamp, Relaxed);
            mine.search.store(0, Relaxed);
        }
        let blocks = &self.arena.blocks()[..self.nr_blocks()];
        let mut index = mine.search.load(Relaxed) as usize;
        while let Some(block) = blocks.get(index) {
            while let Some(slab) = self.adopt_from(cpu, cache, block) {
                mine.search.store(index as u32, Relaxed);
                slab.collect();
                if slab.head.nr_free.load(Relaxed) > 0 {
                    self.link(mine, &slab);
                    return true;
                }
                self.mark_partial(&slab, false);
            }
            index += 1;
        }
        mine.search.store(blocks.len() as u32, Relaxed);
        false
    }

    /// Adopts the first slab of `cache` in a block that nobody owns and that has free slots.
    fn adopt_from(&self, cpu: &Locked<'_>, cache: usize, block: &Block) -> Option<Slab<'_>> {
        let may_have = || block.caches[cache / 64 % 2].load(Relaxed) >> (cache % 64) & 1 == 1;
        if block.partial_units.load(Relaxed) == 0 || !may_have() {
            return None;
        }
        // While we look at the block it must not be given back to the host: its bytes may be anybody's then.
        let _guard = self.lock();
        if block.kind.load(Relaxed) != BLOCK_KIND_SLABS {
            return None;
        }
        let mut units = block.partial_units.load(Acquire);
        while units != 0 {
            let unit = units.trailing_zeros();
            units &= units - 1;
            let slab = self.arena.slab(block.offset.load(Relaxed), unit);
            let fits = slab.head.kind.load(Acquire) == SLAB_KIND_SLAB
                && slab.head.cache.load(Relaxed) as usize == cache;
            if fits && self.adopt(cpu, &slab, cache) {
                return Some(slab);
            }
        }
        None
    }
}
