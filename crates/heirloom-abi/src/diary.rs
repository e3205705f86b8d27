//! A diary: what a thread is about to change, written down before it does, so that a recovery knows.
//!
//! One block of the heap for each CPU slot that needed one; the slot's record says where it lies.
//!
//! ```text
//!   0  magic      "HLDIARY1"
//!   8  capacity   bytes of the whole block
//!  16  used       bytes of the entries that count; 0: no transaction is open
//!  24  reserved   0
//!  32  changing   56 words: a root that is being changed, as its index plus 1; 0 for none
//! 256  entries    offset u64 | bytes u32 | kind u32 | old bytes, filled up to 8
//! ```
//!
//! An entry counts once `used` covers it, and `used` grows after the entry stands and before the place it speaks of is
//! written. `used = 0` is the commit: one store. A transaction that was cut is undone from the last entry to the first.
//!
//! # Invariants (tested by [`Diary::read`])
//!
//! - *contained*: entries end where `used` says, which is within the block.
//! - *inside*: what an entry speaks of lies within the heap's blocks.

use core::ops::Range;

use crate::le;

/// The first bytes of a diary.
pub const MAGIC: [u8; 8] = *b"HLDIARY1";

/// Where a diary may start: at a multiple of this.
pub const ALIGN: u64 = 8;

/// Where the words for roots lie.
pub const CHANGING_AT: usize = 32;

/// So many roots at once may be noted as being changed.
pub const CHANGING: usize = 56;

/// Where `used` lies.
pub const USED_AT: usize = 16;

/// Where the entries start.
pub const ENTRIES_AT: usize = CHANGING_AT + 4 * CHANGING;

/// Bytes of an entry without the old bytes.
pub const ENTRY_BYTES: usize = 16;

/// The largest diary that is written or read.
pub const MAX_BYTES: usize = 16 << 20;

/// The kind of an entry with old bytes.
pub const KIND_BYTES: u32 = 1;

/// The kind of an entry for a block that is owned by what was written.
pub const KIND_BLOCK: u32 = 2;

const _: () = assert!(ENTRIES_AT == 256);

/// What is to be done to undo one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// Write these bytes back at this offset.
    Bytes {
        /// Where.
        offset: u64,
        /// What stood there.
        old: &'a [u8],
    },
    /// Give the block back that lies at this offset.
    Block {
        /// Where.
        offset: u64,
    },
}

/// Why bytes are no diary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiaryError {
    /// They do not start like one.
    #[error("a diary starts with {0:02x?}, expected {MAGIC:02x?}")]
    Magic([u8; 8]),
    /// A length contradicts another.
    #[error("a diary of {len} bytes says that {what} is {value}")]
    Length {
        /// Which one.
        what: &'static str,
        /// What it is.
        value: u64,
        /// The bytes that there are.
        len: usize,
    },
    /// An entry is of an unknown kind.
    #[error("a diary has an entry of unknown kind {kind} at {at}")]
    Kind {
        /// Where in the diary.
        at: usize,
        /// What stands there.
        kind: u32,
    },
    /// No diary can lie where one is said to lie.
    #[error("a diary is said to lie at {offset:#x}, {what}")]
    Place {
        /// Where.
        offset: u64,
        /// What is wrong with that.
        what: &'static str,
    },
    /// An entry speaks of something outside the heap's blocks.
    #[error("a diary speaks of {bytes} bytes at {offset:#x}, outside the blocks")]
    Outside {
        /// Where.
        offset: u64,
        /// How many.
        bytes: u64,
    },
}

/// A validated diary.
#[derive(Clone, Copy, Debug)]
pub struct Diary<'a> {
    bytes: &'a [u8],
    used: usize,
}

/// The length of the diary that starts with these bytes, to be read before the rest is.
///
/// # Errors
///
/// [`DiaryError`] where no diary starts so.
pub fn length(head: &[u8]) -> Result<usize, DiaryError> {
    let magic = le::get_array(head, 0).unwrap_or_default();
    if magic != MAGIC {
        return Err(DiaryError::Magic(magic));
    }
    let value = le::get_u64(head, 8).unwrap_or(0);
    let fits = value >= ENTRIES_AT as u64 && value <= MAX_BYTES as u64 && value % 8 == 0;
    let wrong = DiaryError::Length { what: "its capacity", value, len: head.len() };
    if fits { usize::try_from(value).map_err(|_| wrong) } else { Err(wrong) }
}

impl<'a> Diary<'a> {
    /// Validates a whole diary; `heap` is where the heap's blocks lie.
    ///
    /// # Errors
    ///
    /// [`DiaryError`], the first thing that is wrong.
    pub fn read(bytes: &'a [u8], heap: Range<u64>) -> Result<Self, DiaryError> {
        let len = length(bytes)?;
        let value = le::get_u64(bytes, USED_AT).unwrap_or(u64::MAX);
        let used = usize::try_from(value).ok().filter(|used| *used <= len - ENTRIES_AT && used % 8 == 0);
        let used = used.filter(|_| bytes.len() == len);
        let used = used.ok_or(DiaryError::Length { what: "what is used", value, len: bytes.len() })?;
        let diary = Self { bytes, used };
        let mut at = ENTRIES_AT;
        while at < ENTRIES_AT + used {
            let (entry, next) = diary.entry(at)?;
            let (offset, bytes) = match entry {
                Entry::Bytes { offset, old } => (offset, old.len() as u64),
                Entry::Block { offset } => (offset, 1),
            };
            let end = offset.checked_add(bytes);
            if offset < heap.start || end.is_none_or(|end| end > heap.end) {
                return Err(DiaryError::Outside { offset, bytes });
            }
            at = next;
        }
        Ok(diary)
    }

    /// True while a transaction is open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.used > 0
    }

    /// Iterates over the entries that count, in the order in which they were written.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let diary = *self;
        let mut at = ENTRIES_AT;
        core::iter::from_fn(move || {
            let more = at < ENTRIES_AT + diary.used;
            let (entry, next) = more.then(|| diary.entry(at).ok()).flatten()?;
            at = next;
            Some(entry)
        })
    }

    /// Iterates over the indices of the roots that are being changed.
    pub fn changing(&self) -> impl Iterator<Item = u32> + use<'a> {
        let bytes = self.bytes;
        (0..CHANGING).filter_map(move |n| le::get_u32(bytes, CHANGING_AT + 4 * n)?.checked_sub(1))
    }

    /// The entry at `at`, and where the next one starts.
    fn entry(&self, at: usize) -> Result<(Entry<'a>, usize), DiaryError> {
        let end = ENTRIES_AT + self.used;
        let cut =
            DiaryError::Length { what: "its last entry's end", value: at as u64, len: self.bytes.len() };
        let head = self.bytes.get(at..end).and_then(|rest| rest.get(..ENTRY_BYTES)).ok_or(cut)?;
        let offset = le::get_u64(head, 0).ok_or(cut)?;
        let (len, kind) = (le::get_u32(head, 8).ok_or(cut)?, le::get_u32(head, 12).ok_or(cut)?);
        let start = at + ENTRY_BYTES;
        match kind {
            KIND_BYTES => {
                let old = self.bytes.get(start..end).and_then(|rest| rest.get(..len as usize)).ok_or(cut)?;
                Ok((Entry::Bytes { offset, old }, start + (len as usize).next_multiple_of(8)))
            }
            KIND_BLOCK => Ok((Entry::Block { offset }, start)),
            kind => Err(DiaryError::Kind { at, kind }),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;
    use std::vec::Vec;

    use super::*;

    const HEAP: Range<u64> = 0x1000..0x9000;

    fn diary(entries: &[(u64, u32, u32, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&1024u64.to_le_bytes());
        let mut at = ENTRIES_AT;
        for (offset, len, kind, old) in entries {
            bytes[at..at + 8].copy_from_slice(&offset.to_le_bytes());
            bytes[at + 8..at + 12].copy_from_slice(&len.to_le_bytes());
            bytes[at + 12..at + 16].copy_from_slice(&kind.to_le_bytes());
            bytes[at + 16..at + 16 + old.len()].copy_from_slice(old);
            at += 16 + old.len().next_multiple_of(8);
        }
        bytes[USED_AT..USED_AT + 8].copy_from_slice(&((at - ENTRIES_AT) as u64).to_le_bytes());
        bytes
    }

    #[test]
    fn entries_are_read_in_their_order() {
        let mut bytes = diary(&[(0x2000, 3, KIND_BYTES, b"old"), (0x3000, 0, KIND_BLOCK, b"")]);
        bytes[CHANGING_AT + 8] = 5;
        let read = Diary::read(&bytes, HEAP).unwrap();
        let entries: Vec<_> = read.entries().collect();
        assert_eq!(entries, [Entry::Bytes { offset: 0x2000, old: b"old" }, Entry::Block { offset: 0x3000 }]);
        assert_eq!((read.is_open(), read.changing().collect::<Vec<_>>()), (true, vec![4]));
        assert!(!Diary::read(&diary(&[]), HEAP).unwrap().is_open());
    }

    #[test]
    fn what_is_no_diary_is_refused() {
        let refuse = |bytes: &[u8]| Diary::read(bytes, HEAP).unwrap_err();
        assert_eq!(refuse(b"text"), DiaryError::Magic([0; 8]));
        let good = diary(&[(0x2000, 3, KIND_BYTES, b"old")]);
        assert!(matches!(refuse(&good[..1000]), DiaryError::Length { what: "what is used", .. }));
        let spoil = |at: usize, value: u64| {
            let mut bytes = good.clone();
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            refuse(&bytes)
        };
        assert!(matches!(spoil(8, u64::MAX), DiaryError::Length { what: "its capacity", .. }));
        assert!(matches!(spoil(USED_AT, 1 << 40), DiaryError::Length { what: "what is used", .. }));
        assert!(matches!(spoil(USED_AT, 8), DiaryError::Length { what: "its last entry's end", .. }));
        assert!(matches!(spoil(ENTRIES_AT + 8, 3 | 9 << 32), DiaryError::Kind { kind: 9, .. }));
        assert!(matches!(spoil(ENTRIES_AT + 8, 999 | 1 << 32), DiaryError::Length { .. }));
        assert_eq!(spoil(ENTRIES_AT, 0x8fff), DiaryError::Outside { offset: 0x8fff, bytes: 3 });
        assert!(matches!(spoil(ENTRIES_AT, u64::MAX), DiaryError::Outside { .. }));
    }
}
