//! The elements of a list: a ring of items, which grow and shrink at both ends.
//!
//! ```text
//! List --one word--> Ring   range: first = 4, len = 5          one word
//!                           slots  | 4 | 5 | . | . | 1 | 2 | 3 |
//! ```
//!
//! # Invariants (tested by `List::check`)
//!
//! - *one store*: what is in the list is what `range` says. Elements come into slots outside of it and count with one store; they stop
//!   counting with one store and leave their slots then. A ring of another size is whole before the list names it.
//! - *owned once*: between two commands no slot outside of the range holds an item; after a kill one may, and [`List::mend`] gives it back.
#![expect(unsafe_code, reason = "copies a ring that is then forgotten")]

use heirloom::{AllocError, Box, Heritable, Vec};

use super::item::Element;
use super::words::{self, fence};

/// The fewest slots of a ring that has any.
const MIN_SLOTS: usize = 4;

/// Where the first element lies stands in the upper half of the range.
const FIRST_SHIFT: u32 = 32;

/// Elements in order.
#[derive(Heritable)]
#[repr(C)]
pub(crate) struct List {
    ring: Option<Box<Ring>>,
}

#[derive(Heritable)]
#[repr(C)]
struct Ring {
    slots: Vec<Option<Element>>,
    /// The slot of the first element, and how many there are.
    range: u64,
    item_bytes: u64,
}

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Front,
    Back,
}

impl List {
    pub(crate) const fn new() -> Self {
        Self { ring: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.ring.as_ref().map_or(0, |ring| ring.len())
    }

    /// Bytes of the ring and of all elements.
    pub(crate) fn bytes(&self) -> u64 {
        let own = |ring: &Ring| size_of::<Ring>() as u64 + ring.slots.capacity() as u64 * 8 + ring.item_bytes;
        self.ring.as_deref().map_or(0, own)
    }

    /// The element at an index that is below the length.
    pub(crate) fn get(&self, index: usize) -> Option<&[u8]> {
        let ring = self.ring.as_deref().filter(|ring| index < ring.len())?;
        ring.slots[ring.slot(ring.first(), index)].as_ref().map(Element::value)
    }

    /// Adds elements one after the other, all of them with one store; a failure leaves the list as it was.
    pub(crate) fn try_push<'v>(
        &mut self,
        end: End,
        values: impl Iterator<Item = &'v [u8]>,
    ) -> Result<(), AllocError> {
        let items = values.map(Element::try_new);
        let items = items.collect::<Result<std::vec::Vec<_>, _>>()?;
        self.make_room(items.len())?;
        if let Some(ring) = self.ring.as_deref_mut() {
            ring.push(end, items);
        }
        Ok(())
    }

    /// Takes an element.
    pub(crate) fn pop(&mut self, end: End) -> Option<Element> {
        let ring = self.ring.as_deref_mut()?;
        let item = ring.pop(end)?;
        let (len, nr_slots) = (ring.len(), ring.slots.len());
        if nr_slots > 4 * MIN_SLOTS && len < nr_slots / 4 {
            // A ring that is too large is whole: room that cannot be moved to is gone without.
            let _stays_on_error = self.resize(nr_slots / 2);
        }
        Some(item)
    }

    /// Makes the list whole after a kill: gives back what had been taken into a slot and did not count yet, or no more.
    pub(super) fn mend(&mut self) {
        let Some(ring) = self.ring.as_deref_mut() else { return };
        let (first, len, nr_slots) = (ring.first(), ring.len(), ring.slots.len());
        for index in len..nr_slots {
            let slot = ring.slot(first, index);
            let left = ring.slots[slot].take();
            fence();
            drop(left);
        }
        ring.item_bytes = ring.slots.iter().flatten().map(Element::weight).sum();
    }

    fn make_room(&mut self, more: usize) -> Result<(), AllocError> {
        let nr_slots = self.ring.as_ref().map_or(0, |ring| ring.slots.len());
        let needed = self.len() + more;
        if needed <= nr_slots {
            return Ok(());
        }
        if needed > u32::MAX as usize {
            return Err(AllocError::TOO_LARGE);
        }
        self.resize(needed.max(2 * nr_slots).clamp(MIN_SLOTS, u32::MAX as usize))
    }

    /// Moves all elements to a ring of another size, which is whole before the list names it by one store.
    fn resize(&mut self, nr_slots: usize) -> Result<(), AllocError> {
        let mut slots = Vec::try_with_capacity(nr_slots)?;
        let mut fresh = Box::try_new(Ring { slots: Vec::new(), range: 0, item_bytes: 0 })?;
        if let Some(ring) = self.ring.as_deref() {
            let (first, len) = (ring.first(), ring.len());
            let before_end = len.min(ring.slots.len() - first);
            // SAFETY: the old ring's are forgotten below; on the way there nothing fails.
            unsafe {
                words::copy(&ring.slots[first..first + before_end], &mut slots);
                words::copy(&ring.slots[..len - before_end], &mut slots);
            }
            (fresh.range, fresh.item_bytes) = (len as u64, ring.item_bytes);
        }
        slots.resize_with(nr_slots, || None);
        fresh.slots = slots;
        fence();
        let old = self.ring.replace(fresh);
        fence();
        if let Some(mut old) = old {
            words::forget_values(&mut old.slots);
        }
        Ok(())
    }

    /// Leaves the list as a kill might: an element in a slot that does not count yet, one that does not count any more.
    #[cfg(test)]
    pub(crate) fn tear(&mut self, value: &[u8]) {
        self.make_room(2).expect("room");
        let ring = self.ring.as_deref_mut().expect("it was just made");
        let (first, len) = (ring.first(), ring.len());
        for index in [len, ring.slots.len() - 1] {
            let slot = ring.slot(first, index);
            ring.slots[slot] = Some(Element::try_new(value).expect("room"));
        }
        ring.item_bytes += 1;
    }

    /// Checks all invariants; panics where one does not hold.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let Some(ring) = self.ring.as_deref() else { return };
        let (first, len) = (ring.first(), ring.len());
        for index in 0..ring.slots.len() {
            assert_eq!(ring.slots[ring.slot(first, index)].is_some(), index < len, "slot {index} of {len}");
        }
        assert_eq!(ring.item_bytes, ring.slots.iter().flatten().map(Element::weight).sum::<u64>());
    }
}

impl Ring {
    fn first(&self) -> usize {
        (self.range >> FIRST_SHIFT) as usize
    }

    fn len(&self) -> usize {
        self.range as u32 as usize
    }

    /// The slot that lies so many behind another.
    fn slot(&self, first: usize, index: usize) -> usize {
        (first + index) % self.slots.len()
    }

    fn set_range(&mut self, first: usize, len: usize) {
        fence();
        self.range = (first as u64) << FIRST_SHIFT | len as u64;
        fence();
    }

    /// Adds items, for which there is room.
    fn push(&mut self, end: End, items: std::vec::Vec<Element>) {
        let (first, len, nr_slots, more) = (self.first(), self.len(), self.slots.len(), items.len());
        for (item, nth) in items.into_iter().zip(0..) {
            self.item_bytes += item.weight();
            let slot = match end {
                End::Back => self.slot(first, len + nth),
                End::Front => self.slot(first, nr_slots - 1 - nth),
            };
            self.slots[slot] = Some(item);
        }
        let first = if end == End::Front { self.slot(first, nr_slots - more) } else { first };
        self.set_range(first, len + more);
    }

    fn pop(&mut self, end: End) -> Option<Element> {
        let (first, last) = (self.first(), self.len().checked_sub(1)?);
        let (slot, rest) = match end {
            End::Front => (first, self.slot(first, 1)),
            End::Back => (self.slot(first, last), first),
        };
        self.set_range(rest, last);
        let item = self.slots[slot].take();
        fence();
        self.item_bytes -= item.as_ref().map_or(0, Element::weight);
        item
    }
}
