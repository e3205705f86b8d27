//! A zone: one range of memory on one node, its page records, its lists of free blocks.
#![expect(unsafe_code, reason = "its table of page records lies in physical memory")]

use core::ops::Range;

use super::order::{NR_ORDERS, buddy, largest_at};
use super::page::NONE;
use super::{BlockType, MAX_ORDER, NR_TYPES, Owner, Page, State};
use crate::phys::Memory;

/// The zone.
pub(crate) struct Zone<'m> {
    first: u64,
    node: u32,
    pages: &'m mut [Page],
    types: &'m mut [BlockType],
    /// First block of each list, by type and order.
    lists: [[u32; NR_ORDERS]; NR_TYPES],
    nr_free: [u64; NR_TYPES],
}

/// Pages of a page block.
const BLOCK_PAGES: u64 = 1 << MAX_ORDER;

impl<'m> Zone<'m> {
    /// Bytes of the tables of a zone with these pages.
    pub(crate) fn table_bytes(pfns: &Range<u64>) -> u64 {
        types_at(pfns) + nr_blocks(pfns)
    }

    /// A zone of pages that are all absent.
    ///
    /// # Safety
    ///
    /// `table` starts [`Zone::table_bytes`] bytes of page-aligned memory that are the zone's alone for as long as `'m`.
    pub(crate) unsafe fn new(map: Memory, pfns: Range<u64>, node: u32, table: u64) -> Self {
        map.zero(table, Self::table_bytes(&pfns));
        let nr = (pfns.end - pfns.start) as usize;
        // SAFETY: the table is ours; all zeros is an absent page.
        let pages: &'m mut [Page] = unsafe { map.table_mut(table, nr) };
        // SAFETY: behind the pages, where nothing overlaps; 0 is a type of page blocks.
        let types: &'m mut [BlockType] =
            unsafe { map.table_mut(table + types_at(&pfns), nr_blocks(&pfns) as usize) };
        types.fill(BlockType::Movable);
        let lists = [[NONE; NR_ORDERS]; NR_TYPES];
        Self { first: pfns.start, node, pages, types, lists, nr_free: [0; NR_TYPES] }
    }

    pub(crate) fn pfns(&self) -> Range<u64> {
        self.first..self.first + self.pages.len() as u64
    }

    pub(crate) fn node(&self) -> u32 {
        self.node
    }

    pub(crate) fn nr_free(&self, kind: BlockType) -> u64 {
        self.nr_free[kind as usize]
    }

    pub(crate) fn page(&self, pfn: u64) -> Page {
        self.pages[(pfn - self.first) as usize]
    }

    pub(crate) fn page_mut(&mut self, pfn: u64) -> &mut Page {
        &mut self.pages[(pfn - self.first) as usize]
    }

    /// The first page of the block that `pfn` lies in; `None` for an absent page.
    pub(crate) fn head_of(&self, pfn: u64) -> Option<u64> {
        for order in 0..=MAX_ORDER {
            let head = pfn & !((1 << order) - 1);
            if head < self.first {
                return None;
            }
            match self.page(head) {
                Page { state: State::Body, .. } => {}
                Page { state: State::Absent, .. } => return None,
                page if u32::from(page.order) >= order => return Some(head),
                _ => return None,
            }
        }
        None
    }

    /// The type of the page block that `pfn` lies in.
    pub(crate) fn type_of(&self, pfn: u64) -> BlockType {
        self.types[self.block_index(pfn)]
    }

    pub(super) fn set_type(&mut self, pfns: Range<u64>, kind: BlockType) {
        let (from, to) = (self.block_index(pfns.start), self.block_index(pfns.end - 1));
        self.types[from..=to].fill(kind);
    }

    fn block_index(&self, pfn: u64) -> usize {
        (pfn / BLOCK_PAGES - self.first / BLOCK_PAGES) as usize
    }

    /// Takes absent pages over as free ones.
    pub(super) fn give(&mut self, pfns: Range<u64>) {
        let mut pfn = pfns.start;
        while pfn < pfns.end {
            let order = largest_at(pfn, pfns.end, MAX_ORDER);
            self.make_block(pfn, order, State::Used);
            self.free(pfn, order);
            pfn += 1 << order;
        }
    }

    /// Writes the records of a block that is on no list.
    pub(crate) fn make_block(&mut self, pfn: u64, order: u32, state: State) {
        let at = (pfn - self.first) as usize;
        let body = Page {
            next: NONE,
            prev: NONE,
            order: 0,
            state: State::Body,
            owner: Owner::Pages,
            is_preserved: false,
        };
        self.pages[at..at + (1 << order)].fill(body);
        self.pages[at] = Page { order: order as u8, state, ..body };
    }

    /// Takes a block of `order`.
    pub(super) fn alloc(&mut self, order: u32, kind: BlockType) -> Option<u64> {
        for larger in order..=MAX_ORDER {
            let at = self.lists[kind as usize][larger as usize];
            if at != NONE {
                return Some(self.take(self.first + u64::from(at), larger, order));
            }
        }
        for &other in kind.fallbacks() {
            // The largest first: the fewer page blocks of another type are broken into, the better.
            for larger in (order..=MAX_ORDER).rev() {
                let at = self.lists[other as usize][larger as usize];
                if at == NONE {
                    continue;
                }
                let pfn = self.first + u64::from(at);
                if larger == MAX_ORDER && other != BlockType::Scratch {
                    self.unlink(pfn, larger);
                    self.set_type(pfn..pfn + BLOCK_PAGES, kind);
                    self.link(pfn, larger);
                }
                return Some(self.take(pfn, larger, order));
            }
        }
        None
    }

    /// Takes the front of a free block, and frees what is behind.
    fn take(&mut self, pfn: u64, from: u32, order: u32) -> u64 {
        self.unlink(pfn, from);
        for smaller in (order..from).rev() {
            self.link(pfn + (1 << smaller), smaller);
        }
        *self.page_mut(pfn) = Page {
            next: NONE,
            prev: NONE,
            order: order as u8,
            state: State::Used,
            owner: Owner::Pages,
            is_preserved: false,
        };
        pfn
    }

    /// Frees a block in use, and merges it with free buddies.
    pub(super) fn free(&mut self, mut pfn: u64, mut order: u32) {
        self.page_mut(pfn).state = State::Body;
        while order < MAX_ORDER {
            let other = buddy(pfn, order);
            let inside = other >= self.first && other + (1 << order) <= self.pfns().end;
            if !inside {
                break;
            }
            let page = self.page(other);
            if page.state != State::Free || u32::from(page.order) != order {
                break;
            }
            self.unlink(other, order);
            pfn = pfn.min(other);
            order += 1;
        }
        self.link(pfn, order);
    }

    /// Puts a block on the list of its page block's type.
    fn link(&mut self, pfn: u64, order: u32) {
        let kind = self.type_of(pfn) as usize;
        let at = (pfn - self.first) as u32;
        let next = self.lists[kind][order as usize];
        if next != NONE {
            self.pages[next as usize].prev = at;
        }
        *self.page_mut(pfn) = Page {
            next,
            prev: NONE,
            order: order as u8,
            state: State::Free,
            owner: Owner::Pages,
            is_preserved: false,
        };
        self.lists[kind][order as usize] = at;
        self.nr_free[kind] += 1 << order;
    }

    /// Takes a free block off its list: its first page is one of a body then.
    pub(super) fn unlink(&mut self, pfn: u64, order: u32) {
        let kind = self.type_of(pfn) as usize;
        let Page { next, prev, .. } = self.page(pfn);
        match prev {
            NONE => self.lists[kind][order as usize] = next,
            prev => self.pages[prev as usize].next = next,
        }
        if next != NONE {
            self.pages[next as usize].prev = prev;
        }
        self.page_mut(pfn).state = State::Body;
        self.nr_free[kind] -= 1 << order;
    }

    /// Links a block that [`Zone::unlink`] took off, or a part of one.
    pub(super) fn relink(&mut self, pfns: Range<u64>) {
        let mut pfn = pfns.start;
        while pfn < pfns.end {
            let order = largest_at(pfn, pfns.end, MAX_ORDER);
            self.free(pfn, order);
            pfn += 1 << order;
        }
    }

    /// True if any page is marked as preserved.
    pub(crate) fn is_preserved(&self, pfns: Range<u64>) -> bool {
        self.find_preserved(pfns, true).is_some()
    }

    /// The first page whose mark is `marked`.
    pub(crate) fn find_preserved(&self, pfns: Range<u64>, marked: bool) -> Option<u64> {
        pfns.into_iter().find(|&pfn| self.page(pfn).is_preserved == marked)
    }

    /// Pages that are marked as preserved.
    pub(crate) fn count_preserved(&self) -> u64 {
        self.pages.iter().map(|page| u64::from(page.is_preserved)).sum()
    }

    pub(crate) fn set_preserved(&mut self, pfns: Range<u64>, marked: bool) {
        let (from, to) = ((pfns.start - self.first) as usize, (pfns.end - self.first) as usize);
        for page in &mut self.pages[from..to] {
            page.is_preserved = marked;
        }
    }

    /// Iterates over the free blocks of a list.
    pub(super) fn list(&self, kind: BlockType, order: u32) -> impl Iterator<Item = u64> {
        let mut at = self.lists[kind as usize][order as usize];
        let mut left = self.pages.len();
        core::iter::from_fn(move || {
            // A list that loops ends too.
            if at == NONE || left == 0 {
                return None;
            }
            left -= 1;
            let pfn = self.first + u64::from(at);
            at = self.pages.get(at as usize)?.next;
            Some(pfn)
        })
    }
}

/// Where the table of types starts behind the pages.
fn types_at(pfns: &Range<u64>) -> u64 {
    (pfns.end - pfns.start) * size_of::<Page>() as u64
}

/// Page blocks that a zone has a part of.
fn nr_blocks(pfns: &Range<u64>) -> u64 {
    pfns.end.div_ceil(BLOCK_PAGES) - pfns.start / BLOCK_PAGES
}
