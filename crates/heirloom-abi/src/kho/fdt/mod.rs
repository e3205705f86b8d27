//! Flattened device trees: the container that Kexec Handover hands its root in. A small writer and a validating reader.
//!
//! ```text
//! 0                       40                    56
//! +-----------------------+---------------------+------------------+-----------------+
//! | header, 10 x u32      | memory reservations | structure        | strings         |
//! | magic, total size,    | (address, size)...  | tokens, names,   | names of the    |
//! | offsets, versions     | (0, 0)              | property values  | properties      |
//! +-----------------------+---------------------+------------------+-----------------+
//! ```
//!
//! Every number of this structure is big-endian, whatever the values of the properties are.
//!
//! Source of the format: chapter 5 of the [Devicetree Specification](https://www.devicetree.org/specifications/), version 17.
//! The subset: one root node, blocks in the order of the picture, names of printable ASCII, at most [`MAX_DEPTH`] levels. Own code because no
//! registry crate both reads *and* writes without `alloc` on our Rust version under our licences: `fdt` and `flat_device_tree` are
//! MPL and read only, `fdt-raw` reads only, `vm-fdt` and `fdt-edit` need `alloc` to write, `dtoolkit` too, and a newer Rust to read.

mod read;
mod write;

#[cfg(test)]
mod tests;

pub use read::{Fdt, Token};
pub use write::FdtWriter;

/// Levels of nodes that a tree may have; the root is the first.
pub const MAX_DEPTH: u32 = 8;

const MAGIC: u32 = 0xd00d_feed;
/// The version that is written, and the oldest that is read (it introduced the structure's size).
const VERSION: u32 = 17;
/// The version that a reader must at least know, as written.
const LAST_COMPATIBLE_VERSION: u32 = 16;

const HEADER_BYTES: usize = 40;
/// The list of no memory reservations: one entry of zeros.
const NO_RESERVATIONS_BYTES: usize = 16;
const STRUCTURE_OFFSET: usize = HEADER_BYTES + NO_RESERVATIONS_BYTES;
const CELL: usize = size_of::<u32>();

/// Offsets in the header.
mod header {
    pub(super) const MAGIC: usize = 0;
    pub(super) const TOTAL_SIZE: usize = 4;
    pub(super) const STRUCTURE_OFFSET: usize = 8;
    pub(super) const STRINGS_OFFSET: usize = 12;
    pub(super) const RESERVATIONS_OFFSET: usize = 16;
    pub(super) const VERSION: usize = 20;
    pub(super) const LAST_COMPATIBLE_VERSION: usize = 24;
    pub(super) const STRINGS_SIZE: usize = 32;
    pub(super) const STRUCTURE_SIZE: usize = 36;
}

mod tag {
    pub(super) const BEGIN_NODE: u32 = 1;
    pub(super) const END_NODE: u32 = 2;
    pub(super) const PROPERTY: u32 = 3;
    pub(super) const NOP: u32 = 4;
    pub(super) const END: u32 = 9;
}

/// A tree cannot be read, or cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FdtError {
    /// It is not a flattened device tree.
    #[error("magic is {found:#010x}, not 0xd00dfeed")]
    Magic {
        /// What stands there instead.
        found: u32,
    },
    /// The version is not one that is read.
    #[error("FDT version {version}, readable from version {last_compatible}; only version 17 is read")]
    Version {
        /// The version.
        version: u32,
        /// The version that a reader must know.
        last_compatible: u32,
    },
    /// The input ends before the tree does.
    #[error("the tree takes {needed} bytes, {found} are there")]
    Truncated {
        /// Bytes that the header speaks of, or the header's own size.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// A block of the tree is misaligned, lies outside it, or is out of order.
    #[error("the {block} of {size:#x} bytes at {offset:#x} cannot lie there")]
    Block {
        /// Which block.
        block: &'static str,
        /// Its offset in the tree.
        offset: usize,
        /// Its size.
        size: usize,
    },
    /// An unknown token, or one that cannot stand where it does, or one that is cut off.
    #[error("token {token:#x} at {at:#x} of the structure cannot stand there")]
    Token {
        /// Offset in the structure block.
        at: usize,
        /// The token; 0 if not even that is there.
        token: u32,
    },
    /// A name is not of printable ASCII, empty, or without an end.
    #[error("name at {at:#x} is no name")]
    Name {
        /// Offset in the structure block for a node, in the strings block for a property.
        at: usize,
    },
    /// Nodes are nested too deep.
    #[error("more than {} levels of nodes", MAX_DEPTH)]
    Depth,
    /// The tree does not fit the page; the page holds no tree now.
    #[error("the tree needs {needed} bytes, the page has {room}")]
    Full {
        /// Bytes that the tree would take so far.
        needed: usize,
        /// Bytes of the page.
        room: usize,
    },
    /// The writer was told of a property name that it does not know, or of nodes that do not pair.
    #[error("nodes and properties were not written as announced")]
    Misuse,
    /// The tree is of another version of Kexec Handover.
    #[error("compatible is kho-v{version}; only kho-v4 is understood")]
    OtherKho {
        /// The version; 1 to 3 are those before Linux 7.2.
        version: u32,
    },
    /// The tree has nothing to do with Kexec Handover.
    #[error("compatible is {found}; only kho-v4 is understood")]
    NotKho {
        /// What it says instead, cut short.
        found: ShortText,
    },
    /// A property that must be there is not.
    #[error("property `{property}` is missing")]
    Missing {
        /// Its name.
        property: &'static str,
    },
    /// A property has the wrong length.
    #[error("property `{property}` has {size} bytes")]
    Value {
        /// Its name.
        property: &'static str,
        /// Its length.
        size: usize,
    },
    /// A property or a subnode is there twice.
    #[error("`{name}` is there twice")]
    Twice {
        /// Its name, cut short.
        name: ShortText,
    },
    /// The root tree is larger than a page.
    #[error("the root tree has {size} bytes, more than a page")]
    TooLarge {
        /// Its size.
        size: usize,
    },
}

/// The first bytes of a text, for messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShortText {
    bytes: [u8; Self::MAX],
    size: u8,
}

impl ShortText {
    const MAX: usize = 31;

    /// Keeps as much of `bytes` as fits, up to the first zero.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut text = Self { bytes: [0; Self::MAX], size: 0 };
        for (to, &from) in text.bytes.iter_mut().zip(bytes.iter().take_while(|&&byte| byte != 0)) {
            *to = from;
            text.size += 1;
        }
        text
    }
}

impl core::fmt::Display for ShortText {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = self.bytes.get(..usize::from(self.size)).unwrap_or_default();
        write!(f, "`{}`", text.escape_ascii())
    }
}

impl core::fmt::Debug for ShortText {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

fn get_cell(bytes: &[u8], at: usize) -> Option<u32> {
    crate::le::get_array(bytes, at).map(u32::from_be_bytes)
}

#[expect(
    clippy::big_endian_bytes,
    reason = "the devicetree specification stores its own structure big-endian"
)]
fn put_cell(bytes: &mut [u8], at: usize, value: u32) -> Option<()> {
    crate::le::put_array(bytes, at, value.to_be_bytes())
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}
