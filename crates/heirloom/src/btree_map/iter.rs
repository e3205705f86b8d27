//! The iterators of a map. Each walks over places and says what it owns or borrows of the pairs it comes by.

#![expect(unsafe_code, reason = "turns places into references and values")]

use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;

use super::BTreeMap;
use super::node::Node;
use super::place::{Place, Places};

/// Iterator over a range of pairs; made by [`BTreeMap::range`].
pub struct Range<'a, K, V> {
    places: Places<K, V>,
    borrows: PhantomData<&'a (K, V)>,
}

/// Iterator over a range of pairs, with mutable values; made by [`BTreeMap::range_mut`].
pub struct RangeMut<'a, K, V> {
    places: Places<K, V>,
    borrows: PhantomData<(&'a K, &'a mut V)>,
}

/// Iterator over the pairs of a map; made by [`BTreeMap::iter`].
pub struct Iter<'a, K, V> {
    range: Range<'a, K, V>,
    left: usize,
}

/// Iterator over the pairs of a map, with mutable values; made by [`BTreeMap::iter_mut`].
pub struct IterMut<'a, K, V> {
    range: RangeMut<'a, K, V>,
    left: usize,
}

/// Iterator that owns the pairs of a map.
///
/// # Invariants
///
/// The pairs at `places`, `left` of them, are live and owned; the nodes below `root` are there.
pub struct IntoIter<K, V> {
    places: Places<K, V>,
    left: usize,
    root: Node<K, V>,
    owns: PhantomData<(K, V)>,
}

// SAFETY: the iterator is like a reference to the map.
unsafe impl<K: Sync, V: Sync> Send for Range<'_, K, V> {}
// SAFETY: as above.
unsafe impl<K: Sync, V: Sync> Sync for Range<'_, K, V> {}
// SAFETY: the iterator is like a reference to the keys and a mutable one to the values.
unsafe impl<K: Sync, V: Send> Send for RangeMut<'_, K, V> {}
// SAFETY: a shared iterator gives out nothing.
unsafe impl<K: Sync, V: Sync> Sync for RangeMut<'_, K, V> {}
// SAFETY: the iterator owns its pairs and shares nothing else.
unsafe impl<K: Send, V: Send> Send for IntoIter<K, V> {}
// SAFETY: a shared iterator gives out nothing.
unsafe impl<K: Sync, V: Sync> Sync for IntoIter<K, V> {}

impl<'a, K, V> Range<'a, K, V> {
    pub(super) fn new(places: Places<K, V>) -> Self {
        Self { places, borrows: PhantomData }
    }
}

impl<'a, K, V> RangeMut<'a, K, V> {
    pub(super) fn new(places: Places<K, V>) -> Self {
        Self { places, borrows: PhantomData }
    }
}

impl<K, V> BTreeMap<K, V> {
    /// Visits all keys and values, in order.
    #[inline]
    pub fn iter(&self) -> Iter<'_, K, V> {
        // SAFETY: the tree is there, and borrowed with `self`.
        Iter { range: Range::new(unsafe { Places::all(self.root) }), left: self.len() }
    }

    /// Visits all keys and values, in order.
    #[inline]
    pub fn iter_mut(&mut self) -> IterMut<'_, K, V> {
        // SAFETY: the tree is there, and borrowed mutably with `self`.
        IterMut { range: RangeMut::new(unsafe { Places::all(self.root) }), left: self.len() }
    }

    /// Visits all keys, in order.
    pub fn keys(&self) -> Keys<'_, K, V> {
        Keys(self.iter())
    }

    /// Visits all values, in the order of their keys.
    pub fn values(&self) -> Values<'_, K, V> {
        Values(self.iter())
    }

    /// Visits all values, in the order of their keys.
    pub fn values_mut(&mut self) -> ValuesMut<'_, K, V> {
        ValuesMut(self.iter_mut())
    }

    /// Turns the map into its keys, in order.
    pub fn into_keys(self) -> IntoKeys<K, V> {
        IntoKeys(self.into_iter())
    }

    /// Turns the map into its values, in the order of their keys.
    pub fn into_values(self) -> IntoValues<K, V> {
        IntoValues(self.into_iter())
    }
}

/// What is made of a place, for an iterator from either end.
macro_rules! over_places {
    ($($name:ident<$($life:lifetime)?>: $item:ty, $of:expr;)*) => {$(
        impl<$($life,)? K, V> Iterator for $name<$($life,)? K, V> {
            type Item = $item;

            #[inline]
            fn next(&mut self) -> Option<$item> {
                // SAFETY: the tree is borrowed, or owned, and does not change; it comes by each place once.
                unsafe { self.places.next().map($of) }
            }
        }

        impl<$($life,)? K, V> DoubleEndedIterator for $name<$($life,)? K, V> {
            #[inline]
            fn next_back(&mut self) -> Option<$item> {
                // SAFETY: as for `next`.
                unsafe { self.places.next_back().map($of) }
            }
        }

        impl<$($life,)? K, V> FusedIterator for $name<$($life,)? K, V> {}
    )*};
}

over_places! {
    Range<'a>: (&'a K, &'a V), |Place { node, index }| (&*node.key(index), &*node.value(index));
    RangeMut<'a>: (&'a K, &'a mut V), |Place { node, index }| (&*node.key(index), &mut *node.value(index));
}

macro_rules! counted {
    ($($name:ident: $item:ty;)*) => {$(
        impl<'a, K, V> Iterator for $name<'a, K, V> {
            type Item = $item;

            #[inline]
            fn next(&mut self) -> Option<$item> {
                let pair = self.range.next()?;
                self.left -= 1;
                Some(pair)
            }

            #[inline]
            fn size_hint(&self) -> (usize, Option<usize>) {
                (self.left, Some(self.left))
            }
        }

        impl<'a, K, V> DoubleEndedIterator for $name<'a, K, V> {
            #[inline]
            fn next_back(&mut self) -> Option<$item> {
                let pair = self.range.next_back()?;
                self.left -= 1;
                Some(pair)
            }
        }
    )*};
}

counted! {
    Iter: (&'a K, &'a V);
    IterMut: (&'a K, &'a mut V);
}

impl<K, V> Iterator for IntoIter<K, V> {
    type Item = (K, V);

    #[inline]
    fn next(&mut self) -> Option<(K, V)> {
        // SAFETY: the tree is ours; each pair is read once, as it leaves `places`.
        unsafe {
            let Place { node, index } = self.places.next()?;
            self.left -= 1;
            Some(node.read(index))
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K, V> DoubleEndedIterator for IntoIter<K, V> {
    #[inline]
    fn next_back(&mut self) -> Option<(K, V)> {
        // SAFETY: as for `next`.
        unsafe {
            let Place { node, index } = self.places.next_back()?;
            self.left -= 1;
            Some(node.read(index))
        }
    }
}

impl<K, V> Drop for IntoIter<K, V> {
    fn drop(&mut self) {
        /// Drops what is left, even if a pair panics while it is dropped, and then the nodes.
        struct Rest<'a, K, V>(&'a mut IntoIter<K, V>);
        impl<K, V> Drop for Rest<'_, K, V> {
            fn drop(&mut self) {
                self.0.by_ref().for_each(drop);
                if !self.0.root.is_null() {
                    // SAFETY: the nodes are ours, and hold nothing any more.
                    unsafe { free_all(self.0.root) };
                }
            }
        }
        let rest = Rest(self);
        if std::mem::needs_drop::<(K, V)>() {
            rest.0.by_ref().for_each(drop);
        } else {
            rest.0.places = Places::NONE;
        }
    }
}

/// Gives back a node and all below it. No deeper than the tree is high.
unsafe fn free_all<K, V>(node: Node<K, V>) {
    // SAFETY: the caller's nodes are there and not used again.
    unsafe {
        if node.height() > 0 {
            (0..=node.len()).for_each(|index| free_all(node.edge(index)));
        }
        node.free();
    }
}

impl<K, V> Drop for BTreeMap<K, V> {
    fn drop(&mut self) {
        // SAFETY: the map is going, and the iterator takes its place.
        drop(unsafe { std::ptr::read(self) }.into_iter());
    }
}

impl<K, V> IntoIterator for BTreeMap<K, V> {
    type Item = (K, V);
    type IntoIter = IntoIter<K, V>;

    fn into_iter(self) -> IntoIter<K, V> {
        let map = ManuallyDrop::new(self);
        // SAFETY: the tree is there.
        let places = unsafe { Places::all(map.root) };
        // INVARIANT: the map is gone, and what it owned is owned here.
        IntoIter { places, left: map.len(), root: map.root, owns: PhantomData }
    }
}

impl<'a, K, V> IntoIterator for &'a BTreeMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<'a, K, V> IntoIterator for &'a mut BTreeMap<K, V> {
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

        impl<$($life,)? K, V> DoubleEndedIterator for $name<$($life,)? K, V> {
            #[inline]
            fn next_back(&mut self) -> Option<$item> {
                Some(self.0.next_back()?.$half)
            }
        }
    )*};
}

half! {
    /// Iterator over the keys of a map; made by [`BTreeMap::keys`].
    Keys<'a> = Iter, 0: &'a K;
    /// Iterator over the values of a map; made by [`BTreeMap::values`].
    Values<'a> = Iter, 1: &'a V;
    /// Iterator over the values of a map; made by [`BTreeMap::values_mut`].
    ValuesMut<'a> = IterMut, 1: &'a mut V;
    /// Iterator that owns the keys of a map; made by [`BTreeMap::into_keys`].
    IntoKeys<> = IntoIter, 0: K;
    /// Iterator that owns the values of a map; made by [`BTreeMap::into_values`].
    IntoValues<> = IntoIter, 1: V;
}

/// Implements what the iterators that know their length have in common.
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

common! { Iter<'a> IterMut<'a> IntoIter<> Keys<'a> Values<'a> ValuesMut<'a> IntoKeys<> IntoValues<> }

/// Implements `Clone` for what borrows.
macro_rules! clone {
    ($($name:ident { $($field:tt)* })*) => {$(
        impl<K, V> Clone for $name<'_, K, V> {
            fn clone(&self) -> Self {
                Self { $($field: self.$field.clone(),)* }
            }
        }
    )*};
}

clone! { Range { places borrows } Iter { range left } Keys { 0 } Values { 0 } }

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Range<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.clone()).finish()
    }
}

impl<K, V> fmt::Debug for RangeMut<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangeMut").finish_non_exhaustive()
    }
}
