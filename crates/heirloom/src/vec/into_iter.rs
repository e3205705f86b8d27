//! `IntoIter`: gives out the values of a vector, then its block.

#![expect(unsafe_code, reason = "reads values out of the block one by one")]

use std::iter::FusedIterator;
use std::ops::Range;
use std::{fmt, ptr, slice};

use super::Vec;
use super::buffer::Buffer;

/// Iterator that owns the values of a vector.
///
/// # Invariants
///
/// The values in `rest` are live and owned.
pub struct IntoIter<T> {
    buffer: Buffer<T>,
    rest: Range<usize>,
}

// SAFETY: the iterator owns its values and shares nothing else.
unsafe impl<T: Send> Send for IntoIter<T> {}
// SAFETY: a shared iterator gives out nothing but `&T`.
unsafe impl<T: Sync> Sync for IntoIter<T> {}

impl<T> IntoIter<T> {
    /// Returns the values that are still to come.
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: by the type invariant the values in `rest` are live, and `self` is borrowed as long as they are.
        unsafe { slice::from_raw_parts(self.buffer.start().add(self.rest.start), self.rest.len()) }
    }
}

impl<T> IntoIterator for Vec<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        let (buffer, len) = self.into_parts();
        // INVARIANT: they were the values of the vector.
        IntoIter { buffer, rest: 0..len }
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        let index = self.rest.next()?;
        // SAFETY: the value was in `rest`, which has just given it up.
        Some(unsafe { self.buffer.start().add(index).read() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rest.size_hint()
    }
}

impl<T> DoubleEndedIterator for IntoIter<T> {
    #[inline]
    fn next_back(&mut self) -> Option<T> {
        let index = self.rest.next_back()?;
        // SAFETY: the value was in `rest`, which has just given it up.
        Some(unsafe { self.buffer.start().add(index).read() })
    }
}

impl<T> ExactSizeIterator for IntoIter<T> {}
impl<T> FusedIterator for IntoIter<T> {}

impl<T> Drop for IntoIter<T> {
    fn drop(&mut self) {
        // SAFETY: the values in `rest` are live and not used again; the buffer is dropped after them.
        unsafe {
            let start = self.buffer.start().add(self.rest.start);
            ptr::drop_in_place(ptr::slice_from_raw_parts_mut(start, self.rest.len()));
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for IntoIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IntoIter").field(&self.as_slice()).finish()
    }
}
