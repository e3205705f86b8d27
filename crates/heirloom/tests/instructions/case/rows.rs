//! Changes of vectors, deques and strings.

use heirloom::{ByteString, Vec, VecDeque};

use super::super::subject::Record;
use super::Promise::{Atomic, EachElement};
use super::{Case, Items, Mark, add, case, just, nothing, upto, without};

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

pub(super) fn vectors() -> std::vec::Vec<Case> {
    vec![
        case::<Row>("vec-push", Atomic, &upto(5), nothing, push, add((5000, 1))),
        case::<Row>("vec-push-first", Atomic, &[], nothing, push, add((5000, 1))),
        case::<Row>("vec-push-grow", Atomic, &upto(8), is_full, push, add((5000, 1))),
        case::<Row>("vec-push-grow-large", Atomic, &upto(819), is_full, push, add((5000, 1))),
        case::<Row>("vec-pop", Atomic, &upto(5), nothing, just(|vec: &mut Row| drop(vec.pop())), without(4)),
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
            just(|vec: &mut Row| drop(vec.remove(2))),
            without(2),
        ),
        case::<Row>(
            "vec-swap-remove",
            Atomic,
            &upto(6),
            nothing,
            just(|vec: &mut Row| drop(vec.swap_remove(2))),
            |items| {
                let _ = items.swap_remove(2);
            },
        ),
        case::<Row>(
            "vec-truncate",
            Atomic,
            &upto(6),
            nothing,
            just(|vec: &mut Row| {
                vec.truncate(2);
            }),
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
            just(|vec: &mut Row| drop(vec.split_off(2))),
            |items| items.truncate(2),
        ),
        case::<Row>(
            "vec-shrink",
            Atomic,
            &upto(5),
            |vec| vec.reserve(60),
            just(|vec: &mut Row| {
                vec.shrink_to_fit();
            }),
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
            just(|vec: &mut Row| {
                vec.retain(|record| record.key % 2 == 0);
            }),
            |items| items.retain(|item| item.0 % 2 == 0),
        ),
        case::<Row>(
            "vec-drain",
            Atomic,
            &upto(6),
            nothing,
            just(|vec: &mut Row| drop(vec.drain(1..3))),
            |items| items.retain(|item| !(1..3).contains(&item.0)),
        ),
        case::<Row>(
            "vec-dedup",
            EachElement,
            &upto(6),
            nothing,
            just(|vec: &mut Row| {
                vec.dedup_by_key(|record| record.key / 2);
            }),
            |items| items.retain(|item| item.0 % 2 == 0),
        ),
    ]
}

type Queue = VecDeque<Record>;

pub(super) fn deques() -> std::vec::Vec<Case> {
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
        // The first value lies at the start of the block: the one before it at its end.
        case::<Queue>(
            "deque-push-front-around",
            Atomic,
            &upto(6),
            |queue| {
                queue.make_contiguous();
            },
            push_front,
            first,
        ),
        case::<Queue>("deque-push-back-grow", Atomic, &upto(8), nothing, push_back, add((5000, 1))),
        case::<Queue>("deque-push-front-grow", Atomic, &upto(8), nothing, push_front, first),
        case::<Queue>("deque-push-grow-large", Atomic, &upto(819), nothing, push_back, add((5000, 1))),
        case::<Queue>(
            "deque-pop-front",
            Atomic,
            &upto(6),
            nothing,
            just(|queue: &mut Queue| drop(queue.pop_front())),
            without(0),
        ),
        // The first value lies at the end of the block: the one behind it at its start.
        case::<Queue>(
            "deque-pop-front-around",
            Atomic,
            &upto(3),
            nothing,
            just(|queue: &mut Queue| drop(queue.pop_front())),
            without(0),
        ),
        case::<Queue>(
            "deque-pop-back",
            Atomic,
            &upto(6),
            nothing,
            just(|queue: &mut Queue| drop(queue.pop_back())),
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
            just(|queue: &mut Queue| drop(queue.remove(4))),
            without(4),
        ),
        case::<Queue>(
            "deque-clear",
            Atomic,
            &upto(6),
            nothing,
            just(|queue: &mut Queue| {
                queue.clear();
            }),
            Items::clear,
        ),
        case::<Queue>(
            "deque-shrink",
            Atomic,
            &upto(6),
            |queue| queue.reserve(60),
            just(|queue: &mut Queue| {
                queue.shrink_to_fit();
            }),
            |_| {},
        ),
        case::<Queue>(
            "deque-drain",
            Atomic,
            &upto(7),
            nothing,
            just(|queue: &mut Queue| drop(queue.drain(3..5))),
            |items| items.retain(|item| !(3..5).contains(&item.0)),
        ),
        case::<Queue>(
            "deque-drain-front",
            Atomic,
            &upto(7),
            nothing,
            just(|queue: &mut Queue| drop(queue.drain(1..3))),
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
            just(|queue: &mut Queue| drop(queue.split_off(2))),
            |items| items.truncate(2),
        ),
        case::<Queue>(
            "deque-contiguous",
            Atomic,
            &upto(7),
            nothing,
            just(|queue: &mut Queue| {
                queue.make_contiguous();
            }),
            |_| {},
        ),
        case::<Queue>(
            "deque-rotate",
            EachElement,
            &upto(6),
            nothing,
            just(|queue: &mut Queue| {
                queue.rotate_left(2);
                queue.rotate_right(1);
            }),
            |items| items.rotate_left(1),
        ),
        case::<Queue>(
            "deque-retain",
            EachElement,
            &upto(6),
            nothing,
            just(|queue: &mut Queue| {
                queue.retain(|record| record.key % 2 == 0);
            }),
            |items| items.retain(|item| item.0 % 2 == 0),
        ),
    ]
}

pub(super) fn strings() -> std::vec::Vec<Case> {
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
            just(|string: &mut ByteString| {
                string.shrink_to_fit();
            }),
            |_| {},
        ),
        case::<ByteString>(
            "string-insert",
            Atomic,
            &[(5, 97), (4, 99)],
            nothing,
            just(|string: &mut ByteString| {
                string.insert_slice(5, &[98; 7]);
            }),
            |items| items.insert(1, (7, 98)),
        ),
        case::<ByteString>(
            "string-insert-block",
            Atomic,
            &[(30, 97), (4, 99)],
            nothing,
            just(|string: &mut ByteString| {
                string.insert_slice(30, &[98; 7]);
            }),
            |items| items.insert(1, (7, 98)),
        ),
        case::<ByteString>(
            "string-replace",
            Atomic,
            &[(30, 97), (4, 99), (6, 100)],
            nothing,
            just(|string: &mut ByteString| {
                string.replace_range(30..34, &[98; 7]);
            }),
            |items| items[1] = (7, 98),
        ),
        case::<ByteString>(
            "string-retain",
            Atomic,
            &[(30, 97), (4, 99), (6, 100)],
            nothing,
            just(|string: &mut ByteString| {
                string.retain(|byte| byte != 99);
            }),
            |items| {
                let _ = items.remove(1);
            },
        ),
    ]
}
