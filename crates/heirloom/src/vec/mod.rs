//! `Vec`: a growing array in the heap.
//!
//! ```text
//!  0  start      address of the block; the alignment of T if there is none
//!  8  capacity   values that the block has room for; 0 without a block, and always 0 if T has no bytes
//! 16  len        values at the front of the block that are live
//! 24
//! ```
//!
//! The block is allocated with the layout of `[T; capacity]`. `buffer` owns it and knows sizes only; the values are this
//! module's.

#![expect(unsafe_code, reason = "moves values into and out of the block")]

pub(crate) mod buffer;
mod drain;
mod extend;
mod into_iter;
mod traits;
mod transact;

use std::mem::ManuallyDrop;
use std::ops::{Bound, Range, RangeBounds};
use std::{ptr, slice};

pub use drain::Drain;
pub use into_iter::IntoIter;
pub use transact::TxVec;

use crate::alloc::AllocError;
use crate::boxed::BoxSlice;
use crate::heritable::{Heritable, TypeDesc};
use crate::or_panic;
use crate::whole::{self, Place, guarded, step};
use buffer::Buffer;

/// Version of the layout of [`Vec`].
pub const FORMAT_VERSION: u32 = 1;

/// A growing array of values that lie side by side in the heap.
///
/// # Invariants
///
/// `len` is at most the capacity, and the first `len` values of the block are live and owned.
#[repr(C)]
pub struct Vec<T> {
    buffer: Buffer<T>,
    len: u64,
}

const _: () = assert!(size_of::<Vec<u8>>() == 24 && align_of::<Vec<u8>>() == 8);
const _: () = assert!(std::mem::offset_of!(Vec<u8>, len) == 16);
const _: () = assert!(size_of::<usize>() == 8, "lengths are kept as 64 bits");

// SAFETY: a vector owns its values and shares nothing else.
unsafe impl<T: Send> Send for Vec<T> {}
// SAFETY: a shared vector gives out nothing but `&T`.
unsafe impl<T: Sync> Sync for Vec<T> {}

// SAFETY: the values lie in a block of the heap, are owned, and described by their own type.
unsafe impl<T: Heritable> Heritable for Vec<T> {
    const TYPE: &'static TypeDesc =
        &TypeDesc::collection("Vec", FORMAT_VERSION, size_of::<Self>(), align_of::<Self>(), &[T::TYPE]);
}

impl<T> Vec<T> {
    /// Creates an empty vector, which has no block.
    #[inline]
    pub const fn new() -> Self {
        Self { buffer: Buffer::new(), len: 0 }
    }

    /// Creates an empty vector with room for at least `capacity` values.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn with_capacity(capacity: usize) -> Self {
        or_panic(Self::try_with_capacity(capacity))
    }

    /// Creates an empty vector with room for at least `capacity` values.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full.
    #[inline]
    pub fn try_with_capacity(capacity: usize) -> Result<Self, AllocError> {
        Ok(Self { buffer: Buffer::try_with_capacity(capacity)?, len: 0 })
    }

    /// Returns how many values the vector can hold without growing.
    #[inline]
    pub const fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Returns how many values the vector holds.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Returns whether the vector holds nothing.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the address of the first value.
    #[inline]
    pub const fn as_ptr(&self) -> *const T {
        self.buffer.start().cast_const()
    }

    /// Returns the address of the first value.
    #[inline]
    pub const fn as_mut_ptr(&mut self) -> *mut T {
        self.buffer.start()
    }

    /// Returns the values as a slice.
    #[inline]
    pub const fn as_slice(&self) -> &[T] {
        // SAFETY: by the type invariant the first `len` values are live, and `self` is borrowed as long as they are.
        unsafe { slice::from_raw_parts(self.as_ptr(), self.len()) }
    }

    /// Returns the values as a slice.
    #[inline]
    pub const fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as for `as_slice`, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.as_mut_ptr(), self.len()) }
    }

    /// Declares that the first `len` values are live.
    ///
    /// # Safety
    ///
    /// - `len` is at most the capacity.
    /// - The first `len` values are live.
    #[inline]
    pub const unsafe fn set_len(&mut self, len: usize) {
        debug_assert!(len <= self.capacity());
        self.len = len as u64;
    }

    /// Makes room for at least `additional` more values.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn reserve(&mut self, additional: usize) {
        or_panic(self.try_reserve(additional));
    }

    /// Makes room for at least `additional` more values.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the vector is then unchanged.
    #[inline]
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), AllocError> {
        self.buffer.reserve(self.len(), additional)
    }

    /// Makes room for `additional` more values, and no more than their block holds anyway.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn reserve_exact(&mut self, additional: usize) {
        or_panic(self.try_reserve_exact(additional));
    }

    /// Makes room for `additional` more values, and no more than their block holds anyway.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the vector is then unchanged.
    pub fn try_reserve_exact(&mut self, additional: usize) -> Result<(), AllocError> {
        self.buffer.reserve_exact(self.len(), additional)
    }

    /// Gives back the room that is not used; keeps it if the heap is too full for the move.
    pub fn shrink_to_fit(&mut self) {
        let _kept_on_error = self.buffer.shrink(self.len());
    }

    /// Appends a value.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn push(&mut self, value: T) {
        or_panic(self.try_push(value));
    }

    /// Appends a value.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full: `value` is then dropped; who wants to keep it calls
    /// [`try_reserve`](Self::try_reserve) first.
    #[inline]
    pub fn try_push(&mut self, value: T) -> Result<(), AllocError> {
        if self.len() == self.capacity() {
            self.buffer.reserve(self.len(), 1)?;
        }
        // SAFETY: there is room for one more.
        unsafe { self.push_within(value) };
        Ok(())
    }

    /// Takes the last value.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        // Before whatever becomes of the value, or of its place.
        step();
        // SAFETY: the value at the old end was live, and is no longer counted.
        Some(unsafe { self.as_ptr().add(self.len()).read() })
    }

    /// Inserts a value at `index` and moves those behind it up.
    ///
    /// # Panics
    ///
    /// If `index` is beyond the end or the heap is full.
    #[inline]
    pub fn insert(&mut self, index: usize, value: T) {
        or_panic(self.try_insert(index, value));
    }

    /// Inserts a value at `index` and moves those behind it up.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; `value` is then dropped.
    ///
    /// # Panics
    ///
    /// If `index` is beyond the end.
    pub fn try_insert(&mut self, index: usize, value: T) -> Result<(), AllocError> {
        let len = self.len();
        assert!(index <= len, "insertion at {index} of a vector of {len}");
        self.try_reserve(1)?;
        // SAFETY: there is room for one more, so the tail may move up by one; the gap it leaves is written at once.
        unsafe {
            let gap = self.as_mut_ptr().add(index);
            guarded([Place::of(&raw mut self.len, 1), Place::of(gap, len - index)], || {
                ptr::copy(gap, gap.add(1), len - index);
                gap.write(value);
                self.set_len(len + 1);
            });
        }
        Ok(())
    }

    /// Takes the value at `index` and moves those behind it down.
    ///
    /// # Panics
    ///
    /// If there is no such value.
    pub fn remove(&mut self, index: usize) -> T {
        let len = self.len();
        assert!(index < len, "removal at {index} of a vector of {len}");
        // SAFETY: the value at `index` is live; it is read once and its place taken by the tail.
        unsafe {
            let gap = self.as_mut_ptr().add(index);
            let value = gap.read();
            guarded([Place::of(&raw mut self.len, 1), Place::of(gap, len - index)], || {
                ptr::copy(gap.add(1), gap, len - index - 1);
                self.set_len(len - 1);
            });
            value
        }
    }

    /// Takes the value at `index` and puts the last one in its place.
    ///
    /// # Panics
    ///
    /// If there is no such value.
    pub fn swap_remove(&mut self, index: usize) -> T {
        let len = self.len();
        assert!(index < len, "removal at {index} of a vector of {len}");
        // SAFETY: the value is live; it is read once, and its place taken by the last one, which may be the same.
        unsafe {
            let place = self.as_mut_ptr().add(index);
            let value = place.read();
            guarded([Place::of(&raw mut self.len, 1), Place::of(place, 1)], || {
                ptr::copy(self.as_ptr().add(len - 1), place, 1);
                self.set_len(len - 1);
            });
            value
        }
    }

    /// Drops the values from `len` on; does nothing if there are none.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        let tail: *mut [T] = &mut self.as_mut_slice()[len..];
        // SAFETY: the tail is live; it is uncounted first, so that nobody drops it again should one of its values panic.
        unsafe {
            self.set_len(len);
            step();
            ptr::drop_in_place(tail);
        }
    }

    /// Drops all values and keeps the block.
    #[inline]
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Takes the values from `at` on into a vector of their own.
    ///
    /// # Panics
    ///
    /// If `at` is beyond the end or the heap is full.
    pub fn split_off(&mut self, at: usize) -> Self {
        or_panic(self.try_split_off(at))
    }

    /// Takes the values from `at` on into a vector of their own.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the vector is then unchanged.
    ///
    /// # Panics
    ///
    /// If `at` is beyond the end.
    pub fn try_split_off(&mut self, at: usize) -> Result<Self, AllocError> {
        let len = self.len();
        assert!(at <= len, "split at {at} of a vector of {len}");
        let mut tail = Self::try_with_capacity(len - at)?;
        // SAFETY: `tail` has room for the values behind `at`, which are live and no longer counted here.
        unsafe {
            self.set_len(at);
            ptr::copy_nonoverlapping(self.as_ptr().add(at), tail.as_mut_ptr(), len - at);
            tail.set_len(len - at);
        }
        Ok(tail)
    }

    /// Keeps the values for which `keep` returns true, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.retain_mut(|value| keep(value));
    }

    /// Keeps the values for which `keep` returns true, in order.
    ///
    /// If `keep` panics, the vector still holds every value.
    pub fn retain_mut(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        let mut kept = 0;
        for index in 0..self.len() {
            if keep(&mut self[index]) {
                self.swap_values(kept, index);
                kept += 1;
            }
        }
        self.truncate(kept);
    }

    fn swap_values(&mut self, one: usize, other: usize) {
        assert!(one < self.len() && other < self.len());
        // Both from one address: two borrows of the slice would each end the other.
        let start = self.as_mut_ptr();
        // SAFETY: both are values of this vector.
        unsafe { whole::swap(start.add(one), start.add(other)) };
    }

    /// Drops each value for which `same(value, kept)` returns true of the one kept before it.
    pub fn dedup_by(&mut self, mut same: impl FnMut(&mut T, &mut T) -> bool) {
        let mut kept = 0;
        for index in 0..self.len() {
            let (front, rest) = self.split_at_mut(index);
            if kept == 0 || !same(&mut rest[0], &mut front[kept - 1]) {
                self.swap_values(kept, index);
                kept += 1;
            }
        }
        self.truncate(kept);
    }

    /// Drops each value whose key equals that of the one kept before it.
    pub fn dedup_by_key<K: PartialEq>(&mut self, mut key: impl FnMut(&mut T) -> K) {
        self.dedup_by(|value, kept| key(value) == key(kept));
    }

    /// Drops each value that equals the one kept before it.
    pub fn dedup(&mut self)
    where
        T: PartialEq,
    {
        self.dedup_by(|value, kept| value == kept);
    }

    /// Takes the values of `range` out, one by one; those that are left when the iterator goes are dropped.
    ///
    /// # Panics
    ///
    /// If the range is reversed or reaches beyond the end.
    pub fn drain(&mut self, range: impl RangeBounds<usize>) -> Drain<'_, T> {
        let range = resolve(range, self.len());
        Drain::new(self, range)
    }

    /// Appends a value for which there is room.
    ///
    /// # Safety
    ///
    /// The length is below the capacity.
    #[inline(always)]
    unsafe fn push_within(&mut self, value: T) {
        debug_assert!(self.len() < self.capacity());
        // SAFETY: the caller answers for the room, and the place is not live yet.
        unsafe { self.as_mut_ptr().add(self.len()).write(value) };
        step();
        self.len += 1;
    }

    /// Builds a vector from its parts.
    ///
    /// # Safety
    ///
    /// They are those of a vector that is never used again, but for a `len` up to which all values are live.
    #[inline]
    pub(crate) const unsafe fn from_parts(start: *mut T, len: usize, capacity: usize) -> Self {
        // SAFETY: the caller's duty.
        Self { buffer: unsafe { Buffer::from_parts(start, capacity) }, len: len as u64 }
    }

    /// Takes the vector apart without dropping anything.
    pub(crate) fn into_parts(self) -> (Buffer<T>, usize) {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is never used again, so the buffer has one owner.
        (unsafe { ptr::read(&raw const this.buffer) }, this.len())
    }
}

impl<T> Vec<T> {
    /// Turns the vector into a slice that does not grow, which needs 8 bytes less and no room to spare.
    ///
    /// # Panics
    ///
    /// If the heap is too full for a move to a smaller block.
    pub fn into_boxed_slice(self) -> BoxSlice<T> {
        self.into()
    }
}

impl<T> Drop for Vec<T> {
    #[inline]
    fn drop(&mut self) {
        let values: *mut [T] = self.as_mut_slice();
        // SAFETY: the values are live and not used again; the buffer is dropped after them, and even if one panics.
        unsafe { ptr::drop_in_place(values) };
    }
}

/// Turns bounds into a range of a collection of `len` values.
///
/// # Panics
///
/// If the range is reversed or reaches beyond the end.
pub(crate) fn resolve(range: impl RangeBounds<usize>, len: usize) -> Range<usize> {
    let start = match range.start_bound() {
        Bound::Included(&start) => Some(start),
        Bound::Excluded(&before) => before.checked_add(1),
        Bound::Unbounded => Some(0),
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.checked_add(1),
        Bound::Excluded(&end) => Some(end),
        Bound::Unbounded => Some(len),
    };
    match (start, end) {
        (Some(start), Some(end)) if start <= end && end <= len => start..end,
        _ => panic!("a range does not lie within 0..{len}"),
    }
}

#[cfg(test)]
mod tests;
