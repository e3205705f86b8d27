//! The thread's claims, as far as a small workload shows them: each is a fact of a design, not of a machine.

use heirloom_lab::slabinfo::{BUILD_MACHINE, KVM_HOST};
use heirloom_lab::{ALL_DESIGNS, Chain, Row, Settings, Workload, run};
use heirloom_mm::PAGE_BYTES;

const GENERATIONS: u32 = 12;

/// A fifth of 1500 objects, and of those that rounding adds.
const NR_PRESERVED: u64 = 303;

/// The guard pool has a turn often, so that a short run sees it.
const SETTINGS: Settings =
    Settings { generations: GENERATIONS, seed: 7, guard_every: 100, root_once_in: 3, churn_percent: 100 };

fn chain(design: &str, slabinfo: &str, share: u32, settings: Settings) -> Chain {
    let workload = Workload::new(slabinfo, 1500, share).expect("a real table");
    let design = ALL_DESIGNS.into_iter().find(|one| one.name() == design).expect("a design of this name");
    let mut seen = Vec::new();
    let chain = run(design, &workload, &settings, |generation| seen.push(generation));
    let chain = chain.unwrap_or_else(|error| panic!("{} of {share} %: {error}", design.name()));
    assert!(seen.into_iter().eq(0..=settings.generations));
    assert!(chain.rows.iter().map(|row| row.generation).eq(1..=settings.generations));
    chain
}

fn rows(design: &str) -> Vec<Row> {
    chain(design, BUILD_MACHINE, 20, SETTINGS).rows
}

/// Nothing is lost and nothing spoiled, with the guard pool on, at every handover.
fn assert_whole(rows: &[Row]) {
    for row in rows {
        assert_eq!((row.lost, row.corrupt), (0, 0), "{row:?}");
        assert_eq!(row.nr_live, NR_PRESERVED, "{row:?}");
        assert!(row.preserved_bytes >= row.live_bytes);
    }
}

#[test]
fn flag_and_pool_exposes_nothing_and_strands_no_more_with_time() {
    for (slabinfo, share, seed) in [(BUILD_MACHINE, 20, 7), (BUILD_MACHINE, 5, 8), (KVM_HOST, 20, 9)] {
        let settings = Settings { seed, generations: 30, ..SETTINGS };
        let rows = chain("flag-and-pool", slabinfo, share, settings).rows;
        let first = rows[0].clone();
        for row in rows {
            assert_eq!((row.lost, row.corrupt), (0, 0));
            assert_eq!((row.stale_bytes, row.foreign_stale_bytes), (0, 0), "{row:?}");
            assert_eq!((row.guard_hits.data, row.guard_hits.metadata), (0, 0), "{row:?}");
            assert_eq!(row.stranded_bytes, first.stranded_bytes, "{share} %: {row:?}");
            assert_eq!(row.preserved_bytes, first.preserved_bytes, "{share} %: {row:?}");
        }
    }
}

#[test]
fn flag_and_pool_keeps_its_free_room_for_preserved_objects() {
    // What speaks against it: room that an ordinary object cannot have, and records of a fixed size.
    let pool = rows("flag-and-pool");
    assert!(pool.iter().all(|row| row.idle_bytes() > 0));
    let mixed = rows("mixed-bitmap");
    assert!(pool.iter().zip(&mixed).all(|(pool, mixed)| pool.metadata_bytes > mixed.metadata_bytes));
}

#[test]
fn a_page_for_each_object_costs_a_page_for_each_object() {
    let rows = rows("page-each");
    assert_whole(&rows);
    for row in &rows {
        assert!(row.preserved_bytes >= row.nr_live * PAGE_BYTES, "{row:?}");
        assert_eq!(row.stranded_bytes, row.preserved_bytes - row.live_bytes);
        assert_eq!(row.stale_bytes, 0, "its pages are zeroed when they are taken");
        assert_eq!(row.preserved_bytes, rows[0].preserved_bytes, "and it grows no more");
    }
}

#[test]
fn mixed_pages_without_a_record_strand_more_from_handover_to_handover() {
    let rows = rows("mixed-plain");
    assert_whole(&rows);
    let (first, last) = (&rows[0], rows.last().expect("there are some"));
    assert!(last.stranded_bytes * 2 > first.stranded_bytes * 3, "{first:?} {last:?}");
    assert!(last.foreign_stale_bytes * 2 > first.foreign_stale_bytes * 3);
    assert!(last.stranded_bytes > last.live_bytes);
}

#[test]
fn order_and_bitmap_strand_only_the_ends_of_slabs_and_expose_the_rest() {
    let rows = rows("mixed-bitmap");
    assert_whole(&rows);
    for row in &rows {
        assert!(row.stranded_bytes * 20 < row.preserved_bytes, "{row:?}");
        assert!(row.foreign_stale_bytes * 2 > row.preserved_bytes, "{row:?}");
    }
    // The guard pool serves some of its objects: their pages cannot be preserved.
    assert!(rows.iter().any(|row| row.guard_hits.data > 0));
}

#[test]
fn scrubbing_takes_the_exposure_away_and_nothing_else() {
    let (scrubbed, plain) = (rows("mixed-bitmap-scrubbed"), rows("mixed-bitmap"));
    assert_whole(&scrubbed);
    for (scrubbed, plain) in scrubbed.iter().zip(&plain) {
        assert_eq!((scrubbed.stale_bytes, scrubbed.foreign_stale_bytes), (0, 0), "{scrubbed:?}");
        assert_eq!(scrubbed.preserved_bytes, plain.preserved_bytes);
        assert_eq!(scrubbed.stranded_bytes, plain.stranded_bytes);
    }
}

#[test]
fn a_special_cache_keeps_others_out_only_if_it_does_not_merge() {
    let (merged, apart) = (rows("special-cache-merged"), rows("special-cache"));
    assert_whole(&merged);
    assert_whole(&apart);
    assert!(merged.iter().all(|row| row.foreign_stale_bytes > 0));
    assert!(apart.iter().all(|row| row.foreign_stale_bytes == 0));
    assert!(apart.iter().any(|row| row.stale_bytes > 0), "its own freed objects are still readable");
    assert!(apart.iter().any(|row| row.guard_hits.data > 0), "and the guard pool does not know of it");
}

#[test]
fn metadata_by_kzalloc_loses_everything_once_the_guard_pool_served_it() {
    let rows = rows("kzalloc-metadata");
    assert!(rows.iter().any(|row| row.guard_hits.metadata > 0));
    for row in &rows {
        // All or nothing; and only after the root was in the guard pool.
        assert!(row.lost == 0 || (row.lost == NR_PRESERVED && row.guard_hits.metadata > 0), "{row:?}");
    }
    assert!(rows.iter().any(|row| row.lost > 0), "{rows:?}");
    // The first kernel's guard pool is not in scratch yet.
    assert_eq!(rows[0].lost, 0);
}

#[test]
fn a_seed_makes_a_run() {
    let bytes = |seed| {
        let rows = chain("mixed-plain", KVM_HOST, 5, Settings { seed, generations: 4, ..SETTINGS }).rows;
        rows.iter().map(|row| (row.preserved_bytes, row.foreign_stale_bytes)).collect::<Vec<_>>()
    };
    assert_eq!(bytes(3), bytes(3));
    assert_ne!(bytes(3), bytes(4));
}

#[test]
fn the_picture_shows_what_the_numbers_say() {
    use heirloom_lab::picture::*;
    let count = |design: &str, class| chain(design, BUILD_MACHINE, 20, SETTINGS).picture.count(class);
    assert!(count("mixed-plain", STRANDED) > 0 && count("mixed-bitmap", STRANDED) == 0);
    assert!(count("mixed-bitmap", MIXED) > 0 && count("flag-and-pool", MIXED) == 0);
    let pool = chain("flag-and-pool", BUILD_MACHINE, 20, SETTINGS).picture;
    for class in [SCRATCH, GUARD, ORDINARY, PRESERVED, RECORDS] {
        assert!(pool.count(class) > 0, "class {class}");
    }
}
