//! Subtrees: named blobs in preserved memory, and the root FDT that lists them.

use heirloom_abi::kho::fdt::FdtError;
use heirloom_abi::kho::root::{RootFdt, Subnode};

use crate::ground::UnsafeGround;
use crate::phys::{Memory, PAGE_BYTES};

/// Bytes that a subtree's name may have.
pub const MAX_NAME_BYTES: usize = 31;

/// Subtrees that are kept: more than a page of FDT has room for.
pub(super) const MAX_SUBTREES: usize = 80;

/// A named blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subtree {
    name: [u8; MAX_NAME_BYTES],
    name_len: u8,
    /// Physical address of the blob.
    pub data: u64,
    /// Its bytes.
    pub size_bytes: u64,
}

impl Subtree {
    /// Its name.
    pub fn name(&self) -> &str {
        let name = self.name.get(..usize::from(self.name_len));
        name.and_then(|name| core::str::from_utf8(name).ok()).unwrap_or("")
    }

    fn new(name: &str, data: u64, size_bytes: u64) -> Option<Self> {
        let mut padded = [0; MAX_NAME_BYTES];
        padded.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self { name: padded, name_len: name.len() as u8, data, size_bytes })
    }
}

/// A subtree was not added or taken out. The tree is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubtreeError {
    /// The name is too long.
    #[error("a subtree's name has at most {MAX_NAME_BYTES} bytes, not {len}")]
    Name {
        /// Its bytes.
        len: usize,
    },
    /// There is no such subtree.
    #[error("there is no such subtree")]
    NotFound,
    /// The blob lies in memory that was allocated without `Gfp::PRESERVE`.
    #[error("the object at {phys:#x} was allocated without Gfp::PRESERVE: allocate it with the flag")]
    AllocatedWithoutFlag {
        /// The blob's address.
        phys: u64,
    },
    /// The blob, or a part of it, is no allocated object and lies in no preserved page.
    #[error("{phys:#x} lies in no preserved page, and in no object allocated with Gfp::PRESERVE")]
    NotPreserved {
        /// The first address that does not.
        phys: u64,
    },
    /// The blob lies where the successor writes first.
    #[error(transparent)]
    UnsafeGround(#[from] UnsafeGround),
    /// The tree has no room, or the name cannot stand in one.
    #[error(transparent)]
    Tree(#[from] FdtError),
    /// The machine is frozen.
    #[error("the machine is frozen")]
    Frozen,
}

/// The table of subtrees.
pub(crate) struct Subtrees {
    entries: [Subtree; MAX_SUBTREES],
    nr: usize,
}

impl Subtrees {
    pub(crate) fn new() -> Self {
        Self { entries: [Subtree::default(); MAX_SUBTREES], nr: 0 }
    }

    /// Copies the subtrees of a predecessor's tree; `None` where they are too many or a name is too long.
    pub(super) fn read(root: &RootFdt<'_>) -> Option<Self> {
        let mut new = Self::new();
        for node in root.subnodes() {
            *new.entries.get_mut(new.nr)? = Subtree::new(node.name, node.data, node.size_bytes)?;
            new.nr += 1;
        }
        Some(new)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Subtree> {
        self.entries[..self.nr].iter()
    }

    pub(crate) fn find(&self, name: &str) -> Option<Subtree> {
        self.iter().find(|entry| entry.name() == name).copied()
    }

    /// Adds a subtree and writes the tree at `fdt` anew: its bytes.
    pub(super) fn add(
        &mut self,
        map: Memory,
        fdt: u64,
        root: u64,
        (name, data, size_bytes): (&str, u64, u64),
    ) -> Result<u64, SubtreeError> {
        let entry = Subtree::new(name, data, size_bytes).ok_or(SubtreeError::Name { len: name.len() })?;
        let full = FdtError::Full { needed: PAGE_BYTES as usize + 1, room: PAGE_BYTES as usize };
        *self.entries.get_mut(self.nr).ok_or(full)? = entry;
        self.nr += 1;
        self.write(map, fdt, root).inspect_err(|_| self.nr -= 1)
    }

    /// Takes a subtree out and writes the tree anew: its bytes.
    pub(super) fn remove(
        &mut self,
        map: Memory,
        fdt: u64,
        root: u64,
        name: &str,
    ) -> Result<u64, SubtreeError> {
        let at = self.iter().position(|entry| entry.name() == name).ok_or(SubtreeError::NotFound)?;
        self.entries.copy_within(at + 1..self.nr, at);
        self.nr -= 1;
        // A tree with less in it fits.
        self.write(map, fdt, root)
    }

    /// Writes the tree to the page at `fdt`: its bytes. Where it does not fit, the page is as it was.
    pub(super) fn write(&self, map: Memory, fdt: u64, root: u64) -> Result<u64, SubtreeError> {
        let mut page = [0; PAGE_BYTES as usize];
        let mut nodes = [Subnode { name: "", data: 0, size_bytes: 0 }; MAX_SUBTREES];
        for (node, entry) in nodes.iter_mut().zip(self.iter()) {
            *node = Subnode { name: entry.name(), data: entry.data, size_bytes: entry.size_bytes };
        }
        let size = RootFdt::write(&mut page, root, &nodes[..self.nr])?;
        map.write(fdt, &page);
        Ok(size as u64)
    }
}
