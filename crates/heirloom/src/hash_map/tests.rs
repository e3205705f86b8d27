use std::cell::Cell;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use proptest::prelude::*;

use super::{Entry, HashMap};
use crate::alloc::{fail_after, never_fail};
use crate::generation::pretend;

impl<K: Eq + Hash, V> HashMap<K, V> {
    /// Checks the table, and the order if the map claims to be in it.
    fn check(&self) {
        let hash = |pair: &super::Pair<K, V>| self.seed.hash(&pair.key);
        let claims = self.probed.load(super::Relaxed) == super::generation::current();
        self.table.check(claims.then_some(&hash));
        assert_eq!(self.reserved, 0);
    }
}

fn panics(job: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(job)).is_err()
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u16, u8),
    Remove(u16),
    Get(u16),
    GetMut(u16),
    Entry(u16, u8),
    EntryRemove(u16),
    Retain(u8),
    Drain(u8),
    Clear,
    Reserve(u16),
    ShrinkToFit,
    Clone,
    IntoIter,
    Generation,
    FillAndEmpty(u16, u16),
}

fn op(keys: u16) -> impl Strategy<Value = Op> {
    let key = move || 0..keys;
    prop_oneof![
        12 => (key(), any::<u8>()).prop_map(|(key, value)| Op::Insert(key, value)),
        10 => key().prop_map(Op::Remove),
        3 => key().prop_map(Op::Get),
        3 => key().prop_map(Op::GetMut),
        6 => (key(), any::<u8>()).prop_map(|(key, value)| Op::Entry(key, value)),
        3 => key().prop_map(Op::EntryRemove),
        1 => any::<u8>().prop_map(Op::Retain),
        1 => any::<u8>().prop_map(Op::Drain),
        1 => Just(Op::Clear),
        1 => (0..300_u16).prop_map(Op::Reserve),
        1 => Just(Op::ShrinkToFit),
        1 => Just(Op::Clone),
        1 => Just(Op::IntoIter),
        1 => Just(Op::Generation),
        2 => (key(), 0..keys).prop_map(|(from, count)| Op::FillAndEmpty(from, count)),
    ]
}

/// Runs the same operations on a map of ours and on one of std's.
fn run<K: Clone + Debug + Eq + Hash + Ord, V: Clone + Debug + Ord>(
    ops: &[Op],
    make_key: impl Fn(u16) -> K,
    make: impl Fn(u8) -> V,
) {
    fn sorted<T: Ord>(iter: impl Iterator<Item = T>) -> std::vec::Vec<T> {
        let mut all: std::vec::Vec<T> = iter.collect();
        all.sort();
        all
    }
    let mut generation = 1;
    pretend(generation);
    let mut ours = HashMap::<K, V>::new();
    let mut theirs = std::collections::HashMap::<K, V>::new();
    for op in ops {
        match *op {
            Op::Insert(key, value) => {
                assert_eq!(
                    ours.insert(make_key(key), make(value)),
                    theirs.insert(make_key(key), make(value))
                );
            }
            Op::Remove(key) => {
                assert_eq!(ours.remove_entry(&make_key(key)), theirs.remove_entry(&make_key(key)));
            }
            Op::Get(key) => {
                assert_eq!(ours.get(&make_key(key)), theirs.get(&make_key(key)));
                assert_eq!(ours.contains_key(&make_key(key)), theirs.contains_key(&make_key(key)));
            }
            Op::GetMut(key) => assert_eq!(ours.get_mut(&make_key(key)), theirs.get_mut(&make_key(key))),
            Op::Entry(key, value) => {
                let mine = ours.entry(make_key(key)).and_modify(|old| *old = make(1)).or_insert(make(value));
                let other =
                    theirs.entry(make_key(key)).and_modify(|old| *old = make(1)).or_insert(make(value));
                assert_eq!(mine, other);
            }
            Op::EntryRemove(key) => match ours.entry(make_key(key)) {
                Entry::Occupied(entry) => assert_eq!(Some(entry.remove()), theirs.remove(&make_key(key))),
                Entry::Vacant(entry) => assert!(!theirs.contains_key(entry.key())),
            },
            Op::Retain(limit) => {
                ours.retain(|_, value| *value < make(limit));
                theirs.retain(|_, value| *value < make(limit));
            }
            Op::Drain(count) => {
                let some: std::vec::Vec<_> = ours.drain().take(count.into()).collect();
                assert!(some.iter().all(|(key, value)| theirs.get(key) == Some(value)));
                theirs.clear();
            }
            Op::Clear => (ours.clear(), theirs.clear()).0,
            Op::Reserve(more) => {
                ours.reserve(more.into());
                assert!(ours.capacity() >= ours.len() + usize::from(more));
            }
            Op::ShrinkToFit => ours.shrink_to_fit(),
            Op::Clone => ours = ours.clone(),
            Op::IntoIter => {
                assert_eq!(sorted(ours.clone().into_iter()), sorted(theirs.clone().into_iter()));
                assert_eq!(sorted(ours.keys()), sorted(theirs.keys()));
                assert_eq!(sorted(ours.values_mut()), sorted(theirs.values_mut()));
            }
            Op::Generation => {
                generation += 1;
                pretend(generation);
            }
            Op::FillAndEmpty(from, count) => {
                for key in from..from.saturating_add(count) {
                    ours.insert(make_key(key), make(0));
                }
                for key in from..from.saturating_add(count) {
                    ours.remove(&make_key(key));
                    theirs.remove(&make_key(key));
                }
            }
        }
        ours.check();
        assert_eq!(ours.len(), theirs.len());
        assert_eq!(ours.iter().len(), ours.iter().count());
        assert!(ours.iter().all(|(key, value)| theirs.get(key) == Some(value)));
    }
    assert!(theirs.iter().all(|(key, value)| ours.get(key) == Some(value)));
}

/// A key, or value, that counts how many of its kind live.
#[derive(Debug)]
struct Counted(u16, Rc<Cell<i64>>);

impl Counted {
    fn new(id: u16, live: &Rc<Cell<i64>>) -> Self {
        live.set(live.get() + 1);
        Self(id, live.clone())
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(self.0, &self.1)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.set(self.1.get() - 1);
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Counted {}

impl PartialOrd for Counted {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Counted {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// A key of which many share one hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crowded(u16);

impl Hash for Crowded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0 / 40).hash(state);
    }
}

#[repr(align(128))]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Wide(u16);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Nothing;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 3 } else { 200 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_behaves_like_stds(
        ops in (1..=if cfg!(miri) { 5_u32 } else { 9 })
            .prop_flat_map(|bits| prop::collection::vec(op(1 << bits), 1..if cfg!(miri) { 25 } else { 250 }))
    ) {
        let live = Rc::new(Cell::new(0));
        run(&ops, |key| Counted::new(key, &live), |value| Counted::new(value.into(), &live));
        prop_assert_eq!(live.get(), 0);
        run(&ops, Crowded, |value| value);
        run(&ops, Wide, |_| ());
        run(&ops, |_| Nothing, |_| ());
        run(&ops, |key| crate::String::from(&*key.to_string()), u64::from);
    }
}

#[test]
fn an_empty_map_has_no_table() {
    fail_after(0);
    let mut map = HashMap::<u8, u8>::new();
    assert!(map.get(&1).is_none() && map.remove(&1).is_none() && map.get_mut(&1).is_none());
    assert!(map.iter().next().is_none() && map.drain().next().is_none() && map.capacity() == 0);
    map.retain(|_, _| true);
    map.clear();
    map.shrink_to_fit();
    let clone = map.clone();
    assert!(clone == map && map.into_iter().next().is_none());
    never_fail();
}

#[test]
fn small_maps_are_small() {
    let mut map = HashMap::new();
    for (len, capacity) in [(1, 3), (2, 3), (3, 3), (4, 7), (7, 7), (8, 14), (14, 14), (15, 28)] {
        for key in 0..len {
            map.insert(key, key);
        }
        assert_eq!((map.len(), map.capacity()), (len, capacity));
        map.check();
    }
    map.retain(|&key, _| key == 3);
    map.shrink_to_fit();
    assert_eq!((map.capacity(), map.get(&3)), (3, Some(&3)));
}

#[test]
fn a_full_heap_leaves_the_map_unchanged() {
    let mut map: HashMap<u32, u32> = (0..7).map(|key| (key, key)).collect();
    assert_eq!(map.capacity(), 7);
    let before = map.clone();
    fail_after(0);
    assert!(map.try_insert(7, 7).is_err());
    assert!(map.try_reserve(1).is_err() && map.try_reserve(usize::MAX).is_err());
    assert!(map.try_clone().is_err());
    assert!(panics(|| *map.entry(7).or_insert(1) += 1));
    let Ok(Entry::Vacant(entry)) = map.try_entry(8) else { panic!("a place is found without memory") };
    assert!(entry.try_insert(8).is_err());
    assert!(HashMap::<u8, u8>::new().try_entry(1).is_err());
    assert!(HashMap::<u8, u8>::try_with_capacity(1).is_err());
    // A key that is there needs no memory, nor does a place that has become free.
    assert_eq!(map.try_insert(3, 3), Ok(Some(3)));
    map.shrink_to_fit();
    never_fail();
    map.check();
    assert_eq!(map, before);
}

#[test]
fn tombstones_make_room_where_the_heap_has_none() {
    let mut map: HashMap<u32, u32> = (0..448).map(|key| (key, key)).collect();
    assert_eq!(map.capacity(), 448);
    fail_after(0);
    for key in 448..100_000 {
        assert_eq!(map.remove(&(key - 448)), Some(key - 448));
        assert_eq!(map.try_insert(key, key), Ok(None));
    }
    never_fail();
    map.check();
    assert_eq!(map.len(), 448);
}

thread_local! {
    /// What hashing a `Shifty` does on this thread.
    static MODE: Cell<Mode> = const { Cell::new(Mode::Old) };
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Old,
    New,
    /// Panics after this many keys.
    Bomb(u32),
}

/// A key that feeds its hasher in one way or another, as if std had changed its mind.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shifty(u32);

impl Hash for Shifty {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match MODE.get() {
            Mode::Old => {}
            Mode::New => state.write_u8(0xFF),
            Mode::Bomb(0) => panic!("bang"),
            Mode::Bomb(left) => MODE.set(Mode::Bomb(left - 1)),
        }
        state.write_u32(self.0);
    }
}

/// Builds a map in generation 1, with some tombstones, and enters generation 2, where keys hash in another way.
fn inherited(len: u32) -> HashMap<Shifty, u32> {
    MODE.set(Mode::Old);
    pretend(1);
    let mut map: HashMap<Shifty, u32> = (0..len + len / 8).map(|key| (Shifty(key), key)).collect();
    map.retain(|key, _| key.0 < len);
    pretend(2);
    MODE.set(Mode::New);
    map
}

#[test]
fn a_map_whose_keys_hash_anew_rebuilds_itself() {
    type Meet = fn(&mut HashMap<Shifty, u32>, u32);
    let meets: [Meet; 5] = [
        |map, _| assert_eq!(map.get_mut(&Shifty(0)), Some(&mut 0)),
        |map, len| assert_eq!(map.insert(Shifty(len), len), None),
        |map, _| assert_eq!(map.insert(Shifty(0), 0), Some(0)),
        |map, len| assert_eq!(map.remove(&Shifty(len - 1)), Some(len - 1)),
        |map, _| assert_eq!(map.entry(Shifty(0)).or_default(), &mut 0),
    ];
    for len in [1, 3, 7, 14, 100, if cfg!(miri) { 101 } else { 10_000 }] {
        for meet in meets {
            let mut map = inherited(len);
            fail_after(if len == 3 || len == 7 || len == 14 { u64::MAX } else { 1 });
            meet(&mut map, len);
            never_fail();
            map.check();
            for key in 0..len - 1 {
                assert_eq!(map.get(&Shifty(key)), Some(&key));
            }
        }
    }
}

#[test]
fn a_shared_map_whose_keys_hash_anew_is_read_all_the_same() {
    let map = inherited(100);
    for key in 0..100 {
        assert_eq!(map[&Shifty(key)], key);
    }
    assert_eq!(map.get(&Shifty(100)), None);
    assert_ne!(map.probed.load(super::Relaxed), 2);
}

#[test]
fn a_map_whose_keys_hash_as_before_is_proven_once() {
    let map = inherited(100);
    MODE.set(Mode::Bomb(1));
    assert_eq!(map.get(&Shifty(5)), Some(&5), "what is found is right, and nothing else is hashed");
    // Eight samples and the key itself.
    MODE.set(Mode::Bomb(9));
    assert_eq!(map.get(&Shifty(1000)), None);
    // From now on only what is asked for is hashed.
    MODE.set(Mode::Bomb(1));
    assert_eq!(map.get(&Shifty(2000)), None);
    map.check_later();
}

impl HashMap<Shifty, u32> {
    fn check_later(&self) {
        MODE.set(Mode::Old);
        self.check();
    }
}

#[test]
fn a_hash_that_panics_loses_nothing() {
    for fuse in [0, 1, 8, 9, 30, 60, 99] {
        let mut map = inherited(100);
        // The new way of hashing is noticed, then the bomb goes off in the middle of the rebuilding.
        map.probed = super::NEVER.into();
        MODE.set(Mode::Bomb(fuse));
        // A key that is not there, for one that is found asks for no order.
        assert!(panics(|| assert_eq!(map.remove(&Shifty(1000)), None)));
        MODE.set(Mode::New);
        assert_eq!((map.len(), map.iter().count()), (100, 100));
        assert!((0..100).all(|key| map.get(&Shifty(key)) == Some(&key)));
        assert_eq!(map.remove(&Shifty(1)), Some(1));
        map.check();

        let mut map: HashMap<Shifty, u32> = (0..112).map(|key| (Shifty(key), key)).collect();
        assert_eq!(map.capacity(), 112);
        MODE.set(Mode::Bomb(fuse));
        assert!(panics(|| map.reserve(1)));
        MODE.set(Mode::New);
        map.check();
        assert!((0..112).all(|key| map.get(&Shifty(key)) == Some(&key)));
    }
}

/// A value that panics when it is dropped, if it is armed.
struct Grenade<'a>(bool, &'a Cell<u32>);

impl Drop for Grenade<'_> {
    fn drop(&mut self) {
        self.1.set(self.1.get() + 1);
        assert!(!self.0, "bang");
    }
}

#[test]
fn a_value_that_panics_is_dropped_once() {
    let dropped = Cell::new(0);
    let map = || (0..20).map(|key| (key, Grenade(key == 7, &dropped))).collect::<HashMap<_, _>>();
    type Map<'a> = HashMap<i32, Grenade<'a>>;
    let jobs: [&dyn Fn(Map<'_>); 6] = [
        &|map| drop(map),
        &|mut map| map.clear(),
        &|mut map| drop(map.drain()),
        &|map| drop(map.into_iter()),
        &|mut map| map.retain(|_, _| false),
        &|mut map| drop(map.remove(&7)),
    ];
    for job in jobs {
        dropped.set(0);
        assert!(panics(|| job(map())));
        assert!((1..=20).contains(&dropped.get()));
    }
}

#[test]
fn closures_that_panic_leave_a_whole_map() {
    let mut map: HashMap<u32, u32> = (0..50).map(|key| (key, key)).collect();
    let mut seen = 0;
    assert!(panics(|| map.retain(|_, _| {
        seen += 1;
        assert!(seen < 20, "bang");
        false
    })));
    assert_eq!(map.len(), 31);
    map.check();
    assert!(panics(|| *map.entry(1000).or_insert_with(|| panic!("bang")) += 1));
    assert!(!map.contains_key(&1000));
    let _forgotten = ManuallyDrop::new(map.drain());
    assert!(map.is_empty());
    map.check();
    map.insert(1, 1);
}

#[test]
fn it_borrows_indexes_prints_and_compares() {
    let mut map = HashMap::from([(crate::String::from("one"), 1), ("two".into(), 2)]);
    assert_eq!((map["one"], map.get("two"), map.get("three")), (1, Some(&2), None));
    assert_eq!(map.get_key_value("one").unwrap().0, "one");
    assert_eq!(*map.get_or_insert_with("three".into(), || 3), 3);
    map.values_mut().for_each(|value| *value *= 10);
    assert_eq!(map.remove("two"), Some(20));
    assert_eq!(map, HashMap::from([("three".into(), 30), ("one".into(), 10)]));
    assert_ne!(map, HashMap::from([("three".into(), 30), ("one".into(), 11)]));
    map.remove("three");
    assert_eq!(format!("{map:?}"), r#"{"one": 10}"#);
    assert_eq!(map.into_keys().next().unwrap(), "one");
}
