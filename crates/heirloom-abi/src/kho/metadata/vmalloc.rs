//! Virtually contiguous areas: a header, and pages of frame addresses.

use core::mem::offset_of;

use super::record::{MetadataError, Record};
use crate::kho::radix::{Order, PAGE_BYTES};
use crate::le::get_u64;

#[repr(C)]
pub(super) struct VmallocRecord {
    first: u64,
    total_pages: u32,
    flags: u16,
    order: u16,
}

const _: () = assert!(size_of::<VmallocRecord>() == 16);
const _: () = assert!(offset_of!(VmallocRecord, total_pages) == 8);
const _: () = assert!(offset_of!(VmallocRecord, flags) == 12);
const _: () = assert!(offset_of!(VmallocRecord, order) == 14);

/// Addresses that a vmalloc chunk holds beside that of the next chunk.
pub const VMALLOC_CHUNK_ENTRIES: usize = 511;

const _: () = assert!((1 + VMALLOC_CHUNK_ENTRIES) * size_of::<u64>() == PAGE_BYTES as usize);

/// A virtually contiguous area: where its pages are listed, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vmalloc {
    /// Address of the first chunk.
    pub first: u64,
    /// Pages of the area.
    pub total_pages: u32,
    /// [`Vmalloc::ALLOC`], [`Vmalloc::HUGE`].
    pub flags: u16,
    /// Order of the frames that the chunks list.
    pub order: Order,
}

impl Vmalloc {
    /// Flag: the area was allocated, not mapped from elsewhere.
    pub const ALLOC: u16 = 1 << 0;
    /// Flag: the area may be mapped by huge pages.
    pub const HUGE: u16 = 1 << 1;

    /// Reads the record that `bytes` begin with.
    ///
    /// # Errors
    ///
    /// The first [`MetadataError`] found: truncated, an unknown flag, an order that there is not, pages that are no whole frames,
    /// a first chunk that is misaligned or missing.
    pub fn read(bytes: &[u8]) -> Result<Self, MetadataError> {
        type Raw = VmallocRecord;
        let record = Record::new("vmalloc", bytes, size_of::<Raw>())?;
        let total_pages = record.u32(offset_of!(Raw, total_pages))?;
        let flags = record.u16(offset_of!(Raw, flags))?;
        let order = record.u16(offset_of!(Raw, order))?;
        if flags & !(Self::ALLOC | Self::HUGE) != 0 {
            return Err(record.wrong("flags", flags.into()));
        }
        // A frame of order 32 has more pages than the count can say.
        let known = Order::new(order.into()).filter(|order| order.get() < u32::BITS);
        let order = known.ok_or(record.wrong("order", order.into()))?;
        if total_pages == 0 || total_pages.trailing_zeros() < order.get() {
            return Err(record.wrong("total_pages", total_pages.into()));
        }
        let first = record.page("first", offset_of!(Raw, first))?;
        Ok(Self { first, total_pages, flags, order })
    }

    /// Returns how many frames the chunks list.
    #[must_use]
    pub const fn nr_frames(&self) -> u32 {
        // By what `read` found, at least one. The fields are public, so an order past the count gives 0, not a panic.
        match self.total_pages.checked_shr(self.order.get()) {
            Some(nr_frames) => nr_frames,
            None => 0,
        }
    }

    /// Returns how many chunks there are: the bound for who follows them.
    #[must_use]
    pub const fn nr_chunks(&self) -> u32 {
        self.nr_frames().div_ceil(VMALLOC_CHUNK_ENTRIES as u32)
    }
}

/// A page of addresses of a [`Vmalloc`] area.
#[derive(Clone, Copy, Debug)]
pub struct VmallocChunk<'a> {
    next: u64,
    entries: &'a [u8],
}

impl<'a> VmallocChunk<'a> {
    /// Reads the chunk that `bytes` begin with.
    ///
    /// # Errors
    ///
    /// The first [`MetadataError`] found: truncated, a misaligned address, an entry behind the first that is 0.
    pub fn read(bytes: &'a [u8]) -> Result<Self, MetadataError> {
        let record = Record::new("vmalloc chunk", bytes, PAGE_BYTES as usize)?;
        let next = record.page_or_none("next", 0)?;
        let entries = record.bytes.get(size_of::<u64>()..).unwrap_or_default();
        let chunk = Self { next, entries };
        let mut ended = false;
        for index in 0..VMALLOC_CHUNK_ENTRIES {
            let entry = record.page_or_none("an entry", (1 + index) * size_of::<u64>())?;
            if ended && entry != 0 {
                return Err(record.wrong("an entry behind the last", entry));
            }
            ended = entry == 0;
        }
        Ok(chunk)
    }

    /// Returns the address of the next chunk, 0 for none.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Iterates over the addresses of the frames.
    pub fn frames(&self) -> impl Iterator<Item = u64> + use<'a> {
        let entries = self.entries.chunks_exact(size_of::<u64>());
        entries.filter_map(|entry| get_u64(entry, 0)).take_while(|&phys| phys != 0)
    }
}
