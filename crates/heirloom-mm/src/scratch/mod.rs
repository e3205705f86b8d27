//! Scratch: the areas that a successor may use before it has read the preserved map.
//!
//! ```text
//! area 0        below 4 GiB           for what must lie low
//! area 1        anywhere
//! area 2 ..     one on each node      so that a node's boot memory can be its own
//! ```
//!
//! A cold boot chooses the areas, by rule or by hand; every successor gets the same ranges in a list of one page, which it checks against its
//! own firmware map before it believes a word. Nothing that is handed over may lie here, and nothing here is touched in between
//! but by owners of `Gfp::MOVABLE` pages and for the successor's image.
//!
//! # Invariants
//!
//! - *whole*: an area consists of whole page blocks ([`AREA_ALIGN`]), so that none is scratch in part.
//! - *apart*: areas are disjoint, and each is memory of one node.

use core::ops::Range;

use crate::MAX_NODES;
use crate::boot_info::ScratchSizes;
use crate::memblock::{Memblock, MemblockError, Place};
use crate::phys::{Memory, PAGE_BYTES};

/// Areas that there can be.
pub const MAX_AREAS: usize = 2 + MAX_NODES;

/// Areas start and end at multiples of this: a page block, 4 MiB.
pub const AREA_ALIGN: u64 = PAGE_BYTES << crate::buddy::MAX_ORDER;

/// The end of what counts as low.
const LOW_END: u64 = 1 << 32;

/// Bytes of one entry of the list: start and size.
const ENTRY_BYTES: u64 = 16;

/// A predecessor's list of scratch areas is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScratchError {
    /// The list lies outside memory, where this machine itself stands, or has no page of its own.
    #[error("the list of scratch areas at {at:#x}, {size} bytes, has no page of memory of its own")]
    List {
        /// Its address.
        at: u64,
        /// Its bytes.
        size: u64,
    },
    /// It has no areas, or too many.
    #[error("{nr} scratch areas are not within 1..={MAX_AREAS}")]
    Count {
        /// How many it has.
        nr: u64,
    },
    /// An area is not made of page blocks inside memory.
    #[error("scratch area {index} at {start:#x}, {size} bytes, is no whole page blocks of memory")]
    Area {
        /// Which.
        index: usize,
        /// Its start.
        start: u64,
        /// Its size.
        size: u64,
    },
    /// Two areas share memory.
    #[error("scratch area {index} at {start:#x} overlaps another")]
    Overlap {
        /// Which.
        index: usize,
        /// Its start.
        start: u64,
    },
}

/// The areas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScratchAreas {
    areas: [(u64, u64); MAX_AREAS],
    nr: usize,
}

impl ScratchAreas {
    /// Chooses areas on a cold boot and takes them from memblock.
    ///
    /// # Errors
    ///
    /// [`MemblockError::OutOfMemory`] where an area finds no room. By rule the low area and the nodes' are left out where there is
    /// none; the global one never is.
    pub(crate) fn choose(
        memblock: &mut Memblock,
        sizes: ScratchSizes,
        need: u64,
    ) -> Result<Self, MemblockError> {
        let by_rule = sizes == ScratchSizes::Rule;
        let (low, global, per_node) = match sizes {
            // What this boot takes is what the successor will take; twice that, for a successor may be larger.
            ScratchSizes::Rule => (need / 2, need * 2, need / 2),
            ScratchSizes::Bytes { low, global, per_node } => (low, global, per_node),
        };
        let mut areas = Self::default();
        let mut add = |memblock: &mut Memblock, size: u64, must: bool, place: Place| {
            let size = size.next_multiple_of(AREA_ALIGN);
            match memblock.alloc(size, AREA_ALIGN, &place) {
                _ if size == 0 => Ok(()),
                Ok(start) => {
                    areas.push(start..start + size);
                    Ok(())
                }
                Err(error) if must => Err(error),
                Err(_) => Ok(()),
            }
        };
        if low != 0 {
            add(memblock, low, !by_rule, Place { within: Some(0..LOW_END), node: None })?;
        }
        if global != 0 {
            add(memblock, global, true, Place::default())?;
        }
        for node in 0..MAX_NODES as u32 {
            if per_node != 0 && memblock.memory().iter().any(|region| region.node == node) {
                add(memblock, per_node, !by_rule, Place { within: None, node: Some(node) })?;
            }
        }
        // They are free memory: what they are for is written down in the areas, not in the list of what is taken.
        for area in areas.iter() {
            memblock.free(&area)?;
        }
        Ok(areas)
    }

    /// Reads a predecessor's list.
    ///
    /// # Errors
    ///
    /// [`ScratchError`].
    pub(crate) fn read_list(
        memblock: &Memblock,
        map: Memory,
        at: u64,
        size: u64,
    ) -> Result<Self, ScratchError> {
        let list = at..at.saturating_add(PAGE_BYTES);
        let is_page = at % PAGE_BYTES == 0 && size <= PAGE_BYTES && memblock.is_memory(&list);
        // What is reserved so far is this boot's own; the list's page is freed once all is taken over.
        if !is_page || memblock.is_reserved(&list) {
            return Err(ScratchError::List { at, size });
        }
        let nr = size / ENTRY_BYTES;
        if nr == 0 || nr > MAX_AREAS as u64 || size % ENTRY_BYTES != 0 {
            return Err(ScratchError::Count { nr });
        }
        let mut areas = Self::default();
        for index in 0..nr as usize {
            let entry = at + index as u64 * ENTRY_BYTES;
            let (start, size) = (u64::from_le(map.load(entry)), u64::from_le(map.load(entry + 8)));
            let range = start..start.saturating_add(size);
            if size == 0 || (start | size) % AREA_ALIGN != 0 || !memblock.is_memory(&range) {
                return Err(ScratchError::Area { index, start, size });
            }
            if areas.overlaps(&range) {
                return Err(ScratchError::Overlap { index, start });
            }
            areas.push(range);
        }
        if areas.overlaps(&list) {
            return Err(ScratchError::List { at, size });
        }
        Ok(areas)
    }

    /// Writes the list into the page at `at`: its bytes.
    pub(crate) fn write_list(&self, map: Memory, at: u64) -> u64 {
        for (index, area) in self.iter().enumerate() {
            let entry = at + index as u64 * ENTRY_BYTES;
            map.store(entry, area.start.to_le());
            map.store(entry + 8, (area.end - area.start).to_le());
        }
        self.nr as u64 * ENTRY_BYTES
    }

    /// Adds an area. The caller knows that there is room and that it overlaps none.
    pub(crate) fn push(&mut self, range: Range<u64>) {
        self.areas[self.nr] = (range.start, range.end);
        self.nr += 1;
    }

    /// Iterates over the areas, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        self.areas.into_iter().take(self.nr).map(|(start, end)| start..end)
    }

    /// True if any byte of the range is scratch.
    pub fn overlaps(&self, range: &Range<u64>) -> bool {
        self.find_overlap(range).is_some()
    }

    /// The first area that shares a byte with the range.
    pub fn find_overlap(&self, range: &Range<u64>) -> Option<Range<u64>> {
        self.iter().find(|area| area.start < range.end && range.start < area.end)
    }

    /// Calls `visit` with the parts of `range` that are scratch.
    pub(crate) fn intersect(&self, range: &Range<u64>, visit: &mut impl FnMut(Range<u64>)) {
        for area in self.iter() {
            let part = area.start.max(range.start)..area.end.min(range.end);
            if part.start < part.end {
                visit(part);
            }
        }
    }

    /// Calls `visit` with the parts of `range` that are not scratch.
    pub(crate) fn subtract(&self, range: &Range<u64>, visit: &mut impl FnMut(Range<u64>)) {
        let mut start = range.start;
        while start < range.end {
            // The next area behind `start`, or around it.
            let next = self.iter().filter(|area| area.end > start).min_by_key(|area| area.start);
            let Some(next) = next.filter(|area| area.start < range.end) else {
                return visit(start..range.end);
            };
            if start < next.start {
                visit(start..next.start);
            }
            start = next.end;
        }
    }
}
