//! The borrowing iterators of a deque: two slices, one after the other.

use std::iter::FusedIterator;
use std::{fmt, slice};

use super::VecDeque;

/// Iterator over the values of a deque; made by [`VecDeque::iter`].
pub struct Iter<'a, T> {
    front: slice::Iter<'a, T>,
    back: slice::Iter<'a, T>,
}

/// Iterator over the values of a deque; made by [`VecDeque::iter_mut`].
pub struct IterMut<'a, T> {
    front: slice::IterMut<'a, T>,
    back: slice::IterMut<'a, T>,
}

impl<'a, T> Iter<'a, T> {
    pub(super) fn new((front, back): (&'a [T], &'a [T])) -> Self {
        Self { front: front.iter(), back: back.iter() }
    }
}

impl<'a, T> IterMut<'a, T> {
    pub(super) fn new((front, back): (&'a mut [T], &'a mut [T])) -> Self {
        Self { front: front.iter_mut(), back: back.iter_mut() }
    }
}

impl<T> Clone for Iter<'_, T> {
    fn clone(&self) -> Self {
        Self { front: self.front.clone(), back: self.back.clone() }
    }
}

macro_rules! two_slices {
    ($($name:ident: $item:ty, $make:ident, $deque:ty;)*) => {$(
        impl<'a, T> Iterator for $name<'a, T> {
            type Item = $item;

            #[inline]
            fn next(&mut self) -> Option<$item> {
                if let Some(value) = self.front.next() {
                    return Some(value);
                }
                // The front is at its end: from now on the back is, which the next call finds at once.
                std::mem::swap(&mut self.front, &mut self.back);
                self.front.next()
            }

            #[inline]
            fn size_hint(&self) -> (usize, Option<usize>) {
                let len = self.front.len() + self.back.len();
                (len, Some(len))
            }

            #[inline]
            fn fold<B, F: FnMut(B, $item) -> B>(self, init: B, mut f: F) -> B {
                let init = self.front.fold(init, &mut f);
                self.back.fold(init, f)
            }

            fn nth(&mut self, n: usize) -> Option<$item> {
                let front = self.front.len();
                if n < front {
                    return self.front.nth(n);
                }
                std::mem::swap(&mut self.front, &mut self.back);
                self.back = Default::default();
                self.front.nth(n - front)
            }
        }

        impl<T> DoubleEndedIterator for $name<'_, T> {
            #[inline]
            fn next_back(&mut self) -> Option<Self::Item> {
                if let Some(value) = self.back.next_back() {
                    return Some(value);
                }
                self.front.next_back()
            }
        }

        impl<T> ExactSizeIterator for $name<'_, T> {}
        impl<T> FusedIterator for $name<'_, T> {}

        impl<'a, T> IntoIterator for $deque {
            type Item = $item;
            type IntoIter = $name<'a, T>;

            fn into_iter(self) -> $name<'a, T> {
                self.$make()
            }
        }

        impl<T: fmt::Debug> fmt::Debug for $name<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name))
                    .field(&self.front.as_slice())
                    .field(&self.back.as_slice())
                    .finish()
            }
        }
    )*};
}

two_slices! {
    Iter: &'a T, iter, &'a VecDeque<T>;
    IterMut: &'a mut T, iter_mut, &'a mut VecDeque<T>;
}
