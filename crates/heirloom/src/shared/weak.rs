//! `Weak`: a pointer that does not keep its value.

#![expect(unsafe_code, reason = "keeps a block together with others")]

use std::alloc::Layout;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::*, compiler_fence};

use super::count::{self, Atomic, Count, ONE_WEAK};
use super::{Block, FORMAT_VERSION, Shared, let_go};
use crate::alloc;
use crate::heritable::{Heritable, TypeDesc, ZeroNiche};

/// Names a value that others own, as long as they do.
///
/// # Invariants
///
/// The pointer is the aligned nowhere, or names a block in which this pointer is counted as weak.
#[repr(transparent)]
pub struct Weak<T, C: Count> {
    block: NonNull<Block<T>>,
    names: PhantomData<(Block<T>, C)>,
}

const _: () = assert!(size_of::<Weak<u8, Atomic>>() == 8);

// SAFETY: a pointer that counts atomically may go to another thread, where it can become a strong one.
unsafe impl<T: Send + Sync> Send for Weak<T, Atomic> {}
// SAFETY: as above; a shared one can be cloned.
unsafe impl<T: Send + Sync> Sync for Weak<T, Atomic> {}

// SAFETY: the block lies in the heap, is kept by its pointers, and its value described by its own type.
unsafe impl<T: Heritable, C: Count> Heritable for Weak<T, C> {
    const TYPE: &'static TypeDesc =
        &TypeDesc::collection(C::WEAK, FORMAT_VERSION, size_of::<Self>(), align_of::<Self>(), &[T::TYPE]);
}

// SAFETY: the pointer is never null, and the only field; the language promises that `Option` makes use of that.
unsafe impl<T: Heritable, C: Count> ZeroNiche for Weak<T, C> {}

impl<T, C: Count> Weak<T, C> {
    /// Creates a pointer that leads nowhere.
    pub const fn new() -> Self {
        Self { block: NonNull::dangling(), names: PhantomData }
    }

    /// Names a block.
    ///
    /// # Safety
    ///
    /// The pointer is counted there already.
    pub(super) unsafe fn from_block(block: NonNull<Block<T>>) -> Self {
        // INVARIANT: the caller's duty.
        Self { block, names: PhantomData }
    }

    /// Makes a strong pointer, if the value is still there.
    #[inline]
    pub fn upgrade(&self) -> Option<Shared<T, C>> {
        let counts = self.counts()?;
        // INVARIANT: it has just been counted.
        C::upgrade(counts).then(|| Shared { block: self.block, owns: PhantomData })
    }

    /// Returns how many strong pointers there are; with other threads about it may be another number by now.
    pub fn strong_count(&self) -> usize {
        self.counts().map_or(0, |counts| count::strong(counts.load(Relaxed)))
    }

    /// Returns whether two pointers name the same block, or none.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.block == other.block
    }

    /// Returns the counts, unless the pointer leads nowhere. No reference covers the value: somebody may be dropping it.
    fn counts(&self) -> Option<&AtomicU64> {
        if self.block == NonNull::dangling() {
            return None;
        }
        // SAFETY: by the type invariant the pointer names a block, which stays as long as this pointer is counted.
        Some(unsafe { &(*self.block.as_ptr()).counts })
    }
}

impl<T, C: Count> Default for Weak<T, C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, C: Count> Clone for Weak<T, C> {
    #[inline]
    fn clone(&self) -> Self {
        if let Some(counts) = self.counts() {
            C::add(counts, ONE_WEAK);
            compiler_fence(SeqCst);
        }
        // INVARIANT: it has just been counted.
        Self { block: self.block, names: PhantomData }
    }
}

impl<T, C: Count> Drop for Weak<T, C> {
    #[inline]
    fn drop(&mut self) {
        let Some(block) = let_go(&mut self.block) else { return };
        // SAFETY: this pointer is counted until now, so the block is there; with the last one it goes, and its value has gone before.
        unsafe {
            if C::subtract(&(*block.as_ptr()).counts, ONE_WEAK) {
                alloc::deallocate(block.cast(), Layout::new::<Block<T>>());
            }
        }
    }
}

impl<T, C: Count> fmt::Debug for Weak<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(Weak)")
    }
}
