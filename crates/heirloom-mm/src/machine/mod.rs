//! The machine: boots, allocates, hands over, jumps.
//!
//! | file | what |
//! | --- | --- |
//! | `boot` | the boot order, as one function |
//! | `objects` | `alloc`, `free`, named caches |
//! | `pages` | whole pages, ranges, areas |
//! | `handover` | preserve and unpreserve, subtrees, retrieve, restore, finish |
//! | `freeze` | freeze, thaw, the successor's place, the jump |
//! | `lock` | one lock for all of it |
//!
//! # Invariants (tested by [`Machine::check`])
//!
//! Those of `buddy`, `kfence`, `kho`, and of both pools.

mod boot;
mod freeze;
mod handover;
mod lock;
mod objects;
mod pages;

pub use boot::BootError;
pub use freeze::{FreezeError, Frozen};
pub use objects::{AllocError, FreeError};
pub use pages::PagesError;

use core::cell::{Cell, RefCell};
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;

use heirloom_abi::pool::{PoolError, Tally};
use heirloom_slab::Pool;

use crate::buddy::{self, BlockType};
use crate::ground::Ground;
use crate::kfence::GuardPool;
use crate::kho::{AuditError, HandoverTally, Incoming};
use crate::platform::Platform;
use crate::scratch::ScratchAreas;
use crate::slab::{BlockHost, CacheTable};
use freeze::Runs;

/// A machine that runs. All its methods may be called from any thread or CPU.
pub struct Machine<'m, P: Platform> {
    ground: &'m Ground<'m, P>,
    /// Taken for everything below, and for the ground.
    lock: AtomicU32,
    ordinary: Pool<BlockHost<'m, P>>,
    preserve: Option<PreservePool<'m, P>>,
    caches: RefCell<CacheTable>,
    incoming: RefCell<Incoming>,
    is_frozen: Cell<bool>,
    /// Where the successor's image was placed.
    placed: RefCell<Runs>,
}

/// The preserve pool and its control area.
struct PreservePool<'m, P: Platform> {
    pool: Pool<BlockHost<'m, P>>,
    control: u64,
    control_bytes: u64,
}

/// An invariant that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// In the buddy allocator.
    #[error(transparent)]
    Buddy(#[from] buddy::Broken),
    /// In the handover.
    #[error(transparent)]
    Handover(#[from] AuditError),
    /// In a pool.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// In the guard pool.
    #[error("guard pool: {what} (object page {index})")]
    Guard {
        /// What.
        what: &'static str,
        /// Where.
        index: usize,
    },
}

impl<'m, P: Platform> Machine<'m, P> {
    /// The platform.
    pub fn platform(&self) -> &'m P {
        self.ground.platform
    }

    /// Physical address of a virtual one.
    pub fn phys(&self, address: NonNull<u8>) -> u64 {
        self.ground.map.phys(address.as_ptr())
    }

    /// Virtual address of a physical one, of memory.
    pub fn address(&self, phys: u64) -> *mut u8 {
        self.ground.map.address(phys)
    }

    pub(crate) fn memory(&self) -> crate::phys::Memory {
        self.ground.map
    }

    /// The guard pool, if there is one.
    pub fn guard(&self) -> Option<GuardPool> {
        self.ground.guard
    }

    /// The scratch areas: the same in every generation.
    pub fn scratch(&self) -> &ScratchAreas {
        &self.ground.scratch
    }

    /// Frames and pages that the predecessor handed over; zeros after a cold boot.
    pub fn inherited(&self) -> (u64, u64) {
        let _guard = self.enter();
        let incoming = self.incoming.borrow();
        (incoming.nr_frames, incoming.nr_pages)
    }

    /// Pages that are marked to survive.
    pub fn nr_preserved_pages(&self) -> u64 {
        let _guard = self.enter();
        self.ground.outgoing.borrow().as_ref().map_or(0, |outgoing| outgoing.nr_preserved())
    }

    /// Free pages, those of scratch included.
    pub fn nr_free_pages(&self) -> u64 {
        let _guard = self.enter();
        let buddy = self.ground.buddy.borrow();
        buddy.nr_free_outside_scratch() + buddy.nr_free(BlockType::Scratch)
    }

    /// Misuses that a pool found on the way: a free of what is no object any more.
    pub fn nr_faults(&self) -> u64 {
        let _guard = self.enter();
        self.ground.nr_faults.get()
    }

    /// Sums the preserve pool up; with `scan` each free byte is read, and those that are not zero are counted. Zeros where there
    /// is no preserve pool.
    pub fn preserve_tally(&self, scan: bool) -> Tally {
        let _guard = self.enter();
        self.preserve.as_ref().map(|preserve| preserve.pool.check(scan, |_| {})).unwrap_or_default()
    }

    /// Sums the handover up, whatever lies where.
    ///
    /// # Errors
    ///
    /// [`AuditError`], but for what lies on unsafe ground, which is counted.
    pub fn handover_tally(&self) -> Result<HandoverTally, AuditError> {
        let _guard = self.enter();
        let outgoing = self.ground.outgoing.borrow();
        outgoing.as_ref().ok_or(AuditError::OutOfPages)?.audit(self.ground, |_| false)
    }

    /// Tests every invariant. Not while a thread of this machine is inside another call, for it waits for the lock.
    ///
    /// # Errors
    ///
    /// The first [`Broken`] found.
    pub fn check(&self) -> Result<(), Broken> {
        let _guard = self.enter();
        self.ground.buddy.borrow().check()?;
        if let Some(outgoing) = self.ground.outgoing.borrow().as_ref() {
            outgoing.audit(self.ground, |_| !self.ground.policy.unchecked)?;
        }
        if let Some(Err((what, index))) = self.ground.guard.map(|guard| guard.check()) {
            return Err(Broken::Guard { what, index });
        }
        let preserve = self.preserve.as_ref().map(|preserve| &preserve.pool);
        for pool in [Some(&self.ordinary), preserve].into_iter().flatten() {
            let mut first = None;
            pool.check(false, |broken| {
                first.get_or_insert(broken);
            });
            if let Some(broken) = first {
                return Err(broken.into());
            }
        }
        Ok(())
    }
}
