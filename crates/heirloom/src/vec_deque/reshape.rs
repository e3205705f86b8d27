//! What moves values within a deque: growing, inserting, removing, turning.
//!
//! ```text
//! | 4 | 5 | 1 | 2 | 3 |   --grown-->   | 1 | 2 | 3 | 4 | 5 |   |   |   |   |   |      around the end: to a new block, as one run
//! | 1 | 2 | 3 | 4 | 5 |   --grown-->   as a vector, in place if that can be
//! ```
//!
//! A kill leaves each of these done or not: what they overwrite is in the thread's diary before (`whole`), or copied before it counts.

#![expect(unsafe_code, reason = "moves values from place to place")]

use std::ptr;

use super::VecDeque;
use crate::alloc::AllocError;
use crate::or_panic;
use crate::vec::Vec;
use crate::vec::buffer::Buffer;
use crate::whole::{Place, guarded, step};

impl<T> VecDeque<T> {
    /// Makes room for at least `additional` more values.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn reserve(&mut self, additional: usize) {
        or_panic(self.try_reserve(additional));
    }

    /// Makes room for at least `additional` more values.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the deque is then unchanged.
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), AllocError> {
        if additional <= self.capacity() - self.len() {
            return Ok(());
        }
        if self.is_one_run() {
            return self.buffer.reserve(self.len(), additional);
        }
        let needed = self.len().checked_add(additional).ok_or(AllocError::TOO_LARGE)?;
        let doubled = self.capacity().saturating_mul(2);
        match self.move_to(needed.max(doubled)) {
            Err(_) if doubled > needed => self.move_to(needed),
            outcome => outcome,
        }
    }

    /// Moves the values, as one run, to a new block for at least `capacity` of them.
    fn move_to(&mut self, capacity: usize) -> Result<(), AllocError> {
        let buffer = Buffer::<T>::try_with_capacity(capacity)?;
        let (front, back) = self.runs(0, self.len());
        // SAFETY: the new block has room for the values, which are its own once the words say so; the old one is given back without them.
        unsafe {
            ptr::copy_nonoverlapping(front.cast(), buffer.start(), front.len());
            ptr::copy_nonoverlapping(back.cast(), buffer.start().add(front.len()), back.len());
            let len = self.len();
            let old = guarded([Place::of(&raw mut self.buffer, 1), self.ends()], || {
                (self.head, self.end) = (0, len as u64);
                self.buffer.adopt(buffer)
            });
            drop(old);
        }
        Ok(())
    }

    /// Whether the values do not go around the end of the block.
    fn is_one_run(&self) -> bool {
        self.end as usize <= self.capacity()
    }

    /// Makes room for `additional` more values, and no more than their block holds anyway.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn reserve_exact(&mut self, additional: usize) {
        if additional <= self.capacity() - self.len() {
            return;
        }
        let needed = self.len().checked_add(additional).ok_or(AllocError::TOO_LARGE);
        or_panic(match needed {
            Ok(_) if self.is_one_run() => self.buffer.reserve_exact(self.len(), additional),
            Ok(needed) => self.move_to(needed),
            Err(error) => Err(error),
        });
    }

    /// Gives back the room that is not used; keeps it if the heap is too full for the move.
    pub fn shrink_to_fit(&mut self) {
        if self.is_empty() {
            self.set_ends(0, 0);
        }
        let _kept_on_error = if size_of::<T>() == 0 || self.head == 0 {
            self.buffer.shrink(self.len())
        } else {
            self.move_to(self.len())
        };
    }

    /// Moves the values so that they do not go around the end of the block, and returns them as one slice.
    pub fn make_contiguous(&mut self) -> &mut [T] {
        if self.as_one_slice().is_none() {
            let (len, capacity) = (self.len(), self.capacity());
            let front = capacity - self.head as usize;
            let back = len - front;
            // SAFETY: all places are within the block; free places are filled before what lay beside them is turned into its order.
            unsafe {
                let start = self.buffer.start();
                let [one, other] = self.places(0, len);
                guarded([self.ends(), one, other], || {
                    // The front moves down to where the back ends, over free places and itself.
                    ptr::copy(start.add(self.head as usize), start.add(back), front);
                    (self.head, self.end) = (0, len as u64);
                    std::slice::from_raw_parts_mut(start, len).rotate_left(back);
                });
            }
        }
        self.as_one_slice().expect("the values are one run")
    }

    /// Inserts a value at `index` and moves those before or behind it, whichever are fewer.
    ///
    /// # Panics
    ///
    /// If `index` is beyond the end or the heap is full.
    pub fn insert(&mut self, index: usize, value: T) {
        or_panic(self.try_insert(index, value));
    }

    /// Inserts a value at `index` and moves those before or behind it, whichever are fewer.
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
        assert!(index <= len, "insertion at {index} of a deque of {len}");
        self.try_reserve(1)?;
        // SAFETY: there is room for one more, before the head as well as behind the end; the gap is written at once.
        unsafe {
            let is_near_the_front = index < len / 2;
            let [one, other] =
                if is_near_the_front { self.places(0, index) } else { self.places(index, len - index) };
            guarded([self.ends(), one, other], || {
                if is_near_the_front {
                    self.head = self.head_before();
                    self.copy_values(1, 0, index);
                } else {
                    self.copy_values(index, index + 1, len - index);
                }
                self.place(index).write(value);
                self.end = self.head + len as u64 + 1;
            });
        }
        Ok(())
    }

    /// Takes the value at `index`, if there is one, and moves those before or behind it, whichever are fewer.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        let len = self.len();
        if index >= len {
            return None;
        }
        // SAFETY: the value is live; it is read once, and its place taken by the others.
        let value = unsafe { self.place(index).read() };
        // SAFETY: as above.
        unsafe {
            let is_near_the_front = index < len / 2;
            let [one, other] =
                if is_near_the_front { self.places(0, index + 1) } else { self.places(index, len - index) };
            guarded([self.ends(), one, other], || {
                if is_near_the_front {
                    self.copy_values(0, 1, index);
                    self.head = self.head_behind(1);
                } else {
                    self.copy_values(index + 1, index, len - index - 1);
                }
                self.end = self.head + len as u64 - 1;
            });
        }
        Some(value)
    }

    /// Takes the value at `index`, if there is one, and puts the last one in its place.
    pub fn swap_remove_back(&mut self, index: usize) -> Option<T> {
        let last = self.len().checked_sub(1).filter(|&last| index <= last)?;
        self.swap(index, last);
        self.pop_back()
    }

    /// Takes the value at `index`, if there is one, and puts the first one in its place.
    pub fn swap_remove_front(&mut self, index: usize) -> Option<T> {
        if index >= self.len() {
            return None;
        }
        self.swap(index, 0);
        self.pop_front()
    }

    /// Turns the ring so that value `mid` comes first.
    ///
    /// # Panics
    ///
    /// If `mid` is beyond the end.
    pub fn rotate_left(&mut self, mid: usize) {
        assert!(mid <= self.len(), "turn by {mid} of a deque of {}", self.len());
        if self.len() == self.capacity() {
            // Nothing moves in a full ring; a `T` without bytes never fills one, but has no places either.
            self.set_ends(self.head_behind(mid), self.len());
        } else if mid <= self.len() / 2 {
            (0..mid).for_each(|_| self.first_to_back());
        } else {
            (mid..self.len()).for_each(|_| self.last_to_front());
        }
    }

    /// Turns the ring so that the last `n` values come first.
    ///
    /// # Panics
    ///
    /// If there are fewer values.
    pub fn rotate_right(&mut self, n: usize) {
        assert!(n <= self.len(), "turn by {n} of a deque of {}", self.len());
        self.rotate_left(self.len() - n);
    }

    /// Drops the values from `len` on; does nothing if there are none.
    pub fn truncate(&mut self, len: usize) {
        self.drop_from(len);
    }

    /// Drops all values and keeps the block.
    pub fn clear(&mut self) {
        self.drop_from(0);
        self.set_ends(0, 0);
    }

    /// Cuts the deque or fills it up with what `fill` returns, until it holds `len` values.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn resize_with(&mut self, len: usize, mut fill: impl FnMut() -> T) {
        self.truncate(len);
        self.reserve(len - self.len());
        while self.len() < len {
            self.push_back(fill());
        }
    }

    /// Cuts the deque or fills it up with clones of `value`, until it holds `len` values.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn resize(&mut self, len: usize, value: T)
    where
        T: Clone,
    {
        self.resize_with(len, || value.clone());
    }

    /// Moves all values of `other` to the back.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn append(&mut self, other: &mut Self) {
        or_panic(self.try_append(other));
    }

    /// Moves all values of `other` to the back.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; both are then unchanged.
    pub fn try_append(&mut self, other: &mut Self) -> Result<(), AllocError> {
        self.try_reserve(other.len())?;
        let (len, more) = (self.len(), other.len());
        // SAFETY: there is room for as many, which `other` owns until, at once, they count here and no longer there.
        unsafe {
            (0..more).for_each(|nr| ptr::copy_nonoverlapping(other.place(nr), self.place(len + nr), 1));
            guarded([self.ends(), other.ends()], || {
                (other.head, other.end) = (0, 0);
                self.end += more as u64;
            });
        }
        Ok(())
    }

    /// Takes the values from `at` on into a deque of their own.
    ///
    /// # Panics
    ///
    /// If `at` is beyond the end or the heap is full.
    pub fn split_off(&mut self, at: usize) -> Self {
        let len = self.len();
        assert!(at <= len, "split at {at} of a deque of {len}");
        let mut tail = Self::with_capacity(len - at);
        let (front, back) = self.runs(at, len - at);
        // SAFETY: `tail` has room for the values behind `at`, which are live and no longer counted here.
        unsafe {
            ptr::copy_nonoverlapping(front.cast(), tail.buffer.start(), front.len());
            ptr::copy_nonoverlapping(back.cast(), tail.buffer.start().add(front.len()), back.len());
        }
        tail.end = (len - at) as u64;
        step();
        self.end = self.head + at as u64;
        tail
    }

    /// Keeps the values for which `keep` returns true, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.retain_mut(|value| keep(value));
    }

    /// Keeps the values for which `keep` returns true, in order.
    ///
    /// If `keep` panics, the deque still holds every value.
    pub fn retain_mut(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        let mut kept = 0;
        for index in 0..self.len() {
            if keep(&mut self[index]) {
                self.swap(kept, index);
                kept += 1;
            }
        }
        self.truncate(kept);
    }

    /// Moves the first value behind the last one, in a ring that is not full.
    fn first_to_back(&mut self) {
        let first = self.place(0);
        // SAFETY: the value is live, the place behind the last one is free.
        unsafe { ptr::copy(first, self.place(self.len()), 1) };
        self.set_ends(self.head_behind(1), self.len());
    }

    /// Moves the last value before the first one, in a ring that is not full.
    fn last_to_front(&mut self) {
        let (last, head) = (self.place(self.len() - 1), self.head_before());
        // SAFETY: the value is live, the place before the first one is free.
        unsafe { ptr::copy(last, self.buffer.start().add(head as usize), 1) };
        self.set_ends(head, self.len());
    }
}

/// The vector's block becomes the deque's.
impl<T> From<Vec<T>> for VecDeque<T> {
    fn from(vec: Vec<T>) -> Self {
        let (buffer, len) = vec.into_parts();
        // INVARIANT: the values lie from place 0 on.
        Self { buffer, head: 0, end: len as u64 }
    }
}

/// The deque's block becomes the vector's, after a move within it if the values do not start it.
impl<T> From<VecDeque<T>> for Vec<T> {
    fn from(mut deque: VecDeque<T>) -> Self {
        deque.make_contiguous();
        let deque = std::mem::ManuallyDrop::new(deque);
        // SAFETY: the values are one run within the block, which has one owner: the deque is never used again.
        unsafe {
            let start = deque.buffer.start();
            ptr::copy(deque.place(0), start, deque.len());
            Self::from_parts(start, deque.len(), deque.capacity())
        }
    }
}
