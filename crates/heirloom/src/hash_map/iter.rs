//! The iterators of a map. Each wraps the table's walker and says what it owns or borrows of the pairs it comes by.

#![expect(unsafe_code, reason = "turns the addresses of a walker into references and values")]

use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;

use super::table::Table;
use super::walk::Walker;
use super::{HashMap, Pair};

/// Iterator over the pairs of a map; made by [`HashMap::iter`].
pub struct Iter<'a, K, V> {
    walker: Walker<Pair<K, V>>,
    borrows: PhantomData<&'a (K, V)>,
}

/// Iterator over the pairs of a map, with mutable values; made by [`HashMap::iter_mut`].
pub struct IterMut<'a, K, V> {
    walker: Walker<Pair<K, V>>,
    borrows: PhantomData<(&'a K, &'a mut V)>,
}

/// Iterator that owns the pairs of a map.
pub struct IntoIter<K, V> {
    walker: Walker<Pair<K, V>>,
    /// The block, which has forgotten the pairs.
    table: Table<Pair<K, V>>,
}

/// Iterator that takes the pairs out of a map and leaves it its table; made by [`HashMap::drain`].
pub struct Drain<'a, K, V> {
    walker: Walker<Pair<K, V>>,
    /// The block, which has forgotten the pairs.
    table: Table<Pair<K, V>>,
    origin: &'a mut Table<Pair<K, V>>,
}

impl<K, V> HashMap<K, V> {
    /// Visits all keys and values, in no order.
    #[inline]
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter { walker: self.table.iter(), borrows: PhantomData }
    }

    /// Visits all keys and values, in no order.
    #[inline]
    pub fn iter_mut(&mut self) -> IterMut<'_, K, V> {
        IterMut { walker: self.table.iter(), borrows: PhantomData }
    }

    /// Takes all keys and values out and keeps the table.
    pub fn drain(&mut self) -> Drain<'_, K, V> {
        let (table, walker) = self.table.release();
        Drain { walker, table, origin: &mut self.table }
    }

    /// Visits all keys, in no order.
    pub fn keys(&self) -> Keys<'_, K, V> {
        Keys(self.iter())
    }

    /// Visits all values, in no order.
    pub fn values(&self) -> Values<'_, K, V> {
        Values(self.iter())
    }

    /// Visits all values, in no order.
    pub fn values_mut(&mut self) -> ValuesMut<'_, K, V> {
        ValuesMut(self.iter_mut())
    }

    /// Turns the map into its keys.
    pub fn into_keys(self) -> IntoKeys<K, V> {
        IntoKeys(self.into_iter())
    }

    /// Turns the map into its values.
    pub fn into_values(self) -> IntoValues<K, V> {
        IntoValues(self.into_iter())
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    #[inline]
    fn next(&mut self) -> Option<(&'a K, &'a V)> {
        // SAFETY: the pair is live, and the map is borrowed for `'a`.
        let pair = unsafe { &*self.walker.next()? };
        Some((&pair.key, &pair.value))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.walker.size_hint()
    }
}

impl<'a, K, V> Iterator for IterMut<'a, K, V> {
    type Item = (&'a K, &'a mut V);

    #[inline]
    fn next(&mut self) -> Option<(&'a K, &'a mut V)> {
        // SAFETY: the pair is live, the map is mutably borrowed for `'a`, and the walker comes by once.
        let pair = unsafe { &mut *self.walker.next()? };
        Some((&pair.key, &mut pair.value))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.walker.size_hint()
    }
}

impl<K, V> Iterator for IntoIter<K, V> {
    type Item = (K, V);

    #[inline]
    fn next(&mut self) -> Option<(K, V)> {
        // SAFETY: the pair is live, the table has forgotten it, and the walker comes by once.
        let Pair { key, value } = unsafe { self.walker.next()?.read() };
        Some((key, value))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.walker.size_hint()
    }
}

impl<K, V> Iterator for Drain<'_, K, V> {
    type Item = (K, V);

    #[inline]
    fn next(&mut self) -> Option<(K, V)> {
        // SAFETY: the pair is live, the table has forgotten it, and the walker comes by once.
        let Pair { key, value } = unsafe { self.walker.next()?.read() };
        Some((key, value))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.walker.size_hint()
    }
}

impl<K, V> Drop for IntoIter<K, V> {
    fn drop(&mut self) {
        self.for_each(drop);
        debug_assert_eq!(self.table.len(), 0);
    }
}

impl<K, V> Drop for Drain<'_, K, V> {
    fn drop(&mut self) {
        self.for_each(drop);
        self.table.reset();
        drop(self.origin.adopt(std::mem::replace(&mut self.table, Table::new())));
    }
}

impl<K, V> Clone for Iter<'_, K, V> {
    fn clone(&self) -> Self {
        Self { walker: self.walker.clone(), borrows: PhantomData }
    }
}

impl<K, V> IntoIterator for HashMap<K, V> {
    type Item = (K, V);
    type IntoIter = IntoIter<K, V>;

    fn into_iter(mut self) -> IntoIter<K, V> {
        let (table, walker) = self.table.release();
        IntoIter { walker, table }
    }
}

impl<'a, K, V> IntoIterator for &'a HashMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<'a, K, V> IntoIterator for &'a mut HashMap<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = IterMut<'a, K, V>;

    fn into_iter(self) -> IterMut<'a, K, V> {
        self.iter_mut()
    }
}

/// Defines an iterator over one half of what another yields.
macro_rules! half {
    ($(#[$doc:meta] $name:ident<$($life:lifetime)?> = $of:ident, $half:tt: $item:ty;)*) => {$(
        #[$doc]
        pub struct $name<$($life,)? K, V>($of<$($life,)? K, V>);

        impl<$($life,)? K, V> Iterator for $name<$($life,)? K, V> {
            type Item = $item;

            #[inline]
            fn next(&mut self) -> Option<$item> {
                Some(self.0.next()?.$half)
            }

            #[inline]
            fn size_hint(&self) -> (usize, Option<usize>) {
                self.0.size_hint()
            }
        }
    )*};
}

half! {
    /// Iterator over the keys of a map; made by [`HashMap::keys`].
    Keys<'a> = Iter, 0: &'a K;
    /// Iterator over the values of a map; made by [`HashMap::values`].
    Values<'a> = Iter, 1: &'a V;
    /// Iterator over the values of a map; made by [`HashMap::values_mut`].
    ValuesMut<'a> = IterMut, 1: &'a mut V;
    /// Iterator that owns the keys of a map; made by [`HashMap::into_keys`].
    IntoKeys<> = IntoIter, 0: K;
    /// Iterator that owns the values of a map; made by [`HashMap::into_values`].
    IntoValues<> = IntoIter, 1: V;
}

/// Implements what all of the iterators have in common.
macro_rules! common {
    ($($name:ident<$($life:lifetime)?>)*) => {$(
        impl<$($life,)? K, V> ExactSizeIterator for $name<$($life,)? K, V> {}
        impl<$($life,)? K, V> FusedIterator for $name<$($life,)? K, V> {}

        impl<$($life,)? K, V> fmt::Debug for $name<$($life,)? K, V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("left", &self.len()).finish()
            }
        }
    )*};
}

common! { Iter<'a> IterMut<'a> IntoIter<> Drain<'a> Keys<'a> Values<'a> ValuesMut<'a> IntoKeys<> IntoValues<> }

impl<K, V> Clone for Keys<'_, K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Clone for Values<'_, K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
