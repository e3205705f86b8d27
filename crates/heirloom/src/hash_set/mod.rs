//! `HashSet`: the keys of a swiss table in the heap.
//!
//! ```text
//! HashSet<T>, 56 bytes   =   HashMap<T, ()>       a bucket is the value alone
//! ```
//!
//! Layout, hash and inheriting are those of [`HashMap`]. The version here counts what a set makes of it.

#![expect(unsafe_code, reason = "Heritable is an unsafe trait")]

mod iter;
mod operations;
mod traits;

use std::borrow::Borrow;
use std::hash::Hash;

pub use iter::{Drain, IntoIter, Iter};
pub use operations::{Difference, Intersection, SymmetricDifference, Union};

use crate::alloc::AllocError;
use crate::hash_map::{self, Entry, HashMap};
use crate::heritable::{Heritable, TypeDesc};
use crate::or_panic;

/// Version of the layout of [`HashSet`].
pub const FORMAT_VERSION: u32 = 1;

/// The layout is the map's: a change there is one here.
const _: () = assert!(hash_map::FORMAT_VERSION == 1, "a new layout of maps is a new one of sets");

/// A set of values in the heap.
#[repr(transparent)]
pub struct HashSet<T> {
    map: HashMap<T, ()>,
}

const _: () = assert!(size_of::<HashSet<u8>>() == 56 && align_of::<HashSet<u8>>() == 8);

// SAFETY: the map holds what it says of itself, and so does the set.
unsafe impl<T: Heritable> Heritable for HashSet<T> {
    const TYPE: &'static TypeDesc =
        &TypeDesc::collection("HashSet", FORMAT_VERSION, size_of::<Self>(), align_of::<Self>(), &[T::TYPE]);
}

impl<T> HashSet<T> {
    /// Creates an empty set, which has no table.
    #[inline]
    pub const fn new() -> Self {
        Self { map: HashMap::new() }
    }

    /// Returns how many values the set can hold without growing.
    pub fn capacity(&self) -> usize {
        self.map.capacity()
    }

    /// Returns how many values the set holds.
    #[inline]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Returns whether the set holds nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Drops all values and keeps the table.
    pub fn clear(&mut self) {
        self.map.clear();
    }

    /// Keeps the values for which `keep` returns true.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.map.retain(|value, ()| keep(value));
    }
}

impl<T: Eq + Hash> HashSet<T> {
    /// Creates an empty set with room for at least `capacity` values.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn with_capacity(capacity: usize) -> Self {
        or_panic(Self::try_with_capacity(capacity))
    }

    /// Creates an empty set with room for at least `capacity` values.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full.
    pub fn try_with_capacity(capacity: usize) -> Result<Self, AllocError> {
        Ok(Self { map: HashMap::try_with_capacity(capacity)? })
    }

    /// Makes room for at least `additional` more values.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn reserve(&mut self, additional: usize) {
        self.map.reserve(additional);
    }

    /// Makes room for at least `additional` more values.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the set is then unchanged.
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), AllocError> {
        self.map.try_reserve(additional)
    }

    /// Gives back the room that is not used; keeps it if the heap is too full for the move.
    pub fn shrink_to_fit(&mut self) {
        self.map.shrink_to_fit();
    }

    /// Returns whether the set holds a value.
    #[inline]
    pub fn contains<Q: Eq + Hash + ?Sized>(&self, value: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.map.contains_key(value)
    }

    /// Finds a value as it lies in the set.
    #[inline]
    pub fn get<Q: Eq + Hash + ?Sized>(&self, value: &Q) -> Option<&T>
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
        // The place is free again before the new value comes, so no room is needed where one was found.
        let before = self.take(&value);
        self.insert(value);
        before
    }

    /// Returns the value that equals this one, after adding it if there is none.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn get_or_insert(&mut self, value: T) -> &T {
        match self.map.entry(value) {
            Entry::Occupied(entry) => entry.into_key(),
            Entry::Vacant(entry) => entry.insert_and_key(()),
        }
    }

    /// Removes a value; returns whether it was there.
    #[inline]
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, value: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.map.remove_entry(value).is_some()
    }

    /// Takes a value out.
    #[inline]
    pub fn take<Q: Eq + Hash + ?Sized>(&mut self, value: &Q) -> Option<T>
    where
        T: Borrow<Q>,
    {
        self.map.remove_entry(value).map(|(value, ())| value)
    }

    /// Clones the set, under the same seed.
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

#[cfg(test)]
mod tests;
