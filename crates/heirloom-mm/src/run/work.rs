//! One generation's work.
#![expect(unsafe_code, reason = "frees objects by the ledger")]

use core::ptr::NonNull;

use super::bytes::{Random, fill, is_whole, is_zero, mix};
use super::ledger::{Entry, Ledger, RECORD_BYTES, Record, is_object};
use super::report::{Report, Totals};
use super::{Plan, RUN_NODE, mischief};
use crate::boot_info::BootInfo;
use crate::gfp::Gfp;
use crate::kfence::ReportKind;
use crate::kho::{AuditError, PreserveError, RestorePagesError, SubtreeError, UnpreserveError, VmallocArea};
use crate::machine::{AllocError, BootError, Broken, FreeError, FreezeError, Machine, PagesError};
use crate::phys::PAGE_BYTES;
use crate::platform::Platform;
use crate::slab::{Cache, CacheError, CacheFlags};

/// Why a generation could not do its work. What was lost or spoiled is no error: the report counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// It did not boot.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// An invariant does not hold.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// There was no memory.
    #[error(transparent)]
    Alloc(#[from] AllocError),
    /// A cache was refused.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A free was refused.
    #[error(transparent)]
    Free(FreeError),
    /// Pages were refused.
    #[error(transparent)]
    Pages(#[from] PagesError),
    /// Pages were not preserved.
    #[error(transparent)]
    Preserve(#[from] PreserveError),
    /// Pages were not unpreserved.
    #[error(transparent)]
    Unpreserve(#[from] UnpreserveError),
    /// Pages were not restored.
    #[error(transparent)]
    Restore(#[from] RestorePagesError),
    /// The record cannot be listed.
    #[error(transparent)]
    Subtree(#[from] SubtreeError),
    /// The freeze was refused.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    /// The handover cannot be summed up.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// An allocation that asked for zeros got others.
    #[error("memory at {phys:#x} that was to be zero is not")]
    NotZero {
        /// Where.
        phys: u64,
    },
    /// The pool holds other objects than are known of.
    #[error("the pool holds {found} objects, {known} are known of")]
    Leak {
        /// What the pool holds.
        found: u64,
        /// What the ledger and its own objects come to.
        known: u64,
    },
    /// The machine has no guard pool.
    #[error("there is no guard pool to provoke")]
    NoGuard,
    /// The guard pool never served an allocation.
    #[error("the guard pool never served an object at the right of its page")]
    NeverSampled,
    /// A provoked slip was not reported.
    #[error("{0:?} was provoked and not reported")]
    Unseen(ReportKind),
    /// A provoked slip was reported as another, elsewhere, or without its object.
    #[error("{0:?} was provoked and misreported")]
    Misreported(ReportKind),
    /// A handover came through, and no record of a run that can be read: all that was handed over is lost to the run.
    #[error("{frames} frames, {pages} pages were handed over, and no record of a run that can be read")]
    NoRecord {
        /// Frames that were handed over.
        frames: u64,
        /// Their pages.
        pages: u64,
    },
    /// The successor's image cannot be placed.
    #[error("the successor's image finds no place in scratch")]
    NoSuccessor,
}

/// How a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was the last.
    Last(Report),
    /// It jumped; only a hosted platform comes back to say so.
    Jumped(Report),
}

impl Outcome {
    /// Its report.
    pub fn report(&self) -> Report {
        match *self {
            Self::Last(report) | Self::Jumped(report) => report,
        }
    }
}

/// Order of the folio that goes from generation to generation.
const FOLIO_ORDER: u32 = 3;
/// Pages of the range.
const RANGE_PAGES: u64 = 5;
/// Pages of the area.
const AREA_PAGES: u32 = 20;

/// Names, sizes and alignments of the three caches. Their slots fill their slabs.
const CACHES: [(&str, usize, usize); 3] =
    [("run-session", 64, 16), ("run-inode", 256, 64), ("run-vcpu", 1024, 64)];

/// Objects without the flag that are held at a time.
const NR_ORDINARY: usize = 64;

/// Runs one generation: boots, works, freezes, and jumps unless it is the last. Prints its line of JSON, and in the last generation the line
/// that sums the run up.
///
/// # Errors
///
/// [`RunError`].
pub fn generation<P: Platform>(platform: &P, info: &BootInfo<'_>, plan: &Plan) -> Result<Outcome, RunError> {
    let started = platform.now_ns();
    let machine = Machine::boot(platform, info)?;
    let boot_us = (platform.now_ns() - started) / 1000;
    machine.check()?;

    let mut work = Work::begin(&machine, plan, info.handover.is_some())?;
    work.report.boot_us = boot_us;
    work.churn()?;
    if plan.mischief {
        mischief::provoke(&machine)?;
    }
    let frozen = work.freeze()?;
    let report = work.report;
    if plan.json {
        platform.print(format_args!("{}\n", report.json()));
    }
    if report.generation >= plan.generations {
        platform.print(format_args!("{}\n", report.summary()));
        machine.thaw(frozen);
        return Ok(Outcome::Last(report));
    }
    let entry = machine.load_successor().ok_or(RunError::NoSuccessor)?;
    machine.jump(entry, frozen);
    Ok(Outcome::Jumped(report))
}

/// A generation at work.
struct Work<'w, 'm, P: Platform> {
    machine: &'w Machine<'m, P>,
    caches: [Cache; 3],
    random: Random,
    /// Where the record lies.
    place: u64,
    record: Record,
    ledger: Ledger,
    target: u64,
    report: Report,
}

impl<'w, 'm, P: Platform> Work<'w, 'm, P> {
    /// Takes over what the predecessor left and verifies all of it; after a cold boot, starts anew.
    fn begin(machine: &'w Machine<'m, P>, plan: &Plan, has_predecessor: bool) -> Result<Self, RunError> {
        let cache = |at: usize| {
            let (name, size, align) = CACHES[at];
            machine.create_cache(name, size, align, CacheFlags::PRESERVE)
        };
        let caches = [cache(0)?, cache(1)?, cache(2)?];
        let (place, record, ledger, lost_all) = match find_record(machine) {
            Some((place, record, Some(ledger))) => (place, record, ledger, 0),
            // The record came through and its ledger did not: all that it listed is lost. More than a u32 it never is, and the
            // count goes on from there.
            Some((place, record, None)) => {
                (place, record, Ledger::create(machine)?, record.nr_objects.min(u32::MAX.into()))
            }
            // Nobody knows how much that was, so it is no number in a report, and least of all a zero.
            None if has_predecessor => {
                let (frames, pages) = machine.inherited();
                return Err(RunError::NoRecord { frames, pages });
            }
            None => {
                let place = machine.alloc(RECORD_BYTES as usize, Gfp::PRESERVE | Gfp::ZERO)?;
                (machine.phys(place), Record::default(), Ledger::create(machine)?, 0)
            }
        };
        let generation = record.generation.saturating_add(1);
        let mut work = Self {
            machine,
            caches,
            random: Random::new(plan.seed ^ generation.rotate_left(32)),
            place,
            record,
            ledger,
            target: plan.objects.into(),
            report: Report { generation, totals: record.totals, lost: lost_all, ..Report::default() },
        };
        let inherited = &mut work.report.totals.inherited;
        *inherited = inherited.saturating_add(work.ledger.len);
        work.verify()?;
        work.take_pages_over()?;
        work.report.stranded_bytes += machine.finish() * PAGE_BYTES;
        Ok(work)
    }

    /// Looks at every inherited object. Those that are lost are dropped from the ledger.
    fn verify(&mut self) -> Result<(), RunError> {
        let machine = self.machine;
        let mut index = 0;
        while index < self.ledger.len {
            let Entry { phys, size, seed } = self.ledger.get(machine, index);
            if !is_object(machine, phys, size) {
                self.report.lost += 1;
                self.ledger.swap_remove(machine, index);
                continue;
            }
            if !is_whole(machine.memory(), phys, size, seed) {
                self.report.corrupt += 1;
            }
            index += 1;
        }
        Ok(())
    }

    /// Claims the folio, the range and the area, verifies them, and gives them back.
    fn take_pages_over(&mut self) -> Result<(), RunError> {
        let (machine, map) = (self.machine, self.machine.memory());
        let Record { generation, folio, pages, area, .. } = self.record;
        if generation == 0 {
            return Ok(());
        }
        let seed = mix(generation);
        let mut whole = |phys, bytes| {
            if !is_whole(map, phys, bytes, seed ^ phys) {
                self.report.corrupt += 1;
            }
        };
        match machine.restore_folio(folio) {
            Ok(order) => {
                whole(folio, PAGE_BYTES << order);
                machine.free_pages(folio, order)?;
            }
            Err(_) => self.report.lost += 1,
        }
        let range = pages.0..pages.1;
        match machine.restore_pages(&range) {
            Ok(()) => {
                whole(range.start, range.end - range.start);
                machine.free_page_range(&range)?;
            }
            Err(_) => self.report.lost += 1,
        }
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&area[0].to_le_bytes());
        bytes[8..].copy_from_slice(&area[1].to_le_bytes());
        match machine.restore_area(&bytes) {
            Ok(area) => {
                let mut corrupt = 0;
                machine.for_each_frame(&area, |phys| {
                    corrupt += u64::from(!is_whole(map, phys, PAGE_BYTES << area.order(), seed ^ phys));
                });
                self.report.corrupt += corrupt;
                machine.free_area(&area)?;
            }
            Err(_) => self.report.lost += 1,
        }
        Ok(())
    }

    /// Frees a third, allocates up to the plan's number again, and as many without the flag.
    fn churn(&mut self) -> Result<(), RunError> {
        let machine = self.machine;
        for _ in 0..self.ledger.len / 3 {
            let index = self.random.below(self.ledger.len);
            let entry = self.ledger.swap_remove(machine, index);
            self.free(entry.phys)?;
        }
        let mut ordinary = [None; NR_ORDINARY];
        let mut at = 0;
        while self.ledger.len < self.target {
            let entry = self.allocate(Gfp::PRESERVE)?;
            self.ledger.push(machine, entry)?;
            let entry = self.allocate(Gfp::empty())?;
            if let Some(Entry { phys, size, seed }) = ordinary[at % NR_ORDINARY].replace(entry) {
                if !is_whole(machine.memory(), phys, size, seed) {
                    self.report.corrupt += 1;
                }
                self.free(phys)?;
            }
            at += 1;
        }
        // Half of them stay: what is not preserved is gone with the jump.
        for entry in ordinary.into_iter().step_by(2).flatten() {
            self.free(entry.phys)?;
        }
        self.preserve_pages()
    }

    /// Allocates one object and fills it.
    fn allocate(&mut self, mut gfp: Gfp) -> Result<Entry, RunError> {
        let (machine, map) = (self.machine, self.machine.memory());
        let choice = self.random.next();
        for (bit, flag) in [(0, Gfp::ZERO), (1, Gfp::ATOMIC)] {
            gfp.set(flag, choice >> (40 + 2 * bit) & 3 == 0);
        }
        let (object, size) = match choice % 8 {
            kind @ 0..3 => {
                let cache = kind as usize;
                (machine.alloc_from(self.caches[cache], gfp)?, CACHES[cache].1)
            }
            // Few large ones, many small ones.
            _ => {
                let most = [64, 200, 600, 2048, 64, 128, 4096, 96][(choice >> 8) as usize % 8];
                let most = if choice >> 16 & 127 == 0 { 20_000 } else { most };
                let size = 1 + self.random.below(most) as usize;
                (machine.alloc(size, gfp)?, size)
            }
        };
        let phys = machine.phys(object);
        if gfp.contains(Gfp::ZERO) && !is_zero(map, phys, size as u64) {
            return Err(RunError::NotZero { phys });
        }
        let seed = mix(choice);
        fill(map, phys, size as u64, seed);
        Ok(Entry { phys, size: size as u64, seed })
    }

    fn free(&self, phys: u64) -> Result<(), RunError> {
        let object = NonNull::new(self.machine.address(phys));
        let object = object.ok_or(RunError::Free(FreeError::NoObject { phys }))?;
        // SAFETY: the ledger, or this generation, listed it; it was found to be an object, and nothing else refers to it.
        unsafe { self.machine.free(object) }.map_err(RunError::Free)
    }

    /// A folio, a range and an area for the successor.
    fn preserve_pages(&mut self) -> Result<(), RunError> {
        let (machine, map) = (self.machine, self.machine.memory());
        let seed = mix(self.report.generation);
        let folio = machine.alloc_pages(FOLIO_ORDER, Gfp::PRESERVE)?;
        fill(map, folio, PAGE_BYTES << FOLIO_ORDER, seed ^ folio);
        machine.preserve_folio(folio)?;
        let range = machine.alloc_page_range(RANGE_PAGES, Gfp::PRESERVE)?;
        fill(map, range.start, range.end - range.start, seed ^ range.start);
        machine.preserve_pages(&range)?;
        let area: VmallocArea = machine.alloc_area(AREA_PAGES, 0, Gfp::PRESERVE)?;
        machine.for_each_frame(&area, |phys| fill(map, phys, PAGE_BYTES, seed ^ phys));
        machine.preserve_area(&area)?;
        // There and back: unpreserve is the exact inverse.
        machine.unpreserve_area(&area)?;
        machine.preserve_area(&area)?;
        let bytes = area.to_bytes();
        let word = |at| heirloom_abi::le::get_u64(&bytes, at).unwrap_or(0);
        self.record.folio = folio;
        self.record.pages = (range.start, range.end);
        self.record.area = [word(0), word(8)];
        machine.add_subtree(RUN_NODE, self.place, RECORD_BYTES)?;
        Ok(())
    }

    /// Freezes, counts, and writes the record.
    fn freeze(&mut self) -> Result<crate::machine::Frozen, RunError> {
        let (machine, report) = (self.machine, &mut self.report);
        if let Some(guard) = machine.guard() {
            let stats = guard.stats();
            (report.guard_samples, report.guard_reports) = (stats.nr_sampled, stats.nr_reports);
        }
        machine.check()?;
        let started = machine.platform().now_ns();
        let frozen = machine.freeze()?;
        report.freeze_us = (machine.platform().now_ns() - started) / 1000;
        let (pool, tally) = (machine.preserve_tally(true), frozen.tally());
        // Settled, the pool holds what the ledger lists, the ledger itself and the record, and not one object more.
        let (found, known) = (pool.live_objects, self.ledger.len + self.ledger.nr_own() + 1);
        if found != known {
            return Err(RunError::Leak { found, known });
        }
        report.objects = self.ledger.len;
        report.stale_bytes = pool.stale_bytes;
        report.stranded_bytes += pool.stranded_bytes;
        report.preserved_pages = tally.preserved_pages;
        report.metadata_pages = tally.metadata_pages;
        report.metadata_in_scratch = tally.metadata_in_scratch;
        // Saturating: the sums so far are a predecessor's word.
        let totals = &mut report.totals;
        *totals = Totals {
            inherited: totals.inherited,
            lost: totals.lost.saturating_add(report.lost),
            corrupt: totals.corrupt.saturating_add(report.corrupt),
            stale_bytes: totals.stale_bytes.saturating_add(report.stale_bytes),
            stranded_bytes: totals.stranded_bytes.saturating_add(report.stranded_bytes),
            metadata_in_scratch: totals.metadata_in_scratch.saturating_add(report.metadata_in_scratch),
            guard_reports: totals.guard_reports.saturating_add(report.guard_reports),
        };
        // The record is an object of ours: its bytes are no part of what was sealed.
        self.record = Record {
            generation: report.generation,
            nr_objects: self.ledger.len,
            directory: self.ledger.directory,
            nr_chunks: self.ledger.nr_chunks,
            totals: report.totals,
            ..self.record
        };
        self.record.write(machine.memory(), self.place);
        Ok(frozen)
    }
}

/// The predecessor's record, and its ledger if that came through.
fn find_record<P: Platform>(machine: &Machine<'_, P>) -> Option<(u64, Record, Option<Ledger>)> {
    let found = machine.retrieve(RUN_NODE).ok()?;
    if found.size_bytes != RECORD_BYTES || !is_object(machine, found.data, RECORD_BYTES) {
        return None;
    }
    let record = Record::read(machine.memory(), found.data)?;
    Some((found.data, record, Ledger::open(machine, &record)))
}
