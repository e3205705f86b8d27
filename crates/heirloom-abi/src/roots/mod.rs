//! The `heirloom-roots` record: the named, typed objects from which everything else in a heap is reached.
//!
//! It stands in the heap itself and is added to while the program runs; the caller gives it a region of fixed size.
//!
//! ```text
//! 0         RootsHeader        identity: written once, with its own checksum
//! 64        RootEntry x n      one for each root, in the order of their creation; the first empty one ends the list
//! 64+128n   descriptions       the byte forms of their types (`types`), one after the other
//! ```
//!
//! # The order of writing
//!
//! A process can be killed at any instruction. [`add`] therefore writes, with a release fence between the steps:
//!
//! 1. the description, behind the last one: no entry refers to it yet,
//! 2. the entry, checksum and all, but with its state still [`EMPTY`]: a reader stops in front of it,
//! 3. the state, **one byte**: before it, a reader sees the old record, after it, the new one.
//!
//! No count and no length is stored, as each would be a second thing to keep true: both follow from the entries. What an
//! interrupted call leaves lies in an empty or retired entry and where no description is, and the next call
//! writes over it. A state can change later, again by one byte, so the checksum leaves it out.
//!
//! # A root that changes its type
//!
//! ```text
//! [sessions, serial 0]                              the old object, of the old type
//! [sessions, serial 0] [sessions, serial 1]         supersede: one store, and the new object is the root's
//! [retired           ] [sessions, serial 1]         retire: when nobody can want the old one back
//! ```
//!
//! Of the entries of one name the one with the highest serial counts. To retire that one instead takes the change back. A retired
//! entry is room for another; nothing in it is read.
//!
//! Several roots may share what changes, so they change together: their new entries are a [`Batch`], each of which says how many it has. As
//! long as there are fewer none of them counts, and the last one's store is that of all. Later some may be retired again; an entry that has no
//! older one of its name counts in any case. Who retires what was superseded begins with the oldest batch ([`Root::batch`]).
//!
//! # Invariants (tested by [`Roots::read`])
//!
//! - *dense*: behind the first empty entry all are empty.
//! - *whole*: every entry agrees with its checksum, every description with its fingerprint and with the object's size.
//! - *together*: of a batch all entries count, or those alone that have none before them.
//! - *apart*: no two entries have one name and one serial, and descriptions do not overlap.

mod error;
mod layout;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use error::RootsError;
pub use layout::{RootEntry, RootsHeader, head_bytes, used_bytes};
pub use read::Roots;
pub use write::{add, init, new_batch, retire, set_state, supersede};
/// The first bytes of the record: what it is, and its version.
pub const COMPATIBLE: [u8; 24] = *b"heirloom-roots-v1\0\0\0\0\0\0\0";

/// The smallest region that a record fits in.
pub const MIN_BYTES: usize = 4 * 1024;

/// The largest region that a record may have: names are compared pair by pair.
pub const MAX_BYTES: usize = 1024 * 1024;

/// The state of an entry that holds no root.
pub const EMPTY: u8 = 0;

/// The state of an entry that held a root.
pub const RETIRED: u8 = 0x72;
/// What is known of a root's object.
///
/// The bytes are far apart, so that a flipped bit makes an unknown state and not another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RootState {
    /// It is whole.
    Live = 0x4c,
    /// A generation died while it changed what this root reaches.
    Poisoned = 0xb1,
}

/// A root to be added.
#[derive(Clone, Copy, Debug)]
pub struct NewRoot<'a> {
    /// Its name: 1 to 63 bytes, no control characters.
    pub name: &'a str,
    /// Where the object lies, from the start of the heap.
    pub object_offset: u64,
    /// The byte form of its type, which also says the size.
    pub ty: &'a [u8],
    /// The generation that creates it.
    pub generation: u32,
}

/// A root as it stands in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root<'a> {
    /// Its index, for [`set_state`].
    pub index: usize,
    /// What is known of the object.
    pub state: RootState,
    /// Its name.
    pub name: &'a str,
    /// Where the object lies, from the start of the heap.
    pub object_offset: u64,
    /// The bytes of the object.
    pub object_bytes: u64,
    /// The fingerprint of its type.
    pub fingerprint: u64,
    /// The byte form of its type, validated.
    pub ty: &'a [u8],
    /// The generation that created it.
    pub generation: u32,
    /// How often it has changed its type.
    pub serial: u64,
    /// With which others it did.
    pub batch: Batch,
}

/// Roots that change their types together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Batch {
    /// Higher than those of all batches before that are in the record; 0 for none.
    pub id: u32,
    /// How many roots; 0 or 1 for one that changes alone.
    pub nr_roots: u32,
}

impl Batch {
    /// A root that changes alone.
    pub const ALONE: Self = Self { id: 0, nr_roots: 0 };
}
