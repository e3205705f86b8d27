use std::collections::BTreeSet;
use std::vec::Vec;

use super::*;
use crate::testing::{Ram, Random};

const MIB: u64 = 1 << 20;

/// ```text
/// 0      1M            8M     12M           16M
/// |      |== node 0 ====|      |== node 1 ===|
/// ```
fn firmware() -> [MemoryRange; 2] {
    [MemoryRange { range: MIB..8 * MIB, node: 0 }, MemoryRange { range: 12 * MIB..16 * MIB, node: 1 }]
}

#[test]
fn neighbours_of_one_node_are_joined_and_ranges_are_cut_to_pages() {
    let ram = Ram::new(MIB);
    let range = |range, node| MemoryRange { range, node };
    let memblock = Memblock::new(
        ram.memory(),
        &[
            range(0x5000..0x8000, 0),
            range(0x1800..0x3fff, 0),
            range(0x3000..0x5000, 0),
            range(0x8000..0x9000, 1),
        ],
    );
    let memblock = memblock.unwrap();
    let joined: Vec<_> = memblock.memory().iter().map(|r| (r.start, r.end, r.node)).collect();
    assert_eq!(joined, [(0x2000, 0x8000, 0), (0x8000, 0x9000, 1)]);
}

#[test]
fn a_firmware_map_that_contradicts_itself_is_refused() {
    let ram = Ram::new(MIB);
    let new = |ranges: &[MemoryRange]| Memblock::new(ram.memory(), ranges).map(drop);
    let range = |range, node| MemoryRange { range, node };
    let overlap = [range(0..0x3000, 0), range(0x2000..0x4000, 0)];
    assert_eq!(new(&overlap), Err(MemblockError::Overlap { at: 0x2000 }));
    let reversed = [range(Range { start: 0x3000, end: 0x1000 }, 0)];
    assert_eq!(new(&reversed), Err(MemblockError::Range { start: 0x3000, end: 0x1000 }));
    assert_eq!(new(&[range(0..0x1000, 8)]), Err(MemblockError::Node { node: 8 }));
    let many: Vec<_> = (0..33).map(|at| range(at * 0x2000..at * 0x2000 + 0x1000, 0)).collect();
    assert_eq!(new(&many), Err(MemblockError::TooManyRanges));
}

/// The list of reserved ranges in lock-step with a set of pages, far beyond its first array.
#[test]
fn reserving_and_freeing_agree_with_a_set_of_pages() {
    for seed in 1..=8 {
        let ram = Ram::new(16 * MIB);
        let mut memblock = Memblock::new(ram.memory(), &firmware()).unwrap();
        let (mut model, mut random) = (BTreeSet::new(), Random(seed));
        let mut own = BTreeSet::new();
        for step in 0..3000 {
            let start = 256 + random.below(1500);
            let pages = start..start + 1 + random.below(3);
            let range = pages.start * PAGE_BYTES..pages.end * PAGE_BYTES;
            if pages.clone().any(|page| own.contains(&page)) {
                continue;
            }
            if random.below(3) < 2 {
                memblock.reserve(&range).unwrap();
                model.extend(pages);
            } else {
                memblock.free(&range).unwrap();
                model.retain(|page| !pages.contains(page));
            }
            let reserved: BTreeSet<u64> =
                memblock.reserved().iter().flat_map(|r| r.start / PAGE_BYTES..r.end / PAGE_BYTES).collect();
            // What the list took for its own array is taken too.
            own = reserved.difference(&model).copied().collect();
            assert!(model.is_subset(&reserved), "seed {seed}, step {step}");
            assert!(own.len() <= 24, "seed {seed}, step {step}: {} pages more than asked", own.len());
            memblock.check().unwrap_or_else(|broken| panic!("seed {seed}, step {step}: {broken:?}"));
        }
        assert!(!own.is_empty(), "seed {seed}: the list never grew");
    }
}

#[test]
fn while_only_scratch_may_be_used_even_the_list_itself_grows_there() {
    let ram = Ram::new(16 * MIB);
    let mut memblock = Memblock::new(ram.memory(), &firmware()).unwrap();
    let mut scratch = ScratchAreas::default();
    scratch.push(4 * MIB..8 * MIB);
    memblock.set_scratch(scratch);
    memblock.set_scratch_only(true);
    for at in 0..400 {
        memblock.reserve(&(MIB + at * 0x2000..MIB + at * 0x2000 + 0x1000)).unwrap();
    }
    let at = memblock.alloc(0x1000, 0x1000, &Place::default()).unwrap();
    assert!(scratch.overlaps(&(at..at + 1)));
    let outside = memblock.reserved().iter().filter(|r| r.start >= 8 * MIB).count();
    assert_eq!(outside, 0, "the list moved out of scratch");
    memblock.set_scratch_only(false);
    let at = memblock.alloc(0x1000, 0x1000, &Place::default()).unwrap();
    assert!(!scratch.overlaps(&(at..at + 1)));
    assert_eq!(at, 16 * MIB - 0x1000, "the highest gap serves");
}

#[test]
fn allocations_keep_to_their_node_and_window() {
    let ram = Ram::new(16 * MIB);
    let mut memblock = Memblock::new(ram.memory(), &firmware()).unwrap();
    let place = Place { within: None, node: Some(0) };
    assert_eq!(memblock.alloc(0x3000, 0x1000, &place), Ok(8 * MIB - 0x3000));
    let place = Place { within: Some(0..4 * MIB), node: None };
    assert_eq!(memblock.alloc(MIB, MIB, &place), Ok(3 * MIB));
    let place = Place { within: Some(9 * MIB..12 * MIB), node: None };
    let none = MemblockError::OutOfMemory { size: 1, align: 1 };
    assert_eq!(memblock.alloc(1, 1, &place), Err(none));
}

#[test]
fn a_foreign_list_of_scratch_areas_is_compared_with_the_memory() {
    use crate::scratch::ScratchError;
    let ram = Ram::new(16 * MIB);
    let memblock = Memblock::new(ram.memory(), &firmware()).unwrap();
    let read = |entries: &[(u64, u64)], size: u64| {
        for (at, &(start, bytes)) in (2 * MIB..).step_by(16).zip(entries) {
            ram.memory().store(at, start);
            ram.memory().store(at + 8, bytes);
        }
        ScratchAreas::read_list(&memblock, ram.memory(), 2 * MIB, size)
    };
    let areas = read(&[(4 * MIB, 4 * MIB), (12 * MIB, 4 * MIB)], 32).unwrap();
    assert_eq!(areas.iter().collect::<Vec<_>>(), [4 * MIB..8 * MIB, 12 * MIB..16 * MIB]);
    assert_eq!(read(&[], 0), Err(ScratchError::Count { nr: 0 }));
    assert_eq!(read(&[], 8), Err(ScratchError::Count { nr: 0 }));
    assert_eq!(read(&[], 4096), Err(ScratchError::Count { nr: 256 }));
    let twice = [(4 * MIB, 4 * MIB), (4 * MIB, 4 * MIB)];
    assert_eq!(read(&twice, 32), Err(ScratchError::Overlap { index: 1, start: 4 * MIB }));
    for area in
        [(8 * MIB, 4 * MIB), (4 * MIB, 8 * MIB), (4 * MIB, 0), (5 * MIB, 4 * MIB), (4 * MIB, !(4 * MIB - 1))]
    {
        let wrong = ScratchError::Area { index: 0, start: area.0, size: area.1 };
        assert_eq!(read(&[area], 16), Err(wrong));
    }
    let at = 9 * MIB;
    let outside = ScratchAreas::read_list(&memblock, ram.memory(), at, 16);
    assert_eq!(outside, Err(ScratchError::List { at, size: 16 }));
}
