//! The elements of a list: a ring of items, which grow and shrink at both ends.
//!
//! ```text
//! slots  | 4 | 5 | . | . | 1 | 2 | 3 |      head = 4, len = 5
//! ```

use heirloom::{AllocError, Heritable, Vec};

use super::item::Item;

/// The fewest slots of a ring that has any.
const MIN_SLOTS: usize = 4;

/// A ring of elements, each an item without a key.
#[derive(Heritable)]
#[repr(C)]
pub(crate) struct List {
    slots: Vec<Option<Item>>,
    head: u64,
    len: u64,
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
        Self { slots: Vec::new(), head: 0, len: 0, item_bytes: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes of the ring and of all elements.
    pub(crate) fn bytes(&self) -> u64 {
        self.slots.capacity() as u64 * 8 + self.item_bytes
    }

    /// The element at an index that is below the length.
    pub(crate) fn get(&self, index: usize) -> Option<&[u8]> {
        if index >= self.len() {
            return None;
        }
        self.slots[self.slot(index)].as_ref().map(Item::value)
    }

    /// Adds an element; a failure leaves the list as it was.
    pub(crate) fn try_push(&mut self, end: End, value: &[u8]) -> Result<(), AllocError> {
        let item = Item::try_text(b"", &[value], None)?;
        if self.len() == self.slots.len() {
            self.resize((self.slots.len() * 2).max(MIN_SLOTS))?;
        }
        self.item_bytes += item.weight();
        let slot = match end {
            End::Back => self.slot(self.len()),
            End::Front => self.slot(self.slots.len() - 1),
        };
        self.slots[slot] = Some(item);
        if end == End::Front {
            self.head = slot as u64;
        }
        self.len += 1;
        Ok(())
    }

    /// Takes an element.
    pub(crate) fn pop(&mut self, end: End) -> Option<Item> {
        let last = self.len().checked_sub(1)?;
        let slot = self.slot(if end == End::Front { 0 } else { last });
        let item = self.slots[slot].take()?;
        if end == End::Front {
            self.head = self.slot(1) as u64;
        }
        self.len -= 1;
        self.item_bytes -= item.weight();
        if self.slots.len() > 4 * MIN_SLOTS && self.len() < self.slots.len() / 4 {
            // A ring that is too large is whole: room that cannot be moved to is gone without.
            let _stays_on_error = self.resize(self.slots.len() / 2);
        }
        Some(item)
    }

    fn slot(&self, index: usize) -> usize {
        (self.head as usize + index) % self.slots.len()
    }

    fn resize(&mut self, nr_slots: usize) -> Result<(), AllocError> {
        let mut slots = Vec::try_with_capacity(nr_slots)?;
        slots.try_resize_with(nr_slots, || None)?;
        for (index, to) in slots.iter_mut().enumerate().take(self.len()) {
            let from = self.slot(index);
            Item::move_between(&mut self.slots[from], to);
        }
        self.slots = slots;
        self.head = 0;
        Ok(())
    }
}
