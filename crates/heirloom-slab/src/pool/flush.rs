//! Flush: the way of a free whose magazine is full, and of what others freed into our slabs.

use core::ops::ControlFlow;

use heirloom_abi::pool::SLAB_KIND_SLAB;

use super::Pool;
use super::slabs::DAMAGED;
use crate::cpu::{Cpu, CpuCache, Locked, MAGAZINE_SLOTS};
use crate::host::{Fault, Host};
use crate::slab::Slab;
use crate::sync::Ordering::*;

/// Neighbouring entries of a magazine that stand in one bitmap word: the unit in which slots go back.
struct Run<'a> {
    slab: Slab<'a>,
    word: u32,
    mask: u64,
}

impl<H: Host> Pool<H> {
    /// Makes room in the magazine by giving its colder half to the slabs, and lists the slot.
    #[cold]
    #[inline(never)]
    pub(super) fn flush(&self, cpu: Cpu<'_>, cache: usize, slot: u64) {
        let cpu = cpu.lock(|| self.host.pause());
        let mine = &cpu.caches[cache];
        self.give_coldest(&cpu, cache, (mine.capacity() / 2).max(1));
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
        self.publish_out(cpu);
    }

    /// Gives the `count` coldest slots of a magazine to their slabs, or to the accumulator, a run at a time.
    fn give_coldest(&self, cpu: &Locked<'_>, cache: usize, count: u32) {
        let mine = &cpu.caches[cache];
        let (mut at, nr) = (mine.bottom.load(Relaxed), mine.nr().min(MAGAZINE_SLOTS as u32));
        let end = at.wrapping_add(count.min(nr));
        while at != end {
            let Some((run, next)) = self.find_run(mine, cache, at, end) else {
                self.host.report(Fault::NoSlot(mine.entry(at).load(Relaxed)));
                at = at.wrapping_add(1);
                mine.drop_below(at);
                continue;
            };
            let is_ours = self.give(cpu, cache, &run);
            at = next;
            mine.drop_below(at);
            // Only now: while the magazine still listed the slots, their slab had to stay.
            if is_ours {
                self.take_down_if_idle(cpu, cache, &run.slab);
            }
        }
    }

    /// The entries from `at` on that stand in one word, and where the next run begins; `None` where the first is no slot.
    #[inline]
    fn find_run<'a>(&'a self, mine: &CpuCache, cache: usize, at: u32, end: u32) -> Option<(Run<'a>, u32)> {
        let first = mine.entry(at).load(Relaxed);
        let (slab, index) = self.locate(cache, first)?;
        let slot_bytes = u64::from(slab.head.slot_bytes.load(Relaxed));
        let reciprocal = slab.head.reciprocal.load(Relaxed);
        let start = first.wrapping_sub(u64::from(index % 64).wrapping_mul(slot_bytes));
        let nr_slots = slab.head.nr_slots.load(Relaxed).saturating_sub(index & !63).min(64);
        let bytes = u64::from(nr_slots).wrapping_mul(slot_bytes);
        let mut run = Run { slab, word: index / 64, mask: 1 << (index % 64) };
        let mut next = at.wrapping_add(1);
        while next != end {
            let slot = mine.entry(next).load(Relaxed);
            let within = slot.wrapping_sub(start);
            let bit = within.wrapping_mul(reciprocal) >> 40;
            if within >= bytes || bit.wrapping_mul(slot_bytes) != within {
                break;
            }
            if run.mask >> bit & 1 == 1 {
                self.host.report(Fault::DoubleFree(slot));
            }
            run.mask |= 1 << bit;
            next = next.wrapping_add(1);
        }
        Some((run, next))
    }

    /// Lists a run in its slab, or in the accumulator for a slab of another CPU. True where the slab is ours.
    ///
    /// The magazine lists the run still, and nothing that it listed before: what the accumulator holds may be published.
    fn give(&self, cpu: &Locked<'_>, cache: usize, run: &Run<'_>) -> bool {
        let (slab, head) = (&run.slab, run.slab.head);
        let tag = cpu.slot.tag.load(Relaxed);
        loop {
            let is_it = head.kind.load(Acquire) == SLAB_KIND_SLAB;
            if !is_it || head.cache.load(Relaxed) as usize != cache {
                self.report_run(run, run.mask, Fault::NoSlot);
                return false;
            }
            let owner = head.owner.load(Acquire);
            if owner == DAMAGED {
                // Reported when it was found.
                return false;
            }
            if owner == tag || self.adopt(cpu, slab, cache) {
                let twice = slab.put_free(run.word as usize, run.mask);
                if twice != 0 {
                    self.report_run(run, twice, Fault::DoubleFree);
                }
                self.mark_dirty(slab);
                if head.listed.load(Relaxed) == 0 {
                    slab.collect();
                    self.link(&cpu.caches[cache], slab);
                }
                return true;
            }
            if self.is_live(owner) {
                self.accumulate(cpu, run);
                return false;
            }
        }
    }

    #[cold]
    fn report_run(&self, run: &Run<'_>, mask: u64, fault: impl Fn(u64) -> Fault) {
        let slot_bytes = u64::from(run.slab.head.slot_bytes.load(Relaxed));
        for bit in (0..64).filter(|bit| mask >> bit & 1 == 1) {
            let index = u64::from(run.word) * 64 + bit;
            self.host.report(fault(self.base_of(&run.slab) + index * slot_bytes));
        }
    }

    /// The slab and the index of a slot of `cache`; `None` where no such slot can be.
    #[inline]
    fn locate(&self, cache: usize, slot: u64) -> Option<(Slab<'_>, u32)> {
        let shape = &self.arena.caches()[cache];
        let block = slot & !(self.geometry.block_bytes() - 1);
        let units = 1u32 << shape.slab_order.load(Relaxed);
        let unit = ((slot - block) >> self.geometry.unit_shift) as u32 & !(units - 1);
        if unit < self.geometry.header_units() {
            return None;
        }
        let slab = self.arena.slab(block, unit);
        let within = slot - block - (u64::from(unit) << self.geometry.unit_shift);
        // Wrapping: the descriptor may be a predecessor's that nobody looked at yet. The comparison below decides.
        let index = (within.wrapping_mul(slab.head.reciprocal.load(Relaxed)) >> 40) as u32;
        let fits = slab.head.cache.load(Relaxed) as usize == cache
            && index < shape.nr_slots.load(Relaxed)
            && u64::from(index) * u64::from(shape.slot_bytes.load(Relaxed)) == within;
        fits.then_some((slab, index))
    }

    /// Notes a run of another CPU's slots in the one-word accumulator, which is published when the word changes.
    fn accumulate(&self, cpu: &Locked<'_>, run: &Run<'_>) {
        let out = cpu.accumulator();
        let word = u64::from(run.word);
        if out.slab.load(Relaxed) != run.slab.at || out.word.load(Relaxed) != word {
            self.publish_out(cpu);
            out.slab.store(run.slab.at, Relaxed);
            out.word.store(word, Relaxed);
        }
        out.mask.store(out.mask.load(Relaxed) | run.mask, Release);
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
        if slab.take_announcement().busy && slab.announce_again() {
            self.announce(slab);
        }
        if slab.head.nr_free.load(Relaxed) == 0 {
            return ControlFlow::Continue(());
        }
        if slab.head.listed.load(Relaxed) == 0 {
            self.link(&cpu.caches[cache], slab);
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
