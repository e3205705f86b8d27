use std::cell::Cell;
use std::collections::{BTreeSet, HashSet as Theirs};

use proptest::prelude::*;

use super::HashSet;
use crate::alloc::{fail_after, never_fail};
use crate::testing::{Counted, Live, panics};

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> std::vec::Vec<T> {
    values.collect::<BTreeSet<T>>().into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_behaves_like_stds(
        ops in prop::collection::vec((0..8_u8, 0..40_u8), 1..if cfg!(miri) { 30 } else { 200 })
    ) {
        let live = Live::default();
        let (mut ours, mut theirs) = (HashSet::new(), Theirs::new());
        for (op, id) in ops {
            let value = Counted::new(id, &live);
            match op {
                0..=2 => prop_assert_eq!(ours.insert(value.clone()), theirs.insert(value)),
                3 => prop_assert_eq!(ours.remove(&value), theirs.remove(&value)),
                4 => prop_assert_eq!(ours.take(&value), theirs.take(&value)),
                5 => prop_assert_eq!(ours.replace(value.clone()), theirs.replace(value)),
                6 => prop_assert_eq!(ours.get(&value), theirs.get(&value)),
                _ => {
                    prop_assert_eq!(ours.get_or_insert(value.clone()), &value);
                    theirs.insert(value);
                }
            }
            prop_assert_eq!(ours.len(), theirs.len());
            prop_assert!(theirs.iter().all(|value| ours.contains(value)));
        }
        prop_assert_eq!(sorted(ours.iter()), sorted(theirs.iter()));
        ours.retain(|value| value.id % 3 == 1);
        theirs.retain(|value| value.id % 3 == 1);
        prop_assert_eq!(sorted(ours.clone().into_iter()), sorted(theirs.iter().cloned()));
        prop_assert_eq!(sorted(ours.drain()), sorted(theirs.drain()));
        prop_assert!(ours.is_empty() && ours.capacity() >= theirs.len());
        drop((ours, theirs));
        prop_assert_eq!(live.get(), 0);
    }

    #[test]
    fn two_sets_make_what_stds_make(
        a in prop::collection::vec(0..30_u8, 0..30), b in prop::collection::vec(0..30_u8, 0..30)
    ) {
        let (ours, theirs) = (
            [&a, &b].map(|values| values.iter().copied().collect::<HashSet<u8>>()),
            [&a, &b].map(|values| values.iter().copied().collect::<Theirs<u8>>()),
        );
        let ([a, b], [x, y]) = (&ours, &theirs);
        prop_assert_eq!(sorted(a.union(b)), sorted(x.union(y)));
        prop_assert_eq!(a.union(b).count(), x.union(y).count());
        prop_assert_eq!(sorted(a.intersection(b)), sorted(x.intersection(y)));
        prop_assert_eq!(sorted(a.difference(b)), sorted(x.difference(y)));
        prop_assert_eq!(sorted(a.symmetric_difference(b)), sorted(x.symmetric_difference(y)));
        prop_assert_eq!(sorted((a | b).into_iter()), sorted((x | y).into_iter()));
        prop_assert_eq!(sorted((a & b).into_iter()), sorted((x & y).into_iter()));
        prop_assert_eq!(sorted((a ^ b).into_iter()), sorted((x ^ y).into_iter()));
        prop_assert_eq!(sorted((a - b).into_iter()), sorted((x - y).into_iter()));
        prop_assert_eq!(a.is_subset(b), x.is_subset(y));
        prop_assert_eq!(a.is_superset(b), x.is_superset(y));
        prop_assert_eq!(a.is_disjoint(b), x.is_disjoint(y));
        prop_assert_eq!(a == b, x == y);
    }
}

#[test]
fn a_full_heap_leaves_the_set_unchanged() {
    let mut set: HashSet<u32> = (0..7).collect();
    assert_eq!(set.capacity(), 7);
    fail_after(0);
    assert!(set.try_insert(7).is_err() && set.try_reserve(1).is_err() && set.try_clone().is_err());
    assert!(HashSet::<u8>::try_with_capacity(1).is_err() && panics(|| assert!(set.insert(7))));
    assert_eq!((set.try_insert(3), set.replace(4), *set.get_or_insert(5)), (Ok(false), Some(4), 5));
    never_fail();
    assert_eq!(set, (0..7).collect());
    assert_eq!(format!("{:?}", HashSet::from([1])), "{1}");
}

#[test]
fn a_closure_that_panics_leaves_a_whole_set() {
    let mut set: HashSet<u32> = (0..50).collect();
    let seen = Cell::new(0);
    assert!(panics(|| set.retain(|_| {
        seen.set(seen.get() + 1);
        assert!(seen.get() < 20, "bang");
        false
    })));
    assert_eq!((set.len(), set.iter().count()), (31, 31));
}
