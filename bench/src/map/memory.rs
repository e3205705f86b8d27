//! The memory in which each contestant's nodes lie: page-aligned, touched beforehand, the same kind for all.
#![expect(unsafe_code, reason = "asks for huge pages under memory that is already there")]

use heirloom_abi::kho::radix::NODE_WORDS;

/// The memory begins at a multiple of this, so that huge pages fit.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Pages for nodes.
pub(super) struct Memory {
    words: Vec<u64>,
    /// The first word that begins a huge page.
    start: usize,
    nr_pages: usize,
}

impl Memory {
    pub(super) fn new(nr_pages: usize, huge_pages: bool) -> Self {
        let nr_words = (nr_pages * NODE_WORDS).next_multiple_of(HUGE_PAGE_BYTES / size_of::<u64>());
        let mut words = vec![0u64; nr_words + HUGE_PAGE_BYTES / size_of::<u64>()];
        let start = words.as_ptr().align_offset(HUGE_PAGE_BYTES);
        if huge_pages {
            let (at, bytes) = (words[start..].as_mut_ptr(), nr_words * size_of::<u64>());
            // SAFETY: the range is whole pages of the vector's own mapping; the advice changes no byte of it.
            let advised = unsafe { rustix::mm::madvise(at.cast(), bytes, rustix::mm::Advice::LinuxHugepage) };
            if let Err(error) = advised {
                eprintln!("no huge pages: {error}");
            }
        }
        // A fault a page now, none while the clock runs.
        words.fill(u64::MAX);
        Self { words, start, nr_pages }
    }

    pub(super) fn pages(&mut self) -> &mut [[u64; NODE_WORDS]] {
        let (pages, _) = self.words[self.start..].as_chunks_mut();
        &mut pages[..self.nr_pages]
    }
}
