//! The formats that a handover consists of, as a kernel says in its ELF file that it reads them.
//!
//! ```text
//! notes in a PT_NOTE segment, 32 bytes each
//! | 9 | 8 | 3 | "Heirloom\0" + 3 | "kho-v4\0\0" |     the handover tree and the preserved-memory map
//! | 9 | 8 | 3 | "Heirloom\0" + 3 | "HLBLOCK1"   |     the blocks of the preserve pool
//! ```
//!
//! A predecessor looks for them before it jumps (`image`): after the jump it would be too late to find out that the successor
//! cannot read what it was left. Linux finds out then, and boots as if nothing had been handed over.

use heirloom_abi::kho::root::COMPATIBLE;
use heirloom_abi::note;
use heirloom_abi::pool::BLOCK_MAGIC;

/// The type of a note that names one format which the kernel reads.
pub const TYPE_READS: u32 = 3;

/// The names of the formats of this kernel's handover, padded with NULs.
pub const HANDED_OVER: [[u8; NAME_BYTES]; 2] = [padded(COMPATIBLE.as_bytes()), BLOCK_MAGIC.to_le_bytes()];

/// The bytes of a format's name.
pub const NAME_BYTES: usize = 8;

/// The bytes of one note.
pub const NOTE_BYTES: usize = note::HEAD_BYTES + NAME_BYTES;

/// The notes, aligned as notes are.
#[repr(C, align(4))]
pub struct Notes(pub [[u8; NOTE_BYTES]; HANDED_OVER.len()]);

/// What this kernel says of itself: it reads what it hands over.
pub const NOTES: Notes = Notes([note_of(HANDED_OVER[0]), note_of(HANDED_OVER[1])]);

const _: () = assert!(NOTE_BYTES == 32 && size_of::<Notes>() == 2 * NOTE_BYTES);

const fn note_of(name: [u8; NAME_BYTES]) -> [u8; NOTE_BYTES] {
    let mut bytes = [0; NOTE_BYTES];
    let words = [note::NAME.len() as u32, NAME_BYTES as u32, TYPE_READS];
    let mut at = 0;
    while at < 12 {
        bytes[at] = words[at / 4].to_le_bytes()[at % 4];
        at += 1;
    }
    while at < 12 + note::NAME.len() {
        bytes[at] = note::NAME[at - 12];
        at += 1;
    }
    at = note::HEAD_BYTES;
    while at < NOTE_BYTES {
        bytes[at] = name[at - note::HEAD_BYTES];
        at += 1;
    }
    bytes
}

const fn padded(name: &[u8]) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    let mut at = 0;
    while at < name.len() {
        bytes[at] = name[at];
        at += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notes_have_the_bytes_of_the_description() {
        assert_eq!(&NOTES.0[0], b"\x09\0\0\0\x08\0\0\0\x03\0\0\0Heirloom\0\0\0\0kho-v4\0\0");
        assert_eq!(&NOTES.0[1], b"\x09\0\0\0\x08\0\0\0\x03\0\0\0Heirloom\0\0\0\0HLBLOCK1");
    }
}
