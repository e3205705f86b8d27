use std::collections::BTreeMap;
use std::vec::Vec;

use super::*;
use crate::phys::PAGE_BYTES;
use crate::testing::{Ram, Random};

/// Two zones with a hole, the second on node 1 and no multiple of a page block. The tables lie behind the memory.
///
/// ```text
/// pfn 0         2048 | hole | 3072 (scratch) 4096          6000
///     |== node 0 ====|      |######|========= node 1 ======|
/// ```
fn buddy(ram: &Ram) -> Buddy<'_> {
    let mut new = Buddy::new();
    let mut table = 6000 * PAGE_BYTES;
    for (pfns, node) in [(0..2048, 0), (3072..6000, 1)] {
        // SAFETY: the tables lie behind the pages, one behind the other, in memory that outlives them.
        #[expect(unsafe_code, reason = "tables in plain memory")]
        let zone = unsafe { Zone::new(ram.memory(), pfns.clone(), node, table) };
        table += Zone::table_bytes(&pfns).next_multiple_of(PAGE_BYTES);
        new.add_zone(zone);
    }
    new.set_scratch(&(3072 * PAGE_BYTES..4096 * PAGE_BYTES));
    new.give_range(&(0..2048 * PAGE_BYTES));
    new.give_range(&(3072 * PAGE_BYTES..6000 * PAGE_BYTES));
    new.check().unwrap();
    new
}

fn ram() -> Ram {
    Ram::new(6100 * PAGE_BYTES)
}

fn request(order: u32, kind: BlockType) -> Request {
    Request { order, kind, node: None, urgent: true }
}

#[test]
fn freeing_both_buddies_merges_them() {
    let ram = ram();
    let mut buddy = buddy(&ram);
    let whole = buddy.nr_free(BlockType::Movable);
    let first = buddy.alloc(request(3, BlockType::Movable)).unwrap();
    let second = buddy.alloc(request(3, BlockType::Movable)).unwrap();
    assert_eq!(first ^ second, PAGE_BYTES << 3, "the second is the first's buddy");
    buddy.free(first, 3).unwrap();
    buddy.check().unwrap();
    buddy.free(second, 3).unwrap();
    buddy.check().unwrap();
    assert_eq!(buddy.nr_free(BlockType::Movable), whole);
    assert!(buddy.alloc(request(MAX_ORDER, BlockType::Movable)).is_some());
}

#[test]
fn only_movable_requests_are_served_from_scratch() {
    let ram = ram();
    let mut buddy = buddy(&ram);
    for kind in [BlockType::Kernel, BlockType::Preserved] {
        while let Some(phys) = buddy.alloc(request(0, kind)) {
            assert!(!(3072..4096).contains(&(phys / PAGE_BYTES)), "{kind:?}");
        }
    }
    buddy.check().unwrap();
    assert_eq!(buddy.nr_free_outside_scratch(), 0);
    assert_eq!(buddy.nr_free(BlockType::Scratch), 1024);
    let phys = buddy.alloc(request(0, BlockType::Movable)).unwrap();
    assert_eq!(buddy.zone(phys / PAGE_BYTES).unwrap().type_of(phys / PAGE_BYTES), BlockType::Scratch);
}

#[test]
fn the_last_pages_are_for_the_urgent() {
    let ram = ram();
    let mut buddy = buddy(&ram);
    buddy.set_kept(64);
    let calm = Request { urgent: false, ..request(0, BlockType::Kernel) };
    while buddy.alloc(calm).is_some() {}
    assert_eq!(buddy.nr_free_outside_scratch(), 64);
    assert!(buddy.alloc(request(0, BlockType::Kernel)).is_some());
}

#[test]
fn what_is_not_in_use_is_not_taken_back() {
    let ram = ram();
    let mut buddy = buddy(&ram);
    let phys = buddy.alloc(request(2, BlockType::Kernel)).unwrap();
    let wrong = |phys, order| Err(FreePagesError::NotInUse { phys, order });
    assert_eq!(buddy.free(phys, 1), wrong(phys, 1));
    assert_eq!(buddy.free(phys + PAGE_BYTES, 0), wrong(phys + PAGE_BYTES, 0));
    assert_eq!(buddy.free(phys + 8, 2), wrong(phys + 8, 2));
    assert_eq!(buddy.free(2500 * PAGE_BYTES, 0), wrong(2500 * PAGE_BYTES, 0));
    buddy.free(phys, 2).unwrap();
    assert_eq!(buddy.free(phys, 2), wrong(phys, 2));
    let phys = buddy.alloc(request(0, BlockType::Kernel)).unwrap();
    buddy.zone_mut(phys / PAGE_BYTES).unwrap().set_preserved(phys / PAGE_BYTES..phys / PAGE_BYTES + 1, true);
    assert_eq!(buddy.free(phys, 0), Err(FreePagesError::Preserved { phys }));
}

#[test]
fn a_range_is_taken_out_of_larger_blocks_and_merges_back() {
    let ram = ram();
    let mut buddy = buddy(&ram);
    let free = buddy.nr_free(BlockType::Movable);
    let range = 1000 * PAGE_BYTES..1030 * PAGE_BYTES;
    buddy.take_range(&range).unwrap();
    buddy.check().unwrap();
    assert_eq!(buddy.nr_free(BlockType::Movable), free - 30);
    assert_eq!(buddy.take_range(&(900 * PAGE_BYTES..1001 * PAGE_BYTES)), Err(NotFree { phys: range.start }));
    assert_eq!(
        buddy.take_range(&(2040 * PAGE_BYTES..2060 * PAGE_BYTES)),
        Err(NotFree { phys: 2040 * PAGE_BYTES })
    );
    buddy.free_range(&range).unwrap();
    buddy.check().unwrap();
    assert_eq!(buddy.nr_free(BlockType::Movable), free);
    let area = 3072 * PAGE_BYTES..4096 * PAGE_BYTES;
    assert_eq!(buddy.take_run(&area, 5 * PAGE_BYTES, 1 << 20), Some(area.start));
    assert_eq!(buddy.take_run(&area, 5 * PAGE_BYTES, 1 << 20), Some(area.start + (1 << 20)));
    assert_eq!(buddy.take_run(&area, 5 << 20, 1), None);
    buddy.check().unwrap();
}

/// In lock-step with a map of what was handed out.
#[test]
fn random_requests_agree_with_a_slow_map() {
    for seed in 1..=6 {
        let ram = ram();
        let mut buddy = buddy(&ram);
        let mut random = Random(seed * 77);
        let mut held: BTreeMap<u64, u32> = BTreeMap::new();
        for step in 0..4000 {
            if random.below(5) < 3 {
                let kind = BlockType::ALL[random.below(3) as usize];
                let order = random.below(6) as u32;
                let node = [None, Some(0), Some(1)][random.below(3) as usize];
                let Some(phys) = buddy.alloc(Request { order, kind, node, urgent: true }) else { continue };
                let (from, to) = (phys / PAGE_BYTES, phys / PAGE_BYTES + (1 << order));
                let before = held.range(..to).next_back();
                assert!(
                    before.is_none_or(|(&at, &order)| at + (1 << order) <= from),
                    "seed {seed}, step {step}: handed out twice"
                );
                assert!(to <= 2048 || (from >= 3072 && to <= 6000), "seed {seed}, step {step}: no memory");
                held.insert(from, order);
            } else if !held.is_empty() {
                let at = *held.keys().nth(random.below(held.len() as u64) as usize).unwrap();
                let order = held.remove(&at).unwrap();
                buddy.free(at * PAGE_BYTES, order).unwrap();
            }
            if step % 50 == 0 {
                buddy.check().unwrap_or_else(|broken| panic!("seed {seed}, step {step}: {broken}"));
            }
        }
        for (at, order) in held {
            buddy.free(at * PAGE_BYTES, order).unwrap();
        }
        buddy.check().unwrap();
        let free: Vec<u64> = BlockType::ALL.map(|kind| buddy.nr_free(kind)).to_vec();
        assert_eq!(free.iter().sum::<u64>(), 2048 + 2928, "seed {seed}");
        assert_eq!(free[BlockType::Scratch as usize], 1024, "seed {seed}");
    }
}
