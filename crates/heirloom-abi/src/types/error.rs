//! What can be wrong with a byte form.

use super::{FORM_MAGIC, FORM_VERSION, MAX_BYTES, MAX_DEPTH};

/// Why bytes are not the byte form of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypesError {
    /// The bytes do not start like a byte form.
    #[error("type description starts with {found:02x?}, expected {FORM_MAGIC:02x?}")]
    Magic {
        /// What stands there.
        found: [u8; 2],
    },
    /// The byte form is of a version that this reader does not know.
    #[error(
        "type description has version {found}, this binary reads 1 to {FORM_VERSION}, and the lowest that will do"
    )]
    Version {
        /// What stands there.
        found: u16,
    },
    /// The bytes end within something.
    #[error("type description ends early: {wanted} bytes wanted at offset {at} of {len}")]
    Truncated {
        /// Where in the bytes.
        at: usize,
        /// How many bytes were to be read.
        wanted: usize,
        /// How many there are in all.
        len: usize,
    },
    /// The bytes go on after the type.
    #[error("type description goes on for {nr} bytes after its end at offset {at}")]
    Trailing {
        /// Where the type ends.
        at: usize,
        /// How many bytes follow.
        nr: usize,
    },
    /// There are too many bytes.
    #[error("type description has {len} bytes, more than {MAX_BYTES}")]
    TooLong {
        /// How many there are.
        len: usize,
    },
    /// Types are nested too deeply.
    #[error("type description is nested deeper than {MAX_DEPTH} levels at offset {at}")]
    TooDeep {
        /// Where in the bytes.
        at: usize,
    },
    /// A kind is unknown.
    #[error("type description has unknown kind {found} at offset {at}")]
    Kind {
        /// Where in the bytes.
        at: usize,
        /// What stands there.
        found: u8,
    },
    /// A name is empty, not UTF-8, or has control characters.
    #[error("type description has an empty or unprintable name at offset {at}")]
    Name {
        /// Where in the bytes.
        at: usize,
    },
    /// An alignment is too large, or the size is no multiple of it.
    #[error("type description has size {size} with alignment 2^{align_log2} at offset {at}")]
    Align {
        /// Where in the bytes.
        at: usize,
        /// The size, in bytes.
        size: u64,
        /// The alignment, as a power of two.
        align_log2: u8,
    },
    /// A field or the elements of an array reach beyond the type that holds them.
    #[error("type description has {inner} bytes at {offset} inside a type of {size} bytes, at offset {at}")]
    Outside {
        /// Where in the bytes.
        at: usize,
        /// Where the inner type starts within the outer.
        offset: u64,
        /// The size of the inner type, or of all elements.
        inner: u64,
        /// The size of the outer type.
        size: u64,
    },
    /// A recursive part names no struct around it, or one that it would be inside of without a collection between.
    #[error(
        "type description has a recursive part at offset {at} that no struct of its name and size encloses through \
         a collection"
    )]
    Recursive {
        /// Where in the bytes.
        at: usize,
    },
}
