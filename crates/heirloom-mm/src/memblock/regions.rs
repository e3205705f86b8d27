//! A sorted list of ranges in an array that can move to larger memory.
#![expect(unsafe_code, reason = "a list that has grown lies in physical memory")]

use core::ops::Range;

use crate::phys::{Memory, PAGE_BYTES};

/// Entries before the list has grown.
const INLINE: usize = 64;

/// A range of physical addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Region {
    /// Its first address.
    pub start: u64,
    /// The address behind its last.
    pub end: u64,
    /// Its node; of no meaning in a list of reserved ranges.
    pub node: u32,
}

/// The list.
///
/// # Invariants
///
/// `grown`, if any, is the address of `capacity` entries in memory that is the list's own.
pub(super) struct RegionList {
    inline: [Region; INLINE],
    grown: Option<u64>,
    capacity: usize,
    len: usize,
}

impl RegionList {
    pub(super) const fn new() -> Self {
        let empty = Region { start: 0, end: 0, node: 0 };
        Self { inline: [empty; INLINE], grown: None, capacity: INLINE, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes of an array twice as large, whole pages.
    pub(super) fn grown_bytes(&self) -> u64 {
        (self.capacity as u64 * 2 * size_of::<Region>() as u64).next_multiple_of(PAGE_BYTES)
    }

    /// Moves to the `size` bytes at `start`, which are the list's own from now on: where it lay before, if that was memory.
    pub(super) fn move_to(&mut self, map: Memory, start: u64, size: u64) -> Option<Range<u64>> {
        let capacity = size as usize / size_of::<Region>();
        map.zero(start, size);
        // SAFETY: the memory is ours from now on, page aligned, and zeroed, which is so many empty regions.
        let new: &mut [Region] = unsafe { map.table_mut(start, capacity) };
        new[..self.len].copy_from_slice(self.as_slice(map));
        let old = self.grown.map(|old| {
            let size = (self.capacity as u64 * size_of::<Region>() as u64).next_multiple_of(PAGE_BYTES);
            old..old + size
        });
        // INVARIANT: as the caller gave it.
        self.grown = Some(start);
        self.capacity = capacity;
        old
    }

    pub(super) fn as_slice(&self, map: Memory) -> &[Region] {
        match self.grown {
            None => &self.inline[..self.len],
            // SAFETY: by the type's invariant; it is changed only through `&mut self`.
            Some(start) => unsafe { map.table(start, self.len) },
        }
    }

    fn entries(&mut self, map: Memory) -> &mut [Region] {
        match self.grown {
            None => &mut self.inline,
            // SAFETY: by the type's invariant, and the list is borrowed to write.
            Some(start) => unsafe { map.table_mut(start, self.capacity) },
        }
    }

    /// Adds a range and joins it with what it overlaps or touches. The caller has made room for one more.
    pub(super) fn insert(&mut self, map: Memory, range: Range<u64>) {
        let len = self.len;
        let entries = self.entries(map);
        let first = entries[..len].partition_point(|region| region.end < range.start);
        let behind = entries[..len].partition_point(|region| region.start <= range.end);
        let (mut start, mut end) = (range.start, range.end);
        if first < behind {
            start = start.min(entries[first].start);
            end = end.max(entries[behind - 1].end);
        }
        entries.copy_within(behind..len, first + 1);
        entries[first] = Region { start, end, node: 0 };
        self.len = len + 1 - (behind - first);
    }

    /// Takes a range out. The caller has made room for one more.
    pub(super) fn remove(&mut self, map: Memory, range: Range<u64>) {
        let mut at = 0;
        while at < self.len {
            let len = self.len;
            let entries = self.entries(map);
            let region = entries[at];
            if region.end <= range.start || region.start >= range.end {
                at += 1;
                continue;
            }
            match (region.start < range.start, region.end > range.end) {
                (true, true) => {
                    entries.copy_within(at + 1..len, at + 2);
                    entries[at].end = range.start;
                    entries[at + 1] = Region { start: range.end, ..region };
                    self.len = len + 1;
                    return;
                }
                (true, false) => entries[at].end = range.start,
                (false, true) => entries[at].start = range.end,
                (false, false) => {
                    entries.copy_within(at + 1..len, at);
                    self.len = len - 1;
                    continue;
                }
            }
            at += 1;
        }
    }
}
