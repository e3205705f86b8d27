//! Moving the values of a table: to a new block, of whatever size, or to their right places within their own.
//!
//! ```text
//! resize             values copied to a new block, which owns nothing yet -> adopted in one store -> old block given back without them
//! rehash_in_place    where the heap has no room for that: value by value, each move in the thread's diary first
//! ```
//!
//! Both survive a hash function that panics, and a kill at any instruction: whoever looks finds every value once. While values move within
//! their block some do not lie where a probe for them comes by; the caller has written down that the table is out of order before, and
//! then nobody believes a probe that finds nothing.

#![expect(unsafe_code, reason = "moves values from bucket to bucket")]

use std::ptr;

use super::group::{DELETED, EMPTY, WIDTH};
use super::table::Table;
use super::walk::{Walk, tag};
use crate::alloc::AllocError;
use crate::whole::{Place, guarded_or_not_at_all};

impl<T> Table<T> {
    /// Moves all values to a block of `buckets`, which takes them all; `self` is unchanged on an error.
    pub(crate) fn resize(&mut self, buckets: usize, hash: impl Fn(&T) -> u64) -> Result<(), AllocError> {
        let mut new = Self::with_buckets(buckets)?;
        for value in self.iter() {
            // SAFETY: the walker visits live values; the new bucket exists, and with a `len` of 0 promises nothing yet.
            unsafe {
                let hash = hash(&*value);
                let index = new.vacant(hash);
                new.bucket(index).copy_from_nonoverlapping(value, 1);
                new.set_control(index, tag(hash));
            }
        }
        // SAFETY: the new table holds each value once, and the old one is given back without them.
        unsafe { new.set_len(self.len()) };
        drop(self.adopt(new));
        Ok(())
    }

    /// Moves every value to where a probe for its hash finds it, and clears the tombstones away. Needs no memory of the heap but a diary.
    ///
    /// On an error, and where `hash` panics, every value is still there, though a probe may not find it.
    pub(super) fn rehash_in_place(&mut self, hash: impl Fn(&T) -> u64) -> Result<(), AllocError> {
        // Which values lie where they belong is known to this call alone: in the table all of them are full, as they are.
        let mut placed = Placed(vec![0; self.buckets().div_ceil(WIDTH)]);
        for index in (0..self.buckets()).filter(|&index| self.control(index) == DELETED).collect::<Vec<_>>() {
            // SAFETY: the bucket exists and holds nothing.
            unsafe { self.set_control(index, EMPTY) };
        }
        // SAFETY: as many control bytes are full as before, and no tombstone is left.
        unsafe { self.set_len(self.len()) };
        for index in 0..self.buckets() {
            while self.control(index) < 0x80 && !placed.has(index) {
                self.place_one(index, &mut placed, &hash)?;
            }
        }
        Ok(())
    }

    /// Moves the value in bucket `index` to its place; one that lay there and is not placed comes back in exchange.
    fn place_one(
        &mut self,
        index: usize,
        placed: &mut Placed,
        hash: &impl Fn(&T) -> u64,
    ) -> Result<(), AllocError> {
        // SAFETY: a full bucket holds a live value.
        let hash = hash(unsafe { &*self.bucket(index) });
        let target = self.first_not_placed(hash, placed);
        if target / WIDTH == index / WIDTH {
            // SAFETY: the bucket holds a value, and this is the first group on its walk that has not been filled.
            unsafe { self.set_control(index, tag(hash)) };
            placed.add(index);
            return Ok(());
        }
        // A bucket left empty here ends no walk too early: its group held a value to be placed, so no placed one has passed it.
        let (source, place, control) = (self.bucket(index), self.bucket(target), self.control(target));
        // SAFETY: both buckets exist and differ; the source holds a value, the target one exactly if it is full.
        unsafe {
            let bytes = [self.control_at(index), self.control_at(target)];
            let [from, to] = bytes.map(|byte| Place::of(byte, 1));
            let values = if control == EMPTY { 0 } else { 1 };
            let places = [from, to, Place::of(source, values), Place::of(place, values)];
            guarded_or_not_at_all(places, || {
                if control == EMPTY {
                    ptr::copy_nonoverlapping(source, place, 1);
                } else {
                    ptr::swap_nonoverlapping(source, place, 1);
                }
                // What comes back is full, and its tag means nothing, as before.
                bytes[0].write(control);
                bytes[1].write(tag(hash));
            })?;
        }
        placed.add(target);
        Ok(())
    }

    /// The first bucket on the walk of `hash` that does not hold a placed value.
    fn first_not_placed(&self, hash: u64, placed: &Placed) -> usize {
        let buckets = self.buckets().min(WIDTH);
        let mut walk = Walk::new(hash, self.mask());
        loop {
            let open = (!placed.0[walk.position / WIDTH]).trailing_zeros() as usize;
            if open < buckets {
                return walk.position + open;
            }
            assert!(walk.advance(self.mask()), "a table keeps an eighth of its buckets empty");
        }
    }
}

/// Which buckets hold values that lie where they belong, a word a group.
struct Placed(Vec<u16>);

impl Placed {
    fn has(&self, index: usize) -> bool {
        self.0[index / WIDTH] & 1 << (index % WIDTH) != 0
    }

    fn add(&mut self, index: usize) {
        self.0[index / WIDTH] |= 1 << (index % WIDTH);
    }
}
