//! What the walkers know of each collection: where its parts lie, by the format that each documents.
//!
//! ```text
//! Vec           start 0 | capacity 8 | len 16              block: capacity elements
//! VecDeque      start 0 | capacity 8 | head 16 | end 24    block: a ring of capacity elements
//! BoxSlice      start 0 | len 8                            block: len elements
//! String 2      23 bytes | len 23     or    start 0 | len 8 | capacity and bit 63 16, a block of so many bytes
//! String 1      as a Vec of bytes                          BoxStr: as a BoxSlice of bytes
//! Box           start 0                                    block: one value
//! Rc, Arc       block 0, or the alignment of one           block: counts (8 bytes) | value         their weak kin: the same
//! HashMap, Set  control 0 | mask 8 | len 16 | ..           block: buckets of key and value, backwards from the control bytes
//! BTreeMap, Set root 0 | len 8                             blocks: nodes, see `btree_map::shape`
//! Interner      Vec of BoxStr 0 | table 24                 table: as that of a HashMap of handles
//! Mutex         word 0 (4 bytes) | value                   RwLock: state 0, wakes 8 (12 bytes) | value
//! OnceLock      word 0 (4 bytes) | value, if bits 0 and 1 of the word are 2
//! Option        the value, or all zeroes
//! ```
//!
//! What a head says is not believed: it may be of a heap that was damaged. A length that exceeds its capacity is `None` here.

#![expect(unsafe_code, reason = "reads and writes the words of a head")]

use std::alloc::Layout;

use heirloom_abi::types::{Children, Shape, TypeView};

/// A collection by its parts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Collection<'a> {
    /// Bytes, in the string itself or in a block.
    Text(TextForm),
    /// Elements in a row, in a block.
    Sequence(Row, TypeView<'a>),
    /// One value in a block.
    Owned(TypeView<'a>),
    /// One value in a block that several own, or (`false`) that this does not own.
    Shared(bool, TypeView<'a>),
    /// A table of keys and values.
    Map(TypeView<'a>, TypeView<'a>),
    /// An ordered map of keys and values.
    Tree(TypeView<'a>, TypeView<'a>),
    /// Unique texts, and a table of their handles.
    Texts,
    /// A value behind so many bytes of its own.
    Lock(u64, TypeView<'a>),
    /// The same, and the value is there only once it was made.
    Late(u64, TypeView<'a>),
    /// A value, or all zeroes.
    Niche(TypeView<'a>),
    /// Bytes without pointers.
    Plain,
}

/// Nothing, as the value of a set.
const UNIT: TypeView<'static> = TypeView { name: "()", size: 0, align: 1, shape: Shape::Primitive };

/// Takes a collection apart; `None` for one, or for a version of one, that is not known here.
pub(super) fn parts<'a>(name: &str, version: u32, mut args: Children<'a>) -> Option<Collection<'a>> {
    let behind = |words: u64, value: &TypeView<'_>| words.next_multiple_of(value.align);
    Some(match (name, version, args.next(), args.next()) {
        ("String", 2, None, None) | ("ByteString", 1, None, None) => Collection::Text(TextForm::Short),
        ("String", 1, None, None) => Collection::Text(TextForm::Row(Row::Vec)),
        ("BoxStr", 1, None, None) => Collection::Text(TextForm::Row(Row::Slice)),
        ("Interner", 1, None, None) => Collection::Texts,
        ("Symbol" | "Once", 1, None, None) => Collection::Plain,
        ("Vec", 1, Some(of), None) => Collection::Sequence(Row::Vec, of),
        ("VecDeque", 2, Some(of), None) => Collection::Sequence(Row::Ring, of),
        ("BoxSlice", 1, Some(of), None) => Collection::Sequence(Row::Slice, of),
        ("Box", 1, Some(of), None) => Collection::Owned(of),
        ("Rc" | "Arc", 1, Some(of), None) => Collection::Shared(true, of),
        ("RcWeak" | "ArcWeak", 1, Some(of), None) => Collection::Shared(false, of),
        ("HashSet", 1, Some(key), None) => Collection::Map(key, UNIT),
        ("HashMap", 1, Some(key), Some(value)) => Collection::Map(key, value),
        ("BTreeSet", 1, Some(key), None) => Collection::Tree(key, UNIT),
        ("BTreeMap", 1, Some(key), Some(value)) => Collection::Tree(key, value),
        ("Mutex", 1, Some(value), None) => Collection::Lock(behind(4, &value), value),
        ("RwLock", 1, Some(value), None) => Collection::Lock(behind(12, &value), value),
        ("OnceLock", 1, Some(value), None) => Collection::Late(behind(4, &value), value),
        ("Option", 1, Some(value), None) => Collection::Niche(value),
        ("NonZero", 1, Some(_), None) | ("PhantomData", 1, Some(_), None) => Collection::Plain,
        _ => return None,
    })
}

/// Where the elements of a row lie, and how its head says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    Vec,
    Ring,
    Slice,
}

/// The head of a row, as far as it does not contradict itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowHead {
    pub(super) start: u64,
    /// Elements that the block has room for; 0 where there is no block.
    pub(super) capacity: usize,
    /// The place of the first.
    pub(super) first: usize,
    pub(super) len: usize,
}

impl Row {
    /// The words of a head.
    pub(super) const fn words(self) -> usize {
        match self {
            Self::Vec => 3,
            Self::Ring => 4,
            Self::Slice => 2,
        }
    }

    /// Takes a head apart, of a row of elements of so many bytes.
    pub(super) fn read(self, words: [u64; 4], stride: usize) -> Option<RowHead> {
        let (capacity, first, len) = match self {
            Self::Vec => (words[1], 0, words[2]),
            Self::Ring => (words[1], words[2], words[3].checked_sub(words[2])?),
            Self::Slice => (words[1], 0, words[1]),
        };
        let word = |word: u64| usize::try_from(word).ok();
        let (start, capacity, first, len) = (words[0], word(capacity)?, word(first)?, word(len)?);
        if stride == 0 {
            return Some(RowHead { start, capacity: 0, first: 0, len });
        }
        let fits = len <= capacity && (first < capacity || first == 0);
        let fits = fits && capacity.checked_mul(stride).is_some_and(|bytes| bytes <= isize::MAX as usize);
        fits.then_some(RowHead { start, capacity, first, len })
    }

    /// Writes a head: of elements that start at the beginning of their block.
    pub(super) fn write(self, start: u64, capacity: usize, len: usize) -> [u64; 4] {
        let (capacity, len) = (capacity as u64, len as u64);
        match self {
            Self::Vec => [start, capacity, len, 0],
            // From place 0 on, so many end at place `len`.
            Self::Ring => [start, capacity, 0, len],
            Self::Slice => [start, len, 0, 0],
        }
    }
}

/// How a text keeps its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextForm {
    /// As a row of bytes.
    Row(Row),
    /// Within, if there are at most [`INLINE_BYTES`]; else in a block.
    Short,
}

/// Where the bytes of a text are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextAt {
    /// In the text itself, from its start on.
    Inline(usize),
    /// In a block: its start, how many, and the bytes that it has.
    Block { start: u64, len: usize, bytes: usize },
}

/// Bytes that a text has room for within.
pub(super) const INLINE_BYTES: usize = 23;

/// Marks a text in a block, in its last word.
const IN_A_BLOCK: u64 = 1 << 63;

impl TextForm {
    /// The words of a head.
    pub(super) const fn words(self) -> usize {
        match self {
            Self::Row(row) => row.words(),
            Self::Short => 3,
        }
    }

    /// Says where the bytes of a text are.
    pub(super) fn read(self, words: [u64; 4]) -> Option<TextAt> {
        match self {
            Self::Row(row) => {
                let RowHead { start, capacity, len, .. } = row.read(words, 1)?;
                Some(TextAt::Block { start, len, bytes: capacity })
            }
            Self::Short if words[2] & IN_A_BLOCK == 0 => {
                let len = (words[2] >> 56) as usize;
                (len <= INLINE_BYTES).then_some(TextAt::Inline(len))
            }
            Self::Short => {
                let (len, bytes) = (usize::try_from(words[1]).ok()?, (words[2] & !IN_A_BLOCK) as usize);
                (len <= bytes).then_some(TextAt::Block { start: words[0], len, bytes })
            }
        }
    }

    /// The head of a text in a block that has just its bytes.
    pub(super) fn write(self, start: u64, len: usize) -> [u64; 4] {
        match self {
            Self::Row(row) => row.write(start, len, len),
            Self::Short => [start, len as u64, len as u64 | IN_A_BLOCK, 0],
        }
    }

    /// The block of a text, if it has one.
    pub(super) fn block(self, words: [u64; 4]) -> Option<(u64, Layout)> {
        match self.read(words)? {
            TextAt::Block { start, bytes, .. } if bytes > 0 => {
                Some((start, Layout::from_size_align(bytes, 1).ok()?))
            }
            _ => None,
        }
    }
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

    /// Those of an [`Interner`](crate::Interner): handles of four bytes.
    pub(super) const HANDLES: Self = Self { stride: 4, value_at: 4, align: 4 };

    /// The layout of a block of so many buckets, and where its control bytes start.
    pub(super) fn block(&self, buckets: usize) -> Option<(Layout, usize)> {
        let pairs = Layout::from_size_align(self.stride.checked_mul(buckets)?, self.align).ok()?;
        let control = Layout::from_size_align(control_bytes(buckets), self.align.max(GROUP)).ok()?;
        pairs.extend(control).ok()
    }
}

/// The buckets of a table with this mask: a power of two, or none.
pub(super) fn buckets(mask: u64) -> Option<usize> {
    match mask {
        0 => Some(0),
        _ => usize::try_from(mask).ok()?.checked_add(1).filter(|nr| nr.is_power_of_two() && *nr >= 4),
    }
}

pub(super) const fn control_bytes(buckets: usize) -> usize {
    if buckets < GROUP { GROUP } else { buckets }
}

/// True for the control byte of a bucket that holds a value.
pub(super) const fn is_full(control: u8) -> bool {
    control & 0x80 == 0
}

/// The block of a shared value: counts, then the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) size: usize,
    /// Also what a pointer holds that leads nowhere.
    pub(super) align: usize,
    pub(super) value_at: usize,
}

impl Counted {
    pub(super) fn new(of: &TypeView<'_>) -> Self {
        let align = of.align.max(8);
        let value_at = 8_u64.next_multiple_of(of.align);
        let size = value_at.saturating_add(of.size).next_multiple_of(align);
        Self { size: size as usize, align: align as usize, value_at: value_at as usize }
    }

    pub(super) fn layout(&self) -> Option<Layout> {
        Layout::from_size_align(self.size, self.align).ok()
    }
}

/// True for the word of a [`Late`](Collection::Late) value that was made.
pub(super) const fn is_done(word: u32) -> bool {
    word & 3 == 2
}

/// Where in a node of an ordered map stands how many pairs it holds, and how many steps it is above a leaf.
pub(super) const NODE_LEN: usize = 10;
pub(super) const NODE_HEIGHT: usize = 12;

/// Reads the words of a head.
///
/// # Safety
///
/// So many, at most 4, can be read.
pub(super) unsafe fn words(at: *const u8, nr: usize) -> [u64; 4] {
    let mut words = [0; 4];
    for (nr, word) in words.iter_mut().enumerate().take(nr) {
        // SAFETY: by the caller.
        *word = unsafe { address(at.add(8 * nr)) };
    }
    words
}

/// Writes the words of a head.
///
/// # Safety
///
/// So many, at most 4, can be written.
pub(super) unsafe fn write_words(at: *mut u8, nr: usize, words: [u64; 4]) {
    for (nr, word) in words.into_iter().enumerate().take(nr) {
        // SAFETY: by the caller.
        unsafe { write_address(at.add(8 * nr), word) };
    }
}

/// Reads a word, which may be an address: read as one, so that what it leads to can be followed by the number.
///
/// # Safety
///
/// It can be read, and is aligned.
pub(super) unsafe fn address(at: *const u8) -> u64 {
    // SAFETY: by the caller; any word is an address, if of nothing.
    unsafe { at.cast::<*const u8>().read() }.expose_provenance() as u64
}

/// Writes a word, which may be an address: written as one, so that who reads it as such may follow it.
///
/// # Safety
///
/// It can be written, and is aligned.
pub(super) unsafe fn write_address(at: *mut u8, word: u64) {
    // SAFETY: by the caller.
    unsafe { at.cast::<*const u8>().write(std::ptr::with_exposed_provenance(word as usize)) };
}
