//! An item: one block of the heap that holds a key and its value, owned by the one pointer to it.
//!
//! ```text
//!  0  stamp      bits 0..24 when it was last used (tenths of seconds, modulo 2^24) | 24..27 kind | 27 has a deadline
//!  4  key_len    bytes of the key
//!  8  value_len  bytes of a text value; 0 otherwise
//! 12  block      bytes of the block
//! 16  deadline   milliseconds of the Unix epoch, 0 for none; only if the stamp says so
//!  .  key
//!  .  value      text: right behind the key, with room up to the end of the block
//!                hash, set: a `Table`, list: a `List`, at the next multiple of 8
//! ```
//!
//! Key and value side by side cost one allocation and one miss of the cache; a field of a hash, a member of a set and an
//! element of a list are items too. What replaces an item is built beside it and then takes its place by one store, so that a
//! kill leaves the old value or the new one, never a mixture.
//!
//! # Invariants
//!
//! - *sized*: the block was allocated with `block` bytes, and key and value lie within.
//! - *owned*: of all pointers to a block one is dropped.
#![expect(unsafe_code, reason = "a header, a key and a value of lengths of their own share one block")]

use heirloom::AllocError;
use heirloom::alloc;
use heirloom::heritable::{Again, Heritable, TypeDesc, ZeroNiche};
use std::alloc::Layout;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use super::list::List;
use super::table::Table;
use super::words::fence;

/// Version of the layout of an item, and of what lies in it: it changes with [`Table`], [`List`] and the hash of keys.
const FORMAT_VERSION: u32 = 2;

const HEADER_BYTES: usize = size_of::<Header>();
const DEADLINE_BYTES: usize = 8;
const ALIGN: usize = 8;
const CLOCK_BITS: u32 = 24;
const KIND_SHIFT: u32 = CLOCK_BITS;
const HAS_DEADLINE: u32 = 1 << 27;

/// The largest key or value: what its length and that of its block are kept in has 32 bits.
pub(crate) const MAX_TEXT_BYTES: usize = 512 << 20;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Hash,
    List,
    Set,
}

#[repr(C)]
struct Header {
    stamp: u32,
    key_len: u32,
    value_len: u32,
    block: u32,
}

const _: () = assert!(size_of::<Header>() == 16 && align_of::<Header>() <= ALIGN);
const _: () = assert!(align_of::<Table>() <= ALIGN && align_of::<List>() <= ALIGN);

/// Owns a block with a key and its value.
#[repr(transparent)]
pub(crate) struct Item(NonNull<Header>);

// SAFETY: an item owns its block and shares nothing.
unsafe impl Send for Item {}
// SAFETY: a shared item gives out nothing but shared references.
unsafe impl Sync for Item {}

// SAFETY: the block is the heap's, owned, and its layout is what the version stands for.
unsafe impl Heritable for Item {
    // What the value may be, so that `heirloom verify --leaks` can follow it: a table is what an item lies in.
    const TYPE: &'static TypeDesc =
        &TypeDesc::collection("CacheItem", FORMAT_VERSION, 8, 8, &[Again::<Table>::TYPE, List::TYPE]);
}

// SAFETY: the pointer is never null, and the only field of a transparent type.
unsafe impl ZeroNiche for Item {}

/// An element of a list: an item with a text value and no key.
#[repr(transparent)]
pub(crate) struct Element(Item);

// SAFETY: as for an item, whose value leads nowhere.
unsafe impl Heritable for Element {
    const TYPE: &'static TypeDesc = &TypeDesc::collection("CacheElement", FORMAT_VERSION, 8, 8, &[]);
}

// SAFETY: the pointer is never null, and the only field of a transparent type.
unsafe impl ZeroNiche for Element {}

impl Element {
    pub(crate) fn try_new(value: &[u8]) -> Result<Self, AllocError> {
        Ok(Self(Item::try_text(b"", &[value], None)?))
    }

    /// The value.
    pub(crate) fn value(&self) -> &[u8] {
        self.0.value()
    }

    /// Bytes of the block.
    pub(crate) fn weight(&self) -> u64 {
        self.0.weight()
    }
}

impl Item {
    /// Makes an item with a text value that is the concatenation of `parts`.
    pub(crate) fn try_text(key: &[u8], parts: &[&[u8]], deadline: Option<u64>) -> Result<Self, AllocError> {
        Self::try_text_with_room(key, parts, deadline, 0)
    }

    fn try_text_with_room(
        key: &[u8],
        parts: &[&[u8]],
        deadline: Option<u64>,
        room: usize,
    ) -> Result<Self, AllocError> {
        let value_len = parts.iter().map(|part| part.len()).sum::<usize>();
        if key.len() > MAX_TEXT_BYTES || value_len > MAX_TEXT_BYTES {
            return Err(AllocError::TOO_LARGE);
        }
        let mut item = Self::with_block(Kind::Text, key, deadline, value_len + room)?;
        let mut end = item.value_start();
        for part in parts {
            // SAFETY: the block has room for the key and all parts; what is new does not overlap them.
            unsafe { item.at(end).copy_from_nonoverlapping(part.as_ptr(), part.len()) };
            end += part.len();
        }
        item.header_mut().value_len = value_len as u32;
        Ok(item)
    }

    /// Makes an item whose value is an empty hash, list or set.
    pub(crate) fn try_collection(kind: Kind, key: &[u8], deadline: Option<u64>) -> Result<Self, AllocError> {
        debug_assert_ne!(kind, Kind::Text);
        if key.len() > MAX_TEXT_BYTES {
            return Err(AllocError::TOO_LARGE);
        }
        let item = Self::with_block(kind, key, deadline, ALIGN - 1 + body_bytes(kind))?;
        let body = item.at(item.body_start());
        // SAFETY: the body lies within the block, aligned, and is not initialized yet.
        unsafe {
            match kind {
                Kind::List => body.cast::<List>().write(List::new()),
                Kind::Hash | Kind::Set | Kind::Text => body.cast::<Table>().write(Table::new()),
            }
        }
        Ok(item)
    }

    /// Allocates a block for a key and at least `rest` more bytes, and writes all but the value.
    fn with_block(kind: Kind, key: &[u8], deadline: Option<u64>, rest: usize) -> Result<Self, AllocError> {
        let fixed = HEADER_BYTES + if deadline.is_some() { DEADLINE_BYTES } else { 0 };
        let wanted = layout_of(fixed + key.len() + rest);
        let block = alloc::usable_size(wanted);
        let start = alloc::allocate(layout_of(block))?.cast::<Header>();
        let flag = if deadline.is_some() { HAS_DEADLINE } else { 0 };
        let stamp = (kind as u32) << KIND_SHIFT | flag;
        // SAFETY: the block is new, aligned and holds at least this much.
        unsafe {
            start.write(Header { stamp, key_len: key.len() as u32, value_len: 0, block: block as u32 });
            let bytes = start.cast::<u8>();
            if let Some(deadline) = deadline {
                bytes.add(HEADER_BYTES).cast::<u64>().write(deadline);
            }
            bytes.add(fixed).copy_from_nonoverlapping(NonNull::from(key).cast(), key.len());
        }
        // INVARIANT: sized, by what was asked for; owned, by the caller.
        Ok(Self(start))
    }

    /// The key.
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        // SAFETY: the key lies within the block and is borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.at(self.key_start()), self.header().key_len as usize) }
    }

    /// What the value is.
    #[inline]
    pub(crate) fn kind(&self) -> Kind {
        match self.header().stamp >> KIND_SHIFT & 7 {
            0 => Kind::Text,
            1 => Kind::Hash,
            2 => Kind::List,
            _ => Kind::Set,
        }
    }

    /// The value, if it is text.
    #[inline]
    pub(crate) fn text(&self) -> Option<&[u8]> {
        (self.kind() == Kind::Text).then(|| self.value())
    }

    /// The bytes of a text value; nothing of another.
    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        // SAFETY: a text value lies within the block and is borrowed with `self`; the length of others is 0.
        unsafe { std::slice::from_raw_parts(self.at(self.value_start()), self.header().value_len as usize) }
    }

    /// The fields of a hash or the members of a set.
    #[inline]
    pub(crate) fn table(&self, kind: Kind) -> Option<&Table> {
        debug_assert!(matches!(kind, Kind::Hash | Kind::Set));
        // SAFETY: an item of this kind holds a table there, borrowed with `self`.
        (self.kind() == kind).then(|| unsafe { &*self.at(self.body_start()).cast::<Table>() })
    }

    /// The fields of a hash or the members of a set.
    #[inline]
    pub(crate) fn table_mut(&mut self, kind: Kind) -> Option<&mut Table> {
        debug_assert!(matches!(kind, Kind::Hash | Kind::Set));
        // SAFETY: an item of this kind holds a table there, mutably borrowed with `self`.
        (self.kind() == kind).then(|| unsafe { &mut *self.at(self.body_start()).cast::<Table>() })
    }

    /// The elements of a list.
    #[inline]
    pub(crate) fn list(&self) -> Option<&List> {
        // SAFETY: an item of this kind holds a list there, borrowed with `self`.
        (self.kind() == Kind::List).then(|| unsafe { &*self.at(self.body_start()).cast::<List>() })
    }

    /// The elements of a list.
    #[inline]
    pub(crate) fn list_mut(&mut self) -> Option<&mut List> {
        // SAFETY: an item of this kind holds a list there, mutably borrowed with `self`.
        (self.kind() == Kind::List).then(|| unsafe { &mut *self.at(self.body_start()).cast::<List>() })
    }

    /// When it expires, in milliseconds of the Unix epoch.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<u64> {
        if self.header().stamp & HAS_DEADLINE == 0 {
            return None;
        }
        // SAFETY: the stamp says that the deadline is there; the block is aligned.
        let deadline = unsafe { self.at(HEADER_BYTES).cast::<u64>().read() };
        (deadline != 0).then_some(deadline)
    }

    /// Sets or removes the deadline; the item may move to a larger block.
    pub(crate) fn set_deadline(&mut self, deadline: Option<u64>) -> Result<(), AllocError> {
        if self.header().stamp & HAS_DEADLINE != 0 {
            // SAFETY: as in `deadline`, and `self` is borrowed mutably.
            unsafe { self.at(HEADER_BYTES).cast::<u64>().write(deadline.unwrap_or(0)) };
            return Ok(());
        }
        let Some(deadline) = deadline else { return Ok(()) };
        let kind = self.kind();
        let copy = match kind {
            Kind::Text => Self::try_text(self.key(), &[self.value()], Some(deadline))?,
            _ => {
                let copy = Self::with_block(kind, self.key(), Some(deadline), ALIGN - 1 + body_bytes(kind))?;
                // SAFETY: both bodies have this size; the old one is forgotten in `supersede`.
                unsafe {
                    let (from, to) = (self.at(self.body_start()), copy.at(copy.body_start()));
                    to.copy_from_nonoverlapping(from, body_bytes(kind));
                }
                copy
            }
        };
        self.supersede(copy);
        Ok(())
    }

    /// Makes this item under another name. What is inside a hash, list or set belongs to both then, until one of them is given up by
    /// [`Item::give_up_shell`]; until then the other is not dropped.
    pub(crate) fn try_renamed(&self, key: &[u8]) -> Result<ManuallyDrop<Self>, AllocError> {
        if key.len() > MAX_TEXT_BYTES {
            return Err(AllocError::TOO_LARGE);
        }
        let kind = self.kind();
        let copy = match kind {
            Kind::Text => Self::try_text(key, &[self.value()], self.deadline())?,
            _ => {
                let copy = Self::with_block(kind, key, self.deadline(), ALIGN - 1 + body_bytes(kind))?;
                // SAFETY: both bodies have this size, and two blocks do not overlap.
                unsafe {
                    let (from, to) = (self.at(self.body_start()), copy.at(copy.body_start()));
                    to.copy_from_nonoverlapping(from, body_bytes(kind));
                }
                copy
            }
        };
        Ok(ManuallyDrop::new(copy))
    }

    /// Gives the block back, and leaves what is inside a hash, list or set to the item that was made from this one under another name.
    pub(crate) fn give_up_shell(self) {
        let shell = ManuallyDrop::new(self);
        // SAFETY: the block is not used any more, and what is inside is another's.
        unsafe { shell.give_back() };
    }

    /// Whether this is a hash, list or set with nothing in it, as a key is only while a command makes it.
    pub(crate) fn is_hollow(&self) -> bool {
        match self.kind() {
            Kind::Text => false,
            kind @ (Kind::Hash | Kind::Set) => self.table(kind).is_some_and(|table| table.len() == 0),
            Kind::List => self.list().is_some_and(|list| list.len() == 0),
        }
    }

    /// Makes whole what is inside, after whoever changed it was killed. Returns how many fields or members were lost.
    pub(crate) fn mend_inside(&mut self) -> Result<u64, AllocError> {
        match self.kind() {
            Kind::Text => Ok(0),
            kind @ (Kind::Hash | Kind::Set) => match self.table_mut(kind) {
                Some(table) => {
                    let lost = table.mend()?;
                    table.recount();
                    Ok(lost)
                }
                None => Ok(0),
            },
            Kind::List => {
                if let Some(list) = self.list_mut() {
                    list.mend();
                }
                Ok(0)
            }
        }
    }

    /// Appends to a text value; the item may move to a larger block, with room for more.
    pub(crate) fn try_append(&mut self, bytes: &[u8]) -> Result<(), AllocError> {
        debug_assert_eq!(self.kind(), Kind::Text);
        let (start, len) = (self.value_start(), self.header().value_len as usize);
        if start + len + bytes.len() <= self.block_bytes() {
            // SAFETY: there is room behind the value.
            unsafe { self.at(start + len).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            // The length comes last: a kill before it leaves the old value.
            fence();
            self.header_mut().value_len = (len + bytes.len()) as u32;
            return Ok(());
        }
        let deadline = (self.header().stamp & HAS_DEADLINE != 0).then(|| self.deadline().unwrap_or(0));
        let room = (len + bytes.len()).min(1 << 20);
        let copy = Self::try_text_with_room(self.key(), &[self.value(), bytes], deadline, room)?;
        self.supersede(copy);
        Ok(())
    }

    /// Puts a copy that has taken the value over in this item's place, by one store, and gives the old block back.
    fn supersede(&mut self, mut copy: Self) {
        copy.header_mut().stamp |= self.header().stamp & ((1 << CLOCK_BITS) - 1);
        fence();
        let old = ManuallyDrop::new(std::mem::replace(self, copy));
        fence();
        // SAFETY: the block is not used any more; its value is the copy's or plain bytes.
        unsafe { old.give_back() };
    }

    /// When it was last used: tenths of seconds, modulo 2^24.
    #[inline]
    pub(crate) fn clock(&self) -> u32 {
        self.header().stamp & ((1 << CLOCK_BITS) - 1)
    }

    /// Notes that it was used now.
    #[inline]
    pub(crate) fn touch(&mut self, clock: u32) {
        let stamp = self.header().stamp;
        let touched = stamp & !((1 << CLOCK_BITS) - 1) | clock & ((1 << CLOCK_BITS) - 1);
        // What is used often is used more than once a tick: its line stays clean.
        if touched != stamp {
            self.header_mut().stamp = touched;
        }
    }

    /// Bytes of the block, and of what the value holds elsewhere.
    #[inline]
    pub(crate) fn weight(&self) -> u64 {
        let elsewhere = match self.kind() {
            Kind::Text => 0,
            kind @ (Kind::Hash | Kind::Set) => self.table(kind).map_or(0, Table::bytes),
            Kind::List => self.list().map_or(0, List::bytes),
        };
        self.block_bytes() as u64 + elsewhere
    }

    /// Identifies the block, to tell two pointers to one item.
    pub(crate) fn address(&self) -> usize {
        self.0.as_ptr().addr()
    }

    /// Moves an item to an empty place: it stands in the new one first, so that a kill in between leaves it in both, and a
    /// recovery tells by its address that it is one.
    #[inline]
    pub(crate) fn move_between(from: &mut Option<Self>, to: &mut Option<Self>) {
        debug_assert!(to.is_none());
        // SAFETY: `to` holds nothing to drop, and `from` is emptied without dropping what is now in `to`.
        unsafe {
            ptr::copy_nonoverlapping(from, to, 1);
            fence();
            ptr::write(from, None);
            fence();
        }
    }

    /// A second pointer to the block. One of the two must be forgotten.
    #[cfg(test)]
    pub(super) fn twin(&self) -> Self {
        Self(self.0)
    }

    fn header(&self) -> &Header {
        // SAFETY: the block starts with a header and is owned by `self`.
        unsafe { self.0.as_ref() }
    }

    fn header_mut(&mut self) -> &mut Header {
        // SAFETY: the block starts with a header and is owned by `self`, which is borrowed mutably.
        unsafe { self.0.as_mut() }
    }

    fn block_bytes(&self) -> usize {
        self.header().block as usize
    }

    #[inline]
    fn key_start(&self) -> usize {
        HEADER_BYTES + if self.header().stamp & HAS_DEADLINE != 0 { DEADLINE_BYTES } else { 0 }
    }

    #[inline]
    fn value_start(&self) -> usize {
        self.key_start() + self.header().key_len as usize
    }

    #[inline]
    fn body_start(&self) -> usize {
        self.value_start().next_multiple_of(ALIGN)
    }

    /// The address of an offset into the block.
    #[inline]
    fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset <= self.block_bytes());
        // SAFETY: the offset lies within the block, by *sized*.
        unsafe { self.0.as_ptr().cast::<u8>().add(offset) }
    }

    /// Gives the block back.
    ///
    /// # Safety
    ///
    /// - Neither the item nor its value is used again.
    unsafe fn give_back(&self) {
        // SAFETY: the block came from `with_block` with this layout, and is not used again.
        unsafe { alloc::deallocate(self.0.cast(), layout_of(self.block_bytes())) };
    }
}

impl Drop for Item {
    #[inline]
    fn drop(&mut self) {
        let kind = self.kind();
        // SAFETY: the value is of this kind and not used again, nor is the block.
        unsafe {
            match kind {
                Kind::Text => {}
                Kind::Hash | Kind::Set => self.at(self.body_start()).cast::<Table>().drop_in_place(),
                Kind::List => self.at(self.body_start()).cast::<List>().drop_in_place(),
            }
            self.give_back();
        }
    }
}

/// Layout of a block of so many bytes.
fn layout_of(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, ALIGN).expect("keys and values are shorter than half the address space")
}

fn body_bytes(kind: Kind) -> usize {
    match kind {
        Kind::Text => 0,
        Kind::Hash | Kind::Set => size_of::<Table>(),
        Kind::List => size_of::<List>(),
    }
}
