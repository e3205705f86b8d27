//! The ELF note of a binary: what it can inherit, said where another program can read it without running it.
//!
//! ```text
//! .note.heirloom, in a PT_NOTE segment; every note a multiple of 4 bytes
//! +--------+--------+------+---------------------+------------------------------------------+
//! | namesz | descsz | type | "Heirloom\0" + 3    | desc + padding                           |
//! |   u32  |   u32  |  u32 |        12           |                                          |
//! +--------+--------+------+---------------------+------------------------------------------+
//!             type 1, format, once: record_version:u32 abi:u32..=u32 page_bytes:u32 block:u32..=u32 reserved:u64
//!             type 2, one root:     record_version:u16 name_len:u16 name form       (`types`)
//!             type 3, its history:  record_version:u16 name_len:u16 name form with rules
//! ```
//!
//! The notes are built in constants and laid end to end by the linker. A predecessor reads them before it starts its
//! successor, so that a heap is never given to a binary that cannot read it.

use core::ops::RangeInclusive;

use crate::le;

/// The section that the notes stand in; its name makes LLVM and the linkers treat it as notes.
pub const SECTION: &str = ".note.heirloom";

/// The name in every note, with the NUL that belongs to it.
pub const NAME: &[u8; 9] = b"Heirloom\0";

/// The type of the note that says which formats are understood.
pub const TYPE_FORMAT: u32 = 1;

/// The type of a note that declares a root.
pub const TYPE_ROOT: u32 = 2;

/// The type of a note that says what the type of a root can be made from, and made into.
pub const TYPE_RULES: u32 = 3;

/// The version of all records that the builders write and the reader understands.
pub const RECORD_VERSION: u16 = 1;

/// The longest name of a root, in bytes.
pub const MAX_ROOT_NAME_BYTES: usize = 63;

/// The bytes before `desc`: the note header and the padded name.
pub const HEAD_BYTES: usize = 12 + 12;

/// The bytes of `desc` in a format note.
pub const FORMAT_BYTES: usize = 32;

/// The bytes of a whole format note.
pub const FORMAT_NOTE_BYTES: usize = HEAD_BYTES + FORMAT_BYTES;

const _: () = assert!(NAME.len().next_multiple_of(4) == HEAD_BYTES - 12);
const _: () = assert!(FORMAT_NOTE_BYTES == 56);
const _: () = assert!(align_of::<NoteBytes<4>>() == 4);
const _: () = assert!(size_of::<NoteBytes<FORMAT_NOTE_BYTES>>() == FORMAT_NOTE_BYTES);

/// The bytes of one note, aligned as notes are, for a `static` in [`SECTION`].
#[derive(Clone, Copy, Debug)]
#[repr(C, align(4))]
pub struct NoteBytes<const N: usize>([u8; N]);

impl<const N: usize> NoteBytes<N> {
    /// Returns the bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }
}

/// What a binary understands, or, with ranges of one, what a heap is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// The versions of the heap's format.
    pub abi: RangeInclusive<u32>,
    /// The bytes of a page.
    pub page_bytes: u32,
    /// The versions of the format of blocks.
    pub block: RangeInclusive<u32>,
}

/// One note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note<'a> {
    /// What the binary understands.
    Format(Format),
    /// A root that the binary declares.
    Root {
        /// The name of the root.
        name: &'a str,
        /// The byte form of its type, not yet validated.
        ty: &'a [u8],
    },
    /// The history of a root's type.
    Rules {
        /// The name of the root.
        name: &'a str,
        /// The form with rules of its type, not yet validated.
        form: &'a [u8],
    },
}

/// Why bytes are not notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// A note reaches beyond the section.
    #[error("note at offset {at} of {len} reaches beyond the end")]
    Truncated {
        /// Where the note starts.
        at: usize,
        /// The bytes in all.
        len: usize,
    },
    /// The record in a note is of a version that this reader does not know.
    #[error("note at offset {at} has record version {found}, this binary reads {RECORD_VERSION}")]
    Version {
        /// Where the note starts.
        at: usize,
        /// What stands there.
        found: u32,
    },
    /// The record in a format note has another length, or ranges that hold nothing.
    #[error("format note at offset {at} is malformed")]
    Format {
        /// Where the note starts.
        at: usize,
    },
    /// The name of a root is empty, too long, unprintable, or reaches beyond the note.
    #[error("root note at offset {at} has a malformed name")]
    RootName {
        /// Where the note starts.
        at: usize,
    },
}

/// Builds the note that says which formats a binary understands.
///
/// # Panics
///
/// Panics, in a constant at compile time, if a range is empty.
#[must_use]
pub const fn format_note(format: &Format) -> NoteBytes<FORMAT_NOTE_BYTES> {
    let (abi, block) = (&format.abi, &format.block);
    assert!(*abi.start() <= *abi.end() && *block.start() <= *block.end(), "a range of versions is empty");
    let mut out = head::<FORMAT_NOTE_BYTES>(FORMAT_BYTES, TYPE_FORMAT);
    put(&mut out, HEAD_BYTES, &(RECORD_VERSION as u32).to_le_bytes());
    put(&mut out, HEAD_BYTES + 4, &abi.start().to_le_bytes());
    put(&mut out, HEAD_BYTES + 8, &abi.end().to_le_bytes());
    put(&mut out, HEAD_BYTES + 12, &format.page_bytes.to_le_bytes());
    put(&mut out, HEAD_BYTES + 16, &block.start().to_le_bytes());
    put(&mut out, HEAD_BYTES + 20, &block.end().to_le_bytes());
    NoteBytes(out)
}

/// Counts the bytes of the note that declares a root, padding included.
#[must_use]
pub const fn root_note_len(name: &str, ty_len: usize) -> usize {
    (root_form_at(name) + ty_len).next_multiple_of(4)
}

/// Where in the note that declares a root the byte form of its type starts.
#[must_use]
pub const fn root_form_at(name: &str) -> usize {
    HEAD_BYTES + 4 + name.len()
}

/// Builds the note that declares a root; `N` is its [`root_note_len`].
///
/// # Panics
///
/// Panics, in a constant at compile time, if `N` is another number, or the name is empty, longer than
/// [`MAX_ROOT_NAME_BYTES`] or has control characters.
#[must_use]
pub const fn root_note<const N: usize>(name: &str, ty: &[u8]) -> NoteBytes<N> {
    named_note(TYPE_ROOT, name, ty)
}

/// Builds the note of the history of a root's type; `N` is its [`root_note_len`], for the form with rules.
///
/// # Panics
///
/// As [`root_note`].
#[must_use]
pub const fn rules_note<const N: usize>(name: &str, form: &[u8]) -> NoteBytes<N> {
    named_note(TYPE_RULES, name, form)
}

const fn named_note<const N: usize>(note_type: u32, name: &str, ty: &[u8]) -> NoteBytes<N> {
    assert!(N == root_note_len(name, ty.len()), "root_note::<N>: N is not root_note_len");
    assert!(!name.is_empty(), "the name of a root is empty");
    assert!(name.len() <= MAX_ROOT_NAME_BYTES, "the name of a root is longer than 63 bytes");
    let mut i = 0;
    while i < name.len() {
        let byte = name.as_bytes()[i];
        assert!(byte >= 0x20 && byte != 0x7f, "the name of a root has a control character");
        i += 1;
    }
    let mut out = head::<N>(4 + name.len() + ty.len(), note_type);
    put(&mut out, HEAD_BYTES, &RECORD_VERSION.to_le_bytes());
    put(&mut out, HEAD_BYTES + 2, &(name.len() as u16).to_le_bytes());
    put(&mut out, HEAD_BYTES + 4, name.as_bytes());
    put(&mut out, root_form_at(name), ty);
    NoteBytes(out)
}

const fn head<const N: usize>(desc_bytes: usize, note_type: u32) -> [u8; N] {
    let mut out = [0; N];
    put(&mut out, 0, &(NAME.len() as u32).to_le_bytes());
    put(&mut out, 4, &(desc_bytes as u32).to_le_bytes());
    put(&mut out, 8, &note_type.to_le_bytes());
    put(&mut out, 12, NAME);
    out
}

const fn put(out: &mut [u8], at: usize, from: &[u8]) {
    let mut i = 0;
    while i < from.len() {
        out[at + i] = from[i];
        i += 1;
    }
}

/// Iterates over heirloom's notes in the bytes of a section or segment of notes.
///
/// Notes of other names, and of types that this version does not know, are stepped over. It ends after an error.
#[derive(Clone, Debug)]
pub struct Notes<'a> {
    section: &'a [u8],
    at: usize,
}

impl<'a> Notes<'a> {
    /// Starts at the first byte of a section or segment whose notes are aligned to 4 bytes.
    #[must_use]
    pub const fn new(section: &'a [u8]) -> Self {
        Self { section, at: 0 }
    }

    /// Reads the note at hand as (type, desc), with no type for a foreign one, and steps behind it.
    fn step(&mut self) -> Result<(Option<u32>, &'a [u8]), NoteError> {
        let (at, len) = (self.at, self.section.len());
        let read = || {
            let word = |offset| le::get_u32(self.section, at.checked_add(offset)?);
            let (name_bytes, desc_bytes) = (usize::try_from(word(0)?).ok()?, usize::try_from(word(4)?).ok()?);
            let note_type = word(8)?;
            let name_at = at + 12;
            let desc_at = name_at.checked_add(name_bytes.checked_next_multiple_of(4)?)?;
            let end = desc_at.checked_add(desc_bytes)?;
            let name = self.section.get(name_at..name_at + name_bytes)?;
            let desc = self.section.get(desc_at..end)?;
            Some(((name == NAME).then_some(note_type), desc, end.checked_next_multiple_of(4)?))
        };
        let (note_type, desc, end) = read().ok_or(NoteError::Truncated { at, len })?;
        self.at = end;
        Ok((note_type, desc))
    }
}

impl<'a> Iterator for Notes<'a> {
    type Item = Result<Note<'a>, NoteError>;

    fn next(&mut self) -> Option<Result<Note<'a>, NoteError>> {
        // Each step goes forward by 12 bytes at least.
        while self.at < self.section.len() {
            let at = self.at;
            let note = match self.step() {
                Ok((Some(TYPE_FORMAT), desc)) => read_format(at, desc),
                Ok((Some(TYPE_ROOT), desc)) => read_named(at, desc).map(|(name, ty)| Note::Root { name, ty }),
                Ok((Some(TYPE_RULES), desc)) => {
                    read_named(at, desc).map(|(name, form)| Note::Rules { name, form })
                }
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            if note.is_err() {
                self.at = self.section.len();
            }
            return Some(note);
        }
        None
    }
}

fn read_format(at: usize, desc: &[u8]) -> Result<Note<'_>, NoteError> {
    let word = |index: usize| le::get_u32(desc, index * 4).ok_or(NoteError::Format { at });
    let found = word(0)?;
    if found != u32::from(RECORD_VERSION) {
        return Err(NoteError::Version { at, found });
    }
    let format = Format { abi: word(1)?..=word(2)?, page_bytes: word(3)?, block: word(4)?..=word(5)? };
    let holds = desc.len() == FORMAT_BYTES && !format.abi.is_empty() && !format.block.is_empty();
    if holds { Ok(Note::Format(format)) } else { Err(NoteError::Format { at }) }
}

fn read_named(at: usize, desc: &[u8]) -> Result<(&str, &[u8]), NoteError> {
    let malformed = NoteError::RootName { at };
    let found = le::get_u16(desc, 0).ok_or(malformed)?;
    if found != RECORD_VERSION {
        return Err(NoteError::Version { at, found: u32::from(found) });
    }
    let name_bytes = usize::from(le::get_u16(desc, 2).ok_or(malformed)?);
    let rest = desc.get(4..).unwrap_or_default();
    let (name, ty) = rest.split_at_checked(name_bytes).ok_or(malformed)?;
    let name = check_root_name(name).ok_or(malformed)?;
    Ok((name, ty))
}

/// Returns the name of a root, if it is one.
pub(crate) fn check_root_name(name: &[u8]) -> Option<&str> {
    let name = core::str::from_utf8(name).ok()?;
    let fits = (1..=MAX_ROOT_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
    fits.then_some(name)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    const FORMAT: Format = Format { abi: 1..=3, page_bytes: 4096, block: 2..=2 };
    static FORMAT_NOTE: NoteBytes<FORMAT_NOTE_BYTES> = format_note(&FORMAT);
    static ROOT_NOTE: NoteBytes<{ root_note_len("sessions", 5) }> = root_note("sessions", b"type!");

    fn section() -> Vec<u8> {
        let foreign = b"\x04\0\0\0\x05\0\0\0\x03\0\0\0GNU\0abcde\0\0\0";
        [&foreign[..], FORMAT_NOTE.as_bytes(), foreign, ROOT_NOTE.as_bytes()].concat()
    }

    #[test]
    fn notes_are_read_back_between_foreign_ones() {
        let section = section();
        let notes: Result<Vec<_>, _> = Notes::new(&section).collect();
        let root = Note::Root { name: "sessions", ty: b"type!" };
        assert_eq!(notes, Ok(Vec::from([Note::Format(FORMAT), root])));
    }

    #[test]
    fn every_prefix_gives_an_error_or_fewer_notes() {
        let section = section();
        for len in 0..section.len() - 3 {
            let notes: Vec<_> = Notes::new(&section[..len]).collect();
            let whole = notes.iter().filter(|note| note.is_ok()).count();
            assert!(whole < 2 && notes.len() <= whole + 1, "{len} bytes: {notes:?}");
        }
    }

    #[test]
    fn a_length_near_the_end_of_memory_is_refused() {
        let mut bytes = *FORMAT_NOTE.as_bytes();
        bytes[..8].fill(0xff);
        let errors: Vec<_> = Notes::new(&bytes).collect();
        assert_eq!(errors, [Err(NoteError::Truncated { at: 0, len: FORMAT_NOTE_BYTES })]);
    }

    #[test]
    fn unknown_versions_and_empty_ranges_are_refused() {
        let with = |at: usize, byte: u8| {
            let mut bytes = *FORMAT_NOTE.as_bytes();
            bytes[at] = byte;
            Notes::new(&bytes).next().map(|note| note.map(|_| ()))
        };
        assert_eq!(with(HEAD_BYTES, 9), Some(Err(NoteError::Version { at: 0, found: 9 })));
        assert_eq!(with(HEAD_BYTES + 4, 4), Some(Err(NoteError::Format { at: 0 })));
        assert_eq!(with(8, 77), None, "a type from the future is stepped over");
    }

    #[test]
    fn a_root_with_a_malformed_name_is_refused() {
        let with = |at: usize, byte: u8| {
            let mut bytes = *ROOT_NOTE.as_bytes();
            bytes[at] = byte;
            Notes::new(&bytes).next().map(|note| note.map(|_| ()))
        };
        let refused = Some(Err(NoteError::RootName { at: 0 }));
        assert_eq!(with(HEAD_BYTES + 2, 0), refused);
        assert_eq!(with(HEAD_BYTES + 2, 200), refused);
        assert_eq!(with(HEAD_BYTES + 4, 0x1b), refused);
    }
}
