//! The memory that a tree lies in, seen as pages of 512 words.
//!
//! Access is by word, not by reference to a page: the heap of a process is mapped by several threads and, for a moment, by two
//! processes, so its implementation reads and writes atomics; a kernel's goes through its direct map. Both inline to one load or store.
//!
//! Two methods suffice to implement, [`Pages::load`] and [`PagesMut::store`] (with `allocate`). The others have the same meaning
//! word by word, and are there to be replaced where a page can be found once for many words:
//!
//! ```text
//! load, store             one word                        a search for the page each
//! update                  one word, read and written      one search instead of two: a mark
//! words_unlike, fill      many words of a page            one search: walks, ranges
//! ```

use core::ops::Range;

use super::{NODE_WORDS, PAGE_BYTES, PAGE_SHIFT};

/// Most words that [`Pages::words_unlike`] looks at.
pub(super) const MASK_WORDS: usize = u64::BITS as usize;

/// Memory that can be read as pages of 512 words.
pub trait Pages {
    /// Returns word `index` of the page at `phys`.
    ///
    /// `None` if no page that may hold a node starts at `phys`, or `index` is not below [`NODE_WORDS`]. `phys` may be
    /// any value: it may come from another generation.
    fn load(&self, phys: u64, index: usize) -> Option<u64>;

    /// Returns which of the page's `words` are not `value`: bit 0 stands for the first of them. After the 64th it looks no further.
    ///
    /// `None` as of [`Pages::load`], for any of the words that it looks at.
    #[inline]
    fn words_unlike(&self, phys: u64, words: Range<usize>, value: u64) -> Option<u64> {
        let mut mask = 0;
        for (bit, index) in words.take(MASK_WORDS).enumerate() {
            mask |= u64::from(self.load(phys, index)? != value) << bit;
        }
        Some(mask)
    }
}

/// Memory in which a tree can grow.
pub trait PagesMut: Pages {
    /// Writes word `index` of the page at `phys`; `None`, and no effect, where [`Pages::load`] gives `None`.
    fn store(&mut self, phys: u64, index: usize, value: u64) -> Option<()>;

    /// Replaces word `index` of the page at `phys` by what `change` makes of it, in one store, if it makes anything; returns
    /// what it was. `None`, and no effect, where [`Pages::load`] gives `None`.
    #[inline]
    fn update(&mut self, phys: u64, index: usize, change: impl FnOnce(u64) -> Option<u64>) -> Option<u64>
    where
        Self: Sized,
    {
        let word = self.load(phys, index)?;
        if let Some(changed) = change(word) {
            self.store(phys, index, changed)?;
        }
        Some(word)
    }

    /// Writes `value` to each of the page's `words`, first to last; `None` where [`PagesMut::store`] gives `None` for one of them.
    #[inline]
    fn fill(&mut self, phys: u64, words: Range<usize>, value: u64) -> Option<()> {
        for index in words {
            self.store(phys, index, value)?;
        }
        Some(())
    }

    /// Takes a page for a node of the tree; `None` if there is none left.
    ///
    /// The page is all zeros, its address is a multiple of [`PAGE_BYTES`] and not 0, and it is in nobody else's use. It must
    /// lie where the successor does not write before it has read the map: outside scratch, outside the guard pool.
    fn allocate(&mut self) -> Option<u64>;
}

/// Returns the page's number in an array that begins at `base`; a number that no array has, if no page starts there.
///
/// The bits that make an address misaligned become the highest of its number, and an address before the first page wraps around to
/// one of the highest numbers: so the test against the array's length, which has to be made anyway, is the only one.
#[inline]
fn page_index(base: u64, phys: u64) -> Option<usize> {
    usize::try_from(phys.wrapping_sub(base).rotate_right(PAGE_SHIFT)).ok()
}

/// [`Pages::words_unlike`] of words that lie side by side.
#[inline]
fn unlike(words: &[u64], value: u64) -> u64 {
    let bit = |(bit, &word): (usize, &u64)| u64::from(word != value) << bit;
    match words.first_chunk::<MASK_WORDS>() {
        // A fixed number of them is a loop without branches.
        Some(words) => words.iter().enumerate().map(bit).fold(0, |mask, bit| mask | bit),
        None => words.iter().enumerate().map(bit).fold(0, |mask, bit| mask | bit),
    }
}

/// A run of pages, borrowed, to read.
#[derive(Clone, Copy, Debug)]
pub struct PageSlice<'a> {
    base: u64,
    pages: &'a [[u64; NODE_WORDS]],
}

impl<'a> PageSlice<'a> {
    /// Reads `pages` as the pages from `base` on.
    #[must_use]
    pub const fn new(base: u64, pages: &'a [[u64; NODE_WORDS]]) -> Self {
        Self { base, pages }
    }
}

impl Pages for PageSlice<'_> {
    #[inline]
    fn load(&self, phys: u64, index: usize) -> Option<u64> {
        self.pages.get(page_index(self.base, phys)?)?.get(index).copied()
    }

    #[inline]
    fn words_unlike(&self, phys: u64, words: Range<usize>, value: u64) -> Option<u64> {
        Some(unlike(self.pages.get(page_index(self.base, phys)?)?.get(words)?, value))
    }
}

/// A run of pages, borrowed, in which the ones behind `nr_used` are free.
#[derive(Debug)]
pub struct PageArray<'a> {
    base: u64,
    pages: &'a mut [[u64; NODE_WORDS]],
    nr_used: usize,
}

impl<'a> PageArray<'a> {
    /// Takes `pages` as the pages from `base` on, of which the first `nr_used` are in use.
    #[must_use]
    pub const fn new(base: u64, pages: &'a mut [[u64; NODE_WORDS]], nr_used: usize) -> Self {
        Self { base, pages, nr_used }
    }

    /// Returns how many pages are in use.
    #[must_use]
    pub const fn nr_used(&self) -> usize {
        self.nr_used
    }
}

impl Pages for PageArray<'_> {
    #[inline]
    fn load(&self, phys: u64, index: usize) -> Option<u64> {
        self.pages.get(page_index(self.base, phys)?)?.get(index).copied()
    }

    #[inline]
    fn words_unlike(&self, phys: u64, words: Range<usize>, value: u64) -> Option<u64> {
        Some(unlike(self.pages.get(page_index(self.base, phys)?)?.get(words)?, value))
    }
}

impl PagesMut for PageArray<'_> {
    #[inline]
    fn store(&mut self, phys: u64, index: usize, value: u64) -> Option<()> {
        *self.pages.get_mut(page_index(self.base, phys)?)?.get_mut(index)? = value;
        Some(())
    }

    #[inline]
    fn update(&mut self, phys: u64, index: usize, change: impl FnOnce(u64) -> Option<u64>) -> Option<u64> {
        let word = self.pages.get_mut(page_index(self.base, phys)?)?.get_mut(index)?;
        let before = *word;
        if let Some(changed) = change(before) {
            *word = changed;
        }
        Some(before)
    }

    #[inline]
    fn fill(&mut self, phys: u64, words: Range<usize>, value: u64) -> Option<()> {
        self.pages.get_mut(page_index(self.base, phys)?)?.get_mut(words)?.fill(value);
        Some(())
    }

    fn allocate(&mut self) -> Option<u64> {
        let phys = self.base.checked_add(PAGE_BYTES.checked_mul(self.nr_used as u64)?)?;
        if phys == 0 || phys % PAGE_BYTES != 0 {
            return None;
        }
        self.pages.get_mut(self.nr_used)?.fill(0);
        self.nr_used += 1;
        Some(phys)
    }
}

/// Bytes of a snapshot (a core file, a heap file that was read) as pages, to read.
#[derive(Clone, Copy, Debug)]
pub struct PageBytes<'a> {
    base: u64,
    bytes: &'a [u8],
}

impl<'a> PageBytes<'a> {
    /// Reads `bytes` as the memory from `base` on; a last incomplete page is not seen.
    #[must_use]
    pub const fn new(base: u64, bytes: &'a [u8]) -> Self {
        Self { base, bytes }
    }
}

impl Pages for PageBytes<'_> {
    fn load(&self, phys: u64, index: usize) -> Option<u64> {
        let at = page_index(self.base, phys)?.checked_mul(PAGE_BYTES as usize)?;
        let page = self.bytes.get(at..at.checked_add(PAGE_BYTES as usize)?)?;
        crate::le::get_u64(page, index.checked_mul(size_of::<u64>())?)
    }
}
