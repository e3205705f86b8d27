//! The preserved-memory map in lock-step with a sorted set. proptest prints the failing operations, and the seed that finds them again.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use heirloom_abi::kho::radix::{
    Emptiness, Frame, Limits, MapError, MarkError, NODE_WORDS, Order, PAGE_BYTES, PageArray, Pages, PagesMut,
    RadixMap, Run,
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
    MarkAll(Vec<Frame>),
    UnmarkAll(Vec<Frame>),
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
        1 => ranges().prop_map(|(frame, nr_frames)| Operation::MarkRange(frame, nr_frames)),
        1 => ranges().prop_map(|(frame, nr_frames)| Operation::UnmarkRange(frame, nr_frames)),
        1 => prop::collection::vec(frame(), 0..80).prop_map(Operation::MarkAll),
        1 => prop::collection::vec(frame(), 0..80).prop_map(Operation::UnmarkAll),
    ]
}

/// Ranges of pages long enough for full words by the dozen, about a leaf boundary.
fn ranges() -> impl Strategy<Value = (Frame, u64)> {
    let first = (0..16u64).prop_map(|n| (128 << 20) - (32 << 20) + n * ((4 << 20) + 63 * PAGE_BYTES));
    let first = first.prop_map(|phys| Frame::new(phys, Order::ZERO).unwrap());
    let nr_frames = prop::sample::select(vec![64, 128, 1000, 4096, 4097, 9000]);
    (first, nr_frames)
}

fn range(first: Frame, nr_frames: u64) -> Vec<Frame> {
    let phys = (0..nr_frames).map(|index| first.phys() + index * first.bytes());
    phys.map(|phys| Frame::new(phys, first.order()).unwrap()).collect()
}

/// What the model says about marking (or unmarking) frames as a list, in which one may come twice: all, or none.
fn model_all(marked: &mut BTreeSet<Frame>, frames: &[Frame], mark: bool) -> Result<(), Vec<MarkError>> {
    let mut changed = marked.clone();
    let mut refused = Vec::new();
    for &frame in frames {
        if mark && !changed.insert(frame) {
            refused.push(MarkError::AlreadyMarked { frame });
        }
        if !mark && !changed.remove(&frame) {
            refused.push(MarkError::NotMarked { frame });
        }
    }
    if refused.is_empty() {
        *marked = changed;
        return Ok(());
    }
    Err(refused)
}

/// Which frame of a list is named, if several are to be refused, is up to the map.
fn one_of(got: Result<(), MarkError>, expected: Result<(), Vec<MarkError>>) -> Result<(), MarkError> {
    match (got, expected) {
        (_, Ok(())) => Ok(()),
        (Err(got), Err(refused)) if refused.contains(&got) => Err(got),
        (_, Err(refused)) => Err(refused[0]),
    }
}

/// Neighbours of one order joined, in order of keys.
fn joined(sorted: &[Frame]) -> Vec<(Frame, u64)> {
    let mut runs: Vec<(Frame, u64)> = Vec::new();
    for &frame in sorted {
        match runs.last_mut() {
            Some((first, nr)) if first.key() + *nr == frame.key() && first.order() == frame.order() => {
                *nr += 1
            }
            _ => runs.push((frame, 1)),
        }
    }
    runs
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

/// Pages that implement no more than they must: what is provided has to mean the same word by word.
struct Plain<'a>(PageArray<'a>);

impl Pages for Plain<'_> {
    fn load(&self, phys: u64, index: usize) -> Option<u64> {
        self.0.load(phys, index)
    }
}

impl PagesMut for Plain<'_> {
    fn store(&mut self, phys: u64, index: usize, value: u64) -> Option<()> {
        self.0.store(phys, index, value)
    }

    fn allocate(&mut self) -> Option<u64> {
        self.0.allocate()
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
    let mut visited = Vec::new();
    let walk = map.walk(pages, |frame| {
        visited.push(frame);
        ControlFlow::<()>::Continue(())
    });
    assert_eq!(walk, Ok(ControlFlow::Continue(())));
    assert_eq!(visited, sorted);
    let runs: Vec<Run> = map.runs(pages).map(Result::unwrap).collect();
    let in_runs: Vec<_> = runs.iter().map(|run| (run.first(), run.nr_frames())).collect();
    assert_eq!(in_runs, joined(&sorted));
    assert!(runs.iter().flat_map(|run| run.frames()).eq(sorted.iter().copied()));

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
        in_lock_step(&mut pages, &operations, |pages| pages.nr_used() == nr_pages)?;
    }

    #[test]
    fn so_does_one_over_pages_that_implement_no_more_than_they_must(
        operations in prop::collection::vec(operation(), 1..60),
    ) {
        let mut memory = vec![[u64::MAX; NODE_WORDS]; NR_PAGES];
        let mut pages = Plain(PageArray::new(BASE, &mut memory, 0));
        in_lock_step(&mut pages, &operations, |pages| pages.0.nr_used() == NR_PAGES)?;
    }
}

/// Does each operation to a map and to a set, and compares.
fn in_lock_step<P: PagesMut>(
    pages: &mut P,
    operations: &[Operation],
    is_full: impl Fn(&P) -> bool,
) -> Result<(), TestCaseError> {
    let mut map = RadixMap::create(pages).unwrap();
    let mut marked = BTreeSet::new();
    for operation in operations {
        let before = marked.clone();
        let (got, expected) = match operation.clone() {
            Operation::Mark(frame) => (map.mark(pages, frame), model(&mut marked, &[frame], true)),
            Operation::Unmark(frame) => (map.unmark(pages, frame), model(&mut marked, &[frame], false)),
            Operation::MarkRange(first, nr_frames) => {
                let range_of = first.phys()..first.phys() + nr_frames * first.bytes();
                let got = map.mark_range(pages, range_of, first.order());
                (got, model(&mut marked, &range(first, nr_frames), true))
            }
            Operation::UnmarkRange(first, nr_frames) => {
                let range_of = first.phys()..first.phys() + nr_frames * first.bytes();
                let got = map.unmark_range(pages, range_of, first.order());
                (got, model(&mut marked, &range(first, nr_frames), false))
            }
            Operation::MarkAll(frames) => {
                let got = map.mark_all(pages, &frames);
                (got, one_of(got, model_all(&mut marked, &frames, true)))
            }
            Operation::UnmarkAll(frames) => {
                let got = map.unmark_all(pages, &frames);
                (got, one_of(got, model_all(&mut marked, &frames, false)))
            }
        };
        if let Err(MarkError::OutOfPages { .. }) = got {
            prop_assert!(is_full(pages));
            marked = before;
        } else {
            prop_assert_eq!(got, expected, "{:?}", operation);
        }
        check(&map, pages, &marked);
        for frame in marked.iter().take(3) {
            prop_assert_eq!(map.contains(pages, *frame), Ok(true));
        }
    }
    // A successor that opens it sees the same.
    let limits = Limits { emptiness: Emptiness::Expected, ..Limits::within(0..MEMORY) };
    if !overlaps(&marked) {
        let (map, _) = RadixMap::open(pages, map.root(), &limits, |_| true).unwrap();
        check(&map, pages, &marked);
    }
    Ok(())
}
