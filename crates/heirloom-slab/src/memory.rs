//! The one place where an offset becomes memory.
//!
//! Everything here trusts only two things: the host's promise that the control area and every block in the table
//! are memory, and that offsets handed in lie in one of them (checked where they come from foreign bytes, owed by
//! the caller of `free` where they come from the user).
#![expect(
    unsafe_code,
    reason = "turns offsets inside blocks and the control area into references to atomics"
)]

use core::ops::Range;
use core::ptr::NonNull;
use core::slice;

use heirloom_abi::pool::{Geometry, Memory};

use crate::cpu::{Cpu, CpuCache, CpuSlot};
use crate::pool::records::{Block, BlockHeader, Cache, Record};
use crate::slab::{Slab, SlabHead};
use crate::sync::AtomicU64;

/// A pool's memory.
///
/// # Invariants
///
/// - `base + control .. + geometry.control_bytes()` is readable and writable for as long as this lives, and touched
///   only through atomics.
/// - The same holds for each block in the table, but for the slots in the hands of the user.
#[derive(Clone, Copy)]
pub(crate) struct Arena {
    base: NonNull<u8>,
    control: u64,
    geometry: Geometry,
}

// SAFETY: all shared state behind it is atomics; slots are handed out to one owner at a time.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// # Safety
    ///
    /// - The type's first invariant holds for these numbers, and `geometry` passes its check.
    /// - The control area is aligned to a page and zeroed or laid out by that geometry.
    pub(crate) unsafe fn new(base: NonNull<u8>, control: u64, geometry: Geometry) -> Self {
        // INVARIANT: by the caller's promise.
        Self { base, control, geometry }
    }

    #[inline(always)]
    fn at(&self, offset: u64) -> *mut u8 {
        self.base.as_ptr().wrapping_add(offset as usize)
    }

    /// Offset of the control area.
    pub(crate) fn control(&self) -> u64 {
        self.control
    }

    /// Address of an offset.
    #[inline(always)]
    pub(crate) fn address(&self, offset: u64) -> *mut u8 {
        self.at(offset)
    }

    #[inline]
    pub(crate) fn record(&self) -> &Record {
        // SAFETY: the record is the first page of the control area, page aligned, and made of atomics alone.
        unsafe { &*self.at(self.control).cast() }
    }

    #[inline]
    pub(crate) fn caches(&self) -> &[Cache] {
        let at = self.at(self.control + self.geometry.cache_offset(0));
        // SAFETY: `max_caches` records of atomics stand here by the geometry, aligned to 8.
        unsafe { slice::from_raw_parts(at.cast(), self.geometry.max_caches as usize) }
    }

    #[inline]
    pub(crate) fn blocks(&self) -> &[Block] {
        let at = self.at(self.control + self.geometry.block_offset(0));
        // SAFETY: `max_blocks` records of atomics stand here by the geometry, aligned to a page.
        unsafe { slice::from_raw_parts(at.cast(), self.geometry.max_blocks as usize) }
    }

    /// # Panics
    ///
    /// Where `index` is not below `max_cpus`.
    #[inline]
    pub(crate) fn cpu(&self, index: u32) -> Cpu<'_> {
        assert!(index < self.geometry.max_cpus, "cpu slot {index} is not there");
        let at = self.at(self.control + self.geometry.cpu_offset(index));
        // SAFETY: a CPU slot of atomics stands here by the geometry, aligned to 64, `max_caches` caches behind it.
        unsafe {
            let slot: &CpuSlot = &*at.cast();
            let caches: *const CpuCache = at.add(size_of::<CpuSlot>()).cast();
            Cpu { index, slot, caches: slice::from_raw_parts(caches, self.geometry.max_caches as usize) }
        }
    }

    #[inline]
    pub(crate) fn block_head(&self, block: u64) -> &BlockHeader {
        debug_assert!(block % self.geometry.block_bytes() == 0);
        // SAFETY: `block` is a block of this pool, which starts with its head.
        unsafe { &*self.at(block).cast() }
    }

    /// The descriptor of `unit` of the block at `block`.
    #[inline]
    pub(crate) fn slab(&self, block: u64, unit: u32) -> Slab<'_> {
        debug_assert!(unit < self.geometry.units());
        self.slab_at(block + self.geometry.descriptor_offset(unit))
    }

    /// The descriptor at an offset that [`Slab::at`] gave.
    #[inline]
    pub(crate) fn slab_at(&self, at: u64) -> Slab<'_> {
        let words = self.geometry.words() as usize;
        let start = self.at(at);
        // SAFETY: a descriptor stands here, aligned to 64: the fixed part, free words, remote words, all atomics.
        unsafe {
            let head: &SlabHead = &*start.cast();
            let free: *const AtomicU64 = start.add(size_of::<SlabHead>()).cast();
            Slab {
                at,
                head,
                free: slice::from_raw_parts(free, words),
                remote: slice::from_raw_parts(free.add(words), words),
            }
        }
    }

    /// Zeroes bytes that no user holds and no other CPU touches.
    ///
    /// # Safety
    ///
    /// `offset..offset + len` lies in slots or units of a block of this pool that the caller holds alone.
    #[inline]
    pub(crate) unsafe fn zero(&self, offset: u64, len: u64) {
        // SAFETY: by the caller's promise the bytes are memory and ours alone.
        unsafe { self.at(offset).write_bytes(0, len as usize) }
    }

    /// The word at `offset`, if it is aligned.
    pub(crate) fn word(&self, offset: u64) -> Option<&AtomicU64> {
        if offset % 8 != 0 {
            return None;
        }
        // SAFETY: callers pass an offset inside a block that they found in the table; it is aligned.
        Some(unsafe { &*self.at(offset).cast() })
    }
}

/// Reads through it are copies of memory that others may be changing.
pub(crate) struct Reader<'a> {
    pub(crate) arena: &'a Arena,
    /// The offsets that are memory.
    pub(crate) within: Range<u64>,
}

impl Reader<'_> {
    #[inline]
    fn contains(&self, offset: u64, len: u64) -> bool {
        offset >= self.within.start && offset.checked_add(len).is_some_and(|end| end <= self.within.end)
    }
}

impl Memory for Reader<'_> {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Option<()> {
        if !self.contains(offset, buffer.len() as u64) {
            return None;
        }
        // SAFETY: the range is memory of this pool. It may change while it is copied, as memory does under a
        // volatile read; the copy is judged afterwards.
        unsafe { copy_volatile(self.arena.at(offset), buffer) };
        Some(())
    }

    #[inline]
    fn read_eight(&self, offset: u64) -> Option<[u64; 8]> {
        let from = self.arena.at(offset).cast::<u64>();
        if !self.contains(offset, 64) || !from.is_aligned() {
            return None;
        }
        // SAFETY: as above, and it is aligned.
        Some(core::array::from_fn(|nth| u64::from_le(unsafe { from.add(nth).read_volatile() })))
    }

    fn count_nonzero(&self, offset: u64, len: u64) -> Option<u64> {
        if !self.contains(offset, len) {
            return None;
        }
        // SAFETY: the range is memory of this pool.
        Some(unsafe { count_nonzero(self.arena.at(offset), len as usize) })
    }
}

/// Copies bytes that another thread or process may be changing.
///
/// # Safety
///
/// `from .. from + to.len()` is readable.
unsafe fn copy_volatile(from: *const u8, to: &mut [u8]) {
    let nr_words = if from.addr() % 8 == 0 { to.len() / 8 } else { 0 };
    let (words, rest) = to.split_at_mut(8 * nr_words);
    for (nth, word) in words.chunks_exact_mut(8).enumerate() {
        // SAFETY: the word is within the range, and aligned.
        let found: u64 = unsafe { from.cast::<u64>().add(nth).read_volatile() };
        word.copy_from_slice(&found.to_le_bytes());
    }
    for (nth, byte) in rest.iter_mut().enumerate() {
        // SAFETY: the byte is within the range.
        *byte = unsafe { from.add(8 * nr_words + nth).read_volatile() };
    }
}

/// # Safety
///
/// `from .. from + len` is readable.
unsafe fn count_nonzero(from: *const u8, len: usize) -> u64 {
    let mut count = 0;
    let mut at = 0;
    // SAFETY: `at` stays below `len`; words are read only at aligned addresses.
    unsafe {
        while at < len {
            if from.add(at).addr() % 8 == 0 && at + 8 <= len {
                let word: u64 = from.add(at).cast::<u64>().read_volatile();
                if word != 0 {
                    count += word.to_le_bytes().iter().filter(|&&byte| byte != 0).count() as u64;
                }
                at += 8;
            } else {
                count += u64::from(from.add(at).read_volatile() != 0);
                at += 1;
            }
        }
    }
    count
}
