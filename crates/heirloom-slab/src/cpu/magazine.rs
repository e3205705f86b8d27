//! The magazine: a ring of free slots, popped and pushed at its hot end, filled and emptied by the slab side.
//!
//! ```text
//!            bottom                  top         limit = bottom + capacity
//!              v                      v              v
//!   . . . . .  c o l d . . . . h o t  _ _ _ _ _ _ _ _         entry n is slots[n % MAGAZINE_SLOTS]
//!   a flush takes from here ->       <- a pop takes from here, a push lists here
//! ```
//!
//! One store commits each step. A pop's commit comes before the caller can store the pointer anywhere, a push lists the slot
//! before it counts it, and a flush lists a slot in its slab before it drops it here, so a kill leaves the slot listed
//! or in the caller's hands, never both.

use super::{CpuCache, MAGAZINE_SLOTS};
use crate::knobs::window;
use crate::sync::Ordering::{Relaxed, Release};
use crate::sync::{AtomicU64, commit};

const MASK: usize = MAGAZINE_SLOTS - 1;

/// A place of a magazine that is free, in the hands of the magazine's own thread.
pub struct Room<'a> {
    cache: &'a CpuCache,
    top: u32,
}

impl Room<'_> {
    /// Lists the slot at `offset` as free.
    ///
    /// # Safety
    ///
    /// - As [`crate::Pool::free`], for the CPU and the class that the place is of.
    /// - Nothing was taken from the magazine or put into it since the place was asked for.
    /// - Under [`crate::Scrub::OnFree`] all bytes of the slot are zero.
    #[inline(always)]
    #[expect(unsafe_code, reason = "the slot is the caller's until now")]
    pub unsafe fn put(self, offset: u64) {
        self.fill(offset);
    }

    #[inline(always)]
    fn fill(self, slot: u64) {
        self.cache.entry(self.top).store(slot, Relaxed);
        self.cache.top.store(self.top.wrapping_add(1), Release);
    }
}

impl CpuCache {
    /// Takes the hottest slot.
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<u64> {
        let top = self.top.load(Relaxed);
        if top == self.bottom.load(Relaxed) {
            return None;
        }
        let top = top.wrapping_sub(1);
        let slot = self.entry(top).load(Relaxed);
        self.top.store(top, Release);
        commit();
        Some(slot)
    }

    /// The next place; `None` where the magazine is full.
    #[inline(always)]
    pub(crate) fn room(&self) -> Option<Room<'_>> {
        let top = self.top.load(Relaxed);
        if top == self.limit.load(Relaxed) { None } else { Some(Room { cache: self, top }) }
    }

    /// Lists a free slot; false where the magazine is full.
    #[inline(always)]
    pub(crate) fn push(&self, slot: u64) -> bool {
        self.room().map(|room| room.fill(slot)).is_some()
    }

    /// Entry `n`, whether or not it is listed.
    #[inline(always)]
    pub(crate) fn entry(&self, n: u32) -> &AtomicU64 {
        &self.slots[n as usize & MASK]
    }

    /// The slot that `pop` would take.
    #[inline]
    pub(crate) fn hottest(&self) -> Option<u64> {
        let top = self.top.load(Relaxed);
        if self.is_empty() { None } else { Some(self.entry(top.wrapping_sub(1)).load(Relaxed)) }
    }

    /// True where it lists nothing.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.nr() == 0
    }

    /// Slots listed.
    #[inline]
    pub(crate) fn nr(&self) -> u32 {
        self.top.load(Relaxed).wrapping_sub(self.bottom.load(Relaxed))
    }

    /// Slots that fit.
    #[inline]
    pub(crate) fn capacity(&self) -> u32 {
        self.limit.load(Relaxed).wrapping_sub(self.bottom.load(Relaxed))
    }

    /// Lists `count_ones` of `mask`: bit `n` stands for the slot at `first + n * stride`, and the lowest comes out first.
    ///
    /// The caller sees to it that they fit.
    #[inline]
    pub(crate) fn push_word(&self, first: u64, stride: u64, mask: u64) {
        let mut top = self.top.load(Relaxed);
        let mut rest = mask;
        while rest != 0 {
            // A run of neighbours at a time: within it the next slot is a subtraction away.
            let highest = 63 - rest.leading_zeros();
            let len = (rest << (63 - highest)).leading_ones();
            let mut slot = first.wrapping_add(u64::from(highest).wrapping_mul(stride));
            for _ in 0..len {
                self.entry(top).store(slot, Relaxed);
                slot = slot.wrapping_sub(stride);
                top = top.wrapping_add(1);
            }
            rest &= !(u64::MAX.checked_shl(highest + 1 - len).unwrap_or(0));
        }
        debug_assert!(top.wrapping_sub(self.bottom.load(Relaxed)) <= self.capacity(), "a magazine runs over");
        self.top.store(top, Release);
    }

    /// Drops the entries below `bottom`: they are listed in their slabs or in the accumulator by now.
    #[inline]
    pub(crate) fn drop_below(&self, bottom: u32) {
        window();
        let capacity = self.capacity();
        self.bottom.store(bottom, Release);
        self.limit.store(bottom.wrapping_add(capacity), Relaxed);
    }

    /// Makes room for `capacity` slots, of which it may list some. The caller sees to it that no more are listed before the next push.
    pub(crate) fn set_capacity(&self, capacity: u32) {
        self.limit.store(self.bottom.load(Relaxed).wrapping_add(capacity), Relaxed);
    }

    /// Makes it list nothing, in one store, and have room for `capacity` slots.
    pub(crate) fn open(&self, capacity: u32) {
        let top = self.top.load(Relaxed);
        self.bottom.store(top, Release);
        self.limit.store(top.wrapping_add(capacity.min(MAGAZINE_SLOTS as u32)), Relaxed);
    }
}
