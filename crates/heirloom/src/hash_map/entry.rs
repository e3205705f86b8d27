//! `Entry`: the place of one key, found once and then read, filled or emptied.

use std::fmt;
use std::hash::Hash;

use super::table::Occupied;
use super::{HashMap, Pair};
use crate::alloc::AllocError;
use crate::{or_panic, whole};

/// The place of a key in a map; made by [`HashMap::entry`].
pub enum Entry<'a, K, V> {
    /// The key is there.
    Occupied(OccupiedEntry<'a, K, V>),
    /// The key is not there.
    Vacant(VacantEntry<'a, K, V>),
}

/// A key that is there, and its value.
pub struct OccupiedEntry<'a, K, V> {
    pub(super) pair: Occupied<'a, Pair<K, V>>,
}

/// A key that is not there.
pub struct VacantEntry<'a, K, V> {
    pub(super) map: &'a mut HashMap<K, V>,
    /// A vacant bucket that a walk for the key comes by, for as long as the table does not grow.
    pub(super) index: usize,
    pub(super) hash: u64,
    pub(super) key: K,
}

impl<'a, K: Eq + Hash, V> Entry<'a, K, V> {
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
        match self {
            Self::Occupied(entry) => entry.into_mut(),
            Self::Vacant(entry) => entry.insert(value()),
        }
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
    /// Returns the key as it lies in the map.
    pub fn key(&self) -> &K {
        &self.pair.get().key
    }

    /// Returns the value.
    pub fn get(&self) -> &V {
        &self.pair.get().value
    }

    /// Returns the value.
    pub fn get_mut(&mut self) -> &mut V {
        &mut self.pair.get_mut().value
    }

    /// Returns the value for as long as the map is borrowed.
    #[inline]
    pub fn into_mut(self) -> &'a mut V {
        &mut self.pair.into_mut().value
    }

    /// Returns the key for as long as the map is borrowed.
    pub(crate) fn into_key(self) -> &'a K {
        &self.pair.into_mut().key
    }

    /// Sets the value and returns the one it had. A kill leaves the one or the other.
    pub fn insert(&mut self, value: V) -> V {
        whole::replace(self.get_mut(), value)
    }

    /// Takes the value out.
    pub fn remove(self) -> V {
        self.remove_entry().1
    }

    /// Takes key and value out.
    pub fn remove_entry(self) -> (K, V) {
        let Pair { key, value } = self.pair.remove();
        (key, value)
    }
}

impl<'a, K: Eq + Hash, V> VacantEntry<'a, K, V> {
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
        let Self { map, index, hash, key } = self;
        Ok(&mut map.fill(index, hash, Pair { key, value })?.value)
    }

    /// Sets the value and returns the key.
    pub(crate) fn insert_and_key(self, value: V) -> &'a K {
        let Self { map, index, hash, key } = self;
        &or_panic(map.fill(index, hash, Pair { key, value })).key
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
