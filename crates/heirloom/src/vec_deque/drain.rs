//! `Drain`: takes a range of values out of a deque.
//!
//! ```text
//! | kept front | taken ... left ... taken | kept tail |      counted from the head, around the end of the block
//! 0            len         rest           tail        tail + nr_tail
//! ```
//!
//! The deque counts only the front meanwhile, so a forgotten drain leaks the rest and harms nothing.

#![expect(unsafe_code, reason = "reads values that the deque no longer counts")]

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;

use super::VecDeque;

/// Iterator over values that leave a deque; made by [`VecDeque::drain`].
///
/// # Invariants
///
/// The values in `rest` and from `tail` on, `nr_tail` of them, are live, owned here and not counted by the deque.
pub struct Drain<'a, T> {
    deque: &'a mut VecDeque<T>,
    rest: Range<usize>,
    tail: usize,
    nr_tail: usize,
}

impl<'a, T> Drain<'a, T> {
    pub(super) fn new(deque: &'a mut VecDeque<T>, range: Range<usize>) -> Self {
        debug_assert!(range.start <= range.end && range.end <= deque.len());
        let nr_tail = deque.len() - range.end;
        deque.len = range.start as u64;
        // INVARIANT: what the deque has just stopped counting is live.
        Self { deque, tail: range.end, nr_tail, rest: range }
    }
}

impl<T> Iterator for Drain<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        let index = self.rest.next()?;
        // SAFETY: the value was in `rest`, which has just given it up.
        Some(unsafe { self.deque.place(index).read() })
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
        Some(unsafe { self.deque.place(index).read() })
    }
}

impl<T> ExactSizeIterator for Drain<'_, T> {}
impl<T> FusedIterator for Drain<'_, T> {}

impl<T> Drop for Drain<'_, T> {
    fn drop(&mut self) {
        /// Drops what is left and then moves the shorter of the two kept parts, even if a value panics while it is dropped.
        struct Close<'a, 'b, T>(&'a mut Drain<'b, T>);
        impl<T> Drop for Close<'_, '_, T> {
            fn drop(&mut self) {
                self.0.by_ref().for_each(drop);
                let Drain { deque, tail, nr_tail, .. } = &mut *self.0;
                let (front, gap) = (deque.len(), *tail - deque.len());
                // SAFETY: both parts are live and within the block; between them nothing is live.
                unsafe {
                    if front < *nr_tail {
                        deque.copy_values(0, gap, front);
                        deque.skip_head(gap);
                    } else {
                        deque.copy_values(*tail, front, *nr_tail);
                    }
                }
                deque.len = (front + *nr_tail) as u64;
            }
        }
        let close = Close(self);
        close.0.by_ref().for_each(drop);
    }
}

impl<T> fmt::Debug for Drain<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("left", &self.len()).finish()
    }
}
