//! `BTreeSet`: the keys of an ordered map in the heap.
//!
//! ```text
//! BTreeSet<T>, 16 bytes   =   BTreeMap<T, ()>       a node has keys only: 62 of `u64` in 512 bytes
//! ```
//!
//! Layout and invariants are those of [`BTreeMap`]. The version here counts what a set makes of it.

#![expect(unsafe_code, reason = "Heritable is an unsafe trait")]

mod iter;
mod operations;
mod traits;

use std::borrow::Borrow;
use std::ops::RangeBounds;

pub use iter::{IntoIter, Iter, Range};
pub use operations::{Difference, Intersection, SymmetricDifference, Union};

use crate::alloc::AllocError;
use crate::btree_map::{self, BTreeMap};
use crate::heritable::{Heritable, TypeDesc};
use crate::or_panic;

/// Version of the layout of [`BTreeSet`].
pub const FORMAT_VERSION: u32 = 1;

/// The layout is the map's: a change there is one here.
const _: () = assert!(btree_map::FORMAT_VERSION == 1, "a new layout of maps is a new one of sets");

/// A set of values in the heap, in their order.
#[repr(transparent)]
pub struct BTreeSet<T> {
    map: BTreeMap<T, ()>,
}

const _: () = assert!(size_of::<BTreeSet<u8>>() == 16 && align_of::<BTreeSet<u8>>() == 8);

// SAFETY: the map holds what it says of itself, and so does the set.
unsafe impl<T: Heritable> Heritable for BTreeSet<T> {
    const TYPE: &'static TypeDesc =
        &TypeDesc::collection("BTreeSet", FORMAT_VERSION, size_of::<Self>(), align_of::<Self>(), &[T::TYPE]);
}

impl<T> BTreeSet<T> {
    /// Creates an empty set, which has no node.
    #[inline]
    pub const fn new() -> Self {
        Self { map: BTreeMap::new() }
    }

    /// Returns how many values the set holds.
    #[inline]
    pub const fn len(&self) -> usize {
        self.map.len()
    }

    /// Returns whether the set holds nothing.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Drops all values.
    pub fn clear(&mut self) {
        self.map.clear();
    }

    /// Returns the least value.
    pub fn first(&self) -> Option<&T> {
        self.iter().next()
    }

    /// Returns the greatest value.
    pub fn last(&self) -> Option<&T> {
        self.iter().next_back()
    }

    /// Takes the least value out.
    pub fn pop_first(&mut self) -> Option<T> {
        self.map.pop_first().map(|(value, ())| value)
    }

    /// Takes the greatest value out.
    pub fn pop_last(&mut self) -> Option<T> {
        self.map.pop_last().map(|(value, ())| value)
    }

    /// Keeps the values for which `keep` returns true; those it has not seen when it panics stay.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.map.retain(|value, ()| keep(value));
    }

    /// Clones the set, into nodes that are full.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full.
    pub fn try_clone(&self) -> Result<Self, AllocError>
    where
        T: Clone,
    {
        Ok(Self { map: self.map.try_clone()? })
    }
}

impl<T: Ord> BTreeSet<T> {
    /// Returns whether the set holds a value.
    #[inline]
    pub fn contains<Q: Ord + ?Sized>(&self, value: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.map.contains_key(value)
    }

    /// Finds a value as it lies in the set.
    #[inline]
    pub fn get<Q: Ord + ?Sized>(&self, value: &Q) -> Option<&T>
    where
        T: Borrow<Q>,
    {
        self.map.get_key_value(value).map(|(value, ())| value)
    }

    /// Adds a value; returns whether it is new. If it is not, the one that is there stays.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn insert(&mut self, value: T) -> bool {
        or_panic(self.try_insert(value))
    }

    /// Adds a value; returns whether it is new. If it is not, the one that is there stays.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the value is new and the heap is full; the set is then unchanged, and the value dropped.
    #[inline]
    pub fn try_insert(&mut self, value: T) -> Result<bool, AllocError> {
        Ok(self.map.try_insert(value, ())?.is_none())
    }

    /// Adds a value and returns the equal one that it replaces.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn replace(&mut self, value: T) -> Option<T> {
        let before = self.take(&value);
        self.insert(value);
        before
    }

    /// Removes a value; returns whether it was there.
    #[inline]
    pub fn remove<Q: Ord + ?Sized>(&mut self, value: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.map.remove_entry(value).is_some()
    }

    /// Takes a value out.
    #[inline]
    pub fn take<Q: Ord + ?Sized>(&mut self, value: &Q) -> Option<T>
    where
        T: Borrow<Q>,
    {
        self.map.remove_entry(value).map(|(value, ())| value)
    }

    /// Visits the values in a range, in order.
    ///
    /// # Panics
    ///
    /// If the range is reversed, or excludes one value as both of its ends.
    pub fn range<Q: Ord + ?Sized, R: RangeBounds<Q>>(&self, range: R) -> Range<'_, T>
    where
        T: Borrow<Q>,
    {
        Range::new(self.map.range(range))
    }

    /// Moves all values of `other` here.
    ///
    /// # Panics
    ///
    /// If the heap is full; each value is then in one of the sets, but for the one that was on its way.
    pub fn append(&mut self, other: &mut Self) {
        self.map.append(&mut other.map);
    }

    /// Takes the values from `value` on into a set of their own.
    ///
    /// # Panics
    ///
    /// If the heap is full; each value is then still here or, if it had been moved, dropped.
    pub fn split_off<Q: Ord + ?Sized>(&mut self, value: &Q) -> Self
    where
        T: Borrow<Q>,
    {
        Self { map: self.map.split_off(value) }
    }
}

#[cfg(test)]
mod tests;
