//! Where free slots are listed: the bitmaps of a slab, and, in a pool that runs or whose owner died, the CPU slots.

use core::mem::offset_of;

use super::{Memory, PoolError, PoolReader, SlabView, field};
use crate::pool::records::*;

/// Free slots that a CPU slot lists, and the bitmaps do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// A slot in a magazine, by its offset.
    Slot(u64),
    /// Slots of a slab in an accumulator.
    Word {
        /// Offset of the slab's descriptor.
        descriptor: u64,
        /// Which word of its bitmap.
        word: u64,
        /// The slots.
        mask: u64,
    },
    /// A slot that is handed out and may not be stored yet.
    Placed {
        /// Its offset.
        slot: u64,
        /// Offset of the place that is to hold its address.
        place: u64,
    },
}

impl<M: Memory + ?Sized> PoolReader<'_, M> {
    /// Reads which slots of bitmap word `word` the slab itself lists as free.
    ///
    /// # Errors
    ///
    /// [`PoolError::Outside`].
    pub fn free_bits(&self, slab: &SlabView, word: u32) -> Result<u64, PoolError> {
        let (free, remote) = self.words(slab.descriptor, word)?;
        Ok(free | remote)
    }

    /// Hands all that the CPU slots list to `each`. Nothing of it was compared with anything but its own limits.
    ///
    /// # Errors
    ///
    /// [`PoolError::Outside`].
    pub fn for_each_listed(&self, mut each: impl FnMut(Listed)) -> Result<(), PoolError> {
        for cpu in 0..self.nr_cpus {
            let at = self.control + self.geometry.cpu_offset(cpu);
            let bytes: [u8; size_of::<CpuRecord>()] = self.read("cpu slot", at)?;
            let mask = field!(bytes, CpuRecord, out_mask, u64);
            if mask != 0 {
                let descriptor = field!(bytes, CpuRecord, out_slab, u64);
                each(Listed::Word { descriptor, word: field!(bytes, CpuRecord, out_word, u64), mask });
            }
            let slot = field!(bytes, CpuRecord, placed, u64);
            if slot != 0 {
                each(Listed::Placed { slot, place: field!(bytes, CpuRecord, place, u64) });
            }
            for cache in 0..self.nr_caches {
                self.for_each_in_magazine(cpu, cache, &mut each)?;
            }
        }
        Ok(())
    }

    /// Reads where the diary of CPU slot `cpu` lies, or 0.
    ///
    /// # Errors
    ///
    /// [`PoolError::Outside`].
    pub fn diary(&self, cpu: u32) -> Result<u64, PoolError> {
        let at = self.control + self.geometry.cpu_offset(cpu) + offset_of!(CpuRecord, diary) as u64;
        Ok(u64::from_le_bytes(self.read("cpu slot", at)?))
    }

    fn for_each_in_magazine(
        &self,
        cpu: u32,
        cache: u32,
        each: &mut impl FnMut(Listed),
    ) -> Result<(), PoolError> {
        let at = self.control + self.geometry.cpu_cache_offset(cpu, cache);
        let bytes: [u8; 8] = self.read("magazine", at)?;
        let bottom = field!(bytes, CpuCacheRecord, bottom, u32);
        let nr = field!(bytes, CpuCacheRecord, top, u32).wrapping_sub(bottom);
        // As recovery: where the numbers say more than there can be, no entry is to be believed.
        for n in 0..if nr <= MAGAZINE_SLOTS as u32 { nr } else { 0 } {
            let entry = u64::from(bottom.wrapping_add(n)) % MAGAZINE_SLOTS as u64;
            let slots = at + offset_of!(CpuCacheRecord, slots) as u64;
            each(Listed::Slot(u64::from_le_bytes(self.read("magazine", slots + 8 * entry)?)));
        }
        Ok(())
    }
}
