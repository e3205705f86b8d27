//! A CPU's (a thread's) slot: for each cache a magazine, and the list of slabs that it owns and that have room.
//!
//! ```text
//! CpuSlot                    lock, tag, accumulator
//!   CpuCache 0               magazine [s s s s . . . .], partial list, pending list
//!   CpuCache 1               ...
//! ```
//!
//! The magazine is popped and pushed by its own thread alone, without the lock; whoever does anything else here
//! holds the lock. All of it lies in preserved memory: what a magazine lists stays listed after a kill.

mod magazine;

use core::ops::Deref;

#[cfg(not(loom))]
pub(crate) use heirloom_abi::pool::MAGAZINE_SLOTS;

pub use magazine::Room;

use crate::slab::Accumulator;
use crate::sync::{self, AtomicU32, AtomicU64, Ordering::*};

/// Few, so that a model has few states.
#[cfg(loom)]
pub(crate) const MAGAZINE_SLOTS: usize = 4;

/// `heirloom_abi::pool::CpuRecord` with atomics.
#[repr(C, align(64))]
pub(crate) struct CpuSlot {
    pub(crate) lock: AtomicU32,
    pub(crate) inside: core::sync::atomic::AtomicU32,
    pub(crate) tag: AtomicU64,
    pub(crate) out_slab: AtomicU64,
    pub(crate) out_word: AtomicU64,
    pub(crate) out_mask: AtomicU64,
    pub(crate) place: AtomicU64,
    pub(crate) placed: AtomicU64,
    pub(crate) diary: core::sync::atomic::AtomicU64,
}

/// `heirloom_abi::pool::CpuCacheRecord` with atomics.
#[repr(C, align(64))]
pub(crate) struct CpuCache {
    pub(crate) top: AtomicU32,
    pub(crate) bottom: AtomicU32,
    pub(crate) limit: AtomicU32,
    pub(crate) nr_partial: AtomicU32,
    pub(crate) partial: AtomicU64,
    pub(crate) pending: AtomicU64,
    pub(crate) search: AtomicU32,
    pub(crate) refilled: AtomicU32,
    pub(crate) search_stamp: AtomicU64,
    pub(crate) idle_units: AtomicU64,
    pub(crate) given: AtomicU64,
    pub(crate) slots: [AtomicU64; MAGAZINE_SLOTS],
}

/// A CPU slot with its caches.
#[derive(Clone, Copy)]
pub struct Cpu<'a> {
    pub(crate) index: u32,
    pub(crate) slot: &'a CpuSlot,
    pub(crate) caches: &'a [CpuCache],
}

/// The magazines of a CPU's size classes: what a thread keeps at hand for the fast path.
#[derive(Clone, Copy)]
pub struct Magazines<'a>(&'a [CpuCache]);

impl Magazines<'_> {
    /// Takes a free slot of size class `class`: its offset. `None` where the magazine is empty or there is no such class: then
    /// [`crate::Pool::alloc`] knows more.
    #[inline(always)]
    pub fn take(&self, class: usize) -> Option<u64> {
        self.0.get(class)?.pop()
    }

    /// Whether there is such a size class.
    #[inline(always)]
    pub fn has(&self, class: usize) -> bool {
        class < self.0.len()
    }

    /// The next place for a free slot of `class`. `None` where the magazine is full or there is no such class: then
    /// [`crate::Pool::free`] knows more.
    #[inline(always)]
    pub fn room(&self, class: usize) -> Option<Room<'_>> {
        self.0.get(class)?.room()
    }
}

impl<'a> Cpu<'a> {
    /// The magazines of its first `nr_classes` caches.
    pub(crate) fn magazines(&self, nr_classes: usize) -> Magazines<'a> {
        Magazines(&self.caches[..nr_classes.min(self.caches.len())])
    }

    /// Which slot this is.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The word by which the thread says that it is inside. The pool keeps it and never looks at it: what a dead thread
    /// left stands there until somebody clears it.
    #[inline(always)]
    pub fn inside(&self) -> &'a core::sync::atomic::AtomicU32 {
        &self.slot.inside
    }

    /// The place of the thread's diary. The pool keeps it and never looks at it, as [`Cpu::inside`].
    #[inline(always)]
    pub fn diary(&self) -> &'a core::sync::atomic::AtomicU64 {
        &self.slot.diary
    }

    pub(crate) fn accumulator(&self) -> Accumulator<'a> {
        Accumulator { slab: &self.slot.out_slab, word: &self.slot.out_word, mask: &self.slot.out_mask }
    }

    /// Makes the slot and its first `nr_caches` caches such that they list nothing and are in use by nobody.
    pub(crate) fn reset(&self, nr_caches: usize) {
        let slot = self.slot;
        for word in [&slot.out_mask, &slot.out_slab, &slot.out_word, &slot.placed, &slot.place, &slot.tag] {
            word.store(0, Relaxed);
        }
        slot.lock.store(0, Relaxed);
        self.caches.iter().take(nr_caches).for_each(CpuCache::reset);
    }

    pub(crate) fn lock(self, pause: impl Fn()) -> Locked<'a> {
        sync::lock(&self.slot.lock, pause);
        Locked(self)
    }

    pub(crate) fn try_lock(self) -> Option<Locked<'a>> {
        // Made only where the lock was taken: one that is dropped opens it, whoever has it.
        if sync::try_lock(&self.slot.lock) { Some(Locked(self)) } else { None }
    }
}

impl CpuSlot {
    /// One that nobody has, for a test or a model: in a pool it lies in preserved memory, which begins as zeros.
    #[cfg(any(test, loom))]
    pub(crate) fn vacant() -> Self {
        let word = || AtomicU64::new(0);
        Self {
            lock: AtomicU32::new(0),
            inside: core::sync::atomic::AtomicU32::new(0),
            tag: word(),
            out_slab: word(),
            out_word: word(),
            out_mask: word(),
            place: word(),
            placed: word(),
            diary: core::sync::atomic::AtomicU64::new(0),
        }
    }
}

impl CpuCache {
    /// Makes it one that lists nothing and has no room.
    pub(crate) fn reset(&self) {
        // In one store: were the ends of the ring set one by one, a kill in between would leave a magazine of old entries.
        self.open(0);
        for number in [&self.search, &self.nr_partial, &self.refilled] {
            number.store(0, Relaxed);
        }
        for word in [&self.partial, &self.pending, &self.search_stamp, &self.idle_units, &self.given] {
            word.store(0, Relaxed);
        }
    }
}

/// A CPU whose lock is held.
pub(crate) struct Locked<'a>(Cpu<'a>);

impl<'a> Deref for Locked<'a> {
    type Target = Cpu<'a>;

    fn deref(&self) -> &Cpu<'a> {
        &self.0
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.0.slot.lock.store(0, Release);
    }
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    use heirloom_abi::pool::{CpuCacheRecord, CpuRecord};
    assert!(size_of::<CpuSlot>() == size_of::<CpuRecord>());
    assert!(offset_of!(CpuSlot, inside) == offset_of!(CpuRecord, inside));
    assert!(offset_of!(CpuSlot, out_mask) == offset_of!(CpuRecord, out_mask));
    assert!(offset_of!(CpuSlot, diary) == offset_of!(CpuRecord, diary));
    assert!(size_of::<CpuCache>() == size_of::<CpuCacheRecord>());
    assert!(offset_of!(CpuCache, limit) == offset_of!(CpuCacheRecord, limit));
    assert!(offset_of!(CpuCache, pending) == offset_of!(CpuCacheRecord, pending));
    assert!(offset_of!(CpuCache, search_stamp) == offset_of!(CpuCacheRecord, search_stamp));
    assert!(offset_of!(CpuCache, slots) == offset_of!(CpuCacheRecord, slots));
};

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Once a `Locked` was made before it was known whether the lock was taken. Dropped where it was not, it opened the lock of another, which
    /// was in the middle of its slab: slots were lost, and handed out twice, once in some hundred runs of four busy threads.
    #[test]
    fn who_does_not_get_the_lock_leaves_it_as_it_is() {
        let slot = CpuSlot::vacant();
        let cpu = Cpu { index: 0, slot: &slot, caches: &[] };
        let held = cpu.lock(|| ());
        assert!(cpu.try_lock().is_none());
        assert!(cpu.try_lock().is_none(), "the first who failed opened it");
        drop(held);
        let held = cpu.try_lock();
        assert!(held.is_some() && cpu.try_lock().is_none() && cpu.try_lock().is_none());
    }
}
