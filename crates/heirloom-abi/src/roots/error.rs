//! What can be wrong with a record.

use super::{MAX_BYTES, MIN_BYTES};
use crate::note::MAX_ROOT_NAME_BYTES;
use crate::types::TypesError;
/// Why a record cannot be read, or not be added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// The region is too small or too large.
    #[error("roots record of {found} bytes, expected {MIN_BYTES} to {MAX_BYTES}")]
    Region {
        /// The bytes of the region.
        found: usize,
    },
    /// The record does not start like one, or is of another version.
    #[error("roots record is not \"heirloom-roots-v1\", or of another version")]
    Compatible,
    /// The header does not agree with its checksum.
    #[error("roots header has checksum {recorded:#018x}, its bytes make {found:#018x}")]
    HeaderChecksum {
        /// What the header says.
        recorded: u64,
        /// What its bytes make.
        found: u64,
    },
    /// The header describes another layout than that of a region of this size.
    #[error("roots header does not describe a region of {region} bytes")]
    Layout {
        /// The bytes of the region.
        region: usize,
    },
    /// An entry has an unknown state.
    #[error("root {index} has unknown state {found:#04x}")]
    State {
        /// Which entry.
        index: usize,
        /// What stands there.
        found: u8,
    },
    /// An entry stands behind an empty one.
    #[error("root {index} stands behind an empty entry")]
    Gap {
        /// Which entry.
        index: usize,
    },
    /// An entry does not agree with its checksum.
    #[error("root {index} has checksum {recorded:#018x}, its bytes make {found:#018x}")]
    EntryChecksum {
        /// Which entry.
        index: usize,
        /// What the entry says.
        recorded: u64,
        /// What its bytes make.
        found: u64,
    },
    /// A name is empty, too long, or unprintable.
    #[error("root {index} has a name that is empty, longer than {MAX_ROOT_NAME_BYTES} bytes or unprintable")]
    Name {
        /// Which entry.
        index: usize,
    },
    /// Two entries have one name.
    #[error("roots {first} and {second} have the same name and serial")]
    Duplicate {
        /// The earlier entry.
        first: usize,
        /// The later entry.
        second: usize,
    },
    /// A description lies outside its area, or overlaps the one before.
    #[error("root {index} has its description at {offset} with {len} bytes, which is out of place")]
    Description {
        /// Which entry.
        index: usize,
        /// Where it starts.
        offset: u32,
        /// Its bytes.
        len: u32,
    },
    /// A description does not agree with its fingerprint.
    #[error("root {index} has fingerprint {recorded:#018x}, its description makes {found:#018x}")]
    Fingerprint {
        /// Which entry.
        index: usize,
        /// What the entry says.
        recorded: u64,
        /// What the description makes.
        found: u64,
    },
    /// A description is malformed.
    #[error("root {index}: {error}")]
    Type {
        /// Which entry.
        index: usize,
        /// How it is malformed.
        error: TypesError,
    },
    /// The object is not where, or not as large as, its type demands.
    #[error("root {index} has {bytes} bytes at {offset:#x}, its type has {size} aligned to {align}")]
    Object {
        /// Which entry.
        index: usize,
        /// Where the object lies.
        offset: u64,
        /// The bytes of the object.
        bytes: u64,
        /// The size of its type.
        size: u64,
        /// The alignment of its type.
        align: u64,
    },
    /// All entries are taken.
    #[error("all {nr} entries of the roots record are taken")]
    Full {
        /// How many there are.
        nr: usize,
    },
    /// There is no room for the description.
    #[error(
        "a type description of {wanted} bytes does not fit in the {left} that are left in the roots record"
    )]
    NoRoom {
        /// The bytes of the description.
        wanted: usize,
        /// What is left.
        left: usize,
    },
    /// There is no root of this index.
    #[error("there is no root {index}, only {nr}")]
    NoSuchRoot {
        /// Which was asked for.
        index: usize,
        /// How many there are.
        nr: usize,
    },
}
