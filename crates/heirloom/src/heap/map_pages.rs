//! The preserved-memory map of the heap's file: its pages lie in the file too, its addresses are file offsets.
#![expect(unsafe_code, reason = "reads and writes map pages in the mapped file")]

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, Release},
};

use heirloom_abi::heap::Region;
use heirloom_abi::kho::radix::{
    Frame, Limits, MapError, NODE_WORDS, Order, PAGE_BYTES, Pages, PagesMut, RadixMap,
};

use crate::backing::Backing;

/// The map with its pages.
pub(crate) struct PreservedMap {
    map: RadixMap,
    pages: FilePages,
    order: Order,
    /// The tree's marks of this order again, one bit a block: a restore asks for every block, and the tree is six levels deep.
    marks: Marks,
}

/// One bit a block.
#[derive(Default)]
struct Marks(Vec<u64>);

struct FilePages {
    backing: Arc<Backing>,
    region: Region,
    nr_used: u64,
}

impl PreservedMap {
    /// An empty map in a region of zeroed pages; `None` where the region has no page.
    pub(crate) fn create(backing: Arc<Backing>, region: Region, block_shift: u32) -> Option<Self> {
        let mut pages = FilePages { backing, region, nr_used: 0 };
        let map = RadixMap::create(&mut pages).ok()?;
        Some(Self { map, pages, order: order_of(block_shift)?, marks: Marks::default() })
    }

    /// The map that the predecessor left, every node and every mark of it checked. Nothing is written.
    pub(crate) fn open(
        backing: Arc<Backing>,
        region: Region,
        block_shift: u32,
        root: u64,
    ) -> Result<Self, MapError> {
        let mut pages = FilePages { backing, region, nr_used: region.bytes / PAGE_BYTES };
        let reserved = pages.backing.reserved();
        let limits = Limits {
            nodes: region.offset..region.offset + region.bytes,
            max_nodes: region.bytes / PAGE_BYTES,
            ..Limits::within(0..reserved)
        };
        let mut seen = vec![false; (region.bytes / PAGE_BYTES) as usize];
        let (map, _) = RadixMap::open(&pages, root, &limits, |node| {
            let index = node.checked_sub(region.offset).map(|at| (at / PAGE_BYTES) as usize);
            index.and_then(|index| seen.get_mut(index)).is_some_and(|seen| !std::mem::replace(seen, true))
        })?;
        pages.nr_used = seen.iter().rposition(|&seen| seen).map_or(0, |last| last as u64 + 1);
        let order = order_of(block_shift).ok_or(MapError::ZeroRoot { root })?;
        // All within the heap, as the validation has found: no mark makes these longer than its blocks.
        let mut marks = Marks::default();
        let _all = map.walk_runs(&pages, |run| -> ControlFlow<()> {
            if run.order() == order {
                let first = block_of(run.first().phys(), order);
                marks.add(first..first + run.nr_frames());
            }
            ControlFlow::Continue(())
        })?;
        Ok(Self { map, pages, order, marks })
    }

    /// Address of the root page.
    pub(crate) fn root(&self) -> u64 {
        self.map.root()
    }

    /// Marks the block at `offset`; false where no page is left for a node, or the block is marked.
    pub(crate) fn mark(&mut self, offset: u64) -> bool {
        let marked = self.frame(offset).is_some_and(|frame| self.map.mark(&mut self.pages, frame).is_ok());
        if marked {
            self.marks.set(block_of(offset, self.order), true);
        }
        marked
    }

    /// Marks it if it is not.
    pub(crate) fn mark_again(&mut self, offset: u64) {
        if !self.contains(offset) {
            self.mark(offset);
        }
    }

    /// Takes the mark back, if there is one.
    pub(crate) fn unmark(&mut self, offset: u64) {
        if let Some(frame) = self.frame(offset) {
            // A mark that is not there is what is wanted.
            let _ = self.map.unmark(&mut self.pages, frame);
            self.marks.set(block_of(offset, self.order), false);
        }
    }

    /// True where the block is marked.
    pub(crate) fn contains(&self, offset: u64) -> bool {
        self.marks.has(block_of(offset, self.order))
    }

    /// Pages that hold nodes.
    pub(crate) fn nr_pages(&self) -> u64 {
        self.pages.nr_used
    }

    fn frame(&self, offset: u64) -> Option<Frame> {
        Frame::new(offset, self.order).ok()
    }
}

fn order_of(block_shift: u32) -> Option<Order> {
    Order::new(block_shift.checked_sub(PAGE_BYTES.trailing_zeros())?)
}

/// Which block lies at an offset. By a shift: it is asked for every block of a heap while nobody answers.
fn block_of(offset: u64, order: Order) -> u64 {
    offset >> (order.get() + PAGE_BYTES.trailing_zeros())
}

/// Pages that a map needs to mark every block of `reserved` bytes: a leaf for each 32,768 blocks, and a path to it.
pub(crate) fn pages_needed(reserved: u64, block_shift: u32) -> u64 {
    let leaves = (reserved >> block_shift).div_ceil(32_768) + 1;
    // Five levels above the leaves; 512 children each.
    leaves + (0..5).map(|level| leaves.div_ceil(512u64.pow(level + 1)) + 1).sum::<u64>()
}

impl Marks {
    fn set(&mut self, block: u64, marked: bool) {
        let (word, bit) = ((block / 64) as usize, block % 64);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] = self.0[word] & !(1 << bit) | u64::from(marked) << bit;
    }

    /// Marks a range of blocks, words at a time.
    fn add(&mut self, blocks: Range<u64>) {
        if blocks.is_empty() {
            return;
        }
        // Bits of a word from, and up to and with, this block.
        let (from, up_to) =
            (|block: u64| u64::MAX << (block % 64), |block: u64| u64::MAX >> (63 - block % 64));
        let (first, last) = (blocks.start, blocks.end - 1);
        let words = (first / 64) as usize..=(last / 64) as usize;
        if *words.end() >= self.0.len() {
            self.0.resize(words.end() + 1, 0);
        }
        let words = &mut self.0[words];
        match words {
            [] => {}
            [one] => *one |= from(first) & up_to(last),
            [head, middle @ .., tail] => {
                *head |= from(first);
                middle.fill(u64::MAX);
                *tail |= up_to(last);
            }
        }
    }

    fn has(&self, block: u64) -> bool {
        self.0.get((block / 64) as usize).is_some_and(|word| word >> (block % 64) & 1 == 1)
    }
}

impl FilePages {
    fn word(&self, phys: u64, index: usize) -> Option<&AtomicU64> {
        self.page(phys)?.get(index)
    }

    fn page(&self, phys: u64) -> Option<&[AtomicU64; NODE_WORDS]> {
        let at = phys.checked_sub(self.region.offset)?;
        if !at.is_multiple_of(PAGE_BYTES) || self.region.bytes.saturating_sub(at) < PAGE_BYTES {
            return None;
        }
        // SAFETY: the region lies in the mapped file and the page in the region, aligned; its words are only ever accessed as atomics.
        Some(unsafe { &*self.backing.base().as_ptr().add(phys as usize).cast() })
    }
}

impl Pages for FilePages {
    fn load(&self, phys: u64, index: usize) -> Option<u64> {
        Some(self.word(phys, index)?.load(Relaxed))
    }

    // Most of a node is empty, and all of it is looked at while nobody answers.
    fn words_unlike(&self, phys: u64, words: Range<usize>, value: u64) -> Option<u64> {
        let words = self.page(phys)?.get(words.start..words.end.min(words.start.saturating_add(64)))?;
        Some(words.iter().rev().fold(0, |mask, word| mask << 1 | u64::from(word.load(Relaxed) != value)))
    }
}

impl PagesMut for FilePages {
    fn store(&mut self, phys: u64, index: usize, value: u64) -> Option<()> {
        // Release: a kill finds what was stored before, such as a new node before the word that names it.
        self.word(phys, index)?.store(value, Release);
        Some(())
    }

    fn allocate(&mut self) -> Option<u64> {
        let phys = self.region.offset + self.nr_used * PAGE_BYTES;
        if self.nr_used >= self.region.bytes / PAGE_BYTES {
            return None;
        }
        self.nr_used += 1;
        // A page that a killed owner had begun to use, or that a foreign hand wrote on.
        for index in 0..NODE_WORDS {
            self.store(phys, index, 0)?;
        }
        Some(phys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_as_they_were_set_and_beyond_them_there_are_none() {
        let mut marks = Marks::default();
        for block in [0, 63, 64, 1000] {
            marks.set(block, true);
        }
        marks.set(63, false);
        let set: Vec<u64> = (0..2000).filter(|&block| marks.has(block)).collect();
        assert_eq!(set, [0, 64, 1000]);
        assert!(!marks.has(u64::MAX / 2));
    }

    #[test]
    fn ranges_of_marks_are_as_if_they_were_set_one_by_one() {
        for range in [0..0, 5..5, 0..1, 63..64, 63..65, 3..61, 0..64, 64..128, 60..200, 128..320, 1..129] {
            let (mut marks, mut one_by_one) = (Marks::default(), Marks::default());
            for block in [2, 100, 130] {
                marks.set(block, true);
                one_by_one.set(block, true);
            }
            marks.add(range.clone());
            range.clone().for_each(|block| one_by_one.set(block, true));
            let all = |marks: &Marks| (0..500).filter(|&block| marks.has(block)).collect::<Vec<_>>();
            assert_eq!(all(&marks), all(&one_by_one), "{range:?}");
        }
    }
}
