//! Changes of ordered maps and sets.

use heirloom::{BTreeMap, BTreeSet, String};

use super::super::subject::{Record, text};
use super::Promise::{Atomic, EachElement};
use super::{Case, Item, Items, Mark, add, case, even, just, nothing, plain, upto, without};

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

pub(super) fn trees() -> std::vec::Vec<Case> {
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
            just(|tree: &mut Tree| drop(tree.pop_first())),
            without(0),
        ),
        case::<Tree>(
            "tree-clear",
            Atomic,
            &upto(30),
            nothing,
            just(|tree: &mut Tree| {
                tree.clear();
            }),
            Items::clear,
        ),
        case::<Tree>(
            "tree-retain",
            EachElement,
            &upto(30),
            nothing,
            just(|tree: &mut Tree| {
                tree.retain(|key, _| key % 2 == 0);
            }),
            |items| items.retain(|item| item.0 % 2 == 0),
        ),
        case::<BTreeMap<u64, u64>>(
            "tree-insert-word",
            Atomic,
            &even(20),
            nothing,
            just(|tree: &mut BTreeMap<u64, u64>| {
                tree.insert(5, 1);
            }),
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
            just(|tree: &mut Tree| drop(tree.pop_last())),
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
