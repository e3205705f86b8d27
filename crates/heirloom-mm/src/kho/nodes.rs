//! The pages that the map's nodes are, of this generation and of the one before.

use core::cell::Cell;

use heirloom_abi::kho::radix::{NODE_WORDS, Pages, PagesMut};

use crate::buddy::{BlockType, Buddy, Owner, Request};
use crate::ground::{Ground, UnsafeGround, What};
use crate::memblock::Memblock;
use crate::phys::{Memory, PAGE_BYTES};
use crate::platform::Platform;
use crate::scratch::ScratchAreas;

/// Pages for the nodes of our own map.
pub(crate) struct OwnNodes<'g, 'm, P: Platform> {
    pub(crate) ground: &'g Ground<'m, P>,
    pub(crate) buddy: &'g mut Buddy<'m>,
    /// Nodes that were taken.
    pub(crate) nr_taken: u64,
    /// Why the last page for a node was refused, where it was not for want of memory.
    pub(crate) refused: Option<UnsafeGround>,
}

impl<'g, 'm, P: Platform> OwnNodes<'g, 'm, P> {
    pub(crate) fn new(ground: &'g Ground<'m, P>, buddy: &'g mut Buddy<'m>) -> Self {
        Self { ground, buddy, nr_taken: 0, refused: None }
    }
}

impl<P: Platform> Pages for OwnNodes<'_, '_, P> {
    fn load(&self, phys: u64, index: usize) -> Option<u64> {
        let inside = phys % PAGE_BYTES == 0
            && index < NODE_WORDS
            && self.buddy.is_memory(&(phys..phys.checked_add(PAGE_BYTES)?));
        inside.then(|| u64::from_le(self.ground.map.load(phys + 8 * index as u64)))
    }
}

impl<P: Platform> PagesMut for OwnNodes<'_, '_, P> {
    fn store(&mut self, phys: u64, index: usize, value: u64) -> Option<()> {
        self.load(phys, index)?;
        self.ground.map.store(phys + 8 * index as u64, value.to_le());
        Some(())
    }

    fn allocate(&mut self) -> Option<u64> {
        let urgent = self.ground.is_urgent.get();
        let request = Request { order: 0, kind: BlockType::Kernel, node: None, urgent };
        let page = self.buddy.alloc(request)?;
        if let Err(refused) = self.ground.check_safe(What::MapNode, &(page..page + PAGE_BYTES)) {
            self.refused = Some(refused);
            // It came from here just now.
            let _ = self.buddy.free(page, 0);
            return None;
        }
        self.buddy.set_owner(page, Owner::Handover);
        self.ground.map.zero(page, PAGE_BYTES);
        self.nr_taken += 1;
        Some(page)
    }
}

/// The nodes that a predecessor left, read before anything is believed.
pub(crate) struct ForeignNodes<'b> {
    pub(crate) memblock: &'b Memblock,
    pub(crate) map: Memory,
    pub(crate) scratch: ScratchAreas,
    /// Nodes in scratch are read all the same, as Linux does.
    pub(crate) unchecked: bool,
    /// The last node that was found in memory: a leaf is read 512 times.
    last: Cell<u64>,
}

impl<'b> ForeignNodes<'b> {
    pub(crate) fn new(memblock: &'b Memblock, map: Memory, scratch: ScratchAreas, unchecked: bool) -> Self {
        Self { memblock, map, scratch, unchecked, last: Cell::new(u64::MAX) }
    }

    /// True where a node may lie: memory, not scratch, not taken by this boot.
    fn may_hold(&self, phys: u64) -> bool {
        let Some(end) = phys.checked_add(PAGE_BYTES) else { return false };
        let page = phys..end;
        phys % PAGE_BYTES == 0
            && self.memblock.is_memory(&page)
            && (self.unchecked || !self.scratch.overlaps(&page) && !self.memblock.is_reserved(&page))
    }
}

impl Pages for ForeignNodes<'_> {
    fn load(&self, phys: u64, index: usize) -> Option<u64> {
        if index >= NODE_WORDS {
            return None;
        }
        if self.last.get() != phys {
            if !self.may_hold(phys) {
                return None;
            }
            self.last.set(phys);
        }
        Some(u64::from_le(self.map.load(phys + 8 * index as u64)))
    }
}

/// The predecessor's nodes once they were validated and reserved.
pub(crate) struct KnownNodes(pub(crate) Memory);

impl Pages for KnownNodes {
    fn load(&self, phys: u64, index: usize) -> Option<u64> {
        Some(u64::from_le(self.0.load(phys + 8 * index as u64)))
    }
}
