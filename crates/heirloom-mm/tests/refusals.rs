//! What the machine refuses, in production: each with a typed error, and nothing half done.
#![allow(unsafe_code, reason = "frees objects")]

mod common;

use common::{alloc, boot, hand_over, hardware};
use heirloom_abi::kho::fdt::FdtError;
use heirloom_mm::hosted::Hardware;
use heirloom_mm::kho::{PreserveError, RestorePagesError, SubtreeError, UnpreserveError, VmallocError};
use heirloom_mm::machine::{AllocError, FreeError, FreezeError, PagesError};
use heirloom_mm::slab::{CacheError, CacheFlags};
use heirloom_mm::{Gfp, GuardOptions, MemoryRange, Options, ScratchSizes, UnsafeGround, What};

const MIB: u64 = 1 << 20;

fn every_one() -> Options {
    let guard = GuardOptions { nr_objects: 15, every: 1, interval_us: 0, quarantine: 4 };
    Options { guard, ..Options::default() }
}

#[test]
fn an_object_allocated_without_the_flag_is_not_preserved_and_the_error_says_so() {
    let hardware = hardware();
    let machine = boot(
        &hardware,
        Options { guard: GuardOptions { nr_objects: 0, ..every_one().guard }, ..Options::default() },
    );
    let ordinary = alloc(&machine, 100, Gfp::empty());
    let phys = machine.phys(ordinary);
    let error = machine.preserve_object(ordinary).unwrap_err();
    assert_eq!(error, PreserveError::AllocatedWithoutFlag { phys });
    assert!(error.to_string().ends_with("was allocated without Gfp::PRESERVE: allocate it with the flag"));
    assert_eq!(
        machine.preserve_folio(phys & !0xfff),
        Err(PreserveError::AllocatedWithoutFlag { phys: phys & !0xfff })
    );
    assert_eq!(machine.add_subtree("it", phys, 100), Err(SubtreeError::AllocatedWithoutFlag { phys }));
    let preserved = alloc(&machine, 100, Gfp::PRESERVE);
    assert_eq!(machine.preserve_object(preserved), Ok(()));
    machine.check().unwrap();
}

#[test]
fn an_object_of_the_guard_pool_is_not_preserved_either() {
    let hardware = hardware();
    let machine = boot(&hardware, every_one());
    let object = alloc(&machine, 100, Gfp::empty());
    let phys = machine.phys(object);
    assert!(machine.guard().unwrap().contains(phys));
    assert_eq!(machine.preserve_object(object), Err(PreserveError::AllocatedWithoutFlag { phys }));
    assert_eq!(machine.add_subtree("it", phys, 100), Err(SubtreeError::AllocatedWithoutFlag { phys }));
    let page = phys & !0xfff;
    let what = What::Pages;
    let refused = PreserveError::UnsafeGround(UnsafeGround::GuardPool { what, phys: page });
    assert_eq!(machine.preserve_folio(page), Err(refused));
    assert_eq!(machine.preserve_pages(&(page..page + 4096)), Err(refused));
    machine.check().unwrap();
}

#[test]
fn pages_in_scratch_are_not_preserved() {
    let hardware = hardware();
    let machine = boot(&hardware, Options::default());
    let area = machine.scratch().iter().next().unwrap();
    let page = loop {
        let page = machine.alloc_pages(0, Gfp::MOVABLE).unwrap();
        if area.contains(&page) {
            break page;
        }
    };
    let refused = UnsafeGround::Scratch { what: What::Pages, phys: page, start: area.start, end: area.end };
    assert_eq!(machine.preserve_folio(page), Err(refused.into()));
    assert_eq!(machine.preserve_pages(&(page..page + 4096)), Err(refused.into()));
    machine.check().unwrap();
}

#[test]
fn preserving_twice_is_refused_whatever_the_orders() {
    let hardware = hardware();
    let machine = boot(&hardware, Options::default());
    let folio = machine.alloc_pages(3, Gfp::empty()).unwrap();
    let inner = folio + 2 * 4096..folio + 4 * 4096;
    machine.preserve_pages(&inner).unwrap();
    let before = machine.nr_preserved_pages();
    assert_eq!(machine.preserve_folio(folio), Err(PreserveError::Already { phys: inner.start }));
    assert_eq!(machine.preserve_pages(&inner), Err(PreserveError::Already { phys: inner.start }));
    assert_eq!(machine.nr_preserved_pages(), before);
    machine.unpreserve_pages(&inner).unwrap();
    assert_eq!(machine.preserve_folio(folio), Ok(3));
    assert_eq!(machine.preserve_pages(&inner), Err(PreserveError::Already { phys: inner.start }));
    assert_eq!(
        machine.free_pages(folio, 3).map_err(|error| error.to_string()),
        Err(format!("the block at {folio:#x} is preserved; it is unpreserved before it is freed"))
    );
    machine.unpreserve_folio(folio).unwrap();
    machine.free_pages(folio, 3).unwrap();
    machine.check().unwrap();
}

#[test]
fn what_was_not_preserved_is_not_unpreserved() {
    let hardware = hardware();
    let machine = boot(&hardware, Options::default());
    let folio = machine.alloc_pages(2, Gfp::empty()).unwrap();
    let not = |start, end| Err(UnpreserveError::NotPreserved { start, end });
    assert_eq!(machine.unpreserve_folio(folio), not(folio, folio + 4 * 4096));
    machine.preserve_folio(folio).unwrap();
    // A half of it was never marked as such.
    let half = folio..folio + 2 * 4096;
    assert_eq!(machine.unpreserve_pages(&half), not(half.start, half.end));
    assert_eq!(machine.unpreserve_folio(folio + 4096), not(folio + 4096, folio + 2 * 4096));
    assert_eq!(machine.unpreserve_pages(&(0..4096)), not(0, 4096));
    // The pool's own blocks are marked, and not the caller's to unmark.
    let block = machine.phys(alloc(&machine, 64, Gfp::PRESERVE)) & !0xffff;
    assert_eq!(machine.unpreserve_pages(&(block..block + 0x10000)), not(block, block + 0x10000));
    machine.check().unwrap();
}

#[test]
fn a_range_across_two_nodes_is_refused() {
    // Two nodes without a hole between them, at a place where a range can be taken on both sides.
    let memory = vec![
        MemoryRange { range: MIB..32 * MIB, node: 0 },
        MemoryRange { range: 32 * MIB..64 * MIB, node: 1 },
    ];
    let hardware = Hardware::new(memory).unwrap();
    // Scratch and tables lie high in each node; the border is free below and above.
    let scratch = ScratchSizes::Bytes { low: 0, global: 4 * MIB, per_node: 0 };
    let machine = boot(&hardware, Options { scratch, ..Options::default() });
    let border = 32 * MIB;
    let below =
        (1..512).map(|at| border - at * 4096).find(|&at| machine.take_page_range(&(at..at + 4096)).is_ok());
    machine.take_page_range(&(border..border + 4096)).unwrap();
    let range = below.unwrap()..border + 4096;
    assert_eq!(machine.preserve_pages(&range), Err(PreserveError::AcrossNodes { at: border }));
    machine.preserve_pages(&(border..border + 4096)).unwrap();
    machine.check().unwrap();
}

#[test]
fn ranges_that_are_no_pages_in_use_are_refused() {
    let hardware = hardware();
    let machine = boot(&hardware, Options::default());
    let folio = machine.alloc_pages(2, Gfp::empty()).unwrap();
    let no = |start, end| Err(PreserveError::NoPages { start, end });
    assert_eq!(machine.preserve_pages(&(folio..folio)), no(folio, folio));
    assert_eq!(machine.preserve_pages(&(folio + 8..folio + 4096)), no(folio + 8, folio + 4096));
    assert_eq!(machine.preserve_folio(folio + 4096), Err(PreserveError::NoFolio { phys: folio + 4096 }));
    assert_eq!(machine.preserve_folio(0), Err(PreserveError::NotInUse { phys: 0 }));
    assert_eq!(machine.preserve_pages(&(0..4096)), Err(PreserveError::NotInUse { phys: 0 }));
    machine.free_pages(folio, 2).unwrap();
    assert_eq!(machine.preserve_folio(folio), Err(PreserveError::NotInUse { phys: folio }));
    machine.check().unwrap();
}

#[test]
fn a_full_tree_is_refused_and_stays_as_it_was() {
    let hardware = hardware();
    let machine = boot(&hardware, Options::default());
    let phys = machine.phys(alloc(&machine, 64, Gfp::PRESERVE));
    let mut nr = 0;
    let error = loop {
        match machine.add_subtree(&format!("a-rather-long-name-{nr:03}"), phys, 64) {
            Ok(()) => nr += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SubtreeError::Tree(FdtError::Full { .. })), "{error}");
    assert!(nr > 40, "{nr} subtrees only");
    assert_eq!(
        machine.add_subtree("a-rather-long-name-000", phys, 64).map_err(|error| matches!(
            error,
            SubtreeError::Tree(FdtError::Twice { .. } | FdtError::Full { .. })
        )),
        Err(true)
    );
    let long = "a-name-that-is-longer-than-a-name-may-be";
    assert_eq!(machine.add_subtree(long, phys, 64), Err(SubtreeError::Name { len: long.len() }));
    hand_over(machine);
    let machine = boot(&hardware, Options::default());
    for at in 0..nr {
        assert_eq!(machine.retrieve(&format!("a-rather-long-name-{at:03}")).unwrap().data, phys);
    }
    machine.check().unwrap();
}

#[test]
fn blobs_lie_in_preserved_memory_and_stay_while_they_are_listed() {
    let hardware = hardware();
    let machine = boot(&hardware, Options::default());
    let folio = machine.alloc_pages(0, Gfp::empty()).unwrap();
    assert_eq!(machine.add_subtree("page", folio, 16), Err(SubtreeError::NotPreserved { phys: folio }));
    machine.preserve_folio(folio).unwrap();
    assert_eq!(
        machine.add_subtree("page", folio, 4097),
        Err(SubtreeError::NotPreserved { phys: folio + 4096 })
    );
    machine.add_subtree("page", folio, 4096).unwrap();
    let (start, end) = (folio, folio + 4096);
    assert_eq!(machine.unpreserve_folio(folio), Err(UnpreserveError::InUse { start, end }));
    let object = alloc(&machine, 64, Gfp::PRESERVE);
    let phys = machine.phys(object);
    assert_eq!(machine.add_subtree("object", phys, 65), Err(SubtreeError::NotPreserved { phys }));
    machine.add_subtree("object", phys + 8, 56).unwrap();
    // SAFETY: nobody uses the object.
    assert_eq!(unsafe { machine.free(object) }, Err(FreeError::InUse { phys }));
    machine.remove_subtree("object").unwrap();
    assert_eq!(machine.remove_subtree("object"), Err(SubtreeError::NotFound));
    assert_eq!(machine.remove_subtree("heirloom-slab"), Err(SubtreeError::NotFound));
    // SAFETY: nobody uses the object.
    assert_eq!(unsafe { machine.free(object) }, Ok(()));
    // SAFETY: it is refused.
    assert_eq!(unsafe { machine.free(object) }, Err(FreeError::Twice { phys }));
    assert_eq!(machine.add_subtree("object", phys, 64), Err(SubtreeError::NotPreserved { phys }));
    machine.remove_subtree("page").unwrap();
    machine.unpreserve_folio(folio).unwrap();
    machine.check().unwrap();
}

#[test]
fn free_takes_nothing_but_the_start_of_an_object() {
    let hardware = hardware();
    let machine = boot(&hardware, Options::default());
    let object = alloc(&machine, 100, Gfp::PRESERVE);
    let start = machine.phys(object);
    let folio = machine.alloc_pages(0, Gfp::empty()).unwrap();
    let at = |phys: u64| std::ptr::NonNull::new(machine.address(phys)).unwrap();
    // SAFETY: each is refused.
    unsafe {
        assert_eq!(machine.free(at(start + 16)), Err(FreeError::Inside { phys: start + 16, start }));
        for phys in [folio, 0, 1 << 40, start & !0xffff] {
            assert_eq!(machine.free(at(phys)), Err(FreeError::NoObject { phys }));
        }
    }
    assert!(matches!(machine.free_pages(start & !0xffff, 4), Err(PagesError::Owned { .. })));
    machine.check().unwrap();
}

#[test]
fn a_frozen_machine_changes_nothing_that_is_preserved_until_it_thaws() {
    let hardware = hardware();
    let machine = boot(&hardware, Options::default());
    let object = alloc(&machine, 100, Gfp::PRESERVE);
    let folio = machine.alloc_pages(0, Gfp::empty()).unwrap();
    let early = machine.create_cache("early", 64, 16, CacheFlags::PRESERVE).unwrap();
    let frozen = machine.freeze().unwrap();
    assert_eq!(machine.freeze().map(drop), Err(FreezeError::Already));
    assert_eq!(machine.alloc(8, Gfp::PRESERVE), Err(AllocError::Frozen));
    // SAFETY: it is refused.
    assert_eq!(unsafe { machine.free(object) }, Err(FreeError::Frozen));
    assert_eq!(machine.preserve_folio(folio), Err(PreserveError::Frozen));
    assert_eq!(machine.unpreserve_folio(folio), Err(UnpreserveError::Frozen));
    assert_eq!(machine.add_subtree("x", machine.phys(object), 8), Err(SubtreeError::Frozen));
    assert_eq!(machine.create_cache("late", 64, 16, CacheFlags::PRESERVE), Err(CacheError::Frozen));
    machine.create_cache("ordinary", 64, 16, CacheFlags::empty()).unwrap();
    assert_eq!(machine.create_cache("early", 64, 16, CacheFlags::PRESERVE), Ok(early));
    // Ordinary memory is as ever.
    let ordinary = alloc(&machine, 100, Gfp::empty());
    // SAFETY: nobody uses it.
    unsafe { machine.free(ordinary) }.unwrap();
    machine.thaw(frozen);
    // SAFETY: nobody uses it.
    unsafe { machine.free(object) }.unwrap();
    machine.preserve_folio(folio).unwrap();
    machine.create_cache("late", 64, 16, CacheFlags::PRESERVE).unwrap();
    machine.check().unwrap();
}

#[test]
fn nothing_to_hand_over_is_no_handover() {
    let hardware = hardware();
    let options = Options { preserve_blocks: 0, ..Options::default() };
    let machine = boot(&hardware, options);
    assert_eq!(machine.freeze().map(drop), Err(FreezeError::Nothing));
    assert_eq!(machine.alloc(8, Gfp::PRESERVE), Err(AllocError::NoPreservePool));
    assert_eq!(machine.alloc(8, Gfp::MOVABLE), Err(AllocError::Movable));
    machine.check().unwrap();
}

#[test]
fn pages_are_claimed_once_and_whole() {
    let hardware = hardware();
    let machine = boot(&hardware, Options::default());
    let folio = machine.alloc_pages(2, Gfp::empty()).unwrap();
    machine.preserve_folio(folio).unwrap();
    let area = machine.alloc_area(3, 1, Gfp::PRESERVE).unwrap();
    machine.preserve_area(&area).unwrap();
    hand_over(machine);
    let machine = boot(&hardware, Options::default());
    let not = |phys| Err(RestorePagesError::NotInherited { phys });
    assert_eq!(machine.restore_folio(folio + 4096), Err(RestorePagesError::Cut { phys: folio }));
    assert_eq!(machine.restore_pages(&(folio..folio + 4096)), Err(RestorePagesError::Cut { phys: folio }));
    for (start, end) in [(folio, folio), (folio + 4 * 4096, folio), (u64::MAX, 0)] {
        assert_eq!(machine.restore_pages(&(start..end)), Err(RestorePagesError::NoPages { start, end }));
    }
    assert_eq!(machine.restore_folio(folio), Ok(2));
    assert_eq!(machine.restore_folio(folio).map(drop), not(folio));
    assert_eq!(machine.restore_folio(2 * MIB).map(drop), not(2 * MIB));
    // A record that says more, less, or another order than was handed over claims nothing.
    let record = area.to_bytes();
    for (at, value) in [(8, 2), (8, 6), (14, 0)] {
        let mut wrong = record;
        wrong[at] = value;
        let error = machine.restore_area(&wrong).unwrap_err();
        assert!(matches!(error, VmallocError::Count { .. } | VmallocError::Order { .. }), "{error}");
        machine.check().unwrap();
    }
    assert_eq!(machine.restore_area(&record), Ok(area));
    assert!(matches!(machine.restore_area(&record), Err(VmallocError::Pages(_))));
    assert_eq!(machine.finish(), 0);
    machine.free_area(&area).unwrap();
    machine.free_pages(folio, 2).unwrap();
    // A copy of the record that outlived its pages leads nowhere, whatever is written there now.
    for word in [0, 1 << 40, u64::MAX, area.first()] {
        hardware.store(area.first(), word);
        hardware.store(area.first() + 8, word);
        assert!(machine.free_area(&area).is_err());
        assert!(machine.preserve_area(&area).is_err());
        assert!(machine.unpreserve_area(&area).is_err());
    }
    machine.check().unwrap();
}

/// The list of an area may have been overwritten: what it names then is refused as a whole, and nothing is half done.
#[test]
fn an_area_whose_list_was_overwritten_is_left_as_it_is() {
    let hardware = hardware();
    let machine = boot(&hardware, Options::default());
    assert!(machine.alloc_area(1, 40, Gfp::empty()).is_err());
    let folio = machine.alloc_pages(1, Gfp::empty()).unwrap();
    machine.preserve_folio(folio).unwrap();
    let area = machine.alloc_area(600, 0, Gfp::empty()).unwrap();
    let (last, next) = (area.first() + 8 * 511, hardware.load(area.first()));
    let (frame, first) = (hardware.load(last), hardware.load(area.first() + 8));
    let pool = machine.phys(alloc(&machine, 64, Gfp::PRESERVE)) & !0xffff;
    // A half of a folio, a page of the pool, a frame that is listed already, and an end before its time.
    let damages = [(last, folio), (last, pool), (last, first), (area.first(), 0)];
    let before = machine.nr_preserved_pages();
    for (at, word) in damages {
        hardware.store(at, word);
        assert!(machine.preserve_area(&area).is_err());
        assert_eq!(machine.nr_preserved_pages(), before);
        hardware.store(at, if at == last { frame } else { next });
    }
    machine.preserve_area(&area).unwrap();
    let marked = machine.nr_preserved_pages();
    for (at, word) in damages {
        hardware.store(at, word);
        assert!(machine.unpreserve_area(&area).is_err());
        assert_eq!(machine.nr_preserved_pages(), marked);
        machine.check().unwrap();
        hardware.store(at, if at == last { frame } else { next });
    }
    machine.unpreserve_area(&area).unwrap();
    // An order-4 frame like a pool's block, and the block in its place.
    let large = machine.alloc_area(32, 4, Gfp::empty()).unwrap();
    let (at, own) = (large.first() + 16, hardware.load(large.first() + 16));
    let ordinary = machine.phys(alloc(&machine, 64, Gfp::empty())) & !0xffff;
    let free = machine.nr_free_pages();
    for wrong in [ordinary, hardware.load(large.first() + 8)] {
        hardware.store(at, wrong);
        assert!(machine.free_area(&large).is_err());
    }
    hardware.store(at, own);
    // A page in the middle of its second frame.
    let inner = own + 4096..own + 2 * 4096;
    machine.preserve_pages(&inner).unwrap();
    assert!(machine.free_area(&large).is_err());
    machine.unpreserve_pages(&inner).unwrap();
    assert_eq!(machine.nr_free_pages(), free);
    machine.free_area(&large).unwrap();
    let free = machine.nr_free_pages();
    hardware.store(area.first(), 0);
    assert!(machine.free_area(&area).is_err());
    assert_eq!(machine.nr_free_pages(), free);
    hardware.store(area.first(), next);
    machine.free_area(&area).unwrap();
    machine.check().unwrap();
}

#[test]
fn what_nobody_claims_is_freed_at_the_end() {
    let hardware = hardware();
    let machine = boot(&hardware, Options::default());
    let folio = machine.alloc_pages(4, Gfp::empty()).unwrap();
    machine.preserve_folio(folio).unwrap();
    hand_over(machine);
    let machine = boot(&hardware, Options::default());
    let free = machine.nr_free_pages();
    assert_eq!(machine.finish(), 16);
    assert_eq!(machine.finish(), 0);
    assert_eq!(machine.nr_free_pages(), free + 16);
    machine.check().unwrap();
}

/// No page is left for a node of the map: what was marked of the range is unmarked again, and with memory it works.
#[test]
fn a_preservation_that_runs_out_of_pages_is_rolled_back() {
    let hardware = hardware();
    let machine = boot(&hardware, Options { preserve_blocks: 0, ..Options::default() });
    // Frames of orders 0 to 5 and back: the map has no node for any of them yet.
    let block = machine.alloc_pages(7, Gfp::empty()).unwrap();
    let range = block + 4096..block + (127 << 12);
    let area = machine.alloc_area(600, 0, Gfp::empty()).unwrap();
    let mut taken = Vec::new();
    while let Ok(page) = machine.alloc_pages(0, Gfp::empty()) {
        taken.push(page);
    }
    let mut failed = [0, 0];
    // A page more each time: a map keeps the nodes that a failed attempt made, so each gets further.
    while let Some(page) = taken.pop() {
        let results = [machine.preserve_pages(&range), machine.preserve_area(&area)];
        let expected = [126, 602];
        for (at, result) in results.iter().enumerate().filter(|(_, result)| result.is_err()) {
            assert_eq!(*result, Err(PreserveError::OutOfPages));
            failed[at] += 1;
        }
        let marked: u64 = (0..2).filter(|&at| results[at].is_ok()).map(|at| expected[at]).sum();
        assert_eq!(machine.nr_preserved_pages(), marked, "all of it or nothing");
        machine.check().unwrap();
        if results == [Ok(()), Ok(())] {
            break;
        }
        if results[0].is_ok() {
            machine.unpreserve_pages(&range).unwrap();
        }
        if results[1].is_ok() {
            machine.unpreserve_area(&area).unwrap();
        }
        machine.free_pages(page, 0).unwrap();
    }
    assert!(failed[0] > 10 && failed[1] > 2, "{failed:?}");
}
