//! Flush: the way of a free whose magazine is full, and of what others freed into our slabs.

use core::ops::ControlFlow;

use heirloom_abi::pool::SLAB_KIND_SLAB;

use super::Pool;
use super::slabs::DAMAGED;
use crate::cpu::{Cpu, CpuCache, Locked, MAGAZINE_SLOTS};
use crate::host::{Fault, Host};
use crate::slab::Slab;
use crate::sync::Ordering::*;

/// The numbers of a cache that every slot of it goes by.
struct Shape {
    slot_bytes: u64,
    /// As [`heirloom_abi::pool::SlabRecord::reciprocal`].
    reciprocal: u64,
    nr_slots: u32,
    units: u32,
}

impl Shape {
    /// Which slot begins `within` bytes behind a slab's first; `None` where none does.
    #[inline(always)]
    fn index_of(&self, within: u64) -> Option<u32> {
        // Wrapping: an offset that is no slot's may be anything. The comparison decides.
        let index = within.wrapping_mul(self.reciprocal) >> 40;
        let is_it = index < self.nr_slots.into() && index * self.slot_bytes == within;
        if is_it { Some(index as u32) } else { None }
    }
}

/// Slabs that are visited at a time. Slots that were freed in no order come from a few slabs by turns.
const VISITS: usize = 32;

/// The same where no more than so many slots go back, for which a long list of visits is not worth its making.
const FEW: usize = 8;

/// A slab while slots go back to it.
struct Visit<'a> {
    slab: Slab<'a>,
    /// Offset of its first slot, and bytes of all its slots.
    base: u64,
    bytes: u64,
    is_ours: bool,
    /// What `leave` is to count.
    nr: u32,
    summary: u64,
}

impl<H: Host> Pool<H> {
    /// Makes room in the magazine by giving its colder half to the slabs, and lists the slot.
    #[cold]
    #[inline(never)]
    pub(super) fn flush(&self, cpu: Cpu<'_>, cache: usize, slot: u64) {
        let cpu = cpu.lock(|| self.host.pause());
        let mine = &cpu.caches[cache];
        self.give_coldest(&cpu, cache, self.to_give(mine, cache));
        if !mine.push(slot) {
            // A cache without a magazine, as that of a size that no slab serves.
            self.host.report(Fault::NoSlot(slot));
        }
    }

    /// Gives all that the CPU's magazines and its accumulator hold to the slabs.
    pub(super) fn fold(&self, cpu: &Locked<'_>) {
        for cache in 0..self.nr_caches() {
            self.give_coldest(cpu, cache, u32::MAX);
        }
        self.narrow_all(cpu);
        self.publish_out(cpu);
    }

    /// Gives the `count` coldest slots of a magazine to their slabs, or to the accumulator for those of other CPUs.
    pub(super) fn give_coldest(&self, cpu: &Locked<'_>, cache: usize, count: u32) {
        let nr = cpu.caches[cache].nr().min(MAGAZINE_SLOTS as u32).min(count);
        if nr as usize <= FEW {
            self.give_nr::<FEW>(cpu, cache, nr);
        } else {
            self.give_nr::<VISITS>(cpu, cache, nr);
        }
    }

    /// [`Pool::give_coldest`] with so many visits at a time. The magazine lists at least `nr` slots.
    fn give_nr<const N: usize>(&self, cpu: &Locked<'_>, cache: usize, nr: u32) {
        let mine = &cpu.caches[cache];
        let shape = self.shape(cache);
        let mut at = mine.bottom.load(Relaxed);
        let end = at.wrapping_add(nr);
        let slab_shift = self.geometry.unit_shift + shape.units.trailing_zeros();
        let mut visits: [Option<Visit<'_>>; N] = [const { None }; N];
        while at != end {
            let slot = mine.entry(at).load(Relaxed);
            let visit = &mut visits[(slot >> slab_shift) as usize % N];
            match visit {
                Some(visit) if slot.wrapping_sub(visit.base) < visit.bytes => {
                    match shape.index_of(slot - visit.base) {
                        Some(index) if visit.is_ours => {
                            at = self.give(visit, &shape, index, mine, at, end);
                            continue;
                        }
                        Some(index) => self.accumulate(cpu, mine, at, &visit.slab, index),
                        None => self.host.report(Fault::NoSlot(slot)),
                    }
                    at = at.wrapping_add(1);
                }
                _ => {
                    if let Some(left) = visit.take() {
                        self.leave(cpu, cache, left, at);
                    }
                    *visit = self.visit(cpu, cache, &shape, slot);
                    if visit.is_none() {
                        at = at.wrapping_add(1);
                    }
                }
            }
        }
        mine.drop_below(end);
        for left in visits.iter_mut().filter_map(Option::take) {
            self.leave(cpu, cache, left, end);
        }
    }

    fn shape(&self, cache: usize) -> Shape {
        let cache = &self.arena.caches()[cache];
        let slot_bytes = u64::from(cache.slot_bytes.load(Relaxed)).max(1);
        Shape {
            slot_bytes,
            reciprocal: (1u64 << 40).div_ceil(slot_bytes),
            nr_slots: cache.nr_slots.load(Relaxed),
            units: 1 << cache.slab_order.load(Relaxed),
        }
    }

    /// Finds out whose the slab of a slot is, and makes it ours where it is nobody's; `None` where there is no such slab,
    /// which was reported.
    #[inline]
    fn visit<'a>(&'a self, cpu: &Locked<'_>, cache: usize, shape: &Shape, slot: u64) -> Option<Visit<'a>> {
        let Some((slab, base)) = self.locate(shape, slot) else {
            self.host.report(Fault::NoSlot(slot));
            return None;
        };
        let tag = cpu.slot.tag.load(Relaxed);
        let is_ours = loop {
            let is_it = slab.head.kind.load(Acquire) == SLAB_KIND_SLAB;
            if !is_it || slab.head.cache.load(Relaxed) as usize != cache {
                self.host.report(Fault::NoSlot(slot));
                return None;
            }
            let owner = slab.head.owner.load(Acquire);
            if owner == DAMAGED {
                // Reported when it was found.
                return None;
            }
            if owner == tag || self.adopt(cpu, &slab, cache) {
                break true;
            }
            if self.is_live(owner) {
                break false;
            }
        };
        let bytes = u64::from(shape.nr_slots) * shape.slot_bytes;
        Some(Visit { slab, base, bytes, is_ours, nr: 0, summary: 0 })
    }

    /// The slab that a slot of such a cache lies in, and its base; `None` where no slab can be.
    #[inline]
    fn locate(&self, shape: &Shape, slot: u64) -> Option<(Slab<'_>, u64)> {
        let block = slot & !(self.geometry.block_bytes() - 1);
        let unit = ((slot - block) >> self.geometry.unit_shift) as u32 & !(shape.units - 1);
        if unit < self.geometry.header_units() {
            return None;
        }
        let base = block + (u64::from(unit) << self.geometry.unit_shift);
        shape.index_of(slot - base).map(|_| (self.arena.slab(block, unit), base))
    }

    /// Lists the slot of entry `at` in its slab, which is ours, and those of further entries as long as each is the next slot of
    /// the same word: slots that were freed in order go back in one step. Returns the entry behind them.
    ///
    /// The counts follow in [`Pool::leave`]: the bits are the truth.
    #[inline(always)]
    fn give(
        &self,
        visit: &mut Visit<'_>,
        shape: &Shape,
        index: u32,
        mine: &CpuCache,
        at: u32,
        end: u32,
    ) -> u32 {
        let slot = mine.entry(at).load(Relaxed);
        let most = end.wrapping_sub(at).min(64 - index % 64).min(shape.nr_slots - index);
        let (mut nr, mut next) = (1, slot.wrapping_add(shape.slot_bytes));
        while nr < most && mine.entry(at.wrapping_add(nr)).load(Relaxed) == next {
            next = next.wrapping_add(shape.slot_bytes);
            nr += 1;
        }
        let (word, mask) = ((index / 64) as usize, super::blocks::span(index % 64, nr));
        let free = &visit.slab.free[word];
        let old = free.load(Relaxed);
        free.store(old | mask, Release);
        visit.nr += nr;
        visit.summary |= 1 << word;
        if old & mask != 0 {
            visit.nr -= (old & mask).count_ones();
            self.report_twice(slot, shape, old & mask, index % 64);
        }
        at.wrapping_add(nr)
    }

    /// Tells of slots that were listed already: `twice` has their bits, of which bit `first` is `slot`'s.
    #[cold]
    fn report_twice(&self, slot: u64, shape: &Shape, twice: u64, first: u32) {
        for bit in (first..64).filter(|bit| twice >> bit & 1 == 1) {
            self.host.report(Fault::DoubleFree(slot + u64::from(bit - first) * shape.slot_bytes));
        }
    }

    /// Ends a visit: counts what was given, and drops the entries below `at` from the magazine.
    #[inline]
    fn leave(&self, cpu: &Locked<'_>, cache: usize, visit: Visit<'_>, at: u32) {
        let Visit { slab, is_ours: true, nr, summary, .. } = visit else { return };
        let mine = &cpu.caches[cache];
        slab.count_free(nr, summary);
        self.mark_dirty(&slab);
        if slab.head.listed.load(Relaxed) == 0 {
            slab.collect();
            self.link(mine, &slab);
        } else if nr > 0 {
            self.count_idle(mine, &slab);
        }
        mine.drop_below(at);
        // Only now: while the magazine still listed the slots, their slab had to stay.
        self.take_down_if_idle(cpu, cache, &slab);
    }

    /// Notes a slot of another CPU's slab in the one-word accumulator, which is published when the word changes.
    #[inline]
    fn accumulate(&self, cpu: &Locked<'_>, mine: &CpuCache, at: u32, slab: &Slab<'_>, index: u32) {
        let out = cpu.accumulator();
        let word = u64::from(index / 64);
        if out.slab.load(Relaxed) != slab.at || out.word.load(Relaxed) != word {
            // What is published may be handed out at once: the magazine must not list it any more.
            mine.drop_below(at);
            self.publish_out(cpu);
            out.slab.store(slab.at, Relaxed);
            out.word.store(word, Relaxed);
        }
        out.mask.store(out.mask.load(Relaxed) | 1 << (index % 64), Release);
    }

    /// Publishes what the accumulator holds.
    pub(super) fn publish_out(&self, cpu: &Locked<'_>) {
        let out = cpu.accumulator();
        if out.mask.load(Relaxed) == 0 {
            return;
        }
        let slab = self.arena.slab_at(out.slab.load(Relaxed));
        self.mark_dirty(&slab);
        slab.publish(&out, |is_first| {
            if is_first {
                self.announce(&slab);
            }
            // Its owner may have left meanwhile: then whoever searches for slabs without an owner is to find it.
            if !self.is_live(slab.head.owner.load(SeqCst)) {
                self.mark_orphan(&slab);
            }
        });
    }

    /// Lets a search find a slab with free slots that nobody owns.
    pub(super) fn mark_orphan(&self, slab: &Slab<'_>) {
        self.mark_partial(slab, true);
        let cache = slab.head.cache.load(Relaxed) as usize;
        if let Some(shape) = self.arena.caches().get(cache) {
            shape.orphan_stamp.fetch_add(1, AcqRel);
        }
        self.may_have_ownerless.store(true, Release);
    }

    /// Puts a slab that was freed into, and whose `announced` the caller set, on its owner's list.
    pub(super) fn announce(&self, slab: &Slab<'_>) {
        let owner = slab.head.owner.load(SeqCst);
        let cache = slab.head.cache.load(Relaxed) as usize;
        let index = ((owner & 0xffff) as u32).wrapping_sub(1);
        if index >= self.geometry.max_cpus || cache >= self.arena.caches().len() {
            return;
        }
        slab.push_onto(&self.arena.cpu(index).caches[cache].pending);
    }

    /// Folds in what others freed into this CPU's slabs of `cache`; true where slots became free.
    pub(super) fn drain_pending(&self, cpu: &Locked<'_>, cache: usize) -> bool {
        self.drain_pending_of(cpu, cache, &cpu.caches[cache])
    }

    /// The same for the list of a CPU slot that nobody has, whose lock is held too.
    pub(super) fn drain_pending_of(&self, cpu: &Locked<'_>, cache: usize, mine: &CpuCache) -> bool {
        if mine.pending.load(Relaxed) == 0 {
            return false;
        }
        let mut at = mine.pending.swap(0, SeqCst);
        let mut found = false;
        while at != 0 {
            let slab = self.arena.slab_at(at);
            at = slab.head.remote_next.load(Relaxed);
            if self.settle(cpu, cache, &slab).is_break() {
                found = true;
            }
        }
        found
    }

    /// Takes what was freed into an announced slab: ours, or nobody's (then it is ours now), or passes it on. Breaks
    /// where our list has slots now.
    ///
    /// `announced` stays set until the slab is ours: another owner could take it down as soon as it is clear.
    fn settle(&self, cpu: &Locked<'_>, cache: usize, slab: &Slab<'_>) -> ControlFlow<()> {
        let tag = cpu.slot.tag.load(Relaxed);
        while slab.head.owner.load(SeqCst) != tag {
            if self.adopt(cpu, slab, cache) {
                break;
            }
            let owner = slab.head.owner.load(SeqCst);
            if self.is_live(owner) {
                // Stolen, or adopted before us: its owner is told.
                self.announce(slab);
                return ControlFlow::Continue(());
            }
            let is_it = slab.head.kind.load(Acquire) == SLAB_KIND_SLAB;
            if owner == DAMAGED || !is_it || slab.head.cache.load(Relaxed) as usize != cache {
                // Reported when it was found.
                return ControlFlow::Continue(());
            }
        }
        let collected = slab.take_announcement();
        if collected.busy && slab.announce_again() {
            self.announce(slab);
        }
        if slab.head.nr_free.load(Relaxed) == 0 {
            return ControlFlow::Continue(());
        }
        if slab.head.listed.load(Relaxed) == 0 {
            self.link(&cpu.caches[cache], slab);
        } else if collected.nr > 0 {
            self.count_idle(&cpu.caches[cache], slab);
        }
        self.take_down_if_idle(cpu, cache, slab);
        ControlFlow::Break(())
    }

    /// [`Pool::drain_pending`] for each cache.
    pub(super) fn drain_all(&self, cpu: &Locked<'_>) {
        for cache in 0..self.nr_caches() {
            self.drain_pending(cpu, cache);
        }
    }
}
