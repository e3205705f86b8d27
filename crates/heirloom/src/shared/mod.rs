//! Shared ownership: [`Rc`](crate::rc::Rc) for one thread and [`Arc`](crate::arc::Arc) for many, and their weak kin.
//!
//! ```text
//! Rc, Arc, Weak                 block of { counts, T } as laid out in C
//! 0  block  address  ------->   0  counts   low half: strong; high half: weak, and one more as long as strong is not 0
//! 8                             8  value    at the first multiple of its alignment from 8 on; live while strong is not 0
//! ```
//!
//! A pointer that leads nowhere, as `Weak::new()` makes it, holds the alignment of the block. Both counts are one word, so that `get_mut` sees
//! both at one moment, without the lock that std's takes: a kill could leave that locked.
//!
//! # What a kill in the middle leaves
//!
//! At most a leak, never a pointer to memory that is free:
//!
//! - A clone counts itself before its pointer is stored anywhere. Killed between the two, the count is one too high.
//! - A drop makes its pointer lead nowhere before it counts down. Killed between the two, the count is one too high, and where the pointer
//!   lay is one that leads nowhere: using it panics, cloning and dropping it does nothing.
//! - The last strong one drops the value after the count has become 0, and gives the block back last. Killed in between, the value is half
//!   dropped and nobody reaches it; its block leaks, and what the value owned.
//!
//! Leak tracing finds what leaked. The counts cannot be mended in place: a count that is too high keeps a value until its pool goes.

#![expect(unsafe_code, reason = "owns a block together with others")]

mod count;
mod traits;
mod weak;

use std::alloc::Layout;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::*, compiler_fence, fence};

pub use count::{Atomic, Count, Local};
pub use weak::Weak;

use crate::alloc::{self, AllocError};
use crate::heritable::{Heritable, TypeDesc, ZeroNiche};
use crate::or_panic;
use count::ONE_WEAK;

/// Version of the layout of the pointers and of their blocks.
pub const FORMAT_VERSION: u32 = 1;

/// Owns one value together with other pointers to it, counted by `C`.
///
/// # Invariants
///
/// The pointer is the aligned nowhere, or names a block in which this pointer is counted as strong.
// Transparent, so that `None` of an `Option` of it is promised to be zero.
#[repr(transparent)]
pub struct Shared<T, C: Count> {
    block: NonNull<Block<T>>,
    owns: PhantomData<(Block<T>, C)>,
}

/// What the pointers name.
#[repr(C)]
struct Block<T> {
    counts: AtomicU64,
    value: MaybeUninit<T>,
}

const _: () = assert!(size_of::<Shared<u8, Local>>() == 8 && size_of::<Option<Shared<u8, Atomic>>>() == 8);
const _: () = assert!(size_of::<Block<u64>>() == 16 && std::mem::offset_of!(Block<u8>, value) == 8);
const _: () = assert!(std::mem::offset_of!(Block<u128>, value) == 16);

// SAFETY: a pointer that counts atomically may go to another thread, where it gives out `&T` and may drop the `T`.
unsafe impl<T: Send + Sync> Send for Shared<T, Atomic> {}
// SAFETY: as above; a shared one can be cloned.
unsafe impl<T: Send + Sync> Sync for Shared<T, Atomic> {}

// SAFETY: the value lies in a block of the heap, is owned by its pointers, and described by its own type.
unsafe impl<T: Heritable, C: Count> Heritable for Shared<T, C> {
    const TYPE: &'static TypeDesc =
        &TypeDesc::collection(C::STRONG, FORMAT_VERSION, size_of::<Self>(), align_of::<Self>(), &[T::TYPE]);
}

// SAFETY: the pointer is never null, and the only field; the language promises that `Option` makes use of that.
unsafe impl<T: Heritable, C: Count> ZeroNiche for Shared<T, C> {}

impl<T, C: Count> Shared<T, C> {
    /// Moves `value` into the heap.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn new(value: T) -> Self {
        or_panic(Self::try_new(value))
    }

    /// Moves `value` into the heap.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; `value` is then dropped.
    #[inline]
    pub fn try_new(value: T) -> Result<Self, AllocError> {
        let block = allocate(ONE_WEAK | 1)?;
        // SAFETY: the block is new, so nobody else uses it.
        unsafe { (&raw mut (*block.as_ptr()).value).write(MaybeUninit::new(value)) };
        // INVARIANT: it starts with one strong pointer, this one.
        Ok(Self { block, owns: PhantomData })
    }

    /// Moves what `value` returns into the heap; it is given a weak pointer to where that will be, so that the value can hold one to itself.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn new_cyclic(value: impl FnOnce(&Weak<T, C>) -> T) -> Self {
        let block = or_panic(allocate::<T>(ONE_WEAK));
        // SAFETY: the block has no value yet, and one weak pointer, this one; should `value` panic, it gives the block back.
        let weak = unsafe { Weak::from_block(block) };
        let value = value(&weak);
        // SAFETY: as the strong count is 0 nobody looks at the value; the weak pointer becomes the one that all strong ones have.
        unsafe {
            (&raw mut (*block.as_ptr()).value).write(MaybeUninit::new(value));
            // Another thread may have been given a weak pointer, and sees the value once it sees the count.
            fence(Release);
            C::add(&(*block.as_ptr()).counts, 1);
        }
        std::mem::forget(weak);
        Self { block, owns: PhantomData }
    }

    /// Makes a weak pointer to the same value.
    #[inline]
    pub fn downgrade(this: &Self) -> Weak<T, C> {
        match this.block() {
            Some(block) => {
                C::add(&block.counts, ONE_WEAK);
                // SAFETY: it has just been counted.
                unsafe { Weak::from_block(this.block) }
            }
            None => Weak::new(),
        }
    }

    /// Returns how many strong pointers there are; with other threads about it may be another number by now.
    pub fn strong_count(this: &Self) -> usize {
        this.block().map_or(0, |block| count::strong(block.counts.load(Relaxed)))
    }

    /// Returns how many weak pointers there are; with other threads about it may be another number by now.
    pub fn weak_count(this: &Self) -> usize {
        this.block().map_or(0, |block| count::weak(block.counts.load(Relaxed)))
    }

    /// Returns whether two pointers name the same value.
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        this.block == other.block
    }

    /// Returns the address of the value.
    pub fn as_ptr(this: &Self) -> *const T {
        std::ptr::from_ref(&**this)
    }

    /// Returns the value if nobody else has a pointer to it, not even a weak one.
    #[inline]
    pub fn get_mut(this: &mut Self) -> Option<&mut T> {
        let block = this.block()?;
        // Whoever gave a pointer up did so with everything it had done to the value before.
        if block.counts.load(Acquire) != ONE_WEAK | 1 {
            return None;
        }
        // SAFETY: this is the only pointer, it is borrowed mutably, and a strong one has a live value.
        Some(unsafe { (*this.block.as_ptr()).value.assume_init_mut() })
    }

    /// Takes the value out if this is the only strong pointer; gives the pointer back if not.
    ///
    /// # Errors
    ///
    /// The pointer, if there are other strong ones.
    pub fn try_unwrap(this: Self) -> Result<T, Self> {
        let Some(block) = this.block() else { return Err(this) };
        if !C::give_up_last(&block.counts) {
            return Err(this);
        }
        let this = ManuallyDrop::new(this);
        // SAFETY: the strong count went from 1 to 0 just now, so the value is live, ours alone, and read once; the weak pointer that the strong
        // ones had is dropped.
        unsafe {
            let value = (*this.block.as_ptr()).value.assume_init_read();
            drop(Weak::<T, C>::from_block(this.block));
            Ok(value)
        }
    }

    /// Takes the value out if this is the only strong pointer; else drops the pointer. Where several threads do so with the last pointers
    /// there are, exactly one gets the value.
    pub fn into_inner(this: Self) -> Option<T> {
        let mut this = ManuallyDrop::new(this);
        // Counted down first: of two who looked first, each might see the other.
        let block = let_go(&mut this.block)?;
        // SAFETY: this pointer was counted until now, so the block is there. Where the strong count went to 0 just now, the value is live, ours
        // alone, and read once; the weak pointer that the strong ones had is dropped.
        unsafe {
            if !C::subtract(&(*block.as_ptr()).counts, 1) {
                return None;
            }
            let value = (*block.as_ptr()).value.assume_init_read();
            drop(Weak::<T, C>::from_block(block));
            Some(value)
        }
    }

    /// Takes the value out if this is the only strong pointer; else clones it.
    pub fn unwrap_or_clone(this: Self) -> T
    where
        T: Clone,
    {
        Self::try_unwrap(this).unwrap_or_else(|this| T::clone(&this))
    }

    /// Returns the value, after moving to a clone of it if others have a pointer to it.
    ///
    /// # Panics
    ///
    /// If there are others and the heap is full.
    pub fn make_mut(this: &mut Self) -> &mut T
    where
        T: Clone,
    {
        if Self::get_mut(this).is_none() {
            let own = Self::new(T::clone(this));
            *this = own;
        }
        Self::get_mut(this).expect("nobody else has this pointer")
    }

    /// Returns the block, unless the pointer leads nowhere.
    #[inline(always)]
    fn block(&self) -> Option<&Block<T>> {
        if self.block == NonNull::dangling() {
            return None;
        }
        // SAFETY: by the type invariant the pointer names a block, which stays as long as this pointer is counted.
        Some(unsafe { self.block.as_ref() })
    }
}

impl<T, C: Count> Clone for Shared<T, C> {
    #[inline]
    fn clone(&self) -> Self {
        if let Some(block) = self.block() {
            C::add(&block.counts, 1);
            compiler_fence(SeqCst);
        }
        // INVARIANT: it has just been counted.
        Self { block: self.block, owns: PhantomData }
    }
}

impl<T, C: Count> Drop for Shared<T, C> {
    #[inline]
    fn drop(&mut self) {
        let Some(block) = let_go(&mut self.block) else { return };
        // SAFETY: this pointer is counted until now, so the block is there.
        let counts = unsafe { &(*block.as_ptr()).counts };
        if C::subtract(counts, 1) {
            // SAFETY: the strong count went from 1 to 0 just now.
            unsafe { drop_value::<T, C>(block) };
        }
    }
}

/// Drops the value of a block whose last strong pointer goes, and the weak one that all strong ones had.
///
/// # Safety
///
/// The strong count of the block has just become 0.
#[cold]
#[inline(never)]
unsafe fn drop_value<T, C: Count>(block: NonNull<Block<T>>) {
    // SAFETY: the strong ones were counted as one weak pointer, which goes last, even if the value panics while it is dropped.
    unsafe {
        let _weak = Weak::<T, C>::from_block(block);
        (*block.as_ptr()).value.assume_init_drop();
    }
}

/// Makes a pointer lead nowhere and returns where it led, unless that was nowhere.
///
/// The store is volatile, for nobody but a successor looks at the pointer after it.
#[inline(always)]
fn let_go<T>(place: &mut NonNull<Block<T>>) -> Option<NonNull<Block<T>>> {
    let block = *place;
    if block == NonNull::dangling() {
        return None;
    }
    // SAFETY: it is a place of ours.
    unsafe { std::ptr::from_mut(place).write_volatile(NonNull::dangling()) };
    compiler_fence(SeqCst);
    Some(block)
}

/// Allocates a block without a value.
fn allocate<T>(counts: u64) -> Result<NonNull<Block<T>>, AllocError> {
    let block: NonNull<Block<T>> = alloc::allocate(Layout::new::<Block<T>>())?.cast();
    // SAFETY: the block is new, aligned and large enough.
    unsafe { (&raw mut (*block.as_ptr()).counts).write(AtomicU64::new(counts)) };
    Ok(block)
}

#[cfg(test)]
mod tests;
