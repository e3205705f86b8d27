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
