use core::ops::ControlFlow;
use std::vec;
use std::vec::Vec;

use super::*;

extern crate std;

/// The first page that trees of these tests take.
const BASE: u64 = 0x10_0000;

fn frame(phys: u64, order: u32) -> Frame {
    Frame::new(phys, Order::new(order).unwrap()).unwrap()
}

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

/// Runs `test` over `nr_pages` free pages and an empty map.
fn with_map<T>(nr_pages: usize, test: impl FnOnce(&mut RadixMap, &mut PageArray<'_>) -> T) -> T {
    let mut pages = vec![[0xdead_beef; NODE_WORDS]; nr_pages];
    let mut pages = PageArray::new(BASE, &mut pages, 0);
    let mut map = RadixMap::create(&mut pages).unwrap();
    test(&mut map, &mut pages)
}

fn limits() -> Limits {
    Limits { nodes: BASE..BASE + 0x10_0000, ..Limits::within(0..1 << 40) }
}

/// Answers whether a node comes for the first time.
fn once() -> impl FnMut(u64) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    move |node| seen.insert(node)
}

fn check(map: &RadixMap, pages: &impl Pages) -> Result<Summary, MapError> {
    map.check(pages, &limits(), once())
}

fn frames(map: &RadixMap, pages: &impl Pages) -> Vec<Frame> {
    map.frames(pages).map(Result::unwrap).collect()
}

#[test]
fn unmark_is_the_inverse_of_mark() {
    with_map(16, |map, pages| {
        let frame = frame(0x1_4020_3000, 0);
        assert_eq!(map.contains(pages, frame), Ok(false));
        map.mark(pages, frame).unwrap();
        assert_eq!(map.contains(pages, frame), Ok(true));
        assert_eq!(map.mark(pages, frame), Err(MarkError::AlreadyMarked { frame }));
        map.unmark(pages, frame).unwrap();
        assert_eq!(map.contains(pages, frame), Ok(false));
        assert_eq!(map.unmark(pages, frame), Err(MarkError::NotMarked { frame }));
        assert_eq!(frames(map, pages), []);
    });
}

#[test]
fn frames_of_other_orders_are_other_frames() {
    with_map(16, |map, pages| {
        map.mark(pages, frame(0, 3)).unwrap();
        assert_eq!(map.contains(pages, frame(0, 0)), Ok(false));
        assert_eq!(map.unmark(pages, frame(0, 0)), Err(MarkError::NotMarked { frame: frame(0, 0) }));
        assert_eq!(map.contains(pages, frame(0, 3)), Ok(true));
    });
}

#[test]
fn a_walk_goes_from_large_orders_to_small_and_up() {
    with_map(64, |map, pages| {
        let sorted = [frame(0x4000_0000, 18), frame(0x20_0000, 9), frame(0x1_0060_0000, 9), frame(0x1000, 0)];
        for &frame in sorted.iter().rev() {
            map.mark(pages, frame).unwrap();
        }
        assert_eq!(frames(map, pages), sorted);
        let mut seen = Vec::new();
        let broke = map.walk(pages, |frame| {
            seen.push(frame);
            if seen.len() == 2 {
                core::ops::ControlFlow::Break(frame)
            } else {
                core::ops::ControlFlow::Continue(())
            }
        });
        assert_eq!(broke, Ok(core::ops::ControlFlow::Break(sorted[1])));
        assert_eq!(seen, sorted[..2]);
    });
}

#[test]
#[cfg_attr(miri, ignore = "minutes under Miri, and no unsafe code in this crate")]
fn one_leaf_covers_128_mib_of_pages() {
    with_map(16, |map, pages| {
        map.mark_range(pages, 0..128 << 20, Order::ZERO).unwrap();
        assert_eq!(map.count_nodes(pages), Ok(LEVELS as u64));
        map.mark(pages, frame(128 << 20, 0)).unwrap();
        assert_eq!(map.count_nodes(pages), Ok(LEVELS as u64 + 1));
        let summary = check(map, pages).unwrap();
        assert_eq!(summary, Summary { nr_nodes: 7, nr_frames: 32769, size_bytes: (128 << 20) + 4096 });
    });
}

#[test]
fn a_range_is_marked_whole_or_not_at_all() {
    with_map(16, |map, pages| {
        let marked = frame(0x5_0000, 0);
        map.mark(pages, marked).unwrap();
        let range = 0x1000..0x8_0000;
        assert_eq!(
            map.mark_range(pages, range.clone(), Order::ZERO),
            Err(MarkError::AlreadyMarked { frame: marked })
        );
        assert_eq!(frames(map, pages), [marked]);

        map.unmark(pages, marked).unwrap();
        map.mark_range(pages, range.clone(), Order::ZERO).unwrap();
        assert_eq!(frames(map, pages).len(), 0x7f);
        map.unmark(pages, marked).unwrap();
        assert_eq!(map.unmark_range(pages, range, Order::ZERO), Err(MarkError::NotMarked { frame: marked }));
        assert_eq!(frames(map, pages).len(), 0x7e);
    });
}

#[test]
fn a_range_that_is_not_of_whole_frames_is_refused() {
    with_map(16, |map, pages| {
        for range in [0x1000..0x8000, 0..0x1000, 0x8000..0x9000] {
            let refused = map.mark_range(pages, range.clone(), order(3));
            assert!(matches!(refused, Err(MarkError::Frame(_))), "{range:x?}: {refused:?}");
        }
        for (start, end) in [(0x1_0000, 0x8000), (0x8000, 0)] {
            let refused = map.mark_range(pages, start..end, order(3));
            assert_eq!(refused, Err(FrameError { phys: end, order: order(3) }.into()));
        }
        assert_eq!(map.mark_range(pages, 0x1234..0x1234, order(3)), Ok(()));
        assert_eq!(frames(map, pages), []);
    });
}

#[test]
fn running_out_of_pages_leaves_the_same_frames_marked() {
    for nr_pages in 1..8 {
        with_map(nr_pages, |map, pages| {
            let (near, far) = (frame(0x1000, 0), frame(1 << 39, 0));
            let got_near = map.mark(pages, near);
            assert_eq!(got_near.is_ok(), nr_pages >= LEVELS);
            let before = frames(map, pages);
            let refused = map.mark(pages, far).unwrap_err();
            assert!(matches!(refused, MarkError::OutOfPages { .. }), "{refused:?}");
            assert_eq!(frames(map, pages), before);
            // What was taken is linked: it is counted, and not taken again.
            assert_eq!(map.count_nodes(pages), Ok(nr_pages as u64));
            assert_eq!(map.mark(pages, far), Err(refused));
        });
    }
}

#[test]
fn a_zero_root_is_not_an_empty_map() {
    with_map(16, |map, pages| {
        assert_eq!(check(map, pages), Err(MapError::ZeroRoot { root: BASE }));
        let expected = Limits { emptiness: Emptiness::Expected, ..limits() };
        assert_eq!(map.check(pages, &expected, once()).unwrap().nr_nodes, 1);

        map.mark(pages, frame(0, 0)).unwrap();
        map.unmark(pages, frame(0, 0)).unwrap();
        assert_eq!(check(map, pages), Err(MapError::Empty { root: BASE, nr_nodes: 6 }));

        let mut nowhere = RadixMap::at(0);
        assert_eq!(check(&nowhere, pages), Err(MapError::ZeroRoot { root: 0 }));
        assert_eq!(nowhere.mark(pages, frame(0, 0)), Err(MapError::ZeroRoot { root: 0 }.into()));
    });
}

#[test]
#[cfg_attr(miri, ignore = "minutes under Miri, and no unsafe code in this crate")]
fn overlaps_are_found_over_any_distance_of_orders() {
    for (small, large) in
        [(0, 1), (0, 3), (0, 5), (0, 6), (0, 9), (3, 4), (9, 18), (4, 9), (0, 27), (44, 47), (47, 49)]
    {
        let outer = frame(order(large).bytes(), large);
        let inside = [outer.phys(), outer.end() - order(small).bytes()];
        let beside = [outer.phys() - order(small).bytes(), outer.end()];
        let limits = Limits { memory: 0..u64::MAX, ..limits() };
        for phys in inside {
            with_map(64, |map, pages| {
                let inner = frame(phys, small);
                map.mark(pages, inner).unwrap();
                map.mark(pages, outer).unwrap();
                for phys in beside {
                    map.mark(pages, frame(phys, small)).unwrap();
                }
                assert_eq!(map.check(pages, &limits, once()), Err(MapError::Overlap { inner, outer }));
                map.unmark(pages, inner).unwrap();
                assert_eq!(map.check(pages, &limits, once()).unwrap().nr_frames, 3);
            });
        }
    }
}

#[test]
fn frames_outside_the_memory_are_refused() {
    let memory = 0x10_0000..0x20_0000;
    for (phys, nr_pages) in [(0xf_f000, 2), (0x1f_f000, 2), (0, 1), (0x20_0000, 1)] {
        with_map(16, |map, pages| {
            map.mark_range(pages, phys..phys + nr_pages * PAGE_BYTES, Order::ZERO).unwrap();
            let limits = Limits { memory: memory.clone(), ..limits() };
            let wrong = map.check(pages, &limits, once()).unwrap_err();
            assert!(matches!(wrong, MapError::FrameOutside { .. }), "{phys:#x}: {wrong:?}");
        });
    }
}

/// Marks one page, then lets `damage` loose on the tree, whose nodes lie in order from the root at `BASE` to the leaf.
fn damaged(damage: impl FnOnce(&mut PageArray<'_>)) -> MapError {
    with_map(16, |map, pages| {
        map.mark(pages, frame(0, 0)).unwrap();
        damage(pages);
        check(map, pages).unwrap_err()
    })
}

const fn node(level: u64) -> u64 {
    BASE + (LEVELS as u64 - 1 - level) * PAGE_BYTES
}

#[test]
fn wild_children_are_refused() {
    let outside = 1 << 30;
    let found = damaged(|pages| pages.store(node(4), 7, outside).unwrap());
    assert_eq!(found, MapError::NodeOutside { node: outside, level: 3 });
    let found = damaged(|pages| pages.store(node(4), 7, node(3) + 8).unwrap());
    assert_eq!(found, MapError::Misaligned { node: node(3) + 8, level: 3 });
    let found = damaged(|pages| pages.store(node(3), 7, !0xfff).unwrap());
    assert_eq!(found, MapError::NodeOutside { node: !0xfff, level: 2 });
}

#[test]
fn a_node_below_itself_is_a_loop() {
    for level in 1..LEVELS as u64 {
        for above in level..LEVELS as u64 {
            let found = damaged(|pages| pages.store(node(level), 3, node(above)).unwrap());
            assert_eq!(found, MapError::Loop { node: node(above), level: level as usize - 1 });
        }
    }
}

#[test]
fn a_node_with_two_parents_is_refused() {
    let found = damaged(|pages| pages.store(node(1), 7, node(0)).unwrap());
    assert_eq!(found, MapError::SharedNode { node: node(0), level: 0 });
    let found = damaged(|pages| pages.store(node(3), 7, node(0)).unwrap());
    assert_eq!(found, MapError::SharedNode { node: node(0), level: 2 });
}

#[test]
#[cfg_attr(miri, ignore = "minutes under Miri, and no unsafe code in this crate")]
fn the_number_of_nodes_bounds_the_work() {
    with_map(16, |map, pages| {
        // Each node has 512 times the same child: 512^5 visits, if nobody counted.
        for level in 1..LEVELS as u64 {
            let first = if level == 5 { 1 } else { 0 };
            let last = if level == 5 { 4 } else { NODE_WORDS };
            for index in first..last {
                pages.store(node(level), index, node(level - 1)).unwrap();
            }
        }
        let limits = Limits { max_nodes: 1000, ..limits() };
        assert_eq!(map.check(pages, &limits, |_| true), Err(MapError::TooManyNodes { most: 1000 }));
    });
}

#[test]
fn bits_without_an_order_are_refused() {
    let found = damaged(|pages| pages.store(node(5), 4, node(4) + 0x1000).unwrap());
    assert_eq!(found, MapError::BadKey { key: 4 << 51 });
    // Under children 0 all the way down, bits 0 and 1 of the leaf stand for no order and for the order of all memory.
    for bit in [0, 1] {
        let found = with_map(16, |map, pages| {
            map.mark(pages, frame(0, 51)).unwrap();
            pages.store(node(0), 0, 1 << bit).unwrap();
            assert_eq!(map.frames(pages).collect::<Vec<_>>(), [Err(MapError::BadKey { key: bit })]);
            check(map, pages).unwrap_err()
        });
        assert_eq!(found, MapError::BadKey { key: bit });
    }
}

#[test]
fn a_range_ending_at_the_top_of_memory_is_marked() {
    with_map(16, |map, pages| {
        let top = 0u64.wrapping_sub(2 * PAGE_BYTES);
        map.mark_range(pages, top - 3 * PAGE_BYTES..top, Order::ZERO).unwrap();
        assert_eq!(frames(map, pages).len(), 3);
    });
}

fn runs(map: &RadixMap, pages: &impl Pages) -> Vec<(u64, u64, u32)> {
    let run = |run: Run| (run.range().start, run.range().end, run.order().get());
    map.runs(pages).map(|next| run(next.unwrap())).collect()
}

#[test]
#[cfg_attr(miri, ignore = "minutes under Miri, and no unsafe code in this crate")]
fn runs_join_over_words_and_leaves_and_not_over_orders() {
    // order 9   |2M|            order 0   ...|128 MiB - 8 KiB .. 128 MiB | one whole leaf | + 3 pages |.|one|
    with_map(16, |map, pages| {
        let leaf = 128 << 20;
        map.mark(pages, frame(0x20_0000, 9)).unwrap();
        map.mark_range(pages, leaf - 0x2000..2 * leaf + 0x3000, Order::ZERO).unwrap();
        map.mark(pages, frame(2 * leaf + 0x4000, 0)).unwrap();
        map.mark(pages, frame(0x40_0000, 0)).unwrap();
        let expected = [
            (0x20_0000, 0x40_0000, 9),
            (0x40_0000, 0x40_1000, 0),
            (leaf - 0x2000, 2 * leaf + 0x3000, 0),
            (2 * leaf + 0x4000, 2 * leaf + 0x5000, 0),
        ];
        assert_eq!(runs(map, pages), expected);
        let mut nr = 0;
        let broke = map.walk_runs(pages, |run| {
            nr += 1;
            if run.nr_frames() > 1 { ControlFlow::Break(run.bytes()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((broke, nr), (Ok(ControlFlow::Break(leaf + 0x5000)), 3));
    });
}

#[test]
fn a_run_that_reaches_past_the_address_space_is_an_error() {
    // Keys 2 and 3 are of order 51: 3 would end at 2^64. 4 is of order 50.
    for bits in [0b1000, 0b1100, 0b11100, 0b11000, 0b11] {
        with_map(16, |map, pages| {
            map.mark(pages, frame(0, 51)).unwrap();
            pages.store(node(0), 0, bits).unwrap();
            let mut runs = map.runs(pages);
            assert!(matches!(runs.next(), Some(Err(MapError::BadKey { .. }))), "{bits:#b}");
            assert!(runs.next().is_none());
        });
    }
}

#[test]
fn a_list_is_marked_whole_or_not_at_all() {
    with_map(64, |map, pages| {
        // More than a batch, over two leaves, the last of them marked before.
        let all: Vec<Frame> =
            (0..100).map(|page| frame((128 << 20) - 0x3_2000 + page * PAGE_BYTES, 0)).collect();
        let last = all[99];
        map.mark(pages, last).unwrap();
        assert_eq!(map.mark_all(pages, &all), Err(MarkError::AlreadyMarked { frame: last }));
        assert_eq!(frames(map, pages), [last]);
        assert_eq!(map.unmark_all(pages, &all), Err(MarkError::NotMarked { frame: all[0] }));
        assert_eq!(frames(map, pages), [last]);

        let twice = [all[3], all[70], all[3]];
        assert_eq!(map.mark_all(pages, &twice), Err(MarkError::AlreadyMarked { frame: all[3] }));
        assert_eq!(frames(map, pages), [last]);

        map.mark_all(pages, &all[..99]).unwrap();
        assert_eq!(frames(map, pages), all);
        let twice = [all[98], all[0], all[98]];
        assert_eq!(map.unmark_all(pages, &twice), Err(MarkError::NotMarked { frame: all[98] }));
        assert_eq!(frames(map, pages), all);
        map.unmark_all(pages, &all).unwrap();
        assert_eq!(frames(map, pages), []);
        assert_eq!(map.mark_all(pages, &[]), Ok(()));
    });
}

#[test]
fn a_list_for_which_pages_run_out_is_not_marked() {
    with_map(LEVELS + 1, |map, pages| {
        let list = [frame(0x1000, 0), frame(128 << 20, 0), frame(1 << 39, 0)];
        let refused = map.mark_all(pages, &list).unwrap_err();
        assert!(matches!(refused, MarkError::OutOfPages { .. }), "{refused:?}");
        assert_eq!(frames(map, pages), []);
    });
}

#[test]
fn addresses_beside_an_array_are_in_no_page_of_it() {
    let mut memory = vec![[7; NODE_WORDS]; 2];
    let pages = PageArray::new(BASE, &mut memory, 0);
    for inside in [BASE, BASE + PAGE_BYTES] {
        assert_eq!(pages.load(inside, 511), Some(7));
        assert_eq!(pages.load(inside, 512), None);
        assert_eq!(pages.words_unlike(inside, 448..512, 0), Some(u64::MAX));
        assert_eq!(pages.words_unlike(inside, 510..513, 0), None);
    }
    for outside in
        [0, 1, BASE - PAGE_BYTES, BASE - 1, BASE + 1, BASE + 8, BASE + 2 * PAGE_BYTES, u64::MAX, !0xfff]
    {
        assert_eq!(pages.load(outside, 0), None, "{outside:#x}");
        assert_eq!(pages.words_unlike(outside, 0..64, 0), None, "{outside:#x}");
    }
}
