//! Changes of hash maps, sets and the interner.

use heirloom::{HashMap, HashSet, Heritable, Inside, Interner, String, Vec};

use super::super::subject::{Crowded, Record, Subject, text};
use super::Promise::{Atomic, EachElement};
use super::{BALLAST, Case, Items, Mark, add, case, just, nothing, plain, upto, without};

fn insert<K: Heritable + Eq + std::hash::Hash>(
    map: &mut HashMap<K, Record>,
    key: K,
    record: Record,
    mark: Mark<'_>,
) {
    mark();
    drop(map.insert(key, record));
    mark();
}

type Map = HashMap<u64, Record>;

pub(super) fn hash_maps() -> std::vec::Vec<Case> {
    let replaced = |items: &mut Items| items[5].1 = 2;
    vec![
        case::<Map>(
            "map-insert",
            Atomic,
            &upto(10),
            nothing,
            |map, mark| insert(map, 20, Record::new(20, 1), mark),
            add((20, 1)),
        ),
        case::<Map>(
            "map-insert-first",
            Atomic,
            &[],
            nothing,
            |map, mark| insert(map, 20, Record::new(20, 1), mark),
            add((20, 1)),
        ),
        case::<Map>(
            "map-insert-grow",
            Atomic,
            &upto(14),
            nothing,
            |map, mark| insert(map, 20, Record::new(20, 1), mark),
            add((20, 1)),
        ),
        case::<Map>(
            "map-overwrite",
            Atomic,
            &upto(10),
            nothing,
            |map, mark| insert(map, 5, Record::new(5, 2), mark),
            replaced,
        ),
        case::<HashMap<u64, u64>>(
            "map-overwrite-word",
            Atomic,
            &upto(10),
            nothing,
            just(|map: &mut HashMap<u64, u64>| {
                map.insert(5, 2);
            }),
            replaced,
        ),
        case::<HashMap<u64, [u64; 2]>>(
            "map-overwrite-pair",
            Atomic,
            &upto(10),
            nothing,
            just(|map: &mut HashMap<u64, [u64; 2]>| {
                map.insert(5, [2, 2 ^ 5]);
            }),
            replaced,
        ),
        case::<Map>(
            "map-entry",
            Atomic,
            &upto(10),
            nothing,
            |map, mark| {
                let record = Record::new(5, 2);
                mark();
                if let heirloom::hash_map::Entry::Occupied(mut entry) = map.entry(5) {
                    drop(entry.insert(record));
                }
                mark();
            },
            replaced,
        ),
        case::<Map>(
            "map-remove",
            Atomic,
            &upto(10),
            nothing,
            just(|map: &mut Map| drop(map.remove(&5))),
            without(5),
        ),
        case::<Map>(
            "map-remove-last",
            Atomic,
            &upto(1),
            nothing,
            just(|map: &mut Map| drop(map.remove(&0))),
            without(0),
        ),
        case::<Map>(
            "map-shrink",
            Atomic,
            &upto(10),
            |map| map.reserve(100),
            just(|map: &mut Map| {
                map.shrink_to_fit();
            }),
            |_| {},
        ),
        case::<Map>(
            "map-drain",
            Atomic,
            &upto(5),
            nothing,
            just(|map: &mut Map| drop(map.drain())),
            Items::clear,
        ),
        case::<Map>(
            "map-clear",
            EachElement,
            &upto(5),
            nothing,
            just(|map: &mut Map| {
                map.clear();
            }),
            Items::clear,
        ),
        case::<HashMap<u64, u64>>(
            "map-clear-words",
            EachElement,
            &upto(40),
            nothing,
            just(|map: &mut HashMap<u64, u64>| {
                map.clear();
            }),
            Items::clear,
        ),
        case::<Map>(
            "map-retain",
            EachElement,
            &upto(10),
            nothing,
            just(|map: &mut Map| {
                map.retain(|key, _| key % 2 == 0);
            }),
            |items| items.retain(|item| item.0 % 2 == 0),
        ),
        case::<Map>(
            "map-extend",
            EachElement,
            &upto(6),
            nothing,
            |map, mark| {
                let new = [20, 21, 22].map(|key| (key, Record::new(key, 1)));
                mark();
                map.extend(new);
                mark();
            },
            |items| items.extend([(20, 1), (21, 1), (22, 1)]),
        ),
        case::<Map>(
            "map-reserve",
            Atomic,
            &upto(6),
            nothing,
            just(|map: &mut Map| {
                map.reserve(30);
            }),
            |_| {},
        ),
    ]
}

type Tombs = HashMap<Crowded, Record>;

/// A key of another crowd.
fn filler(crowd: u64, nr: u64) -> Crowded {
    Crowded(crowd << 32 | nr)
}

/// Three groups of a table of four are full of tombstones, and the fourth holds the eight items: there is room, and no bucket that was never
/// used may be filled.
fn tombstones(map: &mut Tombs) {
    for crowd in 1.. {
        *map = Tombs::new();
        (0..48).for_each(|nr| drop(map.insert(filler(crowd, nr), Record::new(nr, 7))));
        map.fill(&upto(8));
        map.retain(|key, _| key.0 >> 32 == 0);
        // Which group a crowd begins in is the seed's choice: where it is the items' own, one more would take a tombstone.
        let mut other = map.clone();
        other.insert(Crowded(30), Record::new(30, 1));
        if map.len() == map.capacity() && other.capacity() == 56 {
            return;
        }
    }
}

/// The first group that a probe comes by is full of tombstones.
fn reuse(map: &mut Tombs) {
    *map = Tombs::new();
    (300..316).for_each(|nr| drop(map.insert(Crowded(nr), Record::new(nr, 7))));
    map.fill(&upto(20));
    map.retain(|key, _| key.0 < 300);
}

/// Takes all memory of the heap that a table could have.
fn fill_the_heap(inside: &Inside<'_>) {
    let mut ballast = BALLAST.get(inside).lock();
    ballast.try_reserve(4096).unwrap();
    for bytes in [1 << 20, 1 << 16, 1 << 14, 1 << 13, 1 << 12, 3136, 1 << 11] {
        while let Ok(block) = Vec::try_with_capacity(bytes) {
            ballast.push(block);
        }
    }
}

pub(super) fn hash_tables() -> std::vec::Vec<Case> {
    vec![
        case::<Tombs>(
            "tombs-insert",
            Atomic,
            &upto(20),
            reuse,
            |map, mark| insert(map, Crowded(30), Record::new(30, 1), mark),
            add((30, 1)),
        ),
        case::<Tombs>(
            "tombs-remove",
            Atomic,
            &upto(30),
            nothing,
            just(|map: &mut Tombs| drop(map.remove(&Crowded(3)))),
            without(3),
        ),
        case::<Tombs>(
            "tombs-rehash",
            Atomic,
            &upto(8),
            tombstones,
            |map, mark| insert(map, Crowded(30), Record::new(30, 1), mark),
            add((30, 1)),
        ),
        in_a_full_heap(),
        case::<HashSet<String>>(
            "set-insert",
            Atomic,
            &plain(28),
            nothing,
            |set, mark| {
                let new = text(100);
                mark();
                set.insert(new);
                mark();
            },
            add((100, 0)),
        ),
        case::<HashSet<String>>(
            "set-remove",
            Atomic,
            &plain(10),
            nothing,
            |set, mark| {
                let old = text(3);
                mark();
                set.remove(&*old);
                mark();
            },
            without(3),
        ),
        case::<Interner>(
            "intern",
            Atomic,
            &plain(10),
            nothing,
            |pool, mark| {
                let new = text(100);
                mark();
                pool.intern(&new);
                mark();
            },
            add((100, 0)),
        ),
        case::<Interner>(
            "intern-grow",
            Atomic,
            &plain(28),
            nothing,
            |pool, mark| {
                let new = text(100);
                mark();
                pool.intern(&new);
                mark();
            },
            add((100, 0)),
        ),
    ]
}

/// The table has no room and the heap none for another: its values are put in order where they are.
fn in_a_full_heap() -> Case {
    let mut case =
        case::<Tombs>("tombs-rehash-in-place", Atomic, &upto(8), tombstones, |_, _| {}, add((30, 1)));
    case.change = Box::new(|inside, mark| {
        let mut map = Tombs::root().get(inside).lock();
        let record = Record::new(30, 1);
        // The first change of a thread in several places takes a page for its diary.
        drop(map.insert(Crowded(0), Record::new(0, 1)));
        fill_the_heap(inside);
        mark();
        drop(map.insert(Crowded(30), record));
        mark();
    });
    case
}
