//! What stands at an address: for a `free` that is told nothing but the pointer.

use heirloom_abi::pool::{BLOCK_KIND_HUGE, SLAB_KIND_LARGE, SLAB_KIND_SLAB, SLAB_KIND_TAIL};

use super::Pool;
use crate::cpu::Cpu;
use crate::host::Host;
use crate::sync::Ordering::*;

/// A slot or a large object that an address lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its cache; `None` for a large object.
    pub cache: Option<usize>,
    /// Offset of its first byte.
    pub start: u64,
    /// Bytes of the slot, or those that the large object was allocated for.
    pub bytes: u64,
    /// Offset of the descriptor of its slab.
    slab: u64,
    /// Which slot of the slab.
    index: u32,
}

impl Found {
    /// What all objects of one slab have in common, and no other.
    #[must_use]
    pub const fn slab_key(&self) -> u64 {
        self.slab
    }

    /// Which slot of its slab.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }
}

impl<H: Host> Pool<H> {
    /// Finds the slot or the large object that `offset` lies in; `None` where there is neither.
    ///
    /// `offset` lies in a block that the pool took from its host, which the caller knows. Of a run of blocks only the first has a header:
    /// an offset in a later one finds nothing.
    pub fn find(&self, offset: u64) -> Option<Found> {
        let block = offset & !(self.geometry.block_bytes() - 1);
        let index = self.arena.block_head(block).index.load(Relaxed) as usize;
        let entry = self.arena.blocks().get(index).filter(|_| index < self.nr_blocks())?;
        if entry.offset.load(Relaxed) != block {
            return None;
        }
        let mut unit = ((offset - block) >> self.geometry.unit_shift) as u32;
        let usable = self.geometry.header_units()..self.geometry.units();
        if !usable.contains(&unit) {
            return None;
        }
        if entry.kind.load(Relaxed) == BLOCK_KIND_HUGE {
            unit = usable.start;
        }
        let mut slab = self.arena.slab(block, unit);
        if slab.head.kind.load(Acquire) == SLAB_KIND_TAIL {
            let head = slab.head.head_unit.load(Relaxed);
            if head >= unit || head < usable.start {
                return None;
            }
            unit = head;
            slab = self.arena.slab(block, unit);
        }
        let start = block + (u64::from(unit) << self.geometry.unit_shift);
        let within = offset - start;
        match slab.head.kind.load(Acquire) {
            SLAB_KIND_LARGE => {
                if !self.is_large(entry, &slab, unit) {
                    return None;
                }
                let bytes = slab.head.object_bytes.load(Relaxed);
                Some(Found { cache: None, start, bytes, slab: slab.at, index: 0 })
            }
            SLAB_KIND_SLAB => {
                let cache = slab.head.cache.load(Relaxed) as usize;
                let shape = self.arena.caches().get(cache).filter(|_| cache < self.nr_caches())?;
                let bytes = u64::from(shape.slot_bytes.load(Relaxed));
                let index = within.checked_div(bytes)? as u32;
                if index >= shape.nr_slots.load(Relaxed) {
                    return None;
                }
                let start = start + u64::from(index) * bytes;
                Some(Found { cache: Some(cache), start, bytes, slab: slab.at, index })
            }
            _ => None,
        }
    }

    /// Calls `each` with every slot and large object that is allocated.
    ///
    /// The caller's door is closed and the pool settled: what a magazine holds would seem to be allocated.
    pub fn for_each_allocated(&self, mut each: impl FnMut(Found)) {
        self.for_each_slab(|slab| {
            let start = self.base_of(&slab);
            if slab.head.kind.load(Relaxed) == SLAB_KIND_LARGE {
                let bytes = slab.head.object_bytes.load(Relaxed);
                return each(Found { cache: None, start, bytes, slab: slab.at, index: 0 });
            }
            let cache = slab.head.cache.load(Relaxed) as usize;
            let Some(shape) = self.arena.caches().get(cache) else { return };
            let (bytes, nr) = (u64::from(shape.slot_bytes.load(Relaxed)), shape.nr_slots.load(Relaxed));
            for index in 0..nr {
                let (word, bit) = ((index / 64) as usize, 1 << (index % 64));
                let is_free = |words: &[crate::sync::AtomicU64]| {
                    words.get(word).is_some_and(|word| word.load(Relaxed) & bit != 0)
                };
                if !is_free(slab.free) && !is_free(slab.remote) {
                    let start = start + u64::from(index) * bytes;
                    each(Found { cache: Some(cache), start, bytes, slab: slab.at, index });
                }
            }
        });
    }

    /// Gives an object back that a walk has found.
    ///
    /// # Safety
    ///
    /// It is allocated, and nobody uses it.
    #[expect(unsafe_code, reason = "frees what the caller vouches for")]
    pub unsafe fn free_found(&self, cpu: Cpu<'_>, found: &Found) {
        // SAFETY: the object starts there and is of this cache; all of its slot may have been written.
        unsafe {
            match found.cache {
                Some(cache) => self.free(cpu, cache, found.start, found.bytes as usize),
                None => self.free_large(found.start),
            }
        }
    }

    /// True where the slot's slab, or the magazine of `cpu`, lists it as free. Magazines of other CPUs are not looked at.
    pub fn is_listed_free(&self, cpu: Cpu<'_>, found: &Found) -> bool {
        let Some(cache) = found.cache else { return false };
        let slab = self.arena.slab_at(found.slab);
        let (word, bit) = ((found.index / 64) as usize, 1 << (found.index % 64));
        let listed = |words: &[crate::sync::AtomicU64]| {
            words.get(word).is_some_and(|word| word.load(Relaxed) & bit != 0)
        };
        let mine = &cpu.caches[cache];
        let bottom = mine.bottom.load(Relaxed);
        let nr = mine.top.load(Relaxed).wrapping_sub(bottom).min(mine.slots.len() as u32);
        let is_at_hand = |nr: u32| mine.entry(bottom.wrapping_add(nr)).load(Relaxed) == found.start;
        listed(slab.free) || listed(slab.remote) || (0..nr).any(is_at_hand)
    }
}
