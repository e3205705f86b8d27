//! The changes: what is there before, what is done, what is there afterwards, and what is promised in between.

use std::collections::BTreeSet as StdSet;
use std::fmt;

use heirloom::sync::Mutex;
use heirloom::{
    BTreeMap, BTreeSet, ByteString, HashMap, HashSet, Heritable, Inside, Interner, String, Vec, VecDeque,
};

use super::subject::{Crowded, Item, Items, Record, Subject, text};

heirloom::root! {
    /// What fills a heap up.
    static BALLAST: Mutex<Vec<Vec<u8>>> = "ballast";
}

/// What a kill leaves.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Promise {
    /// What was there before, or what is there afterwards.
    Atomic,
    /// Each element by itself: there or not, once, and whole.
    EachElement,
}

/// Tells that the change begins, and that it is made.
pub(crate) type Mark<'a> = &'a dyn Fn();

type Act = Box<dyn Fn(&Inside<'_>, Mark<'_>)>;
type LookAt = Box<dyn Fn(&Inside<'_>, bool) -> Result<(), std::string::String>>;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) promise: Promise,
    /// Too long for the test: only with `--all`, or by name.
    pub(crate) is_long: bool,
    pub(crate) make: Box<dyn Fn(&Inside<'_>)>,
    pub(crate) change: Act,
    /// Looks at what is there; the flag says that the change was acknowledged.
    pub(crate) look: LookAt,
}

/// Builds a case. `make` adds what filling alone does not bring about, and leaves the items as they are.
fn case<S: Subject>(
    name: &'static str,
    promise: Promise,
    items: &[Item],
    make: fn(&mut S),
    change: fn(&mut S, Mark<'_>),
    then: impl Fn(&mut Items),
) -> Case {
    let before = items.to_vec();
    let mut after = before.clone();
    then(&mut after);
    let to_fill = before.clone();
    let look = move |inside: &Inside<'_>, is_over: bool| {
        let lock = S::root().get(inside);
        lock.clear_poison();
        BALLAST.get(inside).clear_poison();
        BALLAST.get(inside).lock().clear();
        let mut subject = lock.lock();
        let found = subject.read()?;
        let is_kept = match promise {
            _ if is_over => found == after,
            Promise::Atomic => found == before || found == after,
            Promise::EachElement => is_between(&found, &before, &after),
        };
        if !is_kept {
            return Err(format!("it holds {found:?}, before {before:?}, afterwards {after:?}"));
        }
        go_on(&mut *subject, found)
    };
    Case {
        name,
        promise,
        is_long: name.ends_with("large"),
        make: Box::new(move |inside| {
            let mut subject = S::root().get(inside).lock();
            subject.fill(&to_fill);
            make(&mut subject);
            assert_eq!(subject.read().unwrap(), to_fill, "what is made is not what was asked for");
        }),
        change: Box::new(move |inside, mark| change(&mut S::root().get(inside).lock(), mark)),
        look: Box::new(look),
    }
}

/// Whether nothing is there that never was, nothing twice, and all that stays.
fn is_between(found: &Items, before: &Items, after: &Items) -> bool {
    let set = |items: &Items| items.iter().copied().collect::<StdSet<Item>>();
    let (is, was, will) = (set(found), set(before), set(after));
    is.len() == found.len() && is.is_subset(&(&was | &will)) && (&was & &will).is_subset(&is)
}

/// Uses what a kill left: what it holds stays as it is while the heap is in use, and it takes more.
fn go_on<S: Subject>(subject: &mut S, found: Items) -> Result<(), std::string::String> {
    // Blocks that are free now are used: were one of them still in use, what is in it would change.
    let others: std::vec::Vec<Record> = (0..60).map(|nr| Record::new(nr, 99)).collect();
    if subject.read()? != found {
        return Err("what it holds changes while other things are made".to_owned());
    }
    let more = S::more();
    subject.add(&more);
    let mut wanted = found;
    wanted.extend(more);
    if !S::IS_SEQUENCE {
        wanted.sort_unstable();
    }
    let now = subject.read()?;
    if now != wanted {
        return Err(format!("with more in it, it holds {now:?}"));
    }
    drop(others);
    // Drops everything: what is owned twice is given back twice.
    *subject = S::default();
    Ok(())
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Atomic => "all or nothing",
            Self::EachElement => "each element by itself",
        })
    }
}

fn upto(nr: u64) -> Items {
    (0..nr).map(|key| (key, 1)).collect()
}

/// Even keys, so that there is room between them.
fn even(nr: u64) -> Items {
    (0..nr).map(|key| (2 * key, 1)).collect()
}

fn plain(nr: u64) -> Items {
    (0..nr).map(|key| (key, 0)).collect()
}

fn add(item: Item) -> impl Fn(&mut Items) {
    move |items| {
        items.push(item);
        items.sort_unstable();
    }
}

fn without(key: u64) -> impl Fn(&mut Items) {
    move |items| items.retain(|item| item.0 != key)
}

fn nothing<S>(_: &mut S) {}

use Promise::{Atomic, EachElement};

pub(crate) fn all() -> std::vec::Vec<Case> {
    let mut cases = hash_maps();
    cases.extend(hash_tables());
    cases.extend(vectors());
    cases.extend(deques());
    cases.extend(strings());
    cases.extend(trees());
    cases
}

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

fn hash_maps() -> std::vec::Vec<Case> {
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
            |map, mark| {
                mark();
                map.insert(5, 2);
                mark();
            },
            replaced,
        ),
        case::<HashMap<u64, [u64; 2]>>(
            "map-overwrite-pair",
            Atomic,
            &upto(10),
            nothing,
            |map, mark| {
                mark();
                map.insert(5, [2, 2 ^ 5]);
                mark();
            },
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
            |map, mark| {
                mark();
                drop(map.remove(&5));
                mark();
            },
            without(5),
        ),
        case::<Map>(
            "map-remove-last",
            Atomic,
            &upto(1),
            nothing,
            |map, mark| {
                mark();
                drop(map.remove(&0));
                mark();
            },
            without(0),
        ),
        case::<Map>(
            "map-shrink",
            Atomic,
            &upto(10),
            |map| map.reserve(100),
            |map, mark| {
                mark();
                map.shrink_to_fit();
                mark();
            },
            |_| {},
        ),
        case::<Map>(
            "map-drain",
            Atomic,
            &upto(5),
            nothing,
            |map, mark| {
                mark();
                drop(map.drain());
                mark();
            },
            Items::clear,
        ),
        case::<Map>(
            "map-clear",
            EachElement,
            &upto(5),
            nothing,
            |map, mark| {
                mark();
                map.clear();
                mark();
            },
            Items::clear,
        ),
        case::<HashMap<u64, u64>>(
            "map-clear-words",
            EachElement,
            &upto(40),
            nothing,
            |map, mark| {
                mark();
                map.clear();
                mark();
            },
            Items::clear,
        ),
        case::<Map>(
            "map-retain",
            EachElement,
            &upto(10),
            nothing,
            |map, mark| {
                mark();
                map.retain(|key, _| key % 2 == 0);
                mark();
            },
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
            |map, mark| {
                mark();
                map.reserve(30);
                mark();
            },
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

fn hash_tables() -> std::vec::Vec<Case> {
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
            |map, mark| {
                mark();
                drop(map.remove(&Crowded(3)));
                mark();
            },
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

type Row = Vec<Record>;

fn is_full(vec: &mut Row) {
    assert_eq!(vec.len(), vec.capacity());
}

fn push(vec: &mut Row, mark: Mark<'_>) {
    let record = Record::new(5000, 1);
    mark();
    vec.push(record);
    mark();
}

fn vectors() -> std::vec::Vec<Case> {
    vec![
        case::<Row>("vec-push", Atomic, &upto(5), nothing, push, add((5000, 1))),
        case::<Row>("vec-push-first", Atomic, &[], nothing, push, add((5000, 1))),
        case::<Row>("vec-push-grow", Atomic, &upto(8), is_full, push, add((5000, 1))),
        case::<Row>("vec-push-grow-large", Atomic, &upto(819), is_full, push, add((5000, 1))),
        case::<Row>(
            "vec-pop",
            Atomic,
            &upto(5),
            nothing,
            |vec, mark| {
                mark();
                drop(vec.pop());
                mark();
            },
            without(4),
        ),
        case::<Row>(
            "vec-insert",
            Atomic,
            &upto(6),
            nothing,
            |vec, mark| {
                let record = Record::new(5000, 1);
                mark();
                vec.insert(2, record);
                mark();
            },
            |items| items.insert(2, (5000, 1)),
        ),
        case::<Row>(
            "vec-remove",
            Atomic,
            &upto(6),
            nothing,
            |vec, mark| {
                mark();
                drop(vec.remove(2));
                mark();
            },
            without(2),
        ),
        case::<Row>(
            "vec-swap-remove",
            Atomic,
            &upto(6),
            nothing,
            |vec, mark| {
                mark();
                drop(vec.swap_remove(2));
                mark();
            },
            |items| {
                let _ = items.swap_remove(2);
            },
        ),
        case::<Row>(
            "vec-truncate",
            Atomic,
            &upto(6),
            nothing,
            |vec, mark| {
                mark();
                vec.truncate(2);
                mark();
            },
            |items| items.truncate(2),
        ),
        case::<Row>(
            "vec-append",
            Atomic,
            &upto(6),
            nothing,
            |vec, mark| {
                let mut other: Row = [Record::new(5000, 1), Record::new(5001, 1)].into_iter().collect();
                mark();
                vec.append(&mut other);
                mark();
            },
            |items| items.extend([(5000, 1), (5001, 1)]),
        ),
        case::<Row>(
            "vec-split-off",
            Atomic,
            &upto(6),
            nothing,
            |vec, mark| {
                mark();
                drop(vec.split_off(2));
                mark();
            },
            |items| items.truncate(2),
        ),
        case::<Row>(
            "vec-shrink",
            Atomic,
            &upto(5),
            |vec| vec.reserve(60),
            |vec, mark| {
                mark();
                vec.shrink_to_fit();
                mark();
            },
            |_| {},
        ),
        case::<Row>(
            "vec-extend",
            EachElement,
            &upto(6),
            nothing,
            |vec, mark| {
                let new = [Record::new(5000, 1), Record::new(5001, 1), Record::new(5002, 1)];
                mark();
                vec.extend(new);
                mark();
            },
            |items| items.extend([(5000, 1), (5001, 1), (5002, 1)]),
        ),
        case::<Row>(
            "vec-retain",
            EachElement,
            &upto(6),
            nothing,
            |vec, mark| {
                mark();
                vec.retain(|record| record.key % 2 == 0);
                mark();
            },
            |items| items.retain(|item| item.0 % 2 == 0),
        ),
        case::<Row>(
            "vec-drain",
            Atomic,
            &upto(6),
            nothing,
            |vec, mark| {
                mark();
                drop(vec.drain(1..3));
                mark();
            },
            |items| items.retain(|item| !(1..3).contains(&item.0)),
        ),
        case::<Row>(
            "vec-dedup",
            EachElement,
            &upto(6),
            nothing,
            |vec, mark| {
                mark();
                vec.dedup_by_key(|record| record.key / 2);
                mark();
            },
            |items| items.retain(|item| item.0 % 2 == 0),
        ),
    ]
}

type Queue = VecDeque<Record>;

fn deques() -> std::vec::Vec<Case> {
    let push_back = |queue: &mut Queue, mark: Mark<'_>| {
        let record = Record::new(5000, 1);
        mark();
        queue.push_back(record);
        mark();
    };
    let push_front = |queue: &mut Queue, mark: Mark<'_>| {
        let record = Record::new(5000, 1);
        mark();
        queue.push_front(record);
        mark();
    };
    let first = |items: &mut Items| items.insert(0, (5000, 1));
    vec![
        case::<Queue>("deque-push-back", Atomic, &upto(6), nothing, push_back, add((5000, 1))),
        case::<Queue>("deque-push-front", Atomic, &upto(6), nothing, push_front, first),
        case::<Queue>("deque-push-back-grow", Atomic, &upto(8), nothing, push_back, add((5000, 1))),
        case::<Queue>("deque-push-front-grow", Atomic, &upto(8), nothing, push_front, first),
        case::<Queue>("deque-push-grow-large", Atomic, &upto(819), nothing, push_back, add((5000, 1))),
        case::<Queue>(
            "deque-pop-front",
            Atomic,
            &upto(6),
            nothing,
            |queue, mark| {
                mark();
                drop(queue.pop_front());
                mark();
            },
            without(0),
        ),
        case::<Queue>(
            "deque-pop-back",
            Atomic,
            &upto(6),
            nothing,
            |queue, mark| {
                mark();
                drop(queue.pop_back());
                mark();
            },
            without(5),
        ),
        case::<Queue>(
            "deque-insert",
            Atomic,
            &upto(6),
            nothing,
            |queue, mark| {
                let record = Record::new(5000, 1);
                mark();
                queue.insert(2, record);
                mark();
            },
            |items| items.insert(2, (5000, 1)),
        ),
        case::<Queue>(
            "deque-remove",
            Atomic,
            &upto(7),
            nothing,
            |queue, mark| {
                mark();
                drop(queue.remove(4));
                mark();
            },
            without(4),
        ),
        case::<Queue>(
            "deque-clear",
            Atomic,
            &upto(6),
            nothing,
            |queue, mark| {
                mark();
                queue.clear();
                mark();
            },
            Items::clear,
        ),
        case::<Queue>(
            "deque-shrink",
            Atomic,
            &upto(6),
            |queue| queue.reserve(60),
            |queue, mark| {
                mark();
                queue.shrink_to_fit();
                mark();
            },
            |_| {},
        ),
        case::<Queue>(
            "deque-drain",
            Atomic,
            &upto(7),
            nothing,
            |queue, mark| {
                mark();
                drop(queue.drain(3..5));
                mark();
            },
            |items| items.retain(|item| !(3..5).contains(&item.0)),
        ),
        case::<Queue>(
            "deque-drain-front",
            Atomic,
            &upto(7),
            nothing,
            |queue, mark| {
                mark();
                drop(queue.drain(1..3));
                mark();
            },
            |items| items.retain(|item| !(1..3).contains(&item.0)),
        ),
        case::<Queue>(
            "deque-append",
            Atomic,
            &upto(6),
            nothing,
            |queue, mark| {
                let mut other: Queue = [Record::new(5000, 1), Record::new(5001, 1)].into_iter().collect();
                mark();
                queue.append(&mut other);
                mark();
            },
            |items| items.extend([(5000, 1), (5001, 1)]),
        ),
        case::<Queue>(
            "deque-split-off",
            Atomic,
            &upto(7),
            nothing,
            |queue, mark| {
                mark();
                drop(queue.split_off(2));
                mark();
            },
            |items| items.truncate(2),
        ),
        case::<Queue>(
            "deque-contiguous",
            Atomic,
            &upto(7),
            nothing,
            |queue, mark| {
                mark();
                queue.make_contiguous();
                mark();
            },
            |_| {},
        ),
        case::<Queue>(
            "deque-rotate",
            EachElement,
            &upto(6),
            nothing,
            |queue, mark| {
                mark();
                queue.rotate_left(2);
                queue.rotate_right(1);
                mark();
            },
            |items| items.rotate_left(1),
        ),
        case::<Queue>(
            "deque-retain",
            EachElement,
            &upto(6),
            nothing,
            |queue, mark| {
                mark();
                queue.retain(|record| record.key % 2 == 0);
                mark();
            },
            |items| items.retain(|item| item.0 % 2 == 0),
        ),
    ]
}

fn strings() -> std::vec::Vec<Case> {
    let push = |string: &mut ByteString, mark: Mark<'_>| {
        mark();
        string.push(98);
        mark();
    };
    let append = |string: &mut ByteString, mark: Mark<'_>| {
        mark();
        string.extend_from_slice(&[98; 7]);
        mark();
    };
    let clear = |string: &mut ByteString, mark: Mark<'_>| {
        mark();
        string.clear();
        mark();
    };
    let seven = |items: &mut Items| items.push((7, 98));
    vec![
        case::<ByteString>("string-push", Atomic, &[(5, 97)], nothing, push, |items| items.push((1, 98))),
        case::<ByteString>("string-append", Atomic, &[(5, 97)], nothing, append, seven),
        case::<ByteString>("string-push-out", Atomic, &[(23, 97)], nothing, push, |items| {
            items.push((1, 98))
        }),
        case::<ByteString>("string-append-block", Atomic, &[(40, 97)], nothing, append, seven),
        case::<ByteString>("string-append-grow", Atomic, &[(60, 97)], nothing, append, seven),
        case::<ByteString>("string-clear", Atomic, &[(5, 97)], nothing, clear, Items::clear),
        case::<ByteString>("string-clear-block", Atomic, &[(40, 97)], nothing, clear, Items::clear),
        case::<ByteString>(
            "string-shrink-in",
            Atomic,
            &[(10, 97)],
            |string| {
                string.reserve(100);
            },
            |string, mark| {
                mark();
                string.shrink_to_fit();
                mark();
            },
            |_| {},
        ),
        case::<ByteString>(
            "string-insert",
            Atomic,
            &[(5, 97), (4, 99)],
            nothing,
            |string, mark| {
                mark();
                string.insert_slice(5, &[98; 7]);
                mark();
            },
            |items| items.insert(1, (7, 98)),
        ),
        case::<ByteString>(
            "string-insert-block",
            Atomic,
            &[(30, 97), (4, 99)],
            nothing,
            |string, mark| {
                mark();
                string.insert_slice(30, &[98; 7]);
                mark();
            },
            |items| items.insert(1, (7, 98)),
        ),
        case::<ByteString>(
            "string-replace",
            Atomic,
            &[(30, 97), (4, 99), (6, 100)],
            nothing,
            |string, mark| {
                mark();
                string.replace_range(30..34, &[98; 7]);
                mark();
            },
            |items| items[1] = (7, 98),
        ),
        case::<ByteString>(
            "string-retain",
            Atomic,
            &[(30, 97), (4, 99), (6, 100)],
            nothing,
            |string, mark| {
                mark();
                string.retain(|byte| byte != 99);
                mark();
            },
            |items| {
                let _ = items.remove(1);
            },
        ),
    ]
}

type Tree = BTreeMap<u64, Record>;

fn put(key: u64) -> Item {
    (key, 1)
}

macro_rules! put {
    ($key:literal) => {
        |tree: &mut Tree, mark: Mark<'_>| {
            let record = Record::new($key, 1);
            mark();
            drop(tree.insert($key, record));
            mark();
        }
    };
}

macro_rules! take {
    ($key:literal) => {
        |tree: &mut Tree, mark: Mark<'_>| {
            mark();
            drop(tree.remove(&$key));
            mark();
        }
    };
}

fn trees() -> std::vec::Vec<Case> {
    vec![
        case::<Tree>("tree-insert", Atomic, &even(6), nothing, put!(5), add(put(5))),
        case::<Tree>("tree-insert-first", Atomic, &[], nothing, put!(5), add(put(5))),
        case::<Tree>("tree-insert-split-root", Atomic, &even(10), nothing, put!(7), add(put(7))),
        case::<Tree>("tree-insert-split-leaf", Atomic, &even(60), nothing, put!(47), add(put(47))),
        case::<Tree>("tree-insert-split-all", Atomic, &even(120), nothing, put!(101), add(put(101))),
        case::<Tree>(
            "tree-overwrite",
            Atomic,
            &upto(30),
            nothing,
            |tree, mark| {
                let record = Record::new(5, 2);
                mark();
                drop(tree.insert(5, record));
                mark();
            },
            |items| items[5].1 = 2,
        ),
        case::<Tree>("tree-remove", Atomic, &upto(8), nothing, take!(3), without(3)),
        case::<Tree>("tree-remove-last", Atomic, &[(3, 1)], nothing, take!(3), without(3)),
        case::<Tree>("tree-remove-inner", Atomic, &upto(60), nothing, take!(10), without(10)),
        case::<Tree>("tree-remove-take", Atomic, &upto(16), nothing, take!(14), without(14)),
        case::<Tree>("tree-remove-merge", Atomic, &upto(11), nothing, take!(2), without(2)),
        case::<Tree>(
            "tree-remove-merge-all",
            Atomic,
            &upto(121),
            |tree| {
                for key in 121..130 {
                    drop(tree.insert(key, Record::new(key, 1)));
                    drop(tree.remove(&key));
                }
            },
            take!(60),
            without(60),
        ),
        case::<Tree>(
            "tree-pop-first",
            Atomic,
            &upto(30),
            nothing,
            |tree, mark| {
                mark();
                drop(tree.pop_first());
                mark();
            },
            without(0),
        ),
        case::<Tree>(
            "tree-clear",
            Atomic,
            &upto(30),
            nothing,
            |tree, mark| {
                mark();
                tree.clear();
                mark();
            },
            Items::clear,
        ),
        case::<Tree>(
            "tree-retain",
            EachElement,
            &upto(30),
            nothing,
            |tree, mark| {
                mark();
                tree.retain(|key, _| key % 2 == 0);
                mark();
            },
            |items| items.retain(|item| item.0 % 2 == 0),
        ),
        case::<BTreeMap<u64, u64>>(
            "tree-insert-word",
            Atomic,
            &even(20),
            nothing,
            |tree, mark| {
                mark();
                tree.insert(5, 1);
                mark();
            },
            add((5, 1)),
        ),
        case::<BTreeSet<String>>(
            "tree-set-insert",
            Atomic,
            &plain(12),
            nothing,
            |set, mark| {
                let new = text(100);
                mark();
                set.insert(new);
                mark();
            },
            add((100, 0)),
        ),
        case::<Tree>(
            "tree-pop-last",
            Atomic,
            &upto(30),
            nothing,
            |tree, mark| {
                mark();
                drop(tree.pop_last());
                mark();
            },
            without(29),
        ),
        case::<Tree>(
            "tree-entry",
            Atomic,
            &upto(30),
            nothing,
            |tree, mark| {
                let record = Record::new(5, 2);
                mark();
                if let heirloom::btree_map::Entry::Occupied(mut entry) = tree.entry(5) {
                    drop(entry.insert(record));
                }
                mark();
            },
            |items| items[5].1 = 2,
        ),
        case::<Tree>(
            "tree-remove-root-pair",
            Atomic,
            &even(60),
            |tree| {
                // A tree whose nodes are not full.
                (0..60).for_each(|key| drop(tree.insert(2 * key + 1, Record::new(2 * key + 1, 1))));
                (0..60).for_each(|key| drop(tree.remove(&(2 * key + 1))));
            },
            take!(40),
            without(40),
        ),
    ]
}
