//! Buddy allocator: hands out blocks of `2^order` pages and merges them back.
//!
//! ```text
//! order 2  |-------------- 0 --------------|
//! order 1  |----- 0 ------|------- 2 ------|   split(0, 2) gives 0 and 2
//! order 0  |--0---|--1----|---2----|---3---|   buddy(pfn, order) = pfn ^ (1 << order)
//!
//! page block (4 MiB, the largest order): one type each
//! | kernel | movable | preserved | scratch | scratch | movable | ...
//! ```
//!
//! `memblock` hands its free pages over once, at boot; the pools, the map and whoever asks for whole pages take theirs from here. A
//! request takes from page blocks of its own type first, then the largest block of another type; *nothing but `Movable` ever
//! comes from scratch*. Each zone (a range of memory on one node) has a table of page records, which lies in memory that memblock gave.
//!
//! # Invariants (tested by [`Buddy::check`])
//!
//! - *aligned*: a free block of order `n` starts at a multiple of `2^n`, and lies in one page block.
//! - *merged*: below the largest order, two free buddies of one order never coexist.
//! - *typed*: a free block is on the list of its page block's type; scratch blocks are exactly those of the scratch areas.
//! - *counted*: the counts of free pages agree with the lists.

mod check;
mod order;
mod page;
mod runs;
mod zone;

#[cfg(test)]
mod tests;

pub use check::Broken;
pub use order::{MAX_ORDER, order_for};
pub(crate) use page::{Owner, Page, State};
pub use runs::NotFree;
pub(crate) use zone::Zone;

use core::ops::Range;

use crate::MAX_ZONES;
use crate::phys::PAGE_SHIFT;

/// What a page block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BlockType {
    /// The kernel's own: pools, tables, the map's nodes.
    Kernel = 0,
    /// Pages whose owner can do without them. All memory starts as this.
    Movable = 1,
    /// What is handed over, together, so that little else is broken up.
    Preserved = 2,
    /// A scratch area. Serves `Movable` requests alone, and never becomes anything else.
    Scratch = 3,
}

/// Types of page blocks.
pub(crate) const NR_TYPES: usize = 4;

impl BlockType {
    pub(crate) const ALL: [Self; NR_TYPES] = [Self::Kernel, Self::Movable, Self::Preserved, Self::Scratch];

    /// Where a request of this type goes when its own page blocks are full.
    const fn fallbacks(self) -> &'static [Self] {
        match self {
            Self::Kernel => &[Self::Movable, Self::Preserved],
            Self::Movable => &[Self::Scratch, Self::Kernel, Self::Preserved],
            Self::Preserved => &[Self::Movable, Self::Kernel],
            Self::Scratch => &[],
        }
    }
}

/// One request for pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Binary logarithm of the pages.
    pub order: u32,
    /// What they are for.
    pub kind: BlockType,
    /// The node to try first.
    pub node: Option<u32>,
    /// May use the pages that are kept for those who cannot wait.
    pub urgent: bool,
}

/// Pages were not given back. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FreePagesError {
    /// No block of this order was handed out at this address.
    #[error("no block of order {order} is in use at {phys:#x}")]
    NotInUse {
        /// The address.
        phys: u64,
        /// The order.
        order: u32,
    },
    /// The pages are marked as preserved: unpreserve them first.
    #[error("the block at {phys:#x} is preserved; it is unpreserved before it is freed")]
    Preserved {
        /// The address.
        phys: u64,
    },
}

/// Where memory is, as a copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extents {
    zones: [(u64, u64); MAX_ZONES],
}

impl Extents {
    /// True for the address of a page of memory.
    pub(crate) fn is_page(&self, phys: u64) -> bool {
        let page = 1 << PAGE_SHIFT;
        let inside = |&(start, end): &(u64, u64)| start <= phys && phys < end;
        phys % page == 0 && self.zones.iter().any(inside)
    }
}

/// The allocator.
pub struct Buddy<'m> {
    zones: [Option<Zone<'m>>; MAX_ZONES],
    nr_zones: usize,
    /// Pages outside scratch that are kept for urgent requests.
    kept: u64,
}

impl<'m> Buddy<'m> {
    /// An allocator of no memory.
    pub(crate) fn new() -> Self {
        Self { zones: [const { None }; MAX_ZONES], nr_zones: 0, kept: 0 }
    }

    /// Adds a zone. Zones come in ascending order, at most [`MAX_ZONES`] of them.
    pub(crate) fn add_zone(&mut self, zone: Zone<'m>) {
        self.zones[self.nr_zones] = Some(zone);
        self.nr_zones += 1;
    }

    /// Keeps so many pages for urgent requests.
    pub(crate) fn set_kept(&mut self, pages: u64) {
        self.kept = pages;
    }

    pub(crate) fn zones(&self) -> impl Iterator<Item = &Zone<'m>> {
        self.zones[..self.nr_zones].iter().flatten()
    }

    fn zones_mut(&mut self) -> impl Iterator<Item = &mut Zone<'m>> {
        self.zones[..self.nr_zones].iter_mut().flatten()
    }

    /// Makes the page blocks of a range scratch. Before any page of it was given.
    pub(crate) fn set_scratch(&mut self, range: &Range<u64>) {
        let pfns = range.start >> PAGE_SHIFT..range.end >> PAGE_SHIFT;
        if let Some(zone) = self.zone_mut(pfns.start) {
            zone.set_type(pfns, BlockType::Scratch);
        }
    }

    /// Takes over a free range of whole pages of one zone.
    pub(crate) fn give_range(&mut self, range: &Range<u64>) {
        let pfns = range.start >> PAGE_SHIFT..range.end >> PAGE_SHIFT;
        if let Some(zone) = self.zone_mut(pfns.start) {
            zone.give(pfns);
        }
    }

    /// Takes a block: its physical address. Its bytes are whatever they are.
    pub fn alloc(&mut self, request: Request) -> Option<u64> {
        if request.order > MAX_ORDER {
            return None;
        }
        let kept = if request.urgent || request.kind == BlockType::Movable { 0 } else { self.kept };
        if self.nr_free_outside_scratch() < kept + (1 << request.order) && request.kind != BlockType::Movable
        {
            return None;
        }
        let node = request.node;
        // The node that was asked for, then all of them.
        for wanted in [node, None].into_iter().skip(usize::from(node.is_none())) {
            for zone in self.zones_mut().filter(|zone| wanted.is_none_or(|node| zone.node() == node)) {
                if let Some(pfn) = zone.alloc(request.order, request.kind) {
                    return Some(pfn << PAGE_SHIFT);
                }
            }
        }
        None
    }

    /// Gives a block back.
    ///
    /// # Errors
    ///
    /// [`FreePagesError`].
    pub fn free(&mut self, phys: u64, order: u32) -> Result<(), FreePagesError> {
        let pfn = phys >> PAGE_SHIFT;
        let wrong = FreePagesError::NotInUse { phys, order };
        let is_page = phys & ((1 << PAGE_SHIFT) - 1) == 0;
        let zone = self.zone_mut(pfn).filter(|_| is_page).ok_or(wrong)?;
        let page = zone.page(pfn);
        if page.state != State::Used || u32::from(page.order) != order {
            return Err(wrong);
        }
        if zone.is_preserved(pfn..pfn + (1 << order)) {
            return Err(FreePagesError::Preserved { phys });
        }
        zone.free(pfn, order);
        Ok(())
    }

    /// Free pages of a type.
    pub fn nr_free(&self, kind: BlockType) -> u64 {
        self.zones().map(|zone| zone.nr_free(kind)).sum()
    }

    /// Free pages outside scratch.
    pub fn nr_free_outside_scratch(&self) -> u64 {
        let outside = [BlockType::Kernel, BlockType::Movable, BlockType::Preserved];
        outside.into_iter().map(|kind| self.nr_free(kind)).sum()
    }

    /// Pages of memory.
    pub fn nr_pages(&self) -> u64 {
        self.zones().map(|zone| zone.pfns().end - zone.pfns().start).sum()
    }

    /// True if all of the range of addresses is memory of one zone.
    pub(crate) fn is_memory(&self, range: &Range<u64>) -> bool {
        let zone = self.zone(range.start >> PAGE_SHIFT);
        zone.is_some_and(|zone| range.end <= zone.pfns().end << PAGE_SHIFT)
    }

    /// Where memory is.
    pub(crate) fn extents(&self) -> Extents {
        let mut zones = [(0, 0); MAX_ZONES];
        for (extent, zone) in zones.iter_mut().zip(self.zones()) {
            *extent = (zone.pfns().start << PAGE_SHIFT, zone.pfns().end << PAGE_SHIFT);
        }
        Extents { zones }
    }

    /// The zone that a page lies in.
    pub(crate) fn zone(&self, pfn: u64) -> Option<&Zone<'m>> {
        self.zones().find(|zone| zone.pfns().contains(&pfn))
    }

    pub(crate) fn zone_mut(&mut self, pfn: u64) -> Option<&mut Zone<'m>> {
        self.zones_mut().find(|zone| zone.pfns().contains(&pfn))
    }

    /// The block that the page at `phys` lies in: its first page's address, and its record.
    pub(crate) fn find_block(&self, phys: u64) -> Option<(u64, Page)> {
        let zone = self.zone(phys >> PAGE_SHIFT)?;
        let head = zone.head_of(phys >> PAGE_SHIFT)?;
        Some((head << PAGE_SHIFT, zone.page(head)))
    }
}
