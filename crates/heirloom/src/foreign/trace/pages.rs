//! Pages: foreign memory for many small reads all over the place.
//!
//! A direct-mapped copy of a few thousand pages. Elements of one block, and objects that were allocated one after
//! another, share pages; without it every object would cost a system call or two.

use std::vec::Vec;

use heirloom_abi::pool::Memory;

const PAGE: usize = 4096;
const PAGES: usize = 1024;

/// Reads through copies of pages.
pub(super) struct Pages<'m, M: ?Sized> {
    memory: &'m M,
    bytes: Vec<u8>,
    /// Which page each place has, plus 1.
    which: Vec<u64>,
}

impl<'m, M: Memory + ?Sized> Pages<'m, M> {
    pub(super) fn new(memory: &'m M) -> Self {
        Self { memory, bytes: vec![0; PAGES * PAGE], which: vec![0; PAGES] }
    }

    /// Copies bytes out; `None` where the memory does not reach.
    pub(super) fn read(&mut self, offset: u64, mut buffer: &mut [u8]) -> Option<()> {
        let mut at = offset;
        while !buffer.is_empty() {
            let page = self.page(at / PAGE as u64)?;
            let from = (at % PAGE as u64) as usize;
            let len = buffer.len().min(PAGE - from);
            let (now, later) = buffer.split_at_mut(len);
            now.copy_from_slice(&page[from..from + len]);
            buffer = later;
            at = at.checked_add(len as u64)?;
        }
        Some(())
    }

    fn page(&mut self, number: u64) -> Option<&[u8]> {
        let place = (number % PAGES as u64) as usize;
        let bytes = &mut self.bytes[place * PAGE..(place + 1) * PAGE];
        let wanted = number.checked_add(1)?;
        if self.which[place] != wanted {
            self.which[place] = 0;
            self.memory.read(number.checked_mul(PAGE as u64)?, bytes)?;
            self.which[place] = wanted;
        }
        Some(bytes)
    }
}
