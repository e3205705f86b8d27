//! A table of items that grows by one bucket at a time: linear hashing.
//!
//! ```text
//! buckets = 6, high = 4          segments of 64 buckets, the first one smaller while it is the only one
//!   0   1   2   3   4   5
//!   |   |   |   |   |   '- split off 1: hash mod 8 = 5        bucket of a hash: hash mod 8; mod 4 where that is not
//!   |   |   |   |   '----- split off 0: hash mod 8 = 4        below 6
//!   |   |   '---'--------- next to be split: 2
//!   '---'----------------- hash mod 8 = 0, 1
//! ```
//!
//! No insert ever moves the whole table, so none stops a client for longer than others, and its memory follows what it holds
//! instead of doubling. A split moves items by [`Bucket::move_to`], so a kill leaves each reachable by a walk over all buckets; `mend` puts
//! them where they belong.
//!
//! # Invariants (tested by `Table::check`)
//!
//! - *reached*: an item lies in the chain of its hash's bucket, under its tag, with its bit for the deadline.
//! - *counted*: `len`, `expiring` and `bytes` are sums over the items and the buckets.
//! - *unique*: no two items have one key.

use heirloom::{AllocError, Heritable, Vec};

use super::bucket::{Bucket, SLOTS};
use super::hash::hash;
use super::item::Item;
use super::words::fence;

/// Buckets of a full segment: 4 KiB.
const SEGMENT: usize = 64;

/// Items a bucket on average before the table grows.
const FILL: u64 = 4;

/// Items by key.
#[derive(Heritable)]
#[repr(C)]
pub(crate) struct Table {
    pub(super) segments: Vec<Vec<Bucket>>,
    pub(super) buckets: u64,
    pub(super) len: u64,
    pub(super) expiring: u64,
    pub(super) bytes: u64,
    /// 1 while the directory, or the only segment, is being moved: after a kill its capacity is not to be believed.
    pub(super) moving: u64,
}

/// Where an item lies, until the table is changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(super) bucket: usize,
    pub(super) depth: u32,
    pub(super) slot: u32,
}

impl Table {
    pub(crate) const fn new() -> Self {
        Self { segments: Vec::new(), buckets: 0, len: 0, expiring: 0, bytes: 0, moving: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Items that have a deadline.
    pub(crate) fn nr_expiring(&self) -> u64 {
        self.expiring
    }

    /// Bytes of the buckets and of all that is in them.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Finds a key.
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<Place> {
        let index = self.index_of(hash)?;
        for (bucket, depth) in self.bucket(index).chain().zip(0..) {
            for slot in bucket.candidates(hash) {
                if bucket.slots[slot].as_ref().is_some_and(|item| item.key() == key) {
                    return Some(Place { bucket: index, depth, slot: slot as u32 });
                }
            }
        }
        None
    }

    /// Finds a key's item.
    pub(crate) fn get(&self, hash: u64, key: &[u8]) -> Option<&Item> {
        self.find(hash, key).map(|place| self.item(place))
    }

    /// The item at a place.
    #[inline]
    pub(crate) fn item(&self, place: Place) -> &Item {
        let bucket = self.bucket(place.bucket).chain().nth(place.depth as usize);
        bucket.and_then(|bucket| bucket.slots[place.slot as usize].as_ref()).expect("a place holds an item")
    }

    /// Changes the item at a place.
    #[inline]
    pub(crate) fn change<T>(&mut self, place: Place, change: impl FnOnce(&mut Item) -> T) -> T {
        let (bucket, slot) = self.seat(place);
        let item = bucket.slots[slot].as_mut().expect("a place holds an item");
        let (weight, expired) = (item.weight(), item.deadline().is_some());
        let outcome = change(item);
        let (now, expires) = (item.weight(), item.deadline().is_some());
        bucket.set_expires(slot, expires);
        self.bytes = self.bytes - weight + now;
        self.expiring = self.expiring - u64::from(expired) + u64::from(expires);
        outcome
    }

    /// Notes that the item at a place was used.
    #[inline]
    pub(crate) fn touch(&mut self, place: Place, clock: u32) {
        let (bucket, slot) = self.seat(place);
        if let Some(item) = &mut bucket.slots[slot] {
            item.touch(clock);
        }
    }

    /// Puts an item in the place of one with the same key.
    #[inline]
    pub(crate) fn replace(&mut self, place: Place, item: Item) -> Item {
        let (weight, expires) = (item.weight(), item.deadline().is_some());
        let (bucket, slot) = self.seat(place);
        let old = bucket.exchange(slot, item).expect("a place holds an item");
        self.bytes = self.bytes + weight - old.weight();
        self.expiring = self.expiring + u64::from(expires) - u64::from(old.deadline().is_some());
        old
    }

    /// Adds an item whose key is not there yet. The item is dropped where there is no room for a bucket.
    pub(crate) fn insert(&mut self, hash: u64, item: Item) -> Result<(), AllocError> {
        self.make_room(hash)?;
        self.insert_in_room(hash, item);
        Ok(())
    }

    /// Makes room for an item of this hash.
    pub(crate) fn make_room(&mut self, hash: u64) -> Result<(), AllocError> {
        if self.buckets == 0 || self.len >= self.buckets * FILL {
            let grown = self.grow();
            if self.buckets == 0 {
                grown?;
            }
        }
        let index = self.index_of(hash).expect("there is a bucket");
        let bucket = self.bucket_mut(index);
        if bucket.chain_vacancy().is_none() {
            bucket.extend()?;
            self.bytes += size_of::<Bucket>() as u64;
        }
        Ok(())
    }

    /// Adds an item whose key is not there yet, for which room was made.
    pub(crate) fn insert_in_room(&mut self, hash: u64, item: Item) {
        let index = self.index_of(hash).expect("there is a bucket");
        let (weight, expires) = (item.weight(), item.deadline().is_some());
        let (bucket, slot) = self.bucket_mut(index).chain_vacancy().expect("there is a vacancy");
        bucket.put(slot, hash, item);
        self.len += 1;
        self.bytes += weight;
        self.expiring += u64::from(expires);
    }

    /// Takes the item at a place.
    pub(crate) fn remove(&mut self, place: Place) -> Item {
        let (bucket, slot) = self.seat(place);
        let item = bucket.take(slot).expect("a place holds an item");
        self.len -= 1;
        self.bytes -= item.weight();
        self.expiring -= u64::from(item.deadline().is_some());
        let gone = self.bucket_mut(place.bucket).compact();
        self.bytes -= gone * size_of::<Bucket>() as u64;
        if self.len < self.buckets && self.buckets > 1 {
            self.shrink();
        }
        item
    }

    /// All items, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Item> {
        self.segments.iter().flat_map(|segment| segment.iter()).flat_map(Bucket::items)
    }

    pub(super) fn nr_buckets(&self) -> usize {
        self.buckets as usize
    }

    pub(super) fn bucket(&self, index: usize) -> &Bucket {
        &self.segments[index / SEGMENT][index % SEGMENT]
    }

    /// The place of a slot of a chain, if an item is in it.
    pub(super) fn place_in(&self, bucket: usize, nth: usize) -> Option<Place> {
        let (depth, slot) = (nth / SLOTS, nth % SLOTS);
        let found = self.bucket(bucket).chain().nth(depth)?;
        found.slots[slot].as_ref().map(|_| Place { bucket, depth: depth as u32, slot: slot as u32 })
    }

    /// Slots of the chain of a bucket.
    pub(super) fn chain_slots(&self, bucket: usize) -> usize {
        self.bucket(bucket).chain().count() * SLOTS
    }

    /// Removes all items. From the end on, so that a kill leaves those at the front.
    pub(crate) fn clear(&mut self) {
        while let Some(segment) = self.segments.pop() {
            fence();
            drop(segment);
        }
        (self.buckets, self.len, self.expiring, self.bytes) = (0, 0, 0, 0);
        self.move_segments(|segments| {
            let empty = std::mem::replace(segments, Vec::new());
            fence();
            drop(empty);
        });
    }

    /// The bucket of a hash; `None` while there is none.
    #[inline]
    pub(super) fn index_of(&self, hash: u64) -> Option<usize> {
        let high = high_of(self.buckets)?;
        let index = hash & (2 * high - 1);
        Some(if index < self.buckets { index } else { hash & (high - 1) } as usize)
    }

    #[inline]
    pub(super) fn bucket_mut(&mut self, index: usize) -> &mut Bucket {
        &mut self.segments[index / SEGMENT][index % SEGMENT]
    }

    #[inline]
    pub(super) fn seat(&mut self, place: Place) -> (&mut Bucket, usize) {
        let mut bucket = self.bucket_mut(place.bucket);
        for _ in 0..place.depth {
            bucket = bucket.next.as_deref_mut().expect("a place holds an item");
        }
        (bucket, place.slot as usize)
    }

    /// Adds a bucket and moves into it what belongs there from the one that is split.
    fn grow(&mut self) -> Result<(), AllocError> {
        let new = self.buckets as usize;
        let Some(high) = high_of(self.buckets) else {
            self.push_bucket(Bucket::default())?;
            self.buckets = 1;
            return Ok(());
        };
        let old = new - high as usize;
        let belongs = |item: &Item| hash(item.key()) & (2 * high - 1) == new as u64;
        // Room for all that will move, before anything does.
        let moving = self.bucket(old).items().filter(|item| belongs(item)).count();
        let mut bucket = Bucket::default();
        let more = moving.div_ceil(SLOTS).saturating_sub(1);
        for _ in 0..more {
            bucket.extend()?;
        }
        self.push_bucket(bucket)?;
        self.bytes += more as u64 * size_of::<Bucket>() as u64;
        let (from, to) = self.two_buckets(old, new);
        let mut at = Some(&mut *from);
        while let Some(bucket) = at {
            for slot in 0..SLOTS {
                if bucket.slots[slot].as_ref().is_some_and(belongs) {
                    let (to, vacancy) = to.chain_vacancy().expect("there is room for all that moves");
                    bucket.move_to(slot, to, vacancy);
                }
            }
            at = bucket.next.as_deref_mut();
        }
        let gone = from.compact();
        self.bytes -= gone * size_of::<Bucket>() as u64;
        self.buckets += 1;
        Ok(())
    }

    /// Gives the last bucket up and moves what is in it back to the one that it was split off.
    fn shrink(&mut self) {
        let last = self.nr_buckets() - 1;
        let high = high_of(last as u64).expect("there is more than one bucket") as usize;
        let (nr, old) = (self.bucket(last).items().count(), last - high);
        let room = self.chain_slots(old) - self.bucket(old).items().count();
        let more = nr.saturating_sub(room).div_ceil(SLOTS);
        for _ in 0..more {
            if self.bucket_mut(old).extend().is_err() {
                return;
            }
            self.bytes += size_of::<Bucket>() as u64;
        }
        let (to, from) = self.two_buckets(old, last);
        let mut at = Some(&mut *from);
        while let Some(bucket) = at {
            for slot in 0..SLOTS {
                if bucket.slots[slot].is_some() {
                    let (to, vacancy) = to.chain_vacancy().expect("there is room for all that moves");
                    bucket.move_to(slot, to, vacancy);
                }
            }
            at = bucket.next.as_deref_mut();
        }
        let chained = from.chain().count() as u64 - 1;
        self.buckets -= 1;
        self.bytes -= chained * size_of::<Bucket>() as u64;
        self.pop_bucket();
    }

    fn push_bucket(&mut self, bucket: Bucket) -> Result<(), AllocError> {
        let before = self.structure_bytes();
        let fits = self.segments.last().is_some_and(|last| last.len() < last.capacity().min(SEGMENT));
        if !fits {
            self.move_segments(extend)?;
        }
        self.segments.last_mut().expect("there is room in the last segment").try_push(bucket)?;
        self.bytes = self.bytes + self.structure_bytes() - before;
        Ok(())
    }

    /// Changes the directory, or moves the only segment.
    pub(super) fn move_segments<T>(&mut self, change: impl FnOnce(&mut Vec<Vec<Bucket>>) -> T) -> T {
        self.moving = 1;
        fence();
        let outcome = change(&mut self.segments);
        fence();
        self.moving = 0;
        outcome
    }

    fn pop_bucket(&mut self) {
        let before = self.structure_bytes();
        if let Some(last) = self.segments.last_mut() {
            let bucket = last.pop();
            fence();
            drop(bucket);
            if last.is_empty() {
                let segment = self.segments.pop();
                fence();
                drop(segment);
            }
        }
        self.bytes = self.bytes + self.structure_bytes() - before;
    }

    /// Bytes of the segments.
    pub(super) fn structure_bytes(&self) -> u64 {
        let (first, last) = (self.segments.first(), self.segments.last());
        let buckets = match self.segments.len() {
            0 => 0,
            1 => first.map_or(0, Vec::capacity),
            nr => first.map_or(0, Vec::capacity) + (nr - 2) * SEGMENT + last.map_or(0, Vec::capacity),
        };
        (buckets * size_of::<Bucket>() + self.segments.capacity() * size_of::<Vec<Bucket>>()) as u64
    }

    pub(super) fn two_buckets(&mut self, low: usize, high: usize) -> (&mut Bucket, &mut Bucket) {
        if low / SEGMENT == high / SEGMENT {
            let (left, right) = self.segments[low / SEGMENT].split_at_mut(high % SEGMENT);
            return (&mut left[low % SEGMENT], &mut right[0]);
        }
        let (left, right) = self.segments.split_at_mut(high / SEGMENT);
        (&mut left[low / SEGMENT][low % SEGMENT], &mut right[0][high % SEGMENT])
    }

    /// Puts an item into another slot as well, as a kill in the middle of a move does.
    #[cfg(test)]
    pub(crate) fn put_twice(&mut self, hash: u64, key: &[u8]) {
        let place = self.find(hash, key).expect("it is there");
        let twin = self.item(place).twin();
        let bucket = self.bucket_mut((place.bucket + 1) % self.buckets as usize);
        if bucket.chain_vacancy().is_none() {
            bucket.extend().expect("room");
        }
        let (bucket, slot) = bucket.chain_vacancy().expect("a vacancy");
        bucket.put(slot, hash, twin);
    }

    /// Checks all invariants; panics where one does not hold.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let (mut len, mut expiring, mut bytes) = (0, 0, self.structure_bytes());
        let mut keys = std::collections::HashSet::new();
        for index in 0..self.nr_buckets() {
            for (bucket, depth) in self.bucket(index).chain().zip(0..) {
                bytes += if depth > 0 { size_of::<Bucket>() as u64 } else { 0 };
                for (slot, item) in
                    bucket.slots.iter().enumerate().filter_map(|(i, s)| Some((i, s.as_ref()?)))
                {
                    let hash = hash(item.key());
                    assert_eq!(self.index_of(hash), Some(index));
                    assert!(bucket.candidates(hash).any(|found| found == slot));
                    assert_eq!(bucket.expires(slot), item.deadline().is_some());
                    assert!(keys.insert(item.key().to_vec()));
                    len += 1;
                    expiring += u64::from(item.deadline().is_some());
                    bytes += item.weight();
                }
            }
        }
        assert_eq!((self.len, self.expiring, self.bytes), (len, expiring, bytes));
        assert_eq!(self.segments.iter().map(|segment| segment.len()).sum::<usize>(), self.nr_buckets());
    }
}

/// Makes room for a bucket at the end.
fn extend(segments: &mut Vec<Vec<Bucket>>) -> Result<(), AllocError> {
    match segments.last_mut() {
        // The only segment grows with what is in it.
        Some(last) if last.len() < SEGMENT => {
            let more = last.len().clamp(1, SEGMENT - last.len());
            last.try_reserve_exact(more)
        }
        Some(_) => segments.try_push(Vec::try_with_capacity(SEGMENT)?),
        None => {
            segments.try_reserve_exact(1)?;
            segments.try_push(Vec::try_with_capacity(1)?)
        }
    }
}

/// The largest power of two that is not above the number of buckets.
#[inline]
pub(super) fn high_of(buckets: u64) -> Option<u64> {
    buckets.checked_ilog2().map(|log| 1 << log)
}
