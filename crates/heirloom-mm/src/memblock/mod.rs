//! memblock: which memory there is and which of it is taken, before there is a page allocator.
//!
//! ```text
//! memory     |========= node 0 ==========|    |====== node 1 ======|      from the firmware
//! scratch      |--|        |-----|                    |--|                areas of the handover
//! reserved   |##|   |#|                       |#####|                     image, preserved frames, own allocations
//!
//! alloc, normal:        a gap of `memory` that is neither scratch nor reserved, highest first
//! alloc, scratch only:  a gap of `scratch` that is not reserved: the rest may be a predecessor's
//! ```
//!
//! The list of reserved ranges starts as a small array and moves to memory that it allocates from itself, twice as large each time: in
//! the scratch-only phase from scratch. `buddy` takes all free ranges over when it is up.
//!
//! # Invariants (tested by [`Memblock::check`])
//!
//! - *sorted*: ranges of a list ascend, are page aligned, not empty and disjoint; reserved ones do not touch either.
//! - *inside*: scratch lies in memory.

mod regions;

#[cfg(test)]
mod tests;

use core::ops::Range;

use crate::phys::{Memory, PAGE_BYTES};
use crate::scratch::ScratchAreas;
use crate::{MAX_NODES, MAX_ZONES, MemoryRange};
pub(crate) use regions::Region;
use regions::RegionList;

/// Why memblock refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemblockError {
    /// The firmware's map has more ranges than [`MAX_ZONES`].
    #[error("the firmware map has more than {MAX_ZONES} ranges")]
    TooManyRanges,
    /// Two ranges of the firmware's map overlap.
    #[error("memory ranges overlap at {at:#x}")]
    Overlap {
        /// Where the second starts.
        at: u64,
    },
    /// A range names a node that cannot be.
    #[error("node {node} is not below {MAX_NODES}")]
    Node {
        /// The node.
        node: u32,
    },
    /// A range ends before it starts.
    #[error("the range {start:#x}..{end:#x} is none")]
    Range {
        /// Its start.
        start: u64,
        /// Its end.
        end: u64,
    },
    /// No gap is large enough.
    #[error("no {size} bytes aligned to {align} are free at boot")]
    OutOfMemory {
        /// Bytes asked for.
        size: u64,
        /// Alignment asked for.
        align: u64,
    },
}

/// Where an allocation may lie.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// Within these addresses, if any are given.
    pub(crate) within: Option<Range<u64>>,
    /// On this node, if one is given.
    pub(crate) node: Option<u32>,
}

/// The boot-time list of memory.
pub struct Memblock {
    map: Memory,
    memory: [Region; MAX_ZONES],
    nr_memory: usize,
    reserved: RegionList,
    scratch: ScratchAreas,
    scratch_only: bool,
}

impl Memblock {
    /// Reads the firmware's map. Ranges are cut to whole pages; neighbours on one node become one.
    ///
    /// # Errors
    ///
    /// [`MemblockError`], all but `OutOfMemory`.
    pub fn new(map: Memory, firmware: &[MemoryRange]) -> Result<Self, MemblockError> {
        let empty = Region::default();
        let mut new = Self {
            map,
            memory: [empty; MAX_ZONES],
            nr_memory: 0,
            reserved: RegionList::new(),
            scratch: ScratchAreas::default(),
            scratch_only: false,
        };
        for &MemoryRange { ref range, node } in firmware {
            if range.end < range.start {
                return Err(MemblockError::Range { start: range.start, end: range.end });
            }
            if node as usize >= MAX_NODES {
                return Err(MemblockError::Node { node });
            }
            let start = range.start.checked_next_multiple_of(PAGE_BYTES).unwrap_or(u64::MAX);
            let end = range.end & !(PAGE_BYTES - 1);
            if start < end {
                new.add(Region { start, end, node })?;
            }
        }
        Ok(new)
    }

    fn add(&mut self, region: Region) -> Result<(), MemblockError> {
        let at = self.memory().partition_point(|other| other.start < region.start);
        let before = at.checked_sub(1).map(|at| self.memory[at]);
        let after = self.memory().get(at).copied();
        if before.is_some_and(|before| before.end > region.start)
            || after.is_some_and(|after| after.start < region.end)
        {
            return Err(MemblockError::Overlap { at: region.start });
        }
        if before.is_some_and(|before| before.end == region.start && before.node == region.node) {
            self.memory[at - 1].end = region.end;
            if after.is_some_and(|after| after.start == region.end && after.node == region.node) {
                self.memory[at - 1].end = self.memory[at].end;
                self.memory.copy_within(at + 1..self.nr_memory, at);
                self.nr_memory -= 1;
            }
            return Ok(());
        }
        if after.is_some_and(|after| after.start == region.end && after.node == region.node) {
            self.memory[at].start = region.start;
            return Ok(());
        }
        if self.nr_memory == MAX_ZONES {
            return Err(MemblockError::TooManyRanges);
        }
        self.memory.copy_within(at..self.nr_memory, at + 1);
        self.memory[at] = region;
        self.nr_memory += 1;
        Ok(())
    }

    /// The ranges of memory, ascending.
    pub fn memory(&self) -> &[Region] {
        &self.memory[..self.nr_memory]
    }

    /// The ranges that are taken, ascending, neighbours joined.
    pub fn reserved(&self) -> &[Region] {
        self.reserved.as_slice(self.map)
    }

    /// End of the highest memory.
    pub fn end(&self) -> u64 {
        self.memory().last().map_or(0, |region| region.end)
    }

    /// True if all of the range is memory of one node without a hole.
    pub fn is_memory(&self, range: &Range<u64>) -> bool {
        let at = self.memory().partition_point(|region| region.end <= range.start);
        self.memory().get(at).is_some_and(|region| region.start <= range.start && range.end <= region.end)
    }

    /// True if any byte of the range is taken.
    pub fn is_reserved(&self, range: &Range<u64>) -> bool {
        let reserved = self.reserved();
        let at = reserved.partition_point(|region| region.end <= range.start);
        range.start < range.end && reserved.get(at).is_some_and(|region| region.start < range.end)
    }

    /// Bytes that are taken.
    pub fn reserved_bytes(&self) -> u64 {
        self.reserved().iter().map(|region| region.end - region.start).sum()
    }

    /// Tells where scratch lies.
    pub(crate) fn set_scratch(&mut self, scratch: ScratchAreas) {
        self.scratch = scratch;
    }

    /// From now on allocations come from scratch alone, or no longer do.
    pub(crate) fn set_scratch_only(&mut self, on: bool) {
        self.scratch_only = on;
    }

    /// Marks a range as taken, rounded out to pages; what of it is taken already stays so.
    ///
    /// # Errors
    ///
    /// [`MemblockError::OutOfMemory`] where the list cannot grow, [`MemblockError::Range`].
    pub fn reserve(&mut self, range: &Range<u64>) -> Result<(), MemblockError> {
        let wrong = MemblockError::Range { start: range.start, end: range.end };
        if range.end < range.start {
            return Err(wrong);
        }
        let (start, end) = (range.start & !(PAGE_BYTES - 1), range.end.checked_next_multiple_of(PAGE_BYTES));
        let end = end.ok_or(wrong)?;
        if start < end {
            self.make_room()?;
            self.reserved.insert(self.map, start..end);
        }
        Ok(())
    }

    /// Takes the mark of a range of whole pages back.
    ///
    /// # Errors
    ///
    /// [`MemblockError::OutOfMemory`] where the list cannot grow (a hole makes two of one).
    pub fn free(&mut self, range: &Range<u64>) -> Result<(), MemblockError> {
        self.make_room()?;
        self.reserved.remove(self.map, range.clone());
        Ok(())
    }

    /// Takes `size` bytes, rounded up to pages, at a multiple of `align` (a power of two, at least a page is used): their address.
    /// The highest gap serves.
    ///
    /// # Errors
    ///
    /// [`MemblockError::OutOfMemory`].
    pub(crate) fn alloc(&mut self, size: u64, align: u64, place: &Place) -> Result<u64, MemblockError> {
        let none = MemblockError::OutOfMemory { size, align };
        let size = size.max(1).checked_next_multiple_of(PAGE_BYTES).ok_or(none)?;
        // First, for it may take a gap itself.
        self.make_room()?;
        let start = self.find(size, align.max(PAGE_BYTES), place).ok_or(none)?;
        self.reserved.insert(self.map, start..start + size);
        Ok(start)
    }

    /// Calls `visit` with each range that is memory and not taken, scratch included, ascending; and its node.
    pub(crate) fn for_each_free(&self, mut visit: impl FnMut(Range<u64>, u32)) {
        for region in self.memory() {
            self.for_each_gap(region.start..region.end, |gap| {
                visit(gap, region.node);
                false
            });
        }
    }

    /// Tests the invariants of [the module](self).
    ///
    /// # Errors
    ///
    /// What is broken, and where.
    pub fn check(&self) -> Result<(), (&'static str, u64)> {
        for (name, list, least_gap) in [("memory", self.memory(), 0), ("reserved", self.reserved(), 1)] {
            for pair in list.windows(2) {
                if pair[0].end + least_gap > pair[1].start {
                    return Err((name, pair[1].start));
                }
            }
            for region in list {
                if region.start >= region.end || (region.start | region.end) % PAGE_BYTES != 0 {
                    return Err((name, region.start));
                }
            }
        }
        for area in self.scratch.iter() {
            if !self.is_memory(&area) {
                return Err(("scratch", area.start));
            }
        }
        Ok(())
    }

    /// Makes sure that one more entry fits: no operation needs more.
    fn make_room(&mut self) -> Result<(), MemblockError> {
        // Moving takes two: the new array is taken, and the old one's gap may split a range.
        if self.reserved.len() + 3 < self.reserved.capacity() {
            return Ok(());
        }
        let size = self.reserved.grown_bytes();
        let none = MemblockError::OutOfMemory { size, align: PAGE_BYTES };
        let start = self.find(size, PAGE_BYTES, &Place::default()).ok_or(none)?;
        let old = self.reserved.move_to(self.map, start, size);
        self.reserved.insert(self.map, start..start + size);
        if let Some(old) = old {
            self.reserved.remove(self.map, old);
        }
        Ok(())
    }

    /// The highest gap for `size` bytes, where allocations may come from now.
    fn find(&self, size: u64, align: u64, place: &Place) -> Option<u64> {
        let mut best = None;
        for region in self.memory() {
            if place.node.is_some_and(|node| node != region.node) {
                continue;
            }
            let within = place.within.clone().unwrap_or(0..u64::MAX);
            let window = region.start.max(within.start)..region.end.min(within.end);
            self.for_each_gap(window, |gap| {
                let mut consider = |part: Range<u64>| {
                    let start = part.end.checked_sub(size).map(|start| start & !(align - 1));
                    best = best.max(start.filter(|&start| start >= part.start));
                };
                match self.scratch_only {
                    true => self.scratch.intersect(&gap, &mut consider),
                    false => self.scratch.subtract(&gap, &mut consider),
                }
                false
            });
        }
        best
    }

    /// Calls `visit` with each part of `window` that is not taken, ascending, until it answers true.
    fn for_each_gap(&self, window: Range<u64>, mut visit: impl FnMut(Range<u64>) -> bool) {
        let reserved = self.reserved();
        let mut start = window.start;
        let first = reserved.partition_point(|region| region.end <= start);
        for region in reserved.iter().skip(first) {
            if region.start >= window.end {
                break;
            }
            if start < region.start && visit(start..region.start) {
                return;
            }
            start = start.max(region.end);
        }
        if start < window.end {
            visit(start..window.end);
        }
    }
}
