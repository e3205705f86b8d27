//! The preserved-memory map of `kho-v4`: a radix tree with one bit for each preserved frame.
//!
//! ```text
//! key = (1 << (52 - order)) | (phys >> (12 + order))
//!
//!  52        51 50       42 41       33 32       24 23       15 14            0
//! +------------+-----------+-----------+-----------+-----------+---------------+
//! |  level 5   |  level 4  |  level 3  |  level 2  |  level 1  |    level 0    |
//! +------------+-----------+-----------+-----------+-----------+---------------+
//!   root: 512    node: 512 u64, each the address of       ...    leaf: a bitmap of
//!   u64          a child, 0 = none                               512 u64 = 32768 bits
//! ```
//!
//! The highest set bit of a key says the order, the bits below it the frame number. Keys of one order are therefore neighbours,
//! larger orders come first, and *the key of a frame shifted right by `d` is the key of the frame of order `+d` around it*: that is how
//! overlaps are found. One leaf covers 128 MiB in pages of order 0.
//!
//! [`RadixMap`] marks, unmarks and walks over any memory that implements [`Pages`]; a successor gets one through
//! [`RadixMap::open`], which validates the tree first. Nodes are whole pages that come from [`PagesMut::allocate`] and nowhere else.
//!
//! ```
//! use heirloom_abi::kho::radix::{Frame, Limits, Order, PageArray, RadixMap};
//!
//! let mut memory = [[0; 512]; 16];
//! let mut pages = PageArray::new(0x10_0000, &mut memory, 0);
//! let mut map = RadixMap::create(&mut pages)?;
//! map.mark(&mut pages, Frame::new(0x7000, Order::ZERO)?)?;
//! map.mark_range(&mut pages, 0x20_0000..0x80_0000, Order::new(9).unwrap())?;
//!
//! // The successor is told the address of the root, and believes nothing else.
//! let (inherited, summary) = RadixMap::open(&pages, map.root(), &Limits::within(0..1 << 30), |_| true)?;
//! assert_eq!(summary.nr_frames, 4);
//! assert_eq!(inherited.frames(&pages).next().unwrap()?.phys(), 0x20_0000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Source of the format: "KHO persistent memory tracker" in the
//! [Kexec Handover ABI](https://docs.kernel.org/core-api/kho/abi.html), Linux 7.2.
//!
//! # Invariants (tested by [`RadixMap::check`])
//!
//! - *anchored*: the root has an address and, unless emptiness is expected, an entry.
//! - *a tree*: each node is aligned, lies where nodes may lie, and is reached once.
//! - *in range*: each bit's key has an order and a frame inside the memory.
//! - *disjoint*: no two marked frames share a page, of whatever orders.

mod batch;
mod check;
mod frame;
mod map;
mod pages;
mod path;
mod range;
mod runs;
mod walk;

#[cfg(test)]
mod tests;

pub use check::{Emptiness, Limits, MapError, Summary};
pub use frame::{Frame, FrameError, Order};
pub use map::{MarkError, RadixMap};
pub use pages::{PageArray, PageBytes, PageSlice, Pages, PagesMut};
pub use runs::{Run, Runs};
pub use walk::Frames;

/// Bytes of a page, and of each node of the tree.
pub const PAGE_BYTES: u64 = 1 << PAGE_SHIFT;

/// Entries of a node: addresses of children, or words of a bitmap.
pub const NODE_WORDS: usize = 512;

/// Levels of the tree: the leaf is level 0, the root [`LEVELS`]` - 1`.
pub const LEVELS: usize = 6;

/// Binary logarithm of [`PAGE_BYTES`].
pub(crate) const PAGE_SHIFT: u32 = 12;

/// The bit of a key that says order 0; each further order takes the next bit below.
const ORDER_0_BIT: u32 = 64 - PAGE_SHIFT;

const _: () = assert!(NODE_WORDS * size_of::<u64>() == 4096 && PAGE_BYTES == 4096);
const _: () =
    assert!(shift(LEVELS - 1) == 51 && shift(1) == 15, "a leaf takes 15 bits, each level above it 9");

/// Returns how far a key is shifted right to give its index at `level`: a word of the leaf, a child of an inner node.
const fn shift(level: usize) -> u32 {
    const WORD: u32 = u64::BITS.ilog2();
    const NODE: u32 = NODE_WORDS.ilog2();
    WORD + NODE * level as u32
}

/// Returns which entry of the node at `level` stands for `key`.
#[inline]
const fn index(key: u64, level: usize) -> usize {
    (key >> shift(level)) as usize % NODE_WORDS
}
