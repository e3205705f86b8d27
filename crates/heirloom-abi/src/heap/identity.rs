//! What is decided when the heap is made and stays so.
//!
//! ```text
//!  64  id              16
//!  80  base             8
//!  88  reserved_bytes   8
//!  96  block_shift      4
//! 100  zero             4
//! 104  first_block      8
//! 112  fdt, map, roots, control   4 * (offset 8, bytes 8)
//! 176  zero            16
//! 192  name            64   length, then up to 63 bytes
//! 256  creator         64   the same
//! 320  zero           184
//! 504  checksum         8   of 0..504
//! ```

use core::fmt;
use core::ops::RangeInclusive;

use super::HEADER_BYTES;
use super::error::{Area, HeaderError, ensure};
use super::field::{Gap, Page, gap, get_u32, get_u64, put_u32, put_u64};
use crate::checksum;

/// The longest name of a heap, in bytes.
pub const NAME_MAX: usize = 63;

const ID: usize = 64;
const BASE: usize = 80;
const RESERVED: usize = 88;
const BLOCK_SHIFT: usize = 96;
const FIRST_BLOCK: usize = 104;
const REGIONS: usize = 112;
const NAME: usize = 192;
const CREATOR: usize = 256;
const CHECKSUM: usize = 504;

pub(super) const ZEROES: [Gap; 3] = [gap(100, 104), gap(176, 192), gap(320, CHECKSUM)];

const _: () = assert!(REGIONS + 4 * 16 == 176 && CREATOR + 1 + NAME_MAX == 320);

/// What does not change in the life of a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Drawn at random when the heap is made.
    pub id: [u8; 16],
    /// The heap's name.
    pub name: Name,
    /// The version of the program that made it.
    pub creator: Name,
    /// The address at which every generation maps the file.
    pub base: u64,
    /// The size limit: address space kept for the heap.
    pub reserved_bytes: u64,
    /// A block is `2^block_shift` bytes.
    pub block_shift: u32,
    /// The page with the flattened device tree.
    pub fdt: Region,
    /// The pages of the map of preserved blocks.
    pub map: Region,
    /// The record of the roots.
    pub roots: Region,
    /// The control area of the pool.
    pub control: Region,
    /// Offset of the first block that the pool hands out.
    pub first_block: u64,
}

/// A part of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Where it starts in the file.
    pub offset: u64,
    /// How much is kept for it.
    pub bytes: u64,
}

/// A short string that is stored in place.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name {
    // INVARIANT: `bytes[..len]` is UTF-8 and the rest is zero.
    bytes: [u8; NAME_MAX],
    len: u8,
}

impl Identity {
    /// The block sizes that a heap may have.
    pub const BLOCK_SHIFTS: RangeInclusive<u32> = 12..=30;
    /// Heaps start at a multiple of this, so that huge pages of every size fit them.
    pub const BASE_ALIGN: u64 = 1 << 30;
    /// Below the first lies what programs map at low addresses, above the second the kernel.
    pub const BASE_RANGE: core::ops::Range<u64> = 1 << 32..1 << 47;

    /// The regions in the order in which they lie in the file.
    #[must_use]
    pub const fn regions(&self) -> [(Area, Region); 4] {
        [
            (Area::Fdt, self.fdt),
            (Area::Map, self.map),
            (Area::Roots, self.roots),
            (Area::Control, self.control),
        ]
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    ///
    /// The first that does not.
    pub fn check(&self) -> Result<(), HeaderError> {
        let Self { base, reserved_bytes, block_shift, .. } = *self;
        ensure(Self::BLOCK_SHIFTS.contains(&block_shift), || HeaderError::BlockShift { found: block_shift })?;
        let block_bytes = 1_u64 << block_shift;
        ensure(reserved_bytes % block_bytes == 0, || HeaderError::Reserved { reserved_bytes })?;
        let end = base.checked_add(reserved_bytes);
        let in_range = base >= Self::BASE_RANGE.start && end.is_some_and(|end| end <= Self::BASE_RANGE.end);
        ensure(in_range && base % Self::BASE_ALIGN == 0, || HeaderError::Base { base, reserved_bytes })?;
        let mut after = HEADER_BYTES as u64;
        for (area, Region { offset, bytes }) in self.regions() {
            let refuse = || HeaderError::Region { area, offset, bytes };
            ensure(offset >= after && offset % HEADER_BYTES as u64 == 0 && bytes > 0, refuse)?;
            after = offset.checked_add(bytes).ok_or_else(refuse)?;
        }
        let first = Region { offset: self.first_block, bytes: block_bytes };
        let follows = first.offset >= after && first.offset % block_bytes == 0;
        ensure(follows, || HeaderError::Region {
            area: Area::Blocks,
            offset: first.offset,
            bytes: first.bytes,
        })?;
        ensure(first.offset <= reserved_bytes, || HeaderError::Reserved { reserved_bytes })
    }

    pub(super) fn verify_checksum(page: &Page) -> Result<(), HeaderError> {
        let (stored, computed) = (get_u64(page, CHECKSUM), checksum(&page[..CHECKSUM], 0));
        ensure(stored == computed, || HeaderError::Checksum { area: Area::Identity, stored, computed })
    }

    pub(super) fn read(page: &Page) -> Result<Self, HeaderError> {
        let mut id = [0; 16];
        id.copy_from_slice(&page[ID..ID + 16]);
        let region = |nth: usize| Region {
            offset: get_u64(page, REGIONS + 16 * nth),
            bytes: get_u64(page, REGIONS + 16 * nth + 8),
        };
        Ok(Self {
            id,
            name: Name::read(page, NAME).ok_or(HeaderError::Text { area: Area::Name })?,
            creator: Name::read(page, CREATOR).ok_or(HeaderError::Text { area: Area::Creator })?,
            base: get_u64(page, BASE),
            reserved_bytes: get_u64(page, RESERVED),
            block_shift: get_u32(page, BLOCK_SHIFT),
            fdt: region(0),
            map: region(1),
            roots: region(2),
            control: region(3),
            first_block: get_u64(page, FIRST_BLOCK),
        })
    }

    pub(super) fn write(&self, page: &mut Page) {
        page[ID..ID + 16].copy_from_slice(&self.id);
        put_u64(page, BASE, self.base);
        put_u64(page, RESERVED, self.reserved_bytes);
        put_u32(page, BLOCK_SHIFT, self.block_shift);
        put_u64(page, FIRST_BLOCK, self.first_block);
        for (nth, (_, region)) in self.regions().into_iter().enumerate() {
            put_u64(page, REGIONS + 16 * nth, region.offset);
            put_u64(page, REGIONS + 16 * nth + 8, region.bytes);
        }
        self.name.write(page, NAME);
        self.creator.write(page, CREATOR);
        let sum = checksum(&page[..CHECKSUM], 0);
        put_u64(page, CHECKSUM, sum);
    }
}

impl Name {
    /// Takes a string of at most [`NAME_MAX`] bytes without a zero byte.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; NAME_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        (!text.contains('\0')).then_some(Self { bytes, len: text.len() as u8 })
    }

    /// Returns the string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.bytes
            .get(..usize::from(self.len))
            .and_then(|text| core::str::from_utf8(text).ok())
            .unwrap_or_default()
    }

    fn read(page: &Page, at: usize) -> Option<Self> {
        let (len, rest) = page[at..at + 1 + NAME_MAX].split_first()?;
        let text = core::str::from_utf8(rest.get(..usize::from(*len))?).ok()?;
        let name = Self::new(text)?;
        (name.bytes == *rest).then_some(name)
    }

    fn write(&self, page: &mut Page, at: usize) {
        page[at] = self.len;
        page[at + 1..at + 1 + NAME_MAX].copy_from_slice(&self.bytes);
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
