//! Large objects: a run of units of one block, or, larger than a block, a run of blocks with one header.
//!
//! ```text
//! grows, in units     | object | tail || tail | tail | free |       map of free units, tails, then the head's count of units
//! grows, in blocks    | header | object ....  || next | next |      the host's, the entry's run, then the bytes of both records
//! ```
//!
//! An object grows where it is while what lies behind it is free: nothing is copied, and its pages stay. Each step takes
//! memory before the object's own record says so. Cut in between, units that no record covers are free again, and blocks
//! that no entry covers are the host's again; blocks that the entry got and the object did not are room that it may grow into.
//!
//! Under [`Scrub::OnFree`] a large object is zeroed when it is freed. Under [`Scrub::AtFreeze`] its units are dirty then, and its
//! blocks go back to the host as they are: whoever wants zeros, and the freeze, cleans them. What lies behind an object's last
//! byte is zero always.

use heirloom_abi::pool::{
    BLOCK_KIND_HUGE, BLOCK_KIND_SLABS, SLAB_KIND_FREE, SLAB_KIND_LARGE, SLAB_KIND_TAIL,
};

use super::blocks::span;
use super::records::Block;
use super::{OutOfMemory, Pool, Scrub};
use crate::host::{Fault, Host};
use crate::knobs::window;
use crate::slab::Slab;
use crate::sync::Ordering::*;
use crate::sync::commit;

/// What a new large object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Zeros.
    Zeroed,
    /// Anything, under [`Scrub::AtFreeze`]: zeros, or what an object held that was here before.
    Any,
}

impl<H: Host> Pool<H> {
    /// Allocates `bytes` (0 is served as 1) as a large object: its offset, aligned to a unit.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`].
    pub fn alloc_large(&self, bytes: u64, contents: Contents) -> Result<u64, OutOfMemory> {
        let bytes = bytes.max(1);
        let out = OutOfMemory { bytes };
        let (unit_shift, header_units) = (self.geometry.unit_shift, self.geometry.header_units());
        let usable = u64::from(self.geometry.units() - header_units) << unit_shift;
        if bytes > usable {
            let header = u64::from(header_units) << unit_shift;
            let run = bytes.checked_add(header).ok_or(out)?.div_ceil(self.geometry.block_bytes());
            let run = u32::try_from(run).map_err(|_| out)?;
            // What the pool itself keeps empty comes first where the host has nothing left.
            let index = self
                .take_huge(run, bytes, contents)
                .or_else(|| if self.release_idle(None) { self.take_huge(run, bytes, contents) } else { None })
                .ok_or(out)?;
            let block = self.arena.blocks()[index].offset.load(Relaxed);
            let units = self.geometry.units() - header_units;
            self.write_large(block, header_units, units, bytes);
            return Ok(block + header);
        }
        let units = bytes.div_ceil(self.geometry.unit_bytes()) as u32;
        loop {
            if let Some((index, unit)) = self.take_any_units(units) {
                self.prepare(index, unit, unit, units, bytes, contents);
                let block = self.arena.blocks()[index].offset.load(Relaxed);
                self.write_tails(block, unit, units);
                self.write_large(block, unit, units, bytes);
                if self.scrub == Scrub::AtFreeze {
                    self.forget_dirt(index, &self.arena.slab(block, unit));
                }
                return Ok(block + (u64::from(unit) << unit_shift));
            }
            if !self.grow() && !self.release_idle(None) {
                return Err(out);
            }
        }
    }

    /// Cleans those of the units from `from` on, of an object of `bytes` whose units begin at `head`, that must be: all of them, or
    /// what lies behind the object. In the second case they stay dirty until the record says that they are the object's.
    #[expect(unsafe_code, reason = "zeroes units that were just taken")]
    fn prepare(&self, index: usize, head: u32, from: u32, units: u32, bytes: u64, contents: Contents) {
        let entry = &self.arena.blocks()[index];
        let new = span(from, head + units - from);
        if contents == Contents::Zeroed || self.scrub == Scrub::OnFree {
            return self.clean_units(entry, new);
        }
        let dirty = entry.dirty_units.load(Acquire) & new;
        if dirty == 0 {
            return;
        }
        let last = head + units - 1;
        if dirty >> last & 1 == 1 {
            let start = entry.offset.load(Relaxed) + (u64::from(head) << self.geometry.unit_shift);
            let room = u64::from(units) << self.geometry.unit_shift;
            // SAFETY: the object's last unit is the caller's alone, and the object ends within it.
            unsafe { self.arena.zero(start + bytes, room - bytes) };
        }
    }

    /// After a kill: an object that was about to grow has units that it does not reach into, and what they hold is not zero where
    /// they are dirty still.
    #[expect(unsafe_code, reason = "zeroes what lies behind an object")]
    pub(super) fn clean_behind(&self, block: &Block, slab: &Slab<'_>) {
        let head = slab.head;
        let (unit, units) = (head.head_unit.load(Relaxed), head.units.load(Relaxed));
        if block.dirty_units.load(Relaxed) & span(unit, units) == 0 {
            return;
        }
        let start = block.offset.load(Relaxed) + (u64::from(unit) << self.geometry.unit_shift);
        let room = u64::from(units) << self.geometry.unit_shift;
        let bytes = head.object_bytes.load(Relaxed).min(room);
        // SAFETY: within the object's units and behind its bytes, where nobody reads or writes.
        unsafe { self.arena.zero(start + bytes, room - bytes) };
    }

    fn write_large(&self, block: u64, unit: u32, units: u32, bytes: u64) {
        let head = self.arena.slab(block, unit).head;
        head.units.store(units, Relaxed);
        head.head_unit.store(unit, Relaxed);
        head.object_bytes.store(bytes, Relaxed);
        head.owner.store(0, Relaxed);
        window();
        head.kind.store(SLAB_KIND_LARGE, Release);
        commit();
    }

    /// Gives a large object back.
    ///
    /// # Safety
    ///
    /// - `offset` came from [`Pool::alloc_large`] of this pool in this or an earlier generation and was not given back.
    /// - Nobody reads or writes the object any more, and it is zero beyond the bytes it was allocated for.
    #[expect(unsafe_code, reason = "the object is the caller's until now")]
    pub unsafe fn free_large(&self, offset: u64) {
        let Some((block, index, slab)) = self.locate_large(offset) else {
            return self.host.report(Fault::NoSlot(offset));
        };
        let head = slab.head;
        let (unit, units) = (head.head_unit.load(Relaxed), head.units.load(Relaxed));
        if self.arena.blocks()[index].kind.load(Relaxed) == BLOCK_KIND_HUGE {
            head.kind.store(SLAB_KIND_FREE, Release);
            window();
            let _guard = self.lock();
            return self.give_block_back(index);
        }
        let bytes = head.object_bytes.load(Relaxed);
        match self.scrub {
            // SAFETY: the object's units are the caller's alone.
            Scrub::OnFree => unsafe { self.arena.zero(offset, bytes) },
            // Before the units are free: a free one that may hold old bytes is dirty at every moment.
            Scrub::AtFreeze => {
                let used = bytes.div_ceil(self.geometry.unit_bytes()) as u32;
                self.arena.blocks()[index].dirty_units.fetch_or(span(unit, used), AcqRel);
            }
        }
        window();
        head.kind.store(SLAB_KIND_FREE, Release);
        window();
        for tail in unit + 1..unit + units {
            self.arena.slab(block, tail).head.kind.store(SLAB_KIND_FREE, Relaxed);
        }
        self.give_units(index, unit, units);
    }

    /// Grows or shrinks a large object where it is; false where it cannot stay: it fits fewer units, or what lies behind it is
    /// not free. New bytes are as `contents` says.
    ///
    /// # Safety
    ///
    /// As [`Pool::free_large`]; of a shrinking object nobody uses the bytes that go, which are zeroed.
    #[expect(unsafe_code, reason = "the object is the caller's")]
    pub unsafe fn resize_large(&self, offset: u64, bytes: u64, contents: Contents) -> bool {
        let Some((at, index, slab)) = self.locate_large(offset) else { return false };
        let block = &self.arena.blocks()[index];
        let huge = block.kind.load(Relaxed) == BLOCK_KIND_HUGE;
        let first = u64::from(slab.head.head_unit.load(Relaxed)) << self.geometry.unit_shift;
        let (room, least) = if huge {
            let all = u64::from(block.run.load(Relaxed)) << self.geometry.block_shift;
            (all - first, all.saturating_sub(first + self.geometry.block_bytes()))
        } else {
            let room = u64::from(slab.head.units.load(Relaxed)) << self.geometry.unit_shift;
            (room, room - self.geometry.unit_bytes())
        };
        if bytes <= least {
            return false;
        }
        if bytes > room {
            let grown = if huge {
                self.extend_run(index, first, bytes)
            } else {
                self.extend_units(at, index, &slab, bytes, contents)
            };
            if !grown {
                return false;
            }
        }
        let old = slab.head.object_bytes.load(Relaxed);
        if bytes < old {
            // Before the record says so: whoever finds the object after a kill knows of no byte behind its size.
            // SAFETY: the bytes are the object's, and the caller gives them up.
            unsafe { self.arena.zero(offset + bytes, old - bytes) };
            window();
        }
        if huge {
            block.object_bytes.store(bytes, Relaxed);
            window();
        }
        slab.head.object_bytes.store(bytes, Release);
        window();
        if !huge && self.scrub == Scrub::AtFreeze {
            self.forget_dirt(index, &slab);
        }
        true
    }

    /// What an object covers is not dirty: whatever its units held is its own now.
    fn forget_dirt(&self, index: usize, slab: &Slab<'_>) {
        let all = span(slab.head.head_unit.load(Relaxed), slab.head.units.load(Relaxed));
        let dirty = &self.arena.blocks()[index].dirty_units;
        if dirty.load(Relaxed) & all != 0 {
            dirty.fetch_and(!all, AcqRel);
        }
    }

    /// Adds units of the same block to an object, up to `bytes`.
    fn extend_units(&self, at: u64, index: usize, slab: &Slab<'_>, bytes: u64, contents: Contents) -> bool {
        let (unit, units) = (slab.head.head_unit.load(Relaxed), slab.head.units.load(Relaxed));
        let wanted = bytes.div_ceil(self.geometry.unit_bytes());
        if wanted > u64::from(self.geometry.units() - unit) {
            return false;
        }
        let (wanted, entry) = (wanted as u32, &self.arena.blocks()[index]);
        {
            let _guard = self.lock();
            let (more, free) = (span(unit + units, wanted - units), entry.free_units.load(Relaxed));
            if free & more != more {
                return false;
            }
            entry.free_units.store(free & !more, Relaxed);
        }
        window();
        self.prepare(index, unit, unit + units, wanted, bytes, contents);
        self.write_tails(at, unit, wanted);
        window();
        // Up to here a search finds tails of nobody, and says that they are free.
        slab.head.units.store(wanted, Release);
        window();
        true
    }

    /// Adds blocks to the run of a huge object, whose first byte lies at `first` of it, up to `bytes`. They are zeros, whatever
    /// the caller would take: after a kill they may be room behind the object.
    fn extend_run(&self, index: usize, first: u64, bytes: u64) -> bool {
        let wanted = bytes.checked_add(first).map(|all| all.div_ceil(self.geometry.block_bytes()));
        let Some(wanted) = wanted.and_then(|wanted| u32::try_from(wanted).ok()) else { return false };
        let _guard = self.lock();
        let entry = &self.arena.blocks()[index];
        let (offset, run) = (entry.offset.load(Relaxed), entry.run.load(Relaxed));
        if !self.host.extend(offset, run, wanted - run) {
            return false;
        }
        window();
        entry.run.store(wanted, Release);
        window();
        true
    }

    /// The large object that starts at `offset`; `None` where there is none, or its record contradicts itself or the block table.
    ///
    /// A restore looks at no record of an object: what an inherited one says is compared here, before anything goes by it.
    fn locate_large(&self, offset: u64) -> Option<(u64, usize, Slab<'_>)> {
        let block = offset & !(self.geometry.block_bytes() - 1);
        let within = offset - block;
        let unit = (within >> self.geometry.unit_shift) as u32;
        if within != u64::from(unit) << self.geometry.unit_shift || unit < self.geometry.header_units() {
            return None;
        }
        let index = self.arena.block_head(block).index.load(Relaxed) as usize;
        let entry = self.arena.blocks().get(index)?;
        let slab = self.arena.slab(block, unit);
        let is_it = entry.offset.load(Relaxed) == block && self.is_large(entry, &slab, unit);
        is_it.then_some((block, index, slab))
    }

    /// True where the record of `unit` in a block is that of a large object, and its numbers fit the block.
    pub(super) fn is_large(&self, block: &Block, slab: &Slab<'_>, unit: u32) -> bool {
        let head = slab.head;
        let (units, bytes) = (head.units.load(Relaxed), head.object_bytes.load(Relaxed));
        let most = self.geometry.units().saturating_sub(unit);
        if head.kind.load(Acquire) != SLAB_KIND_LARGE
            || head.head_unit.load(Relaxed) != unit
            || !(1..=most).contains(&units)
            || bytes == 0
        {
            return false;
        }
        match block.kind.load(Relaxed) {
            // The restore found that the run has room for so many.
            BLOCK_KIND_HUGE => bytes == block.object_bytes.load(Relaxed),
            BLOCK_KIND_SLABS => {
                let last = self.arena.slab(block.offset.load(Relaxed), unit + units - 1).head;
                let is_tail =
                    last.kind.load(Relaxed) == SLAB_KIND_TAIL && last.head_unit.load(Relaxed) == unit;
                bytes <= u64::from(units) << self.geometry.unit_shift && (units == 1 || is_tail)
            }
            _ => false,
        }
    }
}
