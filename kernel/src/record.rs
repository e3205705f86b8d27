//! The handover record: the two addresses from which a successor finds everything.
//!
//! It has the form in which Linux passes the same two on x86: an element of the list `setup_data`, of type 10, with the
//! addresses and sizes of the handover tree and of the scratch list.
//!
//! ```text
//!  0   next          u64   physical address of the next element; always 0 here
//!  8   type          u32   10
//! 12   len           u32   32: the bytes after this field
//! 16   fdt           u64   physical address of the handover tree, an FDT (`heirloom_abi::kho`)
//! 24   fdt_size      u64   bytes
//! 32   scratch       u64   physical address of the scratch list: pairs of u64, address and size
//! 40   scratch_size  u64   bytes, a multiple of 16
//! 48
//! ```
//!
//! Both lie where the predecessor's machine put them, outside scratch; `heirloom_mm` reads them, and trusts neither.
//!
//! Linux finds the element through its boot parameters; here it is the boot module whose command line is
//! [`MODULE_NAME`] (`start_info`). A generation that finds no such module is the first.

use crate::range::PhysRange;

/// The command line of the boot module that is the record.
pub const MODULE_NAME: &str = "kho";

/// The type of the element.
pub const TYPE: u32 = 10;

/// The bytes of a record.
pub const BYTES: usize = 48;

/// The record, as its bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where the handover tree lies.
    pub fdt: PhysRange,
    /// Where the list of the scratch ranges lies.
    pub scratch_list: PhysRange,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// There are fewer bytes than a record has.
    #[error("handover record of {found} bytes, it has {BYTES}")]
    Truncated {
        /// The bytes there are.
        found: usize,
    },
    /// The element is of another type or length, or others follow it.
    #[error("handover record with next {next:#x}, type {ty}, length {len}")]
    Head {
        /// Where the next element would lie.
        next: u64,
        /// The type.
        ty: u32,
        /// The length.
        len: u32,
    },
    /// A range is empty or reaches beyond the address space.
    #[error("handover record names {size_bytes} bytes at {start:#x}")]
    Range {
        /// Where it starts.
        start: u64,
        /// Its bytes.
        size_bytes: u64,
    },
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    ///
    /// Says in which way the bytes are not one.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        let Some(bytes) = bytes.first_chunk::<BYTES>() else {
            return Err(RecordError::Truncated { found: bytes.len() });
        };
        let (next, head) = (u64_at(bytes, 0), u64_at(bytes, 8));
        let (ty, len) = (head as u32, (head >> 32) as u32);
        if next != 0 || ty != TYPE || len as usize != BYTES - 16 {
            return Err(RecordError::Head { next, ty, len });
        }
        Ok(Self { fdt: range_at(bytes, 16)?, scratch_list: range_at(bytes, 32)? })
    }

    /// Writes the record.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[8..12].copy_from_slice(&TYPE.to_le_bytes());
        bytes[12..16].copy_from_slice(&(BYTES as u32 - 16).to_le_bytes());
        for (at, range) in [(16, self.fdt), (32, self.scratch_list)] {
            bytes[at..at + 8].copy_from_slice(&range.start.to_le_bytes());
            bytes[at + 8..at + 16].copy_from_slice(&range.size_bytes().to_le_bytes());
        }
        bytes
    }
}

fn range_at(bytes: &[u8], at: usize) -> Result<PhysRange, RecordError> {
    let (start, size_bytes) = (u64_at(bytes, at), u64_at(bytes, at + 8));
    let range = PhysRange::new(start, size_bytes).filter(|range| range.size_bytes() > 0);
    range.ok_or(RecordError::Range { start, size_bytes })
}

/// Callers have checked the length.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(core::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            fdt: PhysRange { start: 0x1_2345_6000, end: 0x1_2345_7000 },
            scratch_list: PhysRange { start: 0x80_0000, end: 0x80_0020 },
        }
    }

    #[test]
    fn a_record_reads_back_and_has_the_bytes_of_the_description() {
        let bytes = record().to_bytes();
        assert_eq!(Record::read(&bytes), Ok(record()));
        assert_eq!(&bytes[..16], &[0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 32, 0, 0, 0]);
        assert_eq!(&bytes[16..32], &[0, 0x60, 0x45, 0x23, 1, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_not_a_record_is_refused() {
        let good = record().to_bytes();
        assert_eq!(Record::read(&good[..47]), Err(RecordError::Truncated { found: 47 }));
        for at in [0, 8, 12] {
            let mut bad = good;
            bad[at] ^= 1;
            assert!(matches!(Record::read(&bad), Err(RecordError::Head { .. })), "byte {at}");
        }
        let mut empty = good;
        empty[24..32].fill(0);
        assert_eq!(Record::read(&empty), Err(RecordError::Range { start: 0x1_2345_6000, size_bytes: 0 }));
        let mut endless = good;
        endless[40..48].fill(0xff);
        assert!(matches!(Record::read(&endless), Err(RecordError::Range { .. })));
    }
}
