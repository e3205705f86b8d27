//! Where everything lies in a region, byte for byte: the head, the entries, the descriptions.

use core::mem::offset_of;

use super::{COMPATIBLE, EMPTY, MAX_BYTES, MIN_BYTES, RETIRED, RootsError};
use crate::note::MAX_ROOT_NAME_BYTES;
use crate::types::TypeView;
use crate::{checksum, le};
/// The head of the record.
#[repr(C)]
pub struct RootsHeader {
    /// [`COMPATIBLE`].
    pub compatible: [u8; 24],
    /// The bytes of the whole record.
    pub region_bytes: u64,
    /// How many entries there is room for.
    pub nr_entries: u32,
    /// The bytes of one entry.
    pub entry_bytes: u32,
    /// Where the descriptions start.
    pub descriptions_offset: u32,
    /// The room for them, in bytes.
    pub descriptions_bytes: u32,
    /// Zero.
    pub reserved: u64,
    /// Of the bytes before it, with seed 0.
    pub checksum: u64,
}

/// One root.
#[repr(C)]
pub struct RootEntry {
    /// A [`RootState`](super::RootState), or [`EMPTY`]: the byte that commits the entry.
    pub state: u8,
    /// The bytes of the name.
    pub name_bytes: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// The generation that created the root.
    pub generation: u32,
    /// The name, filled up with zeroes.
    pub name: [u8; 64],
    /// Where the object lies, from the start of the heap.
    pub object_offset: u64,
    /// The bytes of the object.
    pub object_bytes: u64,
    /// Of the description.
    pub fingerprint: u64,
    /// Where the description starts, from the start of the record.
    pub description_offset: u32,
    /// The bytes of the description.
    pub description_bytes: u32,
    /// How often the root has changed its type.
    pub serial: u64,
    /// With which others it changed its type: a number in the high half, how many they are in the low one; zero if alone.
    pub batch: u64,
    /// Of the bytes between `state` and here, with the offset of the entry as seed: an entry cannot be moved.
    pub checksum: u64,
}

const _: () = assert!(size_of::<RootsHeader>() == 64);
const _: () = assert!(offset_of!(RootsHeader, region_bytes) == 24);
const _: () = assert!(offset_of!(RootsHeader, nr_entries) == 32);
const _: () = assert!(offset_of!(RootsHeader, descriptions_offset) == 40);
const _: () = assert!(offset_of!(RootsHeader, checksum) == 56);
const _: () = assert!(size_of::<RootEntry>() == 128);
const _: () = assert!(offset_of!(RootEntry, state) == 0);
const _: () = assert!(offset_of!(RootEntry, generation) == 4);
const _: () = assert!(offset_of!(RootEntry, name) == 8);
const _: () = assert!(offset_of!(RootEntry, object_offset) == 72);
const _: () = assert!(offset_of!(RootEntry, fingerprint) == 88);
const _: () = assert!(offset_of!(RootEntry, description_offset) == 96);
const _: () = assert!(offset_of!(RootEntry, serial) == 104);
const _: () = assert!(offset_of!(RootEntry, batch) == 112);
const _: () = assert!(offset_of!(RootEntry, checksum) == 120);
const _: () = assert!(MAX_ROOT_NAME_BYTES < 64 && MAX_BYTES <= u32::MAX as usize);

pub(super) const ENTRIES_AT: usize = size_of::<RootsHeader>();
pub(super) const ENTRY_BYTES: usize = size_of::<RootEntry>();
/// The bytes at the start of a region of this size that say how much of the rest is in use.
///
/// # Errors
///
/// [`RootsError::Region`].
pub fn head_bytes(region: usize) -> Result<usize, RootsError> {
    Ok(Layout::new(region)?.descriptions_at)
}

/// The bytes of a region that its roots take up, by its first [`head_bytes`]. What lies behind them, no root refers to: a reader that
/// copies a record need not copy it. Nothing is believed of the bytes; the answer is at most `region`.
///
/// # Errors
///
/// [`RootsError::Region`] where the region, or `head`, has no such size.
pub fn used_bytes(head: &[u8], region: usize) -> Result<usize, RootsError> {
    let layout = Layout::new(region)?;
    if head.len() < layout.descriptions_at {
        return Err(RootsError::Region { found: head.len() });
    }
    let end = |entry: &[u8]| {
        let field = |at| get_u32(entry, at) as usize;
        let start = field(offset_of!(RootEntry, description_offset));
        start.saturating_add(field(offset_of!(RootEntry, description_bytes))).min(region)
    };
    let entries = head[ENTRIES_AT..layout.descriptions_at].chunks_exact(ENTRY_BYTES);
    let used =
        entries.filter(|entry| !matches!(entry[offset_of!(RootEntry, state)], EMPTY | RETIRED)).map(end);
    Ok(used.max().unwrap_or(0).max(layout.descriptions_at))
}

/// Where everything lies in a region: a function of its size alone, so that a reader can compare.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) nr_entries: usize,
    pub(super) descriptions_at: usize,
}

impl Layout {
    /// A quarter of the region for entries: descriptions are a few hundred bytes each, entries 128.
    pub(super) fn new(region: usize) -> Result<Self, RootsError> {
        if !(MIN_BYTES..=MAX_BYTES).contains(&region) || region % 8 != 0 {
            return Err(RootsError::Region { found: region });
        }
        let nr_entries = region / 4 / ENTRY_BYTES;
        Ok(Self { nr_entries, descriptions_at: ENTRIES_AT + nr_entries * ENTRY_BYTES })
    }

    pub(super) const fn entry_at(index: usize) -> usize {
        ENTRIES_AT + index * ENTRY_BYTES
    }

    pub(super) fn write_header(self, region: usize) -> [u8; ENTRIES_AT] {
        let mut header = [0; ENTRIES_AT];
        header[..24].copy_from_slice(&COMPATIBLE);
        // The region was checked to be small enough for `u32`, and the header has room for each field.
        put_u64(&mut header, offset_of!(RootsHeader, region_bytes), region as u64);
        put_u32(&mut header, offset_of!(RootsHeader, nr_entries), self.nr_entries as u32);
        put_u32(&mut header, offset_of!(RootsHeader, entry_bytes), ENTRY_BYTES as u32);
        put_u32(&mut header, offset_of!(RootsHeader, descriptions_offset), self.descriptions_at as u32);
        let descriptions_bytes = (region - self.descriptions_at) as u32;
        put_u32(&mut header, offset_of!(RootsHeader, descriptions_bytes), descriptions_bytes);
        let sum = checksum(&header[..offset_of!(RootsHeader, checksum)], 0);
        put_u64(&mut header, offset_of!(RootsHeader, checksum), sum);
        header
    }
}
pub(super) fn entry_checksum(index: usize, entry: &[u8]) -> u64 {
    checksum(&entry[1..offset_of!(RootEntry, checksum)], Layout::entry_at(index) as u64)
}

pub(super) fn check_object(
    index: usize,
    offset: u64,
    bytes: u64,
    ty: &TypeView<'_>,
) -> Result<(), RootsError> {
    let (size, align) = (ty.size, ty.align);
    let holds = bytes == size && offset % align == 0 && offset.checked_add(bytes).is_some();
    if holds { Ok(()) } else { Err(RootsError::Object { index, offset, bytes, size, align }) }
}
/// These work on slices of a size that this module has checked, at constant offsets: there is nothing to refuse.
pub(super) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    le::put_u32(bytes, at, value).expect("fields lie within their record");
}

pub(super) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    le::put_u64(bytes, at, value).expect("fields lie within their record");
}

pub(super) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    le::get_u32(bytes, at).expect("fields lie within their record")
}

pub(super) fn get_u64(bytes: &[u8], at: usize) -> u64 {
    le::get_u64(bytes, at).expect("fields lie within their record")
}
