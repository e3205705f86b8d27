//! Provoked slips: one write behind an object's end, one read of a freed object. The guard pool must see both.
#![expect(unsafe_code, reason = "the slips are what it is for")]

use core::ptr::NonNull;

use super::work::RunError;
use crate::gfp::Gfp;
use crate::kfence::{GuardPool, Report, ReportKind, Side};
use crate::machine::Machine;
use crate::platform::Platform;

/// Bytes of the object: a multiple of 8, so that its end is the page's when it lies at the right.
const SIZE: usize = 56;

/// Allocations after which the guard pool should have served one at the right of its page.
const TRIES: u32 = 1 << 16;

/// Provokes both: the number of reports that they brought.
pub(super) fn provoke<P: Platform>(machine: &Machine<'_, P>) -> Result<u64, RunError> {
    let guard = machine.guard().ok_or(RunError::NoGuard)?;
    let object = find_guarded(machine, guard)?;
    let before = guard.stats().nr_reports;

    // SAFETY: the byte behind lies in the guard page: the access faults, is reported, and then reaches a page that nothing uses.
    unsafe { object.as_ptr().add(SIZE).write_volatile(0x5a) };
    expect(machine, guard, before, ReportKind::Overflow, object.as_ptr().addr() + SIZE)?;

    // SAFETY: nobody uses the object any more, but for the slip below.
    unsafe { machine.free(object) }.map_err(RunError::Free)?;
    // SAFETY: the object's page is closed: the access faults, is reported, and then reads a page of the guard pool.
    unsafe { object.as_ptr().read_volatile() };
    expect(machine, guard, before + 1, ReportKind::UseAfterFree, object.as_ptr().addr())?;
    Ok(guard.stats().nr_reports - before)
}

/// Allocates until an object comes from the guard pool and lies at the right of its page.
fn find_guarded<P: Platform>(machine: &Machine<'_, P>, guard: GuardPool) -> Result<NonNull<u8>, RunError> {
    for _ in 0..TRIES {
        let object = machine.alloc(SIZE, Gfp::empty())?;
        if guard.find_object(machine.phys(object)).is_some_and(|object| object.side == Side::Right) {
            return Ok(object);
        }
        // SAFETY: allocated just now.
        unsafe { machine.free(object) }.map_err(RunError::Free)?;
    }
    Err(RunError::NeverSampled)
}

/// Report number `nr` is of this kind, at this address, and names the object and who allocated it.
fn expect<P: Platform>(
    machine: &Machine<'_, P>,
    guard: GuardPool,
    nr: u64,
    kind: ReportKind,
    address: usize,
) -> Result<(), RunError> {
    let report: Report = guard.reports(nr).next().ok_or(RunError::Unseen(kind))?;
    machine.platform().print(format_args!("{report}\n"));
    let named = report.object.is_some_and(|object| {
        object.size as usize == SIZE && object.freed.is_some() == (kind == ReportKind::UseAfterFree)
    });
    if report.kind != kind || report.address != address || !named {
        return Err(RunError::Misreported(kind));
    }
    Ok(())
}
