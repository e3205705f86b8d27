//! Linked blocks: lists of fixed entries, a page at a time.

use core::mem::offset_of;

use super::record::{MetadataError, Record};
use crate::kho::radix::PAGE_BYTES;

#[repr(C)]
pub(super) struct BlockRecord {
    next: u64,
    count: u64,
}

const _: () = assert!(size_of::<BlockRecord>() == 16 && offset_of!(BlockRecord, count) == 8);

/// A page of entries of one size, one of a list of such pages.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    next: u64,
    entries: &'a [u8],
    entry_bytes: usize,
}

impl<'a> Block<'a> {
    /// Reads the block that `bytes` begin with, whose entries have `entry_bytes` bytes each.
    ///
    /// # Errors
    ///
    /// The first [`MetadataError`] found: truncated, a misaligned next block, more entries than fit.
    pub fn read(bytes: &'a [u8], entry_bytes: usize) -> Result<Self, MetadataError> {
        type Raw = BlockRecord;
        let record = Record::new("block", bytes, PAGE_BYTES as usize)?;
        let next = record.page_or_none("next", offset_of!(Raw, next))?;
        let count = record.u64(offset_of!(Raw, count))?;
        let size = usize::try_from(count).ok().and_then(|count| count.checked_mul(entry_bytes));
        let entries = record.bytes.get(size_of::<Raw>()..).unwrap_or_default();
        let entries = size.and_then(|size| entries.get(..size)).filter(|_| entry_bytes != 0);
        let entries = entries.ok_or(record.wrong("count", count))?;
        Ok(Self { next, entries, entry_bytes })
    }

    /// Returns the address of the next block, 0 for none.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Iterates over the bytes of the entries.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.entries.chunks_exact(self.entry_bytes)
    }
}
