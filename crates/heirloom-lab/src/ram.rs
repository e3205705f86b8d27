//! The bytes of the hosted machine's memory, as the owners of objects see them.
#![expect(unsafe_code, reason = "physical addresses become memory here")]

use heirloom_mm::hosted::Hardware;
use heirloom_mm::{MemoryRange, Platform as _};

/// A machine's memory. Reading and writing is by physical address; an address outside panics.
#[derive(Clone, Copy)]
pub(crate) struct Ram<'h> {
    hardware: &'h Hardware,
    banks: [(u64, u64); 2],
}

impl<'h> Ram<'h> {
    /// The memory of this hardware, which has these two ranges.
    pub(crate) fn new(hardware: &'h Hardware, banks: &[MemoryRange; 2]) -> Self {
        Self { hardware, banks: banks.each_ref().map(|bank| (bank.range.start, bank.range.end)) }
    }

    /// Writes word after word, from `phys` on.
    pub(crate) fn write_words(&self, phys: u64, words: impl ExactSizeIterator<Item = u64>) {
        let at = self.word(phys, words.len());
        for (index, word) in words.enumerate() {
            // SAFETY: `word` found all of them to be memory. Whoever else uses these bytes runs on this thread.
            unsafe { at.add(index).write_volatile(word) };
        }
    }

    /// Reads `nr` words from `phys` on.
    pub(crate) fn words(&self, phys: u64, nr: usize) -> impl Iterator<Item = u64> + use<'h> {
        let at = self.word(phys, nr);
        // SAFETY: as above, and the memory stays mapped as long as the hardware is borrowed.
        (0..nr).map(move |index| unsafe { at.add(index).read_volatile() })
    }

    /// Zeroes bytes.
    pub(crate) fn zero(&self, phys: u64, bytes: u64) {
        self.write_words(phys, (0..(bytes / 8) as usize).map(|_| 0));
    }

    /// Reads bytes; `None` outside memory.
    pub(crate) fn read(&self, phys: u64, to: &mut [u8]) -> Option<()> {
        let end = phys.checked_add(to.len() as u64)?;
        if !self.is_inside(phys, end) {
            return None;
        }
        // SAFETY: the bytes are memory, and `to` is the caller's own.
        unsafe { to.as_mut_ptr().copy_from(self.at(phys), to.len()) };
        Some(())
    }

    fn word(&self, phys: u64, nr: usize) -> *mut u64 {
        let end = phys.saturating_add(nr as u64 * 8);
        assert!(phys.is_multiple_of(8) && self.is_inside(phys, end), "{phys:#x} is no memory");
        self.at(phys).cast()
    }

    fn is_inside(&self, phys: u64, end: u64) -> bool {
        self.banks.iter().any(|&(first, last)| first <= phys && end <= last)
    }

    fn at(&self, phys: u64) -> *mut u8 {
        self.hardware.direct_map().as_ptr().wrapping_add(phys as usize)
    }
}

impl heirloom_abi::pool::Memory for Ram<'_> {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Option<()> {
        Ram::read(self, offset, buffer)
    }

    fn count_nonzero(&self, offset: u64, len: u64) -> Option<u64> {
        let mut byte = [0];
        let mut count = 0;
        for at in offset..offset.checked_add(len)? {
            Ram::read(self, at, &mut byte)?;
            count += u64::from(byte != [0]);
        }
        Some(count)
    }
}
