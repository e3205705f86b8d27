//! Walks over a table that may change in between, and picks from it by chance.
//!
//! A cursor counts in reversed bits, over units that are all hashes with the same low bits (as many as `high` has): a unit is one
//! bucket, or two if it has been split. When the table grows, a unit becomes two whose reversed numbers follow one another; when it shrinks,
//! two become one. So whatever lies before the cursor has been visited, and an item that is there all the time is visited at
//! least once. That holds over a hand-over too: the table is handed over as it is.

use super::item::Item;
use super::table::{Place, Table, high_of};

impl Table {
    /// Visits the unit at the cursor; returns the cursor of the next, 0 after the last.
    pub(crate) fn scan(&self, cursor: u64, mut visit: impl FnMut(&Item)) -> u64 {
        let Some(high) = high_of(self.nr_buckets() as u64) else { return 0 };
        let mask = high - 1;
        let unit = (cursor & mask) as usize;
        self.bucket(unit).items().for_each(&mut visit);
        if unit + (high as usize) < self.nr_buckets() {
            self.bucket(unit + high as usize).items().for_each(&mut visit);
        }
        (cursor | !mask).reverse_bits().wrapping_add(1).reverse_bits()
    }

    /// Picks an item by chance, where there is one.
    pub(crate) fn pick(&self, random: &mut Random) -> Option<Place> {
        if self.len() == 0 {
            return None;
        }
        let nr = self.nr_buckets();
        let start = random.below(nr);
        for step in 0..nr {
            let bucket = (start + step) % nr;
            let slots = self.chain_slots(bucket);
            let first = random.below(slots);
            if let Some(place) = (0..slots).find_map(|step| self.place_in(bucket, (first + step) % slots)) {
                return Some(place);
            }
        }
        None
    }

    /// Finds an item of a bucket whose deadline is not after `now`.
    pub(crate) fn expired_in(&self, bucket: usize, now: u64) -> Option<Place> {
        let mut nth = 0;
        for at in self.bucket(bucket).chain() {
            if at.any_expires() {
                for (slot, item) in at.slots.iter().enumerate() {
                    let is_expired = at.expires(slot)
                        && item.as_ref().and_then(Item::deadline).is_some_and(|deadline| deadline <= now);
                    if is_expired {
                        return self.place_in(bucket, nth + slot);
                    }
                }
            }
            nth += at.slots.len();
        }
        None
    }
}

/// Pseudo-random numbers (SplitMix64), for choices that nobody gains by foreseeing.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }
}
