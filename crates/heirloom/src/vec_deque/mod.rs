//! `VecDeque`: a ring of values in the heap, which grows at both ends.
//!
//! ```text
//!  0  start      address of the block; the alignment of T if there is none
//!  8  capacity   values that the block has room for; 0 without a block, and always 0 if T has no bytes
//! 16  head       place of the first value, below the capacity; 0 without a block
//! 24  end        place behind the last value, counted on beyond the capacity where the values go around the end of the block
//! 32
//!
//!  block  | 5 | 6 | 7 |   |   | 1 | 2 | 3 | 4 |       value i lies at place head + i, less the capacity if that is beyond it
//!                       ^ free  ^ head                here head = 5, end = 12
//! ```
//!
//! Each end has a word of its own, so that what is done at one of them is there by one store of that word. Version 1 had the length in the place of
//! `end`: what was done at the front changed both words, and an operation had to wait for the two-word store of the one before it.
//! Where `head` goes around the end of the block, and where values are moved within it, both words change, and are stored at once.
//!
//! The block is that of a `Vec` and has the same owner, `buffer`. Capacities are no powers of two, so that a block is used whole.

#![expect(unsafe_code, reason = "moves values into and out of the block")]

mod drain;
mod into_iter;
mod iter;
mod reshape;
mod traits;

use std::ops::RangeBounds;
use std::{ptr, slice};

pub use drain::Drain;
pub use into_iter::IntoIter;
pub use iter::{Iter, IterMut};

use crate::alloc::AllocError;
use crate::heritable::{Heritable, TypeDesc};
use crate::or_panic;
use crate::vec::buffer::Buffer;
use crate::vec::resolve;
use crate::whole::{self, Place, step};

/// Version of the layout of [`VecDeque`].
pub const FORMAT_VERSION: u32 = 2;

/// A queue with two ends, as a ring in one block of the heap.
///
/// # Invariants
///
/// - `head` is below the capacity, or 0, and always 0 if `T` has no bytes; `end` is not below `head`, and beyond it by at most the capacity.
/// - The values from place `head` to place `end`, around the end of the block, are live and owned.
#[repr(C)]
pub struct VecDeque<T> {
    buffer: Buffer<T>,
    head: u64,
    end: u64,
}

const _: () = assert!(size_of::<VecDeque<u8>>() == 32 && align_of::<VecDeque<u8>>() == 8);
const _: () = assert!(std::mem::offset_of!(VecDeque<u8>, head) == 16);
const _: () = assert!(std::mem::offset_of!(VecDeque<u8>, end) == 24);

// SAFETY: a deque owns its values and shares nothing else.
unsafe impl<T: Send> Send for VecDeque<T> {}
// SAFETY: a shared deque gives out nothing but `&T`.
unsafe impl<T: Sync> Sync for VecDeque<T> {}

// SAFETY: the values lie in a block of the heap, are owned, and described by their own type.
unsafe impl<T: Heritable> Heritable for VecDeque<T> {
    const TYPE: &'static TypeDesc =
        &TypeDesc::collection("VecDeque", FORMAT_VERSION, size_of::<Self>(), align_of::<Self>(), &[T::TYPE]);
}

impl<T> VecDeque<T> {
    /// Creates an empty deque, which has no block.
    #[inline]
    pub const fn new() -> Self {
        Self { buffer: Buffer::new(), head: 0, end: 0 }
    }

    /// Creates an empty deque with room for at least `capacity` values.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn with_capacity(capacity: usize) -> Self {
        or_panic(Self::try_with_capacity(capacity))
    }

    /// Creates an empty deque with room for at least `capacity` values.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full.
    pub fn try_with_capacity(capacity: usize) -> Result<Self, AllocError> {
        Ok(Self { buffer: Buffer::try_with_capacity(capacity)?, head: 0, end: 0 })
    }

    /// Returns how many values the deque can hold without growing.
    #[inline]
    pub const fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Returns how many values the deque holds.
    #[inline]
    pub const fn len(&self) -> usize {
        (self.end - self.head) as usize
    }

    /// Returns whether the deque holds nothing.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.end == self.head
    }

    /// Appends a value at the back.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn push_back(&mut self, value: T) {
        or_panic(self.try_push_back(value));
    }

    /// Appends a value at the back.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full: `value` is then dropped; who wants to keep it calls
    /// [`try_reserve`](Self::try_reserve) first.
    #[inline]
    pub fn try_push_back(&mut self, value: T) -> Result<(), AllocError> {
        if self.len() == self.capacity() {
            self.try_reserve(1)?;
        }
        // SAFETY: there is room for one more, and the place behind the last value is not live.
        unsafe { self.place(self.len()).write(value) };
        step();
        self.end += 1;
        Ok(())
    }

    /// Puts a value before the first one.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn push_front(&mut self, value: T) {
        or_panic(self.try_push_front(value));
    }

    /// Puts a value before the first one.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full: `value` is then dropped.
    #[inline]
    pub fn try_push_front(&mut self, value: T) -> Result<(), AllocError> {
        if self.len() == self.capacity() {
            self.try_reserve(1)?;
        }
        let head = self.head_before();
        // SAFETY: there was room for one more, so the place before the first value is not live.
        unsafe { self.buffer.start().add(head as usize).write(value) };
        step();
        if size_of::<T>() == 0 {
            self.end += 1;
        } else if self.head != 0 {
            self.head = head;
        } else {
            self.set_ends(head, self.len() + 1);
        }
        step();
        Ok(())
    }

    /// Takes the last value.
    #[inline]
    pub fn pop_back(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        self.end -= 1;
        // Before whatever becomes of the value, or of its place.
        step();
        // SAFETY: the value at the old end was live, and is no longer counted.
        Some(unsafe { self.place(self.len()).read() })
    }

    /// Takes the first value.
    #[inline]
    pub fn pop_front(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let (first, head) = (self.place(0), self.head_behind(1));
        if size_of::<T>() == 0 {
            self.end -= 1;
        } else if head != 0 {
            self.head = head;
        } else {
            self.set_ends(head, self.len() - 1);
        }
        step();
        // SAFETY: the value was live, and is no longer counted.
        Some(unsafe { first.read() })
    }

    /// Returns the first value.
    pub fn front(&self) -> Option<&T> {
        self.get(0)
    }

    /// Returns the first value.
    pub fn front_mut(&mut self) -> Option<&mut T> {
        self.get_mut(0)
    }

    /// Returns the last value.
    pub fn back(&self) -> Option<&T> {
        self.get(self.len().checked_sub(1)?)
    }

    /// Returns the last value.
    pub fn back_mut(&mut self) -> Option<&mut T> {
        self.get_mut(self.len().checked_sub(1)?)
    }

    /// Returns the value at `index`, counted from the front.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        // SAFETY: values below the length are live, and borrowed with `self`; their places are within the block.
        (index < self.len()).then(|| unsafe { &*self.buffer.start().add(self.head_behind(index) as usize) })
    }

    /// Returns the value at `index`, counted from the front.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        // SAFETY: values below the length are live, and borrowed mutably with `self`; their places are within the block.
        (index < self.len())
            .then(|| unsafe { &mut *self.buffer.start().add(self.head_behind(index) as usize) })
    }

    /// Returns the values as two slices, of which the second follows the first.
    #[inline]
    pub fn as_slices(&self) -> (&[T], &[T]) {
        let (front, back) = self.runs(0, self.len());
        // SAFETY: both runs are live, and borrowed with `self`.
        unsafe { (&*front, &*back) }
    }

    /// Returns the values as two slices, of which the second follows the first.
    #[inline]
    pub fn as_mut_slices(&mut self) -> (&mut [T], &mut [T]) {
        let (front, back) = self.runs(0, self.len());
        // SAFETY: both runs are live, do not overlap, and are borrowed mutably with `self`.
        unsafe { (&mut *front, &mut *back) }
    }

    /// Visits the values from front to back.
    #[inline]
    pub fn iter(&self) -> Iter<'_, T> {
        Iter::new(self.as_slices())
    }

    /// Visits the values from front to back.
    #[inline]
    pub fn iter_mut(&mut self) -> IterMut<'_, T> {
        IterMut::new(self.as_mut_slices())
    }

    /// Visits the values of a range.
    ///
    /// # Panics
    ///
    /// If the range is reversed or reaches beyond the end.
    pub fn range(&self, range: impl RangeBounds<usize>) -> Iter<'_, T> {
        let range = resolve(range, self.len());
        let (front, back) = self.runs(range.start, range.len());
        // SAFETY: both runs are live, and borrowed with `self`.
        Iter::new(unsafe { (&*front, &*back) })
    }

    /// Visits the values of a range.
    ///
    /// # Panics
    ///
    /// If the range is reversed or reaches beyond the end.
    pub fn range_mut(&mut self, range: impl RangeBounds<usize>) -> IterMut<'_, T> {
        let range = resolve(range, self.len());
        let (front, back) = self.runs(range.start, range.len());
        // SAFETY: both runs are live, do not overlap, and are borrowed mutably with `self`.
        IterMut::new(unsafe { (&mut *front, &mut *back) })
    }

    /// Returns whether one of the values equals `value`.
    pub fn contains(&self, value: &T) -> bool
    where
        T: PartialEq,
    {
        let (front, back) = self.as_slices();
        front.contains(value) || back.contains(value)
    }

    /// Finds a value in a deque that is in order, as `binary_search_by` of a slice does.
    ///
    /// # Errors
    ///
    /// Where it could be inserted, if there is none.
    pub fn binary_search_by(
        &self,
        mut compare: impl FnMut(&T) -> std::cmp::Ordering,
    ) -> Result<usize, usize> {
        let (front, back) = self.as_slices();
        match back.first().map(&mut compare) {
            Some(std::cmp::Ordering::Equal) => Ok(front.len()),
            Some(std::cmp::Ordering::Less) => {
                let found = back.binary_search_by(compare);
                found.map(|at| at + front.len()).map_err(|at| at + front.len())
            }
            _ => front.binary_search_by(compare),
        }
    }

    /// Finds a value in a deque that is in order.
    ///
    /// # Errors
    ///
    /// Where it could be inserted, if there is none.
    pub fn binary_search(&self, value: &T) -> Result<usize, usize>
    where
        T: Ord,
    {
        self.binary_search_by(|other| other.cmp(value))
    }

    /// Swaps two values.
    ///
    /// # Panics
    ///
    /// If one of them does not exist.
    pub fn swap(&mut self, a: usize, b: usize) {
        assert!(a < self.len() && b < self.len(), "swap of {a} and {b} in a deque of {}", self.len());
        // SAFETY: both are live; they may be the same.
        unsafe { whole::swap(self.place(a), self.place(b)) };
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

    /// Returns where value `index` lies, or would lie: at most the length, and with room.
    #[inline(always)]
    fn place(&self, index: usize) -> *mut T {
        self.buffer.start().wrapping_add(self.head_behind(index) as usize)
    }

    /// Names the values from `index` on, `count` of them, as two runs of places.
    #[inline(always)]
    fn runs(&self, index: usize, count: usize) -> (*mut [T], *mut [T]) {
        debug_assert!(count <= self.capacity());
        let start = self.place(index);
        if size_of::<T>() == 0 {
            return (ptr::slice_from_raw_parts_mut(start, count), ptr::slice_from_raw_parts_mut(start, 0));
        }
        let place = (start.addr() - self.buffer.start().addr()) / size_of::<T>();
        let first = count.min(self.capacity() - place);
        (
            ptr::slice_from_raw_parts_mut(start, first),
            ptr::slice_from_raw_parts_mut(self.buffer.start(), count - first),
        )
    }

    /// The place before the head.
    #[inline(always)]
    fn head_before(&self) -> u64 {
        if size_of::<T>() == 0 {
            return 0;
        }
        if self.head == 0 { self.capacity() as u64 - 1 } else { self.head - 1 }
    }

    /// The place that is `count` behind the head, by at most the length.
    #[inline(always)]
    fn head_behind(&self, count: usize) -> u64 {
        if size_of::<T>() == 0 {
            return 0;
        }
        let (head, capacity) = (self.head as usize + count, self.capacity());
        if head >= capacity { (head - capacity) as u64 } else { head as u64 }
    }

    /// Stores both ends at once: the place of the first value, and where so many from there on end.
    #[cold]
    #[inline(never)]
    fn set_ends(&mut self, head: u64, len: usize) {
        // SAFETY: by the layout the two words lie side by side. The pointer is one to the whole, as it writes both.
        unsafe {
            whole::two_words(
                ptr::from_mut(self).byte_add(std::mem::offset_of!(Self, head)).cast(),
                [head, head + len as u64],
            )
        };
    }

    /// Both ends, for a change that writes them.
    fn ends(&mut self) -> Place {
        // SAFETY: a field is nowhere near null.
        unsafe { Place::of(&raw mut self.head, 2) }
    }

    /// The values from `index` on, `count` of them, for a change that writes them.
    fn places(&self, index: usize, count: usize) -> [Place; 2] {
        let (front, back) = self.runs(index, count);
        // SAFETY: the start of a buffer is never null.
        unsafe { [Place::of(front.cast::<T>(), front.len()), Place::of(back.cast::<T>(), back.len())] }
    }

    /// Copies `count` values from one place to another, in either direction, as `ptr::copy` does.
    ///
    /// # Safety
    ///
    /// - Both ranges lie within the capacity, counted from the head.
    /// - What is overwritten is not live, or has been moved away.
    unsafe fn copy_values(&mut self, from: usize, to: usize, count: usize) {
        let copy = |i: usize| {
            // SAFETY: the caller's duties; within the capacity each place exists, and two places are the same or do not overlap.
            unsafe { ptr::copy(self.place(from + i), self.place(to + i), 1) }
        };
        if from < to { (0..count).rev().for_each(copy) } else { (0..count).for_each(copy) }
    }
}

impl<T> Drop for VecDeque<T> {
    fn drop(&mut self) {
        self.drop_from(0);
    }
}

impl<T> VecDeque<T> {
    /// Drops the values from `len` on, all of them even if one panics.
    fn drop_from(&mut self, len: usize) {
        /// Drops a run, even while a panic goes by.
        struct Run<T>(*mut [T]);
        impl<T> Drop for Run<T> {
            fn drop(&mut self) {
                // SAFETY: the values were live, and are no longer counted.
                unsafe { ptr::drop_in_place(self.0) };
            }
        }
        if len >= self.len() {
            return;
        }
        let (front, back) = self.runs(len, self.len() - len);
        self.end = self.head + len as u64;
        step();
        let _back = Run(back);
        drop(Run(front));
    }

    /// Returns the contents as one slice, if they do not go around the end.
    fn as_one_slice(&mut self) -> Option<&mut [T]> {
        let (front, back) = self.runs(0, self.len());
        // SAFETY: the run is live, and borrowed mutably with `self`.
        (back.len() == 0).then(|| unsafe { slice::from_raw_parts_mut(front.cast(), front.len()) })
    }
}

#[cfg(test)]
mod tests;
