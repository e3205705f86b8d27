//! Refill: the way of an allocation whose magazine is empty.

use super::{OutOfMemory, Pool};
use crate::cpu::{Cpu, CpuCache, Locked};
use crate::host::Host;
use crate::slab::Slab;
use crate::sync::{self, Ordering::*};

/// Slots of a magazine's first refill, if half of it has room for so many.
const FIRST_REFILL: u32 = 4;

impl<H: Host> Pool<H> {
    /// Refills the magazine and takes a slot from it.
    #[cold]
    #[inline(never)]
    pub(super) fn refill(&self, cpu: Cpu<'_>, cache: usize) -> Result<u64, OutOfMemory> {
        let cpu = cpu.lock(|| self.host.pause());
        self.fill(&cpu, cache)?;
        cpu.caches[cache].pop().ok_or_else(|| self.out_of_memory(cache))
    }

    /// [`Pool::refill`] for [`Pool::alloc_within`].
    #[cold]
    #[inline(never)]
    pub(super) fn refill_within(&self, cpu: Cpu<'_>, cache: usize) -> Result<u64, OutOfMemory> {
        let cpu = cpu.lock(|| self.host.pause());
        if !self.fill_within(&cpu, cache) {
            return Err(self.out_of_memory(cache));
        }
        cpu.caches[cache].pop().ok_or_else(|| self.out_of_memory(cache))
    }

    /// As [`Pool::alloc`], and `place` holds the address of the object when it returns. Both are noted before the slot
    /// leaves the free lists: after a kill at any instruction either the place holds the object, or recovery
    /// gives the slot back.
    ///
    /// `place_offset` is the place's own offset in the pool's memory. The place holds no address of a slot that was given back.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`].
    pub fn alloc_into(
        &self,
        cpu: Cpu<'_>,
        cache: usize,
        place: &core::sync::atomic::AtomicU64,
        place_offset: u64,
    ) -> Result<u64, OutOfMemory> {
        let magazine = &cpu.caches[cache];
        if magazine.hottest().is_none() {
            let cpu = cpu.lock(|| self.host.pause());
            self.fill(&cpu, cache)?;
        }
        let slot = magazine.hottest().ok_or_else(|| self.out_of_memory(cache))?;
        cpu.slot.place.store(place_offset, Relaxed);
        cpu.slot.placed.store(slot, Release);
        crate::knobs::window();
        let popped = magazine.pop();
        debug_assert_eq!(popped, Some(slot));
        crate::knobs::window();
        place.store(self.arena.address(slot).addr() as u64, Release);
        crate::knobs::window();
        cpu.slot.placed.store(0, Release);
        sync::commit();
        Ok(slot)
    }

    fn out_of_memory(&self, cache: usize) -> OutOfMemory {
        OutOfMemory { bytes: self.arena.caches()[cache].slot_bytes.load(Relaxed).into() }
    }

    /// Leaves at least one slot in the magazine: what is there is used before anything is taken.
    fn fill(&self, cpu: &Locked<'_>, cache: usize) -> Result<(), OutOfMemory> {
        while !self.fill_within(cpu, cache) {
            let is_more = self.grow()
                // Idle slabs of other caches, before there is no memory.
                || (self.release_idle(Some(cpu)) && (self.new_slab(cpu, cache) || self.grow()));
            if !is_more {
                return Err(self.out_of_memory(cache));
            }
        }
        Ok(())
    }

    /// The same out of the blocks that the pool has; false where no slot is to be had there.
    fn fill_within(&self, cpu: &Locked<'_>, cache: usize) -> bool {
        let mine = &cpu.caches[cache];
        loop {
            if !mine.is_empty() {
                return true;
            }
            let partial = mine.partial.load(Relaxed);
            if partial != 0 {
                self.fill_from(mine, &self.arena.slab_at(partial));
            } else if !(self.drain_pending(cpu, cache)
                || self.adopt_orphan(cpu, cache)
                || self.new_slab(cpu, cache)
                || self.steal(cpu, cache)
                // Others' lists may have held announcements for us.
                || self.drain_pending(cpu, cache))
            {
                return false;
            }
        }
    }

    /// Moves slots from a slab of this CPU to its magazine, so that the lowest address of a word comes out first.
    fn fill_from(&self, mine: &CpuCache, slab: &Slab<'_>) {
        // Twice as many as the last time, up to half a magazine: who wants a few does not keep hundreds from others.
        let most = (mine.capacity() / 2).max(1);
        let want = mine.refilled.load(Relaxed).saturating_mul(2).max(FIRST_REFILL).min(most);
        mine.refilled.store(want, Relaxed);
        let slot_bytes = u64::from(slab.head.slot_bytes.load(Relaxed));
        let base = self.base_of(slab);
        let mut got = 0;
        while got < want {
            let Some((word, mask)) = slab.peek(want - got) else {
                if slab.collect().nr == 0 {
                    break;
                }
                self.count_idle(mine, slab);
                continue;
            };
            self.discount_idle(mine, slab);
            mine.push_word(base + word as u64 * 64 * slot_bytes, slot_bytes, mask);
            slab.drop_free(word, mask);
            got += mask.count_ones();
        }
        self.widen(mine, got, slot_bytes);
        if got == 0 || slab.head.nr_free.load(Relaxed) == 0 {
            self.unlink(mine, slab);
        }
    }

    /// Before the pool grows: takes slabs with room from a CPU that has them.
    fn steal(&self, cpu: &Locked<'_>, cache: usize) -> bool {
        for index in (0..self.nr_cpus()).filter(|&index| index != cpu.index()) {
            let Some(victim) = self.arena.cpu(index).try_lock() else { continue };
            if victim.slot.tag.load(SeqCst) == 0 {
                if self.drain_pending_of(cpu, cache, &victim.caches[cache]) {
                    return true;
                }
                continue;
            }
            self.drain_pending(&victim, cache);
            let theirs = &victim.caches[cache];
            let partial = theirs.partial.load(Relaxed);
            if partial == 0 {
                continue;
            }
            let slab = self.arena.slab_at(partial);
            self.unlink(theirs, &slab);
            slab.head.owner.store(cpu.slot.tag.load(Relaxed), SeqCst);
            self.link(&cpu.caches[cache], &slab);
            return true;
        }
        false
    }
}
