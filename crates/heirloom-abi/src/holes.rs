//! The list of a heap file's holes, for a way that fills them.
//!
//! Linux's Live Update Orchestrator hands a memfd over with every hole filled: the successor gets back more memory than its
//! predecessor had. Beside the heap travels this list, by which the holes are punched again.
//!
//! ```text
//! 0          8         12         16           24        32         40
//! +----------+---------+----------+------------+---------+----------+------------------+------------------+--
//! | HEIRHOLE | version | 0        | file_bytes | count   | checksum | offset u64 bytes | offset u64 bytes | ..
//! +----------+---------+----------+------------+---------+----------+------------------+------------------+--
//! ```
//!
//! # Invariants (tested by [`Holes::read`])
//!
//! - *ascending*: holes are disjoint and in order, each of at least a page, on page bounds, inside the file.
//! - *whole*: the checksum covers every byte, its own field as zero.

use crate::{checksum, le};

/// What the record starts with.
pub const MAGIC: [u8; 8] = *b"HEIRHOLE";

/// The version that is written and read.
pub const VERSION: u32 = 1;

/// Holes start and end on multiples of this.
pub const PAGE_BYTES: u64 = 4096;

/// The bytes before the first entry.
pub const HEAD_BYTES: usize = 40;

/// The bytes of an entry.
pub const ENTRY_BYTES: usize = 16;

const CHECKSUM_AT: usize = 32;

/// A list of holes that was found whole.
#[derive(Clone, Copy, Debug)]
pub struct Holes<'a> {
    file_bytes: u64,
    entries: &'a [u8],
}

/// Why a list of holes is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HolesError {
    /// It does not start as one, or is cut short.
    #[error("no list of holes: {bytes} bytes without its head or its length")]
    NotOne {
        /// Bytes that there are.
        bytes: usize,
    },
    /// Another version wrote it.
    #[error("list of holes of version {found}, this program reads {VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// A byte was changed.
    #[error("list of holes: the checksum does not agree")]
    Checksum,
    /// An entry is no hole of that file.
    #[error("list of holes: entry {index} is out of order, off a page bound or behind the file")]
    Entry {
        /// Which one.
        index: usize,
    },
}

/// Returns the bytes of a record with `count` holes; `None` where no memory is that large.
#[must_use]
pub fn record_bytes(count: usize) -> Option<usize> {
    count.checked_mul(ENTRY_BYTES)?.checked_add(HEAD_BYTES)
}

/// Writes entry `index` into a record; writes nothing where it does not fit.
pub fn put(record: &mut [u8], index: usize, offset: u64, bytes: u64) -> Option<()> {
    let at = record_bytes(index)?;
    le::put_u64(record, at, offset)?;
    le::put_u64(record, at + 8, bytes)
}

/// Writes the head of a record whose entries stand, its checksum last.
pub fn seal(record: &mut [u8], file_bytes: u64) -> Option<()> {
    let count = record.len().checked_sub(HEAD_BYTES)? / ENTRY_BYTES;
    le::put_array(record, 0, MAGIC)?;
    le::put_u32(record, 8, VERSION)?;
    le::put_u32(record, 12, 0)?;
    le::put_u64(record, 16, file_bytes)?;
    le::put_u64(record, 24, count as u64)?;
    le::put_u64(record, CHECKSUM_AT, 0)?;
    let sum = checksum(record, 0);
    le::put_u64(record, CHECKSUM_AT, sum)
}

impl<'a> Holes<'a> {
    /// Reads a record, which another generation left.
    ///
    /// # Errors
    ///
    /// [`HolesError`].
    pub fn read(record: &'a [u8]) -> Result<Self, HolesError> {
        let not_one = HolesError::NotOne { bytes: record.len() };
        if le::get_array(record, 0) != Some(MAGIC) {
            return Err(not_one);
        }
        let version = le::get_u32(record, 8).ok_or(not_one)?;
        if version != VERSION {
            return Err(HolesError::Version { found: version });
        }
        let file_bytes = le::get_u64(record, 16).ok_or(not_one)?;
        let count = le::get_u64(record, 24).and_then(|count| usize::try_from(count).ok()).ok_or(not_one)?;
        let noted = le::get_u64(record, CHECKSUM_AT).ok_or(not_one)?;
        if record_bytes(count) != Some(record.len()) {
            return Err(not_one);
        }
        if noted != sum_without_itself(record) {
            return Err(HolesError::Checksum);
        }
        let holes = Self { file_bytes, entries: &record[HEAD_BYTES..] };
        let mut from = 0;
        for (index, (offset, bytes)) in holes.iter().enumerate() {
            let end = offset.checked_add(bytes).filter(|&end| end <= file_bytes);
            let is_hole = offset >= from && bytes > 0 && (offset | bytes) % PAGE_BYTES == 0;
            from = end.filter(|_| is_hole).ok_or(HolesError::Entry { index })?;
        }
        Ok(holes)
    }

    /// The length of the file that the holes are of.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Each hole: where it starts, and its bytes.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let number = |entry: &[u8], at| le::get_u64(entry, at).unwrap_or(0);
        self.entries.chunks_exact(ENTRY_BYTES).map(move |entry| (number(entry, 0), number(entry, 8)))
    }
}

/// The checksum of a record that holds its own: three steps, because the field counts as zero and nothing is copied.
fn sum_without_itself(record: &[u8]) -> u64 {
    let (before, rest) = record.split_at(CHECKSUM_AT);
    let mut sum = xxhash_rust::xxh64::Xxh64::new(0);
    sum.update(before);
    sum.update(&[0; 8]);
    sum.update(&rest[8..]);
    sum.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLES: [(u64, u64); 3] = [(0x1000, 0x2000), (0x3000, 0x1000), (0x10_0000, 0x4000)];
    const BYTES: usize = HEAD_BYTES + 3 * ENTRY_BYTES;

    fn record(holes: [(u64, u64); 3], file_bytes: u64) -> [u8; BYTES] {
        let mut record = [0; BYTES];
        for (index, (offset, bytes)) in holes.into_iter().enumerate() {
            put(&mut record, index, offset, bytes).unwrap();
        }
        seal(&mut record, file_bytes).unwrap();
        record
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(record_bytes(3), Some(BYTES));
        let record = record(HOLES, 0x20_0000);
        let holes = Holes::read(&record).unwrap();
        assert_eq!(holes.file_bytes(), 0x20_0000);
        assert!(holes.iter().eq(HOLES));
    }

    #[test]
    fn the_bytes_are_those_of_version_1() {
        let golden = include_bytes!("../tests/golden/holes-v1.bin");
        assert_eq!(record(HOLES, 0x20_0000), *golden);
        assert!(Holes::read(golden).unwrap().iter().eq(HOLES));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let record = record(HOLES, 0x20_0000);
        for at in 0..record.len() {
            assert!(Holes::read(&record[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut other = record;
                other[at] ^= 1 << bit;
                assert!(Holes::read(&other).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn entries_that_are_no_holes_are_refused_though_the_checksum_agrees() {
        let broken = [
            [(0x1000, 0x2000), (0x2000, 0x1000), (0x10_0000, 0x4000)],
            [(0x1000, 0), (0x3000, 0x1000), (0x10_0000, 0x4000)],
            [(0x1001, 0x1000), (0x3000, 0x1000), (0x10_0000, 0x4000)],
            [(0x1000, 0x1000), (0x3000, 0x1000), (0x10_0000, 0x40_0000)],
            [(0x1000, 0x1000), (0x3000, 0x1000), (u64::MAX - 0xfff, 0x1000)],
        ];
        for holes in broken {
            let refused = Holes::read(&record(holes, 0x20_0000)).err();
            assert!(matches!(refused, Some(HolesError::Entry { .. })), "{holes:x?}: {refused:?}");
        }
    }
}
