//! `Entry`: the place of one key, found once and then read, filled or emptied.

#![expect(unsafe_code, reason = "turns places into references")]

use std::fmt;

use super::BTreeMap;
use super::place::Place;
use crate::alloc::AllocError;
use crate::or_panic;

/// The place of a key in a map; made by [`BTreeMap::entry`].
pub enum Entry<'a, K, V> {
    /// The key is there.
    Occupied(OccupiedEntry<'a, K, V>),
    /// The key is not there.
    Vacant(VacantEntry<'a, K, V>),
}

/// A key that is there, and its value.
///
/// # Invariants
///
/// The place is in the tree of the map, and not the end.
pub struct OccupiedEntry<'a, K, V> {
    map: &'a mut BTreeMap<K, V>,
    place: Place<K, V>,
}

/// A key that is not there.
///
/// # Invariants
///
/// The gap is in the tree of the map.
pub struct VacantEntry<'a, K, V> {
    map: &'a mut BTreeMap<K, V>,
    gap: Place<K, V>,
    key: K,
}

impl<'a, K, V> Entry<'a, K, V> {
    /// Returns the value, after setting it to `value` if the key is new.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn or_insert(self, value: V) -> &'a mut V {
        self.or_insert_with(|| value)
    }

    /// Returns the value, after setting it to what `value` returns if the key is new.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn or_insert_with(self, value: impl FnOnce() -> V) -> &'a mut V {
        self.or_insert_with_key(|_| value())
    }

    /// Returns the value, after setting it to what `value` makes of the key if that is new.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn or_insert_with_key(self, value: impl FnOnce(&K) -> V) -> &'a mut V {
        match self {
            Self::Occupied(entry) => entry.into_mut(),
            Self::Vacant(entry) => {
                let value = value(entry.key());
                entry.insert(value)
            }
        }
    }

    /// Returns the value, after setting it to its default if the key is new.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn or_default(self) -> &'a mut V
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// Changes the value if the key is there.
    #[inline]
    pub fn and_modify(mut self, modify: impl FnOnce(&mut V)) -> Self {
        if let Self::Occupied(entry) = &mut self {
            modify(entry.get_mut());
        }
        self
    }

    /// Returns the key.
    pub fn key(&self) -> &K {
        match self {
            Self::Occupied(entry) => entry.key(),
            Self::Vacant(entry) => entry.key(),
        }
    }
}

impl<'a, K, V> OccupiedEntry<'a, K, V> {
    pub(super) fn new(map: &'a mut BTreeMap<K, V>, place: Place<K, V>) -> Self {
        Self { map, place }
    }

    /// Returns the key as it lies in the map.
    pub fn key(&self) -> &K {
        // SAFETY: by the type invariant the pair is live; it is borrowed with `self`.
        unsafe { &*self.place.node.key(self.place.index) }
    }

    /// Returns the value.
    pub fn get(&self) -> &V {
        // SAFETY: as for `key`.
        unsafe { &*self.place.node.value(self.place.index) }
    }

    /// Returns the value.
    pub fn get_mut(&mut self) -> &mut V {
        // SAFETY: as for `key`, and `self` is borrowed mutably.
        unsafe { &mut *self.place.node.value(self.place.index) }
    }

    /// Returns the value for as long as the map is borrowed.
    #[inline]
    pub fn into_mut(self) -> &'a mut V {
        // SAFETY: by the type invariant the pair is live; it is borrowed mutably with the map.
        unsafe { &mut *self.place.node.value(self.place.index) }
    }

    /// Sets the value and returns the one it had.
    pub fn insert(&mut self, value: V) -> V {
        crate::whole::replace(self.get_mut(), value)
    }

    /// Takes the value out.
    pub fn remove(self) -> V {
        self.remove_entry().1
    }

    /// Takes key and value out.
    pub fn remove_entry(self) -> (K, V) {
        // SAFETY: by the type invariant the place is in the tree.
        unsafe { self.map.remove_at(self.place).0 }
    }
}

impl<'a, K, V> VacantEntry<'a, K, V> {
    pub(super) fn new(map: &'a mut BTreeMap<K, V>, gap: Place<K, V>, key: K) -> Self {
        Self { map, gap, key }
    }

    /// Returns the key.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Takes the key back.
    pub fn into_key(self) -> K {
        self.key
    }

    /// Sets the value.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn insert(self, value: V) -> &'a mut V {
        or_panic(self.try_insert(value))
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the map is then unchanged.
    #[inline]
    pub fn try_insert(self, value: V) -> Result<&'a mut V, AllocError> {
        // SAFETY: by the type invariant the gap is in the tree; where the pair lies then is borrowed mutably with the map.
        unsafe {
            let Place { node, index } = self.map.insert_at(self.gap, self.key, value)?;
            Ok(&mut *node.value(index))
        }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for OccupiedEntry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OccupiedEntry").field("key", self.key()).field("value", self.get()).finish()
    }
}

impl<K: fmt::Debug, V> fmt::Debug for VacantEntry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VacantEntry").field(&self.key).finish()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Entry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Occupied(entry) => entry.fmt(f),
            Self::Vacant(entry) => entry.fmt(f),
        }
    }
}
