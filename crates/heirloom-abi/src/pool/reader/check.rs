//! The walk over a whole pool: every invariant, every sum, and on demand every free byte.

use core::mem::offset_of;

use super::{BlockView, Memory, PoolError, PoolReader, SlabView, Tally, ensure, field};
use crate::pool::records::*;

impl<M: Memory + ?Sized> PoolReader<'_, M> {
    /// Walks the whole pool: hands every violation of an invariant to `broken` and sums up the rest.
    ///
    /// A pool that runs while it is read is checked for what holds at every instant; the counts of a frozen one
    /// must agree to the bit. `scan` reads every free byte as well, and counts those that are not zero.
    pub fn check(&self, scan: bool, mut broken: impl FnMut(PoolError)) -> Tally {
        let mut tally = Tally::default();
        if self.frozen {
            self.check_tables().unwrap_or_else(&mut broken);
            self.check_settled(&mut broken);
        }
        for index in 0..self.nr_caches {
            self.cache(index).map(drop).unwrap_or_else(&mut broken);
        }
        for index in 0..self.nr_blocks {
            match self.block(index) {
                Ok(None) => {}
                Ok(Some(block)) => self.check_block(&block, scan, &mut tally, &mut broken),
                Err(error) => broken(error),
            }
        }
        tally
    }

    fn check_settled(&self, broken: &mut impl FnMut(PoolError)) {
        for cpu in 0..self.nr_cpus {
            let at = self.control + self.geometry.cpu_offset(cpu);
            let bytes: [u8; 64] = match self.read("cpu slot", at) {
                Ok(bytes) => bytes,
                Err(error) => return broken(error),
            };
            let value = field!(bytes, CpuRecord, out_mask, u64);
            ensure(value == 0, PoolError::Unsettled { cpu, what: "out_mask", value })
                .unwrap_or_else(&mut *broken);
            for cache in 0..self.nr_caches {
                let at = at
                    + size_of::<CpuRecord>() as u64
                    + u64::from(cache) * size_of::<CpuCacheRecord>() as u64;
                let value = match self.read::<8>("magazine", at) {
                    Ok(bytes) => field!(bytes, CpuCacheRecord, top, u32)
                        .wrapping_sub(field!(bytes, CpuCacheRecord, bottom, u32))
                        .into(),
                    Err(error) => return broken(error),
                };
                ensure(value == 0, PoolError::Unsettled { cpu, what: "magazine", value })
                    .unwrap_or_else(&mut *broken);
            }
        }
    }

    fn check_block(
        &self,
        block: &BlockView,
        scan: bool,
        tally: &mut Tally,
        broken: &mut impl FnMut(PoolError),
    ) {
        let geometry = self.geometry;
        let block_bytes = u64::from(block.run) * geometry.block_bytes();
        let header = geometry.header_bytes().next_multiple_of(4096);
        tally.blocks += u64::from(block.run);
        tally.pool_bytes += block_bytes;
        tally.metadata_bytes += header;
        tally.stranded_bytes += (u64::from(geometry.header_units()) << geometry.unit_shift) - header;
        if let Err(error) = self.check_block_head(block) {
            return broken(error);
        }
        if scan {
            let end = u64::from(geometry.header_units()) << geometry.unit_shift;
            self.scan(block.offset + geometry.header_bytes(), end - geometry.header_bytes(), tally, broken);
        }
        let (mut covered, mut partial) = (0u64, 0u64);
        let mut unit = geometry.header_units();
        while unit < geometry.units() {
            let step = match self.slab(block, unit) {
                Ok(None) => 1,
                Ok(Some(slab)) => {
                    let units =
                        if block.kind == BLOCK_KIND_HUGE { geometry.units() - unit } else { slab.units };
                    covered |= span(unit, units);
                    partial |= u64::from(slab.kind == SLAB_KIND_SLAB && slab.nr_free > 0) << unit;
                    if self.frozen && block.kind == BLOCK_KIND_SLABS {
                        self.check_tails(&slab, block, broken);
                    }
                    self.tally_slab(&slab, block, scan, tally, broken);
                    units
                }
                Err(error) => {
                    broken(error);
                    covered |= span(unit, 1);
                    1
                }
            };
            unit += step;
        }
        let free = geometry.usable_units() & !covered;
        let wrong = |what, value| PoolError::Block { index: block.index, offset: block.offset, what, value };
        if self.frozen {
            if free != block.free_units {
                broken(wrong("free_units", block.free_units));
            }
            // A slab with room that is not marked would never be found: the pool would grow instead.
            if partial != block.partial_units {
                broken(wrong("partial_units", block.partial_units));
            }
            if block.dirty_units != 0 {
                broken(wrong("dirty_units", block.dirty_units));
            }
        }
        if scan {
            let mut rest = free & block.free_units;
            while rest != 0 {
                let unit = rest.trailing_zeros();
                rest &= rest - 1;
                let at = block.offset + (u64::from(unit) << geometry.unit_shift);
                self.scan(at, geometry.unit_bytes(), tally, broken);
            }
        }
    }

    /// Each further unit of a slab or large object says that it is one, and whose.
    fn check_tails(&self, slab: &SlabView, block: &BlockView, broken: &mut impl FnMut(PoolError)) {
        for unit in slab.unit + 1..slab.unit + slab.units {
            let at = block.offset + self.geometry.descriptor_offset(unit);
            let bytes: [u8; size_of::<SlabRecord>()] = match self.read("slab descriptor", at) {
                Ok(bytes) => bytes,
                Err(error) => return broken(error),
            };
            let kind = field!(bytes, SlabRecord, kind, u32);
            let head_unit = field!(bytes, SlabRecord, head_unit, u32);
            for (what, value, right) in
                [("kind of a tail", kind, SLAB_KIND_TAIL), ("head_unit of a tail", head_unit, slab.unit)]
            {
                ensure(
                    value == right,
                    PoolError::Slab { block: block.index, unit, what, value: value.into() },
                )
                .unwrap_or_else(&mut *broken);
            }
        }
    }

    fn tally_slab(
        &self,
        slab: &SlabView,
        block: &BlockView,
        scan: bool,
        tally: &mut Tally,
        broken: &mut impl FnMut(PoolError),
    ) {
        let wrong = |what, value| PoolError::Slab { block: slab.block, unit: slab.unit, what, value };
        if self.frozen && self.sealed {
            let at = slab.descriptor + offset_of!(SlabRecord, seal) as u64;
            match (self.compute_seal(slab.descriptor), self.read::<8>("seal", at)) {
                (Ok(found), Ok(recorded)) if found == u64::from_le_bytes(recorded) => {}
                (Ok(found), Ok(_)) => broken(wrong("seal", found)),
                (Err(error), _) | (_, Err(error)) => broken(error),
            }
        }
        if slab.kind == SLAB_KIND_LARGE {
            tally.live_objects += 1;
            tally.live_bytes += slab.object_bytes;
            let first = u64::from(slab.unit) << self.geometry.unit_shift;
            let room = if block.kind == BLOCK_KIND_HUGE {
                u64::from(block.run) * self.geometry.block_bytes() - first
            } else {
                u64::from(slab.units) << self.geometry.unit_shift
            };
            tally.stranded_bytes += room.saturating_sub(slab.object_bytes);
            return;
        }
        let slot = u64::from(slab.slot_bytes);
        tally.slabs += 1;
        tally.free_slots += u64::from(slab.free_bits);
        tally.live_objects += u64::from(slab.nr_slots - slab.free_bits);
        tally.live_bytes += u64::from(slab.nr_slots - slab.free_bits) * slot;
        let used = u64::from(slab.nr_slots) * slot;
        let room = u64::from(slab.units) << self.geometry.unit_shift;
        tally.stranded_bytes += room - used;
        if !scan {
            return;
        }
        self.scan(slab.base + used, room - used, tally, broken);
        for word in 0..self.geometry.words() {
            let mut bits = match self.words(slab.descriptor, word) {
                Ok((free, _)) => free,
                Err(error) => return broken(error),
            };
            while bits != 0 {
                // A run of free slots at a time.
                let start = bits.trailing_zeros();
                let len = (bits >> start).trailing_ones();
                bits &= !span(start, len);
                let at = slab.base + (u64::from(word) * 64 + u64::from(start)) * slot;
                self.scan(at, u64::from(len) * slot, tally, broken);
            }
        }
    }

    fn scan(&self, offset: u64, len: u64, tally: &mut Tally, broken: &mut impl FnMut(PoolError)) {
        match self.memory.count_nonzero(offset, len) {
            Some(stale) => tally.stale_bytes += stale,
            None => broken(PoolError::Outside { what: "free bytes", offset }),
        }
    }
}

/// Bits `start..start + len`.
fn span(start: u32, len: u32) -> u64 {
    let ones = if len >= 64 { u64::MAX } else { (1 << len) - 1 };
    ones << start
}
