//! Where the pools' blocks come from: the buddy allocator, and for preserved ones the map as well.
#![expect(unsafe_code, reason = "the host's promises are about memory")]

use core::ptr::NonNull;

use heirloom_abi::pool::{Geometry, GeometryError};
use heirloom_slab::{Fault, Host};

use crate::buddy::{BlockType, Owner, Request, order_for};
use crate::ground::Ground;
use crate::kho::claim_folio;
use crate::phys::PAGE_BYTES;
use crate::platform::Platform;

/// Order of a pool's block: 64 KiB.
pub(crate) const BLOCK_ORDER: u32 = 4;

/// Bytes of a pool's block.
pub(crate) const BLOCK_BYTES: u64 = PAGE_BYTES << BLOCK_ORDER;

/// Caches that a pool can hold.
const MAX_CACHES: u32 = 96;

/// The layout of a machine's pools. One CPU slot, for the machine's lock lets one caller in at a time.
pub(crate) fn geometry(max_blocks: u32) -> Result<Geometry, GeometryError> {
    Geometry::new(BLOCK_BYTES.trailing_zeros(), MAX_CACHES, 1, max_blocks)
}

/// The host of one of the two pools.
pub(crate) struct BlockHost<'m, P: Platform> {
    pub(crate) ground: &'m Ground<'m, P>,
    pub(crate) owner: Owner,
}

impl<P: Platform> BlockHost<'_, P> {
    fn is_preserving(&self) -> bool {
        self.owner == Owner::PreservePool
    }
}

// SAFETY: offsets are physical addresses, and the direct map starts at `base` for as long as the platform is borrowed; blocks come
// zeroed from the buddy allocator, which hands each page out once; `adopt` claims only frames that were inherited as such.
unsafe impl<P: Platform> Host for BlockHost<'_, P> {
    fn base(&self) -> NonNull<u8> {
        self.ground.map.base()
    }

    fn take(&self, nr: u32) -> Option<u64> {
        let bytes = u64::from(nr).checked_mul(BLOCK_BYTES)?;
        let kind = if self.is_preserving() { BlockType::Preserved } else { BlockType::Kernel };
        let urgent = self.ground.is_urgent.get();
        let mut buddy = self.ground.buddy.borrow_mut();
        let order = order_for(bytes)?;
        let phys = buddy.alloc(Request { order, kind, node: None, urgent })?;
        buddy.split(phys, BLOCK_ORDER);
        let (end, all) = (phys + bytes, phys + (PAGE_BYTES << order));
        for rest in (end..all).step_by(BLOCK_BYTES as usize) {
            // A part of the block that was taken just now.
            let _ = buddy.free(rest, BLOCK_ORDER);
        }
        for block in (phys..end).step_by(BLOCK_BYTES as usize) {
            buddy.set_owner(block, self.owner);
        }
        if self.is_preserving() {
            let mut outgoing = self.ground.outgoing.borrow_mut();
            let mut marked = phys;
            let whole = outgoing.as_mut().is_some_and(|outgoing| {
                (phys..end).step_by(BLOCK_BYTES as usize).all(|block| {
                    let range = block..block + BLOCK_BYTES;
                    let done = outgoing.preserve_range(self.ground, &mut buddy, &range, self.owner).is_ok();
                    marked = if done { range.end } else { marked };
                    done
                })
            });
            if !whole {
                for block in (phys..end).step_by(BLOCK_BYTES as usize) {
                    if let Some(outgoing) = outgoing.as_mut().filter(|_| block < marked) {
                        let _ =
                            outgoing.unpreserve_range(self.ground, &mut buddy, &(block..block + BLOCK_BYTES));
                    }
                    let _ = buddy.free(block, BLOCK_ORDER);
                }
                return None;
            }
        }
        self.ground.map.zero(phys, bytes);
        Some(phys)
    }

    fn give_back(&self, offset: u64, nr: u32) {
        let mut buddy = self.ground.buddy.borrow_mut();
        for block in (0..u64::from(nr)).map(|at| offset + at * BLOCK_BYTES) {
            let range = block..block + BLOCK_BYTES;
            if self.is_preserving() {
                let mut outgoing = self.ground.outgoing.borrow_mut();
                let unmarked = outgoing.as_mut().is_some_and(|outgoing| {
                    outgoing.unpreserve_range(self.ground, &mut buddy, &range).is_ok()
                });
                if !unmarked {
                    // Still in the map (a subtree's blob lies there): it stays a preserved block of nobody's.
                    continue;
                }
            }
            let _ = buddy.free(block, BLOCK_ORDER);
        }
    }

    fn adopt(&self, offset: u64, nr: u32) -> bool {
        let mut buddy = self.ground.buddy.borrow_mut();
        let mut outgoing = self.ground.outgoing.borrow_mut();
        let Some(outgoing) = outgoing.as_mut().filter(|_| self.is_preserving()) else { return false };
        (0..u64::from(nr)).all(|at| {
            let Some(block) = at.checked_mul(BLOCK_BYTES).and_then(|at| offset.checked_add(at)) else {
                return false;
            };
            if claim_folio(&mut buddy, block) != Ok(BLOCK_ORDER) {
                return false;
            }
            buddy.set_owner(block, self.owner);
            let range = block..block + BLOCK_BYTES;
            outgoing.preserve_range(self.ground, &mut buddy, &range, self.owner).is_ok()
        })
    }

    fn pause(&self) {
        self.ground.platform.pause();
    }

    fn report(&self, fault: Fault) {
        self.ground.nr_faults.set(self.ground.nr_faults.get() + 1);
        self.ground.last_fault.set(Some(fault));
    }
}
