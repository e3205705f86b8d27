//! CPU slots: who has which, and what becomes of a slot whose thread ended.
//!
//! A slot's *tag* is a number that is never used again. A slab names its owner by tag, so when a slot's tag is
//! cleared all its slabs are without an owner at once, and nobody has to visit them.

use super::Pool;
use crate::cpu::Cpu;
use crate::host::Host;
use crate::sync::Ordering::*;

impl<H: Host> Pool<H> {
    /// Takes a free CPU slot for the calling thread; `None` where all are taken.
    pub fn claim_cpu(&self) -> Option<Cpu<'_>> {
        let guard = self.lock();
        let nr = self.nr_cpus();
        // Acquire: what its former thread did is done, for us and for those who see our tag.
        let free = (0..nr).find(|&index| self.arena.cpu(index).slot.tag.load(Acquire) == 0);
        let index = match free {
            Some(index) => index,
            None if nr < self.geometry.max_cpus => nr,
            None => return None,
        };
        let cpu = self.arena.cpu(index);
        let record = self.arena.record();
        if index == nr {
            let at = self.arena.control() + self.geometry.cpu_offset(index);
            if !self.host.provide(at, self.geometry.cpu_bytes()) {
                return None;
            }
            // Nobody had it yet, and no checksum covers it: what stands there is not to be trusted.
            cpu.reset(self.nr_caches());
            cpu.slot.inside.store(0, Relaxed);
            cpu.slot.diary.store(0, Relaxed);
        }
        self.open_magazines(cpu);
        for cache in cpu.caches.iter().take(self.nr_caches()) {
            cache.partial.store(0, Relaxed);
            cache.nr_partial.store(0, Relaxed);
            cache.idle_units.store(0, Relaxed);
            cache.search.store(0, Relaxed);
            cache.search_stamp.store(0, Relaxed);
            cache.refilled.store(0, Relaxed);
            cache.given.store(0, Relaxed);
        }
        let tenure = record.next_tenure.load(Relaxed);
        record.next_tenure.store(tenure + 1, Relaxed);
        if index == nr {
            record.nr_cpus.store(nr + 1, Release);
        }
        cpu.slot.tag.store(tenure << 16 | (u64::from(index) + 1), SeqCst);
        drop(guard);
        // Slabs that were announced to the slot's former thread while it left.
        self.drain_all(&cpu.lock(|| self.host.pause()));
        Some(cpu)
    }

    /// Gives each magazine of a CPU, which lists nothing, the room that its cache says.
    pub(super) fn open_magazines(&self, cpu: Cpu<'_>) {
        for (cache, shared) in cpu.caches.iter().zip(self.arena.caches()).take(self.nr_caches()) {
            cache.open(shared.magazine.load(Relaxed));
        }
    }

    /// Gives the slot back: what its magazines hold goes to the slabs, and its slabs are without an owner.
    pub fn release_cpu(&self, cpu: Cpu<'_>) {
        let cpu = cpu.lock(|| self.host.pause());
        self.fold(&cpu);
        self.drain_all(&cpu);
        let mut is_left = false;
        for cache in 0..self.nr_caches() {
            self.take_down_idle(&cpu, cache, 0);
            // Those that are left, as somebody is about to touch them: whoever adopts one counts it.
            let mine = &cpu.caches[cache];
            is_left |= mine.idle_units.load(Relaxed) > 0;
            self.discount_units(mine, u64::MAX);
        }
        // A publisher that still reads the old tag may announce to this slot after the drain. Such slabs wait on its
        // list for the next thread, a CPU that is short of memory, or the freeze.
        cpu.slot.tag.store(0, SeqCst);
        for (cache, shared) in cpu.caches.iter().zip(self.arena.caches()).take(self.nr_caches()) {
            cache.partial.store(0, Relaxed);
            cache.nr_partial.store(0, Relaxed);
            shared.orphan_stamp.fetch_add(1, AcqRel);
        }
        if is_left {
            self.may_have_ownerless.store(true, Release);
        }
    }

    /// The CPU slot `index`, which the caller claimed.
    ///
    /// # Panics
    ///
    /// Where `index` is not below the geometry's `max_cpus`.
    #[inline]
    pub fn cpu(&self, index: u32) -> Cpu<'_> {
        self.arena.cpu(index)
    }

    /// True where `tag` names a thread that has its slot still.
    #[inline]
    pub(crate) fn is_live(&self, tag: u64) -> bool {
        self.cpu_of(tag).is_some()
    }

    /// The CPU that `tag` names, if its thread has it still.
    #[inline]
    pub(crate) fn cpu_of(&self, tag: u64) -> Option<Cpu<'_>> {
        let index = ((tag & 0xffff) as u32).checked_sub(1)?;
        if index >= self.geometry.max_cpus {
            return None;
        }
        let cpu = self.arena.cpu(index);
        (cpu.slot.tag.load(SeqCst) == tag).then_some(cpu)
    }
}
