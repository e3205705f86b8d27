//! Appending many values at once.
//!
//! ```text
//! | live values | room: reserved, then written as a whole |
//!               ^ len ---------------------------------> ^ moves once, behind the last value
//! ```
//!
//! A kill finds none of them or all, as the length is stored last. Those of `resize`, and those whose number is not known before, come one by
//! one.

#![expect(unsafe_code, reason = "writes values behind those that are live")]

use std::mem::MaybeUninit;
use std::{ptr, slice};

use super::Vec;
use crate::alloc::AllocError;
use crate::or_panic;
use crate::whole::{Place, guarded, step};

/// Counts what was written, even if the next value panics while it is made.
struct Counted<'a> {
    place: &'a mut u64,
    len: u64,
}

impl Drop for Counted<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        step();
        *self.place = self.len;
    }
}

/// Fills `room` with clones of as many values, and counts each in `len`.
///
/// As a function it tells the compiler that none of the three overlap, and where a clone is a copy it makes one copy of all.
#[inline(always)]
fn write_clones<T: Clone>(room: &mut [MaybeUninit<T>], values: &[T], len: &mut u64) {
    for (place, value) in room.iter_mut().zip(values) {
        place.write(value.clone());
        *len += 1;
    }
}

impl<T> Vec<T> {
    /// Appends what `iter` yields.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the vector then holds what came before.
    pub fn try_extend(&mut self, iter: impl IntoIterator<Item = T>) -> Result<(), AllocError> {
        let mut iter = iter.into_iter();
        let (least, most) = iter.size_hint();
        self.try_reserve(least)?;
        if most == Some(least) {
            self.fill(least, iter);
            return Ok(());
        }
        while let Some(value) = iter.next() {
            if self.len() == self.capacity() {
                self.try_reserve(iter.size_hint().0.saturating_add(1))?;
            }
            // SAFETY: there is room for one more.
            unsafe { self.push_within(value) };
        }
        Ok(())
    }

    /// Appends up to `nr` values of an iterator that says that it has exactly so many. There is room for them.
    ///
    /// The iterator counts the places itself. Of one that can be asked for its nth value (a range, a slice, what is mapped over them) the
    /// compiler sees that no more come than there are: nothing is compared for each value, and plain values are made and copied many at a
    /// time. An iterator that has more than it said loses the rest.
    #[inline(always)]
    fn fill(&mut self, nr: usize, iter: impl Iterator<Item = T>) {
        let (room, place) = self.room(nr);
        let before = *place;
        let mut counted = Counted { len: before, place };
        iter.take(nr).for_each(|value| {
            room[(counted.len - before) as usize].write(value);
            counted.len += 1;
        });
    }

    /// The next `nr` places behind the live values, for which there is room, and the length.
    #[inline(always)]
    fn room(&mut self, nr: usize) -> (&mut [MaybeUninit<T>], &mut u64) {
        let (len, capacity) = (self.len(), self.capacity());
        assert!(nr <= capacity - len, "room was reserved for the values");
        // SAFETY: the places behind the live values are within the block, which has room for `capacity`; none of them is live. The length
        // lies elsewhere.
        let room = unsafe { slice::from_raw_parts_mut(self.as_mut_ptr().add(len).cast(), nr) };
        (room, &mut self.len)
    }

    /// Moves all values of `other` to the end.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn append(&mut self, other: &mut Self) {
        or_panic(self.try_append(other));
    }

    /// Moves all values of `other` to the end.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; both vectors are then unchanged.
    pub fn try_append(&mut self, other: &mut Self) -> Result<(), AllocError> {
        let (len, more) = (self.len(), other.len());
        self.try_reserve(more)?;
        // SAFETY: there is room for `more` values, which `other` owns and stops counting; two vectors never overlap.
        unsafe {
            ptr::copy_nonoverlapping(other.as_ptr(), self.as_mut_ptr().add(len), more);
            guarded([Place::of(&raw mut self.len, 1), Place::of(&raw mut other.len, 1)], || {
                other.set_len(0);
                self.set_len(len + more);
            });
        }
        Ok(())
    }

    /// Cuts the vector or fills it up with what `fill` returns, until it holds `len` values.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn resize_with(&mut self, len: usize, fill: impl FnMut() -> T) {
        or_panic(self.try_resize_with(len, fill));
    }

    /// Cuts the vector or fills it up with what `fill` returns, until it holds `len` values.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the vector is then unchanged.
    pub fn try_resize_with(&mut self, len: usize, mut fill: impl FnMut() -> T) -> Result<(), AllocError> {
        if len <= self.len() {
            self.truncate(len);
            return Ok(());
        }
        self.try_reserve(len - self.len())?;
        while self.len() < len {
            // SAFETY: there is room for `len` values.
            unsafe { self.push_within(fill()) };
        }
        Ok(())
    }
}

impl<T: Clone> Vec<T> {
    /// Cuts the vector or fills it up with clones of `value`, until it holds `len` values.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn resize(&mut self, len: usize, value: T) {
        or_panic(self.try_resize(len, value));
    }

    /// Cuts the vector or fills it up with clones of `value`, until it holds `len` values.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the vector is then unchanged.
    pub fn try_resize(&mut self, len: usize, value: T) -> Result<(), AllocError> {
        self.try_resize_with(len, || value.clone())
    }

    /// Appends clones of `values`.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn extend_from_slice(&mut self, values: &[T]) {
        or_panic(self.try_extend_from_slice(values));
    }

    /// Appends clones of `values`.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the vector is then unchanged.
    #[inline]
    pub fn try_extend_from_slice(&mut self, values: &[T]) -> Result<(), AllocError> {
        self.try_reserve(values.len())?;
        let (room, place) = self.room(values.len());
        let mut counted = Counted { len: *place, place };
        write_clones(room, values, &mut counted.len);
        Ok(())
    }

    /// Clones the vector.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full.
    pub fn try_clone(&self) -> Result<Self, AllocError> {
        let mut clone = Self::try_with_capacity(self.len())?;
        clone.try_extend_from_slice(self)?;
        Ok(clone)
    }
}

impl<T: Copy> Vec<T> {
    /// Appends a copy of `values`, in one piece.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the vector is then unchanged.
    #[inline]
    pub fn try_extend_from_copy(&mut self, values: &[T]) -> Result<(), AllocError> {
        let len = self.len();
        self.try_reserve(values.len())?;
        // SAFETY: there is room for all of `values`, which cannot overlap a block that is borrowed mutably.
        unsafe {
            ptr::copy_nonoverlapping(values.as_ptr(), self.as_mut_ptr().add(len), values.len());
            step();
            self.set_len(len + values.len());
        }
        Ok(())
    }
}
