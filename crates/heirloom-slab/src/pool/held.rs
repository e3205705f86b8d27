//! Slots that CPUs hold back: brought to light before the pool grows, by who can ask those CPUs.
//!
//! ```text
//! CPU 0 freed, and does nothing now:  magazine [s s s s s s]          nobody else may touch it
//! CPU 1 allocates as much:            all slabs are full    ---->    a new block, for slots that there are
//!
//! alloc_within refuses --> are_held_back --> each CPU: hand_in --> alloc finds them in its usual ways
//! ```
//!
//! A magazine is its own thread's alone: what it holds back is a quarter of a block for each cache and CPU at first, and more where it
//! has widened. Where objects are renewed, as many as there were, by one who is moved from CPU to CPU, that is enough for a block more. A
//! kernel can interrupt its CPUs and have them hand in; a process cannot, and lets the pool grow.
//!
//! # Invariant
//!
//! - *found*: when every CPU has handed in and none allocates or frees meanwhile, an allocation takes a block only if no slot of its
//!   cache is free in the pool.

use super::{OutOfMemory, Pool};
use crate::cpu::Cpu;
use crate::host::Host;
use crate::sync::Ordering::*;

impl<H: Host> Pool<H> {
    /// As [`Pool::alloc`], out of the blocks that the pool has: it takes none from the host.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`]; nothing is lost, and [`Pool::alloc`] may still work.
    #[inline(always)]
    pub fn alloc_within(&self, cpu: Cpu<'_>, cache: usize) -> Result<u64, OutOfMemory> {
        match cpu.caches[cache].pop() {
            Some(slot) => Ok(slot),
            None => self.refill_within(cpu, cache),
        }
    }

    /// Whether a CPU lists free slots of `cache` where no other gets at them. CPUs may be at work: the answer is as old as the question.
    pub fn are_held_back(&self, cache: usize) -> bool {
        (0..self.nr_cpus()).any(|index| {
            let cpu = self.arena.cpu(index);
            let lists = !cpu.caches[cache].is_empty() || cpu.slot.out_mask.load(Relaxed) != 0;
            lists && cpu.slot.tag.load(Acquire) != 0
        })
    }

    /// Gives all that the CPU's magazine of `cache` lists, and its accumulator, to the slabs, where other CPUs find it. By the CPU's own
    /// thread, or while that does nothing here.
    pub fn hand_in(&self, cpu: Cpu<'_>, cache: usize) {
        let cpu = cpu.lock(|| self.host.pause());
        self.give_coldest(&cpu, cache, u32::MAX);
        self.publish_out(&cpu);
    }
}
