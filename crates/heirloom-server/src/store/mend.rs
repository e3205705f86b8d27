//! Making a table whole after whoever changed it was killed.
//!
//! ```text
//! segments   the directory was being moved: moved once more (`words`)
//! buckets    as many as are there: one may have been added and not counted, or emptied and not gone
//! items      each to the bucket of its hash, once; marks as the items say
//! counts     over all that is there
//! ```
//!
//! Everything is done in place, and every step leaves what the next owner can mend again: a kill in here costs nothing either.

use heirloom::AllocError;

use super::bucket::{Bucket, SLOTS};
use super::hash::hash;
use super::item::Item;
use super::table::{Place, Table};
use super::words::{self, fence};

impl Table {
    /// Puts every item where it belongs. Returns how many had to be given up for want of memory. The counts are not right before
    /// [`Table::recount`].
    ///
    /// # Errors
    ///
    /// There is no memory for the directory; nothing has changed.
    pub(super) fn mend(&mut self) -> Result<u64, AllocError> {
        if self.moving != 0 {
            words::move_anew(&mut self.segments)?;
            if let Some(last) = self.segments.last_mut() {
                words::move_anew(last)?;
            }
            fence();
            self.moving = 0;
        }
        while self.segments.last().is_some_and(|last| last.is_empty()) {
            let segment = self.segments.pop();
            fence();
            drop(segment);
        }
        self.buckets = self.segments.iter().map(|segment| segment.len() as u64).sum();
        let mut lost = 0;
        for index in 0..self.nr_buckets() {
            for nth in 0..self.chain_slots(index) {
                lost += u64::from(!self.settle(index, nth));
            }
        }
        for index in 0..self.nr_buckets() {
            self.bucket_mut(index).compact();
        }
        Ok(lost)
    }

    /// Counts all that is there. What is inside hashes, lists and sets has been mended.
    pub(super) fn recount(&mut self) {
        let (mut len, mut expiring, mut bytes) = (0, 0, self.structure_bytes());
        for index in 0..self.nr_buckets() {
            bytes += (self.bucket(index).chain().count() as u64 - 1) * size_of::<Bucket>() as u64;
            for item in self.bucket(index).items() {
                len += 1;
                expiring += u64::from(item.deadline().is_some());
                bytes += item.weight();
            }
        }
        (self.len, self.expiring, self.bytes) = (len, expiring, bytes);
    }

    /// Leaves everything where it is, unnamed.
    pub(super) fn abandon(&mut self) {
        self.move_segments(words::abandon);
        (self.buckets, self.len, self.expiring, self.bytes) = (0, 0, 0, 0);
    }

    /// The places of the items of a hash.
    pub(super) fn collect_places(&self, hash_wanted: u64) -> std::vec::Vec<Place> {
        let Some(index) = self.index_of(hash_wanted) else { return std::vec::Vec::new() };
        let is_wanted = |place: &Place| hash(self.item(*place).key()) == hash_wanted;
        (0..self.chain_slots(index)).filter_map(|nth| self.place_in(index, nth)).filter(is_wanted).collect()
    }

    /// The places of hashes, lists and sets with nothing in them.
    pub(super) fn collect_hollow(&self) -> std::vec::Vec<Place> {
        let places = |index| (0..self.chain_slots(index)).filter_map(move |nth| self.place_in(index, nth));
        (0..self.nr_buckets()).flat_map(places).filter(|place| self.item(*place).is_hollow()).collect()
    }

    /// Takes an item out whose table is being mended: nothing is counted.
    pub(super) fn take_out(&mut self, place: Place) -> Option<Item> {
        let (bucket, slot) = self.seat(place);
        bucket.take(slot)
    }

    /// Changes an item whose table is being mended: nothing is counted.
    pub(super) fn item_mut(&mut self, place: Place) -> Option<&mut Item> {
        let (bucket, slot) = self.seat(place);
        bucket.slots[slot].as_mut()
    }

    /// Sees to one slot of a chain: its item goes to the bucket of its hash, unless it is there already. False where it had to be given up.
    fn settle(&mut self, index: usize, nth: usize) -> bool {
        let (depth, slot) = (nth / SLOTS, nth % SLOTS);
        let Some(place) = self.place_in(index, nth) else {
            let place = Place { bucket: index, depth: depth as u32, slot: slot as u32 };
            self.seat(place).0.mark_anew(slot, None);
            return true;
        };
        let (address, hash) = (self.item(place).address(), hash(self.item(place).key()));
        let target = self.index_of(hash).expect("there is a bucket");
        if target == index {
            // A move within the chain may have been cut short.
            let before = (0..nth).filter_map(|nth| self.place_in(index, nth));
            let is_second = before.into_iter().any(|place| self.item(place).address() == address);
            let bucket = self.seat(place).0;
            if is_second {
                bucket.forget(slot);
            } else {
                bucket.mark_anew(slot, Some(hash));
            }
            return true;
        }
        if self.bucket(target).items().any(|item| item.address() == address) {
            self.seat(place).0.forget(slot);
            return true;
        }
        let (low, high) = self.two_buckets(index.min(target), index.max(target));
        let (mut from, to) = if index < target { (low, high) } else { (high, low) };
        for _ in 0..depth {
            from = from.next.as_deref_mut().expect("the place is there");
        }
        if to.chain_vacancy().is_none() && to.extend().is_err() {
            // Not given back: while a key gets another name, what is inside is another's too.
            from.forget(slot);
            return false;
        }
        let (to, vacancy) = to.chain_vacancy().expect("there is a vacancy");
        // The marks of a slot that a kill has filled may not say so yet.
        from.mark_anew(slot, Some(hash));
        from.move_to(slot, to, vacancy);
        true
    }
}
