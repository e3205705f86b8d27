//! A set of pages below 4 GiB: one bit each.

use crate::range::PhysRange;

/// The bytes of a page.
pub const PAGE_BYTES: u64 = 4096;

/// Where the pages end that a set can hold.
pub const END: u64 = 1 << 32;

const NR_WORDS: usize = (END / PAGE_BYTES / 64) as usize;

/// A set of pages below [`END`], 128 KiB large.
pub struct PageSet([u64; NR_WORDS]);

impl PageSet {
    /// Makes an empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; NR_WORDS])
    }

    /// Adds every page that the range touches; what lies above [`END`] is left out.
    pub fn add(&mut self, range: PhysRange) {
        let first = range.start / PAGE_BYTES;
        let end = range.end.min(END).div_ceil(PAGE_BYTES);
        for page in first..end {
            self.0[page as usize / 64] |= 1 << (page % 64);
        }
    }

    /// Says whether the page at this address is in it. Pages above [`END`] are in no set.
    #[must_use]
    pub fn contains(&self, address: u64) -> bool {
        let page = address / PAGE_BYTES;
        let word = usize::try_from(page / 64).ok().and_then(|word| self.0.get(word));
        word.is_some_and(|word| word & (1 << (page % 64)) != 0)
    }

    /// The start of every page of the range that is not in the set. What lies above [`END`] is left out: whether it should be in
    /// the set, the set cannot say.
    pub fn pages_without(&self, range: PhysRange) -> impl Iterator<Item = u64> {
        (range.start..range.end.min(END)).step_by(PAGE_BYTES as usize).filter(|page| !self.contains(*page))
    }
}

impl Default for PageSet {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_that_a_range_touches_is_in() {
        let mut set = PageSet::new();
        set.add(PhysRange { start: 0x1fff, end: 0x3001 });
        set.add(PhysRange { start: END - 1, end: END + 0x5000 });
        set.add(PhysRange { start: 0x10_0000, end: 0x10_0000 });
        set.add(PhysRange { start: END + 0x1000, end: u64::MAX });
        let pages = [0, 0x1000, 0x2000, 0x3000, 0x4000, 0x10_0000, END - 0x1000, END, u64::MAX];
        let inside = pages.map(|page| set.contains(page));
        assert_eq!(inside, [false, true, true, true, false, false, true, false, false]);
    }

    #[test]
    fn a_range_is_gone_through_without_the_pages_of_the_set_and_no_further_than_its_end() {
        let mut set = PageSet::new();
        set.add(PhysRange { start: END - 0x3000, end: END - 0x2000 });
        set.add(PhysRange { start: END, end: END + 0x1000 });
        let pages = |start, end| set.pages_without(PhysRange { start, end });
        assert!(pages(END - 0x4000, END + 0x4000).eq([END - 0x4000, END - 0x2000, END - 0x1000]));
        assert!(pages(END, END + 0x4000).eq([]));
        assert!(pages(END + 0x1000, u64::MAX).eq([]));
    }
}
