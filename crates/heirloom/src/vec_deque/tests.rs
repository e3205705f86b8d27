use std::cell::Cell;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;

use super::VecDeque;
use crate::Vec;
use crate::alloc::{fail_after, never_fail};
use crate::testing::{Counted, Grenade, Live, panics};

#[derive(Clone, Debug)]
enum Op {
    PushBack(u8),
    PushFront(u8),
    PopBack,
    PopFront,
    Insert(u8, u8),
    Remove(u8),
    SwapRemove(u8, bool),
    Truncate(u8),
    Clear,
    Resize(u8, u8),
    Extend(std::vec::Vec<u8>),
    Append(std::vec::Vec<u8>),
    SplitOff(u8),
    Rotate(u8, bool),
    Retain,
    Drain(u8, u8, u8, u8),
    Reserve(u8, bool),
    ShrinkToFit,
    MakeContiguous,
    Clone,
    ThroughVec,
    IntoIter(u8, u8),
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    prop_oneof![
        5 => any::<u8>().prop_map(Op::PushBack),
        5 => any::<u8>().prop_map(Op::PushFront),
        2 => Just(Op::PopBack),
        3 => Just(Op::PopFront),
        3 => any::<(u8, u8)>().prop_map(|(at, id)| Op::Insert(at, id)),
        2 => any::<u8>().prop_map(Op::Remove),
        2 => any::<(u8, bool)>().prop_map(|(at, back)| Op::SwapRemove(at, back)),
        1 => any::<u8>().prop_map(Op::Truncate),
        1 => Just(Op::Clear),
        1 => any::<(u8, u8)>().prop_map(|(len, id)| Op::Resize(len % 64, id)),
        2 => bytes().prop_map(Op::Extend),
        1 => bytes().prop_map(Op::Append),
        1 => any::<u8>().prop_map(Op::SplitOff),
        3 => any::<(u8, bool)>().prop_map(|(mid, left)| Op::Rotate(mid, left)),
        1 => Just(Op::Retain),
        3 => any::<(u8, u8, u8, u8)>().prop_map(|(a, b, f, k)| Op::Drain(a, b, f % 4, k % 4)),
        1 => any::<(u8, bool)>().prop_map(|(more, exact)| Op::Reserve(more, exact)),
        1 => Just(Op::ShrinkToFit),
        1 => Just(Op::MakeContiguous),
        1 => Just(Op::Clone),
        1 => Just(Op::ThroughVec),
        1 => any::<(u8, u8)>().prop_map(|(f, k)| Op::IntoIter(f % 4, k % 4)),
    ]
}

/// Runs the same operations on a deque of ours and on one of std's.
fn run<T: Clone + PartialEq + Debug>(ops: &[Op], make: impl Fn(u8) -> T, odd: impl Fn(&T) -> bool) {
    let mut ours = VecDeque::<T>::new();
    let mut theirs = std::collections::VecDeque::<T>::new();
    for op in ops {
        let len = theirs.len();
        let within = |at: u8| usize::from(at) % (len + 1);
        let all = |ids: &[u8]| ids.iter().map(|&id| make(id)).collect::<std::vec::Vec<T>>();
        match op.clone() {
            Op::PushBack(id) => (ours.push_back(make(id)), theirs.push_back(make(id))).0,
            Op::PushFront(id) => (ours.push_front(make(id)), theirs.push_front(make(id))).0,
            Op::PopBack => assert_eq!(ours.pop_back(), theirs.pop_back()),
            Op::PopFront => assert_eq!(ours.pop_front(), theirs.pop_front()),
            Op::Insert(at, id) => (ours.insert(within(at), make(id)), theirs.insert(within(at), make(id))).0,
            Op::Remove(at) => assert_eq!(ours.remove(within(at)), theirs.remove(within(at))),
            Op::SwapRemove(at, true) => {
                assert_eq!(ours.swap_remove_back(within(at)), theirs.swap_remove_back(within(at)));
            }
            Op::SwapRemove(at, false) => {
                assert_eq!(ours.swap_remove_front(within(at)), theirs.swap_remove_front(within(at)));
            }
            Op::Truncate(at) => (ours.truncate(at.into()), theirs.truncate(at.into())).0,
            Op::Clear => (ours.clear(), theirs.clear()).0,
            Op::Resize(to, id) => (ours.resize(to.into(), make(id)), theirs.resize(to.into(), make(id))).0,
            Op::Extend(ids) => {
                ours.extend(all(&ids).into_iter().filter(|_| true));
                theirs.extend(all(&ids));
            }
            Op::Append(ids) => {
                let mut more = VecDeque::from(all(&ids));
                more.rotate_left(ids.len() / 2);
                more.rotate_right(ids.len() / 2);
                ours.append(&mut more);
                assert!(more.is_empty());
                theirs.append(&mut all(&ids).into());
            }
            Op::SplitOff(at) => assert_eq!(ours.split_off(within(at)), theirs.split_off(within(at))),
            Op::Rotate(mid, true) => (ours.rotate_left(within(mid)), theirs.rotate_left(within(mid))).0,
            Op::Rotate(mid, false) => (ours.rotate_right(within(mid)), theirs.rotate_right(within(mid))).0,
            Op::Retain => (ours.retain(&odd), theirs.retain(&odd)).0,
            Op::Drain(a, b, front, back) => {
                let range = within(a).min(within(b))..within(a).max(within(b));
                assert!(ours.range(range.clone()).eq(theirs.range(range.clone())));
                let (mut mine, mut other) = (ours.drain(range.clone()), theirs.drain(range));
                (0..front).for_each(|_| assert_eq!(mine.next(), other.next()));
                (0..back).for_each(|_| assert_eq!(mine.next_back(), other.next_back()));
                assert_eq!(mine.len(), other.len());
            }
            Op::Reserve(more, exact) => {
                if exact {
                    ours.reserve_exact(more.into())
                } else {
                    ours.reserve(more.into())
                }
                assert!(ours.capacity() >= len + usize::from(more));
            }
            Op::ShrinkToFit => ours.shrink_to_fit(),
            Op::MakeContiguous => {
                assert_eq!(ours.make_contiguous(), theirs.make_contiguous());
                assert!(ours.as_slices().1.is_empty());
            }
            Op::Clone => ours = ours.clone(),
            Op::ThroughVec => ours = VecDeque::from(Vec::from(ours)),
            Op::IntoIter(front, back) => {
                let (mut mine, mut other) = (ours.clone().into_iter(), theirs.clone().into_iter());
                (0..front).for_each(|_| assert_eq!(mine.next(), other.next()));
                (0..back).for_each(|_| assert_eq!(mine.next_back(), other.next_back()));
                assert!(mine.eq(other));
            }
        }
        ours.check();
        assert_eq!(ours, theirs);
        assert!(ours.iter().rev().eq(theirs.iter().rev()));
        assert!(ours.iter_mut().eq(theirs.iter_mut()));
        assert!(ours.iter().skip(2).eq(theirs.iter().skip(2)));
        assert_eq!((ours.front(), ours.back()), (theirs.front(), theirs.back()));
        assert_eq!(ours.get(len / 2), theirs.get(len / 2));
    }
}

impl<T> VecDeque<T> {
    fn check(&self) {
        assert!(self.len() <= self.capacity());
        assert!(self.head == 0 || self.head < self.capacity() as u64 && size_of::<T>() != 0);
        assert!(self.head <= self.end);
    }
}

#[repr(align(128))]
#[derive(Clone, Debug, PartialEq)]
struct Wide(u8);

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_behaves_like_stds(ops in prop::collection::vec(op(), 1..if cfg!(miri) { 20 } else { 120 })) {
        let live = Live::default();
        run(&ops, |id| Counted::new(id, &live), |value| value.id % 2 == 1);
        prop_assert_eq!(live.get(), 0);
        run(&ops, Wide, |value| value.0 % 3 == 1);
        run(&ops, |_| (), |()| false);
        run(&ops, u16::from, |value| value % 3 == 1);
    }
}

/// ```text
/// before  | 5 | 6 | 3 | 4 |            the tail, 5 and 6, moves behind 4
/// after   |   |   | 3 | 4 | 5 | 6 |   |   |
/// ```
#[test]
fn a_ring_that_grows_moves_its_shorter_part() {
    for turn in 0..4 {
        let mut deque = VecDeque::<u64>::with_capacity(4);
        assert_eq!(deque.capacity(), 4);
        (0..turn).for_each(|_| deque.push_back(0));
        (0..turn).for_each(|_| assert_eq!(deque.pop_front(), Some(0)));
        deque.extend(3..7);
        assert_eq!(deque.as_slices().0.len(), 4 - turn);
        deque.push_back(7);
        assert_eq!(deque, [3, 4, 5, 6, 7]);
        deque.check();
    }
}

#[test]
fn an_empty_deque_has_no_block() {
    fail_after(0);
    let mut deque = VecDeque::<u64>::new();
    deque.shrink_to_fit();
    deque.rotate_left(0);
    assert!(deque.pop_front().is_none() && deque.pop_back().is_none() && deque.make_contiguous().is_empty());
    assert!(deque.drain(..).next().is_none() && deque.clone().into_iter().next().is_none());
    let mut nothings = VecDeque::<()>::new();
    (0..1000).for_each(|_| nothings.push_front(()));
    nothings.rotate_right(300);
    never_fail();
    assert_eq!((deque.capacity(), nothings.len()), (0, 1000));
}

#[test]
fn a_full_heap_leaves_the_deque_unchanged() {
    let mut deque = VecDeque::<u64>::from([3, 4, 5, 6]);
    deque.rotate_left(2);
    assert_eq!(deque.capacity(), 4);
    fail_after(0);
    assert!(deque.try_push_back(1).is_err());
    assert!(deque.try_push_front(1).is_err());
    assert!(deque.try_insert(2, 1).is_err());
    assert!(deque.try_reserve(1).is_err() && deque.try_reserve(usize::MAX).is_err());
    assert!(deque.try_extend([1]).is_err());
    assert!(deque.try_append(&mut VecDeque::from(Vec::<u64>::new())).is_ok());
    assert!(deque.try_clone().is_err());
    assert!(VecDeque::<u8>::try_with_capacity(1).is_err());
    assert!(panics(|| deque.push_back(1)) && panics(|| drop(deque.split_off(1))));
    never_fail();
    assert_eq!(deque, [5, 6, 3, 4]);
    let mut other = VecDeque::from([1, 2]);
    fail_after(0);
    assert!(deque.try_append(&mut other).is_err());
    never_fail();
    assert_eq!((deque.len(), other.len()), (4, 2));
}

#[test]
fn panics_lose_nothing_and_drop_nothing_twice() {
    let live = Live::default();
    let mut deque: VecDeque<Counted> = (0..10).map(|id| Counted::new(id, &live)).collect();
    deque.rotate_left(4);
    assert!(panics(|| deque.retain(|value| if value.id == 8 { panic!("bang") } else { value.id % 2 == 0 })));
    assert_eq!(deque.len(), 10);
    let _forgotten = ManuallyDrop::new(deque.drain(3..5));
    // What was to leave leaks; the rest stays.
    assert_eq!(deque.len(), 8);
    drop(deque);
    assert_eq!(live.get(), 2);

    let dropped = Cell::new(0);
    // The second run goes around the end of the block.
    for turn in [0, 6] {
        let ten = || {
            let mut deque = VecDeque::with_capacity(10);
            (0..turn).for_each(|_| deque.push_back(Grenade(false, &dropped)));
            (0..10).for_each(|i| {
                deque.push_back(Grenade(i == 3, &dropped));
                if i < turn {
                    drop(deque.pop_front());
                }
            });
            dropped.set(0);
            deque
        };
        let bang = |job: &dyn Fn(VecDeque<Grenade<'_>>)| {
            let deque = ten();
            assert!(catch_unwind(AssertUnwindSafe(|| job(deque))).is_err());
            assert_eq!(dropped.get(), 10);
        };
        bang(&|deque| drop(deque));
        bang(&|deque| drop(deque.into_iter()));
        bang(&|mut deque| deque.truncate(1));
        bang(&|mut deque| drop(deque.drain(2..5)));
    }
}

#[test]
fn it_searches_compares_and_hashes() {
    let hash = |job: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        job(&mut hasher);
        hasher.finish()
    };
    let straight = VecDeque::from([1, 3, 5, 7]);
    let mut turned = VecDeque::from([5, 7, 1, 3]);
    turned.rotate_left(2);
    assert_eq!(hash(&|h| straight.hash(h)), hash(&|h| turned.hash(h)));
    assert_eq!(straight, turned);
    for value in 0..9 {
        assert_eq!(straight.binary_search(&value), [1, 3, 5, 7].binary_search(&value));
        assert_eq!(turned.binary_search(&value), [1, 3, 5, 7].binary_search(&value));
        assert_eq!(turned.contains(&value), [1, 3, 5, 7].contains(&value));
    }
    assert!(straight.cmp(&VecDeque::from([1, 4])).is_lt());
    assert_eq!(format!("{turned:?}"), "[1, 3, 5, 7]");
    turned[0] = 9;
    assert_eq!(turned[0], 9);
    assert!(panics(|| assert_eq!(turned[4], 0)));
}
