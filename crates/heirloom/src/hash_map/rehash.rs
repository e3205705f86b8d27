//! Moving the values of a table: to a block of another size, or to their right places within their own.
//!
//! Both survive a hash function that panics. While values move to another block, the old table owns them and the new
//! one counts none. Within a block a value that has not found its place yet wears `DELETED`; a panic turns
//! that mark into a tag that means nothing, so every value is still there, though no probe finds it: the caller knows
//! the table as out of order until a later attempt succeeds.

#![expect(unsafe_code, reason = "moves values from bucket to bucket")]

use std::ptr;

use super::group::{DELETED, EMPTY, WIDTH};
use super::table::{Table, tag};
use crate::alloc::AllocError;

impl<T> Table<T> {
    /// Moves all values to a block of `buckets`, which takes them all; `self` is unchanged on an error.
    pub(crate) fn resize(&mut self, buckets: usize, hash: impl Fn(&T) -> u64) -> Result<(), AllocError> {
        let mut new = Self::with_buckets(buckets)?;
        for value in self.iter() {
            // SAFETY: the walker visits live values; the new bucket exists, and with a `len` of 0 promises nothing yet.
            unsafe {
                let hash = hash(&*value);
                let index = new.vacant(hash);
                new.bucket(index).copy_from_nonoverlapping(value, 1);
                new.set_control(index, tag(hash));
            }
        }
        // SAFETY: the new table holds each value once, and the old one stops counting them.
        unsafe {
            new.set_len(self.len());
            self.set_len(0);
        }
        *self = new;
        Ok(())
    }

    /// Moves every value to where a probe for its hash finds it, and clears the tombstones away.
    pub(super) fn rehash_in_place(&mut self, hash: impl Fn(&T) -> u64) {
        for index in 0..self.buckets() {
            let mark = if self.control(index) < 0x80 { DELETED } else { EMPTY };
            // SAFETY: the bucket exists. Marked values do not count as full until `Placing` says so, which it always does.
            unsafe { self.set_control(index, mark) };
        }
        let table = Placing(self);
        for index in 0..table.0.buckets() {
            while table.0.control(index) == DELETED {
                table.0.place_one(index, &hash);
            }
        }
    }

    /// Moves the marked value in bucket `index` to its place; a marked value that lay there comes back in exchange.
    fn place_one(&mut self, index: usize, hash: &impl Fn(&T) -> u64) {
        // SAFETY: a marked bucket holds a live value.
        let hash = hash(unsafe { &*self.bucket(index) });
        let target = self.vacant(hash);
        if target / WIDTH == index / WIDTH {
            // SAFETY: the bucket holds a value, and this is the first group on its walk that has not been filled.
            return unsafe { self.set_control(index, tag(hash)) };
        }
        // A bucket left empty here ends no walk too early: its group held a mark, so no placed value has passed it.
        // SAFETY: both buckets exist and differ; the source holds a value, the target one exactly if it is marked.
        unsafe {
            let (source, place) = (self.bucket(index), self.bucket(target));
            if self.control(target) == EMPTY {
                ptr::copy_nonoverlapping(source, place, 1);
                self.set_control(index, EMPTY);
            } else {
                ptr::swap_nonoverlapping(source, place, 1);
            }
            self.set_control(target, tag(hash));
        }
    }
}

/// A table whose marked buckets hold values; makes them full when it goes.
struct Placing<'a, T>(&'a mut Table<T>);

impl<T> Drop for Placing<'_, T> {
    fn drop(&mut self) {
        for index in 0..self.0.buckets() {
            if self.0.control(index) == DELETED {
                // SAFETY: a marked bucket holds a live value.
                unsafe { self.0.set_control(index, 0) };
            }
        }
        let len = self.0.len();
        // SAFETY: no value was lost or made, and all of them are full again.
        unsafe { self.0.set_len(len) };
    }
}
