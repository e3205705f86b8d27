//! The iterators of a set: those of its map, without the nothing.

use std::fmt;
use std::iter::FusedIterator;

use super::BTreeSet;
use crate::btree_map;

/// Iterator over the values of a set, in order; made by [`BTreeSet::iter`].
pub struct Iter<'a, T>(btree_map::Keys<'a, T, ()>);

/// Iterator over a range of values, in order; made by [`BTreeSet::range`].
pub struct Range<'a, T>(btree_map::Range<'a, T, ()>);

/// Iterator that owns the values of a set.
pub struct IntoIter<T>(btree_map::IntoKeys<T, ()>);

impl<'a, T> Range<'a, T> {
    pub(super) fn new(range: btree_map::Range<'a, T, ()>) -> Self {
        Self(range)
    }
}

impl<T> BTreeSet<T> {
    /// Visits all values, in order.
    #[inline]
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self.map.keys())
    }
}

macro_rules! iterator {
    ($($name:ident<$($life:lifetime)?>: $item:ty, $of:expr;)*) => {$(
        impl<$($life,)? T> Iterator for $name<$($life,)? T> {
            type Item = $item;

            #[inline]
            fn next(&mut self) -> Option<$item> {
                self.0.next().map($of)
            }

            #[inline]
            fn size_hint(&self) -> (usize, Option<usize>) {
                self.0.size_hint()
            }
        }

        impl<$($life,)? T> DoubleEndedIterator for $name<$($life,)? T> {
            #[inline]
            fn next_back(&mut self) -> Option<$item> {
                self.0.next_back().map($of)
            }
        }

        impl<$($life,)? T> FusedIterator for $name<$($life,)? T> {}

        impl<$($life,)? T> fmt::Debug for $name<$($life,)? T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}

iterator! {
    Iter<'a>: &'a T, |value| value;
    Range<'a>: &'a T, |(value, ())| value;
    IntoIter<>: T, |value| value;
}

impl<T> ExactSizeIterator for Iter<'_, T> {}
impl<T> ExactSizeIterator for IntoIter<T> {}

impl<T> Clone for Iter<'_, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Clone for Range<'_, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> IntoIterator for BTreeSet<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self.map.into_keys())
    }
}

impl<'a, T> IntoIterator for &'a BTreeSet<T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
