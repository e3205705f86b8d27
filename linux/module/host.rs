// SPDX-License-Identifier: GPL-2.0

//! KHO as the pool's host: blocks of 256 KiB, each preserved from the moment it is taken.
//!
//! KHO takes a mutex and allocates with `GFP_KERNEL`, so it can only be called where sleeping is allowed. The pool asks for blocks and
//! gives them back with interrupts off. Between the two stands a *reserve*:
//!
//! ```text
//!   KHO  --fill (may sleep)-->  reserve  --take (interrupts off)-->  pool
//!   KHO  <--spill (may sleep)-  reserve  <--give_back (zeroed)-----  pool
//! ```
//!
//! # Invariants
//!
//! - *zero*: a block in the reserve is all zeros but for its first word, the link.
//! - *marked*: a block in the reserve is preserved. At a freeze the reserve is empty: nothing is handed over that no table names.
//! - *one popper*: blocks are popped under the pool's lock, or, for `spill`, under [`Kho::popping`] too, so a block cannot be
//!   popped, used and pushed again between another popper's look and its exchange.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::*};

use heirloom_slab::{Fault, Host};
use kernel::prelude::*;

use crate::linux::{self, OnCpu};

/// log2 of a block's bytes.
///
/// A block of 64 units of a page has slabs of 8 pages. With 16 units (64 KiB) slabs have 4, the header spoils one of four places, and
/// 2,932 bytes take more of a block than a page each would.
pub(crate) const BLOCK_SHIFT: u32 = 18;

/// Bytes of a block.
pub(crate) const BLOCK_BYTES: u64 = 1 << BLOCK_SHIFT;

/// Blocks that stay in the reserve for callers that may not sleep.
const KEEP: u32 = 2;

/// The host.
pub(crate) struct Kho {
    /// Physical address of the first block in the reserve; 0: none.
    first: AtomicU64,
    /// Blocks in the reserve.
    nr: AtomicU32,
    /// Taken while somebody pops.
    popping: AtomicBool,
    /// Faults that were reported.
    nr_faults: AtomicU32,
    /// Blocks that `take` still gives before it fails, for tests; negative: no limit.
    left: AtomicI64,
}

impl Kho {
    pub(crate) const fn new() -> Self {
        Self {
            first: AtomicU64::new(0),
            nr: AtomicU32::new(0),
            popping: AtomicBool::new(false),
            nr_faults: AtomicU32::new(0),
            left: AtomicI64::new(-1),
        }
    }

    /// Fetches blocks from KHO until the reserve holds `nr`. Sleeps.
    pub(crate) fn fill(&self, nr: u32) -> bool {
        while self.nr.load(Relaxed) < nr {
            let Some(block) = linux::take_block() else { return false };
            self.push(block);
        }
        true
    }

    /// Fetches what callers that may not sleep should find, and gives KHO what is more. Sleeps.
    pub(crate) fn level(&self) {
        self.fill(KEEP);
        self.spill(KEEP);
    }

    /// Gives blocks back to KHO until the reserve holds no more than `nr`. Sleeps.
    pub(crate) fn spill(&self, nr: u32) {
        while self.nr.load(Relaxed) > nr {
            let popped = {
                let _on_cpu = OnCpu::enter();
                self.pop()
            };
            let Some(block) = popped else { break };
            // SAFETY: it was in the reserve and is in nobody's hands now.
            unsafe { linux::give_block(block) };
        }
    }

    /// Whether callers that may not sleep would find the reserve too empty, or it holds more than it should.
    pub(crate) fn wants_work(&self) -> bool {
        self.nr.load(Relaxed) != KEEP
    }

    /// Blocks in the reserve.
    pub(crate) fn nr_reserved(&self) -> u32 {
        self.nr.load(Relaxed)
    }

    /// Faults that were reported.
    pub(crate) fn nr_faults(&self) -> u32 {
        self.nr_faults.load(Relaxed)
    }

    /// Lets `nr` more blocks be taken and then none; negative: no limit. For tests of what happens when memory is short.
    pub(crate) fn limit(&self, nr: i64) {
        self.left.store(nr, Relaxed);
    }

    fn push(&self, block: u64) {
        let link = self.link(block);
        let mut first = self.first.load(Relaxed);
        loop {
            link.store(first, Relaxed);
            match self.first.compare_exchange_weak(first, block, Release, Relaxed) {
                Ok(_) => break,
                Err(now) => first = now,
            }
        }
        self.nr.fetch_add(1, Relaxed);
    }

    /// With interrupts off, so that nobody waits on a CPU that pops already.
    fn pop(&self) -> Option<u64> {
        while self.popping.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
            core::hint::spin_loop();
        }
        let mut first = self.first.load(Acquire);
        let popped = loop {
            if first == 0 {
                break None;
            }
            // Only we pop, so the first block stays in the list while we look: pushes come in front of it.
            let next = self.link(first).load(Relaxed);
            match self.first.compare_exchange_weak(first, next, Acquire, Acquire) {
                Ok(_) => break Some(first),
                Err(now) => first = now,
            }
        };
        self.popping.store(false, Release);
        let block = popped?;
        self.link(block).store(0, Relaxed);
        self.nr.fetch_sub(1, Relaxed);
        Some(block)
    }

    /// The first word of a block in the reserve.
    fn link(&self, block: u64) -> &AtomicU64 {
        // SAFETY: a block that we hold is memory for as long as it is in the reserve, aligned to its size.
        unsafe { &*linux::address(block).cast() }
    }
}

// SAFETY: offsets are physical addresses, and the direct map starts at `base` for as long as the kernel runs. Blocks come zeroed from KHO,
// which hands each page out once, or from the reserve, whose blocks are zeros; runs are not served. `adopt` says yes only to what KHO
// restored for us.
unsafe impl Host for Kho {
    fn base(&self) -> NonNull<u8> {
        linux::base()
    }

    fn take(&self, nr: u32) -> Option<u64> {
        if nr != 1 {
            return None;
        }
        let left = self.left.load(Relaxed);
        if left == 0 {
            return None;
        }
        let block = self.pop()?;
        if left > 0 {
            self.left.store(left - 1, Relaxed);
        }
        Some(block)
    }

    fn give_back(&self, offset: u64, _nr: u32) {
        // SAFETY: the pool has dropped it, so it is ours alone: a block of the direct map.
        unsafe { linux::address(offset).write_bytes(0, BLOCK_BYTES as usize) };
        self.push(offset);
    }

    fn give_back_clean(&self, offset: u64, head_bytes: u64) {
        // SAFETY: as above; beyond its head it is zero already.
        unsafe { linux::address(offset).write_bytes(0, head_bytes.min(BLOCK_BYTES) as usize) };
        self.push(offset);
    }

    fn adopt(&self, offset: u64, nr: u32) -> bool {
        nr == 1 && linux::claim_block(offset).is_ok()
    }

    fn report(&self, fault: Fault) {
        self.nr_faults.fetch_add(1, Relaxed);
        pr_err!("{}\n", core::format_args!("{fault}"));
    }
}
