//! The pool in lock-step with a slow map: random allocations, frees, hand-overs, aborted hand-overs, crashes.
#![allow(unsafe_code, reason = "drives the allocator")]

mod common;

use std::collections::BTreeMap;

use common::*;
use heirloom_slab::{Pool, Scrub};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Alloc { cpu: usize, size: usize },
    Free { cpu: usize, which: usize },
    FreeMany { cpu: usize, from: usize, nr: usize },
    Resize { which: usize, size: usize },
    HandIn { cpu: usize, size: usize },
    EndThread { cpu: usize },
    Abort,
    HandOver,
    Crash,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 1usize..300, 3 => 300usize..5000, 1 => 5000usize..200_000]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => (0..3usize, size()).prop_map(|(cpu, size)| Step::Alloc { cpu, size }),
        25 => (0..3usize, any::<usize>()).prop_map(|(cpu, which)| Step::Free { cpu, which }),
        4 => (0..3usize, any::<usize>(), 1..200usize).prop_map(|(cpu, from, nr)| Step::FreeMany { cpu, from, nr }),
        6 => (any::<usize>(), 4000usize..400_000).prop_map(|(which, size)| Step::Resize { which, size }),
        3 => (0..3usize, 1usize..300).prop_map(|(cpu, size)| Step::HandIn { cpu, size }),
        2 => (0..3usize).prop_map(|cpu| Step::EndThread { cpu }),
        1 => Just(Step::Abort),
        2 => Just(Step::HandOver),
        1 => Just(Step::Crash),
    ]
}

fn run(steps: &[Step], scrub: Scrub) {
    let (host, mut pool) = new_pool(geometry(), 48, scrub);
    // Half of the runs keep idle slabs and empty blocks near, until they crash or hand over.
    pool.set_spare_blocks(steps.len() as u32 % 2 * 4);
    let mut cpus = claim(&pool);
    let mut model: BTreeMap<u64, Object> = BTreeMap::new();
    for (nr, step) in steps.iter().enumerate() {
        match *step {
            Step::Alloc { cpu, size } => {
                let room = pool.usable_bytes(size, 16) as u64;
                if let Some(object) = alloc(&pool, pool.cpu(cpus[cpu]), size, (nr as u8).max(1)) {
                    let below = model.range(..object.offset + room).next_back().map(|(_, other)| *other);
                    if let Some(other) = below {
                        assert!(
                            other.offset + other.size as u64 <= object.offset,
                            "{object:?} overlaps {other:?}"
                        );
                    }
                    model.insert(object.offset, object);
                }
            }
            Step::Free { cpu, which } => free_nth(&pool, cpus[cpu], &mut model, which),
            Step::FreeMany { cpu, from, nr } => {
                for _ in 0..nr {
                    free_nth(&pool, cpus[cpu], &mut model, from);
                }
            }
            Step::Resize { which, size } => {
                let large = |object: &&mut Object| pool.cache_for(object.size, 16).is_none();
                let nr = model.values_mut().filter(large).count();
                let Some(object) = model.values_mut().filter(large).nth(which % nr.max(1)) else { continue };
                // Smaller than a large object is, it would be one of another kind.
                if pool.cache_for(size, 16).is_none() && resize(&pool, object, size) {
                    let (from, to) = (object.offset, object.offset + size as u64);
                    let next = model.range(from + 1..).next();
                    assert!(next.is_none_or(|(&next, _)| to <= next), "{from:#x} grew over {next:?}");
                }
            }
            Step::HandIn { cpu, size } => {
                pool.hand_in(pool.cpu(cpus[cpu]), pool.cache_for(size, 16).unwrap());
            }
            Step::EndThread { cpu } => {
                pool.release_cpu(pool.cpu(cpus[cpu]));
                cpus[cpu] = pool.claim_cpu().unwrap().index();
            }
            Step::Abort => {
                pool.freeze(nr % 2 == 0);
                agree(&pool, &model);
                pool.thaw();
            }
            Step::HandOver => {
                pool.freeze(nr % 2 == 0);
                agree(&pool, &model);
                pool = restore(&host);
                cpus = claim(&pool);
            }
            Step::Crash => {
                // SAFETY: the former pool is not used any more.
                pool = unsafe { Pool::recover(host.successor(), 0, host.control_bytes()) }.unwrap().0;
                cpus = claim(&pool);
            }
        }
        check(&pool, false);
    }
    pool.freeze(true);
    agree(&pool, &model);
    pool.thaw();
    let empty = BTreeMap::new();
    for object in model.into_values() {
        free(&pool, pool.cpu(cpus[0]), object);
    }
    pool.freeze(false);
    agree(&pool, &empty);
    assert_eq!(*host.0.faults.lock().unwrap(), []);
}

fn claim(pool: &Pool<TestHost>) -> [u32; 3] {
    std::array::from_fn(|_| pool.claim_cpu().unwrap().index())
}

fn free_nth(pool: &Pool<TestHost>, cpu: u32, model: &mut BTreeMap<u64, Object>, which: usize) {
    if model.is_empty() {
        return;
    }
    let key = *model.keys().nth(which % model.len()).unwrap();
    let object = model.remove(&key).unwrap();
    free(pool, pool.cpu(cpu), object);
}

/// A frozen pool holds what the model holds, byte for byte, and nothing stale.
fn agree(pool: &Pool<TestHost>, model: &BTreeMap<u64, Object>) {
    let tally = check(pool, true);
    assert_eq!(tally.live_objects, model.len() as u64);
    assert_eq!(tally.stale_bytes, 0);
    for object in model.values() {
        verify(pool, *object);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 96 }, ..ProptestConfig::default() })]

    #[test]
    fn the_pool_keeps_what_the_map_keeps(
        steps in prop::collection::vec(step(), 1..if cfg!(miri) { 40 } else { 600 }),
        at_freeze: bool,
    ) {
        run(&steps, if at_freeze { Scrub::AtFreeze } else { Scrub::OnFree });
    }
}
