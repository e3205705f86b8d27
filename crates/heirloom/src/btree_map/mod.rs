//! `BTreeMap`: an ordered map in the heap, a B-tree whose nodes fill their blocks.
//!
//! ```text
//!  0  root    address of the root; 0 if the map is empty
//!  8  len     pairs
//! 16
//!                        +--------------------------+
//!            root        | head | 30 | 60 |  values | edges          inner nodes hold pairs too
//!                        +---------------------------|--|--|-----+
//!                 .----------------------------------'  |  '----------------------.
//!         +-------v-------------+   +------------v------------+   +---------------v-----+
//!   leaf  | head | 10 20 | ..   |   | head | 40 50 | ..       |   | head | 70 80 90 | ..|
//!         +---------------------+   +-------------------------+   +---------------------+
//! ```
//!
//! `shape` has the layout of a node, byte for byte. A map of `u64` to `u64` has 31 pairs in a leaf of 512 bytes. Every node
//! knows the one above it, so that an iterator is two places and needs no memory.
//!
//! A full node is split in halves; but at either end of the map it gives one pair up, so that keys that come in order leave full nodes behind. A node
//! that has become less than half full by a removal takes pairs from its sibling or merges with it.
//!
//! # A kill
//!
//! An insertion or a removal writes to one node or to many. What it writes over is in the thread's diary before (`whole`), nodes are allocated before
//! the first store and given back behind the last: cut anywhere, it has happened or not.
//!
//! `node` is the memory, `place` the way through the tree, `insert` and `remove` the changes, all else is over these.
//!
//! # Invariants (tested by `BTreeMap::check`)
//!
//! - *sorted*: keys rise from place to place (as long as their order does not contradict itself).
//! - *counted*: `len` is the number of pairs.
//! - *filled*: every node has at least one pair, and at most its capacity.
//! - *level*: leaves have height 0, and each edge leads one down.
//! - *linked*: each node knows its parent, and which of its edges leads here.

#![expect(unsafe_code, reason = "turns places into references")]

mod entry;
mod insert;
mod iter;
mod node;
mod place;
mod remove;
pub(crate) mod shape;
mod traits;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ops::RangeBounds;

pub use entry::{Entry, OccupiedEntry, VacantEntry};
pub use iter::{IntoIter, IntoKeys, IntoValues, Iter, IterMut, Keys, Range, RangeMut, Values, ValuesMut};

use crate::alloc::AllocError;
use crate::heritable::{Heritable, TypeDesc};
use crate::{or_panic, whole};
use node::Node;
use place::{Place, Places};

/// Version of the layout of [`BTreeMap`].
pub const FORMAT_VERSION: u32 = 1;

/// A map from keys to values in the heap, in the order of its keys.
///
/// A key must not change its order while it is in a map. If it does, or if the order of the keys contradicts itself, the map may lose sight of keys
/// or panic, but nothing worse.
#[repr(C)]
pub struct BTreeMap<K, V> {
    /// Owned, with all nodes and pairs below it.
    root: Node<K, V>,
    len: u64,
    owns: PhantomData<(K, V)>,
}

const _: () = assert!(size_of::<BTreeMap<u8, u8>>() == 16 && align_of::<BTreeMap<u8, u8>>() == 8);
const _: () = assert!(std::mem::offset_of!(BTreeMap<u8, u8>, len) == 8);

// SAFETY: a map owns its pairs and shares nothing else.
unsafe impl<K: Send, V: Send> Send for BTreeMap<K, V> {}
// SAFETY: a shared map gives out nothing but `&K` and `&V`.
unsafe impl<K: Sync, V: Sync> Sync for BTreeMap<K, V> {}

// SAFETY: keys and values lie in blocks of the heap, are owned, and described by their own types.
unsafe impl<K: Heritable, V: Heritable> Heritable for BTreeMap<K, V> {
    const TYPE: &'static TypeDesc = &TypeDesc::collection(
        "BTreeMap",
        FORMAT_VERSION,
        size_of::<Self>(),
        align_of::<Self>(),
        &[K::TYPE, V::TYPE],
    );
}

/// What a search for a key found.
enum Found<K, V> {
    /// The pair is there.
    Pair(Place<K, V>),
    /// There is no such key; this is the gap in a leaf where it would be, or the end of an empty map.
    Gap(Place<K, V>),
}

impl<K, V> BTreeMap<K, V> {
    /// Creates an empty map, which has no node.
    #[inline]
    pub const fn new() -> Self {
        Self { root: Node::NULL, len: 0, owns: PhantomData }
    }

    /// Returns how many values the map holds.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Returns whether the map holds nothing.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops all keys and values, and the nodes.
    pub fn clear(&mut self) {
        drop(self.take());
    }

    /// Takes the whole tree, and leaves an empty map: one store.
    fn take(&mut self) -> Self {
        let all = Self { root: self.root, len: self.len, owns: PhantomData };
        // SAFETY: by the layout the two words are `root` and `len`.
        unsafe { whole::address_and_word(std::ptr::from_mut(self).cast(), Node::<K, V>::NULL.address(), 0) };
        all
    }

    /// Sets root and length at once.
    fn set(&mut self, root: Node<K, V>, len: u64) {
        // SAFETY: as above.
        unsafe { whole::address_and_word(std::ptr::from_mut(self).cast(), root.address(), len) };
    }

    /// Root and length, for a change that writes them.
    fn words(&mut self) -> whole::Place {
        // SAFETY: `self` is not null.
        unsafe { whole::Place::of(std::ptr::from_mut(self), 1) }
    }

    /// Returns the pair with the least key.
    pub fn first_key_value(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }

    /// Returns the pair with the greatest key.
    pub fn last_key_value(&self) -> Option<(&K, &V)> {
        self.iter().next_back()
    }

    /// Takes the pair with the least key out.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        // SAFETY: the place is in this tree.
        unsafe {
            let place = Place::first(self.root);
            (!place.is_end()).then(|| self.remove_at(place).0)
        }
    }

    /// Takes the pair with the greatest key out.
    pub fn pop_last(&mut self) -> Option<(K, V)> {
        // SAFETY: the place is in this tree.
        unsafe {
            let place = Place::last(self.root);
            (!place.is_end()).then(|| self.remove_at(place).0)
        }
    }

    /// Returns the place of the least key, to read, change or take its value.
    pub fn first_entry(&mut self) -> Option<OccupiedEntry<'_, K, V>> {
        // SAFETY: the tree is there.
        let place = unsafe { Place::first(self.root) };
        (!place.is_end()).then(|| OccupiedEntry::new(self, place))
    }

    /// Returns the place of the greatest key, to read, change or take its value.
    pub fn last_entry(&mut self) -> Option<OccupiedEntry<'_, K, V>> {
        // SAFETY: the tree is there.
        let place = unsafe { Place::last(self.root) };
        (!place.is_end()).then(|| OccupiedEntry::new(self, place))
    }

    /// Keeps the values for which `keep` returns true; those it has not seen when it panics stay.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        // SAFETY: the places are in this tree, which changes only where a removal says which place comes next.
        unsafe {
            let mut place = Place::first(self.root);
            while !place.is_end() {
                let Place { node, index } = place;
                if keep(&*node.key(index), &mut *node.value(index)) {
                    place = place.next();
                } else {
                    let (pair, next) = self.remove_at(place);
                    place = next;
                    drop(pair);
                }
            }
        }
    }
}

impl<K: Ord, V> BTreeMap<K, V> {
    /// Finds the value of a key.
    #[inline]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// Finds a key as it lies in the map, and its value.
    #[inline]
    pub fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        match self.find(key) {
            // SAFETY: the pair is live, and borrowed with `self`.
            Found::Pair(Place { node, index }) => Some(unsafe { (&*node.key(index), &*node.value(index)) }),
            Found::Gap(_) => None,
        }
    }

    /// Finds the value of a key.
    #[inline]
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        match self.find(key) {
            // SAFETY: the value is live, and borrowed mutably with `self`.
            Found::Pair(Place { node, index }) => Some(unsafe { &mut *node.value(index) }),
            Found::Gap(_) => None,
        }
    }

    /// Returns whether the map holds a key.
    #[inline]
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        matches!(self.find(key), Found::Pair(_))
    }

    /// Sets the value of a key and returns the one it had.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        or_panic(self.try_insert(key, value))
    }

    /// Sets the value of a key and returns the one it had.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the key is new and the heap is full: the map is then unchanged, key and value are dropped.
    #[inline]
    pub fn try_insert(&mut self, key: K, value: V) -> Result<Option<V>, AllocError> {
        match self.find(&key) {
            Found::Pair(Place { node, index }) => {
                // SAFETY: the value is live, and `self` borrowed mutably.
                Ok(Some(whole::replace(unsafe { &mut *node.value(index) }, value)))
            }
            Found::Gap(gap) => {
                // SAFETY: the gap is in this tree.
                unsafe { self.insert_at(gap, key, value)? };
                Ok(None)
            }
        }
    }

    /// Finds the place of a key.
    #[inline]
    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        match self.find(&key) {
            Found::Pair(place) => Entry::Occupied(OccupiedEntry::new(self, place)),
            Found::Gap(gap) => Entry::Vacant(VacantEntry::new(self, gap, key)),
        }
    }

    /// Takes the value of a key out.
    #[inline]
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.remove_entry(key).map(|(_, value)| value)
    }

    /// Takes a key and its value out.
    #[inline]
    pub fn remove_entry<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        match self.find(key) {
            // SAFETY: the place is in this tree.
            Found::Pair(place) => Some(unsafe { self.remove_at(place).0 }),
            Found::Gap(_) => None,
        }
    }

    /// Visits the pairs whose keys lie in a range, in order.
    ///
    /// # Panics
    ///
    /// If the range is reversed, or excludes one key as both of its ends.
    pub fn range<Q: Ord + ?Sized, R: RangeBounds<Q>>(&self, range: R) -> Range<'_, K, V>
    where
        K: Borrow<Q>,
    {
        // SAFETY: the tree is there, and borrowed with `self`.
        Range::new(unsafe { Places::range(self.root, &range) })
    }

    /// Visits the pairs whose keys lie in a range, in order, with mutable values.
    ///
    /// # Panics
    ///
    /// If the range is reversed, or excludes one key as both of its ends.
    pub fn range_mut<Q: Ord + ?Sized, R: RangeBounds<Q>>(&mut self, range: R) -> RangeMut<'_, K, V>
    where
        K: Borrow<Q>,
    {
        // SAFETY: the tree is there, and borrowed mutably with `self`.
        RangeMut::new(unsafe { Places::range(self.root, &range) })
    }

    /// Moves all pairs of `other` here; where both have a key, the value of `other` counts.
    ///
    /// # Panics
    ///
    /// If the heap is full; each pair is then in one of the maps, but for the one that was on its way.
    pub fn append(&mut self, other: &mut Self) {
        let disjoint = match (self.last_key_value(), other.first_key_value()) {
            (None, _) => {
                let (one, two) = (self.words(), other.words());
                // SAFETY: the places are the two maps'.
                return unsafe { whole::guarded([one, two], || std::mem::swap(self, other)) };
            }
            (_, None) => return,
            (Some((last, _)), Some((first, _))) => last < first,
        };
        while let Some((key, value)) = other.pop_first() {
            if disjoint {
                or_panic(self.try_push_last(key, value));
            } else {
                self.insert(key, value);
            }
        }
    }

    /// Takes the pairs from `key` on into a map of their own.
    ///
    /// # Panics
    ///
    /// If the heap is full; each pair is then still here or, if it had been moved, dropped.
    pub fn split_off<Q: Ord + ?Sized>(&mut self, key: &Q) -> Self
    where
        K: Borrow<Q>,
    {
        let mut tail = Self::new();
        // SAFETY: the places are in this tree, which changes only where a removal says which place comes next.
        unsafe {
            let from: Places<K, V> =
                Places::range(self.root, &(std::ops::Bound::Included(key), std::ops::Bound::Unbounded));
            let mut place = from.front();
            while !place.is_end() {
                let ((key, value), next) = self.remove_at(place);
                or_panic(tail.try_push_last(key, value));
                place = next;
            }
        }
        tail
    }

    /// Goes down to a key.
    #[inline]
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Found<K, V>
    where
        K: Borrow<Q>,
    {
        let mut node = self.root;
        if node.is_null() {
            return Found::Gap(Place::END);
        }
        // SAFETY: the tree is there; an edge is followed in inner nodes only.
        unsafe {
            loop {
                match search(node.keys(), key) {
                    Ok(index) => return Found::Pair(Place { node, index }),
                    Err(index) if node.height() == 0 => return Found::Gap(Place { node, index }),
                    Err(index) => node = node.edge(index),
                }
            }
        }
    }
}

impl<K, V> BTreeMap<K, V> {
    /// Clones the map, into nodes that are full.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full.
    pub fn try_clone(&self) -> Result<Self, AllocError>
    where
        K: Clone,
        V: Clone,
    {
        let mut clone = Self::new();
        for (key, value) in self {
            clone.try_push_last(key.clone(), value.clone())?;
        }
        Ok(clone)
    }
}

/// Finds a key in a node: by halves, without a branch that depends on a comparison, where that is better than one after the other.
#[inline(always)]
fn search<K: Borrow<Q>, Q: Ord + ?Sized>(keys: &[K], key: &Q) -> Result<usize, usize> {
    if size_of::<K>() > 16 || keys.len() > 16 {
        return keys.binary_search_by(|other| other.borrow().cmp(key));
    }
    for (index, other) in keys.iter().enumerate() {
        match other.borrow().cmp(key) {
            Ordering::Less => {}
            Ordering::Equal => return Ok(index),
            Ordering::Greater => return Err(index),
        }
    }
    Err(keys.len())
}

#[cfg(test)]
mod check;
#[cfg(test)]
mod tests;
