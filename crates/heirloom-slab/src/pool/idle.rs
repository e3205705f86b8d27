//! Idle slabs, all of whose slots are free: kept near for a while, and taken down before memory is refused.
//!
//! ```text
//! on the list of a CPU that is at work      taken down under its lock
//! announced to a CPU slot that nobody has   \
//! without an owner                           > adopted by a CPU whose lock is held, then as above
//! ```
//!
//! A slab loses its owner when its thread ends, at a restore and in a recovery. As long as it is cut for one cache no other gets its
//! memory, so whoever gives idle slabs back must find those too: on no list, by the map of slabs with room in the block table.
//!
//! # Invariant
//!
//! - *noted*: while an idle slab without an owner is announced to nobody, `Pool::may_have_ownerless` is true. Whoever walks the table
//!   clears it, so that a pool which is full, and asked again and again, does not walk it each time.

use heirloom_abi::pool::{BLOCK_KIND_SLABS, SLAB_KIND_SLAB};

use super::Pool;
use super::records::Block;
use crate::cpu::Locked;
use crate::host::Host;
use crate::slab::Slab;
use crate::sync::Ordering::*;

impl<H: Host> Pool<H> {
    /// Before memory is refused, and for [`Pool::trim`]: takes idle slabs of all caches down, and gives empty blocks back. Slabs are
    /// those of the CPU whose lock the caller holds, its magazines emptied; of each other that nobody works on; and those without
    /// an owner. True where there was anything.
    pub(super) fn release_idle(&self, own: Option<&Locked<'_>>) -> bool {
        let mut found = false;
        match own {
            Some(own) => {
                // What others' magazines list is theirs to give.
                self.fold(own);
                self.gather(own);
                found |= self.take_all_down(own);
            }
            None => found |= self.release_ownerless(),
        }
        for index in (0..self.nr_cpus()).filter(|&index| own.is_none_or(|own| own.index() != index)) {
            let Some(other) = self.arena.cpu(index).try_lock() else { continue };
            if other.slot.tag.load(SeqCst) != 0 {
                found |= self.take_all_down(&other);
            }
        }
        let had_empty = self.nr_empty.load(Relaxed) > 0;
        self.give_empty_blocks_back();
        found | had_empty
    }

    /// Has some CPU that nobody works on adopt what is idle and nobody's, and takes that down; for as long as it takes a new one where
    /// all are busy or none is in use.
    fn release_ownerless(&self) -> bool {
        let at_work = |cpu: &Locked<'_>| cpu.slot.tag.load(SeqCst) != 0;
        let held = (0..self.nr_cpus()).find_map(|index| self.arena.cpu(index).try_lock().filter(at_work));
        if let Some(held) = held {
            self.gather(&held);
            return self.take_all_down(&held);
        }
        if !self.may_have_ownerless.load(Acquire) {
            return false;
        }
        let Some(cpu) = self.claim_cpu() else { return false };
        let held = cpu.lock(|| self.host.pause());
        self.gather(&held);
        let found = self.take_all_down(&held);
        drop(held);
        self.release_cpu(cpu);
        found
    }

    fn take_all_down(&self, cpu: &Locked<'_>) -> bool {
        (0..self.nr_caches()).fold(false, |found, cache| self.take_down_idle(cpu, cache, 0) | found)
    }

    /// Puts every idle slab that nobody owns on the lists of this CPU.
    fn gather(&self, cpu: &Locked<'_>) {
        for index in (0..self.nr_cpus()).filter(|&index| index != cpu.index()) {
            let Some(vacant) = self.arena.cpu(index).try_lock() else { continue };
            if vacant.slot.tag.load(SeqCst) == 0 {
                for cache in 0..self.nr_caches() {
                    self.drain_pending_of(cpu, cache, &vacant.caches[cache]);
                }
            }
        }
        if !self.may_have_ownerless.swap(false, AcqRel) {
            return;
        }
        for block in &self.arena.blocks()[..self.nr_blocks()] {
            let mut from = 0;
            while let Some((slab, cache, unit)) = self.adopt_idle_from(cpu, block, from) {
                slab.collect();
                if slab.head.nr_free.load(Relaxed) > 0 {
                    self.link(&cpu.caches[cache], &slab);
                } else {
                    self.mark_partial(&slab, false);
                }
                from = unit + 1;
            }
        }
    }

    /// Adopts the first slab in a block, in unit `from` or behind, that nobody owns and that looks idle: the slab, its cache and its
    /// unit. Whether it is idle shows when it is adopted.
    fn adopt_idle_from(&self, cpu: &Locked<'_>, block: &Block, from: u32) -> Option<(Slab<'_>, usize, u32)> {
        let behind = u64::MAX.checked_shl(from).unwrap_or(0);
        if block.partial_units.load(Relaxed) & behind == 0 {
            return None;
        }
        // As in `adopt_from`: the block must not go to the host meanwhile.
        let _guard = self.lock();
        if block.kind.load(Relaxed) != BLOCK_KIND_SLABS {
            return None;
        }
        let mut units = block.partial_units.load(Acquire) & behind;
        while units != 0 {
            let unit = units.trailing_zeros();
            units &= units - 1;
            let slab = self.arena.slab(block.offset.load(Relaxed), unit);
            let cache = slab.head.cache.load(Relaxed) as usize;
            let may_be = slab.head.kind.load(Acquire) == SLAB_KIND_SLAB
                && cache < self.nr_caches()
                && !self.is_live(slab.head.owner.load(Acquire))
                && slab.looks_idle();
            if may_be && self.adopt(cpu, &slab, cache) {
                return Some((slab, cache, unit));
            }
        }
        None
    }
}
