//! `Drain`: takes a range of values out of a vector.
//!
//! ```text
//! | kept front | tail of the vector | taken ... left ... taken |
//! 0                                 len        rest
//! ```
//!
//! What leaves is moved behind the rest, and is counted no longer, before the first value is given out: a forgotten drain leaks what
//! is left and harms nothing, and a kill leaves all of the range in the vector or none of it.

#![expect(unsafe_code, reason = "reads values that the vector no longer counts")]

use std::iter::FusedIterator;
use std::ops::Range;
use std::{fmt, ptr, slice};

use super::Vec;
use crate::whole::{Place, guarded};

/// Iterator over values that leave a vector; made by [`Vec::drain`].
///
/// # Invariants
///
/// The values in `rest` are live, owned here and not counted by the vector.
pub struct Drain<'a, T> {
    vec: &'a mut Vec<T>,
    rest: Range<usize>,
}

impl<'a, T> Drain<'a, T> {
    pub(super) fn new(vec: &'a mut Vec<T>, range: Range<usize>) -> Self {
        let len = vec.len();
        debug_assert!(range.start <= range.end && range.end <= len);
        let kept = len - range.len();
        // SAFETY: what lies behind the start of the range is live, and stays so, in another order; less of it is counted.
        unsafe {
            let moved = if range.end == len || range.is_empty() { 0 } else { len - range.start };
            let values: *mut [T] = ptr::slice_from_raw_parts_mut(vec.as_mut_ptr().add(range.start), moved);
            guarded([Place::of(&raw mut vec.len, 1), Place::of(values.cast::<T>(), moved)], || {
                if moved > 0 {
                    (&mut *values).rotate_left(range.len());
                }
                vec.set_len(kept);
            });
        }
        // INVARIANT: what the vector has just stopped counting is live.
        Self { vec, rest: kept..len }
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
        let rest = std::mem::take(&mut self.rest);
        // SAFETY: the values in `rest` were live, and `self` has just given them up.
        unsafe {
            let start = self.vec.as_mut_ptr().add(rest.start);
            ptr::drop_in_place(ptr::slice_from_raw_parts_mut(start, rest.len()));
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Drain<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Drain").field(&self.as_slice()).finish()
    }
}
