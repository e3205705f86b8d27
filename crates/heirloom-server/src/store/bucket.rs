//! A bucket: a cache line with six items and their tags, and the way to six more.
//!
//! ```text
//!  0  marks   a tag of eight bits a slot (0: empty) | byte 6: a bit a slot, set if the item has a deadline | byte 7: 0
//!  8  slots   six items
//! 56  next    the bucket that holds what found no room here
//! 64
//! ```
//!
//! All six tags are compared at once, so that an item is only looked at if one in 255 others would be too.
//!
//! # Invariants
//!
//! - *one store*: an item comes into a slot, leaves it and is exchanged by one store; what is in it was written before, and what it
//!   held is given back after. The compiler keeps that order at the fences; a processor that is stopped has kept it anyway.
//! - *never cut*: a chain loses its last bucket only, and only when that is empty.

use heirloom::{AllocError, Box, Heritable};

use super::item::Item;
use super::words::fence;

pub(super) const SLOTS: usize = 6;

const EXPIRING_SHIFT: usize = 48;
const LOW_BITS: u64 = 0x0001_0101_0101_0101 >> 8;
const HIGH_BITS: u64 = LOW_BITS << 7;

#[derive(Heritable, Default)]
#[repr(C)]
pub(super) struct Bucket {
    marks: u64,
    pub(super) slots: [Option<Item>; SLOTS],
    #[heritable(recursive)]
    pub(super) next: Option<Box<Bucket>>,
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    /// Slots whose tag is that of `hash`, and with few exceptions no others.
    #[inline]
    pub(super) fn candidates(&self, hash: u64) -> impl Iterator<Item = usize> {
        let differences = self.marks ^ (tag(hash) * LOW_BITS);
        let mut zeros = differences.wrapping_sub(LOW_BITS) & !differences & HIGH_BITS;
        std::iter::from_fn(move || {
            if zeros == 0 {
                return None;
            }
            let slot = zeros.trailing_zeros() as usize / 8;
            zeros &= zeros - 1;
            Some(slot)
        })
    }

    /// The first slot without an item.
    pub(super) fn vacancy(&self) -> Option<usize> {
        self.slots.iter().position(Option::is_none)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// Puts an item into a vacant slot.
    #[inline]
    pub(super) fn put(&mut self, slot: usize, hash: u64, item: Item) {
        debug_assert!(self.slots[slot].is_none());
        let expires = item.deadline().is_some();
        fence();
        self.slots[slot] = Some(item);
        self.mark(slot, tag(hash), expires);
    }

    /// Exchanges the item of a slot for one with the same key.
    #[inline]
    pub(super) fn exchange(&mut self, slot: usize, item: Item) -> Option<Item> {
        let expires = item.deadline().is_some();
        fence();
        let old = self.slots[slot].replace(item);
        fence();
        self.set_expires(slot, expires);
        old
    }

    /// Takes the item of a slot.
    pub(super) fn take(&mut self, slot: usize) -> Option<Item> {
        let item = self.slots[slot].take();
        fence();
        self.mark(slot, 0, false);
        item
    }

    /// Whether the item of a slot has a deadline.
    #[inline]
    pub(super) fn expires(&self, slot: usize) -> bool {
        self.marks >> (EXPIRING_SHIFT + slot) & 1 != 0
    }

    /// Whether any item has a deadline.
    #[inline]
    pub(super) fn any_expires(&self) -> bool {
        self.marks >> EXPIRING_SHIFT != 0
    }

    pub(super) fn set_expires(&mut self, slot: usize, expires: bool) {
        let bit = 1 << (EXPIRING_SHIFT + slot);
        self.marks = if expires { self.marks | bit } else { self.marks & !bit };
    }

    fn mark(&mut self, slot: usize, tag: u64, expires: bool) {
        self.marks = marked(self.marks, slot, tag, expires);
    }

    /// Marks a slot as what is in it says.
    pub(super) fn mark_anew(&mut self, slot: usize, hash: Option<u64>) {
        let expires = self.slots[slot].as_ref().is_some_and(|item| item.deadline().is_some());
        self.mark(slot, hash.map_or(0, tag), expires);
    }

    /// Forgets a second pointer to an item that stands elsewhere too.
    pub(super) fn forget(&mut self, slot: usize) {
        std::mem::forget(self.take(slot));
    }

    /// Moves the item of slot `from` to a vacant slot of another bucket.
    pub(super) fn move_to(&mut self, from: usize, other: &mut Self, to: usize) {
        let (tag, expires) = (self.marks >> (8 * from) & 0xff, self.expires(from));
        Item::move_between(&mut self.slots[from], &mut other.slots[to]);
        other.mark(to, tag, expires);
        self.mark(from, 0, false);
    }

    /// The first vacancy of the chain that starts here.
    pub(super) fn chain_vacancy(&mut self) -> Option<(&mut Self, usize)> {
        match self.vacancy() {
            Some(slot) => Some((self, slot)),
            None => self.next.as_mut()?.chain_vacancy(),
        }
    }

    /// Adds an empty bucket to the end of the chain that starts here.
    pub(super) fn extend(&mut self) -> Result<(), AllocError> {
        match &mut self.next {
            Some(next) => next.extend(),
            None => {
                let next = Box::try_new(Self::default())?;
                fence();
                self.next = Some(next);
                Ok(())
            }
        }
    }

    /// Fills vacancies from the end of the chain and gives buckets back that are empty then. Returns how many went.
    pub(super) fn compact(&mut self) -> u64 {
        let mut gone = 0;
        loop {
            while self.give_last_back() {
                gone += 1;
            }
            let vacancy = self.vacancy();
            let Some(next) = self.next.as_deref_mut() else { return gone };
            let Some(to) = vacancy else { return gone + next.compact() };
            let last = next.last_mut();
            let from = last.slots.iter().position(Option::is_some).expect("an empty one was given back");
            let (tag, expires) = (last.marks >> (8 * from) & 0xff, last.expires(from));
            Item::move_between(&mut last.slots[from], &mut self.slots[to]);
            self.marks = marked(self.marks, to, tag, expires);
            last.mark(from, 0, false);
        }
    }

    /// Gives the last bucket behind this one back, if nothing is in it.
    fn give_last_back(&mut self) -> bool {
        let mut before = self;
        while before.next.as_ref().is_some_and(|next| next.next.is_some()) {
            before = before.next.as_deref_mut().expect("it was just there");
        }
        if before.next.as_ref().is_none_or(|last| !last.is_empty()) {
            return false;
        }
        let last = before.next.take();
        fence();
        drop(last);
        true
    }

    fn last_mut(&mut self) -> &mut Self {
        let mut last = self;
        while last.next.is_some() {
            last = last.next.as_deref_mut().expect("it was just there");
        }
        last
    }

    /// This bucket and those behind it.
    pub(super) fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |bucket| bucket.next.as_deref())
    }

    /// All items of the chain that starts here.
    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.chain().flat_map(|bucket| bucket.slots.iter().flatten())
    }
}

/// Marks with those of one slot changed.
const fn marked(marks: u64, slot: usize, tag: u64, expires: bool) -> u64 {
    let bit = 1 << (EXPIRING_SHIFT + slot);
    let marks = marks & !(0xff << (8 * slot)) & !bit | tag << (8 * slot);
    if expires { marks | bit } else { marks }
}

/// The tag of a hash: its top eight bits are taken for the shard, the low ones for the bucket. Never 0.
#[inline]
fn tag(hash: u64) -> u64 {
    (hash >> 40 & 0xff).max(1)
}
