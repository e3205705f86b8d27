//! `Drain`: takes a range of values out of a deque.
//!
//! ```text
//! | kept front | tail of the deque | taken ... left ... taken |      counted from the head, around the end of the block;
//! 0                                len        rest                   or what is taken lies before the head, if the front is the shorter part
//! ```
//!
//! What leaves is moved out of the rest, and is counted no longer, before the first value is given out: a forgotten drain leaks what
//! is left and harms nothing, and a kill leaves all of the range in the deque or none of it.

#![expect(unsafe_code, reason = "reads values that the deque no longer counts")]

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;

use super::VecDeque;
use crate::whole::guarded;

/// Iterator over values that leave a deque; made by [`VecDeque::drain`].
///
/// # Invariants
///
/// The values in `rest` are live, owned here and not counted by the deque.
pub struct Drain<'a, T> {
    deque: &'a mut VecDeque<T>,
    rest: Range<usize>,
}

impl<'a, T> Drain<'a, T> {
    pub(super) fn new(deque: &'a mut VecDeque<T>, range: Range<usize>) -> Self {
        let len = deque.len();
        debug_assert!(range.start <= range.end && range.end <= len);
        let (count, kept) = (range.len(), len - range.len());
        let (front, tail) = (range.start, len - range.end);
        // Whichever part is the shorter changes places with what leaves, which then lies before the head or behind the end.
        let to_front = front < tail;
        let (start, nr) = if to_front { (0, range.end) } else { (front, count + tail) };
        let nr_moved = if front.min(tail) == 0 || count == 0 { 0 } else { nr };
        let mut taken = Vec::<T>::with_capacity(if nr_moved == 0 { 0 } else { count });
        let [one, other] = deque.places(start, nr_moved);
        // SAFETY: both parts are live, and stay so, in another order; less of it is counted. The copies are in this process's memory, and never
        // values.
        unsafe {
            guarded([deque.ends(), one, other], || {
                if nr_moved > 0 {
                    for nr in 0..count {
                        deque.place(front + nr).copy_to_nonoverlapping(taken.as_mut_ptr().add(nr), 1);
                    }
                    if to_front {
                        deque.copy_values(0, count, front);
                    } else {
                        deque.copy_values(range.end, front, tail);
                    }
                    for nr in 0..count {
                        let place = deque.place(if to_front { nr } else { kept + nr });
                        place.copy_from_nonoverlapping(taken.as_ptr().add(nr), 1);
                    }
                }
                deque.head = if to_front { deque.head_behind(count) } else { deque.head };
                deque.end = deque.head + kept as u64;
            });
        }
        // INVARIANT: what the deque has just stopped counting is live. A place before the head is one round less behind it.
        let end = if to_front { deque.capacity() } else { len };
        Self { deque, rest: end - count..end }
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
        /// Drops what is left even if a value panics while it is dropped.
        struct Rest<'a, 'b, T>(&'a mut Drain<'b, T>);
        impl<T> Drop for Rest<'_, '_, T> {
            fn drop(&mut self) {
                self.0.by_ref().for_each(drop);
            }
        }
        let rest = Rest(self);
        rest.0.by_ref().for_each(drop);
    }
}

impl<T> fmt::Debug for Drain<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("left", &self.len()).finish()
    }
}
