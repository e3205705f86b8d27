//! A range of physical addresses, half-open.

use core::fmt;

/// Physical addresses from `start` up to, and without, `end`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PhysRange {
    /// The first address.
    pub start: u64,
    /// The first address after it.
    pub end: u64,
}

impl PhysRange {
    /// Makes a range of `size_bytes` bytes, if it ends before the address space does.
    #[must_use]
    pub const fn new(start: u64, size_bytes: u64) -> Option<Self> {
        match start.checked_add(size_bytes) {
            Some(end) => Some(Self { start, end }),
            None => None,
        }
    }

    /// Returns its length in bytes.
    #[must_use]
    pub const fn size_bytes(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Says whether the two have an address in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Says whether all of `other` lies in this one.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

impl fmt::Debug for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start, self.end)
    }
}

impl fmt::Display for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
