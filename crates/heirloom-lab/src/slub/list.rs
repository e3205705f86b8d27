//! A list of slabs, through their entries.

use super::Slab;

/// No slab.
pub(super) const NONE: u32 = u32::MAX;

/// First and last.
#[derive(Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
    pub(super) len: u32,
}

impl List {
    pub(super) const fn new() -> Self {
        Self { head: NONE, tail: NONE, len: 0 }
    }

    pub(super) fn first(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    pub(super) fn push_back(&mut self, slabs: &mut [Slab], id: u32) {
        (slabs[id as usize].prev, slabs[id as usize].next) = (self.tail, NONE);
        match slabs.get_mut(self.tail as usize) {
            Some(last) => last.next = id,
            None => self.head = id,
        }
        self.tail = id;
        self.len += 1;
    }

    pub(super) fn unlink(&mut self, slabs: &mut [Slab], id: u32) {
        let (prev, next) = (slabs[id as usize].prev, slabs[id as usize].next);
        match slabs.get_mut(prev as usize) {
            Some(slab) => slab.next = next,
            None => self.head = next,
        }
        match slabs.get_mut(next as usize) {
            Some(slab) => slab.prev = prev,
            None => self.tail = prev,
        }
        self.len -= 1;
    }

    pub(super) fn iter(&self, slabs: &[Slab]) -> impl Iterator<Item = u32> {
        std::iter::successors(self.first(), |&id| Some(slabs[id as usize].next).filter(|&next| next != NONE))
    }
}
