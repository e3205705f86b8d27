//! `HashMap`: a swiss table in the heap.
//!
//! ```text
//!  0  control      address of the first control byte; 0 without a block
//!  8  mask         buckets - 1; 0 without a block
//! 16  len          values
//! 24  growth_left  empty buckets that may still be filled before the table grows
//! 32  seed         key of SipHash-1-3, two words
//! 48  probed       generation under which the order of the table was last proven; all ones: out of order
//! 52  reserved     0
//! 56
//! ```
//!
//! The block is described in `table`, its sizes in `shape`, control bytes in `group`, and where a hash leads in `walk`. A bucket is the
//! key, then the value, laid out as in C.
//! Nothing points out of the heap: an empty map has no table at all.
//!
//! # Inheriting a map
//!
//! The seed and the hash are part of the format. What a key feeds to the hasher is not: it is up to std and to the
//! key's own crate, which may be another version in the next generation. So the first search of a generation that finds
//! nothing hashes a few keys from all over the table again. If one of them no longer leads to where it lies, the map rebuilds itself in
//! place, which needs no memory. A shared map cannot, and compares every key until somebody comes by with `&mut`.
//!
//! A key that a search finds is the right one, in whatever order the table is. So only a search that finds nothing needs
//! to know, and compares two 32-bit numbers; a hit costs what it costs elsewhere.

mod entry;
mod group;
mod heritable;
mod iter;
mod rehash;
pub(crate) mod seed;
pub(crate) mod shape;
pub(crate) mod table;
mod traits;
mod transact;
mod walk;

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

pub use entry::{Entry, OccupiedEntry, VacantEntry};
pub use iter::{Drain, IntoIter, IntoKeys, IntoValues, Iter, IterMut, Keys, Values, ValuesMut};

pub use transact::TxMap;

use crate::alloc::AllocError;
use crate::generation::{self, NEVER};
use crate::or_panic;
use crate::whole::{self, step};
use seed::Seed;
use table::{Place, Table};

/// Version of the layout of [`HashMap`].
pub const FORMAT_VERSION: u32 = 1;

/// How many keys the first access in a generation hashes again.
const SAMPLE: usize = 8;

/// A map from keys to values in the heap.
///
/// # Invariants
///
/// - If `probed` is a generation, a probe found every key where it lay in that generation.
/// - No two keys are equal.
#[repr(C)]
pub struct HashMap<K, V> {
    table: Table<Pair<K, V>>,
    seed: Seed,
    probed: AtomicU32,
    reserved: u32,
}

const _: () = assert!(size_of::<HashMap<u8, u8>>() == 56 && align_of::<HashMap<u8, u8>>() == 8);
const _: () = assert!(std::mem::offset_of!(HashMap<u8, u8>, seed) == 32);
const _: () = assert!(std::mem::offset_of!(HashMap<u8, u8>, probed) == 48);
const _: () = assert!(size_of::<Pair<u8, u32>>() == 8 && std::mem::offset_of!(Pair<u8, u32>, value) == 4);

/// What a bucket holds.
#[repr(C)]
#[derive(Clone)]
struct Pair<K, V> {
    key: K,
    value: V,
}

impl<K, V> HashMap<K, V> {
    /// Creates an empty map, which has no table.
    #[inline]
    pub const fn new() -> Self {
        Self { table: Table::new(), seed: Seed::NONE, probed: AtomicU32::new(NEVER), reserved: 0 }
    }

    /// Returns how many values the map can hold without growing.
    pub fn capacity(&self) -> usize {
        self.table.len() + self.table.growth_left()
    }

    /// Returns how many values the map holds.
    #[inline]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns whether the map holds nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops all keys and values and keeps the table.
    pub fn clear(&mut self) {
        self.table.clear();
    }

    /// Keeps the values for which `keep` returns true.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.table.retain(|pair| keep(&pair.key, &mut pair.value));
    }
}

impl<K: Eq + Hash, V> HashMap<K, V> {
    /// Creates an empty map with room for at least `capacity` values.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn with_capacity(capacity: usize) -> Self {
        or_panic(Self::try_with_capacity(capacity))
    }

    /// Creates an empty map with room for at least `capacity` values.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full.
    pub fn try_with_capacity(capacity: usize) -> Result<Self, AllocError> {
        let mut map = Self::new();
        map.try_reserve(capacity)?;
        Ok(map)
    }

    /// Makes room for at least `additional` more values.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn reserve(&mut self, additional: usize) {
        or_panic(self.try_reserve(additional));
    }

    /// Makes room for at least `additional` more values.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the map is then unchanged.
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), AllocError> {
        if additional <= self.table.growth_left() { Ok(()) } else { self.grow(additional) }
    }

    /// Gives back the room that is not used; keeps it if the heap is too full for the move.
    pub fn shrink_to_fit(&mut self) {
        if self.is_empty() {
            drop(self.table.release());
        } else if let Ok(buckets) = shape::buckets_for(self.len())
            && buckets < self.table.buckets()
        {
            let _kept_on_error = self.resize(buckets);
        }
    }

    /// Finds the value of a key.
    #[inline(always)]
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// Finds a key as it lies in the map, and its value.
    #[inline(always)]
    pub fn get_key_value<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        match self.table.get(self.seed.hash(key), |pair| pair.key.borrow() == key) {
            Some(pair) => Some((&pair.key, &pair.value)),
            None if self.probed.load(Relaxed) == generation::current() => None,
            None => self.look_again(key),
        }
    }

    /// Finds the value of a key.
    #[inline]
    pub fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let index = match self.table.find(self.seed.hash(key), |pair| pair.key.borrow() == key) {
            Some(index) => index,
            None if self.is_settled() => return None,
            None => self.search_again(key)?,
        };
        Some(&mut self.table.occupied(index).into_mut().value)
    }

    /// Returns whether the map holds a key.
    #[inline]
    pub fn contains_key<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).is_some()
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
    /// [`AllocError`] if the key is new and the heap is full: the map is then unchanged, key and value are dropped;
    /// who wants to keep them calls [`try_reserve`](Self::try_reserve) first.
    #[inline]
    pub fn try_insert(&mut self, key: K, value: V) -> Result<Option<V>, AllocError> {
        if !self.table.has_block() {
            return self.make_table_and(|map| map.try_insert(key, value));
        }
        let hash = self.seed.hash(&key);
        match self.table.place(hash, |pair| pair.key == key) {
            Place::Found(index) => {
                Ok(Some(whole::replace(&mut self.table.occupied(index).into_mut().value, value)))
            }
            Place::Vacant(index) if self.is_settled() => {
                self.fill(index, hash, Pair { key, value })?;
                Ok(None)
            }
            Place::Vacant(_) => self.settle_and(key, |map, key, found| match found {
                Some(index) => {
                    Ok(Some(whole::replace(&mut map.table.occupied(index).into_mut().value, value)))
                }
                None => map.try_insert(key, value),
            }),
        }
    }

    /// Returns the value of a key, after setting it to what `value` returns if the key is new.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn get_or_insert_with(&mut self, key: K, value: impl FnOnce() -> V) -> &mut V {
        self.entry(key).or_insert_with(value)
    }

    /// Finds the place of a key.
    ///
    /// # Panics
    ///
    /// If the map has no table yet and the heap is full.
    #[inline]
    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        or_panic(self.try_entry(key))
    }

    /// Finds the place of a key.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the map has no table yet and the heap is full.
    #[inline]
    pub fn try_entry(&mut self, key: K) -> Result<Entry<'_, K, V>, AllocError> {
        if !self.table.has_block() {
            return self.make_table_and(|map| map.try_entry(key));
        }
        let hash = self.seed.hash(&key);
        Ok(match self.table.place(hash, |pair| pair.key == key) {
            Place::Found(index) => Entry::Occupied(OccupiedEntry { pair: self.table.occupied(index) }),
            Place::Vacant(index) if self.is_settled() => {
                Entry::Vacant(VacantEntry { map: self, index, hash, key })
            }
            Place::Vacant(_) => {
                return self.settle_and(key, |map, key, found| match found {
                    Some(index) => Ok(Entry::Occupied(OccupiedEntry { pair: map.table.occupied(index) })),
                    None => map.try_entry(key),
                });
            }
        })
    }

    /// Takes the value of a key out.
    #[inline]
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.remove_entry(key).map(|(_, value)| value)
    }

    /// Takes a key and its value out.
    #[inline]
    pub fn remove_entry<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        let index = match self.table.find_to_take(self.seed.hash(key), |pair| pair.key.borrow() == key) {
            Some(index) => index,
            None if self.is_settled() => return None,
            None => self.search_again(key)?,
        };
        let Pair { key, value } = self.table.occupied(index).remove();
        Some((key, value))
    }

    /// Clones the map, under the same seed.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full.
    pub fn try_clone(&self) -> Result<Self, AllocError>
    where
        K: Clone,
        V: Clone,
    {
        let table = self.table.try_clone()?;
        let probed = AtomicU32::new(self.probed.load(Relaxed));
        Ok(Self { table, seed: self.seed, probed, reserved: 0 })
    }

    /// Fills a vacant bucket on the walk of `hash`, or another one if the table must grow first.
    #[inline(always)]
    fn fill(&mut self, index: usize, hash: u64, pair: Pair<K, V>) -> Result<&mut Pair<K, V>, AllocError> {
        if !self.table.may_fill(index) {
            return self.grow_and_fill(hash, pair);
        }
        Ok(self.table.fill(index, hash, pair))
    }

    #[cold]
    #[inline(never)]
    fn grow_and_fill(&mut self, hash: u64, pair: Pair<K, V>) -> Result<&mut Pair<K, V>, AllocError> {
        self.grow(1)?;
        let index = self.table.vacant(hash);
        Ok(self.table.fill(index, hash, pair))
    }

    /// Returns whether the table is known to be in order.
    #[inline(always)]
    fn is_settled(&mut self) -> bool {
        *self.probed.get_mut() == generation::current()
    }

    /// What a search did not find, in a map that is not known to be in order: puts it in order and searches again, or, where the heap has
    /// no room even for that, compares every key.
    #[cold]
    #[inline(never)]
    fn search_again<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        match self.settle() {
            Ok(()) => self.table.find(self.seed.hash(key), |pair| pair.key.borrow() == key),
            Err(_) => self.find_anywhere(key).map(|(index, _)| index),
        }
    }

    /// As [`settle`](Self::settle), and calls what comes then from here, once a generation, so that the usual way calls nobody and saves no
    /// registers. Where the map cannot be put in order, the place of a key that is there is given nevertheless.
    #[cold]
    #[inline(never)]
    fn settle_and<'a, T>(
        &'a mut self,
        key: K,
        then: impl FnOnce(&'a mut Self, K, Option<usize>) -> Result<T, AllocError>,
    ) -> Result<T, AllocError> {
        match self.settle() {
            Ok(()) => then(self, key, None),
            Err(error) => match self.find_anywhere(&key).map(|(index, _)| index) {
                Some(index) => then(self, key, Some(index)),
                None => Err(error),
            },
        }
    }

    /// Makes the first table.
    #[cold]
    #[inline(never)]
    fn make_table_and<'a, T>(
        &'a mut self,
        then: impl FnOnce(&'a mut Self) -> Result<T, AllocError>,
    ) -> Result<T, AllocError> {
        self.grow(1)?;
        then(self)
    }

    /// What a search did not find, in a shared map that is not known to be in order, may still be there.
    #[cold]
    #[inline(never)]
    fn look_again<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        if self.prove() {
            return None;
        }
        self.find_anywhere(key).map(|(_, pair)| (&pair.key, &pair.value))
    }

    /// Hashes a few keys again, and notes the generation if they lie where they should.
    #[cold]
    #[inline(never)]
    fn prove(&self) -> bool {
        let in_order = self.is_empty()
            || self.probed.load(Relaxed) != NEVER
                && self.table.sample(SAMPLE).all(|(index, pair)| {
                    let hash = self.seed.hash(&pair.key);
                    self.table.leads_to(hash, index)
                });
        if in_order {
            // Every thread that gets here writes the same, and nothing else depends on it.
            self.probed.store(generation::current(), Relaxed);
        }
        in_order
    }

    /// Sees to it that the table is in order; on an error it is not, and knows it.
    fn settle(&mut self) -> Result<(), AllocError> {
        if self.prove() { Ok(()) } else { self.rebuild() }
    }

    /// Puts every key where it belongs, and clears the tombstones away: in a new block of the same size, or within this one where the heap has
    /// no room for that.
    fn rebuild(&mut self) -> Result<(), AllocError> {
        if self.resize(self.table.buckets()).is_ok() {
            return Ok(());
        }
        let seed = self.seed;
        // Should a hash panic half-way, or the process be killed, the map is known to be out of order.
        self.probed.store(NEVER, Relaxed);
        step();
        self.table.rehash_in_place(|pair| seed.hash(&pair.key))?;
        step();
        self.probed.store(generation::current(), Relaxed);
        Ok(())
    }

    /// Makes room for `additional` values: clears tombstones away if they take up half of it, else moves to a larger table.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, additional: usize) -> Result<(), AllocError> {
        if !self.table.has_block() {
            self.seed = Seed::draw();
        }
        let needed = self.len().checked_add(additional).ok_or(AllocError::TOO_LARGE)?;
        let capacity = shape::capacity_of(self.table.buckets());
        if needed <= capacity / 2 {
            return self.rebuild();
        }
        match self.resize(shape::buckets_for(needed.max(capacity + 1))?) {
            Err(_) if needed <= capacity => self.rebuild(),
            outcome => outcome,
        }
    }

    fn resize(&mut self, buckets: usize) -> Result<(), AllocError> {
        let seed = self.seed;
        self.table.resize(buckets, |pair| seed.hash(&pair.key))?;
        self.probed.store(generation::current(), Relaxed);
        Ok(())
    }

    /// Compares every key, in a map that is out of order and shared.
    #[cold]
    #[inline(never)]
    fn find_anywhere<Q: Eq + ?Sized>(&self, key: &Q) -> Option<(usize, &Pair<K, V>)>
    where
        K: Borrow<Q>,
    {
        self.table.sample(usize::MAX).find(|(_, pair)| pair.key.borrow() == key)
    }
}

#[cfg(test)]
mod tests;
