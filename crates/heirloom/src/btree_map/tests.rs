use std::cell::Cell;
use std::collections::BTreeMap as Theirs;
use std::fmt::Debug;
use std::ops::Bound;

use proptest::prelude::*;

use super::{BTreeMap, Entry};
use crate::alloc::{fail_after, never_fail};
use crate::testing::{Counted, Grenade, Live, panics};

#[derive(Clone, Debug)]
enum Op {
    Insert(u8, u8),
    InsertRun(u8, u8, bool),
    Remove(u8),
    RemoveRun(u8, u8, bool),
    Get(u8),
    Entry(u8, u8),
    EntryRemove(u8),
    Pop(bool),
    Range(u8, u8, u8),
    Retain(u8),
    SplitOff(u8),
    Append(std::vec::Vec<u8>),
    Clone,
    IntoIter(u8, u8),
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => any::<(u8, u8)>().prop_map(|(key, value)| Op::Insert(key, value)),
        4 => any::<(u8, u8, bool)>().prop_map(|(key, count, up)| Op::InsertRun(key, count, up)),
        6 => any::<u8>().prop_map(Op::Remove),
        3 => any::<(u8, u8, bool)>().prop_map(|(key, count, up)| Op::RemoveRun(key, count, up)),
        2 => any::<u8>().prop_map(Op::Get),
        3 => any::<(u8, u8)>().prop_map(|(key, value)| Op::Entry(key, value)),
        2 => any::<u8>().prop_map(Op::EntryRemove),
        2 => any::<bool>().prop_map(Op::Pop),
        4 => any::<(u8, u8, u8)>().prop_map(|(a, b, kinds)| Op::Range(a, b, kinds)),
        1 => any::<u8>().prop_map(Op::Retain),
        1 => any::<u8>().prop_map(Op::SplitOff),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Op::Append),
        1 => Just(Op::Clone),
        1 => any::<(u8, u8)>().prop_map(|(f, k)| Op::IntoIter(f, k)),
        1 => Just(Op::Clear),
    ]
}

/// Runs the same operations on a map of ours and on one of std's.
fn run<K: Clone + Debug + Ord, V: Clone + Debug + PartialEq>(
    ops: &[Op],
    key: impl Fn(u8) -> K,
    make: impl Fn(u8) -> V,
    odd: impl Fn(&K) -> bool,
) {
    let mut ours = BTreeMap::<K, V>::new();
    let mut theirs = Theirs::<K, V>::new();
    for op in ops {
        match op.clone() {
            Op::Insert(id, value) => {
                assert_eq!(ours.insert(key(id), make(value)), theirs.insert(key(id), make(value)));
            }
            Op::InsertRun(from, count, up) => {
                for i in 0..count {
                    let id = if up { from.saturating_add(i) } else { from.saturating_sub(i) };
                    assert_eq!(ours.insert(key(id), make(i)), theirs.insert(key(id), make(i)));
                }
            }
            Op::Remove(id) => {
                assert_eq!(ours.remove_entry(&key(id)), theirs.remove_entry(&key(id)));
            }
            Op::RemoveRun(from, count, up) => {
                for i in 0..count {
                    let id = if up { from.saturating_add(i) } else { from.saturating_sub(i) };
                    assert_eq!(ours.remove(&key(id)), theirs.remove(&key(id)));
                    if count % 16 == 1 {
                        ours.check();
                    }
                }
            }
            Op::Get(id) => {
                assert_eq!(ours.get(&key(id)), theirs.get(&key(id)));
                assert_eq!(ours.get_mut(&key(id)), theirs.get_mut(&key(id)));
                assert_eq!(ours.contains_key(&key(id)), theirs.contains_key(&key(id)));
            }
            Op::Entry(id, value) => {
                let mine = ours.entry(key(id)).and_modify(|old| *old = make(1)).or_insert(make(value));
                let other = theirs.entry(key(id)).and_modify(|old| *old = make(1)).or_insert(make(value));
                assert_eq!(mine, other);
            }
            Op::EntryRemove(id) => match ours.entry(key(id)) {
                Entry::Occupied(entry) => assert_eq!(Some(entry.remove()), theirs.remove(&key(id))),
                Entry::Vacant(entry) => assert!(!theirs.contains_key(entry.key())),
            },
            Op::Pop(true) => {
                assert_eq!(ours.first_key_value(), theirs.first_key_value());
                assert_eq!(ours.pop_first(), theirs.pop_first());
            }
            Op::Pop(false) => {
                assert_eq!(ours.last_key_value(), theirs.last_key_value());
                let mine = ours.last_entry().map(super::OccupiedEntry::remove_entry);
                assert_eq!(mine, theirs.pop_last());
            }
            Op::Range(a, b, kinds) => {
                let bound = |id, kind| match kind % 3 {
                    0 => Bound::Included(key(id)),
                    1 => Bound::Excluded(key(id)),
                    _ => Bound::Unbounded,
                };
                let range = (bound(a.min(b), kinds), bound(a.max(b), kinds / 3));
                if let (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) =
                    (&range.0, &range.1)
                    && a >= b
                {
                    continue;
                }
                assert!(ours.range(range.clone()).eq(theirs.range(range.clone())));
                assert!(ours.range(range.clone()).rev().eq(theirs.range(range.clone()).rev()));
                let (mut mine, mut other) = (ours.range_mut(range.clone()), theirs.range_mut(range));
                for step in 0..10 {
                    if (kinds >> (step % 8)) & 1 == 0 {
                        assert_eq!(mine.next(), other.next());
                    } else {
                        assert_eq!(mine.next_back(), other.next_back());
                    }
                }
            }
            Op::Retain(modulus) => {
                ours.retain(|k, _| odd(k) || modulus < 128);
                theirs.retain(|k, _| odd(k) || modulus < 128);
            }
            Op::SplitOff(id) => {
                let (mut mine, other) = (ours.split_off(&key(id)), theirs.split_off(&key(id)));
                mine.check();
                assert!(mine.iter().eq(&other));
                ours.check();
                if id % 2 == 0 {
                    ours.append(&mut mine);
                    theirs.extend(other);
                }
            }
            Op::Append(ids) => {
                let mut more: BTreeMap<K, V> = ids.iter().map(|&id| (key(id), make(id))).collect();
                ours.append(&mut more);
                assert!(more.is_empty());
                theirs.append(&mut ids.iter().map(|&id| (key(id), make(id))).collect());
            }
            Op::Clone => ours = ours.clone(),
            Op::IntoIter(front, back) => {
                let (mut mine, mut other) = (ours.clone().into_iter(), theirs.clone().into_iter());
                (0..front % 40).for_each(|_| assert_eq!(mine.next(), other.next()));
                (0..back % 40).for_each(|_| assert_eq!(mine.next_back(), other.next_back()));
                assert_eq!(mine.len(), other.len());
            }
            Op::Clear => (ours.clear(), theirs.clear()).0,
        }
        ours.check();
        assert!(ours.iter().eq(&theirs));
        assert!(ours.iter().rev().eq(theirs.iter().rev()));
        assert!(ours.values_mut().eq(theirs.values_mut()));
    }
}

/// Few of these fit into a node, so that a tree of 256 is high.
#[repr(align(128))]
#[derive(Clone, Debug, PartialEq)]
struct Wide([u8; 200]);

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 100 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_behaves_like_stds(ops in prop::collection::vec(op(), 1..if cfg!(miri) { 12 } else { 100 })) {
        let live = Live::default();
        run(&ops, |id| Counted::new(id, &live), |id| Counted::new(id, &live), |key| key.id % 2 == 1);
        prop_assert_eq!(live.get(), 0);
        run(&ops, u64::from, |id| Wide([id; 200]), |key| key % 3 == 1);
        run(&ops, |id| crate::String::from(&*id.to_string()), |_| (), |key| key.len() == 2);
        run(&ops, |id| id, |id| id, |key| key % 5 == 1);
        run(&ops, |_| (), |id| id, |()| false);
    }
}

/// Larger trees, in several orders; removal in several others.
#[test]
fn trees_of_three_levels_grow_and_shrink() {
    let n: u64 = if cfg!(miri) { 300 } else { 20_000 };
    let orders: [&dyn Fn(u64) -> u64; 4] =
        [&|i| i, &|i| n - 1 - i, &|i| i * 7919 % n, &|i| if i % 2 == 0 { i / 2 } else { n - 1 - i / 2 }];
    for (nr, order) in orders.into_iter().enumerate() {
        for undo in orders {
            let mut map = BTreeMap::new();
            (0..n).for_each(|i| assert_eq!(map.insert(order(i), [i; 9]), None));
            let nodes = map.check();
            // A node takes six pairs of 80 bytes; keys in order leave five in each but the outermost.
            assert!(nr > 1 || nodes as u64 * 5 <= n + 50, "keys in order leave full nodes: {nodes}");
            for i in 0..n {
                let key = undo(i);
                assert!(map.remove(&key).is_some());
                if i % (n / 16) == 0 {
                    map.check();
                    assert!(map.range(key..).next().is_none_or(|(&next, _)| next > key));
                }
            }
            assert!(map.is_empty() && map.check() == 0);
        }
    }
}

#[test]
fn an_empty_map_has_no_node() {
    fail_after(0);
    let mut map = BTreeMap::<u8, u8>::new();
    assert!(map.get(&1).is_none() && map.remove(&1).is_none() && map.get_mut(&1).is_none());
    assert!(map.iter().next().is_none() && map.iter().next_back().is_none());
    assert!(map.range(1..=3).next().is_none() && map.range::<u8, _>(..).next_back().is_none());
    assert!(map.pop_first().is_none() && map.pop_last().is_none() && map.first_entry().is_none());
    map.retain(|_, _| true);
    map.clear();
    assert!(map.split_off(&3).is_empty());
    map.append(&mut BTreeMap::new());
    let clone = map.clone();
    assert!(clone == map && map.into_iter().next().is_none());
    never_fail();
}

/// At each of the allocations of a split that goes up to the root.
#[test]
fn a_full_heap_leaves_the_map_unchanged() {
    // Full leaves below a full root: 6 pairs of 80 bytes a node.
    let full = (0..).find_map(|n| {
        let map: BTreeMap<u64, [u64; 9]> = (0..n).map(|key| (key, [key; 9])).collect();
        (map.needs_nodes_at_the_end() > 2).then_some(map)
    });
    let mut map = full.unwrap();
    let before = map.clone();
    for allowed in 0..3 {
        fail_after(allowed);
        assert!(map.try_insert(u64::MAX, [0; 9]).is_err());
        let Entry::Vacant(entry) = map.entry(u64::MAX) else { panic!("the key is new") };
        fail_after(allowed);
        assert!(entry.try_insert([0; 9]).is_err());
        never_fail();
        map.check();
        assert_eq!(map, before);
    }
    fail_after(0);
    assert!(map.try_clone().is_err() && panics(|| assert!(map.insert(u64::MAX, [0; 9]).is_none())));
    assert_eq!(map.try_insert(3, [0; 9]), Ok(Some([3; 9])));
    never_fail();
    fail_after(3);
    assert_eq!(map.try_insert(u64::MAX, [0; 9]), Ok(None));
    never_fail();
    assert_eq!(map.len(), before.len() + 1);
    map.check();
}

impl BTreeMap<u64, [u64; 9]> {
    /// How many nodes an insertion behind the end would take.
    #[expect(unsafe_code, reason = "looks at nodes")]
    fn needs_nodes_at_the_end(&self) -> usize {
        let mut needed = 0;
        // SAFETY: the tree is there.
        unsafe {
            let mut node = super::Place::last(self.root).node;
            while !node.is_null() && node.len() == super::Node::<u64, [u64; 9]>::CAPACITY {
                needed += 1;
                node = match node.parent() {
                    Some((parent, _)) => parent,
                    None => return needed + 1,
                };
            }
        }
        needed
    }
}

#[test]
fn values_and_closures_that_panic_leave_a_whole_map() {
    let dropped = Cell::new(0);
    let map = || (0..100).map(|key| (key, Grenade(key == 37, &dropped))).collect::<BTreeMap<_, _>>();
    type Map<'a> = BTreeMap<i32, Grenade<'a>>;
    type Job<'a> = &'a dyn Fn(Map<'_>);
    let jobs: [(Job<'_>, u32); 6] = [
        (&|map| drop(map), 100),
        (&|mut map| map.clear(), 100),
        (&|map| drop(map.into_iter()), 100),
        (&|mut map| map.retain(|_, _| false), 100),
        (&|mut map| drop(map.remove(&37)), 100),
        (&|mut map| drop(map.split_off(&30)), 100),
    ];
    for (job, drops) in jobs {
        dropped.set(0);
        assert!(panics(|| job(map())));
        assert_eq!(dropped.get(), drops);
    }
    let mut map: BTreeMap<u32, u32> = (0..100).map(|key| (key, key)).collect();
    assert!(panics(|| map.retain(|&key, _| if key == 60 { panic!("bang") } else { key % 2 == 0 })));
    assert_eq!(map.len(), 70);
    map.check();
    assert!(panics(|| *map.entry(1000).or_insert_with(|| panic!("bang")) += 1));
    assert!(!map.contains_key(&1000));
}

thread_local! {
    /// How often a `Fickle` may still be compared.
    static FUSE: Cell<u64> = const { Cell::new(u64::MAX) };
    /// What a `Fickle` answers with; zero for the truth.
    static NOISE: Cell<u64> = const { Cell::new(0) };
}

/// A key whose order panics, or contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fickle(u32);

impl PartialOrd for Fickle {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Fickle {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        FUSE.set(FUSE.get().checked_sub(1).expect("bang"));
        let noise = NOISE.get();
        if noise == 0 {
            return self.0.cmp(&other.0);
        }
        NOISE.set(noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) | 1);
        [std::cmp::Ordering::Less, std::cmp::Ordering::Equal, std::cmp::Ordering::Greater]
            [(noise >> 60) as usize % 3]
    }
}

#[test]
fn an_order_that_panics_loses_nothing() {
    let mut map: BTreeMap<Fickle, u32> = (0..200).map(|key| (Fickle(key * 2), key)).collect();
    for fuse in 0..if cfg!(miri) { 2 } else { 12 } {
        type Job<'a> = &'a dyn Fn(&mut BTreeMap<Fickle, u32>);
        let jobs: [Job<'_>; 5] = [
            &|map| assert_eq!(map.insert(Fickle(201), 1), None),
            &|map| assert!(map.remove(&Fickle(200)).is_some()),
            &|map| assert_eq!(map.range(Fickle(20)..Fickle(200)).count(), 90),
            &|map| drop(map.split_off(&Fickle(200))),
            &|map| *map.entry(Fickle(201)).or_default() += 1,
        ];
        for job in jobs {
            FUSE.set(fuse);
            let outcome = panics(|| job(&mut map));
            FUSE.set(u64::MAX);
            map.check();
            if !outcome {
                map = (0..200).map(|key| (Fickle(key * 2), key)).collect();
            }
            assert_eq!(map.len(), 200);
        }
    }
}

#[test]
fn an_order_that_contradicts_itself_breaks_no_memory() {
    let keys = if cfg!(miri) { 60 } else { 200 };
    for seed in 1..if cfg!(miri) { 2 } else { 200_u64 } {
        let mut map: BTreeMap<Fickle, crate::Box<u32>> = BTreeMap::new();
        NOISE.set(seed | 1);
        for key in 0..keys {
            map.insert(Fickle(key), crate::Box::new(key));
            if key % 3 == 0 {
                map.remove(&Fickle(key / 2));
            }
            // Walks of both kinds end; a range may panic, and then nothing is amiss.
            let _may_panic = panics(|| {
                let mut range = map.range_mut(Fickle(key / 4)..Fickle(key));
                let mut steps = 0;
                while range.next().is_some() && range.next_back().is_some() {
                    steps += 2;
                }
                assert!(steps <= 201);
            });
        }
        map.check_structure();
        NOISE.set(0);
    }
}

#[test]
fn ranges_that_make_no_sense_are_refused() {
    let map = BTreeMap::from([(1, 1), (2, 2)]);
    assert!(panics(|| assert_eq!(map.range((Bound::Included(2), Bound::Included(1))).count(), 0)));
    assert!(panics(|| assert_eq!(map.range((Bound::Excluded(2), Bound::Excluded(2))).count(), 0)));
    assert_eq!(map.range(2..2).count(), 0);
    assert_eq!(map.range((Bound::Excluded(1), Bound::Included(2))).count(), 1);
}

#[test]
fn it_borrows_indexes_prints_and_compares() {
    let mut map = BTreeMap::from([(crate::String::from("two"), 2), ("one".into(), 1)]);
    assert_eq!((map["one"], map.get("two"), map.get("three")), (1, Some(&2), None));
    assert_eq!(map.range::<str, _>((Bound::Included("p"), Bound::Unbounded)).next().unwrap().0, "two");
    map.values_mut().for_each(|value| *value *= 10);
    assert_eq!(format!("{map:?}"), r#"{"one": 10, "two": 20}"#);
    assert!(map < BTreeMap::from([("one".into(), 11)]));
    assert_eq!(map.remove("two"), Some(20));
    assert_eq!(map.into_keys().next_back().unwrap(), "one");
}
