//! The store beside std's collections, on one heap that all tests of the process share.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::OnceLock;

use heirloom::{Heap, Options};

use super::hash::hash;
use super::item::{Item, Kind};
use super::list::{End, List};
use super::rename::{Name, rename};
use super::scan::Random;
use super::shard::Shard;
use super::table::Table;
use crate::config::Policy;

fn heap() -> &'static Heap {
    static HEAP: OnceLock<Heap> = OnceLock::new();
    HEAP.get_or_init(|| {
        Heap::inherit_or_create("server-tests", Options::new().size_limit(256 << 20)).expect("a heap")
    })
}

fn text(key: &[u8], value: &[u8], deadline: Option<u64>) -> Item {
    Item::try_text(key, &[value], deadline).expect("room")
}

#[test]
fn a_table_does_as_a_hash_map_does() {
    let _inside = heap().enter();
    let seed = 11;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let (mut table, mut model) = (Table::new(), HashMap::<Vec<u8>, (Vec<u8>, Option<u64>)>::new());
    for step in 0..30_000 {
        // It grows for a while, then shrinks, and so on.
        let is_growing = step / 3000 % 2 == 0;
        let key = format!("key {}", random.below(4000)).into_bytes();
        let found = table.find(hash(&key), &key);
        assert_eq!(found.is_some(), model.contains_key(&key));
        let value = vec![b'v'; random.below(60)];
        let deadline = (random.below(3) == 0).then(|| random.below(1000) as u64 + 1);
        match (found, random.below(10)) {
            (Some(place), 0..3) => {
                table.change(place, |item| item.set_deadline(deadline)).expect("room");
                model.get_mut(&key).expect("it is there").1 = deadline;
            }
            (Some(place), 3..6) => {
                let old = table.replace(place, text(&key, &value, deadline));
                assert_eq!(
                    Some((old.value().to_vec(), old.deadline())),
                    model.insert(key, (value, deadline))
                );
            }
            (Some(place), 6..8) => {
                table.change(place, |item| item.try_append(b"more")).expect("room");
                model.get_mut(&key).expect("it is there").0.extend_from_slice(b"more");
            }
            (Some(place), _) if !is_growing => {
                let old = table.remove(place);
                assert_eq!(Some((old.value().to_vec(), old.deadline())), model.remove(&key));
            }
            (None, _) if is_growing || random.below(20) == 0 => {
                table.insert(hash(&key), text(&key, &value, deadline)).expect("room");
                model.insert(key, (value, deadline));
            }
            _ => {}
        }
        if step % 500 == 0 {
            table.check();
        }
    }
    table.check();
    assert_eq!(table.len(), model.len());
    for item in table.iter() {
        assert_eq!(model[item.key()], (item.value().to_vec(), item.deadline()));
    }
    for key in model.keys() {
        let place = table.find(hash(key), key).expect("it is there");
        drop(table.remove(place));
    }
    table.check();
    assert_eq!(table.len(), 0);
}

#[test]
fn a_scan_visits_all_that_stays_while_the_table_changes() {
    let _inside = heap().enter();
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let mut table = Table::new();
        let put = |table: &mut Table, key: &[u8]| {
            if table.find(hash(key), key).is_none() {
                table.insert(hash(key), text(key, b"", None)).expect("room");
            }
        };
        for i in 0..500 {
            put(&mut table, format!("stays {i}").as_bytes());
        }
        let (mut seen, mut cursor, mut nr) = (HashSet::new(), 0, 0);
        loop {
            cursor = table.scan(cursor, |item| {
                seen.insert(item.key().to_vec());
            });
            if cursor == 0 {
                break;
            }
            let is_growing = random.below(2) == 0;
            for _ in 0..random.below(200) {
                let key = format!("goes {}", random.below(3000)).into_bytes();
                if is_growing {
                    put(&mut table, &key);
                } else if let Some(place) = table.find(hash(&key), &key) {
                    drop(table.remove(place));
                }
            }
            nr += 1;
            assert!(nr < 100_000, "it ends");
        }
        assert!((0..500).all(|i| seen.contains(format!("stays {i}").as_bytes())), "seed {seed}");
    }
}

#[test]
fn a_list_does_as_a_deque_does() {
    let _inside = heap().enter();
    let mut random = Random::new(5);
    let (mut list, mut model) = (List::new(), VecDeque::<Vec<u8>>::new());
    for step in 0..20_000 {
        let end = if random.below(2) == 0 { End::Front } else { End::Back };
        let is_growing = step / 2000 % 2 == 0;
        if random.below(3) == 0 || is_growing {
            let value = vec![b'x'; random.below(40)];
            list.try_push(end, [&value[..]].into_iter()).expect("room");
            if end == End::Front { model.push_front(value) } else { model.push_back(value) }
        } else {
            let expected = if end == End::Front { model.pop_front() } else { model.pop_back() };
            assert_eq!(list.pop(end).map(|item| item.value().to_vec()), expected);
        }
        assert_eq!(list.len(), model.len());
        let index = random.below(model.len().max(1));
        assert_eq!(list.get(index), model.get(index).map(Vec::as_slice));
        if step % 100 == 0 {
            list.check();
        }
    }
    // As a kill leaves it.
    let bytes = list.bytes();
    list.try_push(End::Back, [&b"a"[..], b"b", b"c"].into_iter()).expect("room");
    (0..3).for_each(|_| drop(list.pop(End::Back)));
    list.tear(b"not acknowledged");
    list.mend();
    list.check();
    assert_eq!((list.len(), list.bytes() >= bytes), (model.len(), true));
    for (index, value) in model.iter().enumerate() {
        assert_eq!(list.get(index), Some(&value[..]));
    }
}

fn put(shard: &mut Shard, key: &[u8], item: Item) {
    let place = shard.find(0, hash(key), key, 0);
    drop(shard.put(0, place, hash(key), item).expect("room"));
}

#[test]
fn a_hash_keeps_its_fields_when_it_gets_a_deadline_or_another_name() {
    let _inside = heap().enter();
    let mut shard = Shard::default();
    put(&mut shard, b"hash", Item::try_collection(Kind::Hash, b"hash", None).expect("room"));
    let place = shard.find(0, hash(b"hash"), b"hash", 0).expect("it is there");
    shard.change_inside(0, place, hash(b"hash"), |item| {
        let table = item.table_mut(Kind::Hash).expect("a hash");
        for i in 0..300 {
            let field = format!("field {i}").into_bytes();
            table.insert(hash(&field), text(&field, b"value", None)).expect("room");
        }
    });
    shard.change(0, place, |item| item.set_deadline(Some(1 << 40))).expect("room");
    let other = hash(b"other");
    let names = (Name { key: b"hash", hash: hash(b"hash") }, Name { key: b"other", hash: other });
    rename(&mut shard, None, 0, names, 0).expect("room");
    assert!(shard.find(0, hash(b"hash"), b"hash", 0).is_none());
    let renamed = shard.table(0).get(other, b"other").expect("it is there");
    assert_eq!((renamed.key(), renamed.deadline()), (&b"other"[..], Some(1 << 40)));
    let table = renamed.table(Kind::Hash).expect("a hash");
    table.check();
    assert_eq!(table.len(), 300);
    shard.table(0).check();
    assert_eq!(shard.bytes(), shard.table(0).bytes());
    shard.clear(0);
    assert_eq!(shard.bytes(), 0);
}

#[test]
fn what_has_expired_goes_by_itself() {
    let _inside = heap().enter();
    let mut shard = Shard::default();
    for i in 0..2000_u64 {
        let key = format!("key {i}").into_bytes();
        put(&mut shard, &key, text(&key, b"", (i % 4 == 0).then_some(100)));
    }
    assert_eq!(shard.sweep(99, 10_000), 0);
    assert!(shard.find(0, hash(b"key 0"), b"key 0", 100).is_none(), "at once for whoever asks");
    let mut gone = 0;
    for _ in 0..100 {
        gone += shard.sweep(100, 100);
    }
    assert_eq!(gone, 499);
    assert_eq!((shard.table(0).len(), shard.table(0).nr_expiring()), (1500, 0));
    assert_eq!(shard.counters.expired, 500);
    shard.table(0).check();
}

#[test]
fn what_gives_way_is_what_the_policy_says() {
    let _inside = heap().enter();
    let mut random = Random::new(3);
    let filled = || {
        let mut shard = Shard::default();
        for i in 0..1000_u32 {
            let key = format!("key {i}").into_bytes();
            let mut item = text(&key, b"", (i % 2 == 0).then_some(10_000 - u64::from(i)));
            item.touch(i);
            put(&mut shard, &key, item);
        }
        shard
    };
    let left = |shard: &Shard| -> Vec<u32> {
        let number = |item: &Item| String::from_utf8_lossy(&item.key()[4..]).parse().expect("a number");
        shard.table(0).iter().map(number).collect()
    };
    let mut evict = |policy| {
        let mut shard = filled();
        let gone = (0..400).filter(|_| shard.evict(policy, &mut random, 1000)).count();
        (gone, left(&shard))
    };
    assert_eq!(evict(Policy::NoEviction).0, 0);
    let (gone, left) = evict(Policy::AllKeysLru);
    let recent = left.iter().filter(|&&number| number >= 500).count();
    assert!(gone == 400 && recent > 450, "{recent} of the 500 that were used last are left");
    let (gone, left) = evict(Policy::VolatileTtl);
    let later = left.iter().filter(|&&number| number % 2 == 0 && number < 500).count();
    assert!(gone == 400 && left.iter().filter(|&&number| number % 2 == 1).count() == 500);
    assert!(later > 60, "{later} of the 250 that expire last are left, with 100 in all");
    for policy in [Policy::VolatileLru, Policy::VolatileRandom] {
        let (gone, left) = evict(policy);
        assert!(gone == 400 && left.iter().filter(|&&number| number % 2 == 1).count() == 500);
    }
    let mut shard = filled();
    let all = (0..1000).filter(|_| shard.evict(Policy::AllKeysRandom, &mut random, 1000)).count();
    assert_eq!((all, shard.table(0).len(), shard.bytes()), (1000, 0, shard.table(0).bytes()));
}

#[test]
fn a_repair_keeps_all() {
    let _inside = heap().enter();
    let mut shard = Shard::default();
    for i in 0..1000 {
        let key = format!("key {i}").into_bytes();
        put(&mut shard, &key, text(&key, b"value", (i % 3 == 0).then_some(1 << 40)));
    }
    for name in [&b"set"[..], b"hollow"] {
        put(&mut shard, name, Item::try_collection(Kind::Set, name, None).expect("room"));
    }
    let place = shard.find(0, hash(b"set"), b"set", 0).expect("it is there");
    shard.change_inside(0, place, hash(b"set"), |item| {
        let table = item.table_mut(Kind::Set).expect("a set");
        for i in 0..100 {
            let member = format!("member {i}").into_bytes();
            table.insert(hash(&member), text(&member, b"", None)).expect("room");
        }
        table.put_twice(hash(b"member 7"), b"member 7");
    });
    // As a kill leaves it: items stand in two places, in the table and in a set, another set was made and nothing has come into it.
    shard.tear(b"key 5", hash(b"set"));
    assert_eq!(shard.repair(), 0);
    shard.recount();
    shard.table(0).check();
    assert_eq!(shard.table(0).len(), 1001);
    assert!(shard.table(0).get(hash(b"hollow"), b"hollow").is_none());
    let set = shard.table(0).get(hash(b"set"), b"set").and_then(|item| item.table(Kind::Set)).expect("a set");
    set.check();
    assert_eq!(set.len(), 100);
    for i in 0..1000 {
        let key = format!("key {i}").into_bytes();
        assert_eq!(shard.table(0).get(hash(&key), &key).map(Item::value), Some(&b"value"[..]));
    }
    assert_eq!(shard.bytes(), shard.table(0).bytes());
}
