//! Why a header page is refused.

use core::fmt;

/// The first reason for which a header page is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The file ends inside the header.
    #[error("the file ends after {found} bytes, inside the header: it was truncated, or it is no heap")]
    Short {
        /// Bytes there are.
        found: usize,
    },
    /// The magic number, which a creator writes last, is zero.
    #[error("the header is blank: no heap was ever completed here, the file can be cleared")]
    Blank,
    /// The first eight bytes are not [`MAGIC`](super::MAGIC).
    #[error("not a heap of heirloom: it starts with {found:#018x}")]
    Magic {
        /// The first eight bytes, little-endian.
        found: u64,
    },
    /// Another version of the format.
    #[error(
        "format version {found}, but this program reads version {}: start the program that wrote it, or clear the heap",
        super::FORMAT_VERSION
    )]
    Version {
        /// The version in the file.
        found: u32,
    },
    /// Objects are stored in the other byte order.
    #[error("byte order mark {found:#010x}: the heap was written on a machine of another byte order")]
    ByteOrder {
        /// The mark in the file.
        found: u32,
    },
    /// Another instruction set; layouts may differ.
    #[error("written for ELF machine {found}, this is machine {expected}")]
    Machine {
        /// The `e_machine` in the file.
        found: u16,
        /// This machine's.
        expected: u16,
    },
    /// Another width of pointers.
    #[error("written with {found}-bit pointers, this program has {expected}-bit ones")]
    PointerWidth {
        /// Bits in the file.
        found: u16,
        /// Bits here.
        expected: u16,
    },
    /// Another size of pages.
    #[error("written with pages of {found} bytes, this machine has pages of {expected}")]
    PageSize {
        /// Bytes in the file.
        found: u32,
        /// Bytes here.
        expected: u32,
    },
    /// A header length that this version never writes.
    #[error("a header of {found} bytes, expected {}", super::HEADER_BYTES)]
    HeaderLength {
        /// The length in the file.
        found: u32,
    },
    /// The bytes of an area do not match the sum beside them.
    #[error("the {area} is damaged: checksum {stored:#018x}, its bytes give {computed:#018x}")]
    Checksum {
        /// Where.
        area: Area,
        /// The sum in the file.
        stored: u64,
        /// The sum of the bytes.
        computed: u64,
    },
    /// The halves of the commit word do not belong together.
    #[error("the commit word is damaged: {found:#018x}")]
    Commit {
        /// The word.
        found: u64,
    },
    /// The copy that the commit word names holds another state.
    #[error("the commit word names state {committed}, its copy holds state {found}")]
    Sequence {
        /// What the commit word says.
        committed: u32,
        /// What the copy says.
        found: u64,
    },
    /// A byte that this version leaves zero.
    #[error("byte {at} of the header should be zero")]
    NotZero {
        /// Offset in the header page.
        at: usize,
    },
    /// A string that is too long, not UTF-8, or not padded with zeroes.
    #[error("the {area} is not a string of this format")]
    Text {
        /// Which.
        area: Area,
    },
    /// The size of a block is out of range.
    #[error("blocks of 2^{found} bytes: expected 2^{} to 2^{}", super::Identity::BLOCK_SHIFTS.start(), super::Identity::BLOCK_SHIFTS.end())]
    BlockShift {
        /// The shift in the file.
        found: u32,
    },
    /// A base address that no heap has.
    #[error(
        "base address {base:#x} with {reserved_bytes:#x} bytes behind it: not aligned, or outside user space"
    )]
    Base {
        /// The address in the file.
        base: u64,
        /// The size limit in the file.
        reserved_bytes: u64,
    },
    /// The size limit is no multiple of the block size, or too small for the first blocks.
    #[error("a size limit of {reserved_bytes:#x} bytes: not whole blocks, or too small")]
    Reserved {
        /// The size limit in the file.
        reserved_bytes: u64,
    },
    /// A region is empty, not page aligned, or overlaps the one before it.
    #[error("the {area} at {offset:#x}, {bytes:#x} bytes long, does not follow what lies before it")]
    Region {
        /// Which.
        area: Area,
        /// Where it starts.
        offset: u64,
        /// How long it is.
        bytes: u64,
    },
    /// The file is shorter than the header says, or longer than it may be.
    #[error("the header counts {recorded:#x} bytes, the file has {found:#x}: it was truncated or replaced")]
    FileLength {
        /// The length in the header.
        recorded: u64,
        /// The length of the file.
        found: u64,
    },
    /// A phase that this version does not know.
    #[error("phase {found} is none of running, frozen, set aside")]
    Phase {
        /// The number in the file.
        found: u32,
    },
    /// A flag that this version does not know.
    #[error("state flags {found:#x} hold one that this version does not know")]
    Flags {
        /// The bits in the file.
        found: u32,
    },
    /// No heap is of generation 0.
    #[error("generation 0: the first generation is 1")]
    Generation,
}

/// A part of the header page, or a region that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Area {
    /// Prefix and identity, under one sum.
    Identity,
    /// One copy of the state.
    State(Half),
    /// The heap's name.
    Name,
    /// The version string of the program that made the heap.
    Creator,
    /// The page with the flattened device tree.
    Fdt,
    /// The pages of the map of preserved blocks.
    Map,
    /// The record of the roots.
    Roots,
    /// The control area of the pool.
    Control,
    /// The blocks.
    Blocks,
}

/// One of the two copies of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The copy of even sequence numbers.
    A,
    /// The copy of odd sequence numbers.
    B,
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "identity",
            Self::State(Half::A) => "state copy A",
            Self::State(Half::B) => "state copy B",
            Self::Name => "heap's name",
            Self::Creator => "creator's version",
            Self::Fdt => "fdt page",
            Self::Map => "map",
            Self::Roots => "roots record",
            Self::Control => "pool control area",
            Self::Blocks => "first block",
        })
    }
}

pub(super) fn ensure(holds: bool, error: impl FnOnce() -> HeaderError) -> Result<(), HeaderError> {
    if holds { Ok(()) } else { Err(error()) }
}
