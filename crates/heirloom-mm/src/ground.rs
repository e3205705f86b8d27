//! The ground that everything else of a running machine stands on: the platform, the page allocator, the handover under way.
//!
//! It lies in memory that memblock gave, at an address that never changes, because the pools' hosts refer to it for as long as the
//! machine runs. All of it is reached under the machine's lock, but for the guard pool, whose records are atomics.

use core::cell::{Cell, RefCell};
use core::ops::Range;

use crate::boot_info::Policy;
use crate::buddy::Buddy;
use crate::kfence::GuardPool;
use crate::kho::Outgoing;
use crate::phys::Memory;
use crate::platform::Platform;
use crate::scratch::ScratchAreas;

/// The ground.
pub(crate) struct Ground<'m, P: Platform> {
    pub(crate) platform: &'m P,
    pub(crate) map: Memory,
    pub(crate) buddy: RefCell<Buddy<'m>>,
    /// What goes to the successor; `None` until the map has its root.
    pub(crate) outgoing: RefCell<Option<Outgoing>>,
    pub(crate) scratch: ScratchAreas,
    pub(crate) guard: Option<GuardPool>,
    pub(crate) policy: Policy,
    /// The request under way cannot wait.
    pub(crate) is_urgent: Cell<bool>,
    /// Misuses that a pool found on the way, and the last of them.
    pub(crate) nr_faults: Cell<u64>,
    pub(crate) last_fault: Cell<Option<heirloom_slab::Fault>>,
}

/// What was to be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Preserved pages.
    Pages,
    /// The root of the preserved-memory map.
    MapRoot,
    /// Another node of it.
    MapNode,
    /// The root FDT.
    Tree,
    /// The list of scratch areas.
    ScratchList,
}

impl core::fmt::Display for What {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Pages => "preserved pages",
            Self::MapRoot => "the map's root",
            Self::MapNode => "a node of the map",
            Self::Tree => "the handover tree",
            Self::ScratchList => "the list of scratch areas",
        })
    }
}

/// Something of the handover lies where the successor writes before it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsafeGround {
    /// In scratch.
    #[error("{what} at {phys:#x} lies in the scratch area {start:#x}..{end:#x}")]
    Scratch {
        /// What.
        what: What,
        /// Where it starts.
        phys: u64,
        /// Start of the area.
        start: u64,
        /// Its end.
        end: u64,
    },
    /// In the guard pool.
    #[error("{what} at {phys:#x} lies in the guard pool")]
    GuardPool {
        /// What.
        what: What,
        /// Where it starts.
        phys: u64,
    },
}

impl<P: Platform> Ground<'_, P> {
    /// The production check: refuses what lies in scratch or in the guard pool.
    ///
    /// # Errors
    ///
    /// [`UnsafeGround`], unless the policy switches the check off.
    pub(crate) fn check_safe(&self, what: What, range: &Range<u64>) -> Result<(), UnsafeGround> {
        if self.policy.unchecked {
            return Ok(());
        }
        self.judge_safe(what, range)
    }

    /// The same, whatever the policy says.
    pub(crate) fn judge_safe(&self, what: What, range: &Range<u64>) -> Result<(), UnsafeGround> {
        let phys = range.start;
        if let Some(area) = self.scratch.find_overlap(range) {
            return Err(UnsafeGround::Scratch { what, phys, start: area.start, end: area.end });
        }
        let guard = self.guard.map(|guard| guard.range()).unwrap_or_default();
        if guard.start < range.end && range.start < guard.end {
            return Err(UnsafeGround::GuardPool { what, phys });
        }
        Ok(())
    }
}
