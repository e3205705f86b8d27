//! The magazine: a small stack of free slots, last in first out.
//!
//! One store commits each step. A pop's commit comes before the caller can store the pointer anywhere, and a push
//! lists the slot before it counts it, so a kill leaves the slot listed or in the caller's hands, never both.

use super::{CpuCache, CpuSlot, MAGAZINE_SLOTS, SPILL_SLOTS};
use crate::knobs::window;
use crate::sync::Ordering::{Relaxed, Release};
use crate::sync::commit;

const MASK: u32 = MAGAZINE_SLOTS as u32 - 1;

impl CpuCache {
    /// Takes the hottest slot.
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<u64> {
        let nr = self.nr.load(Relaxed);
        if nr == 0 {
            return None;
        }
        let slot = self.slots[((nr - 1) & MASK) as usize].load(Relaxed);
        self.nr.store(nr - 1, Release);
        commit();
        Some(slot)
    }

    /// The slot that `pop` would take.
    #[inline]
    pub(crate) fn top(&self) -> Option<u64> {
        let nr = self.nr.load(Relaxed);
        if nr == 0 { None } else { Some(self.slots[((nr - 1) & MASK) as usize].load(Relaxed)) }
    }

    /// Lists a free slot; false where the magazine is full.
    #[inline(always)]
    pub(crate) fn push(&self, slot: u64) -> bool {
        let nr = self.nr.load(Relaxed);
        if nr >= self.capacity.load(Relaxed) {
            return false;
        }
        self.slots[(nr & MASK) as usize].store(slot, Relaxed);
        self.nr.store(nr + 1, Release);
        true
    }

    /// Moves the coldest `count` slots to the spill area of the CPU, which is empty, and the others down.
    ///
    /// Each slot is listed at least once at every step.
    pub(crate) fn spill(&self, cpu: &CpuSlot, count: u32) {
        let nr = self.nr.load(Relaxed).min(MAGAZINE_SLOTS as u32);
        let count = count.min(nr).min(SPILL_SLOTS as u32);
        for i in 0..count as usize {
            cpu.spill[i].store(self.slots[i].load(Relaxed), Relaxed);
        }
        cpu.nr_spill.store(count, Release);
        window();
        for i in count as usize..nr as usize {
            // Release each time: an entry is overwritten only by one that stays listed further up.
            self.slots[i - count as usize].store(self.slots[i].load(Relaxed), Release);
        }
        window();
        self.nr.store(nr - count, Release);
    }
}

impl CpuSlot {
    /// The slot that leaves the spill area next.
    pub(crate) fn last_spilled(&self) -> Option<u64> {
        let nr = self.nr_spill.load(Relaxed);
        if nr == 0 { None } else { Some(self.spill[(nr as usize - 1) % SPILL_SLOTS].load(Relaxed)) }
    }

    /// Drops it: it is listed in its slab or in the accumulator by now.
    pub(crate) fn drop_spilled(&self) {
        window();
        self.nr_spill.store(self.nr_spill.load(Relaxed).wrapping_sub(1), Release);
    }
}
