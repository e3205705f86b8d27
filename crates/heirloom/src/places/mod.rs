//! Where the elements of a collection lie: for those who walk over memory without knowing its types, such as a migration or a tool.
//!
//! ```text
//! (name, version, type arguments, address)  --for_each_place-->  Block { address, size, align }      what the collection owns
//!                     ^ from a type description                  Element { argument, address }       what lies in it, live
//! ```
//!
//! The memory may be another generation's and is believed nothing: it is read through [`Memory`], which knows what there is, and a
//! collection that contradicts itself is a [`Misplaced`] error. How far a walk goes is bounded by the memory that there is, for every element lies in a
//! block that has been asked for; elements without bytes are not visited.
//!
//! `linear` has what lies side by side, `hashed` the swiss tables, `tree` the B-tree. The collections' own modules have the pictures.

mod hashed;
mod linear;
mod tree;

use std::fmt;

/// Memory to read from.
pub trait Memory {
    /// Returns whether all of these bytes are there.
    fn holds(&self, address: u64, len: u64) -> bool;

    /// Reads bytes; false if they are not there.
    fn read(&self, address: u64, bytes: &mut [u8]) -> bool;
}

/// Size and alignment of a type argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// In bytes.
    pub size: u64,
    /// A power of two.
    pub align: u64,
}

/// What a walk comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A block that the collection owns (a shared pointer: together with others, and each of them names it). It comes before its elements.
    Block {
        /// Of its first byte.
        address: u64,
        /// The size it was allocated with.
        size: u64,
        /// The alignment it was allocated with.
        align: u64,
    },
    /// A live value.
    Element {
        /// Of which type argument.
        argument: usize,
        /// Of its first byte.
        address: u64,
    },
}

/// A collection that cannot be walked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misplaced {
    /// No collection of this name, version and number of arguments is known.
    Unknown,
    /// The bytes are not there.
    Outside {
        /// Of the first one.
        address: u64,
        /// How many.
        len: u64,
    },
    /// The collection contradicts itself.
    Wrong {
        /// Of the collection, or of the node or block at fault.
        address: u64,
        /// What does not hold.
        what: &'static str,
    },
}

impl fmt::Display for Misplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unknown => write!(f, "no such collection is known"),
            Self::Outside { address, len } => {
                write!(f, "the {len} bytes at {address:#x} lie outside of the heap")
            }
            Self::Wrong { address, what } => write!(f, "at {address:#x}: {what}"),
        }
    }
}

impl std::error::Error for Misplaced {}

/// Visits the blocks and elements of the collection at `address`, as its type description calls it.
///
/// Bytes are no elements of text and byte strings: their block alone is visited, and an inline one has none.
///
/// # Errors
///
/// [`Misplaced`]; what has been visited until then was right.
pub fn for_each_place(
    (name, version): (&str, u32),
    arguments: &[Argument],
    address: u64,
    memory: &impl Memory,
    mut visit: impl FnMut(Place),
) -> Result<(), Misplaced> {
    if arguments.iter().any(|argument| !argument.align.is_power_of_two()) {
        return Err(Misplaced::Unknown);
    }
    let nothing = Argument { size: 0, align: 1 };
    let byte = Argument { size: 1, align: 1 };
    let mut walk = Walk { memory, visit: &mut visit };
    match (name, version, arguments) {
        ("Box", 1, &[value]) => walk.boxed(address, value),
        ("Vec", 1, &[value]) => walk.vec(address, value, true),
        ("String", 1, &[]) => walk.vec(address, byte, false),
        ("ByteString", 1, &[]) | ("String", 2, &[]) => walk.byte_string(address),
        ("BoxStr", 1, &[]) => walk.slice(address, byte, false),
        ("BoxSlice", 1, &[value]) => walk.slice(address, value, true),
        ("VecDeque", 2, &[value]) => walk.vec_deque(address, value),
        ("Rc" | "Arc" | "RcWeak" | "ArcWeak", 1, &[value]) => walk.shared(address, value),
        ("HashMap", 1, &[key, value]) => walk.table(address, key, value),
        ("HashSet", 1, &[value]) => walk.table(address, value, nothing),
        ("BTreeMap", 1, &[key, value]) => walk.tree(address, key, value),
        ("BTreeSet", 1, &[value]) => walk.tree(address, value, nothing),
        ("Interner", 1, &[]) => walk.interner(address),
        _ => Err(Misplaced::Unknown),
    }
}

/// A walk over one collection.
struct Walk<'a, M, F> {
    memory: &'a M,
    visit: &'a mut F,
}

impl<M: Memory, F: FnMut(Place)> Walk<'_, M, F> {
    fn word(&self, address: u64, offset: u64) -> Result<u64, Misplaced> {
        let mut bytes = [0; 8];
        self.read(address, offset, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn read(&self, address: u64, offset: u64, bytes: &mut [u8]) -> Result<(), Misplaced> {
        let outside = Misplaced::Outside { address: address.saturating_add(offset), len: bytes.len() as u64 };
        let at = address.checked_add(offset).ok_or(outside)?;
        if self.memory.read(at, bytes) { Ok(()) } else { Err(outside) }
    }

    /// Visits a block, which must be there and aligned.
    fn block(&mut self, address: u64, size: Option<u64>, align: u64) -> Result<(), Misplaced> {
        let size = size.ok_or(Misplaced::Wrong { address, what: "the block exceeds any memory" })?;
        ensure(address.is_multiple_of(align), address, "the block is not aligned")?;
        if !self.memory.holds(address, size) {
            return Err(Misplaced::Outside { address, len: size });
        }
        (self.visit)(Place::Block { address, size, align });
        Ok(())
    }

    /// Visits values side by side, within a block that has been visited.
    fn elements(&mut self, argument: usize, start: u64, stride: u64, count: u64) {
        for index in 0..count {
            (self.visit)(Place::Element { argument, address: start + index * stride });
        }
    }
}

fn ensure(holds: bool, address: u64, what: &'static str) -> Result<(), Misplaced> {
    if holds { Ok(()) } else { Err(Misplaced::Wrong { address, what }) }
}

#[cfg(all(test, not(miri)))]
mod tests;
