//! Geometry: the few numbers from which every offset in a pool follows.

use super::records::{
    BlockHead, BlockRecord, CacheRecord, CpuCacheRecord, CpuRecord, POOL_RECORD_BYTES, SlabRecord,
};

/// The smallest slot: 16 bytes, the alignment that `malloc` promises.
pub const MIN_SLOT_BYTES: u64 = 16;

/// Slots that one bitmap word describes.
pub const WORD_SLOTS: u64 = 64;

const PAGE: u64 = 4096;

/// The numbers that a pool is laid out by. They are chosen once, when it is formatted, and recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// log2 of the block size in bytes: 16 (64 KiB) to 30 (1 GiB).
    pub block_shift: u32,
    /// log2 of the unit size in bytes; a block is 16 to 64 units, a slab is `2^order` of them.
    pub unit_shift: u32,
    /// Caches that the pool can hold: 1 to 128.
    pub max_caches: u32,
    /// CPUs (threads) that can have a slot of their own at one time: 1 to 65,534.
    pub max_cpus: u32,
    /// Blocks that the pool can hold.
    pub max_blocks: u32,
}

/// Why a geometry is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// The block size is out of range.
    #[error("block size 2^{0} is not within 2^16..=2^30")]
    Block(u32),
    /// The unit size does not cut the block into 16 to 64 units of at least a page.
    #[error("unit size 2^{unit} does not cut a block of 2^{block} into 16 to 64 units")]
    Unit {
        /// log2 of the unit size.
        unit: u32,
        /// log2 of the block size.
        block: u32,
    },
    /// A table's length is zero or above its limit.
    #[error("{what} is {value}, not within 1..={most}")]
    Count {
        /// Which table.
        what: &'static str,
        /// What the record says.
        value: u32,
        /// The limit.
        most: u32,
    },
}

impl Geometry {
    /// Chooses the unit for a block size: 64 units a block, but no unit below a page.
    ///
    /// # Errors
    ///
    /// As [`Geometry::check`].
    pub const fn new(
        block_shift: u32,
        max_caches: u32,
        max_cpus: u32,
        max_blocks: u32,
    ) -> Result<Self, GeometryError> {
        let unit_shift = if block_shift >= 18 { block_shift - 6 } else { 12 };
        let geometry = Self { block_shift, unit_shift, max_caches, max_cpus, max_blocks };
        match geometry.check() {
            Ok(()) => Ok(geometry),
            Err(error) => Err(error),
        }
    }

    /// Checks that each number is in range, so that all arithmetic below is exact and cannot overflow.
    ///
    /// # Errors
    ///
    /// The first number that is out of range.
    pub const fn check(&self) -> Result<(), GeometryError> {
        if self.block_shift < 16 || self.block_shift > 30 {
            return Err(GeometryError::Block(self.block_shift));
        }
        if self.unit_shift < 12
            || self.unit_shift + 4 > self.block_shift
            || self.block_shift - self.unit_shift > 6
        {
            return Err(GeometryError::Unit { unit: self.unit_shift, block: self.block_shift });
        }
        if self.max_caches == 0 || self.max_caches > 128 {
            return Err(GeometryError::Count { what: "max_caches", value: self.max_caches, most: 128 });
        }
        if self.max_cpus == 0 || self.max_cpus > 65_534 {
            return Err(GeometryError::Count { what: "max_cpus", value: self.max_cpus, most: 65_534 });
        }
        if self.max_blocks == 0 || self.max_blocks > 1 << 24 {
            return Err(GeometryError::Count { what: "max_blocks", value: self.max_blocks, most: 1 << 24 });
        }
        Ok(())
    }

    /// Bytes of a block.
    #[inline]
    pub const fn block_bytes(&self) -> u64 {
        1 << self.block_shift
    }

    /// Bytes of a unit.
    #[inline]
    pub const fn unit_bytes(&self) -> u64 {
        1 << self.unit_shift
    }

    /// Units of a block, its header's included: 16 to 64.
    #[inline]
    pub const fn units(&self) -> u32 {
        1 << (self.block_shift - self.unit_shift)
    }

    /// Words of one bitmap: enough for a unit of the smallest slots. A slab of several units has larger slots and
    /// no more of them.
    #[inline]
    pub const fn words(&self) -> u32 {
        (self.unit_bytes() / MIN_SLOT_BYTES / WORD_SLOTS) as u32
    }

    /// Most slots that one slab may have.
    #[inline]
    pub const fn max_slots(&self) -> u32 {
        self.words() * WORD_SLOTS as u32
    }

    /// Bytes from one slab descriptor to the next: the record, then `words()` free words, then as many remote words.
    #[inline]
    pub const fn descriptor_bytes(&self) -> u64 {
        size_of::<SlabRecord>() as u64 + 16 * self.words() as u64
    }

    /// Offset of the descriptor of `unit` inside its block.
    #[inline]
    pub const fn descriptor_offset(&self, unit: u32) -> u64 {
        size_of::<BlockHead>() as u64 + unit as u64 * self.descriptor_bytes()
    }

    /// Bytes at the start of a block that its head and descriptors take.
    #[inline]
    pub const fn header_bytes(&self) -> u64 {
        self.descriptor_offset(self.units())
    }

    /// Units at the start of a block that hold its header and can hold no object.
    #[inline]
    pub const fn header_units(&self) -> u32 {
        self.header_bytes().div_ceil(self.unit_bytes()) as u32
    }

    /// A bit for each unit of a block that may hold objects.
    #[inline]
    pub const fn usable_units(&self) -> u64 {
        let all = if self.units() == 64 { u64::MAX } else { (1 << self.units()) - 1 };
        all & !((1 << self.header_units()) - 1)
    }

    /// The largest slab order: an eighth of a block, a quarter where blocks have few units.
    #[inline]
    pub const fn max_order(&self) -> u32 {
        let order = self.block_shift - self.unit_shift;
        if order >= 6 { order - 3 } else { order - 2 }
    }

    /// The largest slot of a cache; above it an object gets a run of units. Four of them fill the largest slab.
    #[inline]
    pub const fn max_slot_bytes(&self) -> u64 {
        (self.unit_bytes() << self.max_order()) / 4
    }

    /// Offset of cache `index` in the control area.
    #[inline]
    pub const fn cache_offset(&self, index: u32) -> u64 {
        POOL_RECORD_BYTES + index as u64 * size_of::<CacheRecord>() as u64
    }

    /// Offset of entry `index` of the block table in the control area.
    #[inline]
    pub const fn block_offset(&self, index: u32) -> u64 {
        round_up(self.cache_offset(self.max_caches), PAGE) + index as u64 * size_of::<BlockRecord>() as u64
    }

    /// Bytes of one CPU slot.
    #[inline]
    pub const fn cpu_bytes(&self) -> u64 {
        size_of::<CpuRecord>() as u64 + self.max_caches as u64 * size_of::<CpuCacheRecord>() as u64
    }

    /// Offset of CPU slot `index` in the control area.
    #[inline]
    pub const fn cpu_offset(&self, index: u32) -> u64 {
        round_up(self.block_offset(self.max_blocks), PAGE) + index as u64 * self.cpu_bytes()
    }

    /// Offset of cache `cache` of CPU slot `index` in the control area.
    #[inline]
    pub const fn cpu_cache_offset(&self, index: u32, cache: u32) -> u64 {
        let caches = self.cpu_offset(index) + size_of::<CpuRecord>() as u64;
        caches + cache as u64 * size_of::<CpuCacheRecord>() as u64
    }

    /// Bytes of the whole control area.
    #[inline]
    pub const fn control_bytes(&self) -> u64 {
        round_up(self.cpu_offset(self.max_cpus), PAGE)
    }

    /// The smallest slab order for slots of `slot_bytes`: 32 slots where the largest order allows.
    #[inline]
    pub const fn slab_order(&self, slot_bytes: u64) -> u32 {
        let mut order = 0;
        while order < self.max_order() && (self.unit_bytes() << order) / slot_bytes < 32 {
            order += 1;
        }
        order
    }

    /// Slots of `slot_bytes` in a slab of `order`.
    #[inline]
    pub const fn slab_slots(&self, slot_bytes: u64, order: u32) -> u32 {
        ((self.unit_bytes() << order) / slot_bytes) as u32
    }
}

const fn round_up(value: u64, to: u64) -> u64 {
    (value + to - 1) & !(to - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mebibyte_blocks_have_64_units_of_32_kib() {
        let geometry = Geometry::new(21, 128, 256, 1024).unwrap();
        assert_eq!((geometry.units(), geometry.unit_bytes(), geometry.words()), (64, 32 << 10, 32));
        assert_eq!(geometry.header_units(), 2);
        assert_eq!(geometry.max_slot_bytes(), 64 << 10);
        assert_eq!(geometry.usable_units().count_ones(), 62);
    }

    #[test]
    fn kernel_blocks_of_64_kib_have_16_units_of_a_page() {
        let geometry = Geometry::new(16, 32, 8, 1024).unwrap();
        assert_eq!((geometry.units(), geometry.unit_bytes(), geometry.words()), (16, 4096, 4));
        assert_eq!(geometry.header_units(), 1);
        assert_eq!(geometry.max_slot_bytes(), 4096);
    }

    #[test]
    #[cfg_attr(miri, ignore = "minutes under Miri, and no unsafe code in this crate")]
    fn every_geometry_that_passes_the_check_has_room_behind_its_header() {
        for block in 0..40 {
            let Ok(geometry) = Geometry::new(block, 128, 4, 16) else { continue };
            assert!(geometry.header_units() * 4 <= geometry.units(), "{geometry:?}");
            for slot in (16..=geometry.max_slot_bytes()).step_by(if cfg!(miri) { 1 << 20 } else { 16 }) {
                let order = geometry.slab_order(slot);
                assert!(geometry.slab_slots(slot, order) <= geometry.max_slots());
                assert!(geometry.slab_slots(slot, order) >= 4);
            }
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_name() {
        assert_eq!(Geometry::new(15, 1, 1, 1), Err(GeometryError::Block(15)));
        let odd = Geometry { block_shift: 21, unit_shift: 12, max_caches: 1, max_cpus: 1, max_blocks: 1 };
        assert_eq!(odd.check(), Err(GeometryError::Unit { unit: 12, block: 21 }));
        assert!(matches!(Geometry::new(21, 129, 1, 1), Err(GeometryError::Count { what: "max_caches", .. })));
    }
}
