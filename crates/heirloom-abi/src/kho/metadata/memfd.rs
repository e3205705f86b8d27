//! Preserved memory files, and the folios that hold their contents.

use core::mem::offset_of;

use super::record::{MetadataError, Record};
use super::vmalloc::{Vmalloc, VmallocRecord};
use crate::kho::radix::PAGE_BYTES;

#[repr(C)]
struct MemfdRecord {
    pos: u64,
    size: u64,
    seals: u32,
    flags: u32,
    nr_folios: u64,
    folios: [u8; size_of::<VmallocRecord>()],
}

const _: () = assert!(size_of::<MemfdRecord>() == 48 && offset_of!(MemfdRecord, folios) == 32);
const _: () = assert!(offset_of!(MemfdRecord, seals) == 16 && offset_of!(MemfdRecord, nr_folios) == 24);

/// A preserved memory file, `memfd-v2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memfd {
    /// File position.
    pub position: u64,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// Seals, as `fcntl` numbers them.
    pub seals: u32,
    /// Entries of the table of folios.
    pub nr_folios: u64,
    /// The table of [`FolioEntry`]; a file without folios has none.
    pub folios: Option<Vmalloc>,
}

impl Memfd {
    /// The `compatible` string that is read. It stands in the file's [`SessionFile`](super::SessionFile), not in the record.
    pub const COMPATIBLE: &'static str = "memfd-v2";

    /// Reads the record that `bytes` begin with.
    ///
    /// # Errors
    ///
    /// The first [`MetadataError`] found: truncated, a flag (none is known), a table that is broken or too small.
    pub fn read(bytes: &[u8]) -> Result<Self, MetadataError> {
        type Raw = MemfdRecord;
        let record = Record::new("memfd", bytes, size_of::<Raw>())?;
        let flags = record.u32(offset_of!(Raw, flags))?;
        if flags != 0 {
            return Err(record.wrong("flags", flags.into()));
        }
        let nr_folios = record.u64(offset_of!(Raw, nr_folios))?;
        let folios = match nr_folios {
            0 => None,
            _ => Some(Vmalloc::read(record.bytes.get(offset_of!(Raw, folios)..).unwrap_or_default())?),
        };
        let table_bytes = folios.map_or(0, |folios| u64::from(folios.total_pages) * PAGE_BYTES);
        if nr_folios > table_bytes / FolioEntry::BYTES as u64 {
            return Err(record.wrong("nr_folios", nr_folios));
        }
        Ok(Self {
            position: record.u64(offset_of!(Raw, pos))?,
            size_bytes: record.u64(offset_of!(Raw, size))?,
            seals: record.u32(offset_of!(Raw, seals))?,
            nr_folios,
            folios,
        })
    }
}

#[repr(C)]
struct FolioRecord {
    pfn_and_flags: u64,
    index: u64,
}

const _: () = assert!(size_of::<FolioRecord>() == 16 && offset_of!(FolioRecord, index) == 8);

/// A folio of a preserved memory file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolioEntry {
    /// Frame number of its first page.
    pub pfn: u64,
    /// [`FolioEntry::DIRTY`], [`FolioEntry::UPTODATE`].
    pub flags: u16,
    /// Its place in the file, in pages.
    pub index: u64,
}

impl FolioEntry {
    /// Bytes of an entry.
    pub const BYTES: usize = size_of::<FolioRecord>();
    /// Flag: user space wrote to it.
    pub const DIRTY: u16 = 1 << 0;
    /// Flag: its contents are valid.
    pub const UPTODATE: u16 = 1 << 1;

    /// Bits of the frame number; the flags have the 12 above.
    const PFN_BITS: u32 = 52;

    /// Reads the entry that `bytes` begin with.
    ///
    /// # Errors
    ///
    /// [`MetadataError`] if it is truncated or has a flag that is not known.
    pub fn read(bytes: &[u8]) -> Result<Self, MetadataError> {
        type Raw = FolioRecord;
        let record = Record::new("folio", bytes, Self::BYTES)?;
        let word = record.u64(offset_of!(Raw, pfn_and_flags))?;
        let (pfn, flags) = (word & ((1 << Self::PFN_BITS) - 1), (word >> Self::PFN_BITS) as u16);
        if flags & !(Self::DIRTY | Self::UPTODATE) != 0 {
            return Err(record.wrong("flags", flags.into()));
        }
        Ok(Self { pfn, flags, index: record.u64(offset_of!(Raw, index))? })
    }
}
