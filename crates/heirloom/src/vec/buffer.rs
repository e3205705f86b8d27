//! The block behind a `Vec`: room for `capacity` values, of which it knows none.
//!
//! Every size is worked out in safe code; a choice becomes memory in `try_with_capacity`, `resize` and `drop`.
//!
//! # A kill while it grows
//!
//! ```text
//! allocate new -> copy -> start and capacity = new, one store -> give the old block back
//!              ^ a leak                                       ^ a leak of the old one
//! grow in place     the block, then the capacity         shrink in place     the capacity, then the block
//! ```
//!
//! So at no instant the words name memory that is free, or more than there is. The pool's `alloc_into`, which would close the first window, is no help: it makes the place
//! name the new block before anything has been copied there, and a block without the values is worse than a leak.

#![expect(unsafe_code, reason = "owns the block that its pointer names")]

use std::alloc::Layout;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr;
use std::ptr::NonNull;

use crate::alloc::{self, AllocError};
use crate::whole::{self, step};

/// Room for values of `T`.
///
/// # Invariants
///
/// - If `T` has no bytes or `capacity` is 0, there is no block and `start` is the aligned nowhere.
/// - Else `start` names a block that was allocated with the layout of `[T; capacity]`.
#[repr(C)]
pub(crate) struct Buffer<T> {
    start: NonNull<T>,
    capacity: u64,
    owns: PhantomData<T>,
}

const _: () = assert!(size_of::<Buffer<u8>>() == 16 && std::mem::offset_of!(Buffer<u8>, capacity) == 8);

impl<T> Buffer<T> {
    /// The least room that growing gives: a few values, but no more than a page of large ones.
    const LEAST: usize = match size_of::<T>() {
        0 | 1 => 16,
        2..=1024 => 4,
        _ => 1,
    };

    #[inline]
    pub(crate) const fn new() -> Self {
        Self { start: NonNull::dangling(), capacity: 0, owns: PhantomData }
    }

    /// Makes a buffer with room for at least `wanted` values; no block is made for none.
    #[inline]
    pub(crate) fn try_with_capacity(wanted: usize) -> Result<Self, AllocError> {
        if size_of::<T>() == 0 || wanted == 0 {
            return Ok(Self::new());
        }
        Self::try_with_block(fitting::<T>(wanted)?)
    }

    /// Makes a buffer with a block for `capacity` values, which is what such a block holds: neither it nor a value has no bytes.
    #[inline]
    fn try_with_block(capacity: usize) -> Result<Self, AllocError> {
        let layout = Layout::array::<T>(capacity).map_err(|_| AllocError::TOO_LARGE)?;
        // INVARIANT: the block is allocated with exactly this layout.
        Ok(Self { start: alloc::allocate(layout)?.cast(), capacity: capacity as u64, owns: PhantomData })
    }

    /// Builds a buffer from its parts.
    ///
    /// # Safety
    ///
    /// They are those of a buffer that is never used again.
    #[inline]
    pub(crate) const unsafe fn from_parts(start: *mut T, capacity: usize) -> Self {
        // SAFETY: the start of a buffer is never null.
        let start = unsafe { NonNull::new_unchecked(start) };
        let capacity = if size_of::<T>() == 0 { 0 } else { capacity as u64 };
        Self { start, capacity, owns: PhantomData }
    }

    #[inline]
    pub(crate) const fn start(&self) -> *mut T {
        self.start.as_ptr()
    }

    #[inline]
    pub(crate) const fn capacity(&self) -> usize {
        if size_of::<T>() == 0 { usize::MAX } else { self.capacity as usize }
    }

    /// Makes room for `additional` more values than `len`, and for more than that if the room must grow.
    #[inline]
    pub(crate) fn reserve(&mut self, len: usize, additional: usize) -> Result<(), AllocError> {
        if additional > self.capacity().wrapping_sub(len) { self.grow(len, additional) } else { Ok(()) }
    }

    /// Makes room for `additional` more values than `len`, and for no more than the block must hold anyway.
    pub(crate) fn reserve_exact(&mut self, len: usize, additional: usize) -> Result<(), AllocError> {
        if additional <= self.capacity().wrapping_sub(len) {
            return Ok(());
        }
        let needed = len.checked_add(additional).ok_or(AllocError::TOO_LARGE)?;
        self.resize(needed)
    }

    /// Gives back the room beyond `len` values.
    pub(crate) fn shrink(&mut self, len: usize) -> Result<(), AllocError> {
        debug_assert!(len <= self.capacity());
        if len == 0 {
            drop(self.adopt(Self::new()));
            return Ok(());
        }
        let wanted = fitting::<T>(len)?;
        if wanted < self.capacity() { self.resize(len) } else { Ok(()) }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, len: usize, additional: usize) -> Result<(), AllocError> {
        let needed = len.checked_add(additional).ok_or(AllocError::TOO_LARGE)?;
        let doubled = self.capacity().saturating_mul(2);
        match self.resize(needed.max(doubled).max(Self::LEAST)) {
            Err(_) if doubled > needed => self.resize(needed),
            outcome => outcome,
        }
    }

    /// Moves to a block for at least `wanted` values, which is not zero; `self` is unchanged on an error.
    fn resize(&mut self, wanted: usize) -> Result<(), AllocError> {
        if size_of::<T>() == 0 {
            // A value without bytes has unbounded room already, so only an overflow of the count leads here.
            return Err(AllocError::TOO_LARGE);
        }
        let capacity = fitting::<T>(wanted)?;
        if self.resize_in_place(capacity) {
            return Ok(());
        }
        let before = self.block();
        if before.is_some_and(|(block, _)| !alloc::is_here(block)) {
            // It outlived its heap: what it held is not there to be moved.
            return Err(AllocError { size_bytes: capacity.saturating_mul(size_of::<T>()) });
        }
        let new = Self::try_with_block(capacity)?;
        if let (Some((block, old)), Some((start, layout))) = (before, new.block()) {
            // SAFETY: both blocks hold the smaller of the sizes, and they are two.
            unsafe { start.as_ptr().copy_from_nonoverlapping(block.as_ptr(), old.size().min(layout.size())) };
        }
        drop(self.adopt(new));
        Ok(())
    }

    /// Takes another block in this one's place, in one store, and returns this one.
    #[inline]
    pub(crate) fn adopt(&mut self, new: Self) -> Self {
        let new = ManuallyDrop::new(new);
        let old = Self { start: self.start, capacity: self.capacity, owns: PhantomData };
        // SAFETY: by the layout the two words are `start` and `capacity`.
        unsafe { whole::address_and_word(ptr::from_mut(self).cast(), new.start.as_ptr(), new.capacity) };
        old
    }

    /// Makes room for more values as `reserve` does, if the block can stay where it is; says whether it did.
    pub(crate) fn grow_in_place(&mut self, len: usize, additional: usize) -> bool {
        let Some(needed) = len.checked_add(additional) else { return false };
        fitting::<T>(needed.max(self.capacity().saturating_mul(2)))
            .is_ok_and(|capacity| self.resize_in_place(capacity))
    }

    /// Returns how many values a block holds that is made for `len` of them.
    pub(crate) fn holds_when_made_for(len: usize) -> usize {
        fitting::<T>(len).unwrap_or(usize::MAX)
    }

    /// Resizes the block for `capacity` values, which is what such a block holds, if it can stay where it is.
    fn resize_in_place(&mut self, capacity: usize) -> bool {
        let (Some((block, old)), Ok(new)) = (self.block(), Layout::array::<T>(capacity)) else {
            return false;
        };
        let (before, shrinks) = (self.capacity, new.size() < old.size());
        if shrinks {
            if !(alloc::is_large(old) && alloc::is_large(new)) {
                return false;
            }
            // What a kill leaves says less than there is.
            self.capacity = capacity as u64;
        }
        step();
        // SAFETY: by the type invariant this is the layout of our own block; who shrinks it uses no more than the new size.
        let stays = new.size() != 0 && unsafe { alloc::resize_in_place(block, old, new.size()) };
        step();
        // INVARIANT: the block has this layout now.
        self.capacity = if stays { capacity as u64 } else { before };
        stays
    }

    /// Returns the block and its layout, if there is one.
    #[inline]
    fn block(&self) -> Option<(NonNull<u8>, Layout)> {
        if size_of::<T>() == 0 || self.capacity == 0 {
            return None;
        }
        let size = self.capacity as usize * size_of::<T>();
        // SAFETY: the same size and alignment passed `Layout::array` when the block was allocated.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align_of::<T>()) };
        Some((self.start.cast(), layout))
    }
}

impl<T> Drop for Buffer<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some((block, layout)) = self.block() {
            // SAFETY: by the type invariant the block is ours and has this layout; `self` is going.
            unsafe { alloc::deallocate(block, layout) };
        }
    }
}

/// Returns how many values the block for `wanted` of them would really hold.
#[inline]
fn fitting<T>(wanted: usize) -> Result<usize, AllocError> {
    let layout = Layout::array::<T>(wanted).map_err(|_| AllocError::TOO_LARGE)?;
    Ok(alloc::usable_size(layout) / size_of::<T>().max(1))
}
