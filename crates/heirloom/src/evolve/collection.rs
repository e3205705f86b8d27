//! What the walkers know of each collection: where its parts lie, by the format that each documents.
//!
//! ```text
//! Vec           start 0 | capacity 8 | len 16          block: capacity elements
//! String        23 bytes | len 23     or    start 0 | len 8 | capacity and bit 63 16, a block of so many bytes
//! Box           start 0                                block: one value
//! HashMap, Set  control 0 | mask 8 | len 16 | ..       block: buckets of key and value, backwards from the control bytes
//! Mutex         word 0 (4 bytes) | value               RwLock: state 0, wakes 8 (12 bytes) | value
//! Option        the value, or all zeroes
//! ```

use std::alloc::Layout;

use heirloom_abi::types::{Children, Shape, TypeView};

/// A collection by its parts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Collection<'a> {
    /// Bytes, in the string itself or in a block.
    Text,
    /// Elements in a row, in a block.
    Sequence(TypeView<'a>),
    /// One value in a block.
    Owned(TypeView<'a>),
    /// A table of keys and values.
    Map(TypeView<'a>, TypeView<'a>),
    /// A value behind so many bytes of its own.
    Lock(u64, TypeView<'a>),
    /// A value, or all zeroes.
    Niche(TypeView<'a>),
    /// Bytes without pointers.
    Plain,
}

/// The layout of the block of a text; `None` for one that needs none.
pub(super) fn text_block([_, _, capacity]: [u64; 3]) -> Option<Layout> {
    let is_inline = capacity >> 63 == 0;
    let layout = Layout::from_size_align((capacity & !(1 << 63)) as usize, 1).ok()?;
    (!is_inline && layout.size() > 0).then_some(layout)
}

/// Takes a collection apart; `None` for one, or for a version of one, that is not known here.
pub(super) fn parts<'a>(name: &str, version: u32, mut args: Children<'a>) -> Option<Collection<'a>> {
    if version != if name == "String" { 2 } else { 1 } {
        return None;
    }
    Some(match (name, args.next(), args.next()) {
        ("String" | "ByteString", None, None) => Collection::Text,
        ("Vec", Some(of), None) => Collection::Sequence(of),
        ("HashSet", Some(key), None) => {
            Collection::Map(key, TypeView { name: "()", size: 0, align: 1, shape: Shape::Primitive })
        }
        ("Box", Some(of), None) => Collection::Owned(of),
        ("HashMap", Some(key), Some(value)) => Collection::Map(key, value),
        ("Mutex", Some(value), None) => Collection::Lock(4_u64.next_multiple_of(value.align), value),
        ("RwLock", Some(value), None) => Collection::Lock(12_u64.next_multiple_of(value.align), value),
        ("Option", Some(value), None) => Collection::Niche(value),
        ("NonZero", Some(_), None) | ("PhantomData", Some(_), None) => Collection::Plain,
        _ => return None,
    })
}

/// Control bytes of a group.
const GROUP: usize = 16;

/// The block of a map, for pairs of one layout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets {
    /// Bytes of a pair.
    pub(super) stride: usize,
    /// Where the value lies in a pair.
    pub(super) value_at: usize,
    align: usize,
}

impl Buckets {
    pub(super) fn new(key: &TypeView<'_>, value: &TypeView<'_>) -> Self {
        let align = key.align.max(value.align);
        let value_at = key.size.next_multiple_of(value.align);
        let stride = (value_at + value.size).next_multiple_of(align);
        Self { stride: stride as usize, value_at: value_at as usize, align: align as usize }
    }

    /// The layout of a block of so many buckets, and where its control bytes start.
    pub(super) fn block(&self, buckets: usize) -> Option<(Layout, usize)> {
        let pairs = Layout::from_size_align(self.stride.checked_mul(buckets)?, self.align).ok()?;
        let control = Layout::from_size_align(control_bytes(buckets), self.align.max(GROUP)).ok()?;
        pairs.extend(control).ok()
    }
}

pub(super) const fn control_bytes(buckets: usize) -> usize {
    if buckets < GROUP { GROUP } else { buckets }
}

/// True for the control byte of a bucket that holds a value.
pub(super) const fn is_full(control: u8) -> bool {
    control & 0x80 == 0
}
