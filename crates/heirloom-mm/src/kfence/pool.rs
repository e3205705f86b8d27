//! The pool: which page serves, how it is laid out, and what a fault in it means.
#![expect(unsafe_code, reason = "its records and pages lie in physical memory")]

use core::panic::Location;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use super::judge::canary;
use super::report::{Report, ReportKind, ReportedObject, Site};
use super::ring::Ring;
use super::sample::Sampler;
use super::slot::{FREED, LIVE, Slot, UNUSED};
use crate::boot_info::GuardOptions;
use crate::phys::{Memory, PAGE_BYTES};
use crate::platform::Platform;

/// A handle to the guard pool of a running machine. Copies are the same pool.
#[derive(Clone, Copy)]
pub struct GuardPool {
    head: NonNull<Head>,
}

// SAFETY: all shared state behind it is atomics.
unsafe impl Send for GuardPool {}
// SAFETY: as above.
unsafe impl Sync for GuardPool {}

/// What stands at the start of the pool's table; the slots follow it.
pub(super) struct Head {
    pub(super) memory: Memory,
    /// Physical address of the first guard page.
    pub(super) start: u64,
    pub(super) nr_objects: u32,
    quarantine: u32,
    /// Where the search for an unused page goes on.
    nr_used: AtomicU32,
    pub(super) nr_live: AtomicU32,
    pub(super) nr_freed: AtomicU32,
    nr_frees: AtomicU64,
    nr_sampled: AtomicU64,
    nr_passed: AtomicU64,
    sampler: Sampler,
    ring: Ring,
}

/// Which end of its page an object lies at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// At the start: an underflow faults.
    Left,
    /// At the end: an overflow faults.
    Right,
}

/// An object of the guard pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// Physical address of its first byte.
    pub start: u64,
    /// Its bytes.
    pub size: u32,
    /// Where in its page it lies.
    pub side: Side,
}

/// Why the guard pool did not take an object back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardFree {
    /// It is free already.
    Twice,
    /// No object starts there.
    NoObject,
    /// It was taken back, but the bytes around it were changed.
    Damaged,
}

/// Sums over the guard pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardStats {
    /// Objects that it served.
    pub nr_sampled: u64,
    /// Allocations that it was to serve and had no page for.
    pub nr_passed: u64,
    /// Objects that are in use.
    pub nr_live: u32,
    /// Slips that it reported.
    pub nr_reports: u64,
}

impl GuardPool {
    /// Pages of a pool of `nr_objects`.
    pub(crate) const fn nr_pages(nr_objects: u32) -> u64 {
        nr_objects as u64 * 2 + 1
    }

    /// Bytes of the table of a pool of `nr_objects`.
    pub(crate) const fn table_bytes(nr_objects: u32) -> u64 {
        SLOTS_AT + nr_objects as u64 * size_of::<Slot>() as u64
    }

    /// Makes a pool of the pages from `start` on, with its table at `table`, and closes all its pages.
    ///
    /// # Safety
    ///
    /// - `table` starts [`GuardPool::table_bytes`] bytes, `start` as many pages as [`GuardPool::nr_pages`] says, both page aligned
    ///   memory of `memory`'s that nobody else uses for as long as any copy of the handle is used.
    pub(crate) unsafe fn carve<P: Platform>(
        platform: &P,
        memory: Memory,
        table: u64,
        start: u64,
        options: &GuardOptions,
    ) -> Self {
        let nr_objects = options.nr_objects;
        memory.zero(table, Self::table_bytes(nr_objects));
        memory.zero(start, Self::nr_pages(nr_objects) * PAGE_BYTES);
        let head = Head {
            memory,
            start,
            nr_objects,
            quarantine: options.quarantine.min(nr_objects.saturating_sub(1)),
            nr_used: AtomicU32::new(0),
            nr_live: AtomicU32::new(0),
            nr_freed: AtomicU32::new(0),
            nr_frees: AtomicU64::new(0),
            nr_sampled: AtomicU64::new(0),
            nr_passed: AtomicU64::new(0),
            sampler: Sampler::new(options),
            ring: Ring::new(),
        };
        let at = memory.address(table).cast::<Head>();
        // SAFETY: the table is ours, aligned to a page, and begins with room for the head.
        unsafe { at.write(head) };
        for page in 0..Self::nr_pages(nr_objects) {
            platform.guard(start + page * PAGE_BYTES);
        }
        // SAFETY: the address is that of memory, so it is not null.
        Self { head: unsafe { NonNull::new_unchecked(at) } }
    }

    /// Opens all its pages: they are plain memory again.
    pub(crate) fn dissolve<P: Platform>(&self, platform: &P) {
        for page in self.range().step_by(PAGE_BYTES as usize) {
            platform.unguard(page);
        }
    }

    /// Whether the next ordinary allocation of `size` bytes is to be served from here.
    pub(crate) fn wants<P: Platform>(&self, platform: &P, size: usize) -> bool {
        size != 0 && size as u64 <= PAGE_BYTES && self.head().sampler.wants(|| platform.now_ns())
    }

    /// Serves `size` bytes at `align`; `None` where all pages are in use or at rest.
    pub(crate) fn alloc<P: Platform>(
        &self,
        platform: &P,
        size: usize,
        align: u64,
        zero: bool,
        location: &'static Location<'static>,
    ) -> Option<u64> {
        let head = self.head();
        let Some(index) = self.take_slot() else {
            head.nr_passed.fetch_add(1, Relaxed);
            return None;
        };
        let slot = &self.slots()[index];
        let side = if head.sampler.coin() { Side::Right } else { Side::Left };
        let offset = match side {
            Side::Left => 0,
            Side::Right => (PAGE_BYTES - size as u64) & !(align.max(1) - 1),
        };
        let page = self.page(index);
        // The neighbours may be open since a fault in them was reported.
        platform.guard(page - PAGE_BYTES);
        platform.guard(page + PAGE_BYTES);
        platform.unguard(page);
        slot.is_open.store(1, Relaxed);
        for at in (0..PAGE_BYTES).step_by(8) {
            let inside = |at: u64| at >= offset && at < offset + size as u64;
            if !(inside(at) && inside(at + 7)) {
                let old = head.memory.load(page + at).to_le_bytes();
                let word = core::array::from_fn(|i| match inside(at + i as u64) {
                    true => old[i],
                    false => canary(at + i as u64),
                });
                head.memory.store(page + at, u64::from_le_bytes(word));
            }
        }
        if zero {
            head.memory.zero(page + offset, size as u64);
        }
        slot.size.store(size as u32, Relaxed);
        slot.offset.store(offset as u32, Relaxed);
        slot.allocated.set(Some(site(platform, location)));
        slot.freed.set(None);
        slot.state.store(LIVE, Release);
        head.nr_live.fetch_add(1, Relaxed);
        head.nr_sampled.fetch_add(1, Relaxed);
        Some(page + offset)
    }

    /// Takes the object at `phys` back, looks at the bytes around it, and closes its page.
    ///
    /// # Errors
    ///
    /// [`GuardFree`]; each is reported too.
    pub(crate) fn free<P: Platform>(
        &self,
        platform: &P,
        phys: u64,
        location: &'static Location<'static>,
    ) -> Result<(), GuardFree> {
        let head = self.head();
        let address = head.memory.address(phys).addr();
        let found = self.slot_of(phys).map(|index| (index, &self.slots()[index]));
        let Some((index, slot)) = found.filter(|(_, slot)| slot.state.load(Acquire) != UNUSED) else {
            self.report(ReportKind::InvalidFree, address, true, None);
            return Err(GuardFree::NoObject);
        };
        let page = self.page(index);
        let start = page + u64::from(slot.offset.load(Relaxed));
        if slot.state.load(Acquire) == FREED {
            self.report(ReportKind::DoubleFree, address, true, Some(index));
            return Err(GuardFree::Twice);
        }
        if phys != start {
            self.report(ReportKind::InvalidFree, address, true, Some(index));
            return Err(GuardFree::NoObject);
        }
        let damage = self.find_damage(index);
        if let Some(at) = damage {
            self.report(ReportKind::Corruption, head.memory.address(at).addr(), true, Some(index));
        }
        slot.freed.set(Some(site(platform, location)));
        slot.freed_as.store(head.nr_frees.fetch_add(1, Relaxed), Relaxed);
        slot.state.store(FREED, Release);
        slot.is_open.store(0, Relaxed);
        platform.guard(page);
        head.nr_live.fetch_sub(1, Relaxed);
        head.nr_freed.fetch_add(1, Relaxed);
        if damage.is_some() { Err(GuardFree::Damaged) } else { Ok(()) }
    }

    /// Answers a page fault at virtual address `address`: reports the slip and opens the page, so that the access can go on;
    /// `None` where the address is none of this pool's. Waits for nothing, and may interrupt anything.
    ///
    /// # Safety
    ///
    /// The machine that carved this pool has not jumped: the platform was not told of another pool, or of none, since
    /// [`Platform::watch`] told it of this one.
    pub unsafe fn on_fault<P: Platform>(
        &self,
        platform: &P,
        address: usize,
        is_write: bool,
    ) -> Option<Report> {
        let head = self.head();
        let phys = (address as u64).wrapping_sub(head.memory.base().as_ptr().addr() as u64);
        if !self.contains(phys) {
            return None;
        }
        let page = phys & !(PAGE_BYTES - 1);
        let (kind, object) = self.judge(phys);
        let report = self.report(kind, address, is_write, object);
        platform.unguard(page);
        if let Some(index) = self.slot_of(phys) {
            self.slots()[index].is_open.store(1, Relaxed);
        }
        Some(report)
    }

    /// The handle as a plain pointer, for a fault handler to keep in an atomic.
    pub fn into_raw(self) -> NonNull<()> {
        self.head.cast()
    }

    /// The handle that was made a pointer.
    ///
    /// # Safety
    ///
    /// `raw` came from [`GuardPool::into_raw`], and the machine that carved the pool has not jumped.
    pub unsafe fn from_raw(raw: NonNull<()>) -> Self {
        Self { head: raw.cast() }
    }

    /// True for physical addresses of its pages.
    pub fn contains(&self, phys: u64) -> bool {
        let head = self.head();
        phys >= head.start && phys - head.start < Self::nr_pages(head.nr_objects) * PAGE_BYTES
    }

    /// Its pages, as physical addresses.
    pub fn range(&self) -> core::ops::Range<u64> {
        let head = self.head();
        head.start..head.start + Self::nr_pages(head.nr_objects) * PAGE_BYTES
    }

    /// The live object whose page `phys` lies in.
    pub fn find_object(&self, phys: u64) -> Option<Guarded> {
        let index = self.slot_of(phys)?;
        let slot = &self.slots()[index];
        if slot.state.load(Acquire) != LIVE {
            return None;
        }
        let offset = slot.offset.load(Relaxed);
        let side = if offset == 0 { Side::Left } else { Side::Right };
        Some(Guarded { start: self.page(index) + u64::from(offset), size: slot.size.load(Relaxed), side })
    }

    /// Sums it up.
    pub fn stats(&self) -> GuardStats {
        let head = self.head();
        GuardStats {
            nr_sampled: head.nr_sampled.load(Relaxed),
            nr_passed: head.nr_passed.load(Relaxed),
            nr_live: head.nr_live.load(Relaxed),
            nr_reports: head.ring.nr(),
        }
    }

    /// Iterates over the reports from number `from` on, as far as they are kept (the last 32 are).
    pub fn reports(&self, from: u64) -> impl Iterator<Item = Report> + use<'_> {
        let ring = &self.head().ring;
        (from..ring.nr()).filter_map(|nr| ring.get(nr))
    }

    /// An unused page, else the one that rests longest, if enough rest.
    fn take_slot(&self) -> Option<usize> {
        let head = self.head();
        let used = head.nr_used.load(Relaxed);
        if used < head.nr_objects {
            head.nr_used.store(used + 1, Relaxed);
            return Some(used as usize);
        }
        if head.nr_freed.load(Relaxed) <= head.quarantine {
            return None;
        }
        let resting = self.slots().iter().enumerate().filter(|(_, slot)| slot.state.load(Relaxed) == FREED);
        let (index, slot) = resting.min_by_key(|(_, slot)| slot.freed_as.load(Relaxed))?;
        slot.state.store(UNUSED, Release);
        head.nr_freed.fetch_sub(1, Relaxed);
        Some(index)
    }

    fn report(&self, kind: ReportKind, address: usize, is_write: bool, object: Option<usize>) -> Report {
        let head = self.head();
        let object = object.and_then(|index| {
            let slot = &self.slots()[index];
            let start = self.page(index) + u64::from(slot.offset.load(Relaxed));
            Some(ReportedObject {
                start: head.memory.address(start).addr(),
                size: slot.size.load(Relaxed),
                allocated: slot.allocated.get()?,
                freed: slot.freed.get(),
            })
        });
        let report = Report { kind, address, is_write, object };
        head.ring.push(&report);
        report
    }

    /// Physical address of object page `index`.
    pub(super) fn page(&self, index: usize) -> u64 {
        self.head().start + (2 * index as u64 + 1) * PAGE_BYTES
    }

    /// The object page that `phys` lies in; `None` for guard pages.
    pub(super) fn slot_of(&self, phys: u64) -> Option<usize> {
        let head = self.head();
        if !self.contains(phys) {
            return None;
        }
        let number = (phys - head.start) / PAGE_BYTES;
        (number % 2 == 1).then_some((number / 2) as usize)
    }

    pub(super) fn head(&self) -> &Head {
        // SAFETY: `carve` wrote it, and its memory is the pool's while the handle is used.
        unsafe { self.head.as_ref() }
    }

    pub(super) fn slots(&self) -> &[Slot] {
        let head = self.head();
        let at = self.head.as_ptr().cast::<u8>().wrapping_add(SLOTS_AT as usize);
        // SAFETY: so many slots stand there, all zeros at first, which is a slot; only atomics since.
        unsafe { core::slice::from_raw_parts(at.cast(), head.nr_objects as usize) }
    }
}

/// Where the slots start in the table.
const SLOTS_AT: u64 = (size_of::<Head>() as u64).next_multiple_of(64);

const _: () = assert!(align_of::<Slot>() <= 64 && align_of::<Head>() <= PAGE_BYTES as usize);

fn site<P: Platform>(platform: &P, location: &'static Location<'static>) -> Site {
    Site { location, caller: platform.caller(), time_ns: platform.now_ns() }
}
