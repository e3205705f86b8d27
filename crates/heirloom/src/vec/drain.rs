//! `Drain`: takes a range of values out of a vector.
//!
//! ```text
//! | kept front | taken ... left ... taken | kept tail |
//! 0            len         rest           tail        tail + nr_tail
//! ```
//!
//! The vector counts only the front meanwhile, so a forgotten drain leaks the rest and harms nothing.

#![expect(unsafe_code, reason = "reads values that the vector no longer counts")]

use std::iter::FusedIterator;
use std::ops::Range;
use std::{fmt, ptr, slice};

use super::Vec;

/// Iterator over values that leave a vector; made by [`Vec::drain`].
///
/// # Invariants
///
/// The values in `rest` and from `tail` on, `nr_tail` of them, are live, owned here and not counted by the vector.
pub struct Drain<'a, T> {
    vec: &'a mut Vec<T>,
    rest: Range<usize>,
    tail: usize,
    nr_tail: usize,
}

impl<'a, T> Drain<'a, T> {
    pub(super) fn new(vec: &'a mut Vec<T>, range: Range<usize>) -> Self {
        debug_assert!(range.start <= range.end && range.end <= vec.len());
        let nr_tail = vec.len() - range.end;
        // SAFETY: the range starts within the vector, and what lies before its start is live.
        unsafe { vec.set_len(range.start) };
        // INVARIANT: what the vector has just stopped counting is live.
        Self { vec, tail: range.end, nr_tail, rest: range }
    }

    /// Returns the values that are still to come.
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: by the type invariant the values in `rest` are live, and `self` is borrowed as long as they are.
        unsafe { slice::from_raw_parts(self.vec.as_ptr().add(self.rest.start), self.rest.len()) }
    }
}

impl<T> Iterator for Drain<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        let index = self.rest.next()?;
        // SAFETY: the value was in `rest`, which has just given it up.
        Some(unsafe { self.vec.as_ptr().add(index).read() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rest.size_hint()
    }
}

impl<T> DoubleEndedIterator for Drain<'_, T> {
    #[inline]
    fn next_back(&mut self) -> Option<T> {
        let index = self.rest.next_back()?;
        // SAFETY: the value was in `rest`, which has just given it up.
        Some(unsafe { self.vec.as_ptr().add(index).read() })
    }
}

impl<T> ExactSizeIterator for Drain<'_, T> {}
impl<T> FusedIterator for Drain<'_, T> {}

impl<T> Drop for Drain<'_, T> {
    fn drop(&mut self) {
        /// Moves the tail down to the front, even if a value panics while it is dropped.
        struct Close<'a, T> {
            vec: &'a mut Vec<T>,
            tail: usize,
            nr_tail: usize,
        }
        impl<T> Drop for Close<'_, T> {
            fn drop(&mut self) {
                let front = self.vec.len();
                // SAFETY: the tail is live and lies within the block; between it and the front nothing is live.
                unsafe {
                    let start = self.vec.as_mut_ptr();
                    ptr::copy(start.add(self.tail), start.add(front), self.nr_tail);
                    self.vec.set_len(front + self.nr_tail);
                }
            }
        }
        let rest = std::mem::take(&mut self.rest);
        let close = Close { vec: self.vec, tail: self.tail, nr_tail: self.nr_tail };
        // SAFETY: the values in `rest` were live, and `self` has just given them up.
        unsafe {
            let start = close.vec.as_mut_ptr().add(rest.start);
            ptr::drop_in_place(ptr::slice_from_raw_parts_mut(start, rest.len()));
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Drain<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Drain").field(&self.as_slice()).finish()
    }
}
