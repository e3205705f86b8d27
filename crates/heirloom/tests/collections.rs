//! The collections over a real heap: what they take from the pool they give back, and what stays is found again.

use std::time::Duration;

use heirloom::sync::{Mutex, RwLock};
use heirloom::{Box, HashMap, Heap, Options, String, Vec};

/// A value that needs a wide alignment and owns memory of its own.
#[repr(C, align(64))]
#[derive(Clone, Debug, PartialEq)]
struct Record {
    name: String,
    history: Vec<u64>,
    next: Option<Box<u64>>,
}

fn record(id: u64) -> Record {
    Record {
        name: id.to_string().as_str().into(),
        history: (0..id % 50).collect(),
        next: id.is_multiple_of(3).then(|| Box::new(id)),
    }
}

#[test]
fn what_is_taken_from_the_pool_is_given_back() {
    let options =
        Options::new().size_limit(256 << 20).block_size(64 << 10).door_timeout(Duration::from_secs(5));
    let heap = Heap::inherit_or_create("collections", options).unwrap();
    let before = heap.scan().unwrap();

    let shared = Mutex::new(HashMap::<u64, Record>::new());
    let count = RwLock::new(0_u64);
    std::thread::scope(|scope| {
        for thread in 0..2_u64 {
            let (heap, shared, count) = (&heap, &shared, &count);
            scope.spawn(move || {
                let _inside = heap.enter();
                let mut random = thread + 1;
                for _ in 0..20_000 {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // Each thread has keys of its own, so that both know what they should find.
                    let (key, roll) = ((random >> 40) % 3000 * 2 + thread, (random >> 60) % 4);
                    let mut map = shared.lock();
                    match roll {
                        0 => drop(map.remove(&key)),
                        1 => map.get(&key).into_iter().for_each(|found| assert_eq!(*found, record(key))),
                        _ => drop(map.insert(key, record(key))),
                    }
                    *count.write() += 1;
                }
            });
        }
    });
    assert_eq!(*count.read(), 40_000);
    heap.check().unwrap();

    let map = shared.into_inner();
    assert!(map.len() > 1000 && map.iter().all(|(&key, found)| *found == record(key)));
    let held = heap.scan().unwrap();
    // The names are short, and lie in their strings.
    let owned: u64 =
        map.values().map(|r| u64::from(!r.history.is_empty()) + u64::from(r.next.is_some())).sum();
    // A thread that overwrites has a diary, which stays for the next one in its place.
    let diaries = held.live_objects - before.live_objects - owned - 1;
    assert!((1..=2).contains(&diaries), "{diaries} objects are nobody's");

    drop(map);
    let after = heap.scan().unwrap();
    let kept = (before.live_objects + diaries, before.live_bytes + diaries * 4096);
    assert_eq!((after.live_objects, after.live_bytes), kept);
    heap.check().unwrap();
}
