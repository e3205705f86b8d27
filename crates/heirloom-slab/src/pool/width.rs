//! How wide a magazine is: what its cache says at first, and wider where its thread gave slots to the slabs that it then took again.
//!
//! ```text
//! a thread that takes and frees 1,000 objects by turns, 8 wide at first
//!   frees     8 | flush flush flush ..      given: 992, each a way to its slab and back
//!   takes     refill, refill ..             wider by each, until nothing is given that was not taken again
//!   frees     1000 wide: all fit            .. and from now on neither flush nor refill
//! ```
//!
//! A thread that only frees, or only takes, gets nothing by it: its magazine stays as it is, and one that was wider narrows when more was given
//! than it holds. What all magazines are wider than at first is bounded, and is counted as part of what the pool keeps where nothing is.

use super::Pool;
use crate::cpu::{Cpu, CpuCache, Locked, MAGAZINE_SLOTS};
use crate::host::Host;
use crate::sync::Ordering::*;

/// Wider magazines hold no more than this part of the blocks that there can be: another thread that is short of memory cannot have it.
const PART_OF_BLOCKS: u32 = 32;

impl<H: Host> Pool<H> {
    /// How many slots the magazine of a cache holds, of this CPU and now.
    pub fn magazine_width(&self, cpu: Cpu<'_>, cache: usize) -> u32 {
        cpu.caches.get(cache).map_or(0, CpuCache::capacity)
    }

    /// After a refill of `nr` slots: those that the thread had given away before should have stayed.
    #[inline]
    pub(super) fn widen(&self, mine: &CpuCache, nr: u32, slot_bytes: u64) {
        let given = mine.given.load(Relaxed);
        if given == 0 {
            return;
        }
        let again = given.min(nr.into());
        mine.given.store(given - again, Relaxed);
        let capacity = mine.capacity();
        let more = (again as u32).min((MAGAZINE_SLOTS as u32).saturating_sub(capacity));
        let most = self.most_wider_bytes();
        let add = |wider: u64| Some(wider + u64::from(more) * slot_bytes).filter(|&wider| wider <= most);
        if more > 0 && self.wider_bytes.fetch_update(Relaxed, Relaxed, add).is_ok() {
            mine.set_capacity(capacity + more);
        }
    }

    /// Before a flush: how many slots it is to give. A magazine that has given more than it holds, and took none of it again, narrows.
    #[inline]
    pub(super) fn to_give(&self, mine: &CpuCache, cache: usize) -> u32 {
        let (nr, capacity) = (mine.nr(), mine.capacity());
        let given = mine.given.load(Relaxed);
        if given >= capacity.into() {
            self.narrow(mine, cache, capacity / 2);
        }
        let stay = mine.capacity().div_ceil(2).min(nr.saturating_sub(1));
        mine.given.store((given + u64::from(nr - stay)).min(MAGAZINE_SLOTS as u64), Relaxed);
        nr - stay
    }

    /// Makes the magazines of a CPU, which list nothing, as wide as they were at first.
    pub(super) fn narrow_all(&self, cpu: &Locked<'_>) {
        for (cache, mine) in cpu.caches.iter().enumerate().take(self.nr_caches()) {
            self.narrow(mine, cache, 0);
            mine.given.store(0, Relaxed);
        }
    }

    /// Makes a magazine `capacity` wide, or as wide as it was at first.
    fn narrow(&self, mine: &CpuCache, cache: usize, capacity: u32) {
        let shared = &self.arena.caches()[cache];
        let (old, first) = (mine.capacity(), shared.magazine.load(Relaxed));
        let new = capacity.max(first);
        if old <= new {
            return;
        }
        mine.set_capacity(new);
        let bytes = u64::from(old - new) * u64::from(shared.slot_bytes.load(Relaxed));
        let less = |wider: u64| Some(wider.saturating_sub(bytes));
        let _ = self.wider_bytes.fetch_update(Relaxed, Relaxed, less);
    }

    /// Bytes that magazines may hold beyond what they did at first.
    fn most_wider_bytes(&self) -> u64 {
        let blocks = self.spare_blocks.load(Relaxed).min(self.geometry.max_blocks / PART_OF_BLOCKS);
        u64::from(blocks) << self.geometry.block_shift
    }
}
