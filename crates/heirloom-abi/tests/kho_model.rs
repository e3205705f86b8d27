//! The preserved-memory map in lock-step with a sorted set. proptest prints the failing operations, and the seed that finds them again.

use std::collections::BTreeSet;

use heirloom_abi::kho::radix::{
    Emptiness, Frame, Limits, MapError, MarkError, NODE_WORDS, Order, PAGE_BYTES, PageArray, Pages, RadixMap,
};
use proptest::prelude::*;

const BASE: u64 = 0x40_0000;
const NR_PAGES: usize = 24;
const MEMORY: u64 = 1 << 36;

#[derive(Clone, Debug)]
enum Operation {
    Mark(Frame),
    Unmark(Frame),
    MarkRange(Frame, u64),
    UnmarkRange(Frame, u64),
}

/// Frames in a few clusters, so that operations meet: about leaf boundaries, below and above 4 GiB, of mixed orders.
fn frame() -> impl Strategy<Value = Frame> {
    let cluster = prop::sample::select(vec![0, (128 << 20) - (1 << 20), (4 << 30) - (1 << 20), 5 << 30]);
    let order = prop::sample::select(vec![0, 0, 0, 1, 3, 6, 9]);
    (cluster, order, 0..512u64).prop_map(|(cluster, order, page)| {
        let order = Order::new(order).unwrap();
        let phys: u64 = cluster + page * PAGE_BYTES;
        Frame::new(phys - phys % order.bytes(), order).unwrap()
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => frame().prop_map(Operation::Mark),
        3 => frame().prop_map(Operation::Unmark),
        1 => (frame(), 0..200u64).prop_map(|(frame, nr_frames)| Operation::MarkRange(frame, nr_frames)),
        1 => (frame(), 0..200u64).prop_map(|(frame, nr_frames)| Operation::UnmarkRange(frame, nr_frames)),
    ]
}

fn range(first: Frame, nr_frames: u64) -> Vec<Frame> {
    let phys = (0..nr_frames).map(|index| first.phys() + index * first.bytes());
    phys.map(|phys| Frame::new(phys, first.order()).unwrap()).collect()
}

/// What the model says about marking (or unmarking) these frames; it does so unless it refuses.
fn model(marked: &mut BTreeSet<Frame>, frames: &[Frame], mark: bool) -> Result<(), MarkError> {
    match frames.iter().find(|frame| marked.contains(frame) == mark) {
        Some(&frame) if mark => Err(MarkError::AlreadyMarked { frame }),
        Some(&frame) => Err(MarkError::NotMarked { frame }),
        None => {
            for &frame in frames {
                if mark {
                    marked.insert(frame)
                } else {
                    marked.remove(&frame)
                };
            }
            Ok(())
        }
    }
}

/// Whether two marked frames share a page: sorted by address, neighbours would.
fn overlaps(marked: &BTreeSet<Frame>) -> bool {
    let mut spans: Vec<_> = marked.iter().map(|frame| (frame.phys(), frame.end())).collect();
    spans.sort_unstable();
    spans.windows(2).any(|pair| pair[1].0 < pair[0].1)
}

fn check(map: &RadixMap, pages: &impl Pages, marked: &BTreeSet<Frame>) {
    let mut sorted: Vec<_> = marked.iter().copied().collect();
    sorted.sort_by_key(|frame| frame.key());
    let walked: Vec<_> = map.frames(pages).map(Result::unwrap).collect();
    assert_eq!(walked, sorted);

    let nodes = BASE..BASE + NR_PAGES as u64 * PAGE_BYTES;
    let limits = Limits { nodes, emptiness: Emptiness::Expected, ..Limits::within(0..MEMORY) };
    let mut seen = BTreeSet::new();
    match map.check(pages, &limits, |node| seen.insert(node)) {
        Ok(summary) => {
            assert!(!overlaps(marked));
            assert_eq!(summary.nr_frames, marked.len() as u64);
            assert_eq!(summary.size_bytes, marked.iter().map(|frame| frame.bytes()).sum::<u64>());
            assert_eq!(summary.nr_nodes, seen.len() as u64);
        }
        Err(MapError::Overlap { inner, outer }) => {
            assert!(marked.contains(&inner) && marked.contains(&outer));
            assert!(outer.phys() <= inner.phys() && inner.end() <= outer.end() && inner != outer);
        }
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_map_marks_what_a_set_holds(
        operations in prop::collection::vec(operation(), 1..60),
        nr_pages in prop_oneof![3 => Just(NR_PAGES), 1 => 1..NR_PAGES],
    ) {
        let mut memory = vec![[u64::MAX; NODE_WORDS]; nr_pages];
        let mut pages = PageArray::new(BASE, &mut memory, 0);
        let mut map = RadixMap::create(&mut pages).unwrap();
        let mut marked = BTreeSet::new();
        for operation in operations {
            let before = marked.clone();
            let (got, expected) = match operation.clone() {
                Operation::Mark(frame) => (map.mark(&mut pages, frame), model(&mut marked, &[frame], true)),
                Operation::Unmark(frame) => (map.unmark(&mut pages, frame), model(&mut marked, &[frame], false)),
                Operation::MarkRange(first, nr_frames) => {
                    let range_of = first.phys()..first.phys() + nr_frames * first.bytes();
                    let got = map.mark_range(&mut pages, range_of, first.order());
                    (got, model(&mut marked, &range(first, nr_frames), true))
                }
                Operation::UnmarkRange(first, nr_frames) => {
                    let range_of = first.phys()..first.phys() + nr_frames * first.bytes();
                    let got = map.unmark_range(&mut pages, range_of, first.order());
                    (got, model(&mut marked, &range(first, nr_frames), false))
                }
            };
            if let Err(MarkError::OutOfPages { .. }) = got {
                prop_assert_eq!(pages.nr_used(), nr_pages);
                marked = before;
            } else {
                prop_assert_eq!(got, expected, "{:?}", operation);
            }
            check(&map, &pages, &marked);
            for frame in marked.iter().take(3) {
                prop_assert_eq!(map.contains(&pages, *frame), Ok(true));
            }
        }
        // A successor that opens it sees the same.
        let limits = Limits { emptiness: Emptiness::Expected, ..Limits::within(0..MEMORY) };
        if !overlaps(&marked) {
            let (map, _) = RadixMap::open(&pages, map.root(), &limits, |_| true).unwrap();
            check(&map, &pages, &marked);
        }
    }
}
