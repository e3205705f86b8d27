//! The last reports, where a fault handler can leave one without waiting for anybody.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use super::report::{Report, ReportKind, ReportedObject};
use super::slot::SiteCell;

/// Reports that are kept; older ones are only counted.
pub(super) const KEPT: usize = 32;

const KINDS: [ReportKind; 7] = [
    ReportKind::Overflow,
    ReportKind::Underflow,
    ReportKind::UseAfterFree,
    ReportKind::Wild,
    ReportKind::Corruption,
    ReportKind::DoubleFree,
    ReportKind::InvalidFree,
];

/// The ring. All zeros is an empty one.
pub(super) struct Ring {
    nr: AtomicU64,
    cells: [Cell; KEPT],
}

struct Cell {
    /// Index in [`KINDS`] plus one; 0 while it is written.
    kind: AtomicU32,
    flags: AtomicU32,
    address: AtomicU64,
    start: AtomicU64,
    size: AtomicU32,
    allocated: SiteCell,
    freed: SiteCell,
}

const IS_WRITE: u32 = 1;
const HAS_OBJECT: u32 = 2;

impl Ring {
    pub(super) const fn new() -> Self {
        Self { nr: AtomicU64::new(0), cells: [const { Cell::new() }; KEPT] }
    }

    /// Reports that were ever pushed.
    pub(super) fn nr(&self) -> u64 {
        self.nr.load(Acquire)
    }

    pub(super) fn push(&self, report: &Report) {
        let at = self.nr.fetch_add(1, AcqRel) as usize % KEPT;
        let cell = &self.cells[at];
        cell.kind.store(0, Release);
        let object = report.object;
        cell.address.store(report.address as u64, Relaxed);
        cell.start.store(object.map_or(0, |object| object.start as u64), Relaxed);
        cell.size.store(object.map_or(0, |object| object.size), Relaxed);
        cell.allocated.set(object.map(|object| object.allocated));
        cell.freed.set(object.and_then(|object| object.freed));
        let flags = if report.is_write { IS_WRITE } else { 0 };
        cell.flags.store(flags | if object.is_some() { HAS_OBJECT } else { 0 }, Relaxed);
        let kind = KINDS.iter().position(|&kind| kind == report.kind).map_or(0, |at| at as u32 + 1);
        cell.kind.store(kind, Release);
    }

    /// Report number `nr`, counted from the first ever; `None` where it is not kept any more, or not yet whole.
    pub(super) fn get(&self, nr: u64) -> Option<Report> {
        let total = self.nr();
        if nr >= total || total - nr > KEPT as u64 {
            return None;
        }
        let cell = &self.cells[nr as usize % KEPT];
        let kind = *KINDS.get((cell.kind.load(Acquire) as usize).checked_sub(1)?)?;
        let flags = cell.flags.load(Relaxed);
        let object = match (flags & HAS_OBJECT != 0, cell.allocated.get()) {
            (true, Some(allocated)) => Some(ReportedObject {
                start: cell.start.load(Relaxed) as usize,
                size: cell.size.load(Relaxed),
                allocated,
                freed: cell.freed.get(),
            }),
            _ => None,
        };
        let address = cell.address.load(Relaxed) as usize;
        Some(Report { kind, address, is_write: flags & IS_WRITE != 0, object })
    }
}

impl Cell {
    const fn new() -> Self {
        Self {
            kind: AtomicU32::new(0),
            flags: AtomicU32::new(0),
            address: AtomicU64::new(0),
            start: AtomicU64::new(0),
            size: AtomicU32::new(0),
            allocated: SiteCell::new(),
            freed: SiteCell::new(),
        }
    }
}
