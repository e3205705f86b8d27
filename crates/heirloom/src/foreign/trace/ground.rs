//! The ground: every slot and large object of a pool, whether it is allocated, and whether it was reached.
//!
//! ```text
//! blocks, by offset   | 2 MiB: units -> slab |   ..         address -> block -> unit -> slab -> slot
//!                              |
//! slab                | base, slot size, nr | allocated bits | reached bits |
//! ```
//!
//! Built once from the pool's records, which are compared with their limits as they are read; afterwards every
//! question is answered from here. Two bits a slot, so that the ground of a heap is a thousandth of it.

use heirloom_abi::pool::{
    BLOCK_KIND_HUGE, Geometry, Listed, Memory, PoolError, PoolReader, SLAB_KIND_LARGE, SlabView,
};

/// All slots of a pool.
#[derive(Clone)]
pub(super) struct Ground {
    geometry: Geometry,
    /// By offset, none over another.
    blocks: Vec<Block>,
    slabs: Vec<Slab>,
    allocated: Vec<u64>,
    reached: Vec<u64>,
}

#[derive(Clone)]
struct Block {
    start: u64,
    end: u64,
    /// For each unit the slab that covers it, plus 1.
    units: Vec<u32>,
    huge: bool,
}

#[derive(Clone)]
struct Slab {
    base: u64,
    slot_bytes: u64,
    nr_slots: u32,
    /// `None` for a large object.
    cache: Option<u32>,
    /// Of its words in both bitmaps.
    first_word: usize,
}

/// A slot, or a large object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Its first byte, as an offset.
    pub(super) start: u64,
    /// Its bytes.
    pub(super) bytes: u64,
    /// `None` for a large object.
    pub(super) cache: Option<u32>,
    bit: usize,
}

impl Slot {
    /// Numbers the slots of a ground, with gaps.
    pub(super) fn number(&self) -> usize {
        self.bit
    }
}

impl Ground {
    /// Reads all of a pool; `len` is the length of its memory, `base` the address at which its owner maps it.
    ///
    /// What magazines list as free is free. Slabs whose records are broken are an error: what lies there is not known.
    pub(super) fn read<M: Memory + ?Sized, R: Memory + ?Sized>(
        memory: &M,
        reader: &PoolReader<'_, R>,
        base: u64,
        len: u64,
    ) -> Result<Self, PoolError> {
        let geometry = reader.geometry();
        let mut ground = Self {
            geometry,
            blocks: Vec::new(),
            slabs: Vec::new(),
            allocated: Vec::new(),
            reached: Vec::new(),
        };
        for index in 0..reader.nr_blocks() {
            let Some(view) = reader.block(index)? else { continue };
            let end = view.offset + u64::from(view.run) * geometry.block_bytes();
            if end > len {
                return Err(PoolError::Outside { what: "block", offset: view.offset });
            }
            let huge = view.kind == BLOCK_KIND_HUGE;
            let mut units = vec![0; geometry.units() as usize];
            let mut unit = geometry.header_units();
            while unit < geometry.units() {
                let Some(slab) = reader.slab(&view, unit)? else {
                    unit += 1;
                    continue;
                };
                let number = ground.add(reader, &slab)?;
                let covered = unit as usize..(unit + slab.units.max(1)).min(geometry.units()) as usize;
                units[covered].fill(number);
                unit += slab.units.max(1);
            }
            ground.blocks.push(Block { start: view.offset, end, units, huge });
        }
        ground.blocks.sort_unstable_by_key(|block| block.start);
        if let Some(pair) = ground.blocks.windows(2).find(|pair| pair[0].end > pair[1].start) {
            return Err(PoolError::Outside { what: "block over another", offset: pair[1].start });
        }
        if !reader.is_frozen() {
            reader.for_each_listed(|listed| ground.take_back(memory, base, listed))?;
        }
        ground.reached = vec![0; ground.allocated.len()];
        Ok(ground)
    }

    /// Adds a slab: its number plus 1.
    fn add<M: Memory + ?Sized>(
        &mut self,
        reader: &PoolReader<'_, M>,
        view: &SlabView,
    ) -> Result<u32, PoolError> {
        let first_word = self.allocated.len();
        let slab = if view.kind == SLAB_KIND_LARGE {
            self.allocated.push(1);
            Slab { base: view.base, slot_bytes: view.object_bytes, nr_slots: 1, cache: None, first_word }
        } else {
            for word in 0..view.nr_slots.div_ceil(64) {
                let slots = (view.nr_slots - word * 64).min(64);
                let all = if slots == 64 { u64::MAX } else { (1 << slots) - 1 };
                self.allocated.push(all & !reader.free_bits(view, word)?);
            }
            Slab {
                base: view.base,
                slot_bytes: view.slot_bytes.into(),
                nr_slots: view.nr_slots,
                cache: Some(view.cache),
                first_word,
            }
        };
        self.slabs.push(slab);
        Ok(self.slabs.len() as u32)
    }

    /// A free slot that the bitmaps do not list. What names no slot is passed over, as recovery does.
    fn take_back<M: Memory + ?Sized>(&mut self, memory: &M, base: u64, listed: Listed) {
        match listed {
            Listed::Slot(slot) => self.set_free(slot),
            Listed::Placed { slot, place } => {
                let mut word = [0; 8];
                let stored = memory.read(place, &mut word).map(|()| u64::from_le_bytes(word));
                if stored.is_some_and(|stored| stored != base.wrapping_add(slot)) {
                    self.set_free(slot);
                }
            }
            Listed::Word { descriptor, word, mask } => {
                let block = descriptor & !(self.geometry.block_bytes() - 1);
                let Some(within) = (descriptor - block).checked_sub(self.geometry.descriptor_offset(0))
                else {
                    return;
                };
                let unit = (within / self.geometry.descriptor_bytes()) as usize;
                let found = self.block_at(block).and_then(|block| block.units.get(unit));
                let Some(slab) = found.and_then(|number| number.checked_sub(1)) else { return };
                let slab = &self.slabs[slab as usize];
                if word < u64::from(slab.nr_slots.div_ceil(64)) && slab.cache.is_some() {
                    self.allocated[slab.first_word + word as usize] &= !mask;
                }
            }
        }
    }

    fn set_free(&mut self, offset: u64) {
        if let Some(slot) = self.slot_at(offset).filter(|slot| slot.start == offset && slot.cache.is_some()) {
            self.allocated[slot.bit / 64] &= !(1 << (slot.bit % 64));
        }
    }

    fn block_at(&self, offset: u64) -> Option<&Block> {
        let after = self.blocks.partition_point(|block| block.start <= offset);
        let block = self.blocks.get(after.checked_sub(1)?)?;
        (offset < block.end).then_some(block)
    }

    /// The slot that an offset lies in, allocated or not.
    pub(super) fn slot_at(&self, offset: u64) -> Option<Slot> {
        let block = self.block_at(offset)?;
        let unit = if block.huge {
            self.geometry.header_units() as usize
        } else {
            ((offset - block.start) >> self.geometry.unit_shift) as usize
        };
        let number = block.units.get(unit)?.checked_sub(1)?;
        let slab = &self.slabs[number as usize];
        let index = offset.checked_sub(slab.base)?.checked_div(slab.slot_bytes)?;
        (index < u64::from(slab.nr_slots)).then(|| slab.slot(index as usize))
    }

    /// The allocated slot that starts at `offset`.
    pub(super) fn allocated_at(&self, offset: u64) -> Option<Slot> {
        self.slot_at(offset).filter(|slot| slot.start == offset && self.is_allocated(slot))
    }

    pub(super) fn is_allocated(&self, slot: &Slot) -> bool {
        self.allocated[slot.bit / 64] >> (slot.bit % 64) & 1 == 1
    }

    pub(super) fn is_reached(&self, slot: &Slot) -> bool {
        self.reached[slot.bit / 64] >> (slot.bit % 64) & 1 == 1
    }

    /// Notes that a slot was reached; false where it had been already.
    pub(super) fn reach(&mut self, slot: &Slot) -> bool {
        let (word, bit) = (&mut self.reached[slot.bit / 64], 1 << (slot.bit % 64));
        let first = *word & bit == 0;
        *word |= bit;
        first
    }

    /// Bytes of all allocated slots.
    pub(super) fn live_bytes(&self) -> u64 {
        self.slots().map(|slot| slot.bytes).fold(0, u64::saturating_add)
    }

    /// Allocated slots, by their offset within a slab.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.slabs.iter().flat_map(move |slab| {
            (0..slab.nr_slots as usize)
                .map(|index| slab.slot(index))
                .filter(move |slot| self.is_allocated(slot))
        })
    }

    /// Allocated slots that nothing reached.
    pub(super) fn unreached(&self) -> impl Iterator<Item = Slot> {
        self.slots().filter(|slot| !self.is_reached(slot))
    }
}

impl Slab {
    fn slot(&self, index: usize) -> Slot {
        Slot {
            start: self.base + index as u64 * self.slot_bytes,
            bytes: self.slot_bytes,
            cache: self.cache,
            bit: self.first_word * 64 + index,
        }
    }
}
