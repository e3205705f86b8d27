//! The guard pool under real faults.
#![allow(unsafe_code, reason = "slips are what this is about")]

mod common;

use std::collections::HashSet;
use std::ptr::NonNull;

use common::{alloc, boot, hardware};
use heirloom_mm::hosted::Hardware;
use heirloom_mm::kfence::{Report, ReportKind, Side};
use heirloom_mm::machine::{AllocError, FreeError};
use heirloom_mm::{Gfp, GuardOptions, Machine, Options};

/// Serves every ordinary allocation while it has pages.
fn options(nr_objects: u32, quarantine: u32) -> Options {
    Options { guard: GuardOptions { nr_objects, every: 1, interval_us: 0, quarantine }, ..Options::default() }
}

/// An object of the guard pool that lies at this side of its page.
#[track_caller]
fn guarded(machine: &Machine<'_, Hardware>, size: usize, side: Side) -> NonNull<u8> {
    loop {
        let object = alloc(machine, size, Gfp::empty());
        let found = machine.guard().unwrap().find_object(machine.phys(object)).expect("every one is sampled");
        if found.side == side {
            return object;
        }
    }
}

/// The one report since number `from`.
fn only_report(machine: &Machine<'_, Hardware>, from: u64) -> Report {
    let reports: Vec<Report> = machine.guard().unwrap().reports(from).collect();
    assert_eq!(reports.len(), 1, "{reports:?}");
    reports[0]
}

#[test]
fn an_overflow_faults_and_names_the_object_and_who_allocated_it() {
    let hardware = hardware();
    let machine = boot(&hardware, options(31, 4));
    let object = guarded(&machine, 56, Side::Right);
    // SAFETY: one byte behind lies in a guard page, which opens once the fault was reported.
    unsafe { object.as_ptr().add(56).write_volatile(1) };
    let report = only_report(&machine, 0);
    assert_eq!((report.kind, report.is_write), (ReportKind::Overflow, true));
    assert_eq!(report.address, object.as_ptr().addr() + 56);
    let named = report.object.unwrap();
    assert_eq!((named.start, named.size, named.freed), (object.as_ptr().addr(), 56, None));
    assert!(named.allocated.location.file().ends_with("guard.rs"), "{}", named.allocated.location);
    let text = report.to_string();
    assert!(
        text.starts_with("guard pool: overflow: write at 0x") && text.contains("0 bytes behind"),
        "{text}"
    );

    // SAFETY: further behind, but nearer to this object than to the next page's.
    unsafe { object.as_ptr().add(56 + 100).read_volatile() };
    assert_eq!(machine.guard().unwrap().stats().nr_reports, 1, "the page is open: reported once");
    // SAFETY: nobody uses it.
    unsafe { machine.free(object) }.unwrap();
    machine.check().unwrap();
}

#[test]
fn an_underflow_faults() {
    let hardware = hardware();
    let machine = boot(&hardware, options(31, 4));
    let object = guarded(&machine, 100, Side::Left);
    // SAFETY: the byte before lies in a guard page.
    unsafe { object.as_ptr().sub(1).read_volatile() };
    let report = only_report(&machine, 0);
    assert_eq!((report.kind, report.is_write), (ReportKind::Underflow, !cfg!(target_arch = "x86_64")));
    assert_eq!(report.object.unwrap().start, object.as_ptr().addr());
    assert!(report.to_string().contains("1 bytes before the object of 100 bytes"), "{report}");
}

#[test]
fn a_use_after_free_faults_and_names_who_freed_it() {
    let hardware = hardware();
    let machine = boot(&hardware, options(31, 4));
    let object = guarded(&machine, 64, Side::Left);
    // SAFETY: ours.
    unsafe { object.as_ptr().write_volatile(7) };
    let line = line!() + 2;
    // SAFETY: nobody uses it, but for the slip below.
    unsafe { machine.free(object) }.unwrap();
    // SAFETY: the page is closed, and opens once the fault was reported.
    unsafe { object.as_ptr().add(8).write_volatile(7) };
    let report = only_report(&machine, 0);
    assert_eq!((report.kind, report.is_write), (ReportKind::UseAfterFree, true));
    let freed = report.object.unwrap().freed.unwrap();
    assert_eq!(freed.location.line(), line);
    assert!(report.to_string().contains("byte 8 of the object of 64 bytes"), "{report}");
    machine.check().unwrap();
}

#[test]
fn damage_that_does_not_fault_shows_when_the_object_is_freed() {
    let hardware = hardware();
    let machine = boot(&hardware, options(31, 4));
    // An object at the left: what is behind it is its own page.
    let object = guarded(&machine, 100, Side::Left);
    let phys = machine.phys(object);
    // SAFETY: in the object's page.
    unsafe { object.as_ptr().add(103).write_volatile(1) };
    assert_eq!(machine.guard().unwrap().stats().nr_reports, 0);
    // SAFETY: nobody uses it.
    assert_eq!(unsafe { machine.free(object) }, Err(FreeError::Damaged { phys }));
    let report = only_report(&machine, 0);
    assert_eq!(report.kind, ReportKind::Corruption);
    assert_eq!(report.address, object.as_ptr().addr() + 103);
    machine.check().unwrap();
}

#[test]
fn double_and_invalid_frees_are_reported_and_refused() {
    let hardware = hardware();
    let machine = boot(&hardware, options(31, 4));
    let object = guarded(&machine, 64, Side::Right);
    let phys = machine.phys(object);
    // SAFETY: each but the second is refused.
    unsafe {
        let inside = object.add(16);
        assert_eq!(machine.free(inside), Err(FreeError::NoObject { phys: phys + 16 }));
        assert_eq!(machine.free(object), Ok(()));
        assert_eq!(machine.free(object), Err(FreeError::Twice { phys }));
        // A guard page, and a page that no object was in yet.
        let range = machine.guard().unwrap().range();
        for phys in [range.start, range.end - 2 * 4096] {
            let nothing = NonNull::new(machine.address(phys)).unwrap();
            assert_eq!(machine.free(nothing), Err(FreeError::NoObject { phys }));
        }
    }
    let kinds: Vec<_> = machine.guard().unwrap().reports(0).map(|report| report.kind).collect();
    use ReportKind::{DoubleFree, InvalidFree};
    assert_eq!(kinds, [InvalidFree, DoubleFree, InvalidFree, InvalidFree]);
    machine.check().unwrap();
}

#[test]
fn freed_pages_rest_longest_first() {
    const NR: u32 = 8;
    let hardware = hardware();
    let machine = boot(&hardware, options(NR, 5));
    let guard = machine.guard().unwrap();
    let page = |object: NonNull<u8>| machine.phys(object) & !4095;
    let objects: Vec<_> = (0..NR).map(|_| alloc(&machine, 64, Gfp::empty())).collect();
    assert_eq!(objects.iter().map(|&object| page(object)).collect::<HashSet<_>>().len(), NR as usize);
    // All in use: the slab serves.
    let other = alloc(&machine, 64, Gfp::empty());
    assert!(!guard.contains(machine.phys(other)));
    assert_eq!(guard.stats().nr_passed, 1);
    for &object in &objects[..5] {
        // SAFETY: nobody uses it.
        unsafe { machine.free(object) }.unwrap();
        assert!(!guard.contains(machine.phys(alloc(&machine, 64, Gfp::empty()))), "five must rest");
    }
    for next in 5..8 {
        // SAFETY: nobody uses it.
        unsafe { machine.free(objects[next]) }.unwrap();
        let object = alloc(&machine, 64, Gfp::ZERO);
        assert_eq!(page(object), page(objects[next - 5]), "the one that rested longest");
        // SAFETY: ours, 64 bytes.
        let bytes = unsafe { std::slice::from_raw_parts(object.as_ptr(), 64) };
        assert_eq!(bytes, [0; 64]);
    }
    machine.check().unwrap();
}

#[test]
fn a_page_that_was_opened_by_a_fault_is_closed_for_the_next_object() {
    let hardware = hardware();
    let machine = boot(&hardware, options(2, 0));
    for round in 0..8 {
        let object = guarded_or_free(&machine);
        // SAFETY: one byte behind lies in a guard page.
        unsafe { object.as_ptr().add(64).write_volatile(1) };
        assert_eq!(machine.guard().unwrap().stats().nr_reports, 2 * round + 1);
        // SAFETY: nobody uses it, but for the slip.
        unsafe { machine.free(object) }.unwrap();
        // SAFETY: closed, and opened by the report.
        unsafe { object.as_ptr().read_volatile() };
        assert_eq!(machine.guard().unwrap().stats().nr_reports, 2 * round + 2);
    }
}

/// An object at the right of its page; those at the left are freed at once.
fn guarded_or_free(machine: &Machine<'_, Hardware>) -> NonNull<u8> {
    loop {
        let object = alloc(machine, 64, Gfp::empty());
        match machine.guard().unwrap().find_object(machine.phys(object)) {
            Some(found) if found.side == Side::Right => return object,
            // SAFETY: allocated just now.
            _ => unsafe { machine.free(object) }.unwrap(),
        }
    }
}

#[test]
fn preserved_objects_are_never_sampled_and_large_ones_cannot_be() {
    let hardware = hardware();
    let machine = boot(&hardware, options(15, 4));
    for _ in 0..200 {
        let object = alloc(&machine, 64, Gfp::PRESERVE);
        assert!(!machine.guard().unwrap().contains(machine.phys(object)));
    }
    assert_eq!(machine.guard().unwrap().stats().nr_sampled, 0);
    alloc(&machine, 4097, Gfp::empty());
    assert_eq!(machine.guard().unwrap().stats().nr_sampled, 0);
    alloc(&machine, 4096, Gfp::empty());
    assert_eq!(machine.guard().unwrap().stats().nr_sampled, 1);
}

#[test]
fn a_request_that_may_not_wait_does_not() {
    let hardware = hardware();
    let machine = boot(&hardware, Options::default());
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                machine.check().unwrap();
            }
        });
        let mut refused = false;
        for _ in 0..2_000_000 {
            match machine.alloc(32, Gfp::ATOMIC) {
                // SAFETY: allocated just now.
                Ok(object) => unsafe { machine.free(object) }.unwrap(),
                Err(error) => {
                    assert_eq!(error, AllocError::WouldWait);
                    refused = true;
                    break;
                }
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(refused, "the lock was never found taken");
    });
}

#[test]
fn the_last_pages_serve_those_who_cannot_wait() {
    let hardware = hardware();
    let machine = boot(&hardware, Options::default());
    // Something for the ordinary pool to give back when it is asked.
    let object = alloc(&machine, 4096, Gfp::empty());
    // SAFETY: nobody uses it.
    unsafe { machine.free(object) }.unwrap();
    while machine.alloc_pages(0, Gfp::empty()).is_ok() {}
    machine
        .alloc(40_000, Gfp::PRESERVE)
        .expect("who may wait gets the block that the ordinary pool gives back");
    assert!(machine.alloc(40_000, Gfp::PRESERVE).is_err(), "even what is asked to wait finds no second one");
    machine.alloc_pages(0, Gfp::ATOMIC).unwrap();
    machine.check().unwrap();
}
