//! The iterators of a set: those of its map, without the nothing.

use std::fmt;
use std::iter::FusedIterator;

use super::HashSet;
use crate::hash_map;

/// Iterator over the values of a set; made by [`HashSet::iter`].
pub struct Iter<'a, T>(hash_map::Keys<'a, T, ()>);

/// Iterator that owns the values of a set.
pub struct IntoIter<T>(hash_map::IntoKeys<T, ()>);

/// Iterator that takes the values out of a set and leaves it its table; made by [`HashSet::drain`].
pub struct Drain<'a, T>(hash_map::Drain<'a, T, ()>);

impl<T> HashSet<T> {
    /// Visits all values, in no order.
    #[inline]
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self.map.keys())
    }

    /// Takes all values out and keeps the table.
    pub fn drain(&mut self) -> Drain<'_, T> {
        Drain(self.map.drain())
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

        impl<$($life,)? T> ExactSizeIterator for $name<$($life,)? T> {}
        impl<$($life,)? T> FusedIterator for $name<$($life,)? T> {}

        impl<$($life,)? T> fmt::Debug for $name<$($life,)? T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("left", &self.len()).finish()
            }
        }
    )*};
}

iterator! {
    Iter<'a>: &'a T, |value| value;
    IntoIter<>: T, |value| value;
    Drain<'a>: T, |(value, ())| value;
}

impl<T> Clone for Iter<'_, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> IntoIterator for HashSet<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self.map.into_keys())
    }
}

impl<'a, T> IntoIterator for &'a HashSet<T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
