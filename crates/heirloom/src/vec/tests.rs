use std::cell::Cell;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use proptest::prelude::*;

use super::Vec;
use crate::alloc::{fail_after, never_fail};

/// A value that counts how many of its kind live.
#[derive(Debug)]
struct Counted {
    id: u8,
    live: Rc<Cell<i64>>,
}

impl Counted {
    fn new(id: u8, live: &Rc<Cell<i64>>) -> Self {
        live.set(live.get() + 1);
        Self { id, live: live.clone() }
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(self.id, &self.live)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.live.set(self.live.get() - 1);
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

#[derive(Clone, Debug)]
enum Op {
    Push(u8),
    Pop,
    Insert(u8, u8),
    Remove(u8),
    SwapRemove(u8),
    Truncate(u8),
    Clear,
    Resize(u8, u8),
    Extend(std::vec::Vec<u8>),
    ExtendFromSlice(std::vec::Vec<u8>),
    Append(std::vec::Vec<u8>),
    SplitOff(u8),
    Retain,
    Drain(u8, u8, u8, u8),
    Dedup,
    Reserve(u8),
    ReserveExact(u8),
    ShrinkToFit,
    Clone,
    IntoIter(u8, u8),
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    prop_oneof![
        6 => any::<u8>().prop_map(Op::Push),
        2 => Just(Op::Pop),
        3 => any::<(u8, u8)>().prop_map(|(at, id)| Op::Insert(at, id)),
        2 => any::<u8>().prop_map(Op::Remove),
        2 => any::<u8>().prop_map(Op::SwapRemove),
        1 => any::<u8>().prop_map(Op::Truncate),
        1 => Just(Op::Clear),
        1 => any::<(u8, u8)>().prop_map(|(len, id)| Op::Resize(len % 64, id)),
        2 => bytes().prop_map(Op::Extend),
        2 => bytes().prop_map(Op::ExtendFromSlice),
        1 => bytes().prop_map(Op::Append),
        1 => any::<u8>().prop_map(Op::SplitOff),
        1 => Just(Op::Retain),
        2 => any::<(u8, u8, u8, u8)>().prop_map(|(a, b, f, k)| Op::Drain(a, b, f % 4, k % 4)),
        1 => Just(Op::Dedup),
        1 => any::<u8>().prop_map(Op::Reserve),
        1 => any::<u8>().prop_map(Op::ReserveExact),
        1 => Just(Op::ShrinkToFit),
        1 => Just(Op::Clone),
        1 => any::<(u8, u8)>().prop_map(|(f, k)| Op::IntoIter(f % 4, k % 4)),
    ]
}

/// Runs the same operations on a `Vec` of ours and on one of std's.
fn run<T: Clone + PartialEq + std::fmt::Debug>(
    ops: std::vec::Vec<Op>,
    make: impl Fn(u8) -> T,
    odd: impl Fn(&T) -> bool,
) {
    let mut ours = Vec::<T>::new();
    let mut theirs = std::vec::Vec::<T>::new();
    for op in ops {
        let len = theirs.len();
        let within = |at: u8| if len == 0 { 0 } else { usize::from(at) % len };
        let all = |ids: &[u8]| ids.iter().map(|&id| make(id)).collect::<std::vec::Vec<T>>();
        match op {
            Op::Push(id) => (ours.push(make(id)), theirs.push(make(id))).0,
            Op::Pop => assert_eq!(ours.pop(), theirs.pop()),
            Op::Insert(at, id) => {
                let at = usize::from(at) % (len + 1);
                ours.insert(at, make(id));
                theirs.insert(at, make(id));
            }
            Op::Remove(at) if len > 0 => assert_eq!(ours.remove(within(at)), theirs.remove(within(at))),
            Op::SwapRemove(at) if len > 0 => {
                assert_eq!(ours.swap_remove(within(at)), theirs.swap_remove(within(at)));
            }
            Op::Remove(_) | Op::SwapRemove(_) => {}
            Op::Truncate(at) => (ours.truncate(at.into()), theirs.truncate(at.into())).0,
            Op::Clear => (ours.clear(), theirs.clear()).0,
            Op::Resize(to, id) => {
                ours.resize(to.into(), make(id));
                theirs.resize(to.into(), make(id));
            }
            Op::Extend(ids) => {
                // A filter hides the length, so that the vector must grow as it goes.
                ours.extend(all(&ids).into_iter().filter(|_| true));
                theirs.extend(all(&ids));
            }
            Op::ExtendFromSlice(ids) => {
                ours.extend_from_slice(&all(&ids));
                theirs.extend_from_slice(&all(&ids));
            }
            Op::Append(ids) => {
                ours.append(&mut Vec::from(all(&ids)));
                theirs.append(&mut all(&ids));
            }
            Op::SplitOff(at) => {
                let at = usize::from(at) % (len + 1);
                assert_eq!(ours.split_off(at), theirs.split_off(at));
            }
            Op::Retain => (ours.retain(&odd), theirs.retain(&odd)).0,
            Op::Drain(a, b, front, back) => {
                let (a, b) = (usize::from(a) % (len + 1), usize::from(b) % (len + 1));
                let (mut mine, mut other) =
                    (ours.drain(a.min(b)..a.max(b)), theirs.drain(a.min(b)..a.max(b)));
                (0..front).for_each(|_| assert_eq!(mine.next(), other.next()));
                (0..back).for_each(|_| assert_eq!(mine.next_back(), other.next_back()));
                assert_eq!(mine.as_slice(), other.as_slice());
            }
            Op::Dedup => (ours.dedup(), theirs.dedup()).0,
            Op::Reserve(more) => {
                ours.reserve(more.into());
                assert!(ours.capacity() >= len + usize::from(more));
            }
            Op::ReserveExact(more) => ours.reserve_exact(more.into()),
            Op::ShrinkToFit => ours.shrink_to_fit(),
            Op::Clone => ours = ours.clone(),
            Op::IntoIter(front, back) => {
                let (mut mine, mut other) = (ours.clone().into_iter(), theirs.clone().into_iter());
                (0..front).for_each(|_| assert_eq!(mine.next(), other.next()));
                (0..back).for_each(|_| assert_eq!(mine.next_back(), other.next_back()));
                assert_eq!(mine.as_slice(), other.as_slice());
            }
        }
        assert_eq!(ours, theirs);
        assert!(ours.capacity() >= ours.len());
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
        let live = Rc::new(Cell::new(0));
        run(ops.clone(), |id| Counted::new(id, &live), |value| value.id % 2 == 1);
        prop_assert_eq!(live.get(), 0);
        run(ops.clone(), Wide, |value| value.0 % 3 == 1);
        run(ops.clone(), |_| (), |()| false);
        run(ops, u16::from, |value| value % 3 == 1);
    }
}

#[test]
fn growth_uses_the_whole_block() {
    let mut vec = Vec::<[u8; 3]>::new();
    vec.push([0; 3]);
    // Four values need 12 bytes; the block holds 16 and so has room for a fifth.
    assert_eq!(vec.capacity(), 5);
}

#[test]
fn an_empty_vector_has_no_block() {
    fail_after(0);
    let mut vec = Vec::<u64>::new();
    vec.shrink_to_fit();
    let nothings: Vec<()> = std::iter::repeat_n((), 1000).collect();
    never_fail();
    assert_eq!((vec.capacity(), nothings.len()), (0, 1000));
}

#[test]
fn a_full_heap_leaves_the_vector_unchanged() {
    let mut vec = Vec::from([1, 2, 3]);
    vec.shrink_to_fit();
    let free = vec.capacity() - vec.len();
    vec.extend(std::iter::repeat_n(9, free));
    let before = vec.clone();
    fail_after(0);
    assert!(vec.try_push(4).is_err());
    assert!(vec.try_insert(1, 4).is_err());
    assert!(vec.try_reserve(1).is_err());
    assert!(vec.try_reserve_exact(1).is_err());
    assert!(vec.try_reserve(usize::MAX).is_err());
    assert!(vec.try_extend_from_slice(&[1]).is_err());
    assert!(vec.try_resize(100, 1).is_err());
    assert!(vec.try_split_off(1).is_err());
    assert!(vec.try_clone().is_err());
    assert!(Vec::<u8>::try_with_capacity(1).is_err());
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| vec.push(4))).is_err());
    never_fail();
    assert_eq!(vec, before);
    assert!(Vec::<()>::from([()]).try_reserve(usize::MAX).is_err());
}

#[test]
fn growth_settles_for_less_when_the_heap_is_nearly_full() {
    let mut vec = Vec::from([0_u64; 8]);
    fail_after(0);
    assert!(vec.try_reserve(1).is_err());
    never_fail();
    assert_eq!(vec.len(), 8);
}

#[test]
fn a_panicking_closure_loses_nothing() {
    let live = Rc::new(Cell::new(0));
    let mut vec: Vec<Counted> = (0..10).map(|id| Counted::new(id, &live)).collect();
    let blown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        vec.retain(|value| if value.id == 5 { panic!("bang") } else { value.id % 2 == 0 });
    }));
    assert!(blown.is_err());
    assert_eq!(vec.len(), 10);
    let _forgotten = std::mem::ManuallyDrop::new(vec.drain(3..));
    assert_eq!(vec.len(), 3);
    drop(vec);
    assert_eq!(live.get(), 7);
}

#[test]
fn a_panicking_drop_frees_the_others() {
    struct Grenade<'a>(bool, &'a Cell<u32>);
    impl Drop for Grenade<'_> {
        fn drop(&mut self) {
            self.1.set(self.1.get() + 1);
            assert!(!self.0, "bang");
        }
    }
    let dropped = Cell::new(0);
    let four = || Vec::from([false, true, false, false].map(|armed| Grenade(armed, &dropped)));
    let bang = |job: &dyn Fn(Vec<Grenade<'_>>)| {
        dropped.set(0);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(four()))).is_err());
        assert_eq!(dropped.get(), 4);
    };
    bang(&|vec| drop(vec));
    bang(&|vec| drop(vec.into_iter()));
    bang(&|mut vec| vec.truncate(1));
    bang(&|mut vec| drop(vec.drain(..3)));
}

#[test]
fn it_compares_and_hashes_like_a_slice() {
    let hash = |value: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        value(&mut hasher);
        hasher.finish()
    };
    let vec = Vec::from([1, 2, 3]);
    assert_eq!(hash(&|h| vec.hash(h)), hash(&|h| [1, 2, 3][..].hash(h)));
    let more = Vec::from([1, 3]);
    assert!(vec < more);
    assert_eq!(vec, [1, 2, 3]);
    assert_eq!(vec, &[1, 2, 3][..]);
    assert_eq!(format!("{vec:?}"), "[1, 2, 3]");
    assert_eq!((vec[1], &vec[1..]), (2, &[2, 3][..]));
}

#[test]
#[should_panic(expected = "does not lie within 0..3")]
fn a_range_beyond_the_end_is_refused() {
    drop(Vec::from([1, 2, 3]).drain(2..=3));
}

/// An iterator that has `has` values and says that it has `says`.
struct Liar<T> {
    has: usize,
    says: usize,
    make: fn(usize) -> T,
}

impl<T> Iterator for Liar<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.has = self.has.checked_sub(1)?;
        Some((self.make)(self.has))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.says, Some(self.says))
    }
}

#[test]
fn an_iterator_that_does_not_know_its_length_does_no_harm() {
    for (has, says) in [(3, 5), (5, 3), (0, 4), (4, 0), (3, 3)] {
        let mut values = Vec::from([7_u64]);
        values.extend(Liar { has, says, make: |nth| nth as u64 });
        let written = has.min(says);
        assert_eq!(values.len(), 1 + written, "{has} of {says}");
        assert!(values[1..].iter().copied().eq((0..has as u64).rev().take(written)), "{has} of {says}");
        let mut units = Vec::from([()]);
        units.extend(Liar { has, says, make: |_| () });
        assert_eq!(units.len(), 1 + written, "{has} of {says}");
    }
}

#[test]
fn what_was_made_before_a_panic_is_kept_and_counted() {
    /// Its third clone panics.
    struct Third(Rc<Cell<i64>>, Rc<Cell<u32>>);
    impl Clone for Third {
        fn clone(&self) -> Self {
            self.1.set(self.1.get() + 1);
            assert!(self.1.get() < 3, "the third clone");
            self.0.set(self.0.get() + 1);
            Self(self.0.clone(), self.1.clone())
        }
    }
    impl Drop for Third {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
    let (live, clones) = (Rc::new(Cell::new(5)), Rc::new(Cell::new(0)));
    let values = std::array::from_fn::<Third, 5, _>(|_| Third(live.clone(), clones.clone()));
    for by_slice in [true, false] {
        clones.set(0);
        let mut vec = Vec::new();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            if by_slice { vec.extend_from_slice(&values) } else { vec.extend(values.iter().cloned()) }
        }));
        assert!(outcome.is_err());
        assert_eq!((vec.len(), live.get()), (2, 7), "by slice: {by_slice}");
        drop(vec);
        assert_eq!(live.get(), 5);
    }
}
