use std::collections::BTreeSet as Theirs;

use proptest::prelude::*;

use super::BTreeSet;
use crate::alloc::{fail_after, never_fail};
use crate::testing::{Counted, Live};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_behaves_like_stds(
        ops in prop::collection::vec((0..9_u8, 0..100_u8), 1..if cfg!(miri) { 30 } else { 300 })
    ) {
        let live = Live::default();
        let (mut ours, mut theirs) = (BTreeSet::new(), Theirs::new());
        for (op, id) in ops {
            let value = Counted::new(id, &live);
            match op {
                0..=2 => prop_assert_eq!(ours.insert(value.clone()), theirs.insert(value)),
                3 => prop_assert_eq!(ours.remove(&value), theirs.remove(&value)),
                4 => prop_assert_eq!(ours.take(&value), theirs.take(&value)),
                5 => prop_assert_eq!(ours.replace(value.clone()), theirs.replace(value)),
                6 => prop_assert_eq!(ours.get(&value), theirs.get(&value)),
                7 => prop_assert!(ours.range(&value..).eq(theirs.range(&value..))),
                _ if id % 4 == 0 => prop_assert_eq!(ours.pop_first(), theirs.pop_first()),
                _ => prop_assert_eq!(ours.pop_last(), theirs.pop_last()),
            }
            prop_assert!(ours.iter().eq(&theirs));
            prop_assert_eq!((ours.first(), ours.last()), (theirs.first(), theirs.last()));
        }
        ours.retain(|value| value.id % 3 == 1);
        theirs.retain(|value| value.id % 3 == 1);
        let middle = Counted::new(50, &live);
        prop_assert!(ours.split_off(&middle).into_iter().eq(theirs.split_off(&middle)));
        prop_assert!(ours.clone().into_iter().rev().eq(theirs.clone().into_iter().rev()));
        drop((ours, theirs, middle));
        prop_assert_eq!(live.get(), 0);
    }

    #[test]
    fn two_sets_make_what_stds_make(
        a in prop::collection::vec(0..30_u8, 0..30), b in prop::collection::vec(0..30_u8, 0..30)
    ) {
        let (ours, theirs) = (
            [&a, &b].map(|values| values.iter().copied().collect::<BTreeSet<u8>>()),
            [&a, &b].map(|values| values.iter().copied().collect::<Theirs<u8>>()),
        );
        let ([a, b], [x, y]) = (&ours, &theirs);
        prop_assert!(a.union(b).eq(x.union(y)) && (a | b).iter().eq(&(x | y)));
        prop_assert!(a.intersection(b).eq(x.intersection(y)) && (a & b).iter().eq(&(x & y)));
        prop_assert!(a.difference(b).eq(x.difference(y)) && (a - b).iter().eq(&(x - y)));
        prop_assert!(a.symmetric_difference(b).eq(x.symmetric_difference(y)) && (a ^ b).iter().eq(&(x ^ y)));
        prop_assert_eq!(a.is_subset(b), x.is_subset(y));
        prop_assert_eq!(a.is_superset(b), x.is_superset(y));
        prop_assert_eq!(a.is_disjoint(b), x.is_disjoint(y));
        prop_assert_eq!((a == b, a < b), (x == y, x < y));
    }
}

#[test]
fn a_full_heap_leaves_the_set_unchanged() {
    let mut set: BTreeSet<u64> = (0..62).collect();
    fail_after(0);
    assert!(set.try_insert(62).is_err() && set.try_clone().is_err());
    assert_eq!((set.try_insert(3), set.replace(4)), (Ok(false), Some(4)));
    never_fail();
    assert_eq!(set, (0..62).collect());
    assert_eq!(format!("{:?}", BTreeSet::from([2, 1])), "{1, 2}");
}
