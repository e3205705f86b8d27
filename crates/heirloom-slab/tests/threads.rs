//! Several threads that allocate, free their own and each other's objects, end and start, over hand-overs; and what a pool
//! promises about its blocks.
#![expect(unsafe_code, reason = "drives the allocator")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use common::*;
use heirloom_abi::pool::Geometry;
use heirloom_slab::{Contents, Pool, Scrub};

const NR_THREADS: usize = 4;
const ROUNDS: u64 = if cfg!(miri) { 2 } else { 12 };
const STEPS: u64 = if cfg!(miri) { 25 } else { 6000 };

/// An object that says who it is in each of its words.
#[derive(Debug)]
struct Owned {
    offset: u64,
    size: usize,
    id: u64,
}

/// Every live object's range: an allocation that overlaps one is a slot handed out twice.
#[derive(Default)]
struct Registry(Mutex<BTreeMap<u64, u64>>);

impl Registry {
    fn enter(&self, offset: u64, len: u64) {
        let mut live = self.0.lock().unwrap();
        if let Some((start, len)) = live.range(..offset + len).next_back() {
            assert!(start + len <= offset, "{offset:#x} overlaps {start:#x} + {len:#x}");
        }
        live.insert(offset, len);
    }

    fn leave(&self, offset: u64) {
        self.0.lock().unwrap().remove(&offset).expect("it was live");
    }
}

fn fill(pool: &Pool<TestHost>, object: &Owned) {
    let at = pool.address(object.offset).cast::<u64>();
    for word in 0..object.size / 8 {
        // SAFETY: the object is ours, aligned to 16, a multiple of 8 long.
        unsafe { at.add(word).write(object.id) };
    }
}

fn expect_whole(pool: &Pool<TestHost>, object: &Owned) {
    let at = pool.address(object.offset).cast::<u64>();
    for word in 0..object.size / 8 {
        // SAFETY: as above.
        assert_eq!(unsafe { at.add(word).read() }, object.id, "word {word} of {object:?}");
    }
}

/// One thread: a seat of its own, which it leaves and takes again.
fn live(
    pool: &Pool<TestHost>,
    registry: &Registry,
    seed: u64,
    mut mine: Vec<Owned>,
    others: &[Sender<Owned>],
    inbox: &Receiver<Owned>,
) -> Vec<Owned> {
    let mut random = Random(seed);
    let mut seat = pool.claim_cpu().unwrap().index();
    for step in 0..STEPS {
        let cpu = pool.cpu(seat);
        match random.below(100) {
            0..=44 if mine.len() < 400 => {
                let size = 8 * match random.below(20) {
                    0..=13 => 1 + random.below(40),
                    14..=18 => 40 + random.below(500),
                    _ => 500 + random.below(3000),
                } as usize;
                let got = match pool.cache_for(size, 16) {
                    Some(cache) if step % 2 == 0 => {
                        pool.alloc_within(cpu, cache).or_else(|_| pool.alloc(cpu, cache))
                    }
                    Some(cache) => pool.alloc(cpu, cache),
                    None => pool.alloc_large(size as u64, Contents::Any),
                };
                let Ok(offset) = got else { continue };
                registry.enter(offset, size as u64);
                let object = Owned { offset, size, id: seed << 32 | step };
                fill(pool, &object);
                mine.push(object);
            }
            45..=59 if !mine.is_empty() => {
                let object = mine.swap_remove(random.below(mine.len() as u64) as usize);
                others[random.below(others.len() as u64) as usize].send(object).unwrap();
            }
            60..=97 => {
                let object = match inbox.try_recv() {
                    Ok(object) => object,
                    Err(_) if mine.is_empty() => continue,
                    Err(_) => mine.swap_remove(random.below(mine.len() as u64) as usize),
                };
                expect_whole(pool, &object);
                registry.leave(object.offset);
                // SAFETY: the object was this thread's, or given to it, and is zero beyond its size.
                unsafe {
                    match pool.cache_for(object.size, 16) {
                        Some(cache) => pool.free(cpu, cache, object.offset, object.size),
                        None => pool.free_large(object.offset),
                    }
                }
            }
            98 if step % 5 == 0 => {
                pool.release_cpu(cpu);
                seat = pool.claim_cpu().unwrap().index();
            }
            99 => pool.hand_in(cpu, pool.cache_for(8 * (1 + random.below(40)) as usize, 16).unwrap()),
            _ => {}
        }
    }
    // Every second thread ends without a word: the freeze folds what its seat holds.
    if seed % 2 == 0 {
        pool.release_cpu(pool.cpu(seat));
    }
    mine
}

fn many_generations(scrub: Scrub) {
    let geometry = Geometry::new(16, 32, 8, 256).unwrap();
    let (host, pool) = new_pool(geometry, 200, scrub);
    let mut pool = Arc::new(pool);
    let registry = Arc::new(Registry::default());
    let mut kept: Vec<Owned> = Vec::new();
    for round in 1..=ROUNDS {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..NR_THREADS).map(|_| channel()).unzip();
        let mut shares: Vec<Vec<Owned>> = (0..NR_THREADS).map(|_| Vec::new()).collect();
        kept.drain(..).enumerate().for_each(|(nr, object)| shares[nr % NR_THREADS].push(object));
        let threads: Vec<_> = receivers
            .into_iter()
            .zip(shares)
            .enumerate()
            .map(|(nr, (inbox, share))| {
                let (pool, registry, senders) = (pool.clone(), registry.clone(), senders.clone());
                thread::spawn(move || {
                    let seed = (round * 100 + nr as u64) * 0x1_0001 + 7;
                    let mine = live(&pool, &registry, seed, share, &senders, &inbox);
                    (mine, inbox)
                })
            })
            .collect();
        drop(senders);
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        for (mine, inbox) in ends {
            kept.extend(mine);
            kept.extend(inbox.try_iter());
        }
        check(&pool, false);
        pool.freeze(round % 3 == 0);
        let tally = check(&pool, true);
        assert_eq!(tally.live_objects, kept.len() as u64, "round {round}");
        assert_eq!(tally.stale_bytes, 0, "round {round}");
        kept.iter().for_each(|object| expect_whole(&pool, object));
        assert_eq!(*host.0.faults.lock().unwrap(), []);
        if round % 4 == 1 {
            // Taken back: the seats of threads that ended without a word go to others.
            pool.thaw();
            for index in (0..pool.nr_cpu_slots()).filter(|&index| pool.is_claimed(index)) {
                pool.release_cpu(pool.cpu(index));
            }
        } else {
            pool = Arc::new(restore(&host));
        }
    }
}

#[test]
fn threads_over_generations_when_slots_are_zeroed_on_free() {
    many_generations(Scrub::OnFree);
}

#[test]
fn threads_over_generations_when_slots_are_zeroed_at_the_freeze() {
    many_generations(Scrub::AtFreeze);
}

#[test]
#[cfg_attr(miri, ignore = "thousands of objects")]
fn a_constant_live_set_keeps_its_blocks_over_200_generations() {
    let (host, mut pool) = new_pool(geometry(), 40, Scrub::OnFree);
    let sizes = [24, 64, 200, 500, 1500, 5000];
    let mut random = Random(42);
    let cpu = pool.claim_cpu().unwrap();
    let mut live: Vec<_> =
        (0..300).map(|nr| alloc(&pool, cpu, sizes[nr % sizes.len()], 1).unwrap()).collect();
    let mut blocks = Vec::new();
    for generation in 0..200 {
        let seats: Vec<_> = (0..2).map(|_| pool.claim_cpu().unwrap().index()).collect();
        for _ in 0..150 {
            let nr = random.below(live.len() as u64) as usize;
            let cpu = |which| pool.cpu(seats[which as usize]);
            free(&pool, cpu(random.below(2)), live[nr]);
            live[nr] = alloc(&pool, cpu(random.below(2)), live[nr].size, generation as u8 | 1).unwrap();
        }
        if generation % 3 == 0 {
            pool.release_cpu(pool.cpu(seats[0]));
        }
        pool.freeze(false);
        check(&pool, false);
        blocks.push(host.nr_taken());
        pool = restore(&host);
    }
    let early = blocks.iter().take(20).max();
    assert!(blocks.iter().max() <= early, "the pool grows though its live set does not: {blocks:?}");
}

#[test]
#[cfg_attr(miri, ignore = "thousands of objects")]
fn empty_blocks_go_back_to_the_host() {
    let (host, pool) = new_pool(geometry(), 40, Scrub::OnFree);
    let cpu = pool.claim_cpu().unwrap();
    let live: Vec<_> = (0..3000).map(|_| alloc(&pool, cpu, 500, 1).unwrap()).collect();
    assert!(host.nr_taken() > 20);
    live.into_iter().for_each(|object| free(&pool, cpu, object));
    // One that is empty, half a one of idle slabs, and what the magazine lists, wherever that lies.
    assert!(host.nr_taken() <= 4, "{} blocks are kept", host.nr_taken());
    let huge = alloc(&pool, cpu, 400_000, 2).unwrap();
    let taken = host.nr_taken();
    free(&pool, cpu, huge);
    assert_eq!(host.nr_taken(), taken - 7, "a huge object's blocks go back at once");
    pool.release_cpu(cpu);
    pool.freeze(false);
    assert!(host.nr_taken() <= 1, "{} blocks are handed over empty", host.nr_taken());
}

#[test]
#[cfg_attr(miri, ignore = "thousands of objects")]
fn free_slots_are_used_before_the_pool_grows() {
    let (host, pool) = new_pool(geometry(), 40, Scrub::OnFree);
    let (first, second) = (pool.claim_cpu().unwrap(), pool.claim_cpu().unwrap());
    let live: Vec<_> = (0..2000).map(|_| alloc(&pool, first, 96, 1).unwrap()).collect();
    let taken = host.nr_taken();
    // Every second one is freed by its owner: its slabs have room, and the other takes slabs of them before it grows.
    for (nr, object) in live.into_iter().enumerate() {
        if nr % 2 == 0 {
            free(&pool, first, object);
        }
    }
    for _ in 0..900 {
        alloc(&pool, second, 96, 1).unwrap();
    }
    assert_eq!(host.nr_taken(), taken, "a slab of another CPU is taken before a block");
}

#[test]
#[cfg_attr(miri, ignore = "thousands of objects")]
fn what_another_freed_is_used_before_the_pool_grows() {
    let (host, pool) = new_pool(geometry(), 40, Scrub::OnFree);
    let (first, second) = (pool.claim_cpu().unwrap(), pool.claim_cpu().unwrap());
    let live: Vec<_> = (0..2000).map(|_| alloc(&pool, first, 96, 1).unwrap()).collect();
    let taken = host.nr_taken();
    live.into_iter().for_each(|object| free(&pool, second, object));
    for _ in 0..1800 {
        alloc(&pool, first, 96, 1).unwrap();
    }
    assert!(host.nr_taken() <= taken, "the pool grew from {taken} to {} blocks", host.nr_taken());
}

#[test]
#[cfg_attr(miri, ignore = "thousands of objects")]
fn out_of_memory_is_an_error_and_a_free_ends_it() {
    for size in [64, 3000, 9000] {
        let (host, pool) = new_pool(geometry(), 40, Scrub::OnFree);
        *host.0.limit.lock().unwrap() = 3;
        let (first, second) = (pool.claim_cpu().unwrap(), pool.claim_cpu().unwrap());
        let mut live: Vec<_> = std::iter::from_fn(|| alloc(&pool, first, size, 1)).collect();
        let most = live.len();
        assert!(alloc(&pool, second, size, 1).is_none());
        check(&pool, false);
        for nr in 0..20 {
            let object = live.swap_remove(nr % live.len());
            free(&pool, second, object);
            live.push(alloc(&pool, second, size, 2).expect("one was freed"));
        }
        // All of it back and once more: nothing was lost.
        live.drain(..).for_each(|object| free(&pool, second, object));
        pool.release_cpu(second);
        live.extend(std::iter::from_fn(|| alloc(&pool, first, size, 3)));
        assert_eq!(live.len(), most, "size {size}");
    }
}

#[test]
fn a_large_object_is_resized_where_it_is() {
    for (size, grown, beyond) in [(9000usize, 12_000u64, 13_000u64), (150_000, 190_000, 192_513)] {
        let (host, pool) = new_pool(geometry(), 20, Scrub::AtFreeze);
        let cpu = pool.claim_cpu().unwrap();
        // | object | room of its own | wall |
        let object = alloc(&pool, cpu, size, 5).unwrap();
        let wall = alloc(&pool, cpu, size, 6).unwrap();
        // SAFETY: the objects are ours.
        unsafe {
            assert!(pool.resize_large(object.offset, grown, Contents::Zeroed));
            assert!(!pool.resize_large(object.offset, beyond, Contents::Zeroed), "another object is there");
            assert!(!pool.resize_large(object.offset, 0, Contents::Zeroed));
            assert!(!pool.resize_large(object.offset + 16, grown, Contents::Zeroed));
            pool.free_large(wall.offset);
            assert!(pool.resize_large(object.offset, beyond, Contents::Zeroed), "nothing is there any more");
            assert!(!pool.resize_large(object.offset, u64::MAX, Contents::Zeroed));
        }
        pool.freeze(true);
        let tally = check(&pool, true);
        assert_eq!((tally.live_objects, tally.live_bytes), (1, beyond));
        let pool = restore(&host);
        verify(&pool, object);
        // SAFETY: the object is ours.
        unsafe { pool.free_large(object.offset) };
        pool.freeze(true);
        assert_eq!(check(&pool, true).live_objects, 0);
        assert_eq!(check(&pool, true).stale_bytes, 0);
    }
}

/// A request of no bytes would have been recorded as an object of no bytes, which no successor accepts.
#[test]
fn a_large_object_of_no_bytes_has_one() {
    let (host, pool) = new_pool(geometry(), 20, Scrub::OnFree);
    pool.alloc_large(0, Contents::Zeroed).unwrap();
    assert!(pool.alloc_large(u64::MAX, Contents::Any).is_err());
    // SAFETY: the former pool is not used any more.
    unsafe { Pool::recover(host.successor(), 0, host.control_bytes()) }.unwrap();
}

#[test]
fn a_cache_of_its_own_is_found_again_by_the_successor() {
    let (host, pool) = new_pool(geometry(), 20, Scrub::OnFree);
    let cpu = pool.claim_cpu().unwrap();
    let cache = pool.create_cache("sessions", 200, 64).unwrap();
    assert_eq!(pool.create_cache("sessions", 200, 64), Ok(cache));
    assert_ne!(pool.create_cache("others", 200, 64), Ok(cache));
    let first: Vec<_> = (0..40).map(|_| pool.alloc(cpu, cache.0 as usize).unwrap()).collect();
    assert!(first.iter().all(|offset| offset % 64 == 0));
    pool.freeze(true);
    let pool = restore(&host);
    assert_eq!(pool.create_cache("sessions", 200, 64), Ok(cache));
    let cpu = pool.claim_cpu().unwrap();
    let second = pool.alloc(cpu, cache.0 as usize).unwrap();
    assert!(!first.contains(&second));
    assert_eq!(host.nr_taken(), 1, "it goes on in the slab that it inherited");
    assert!(pool.create_cache("wide", usize::MAX, 16).is_err());
    assert!(pool.create_cache("crooked", 100, 48).is_err());
}

#[test]
fn alloc_into_fills_the_place() {
    let (_, pool) = new_pool(geometry(), 20, Scrub::OnFree);
    let cpu = pool.claim_cpu().unwrap();
    let cache = pool.cache_for(64, 16).unwrap();
    let holder = pool.alloc(cpu, cache).unwrap();
    // SAFETY: the slot is ours, zeroed and aligned.
    let place = unsafe { &*pool.address(holder).cast::<AtomicU64>() };
    for _ in 0..200 {
        let slot = pool.alloc_into(cpu, cache, place, holder).unwrap();
        assert_eq!(place.load(Ordering::Relaxed), pool.address(slot).addr() as u64);
    }
    assert_eq!(check(&pool, false).live_objects, 201 + check_magazine(&pool));
}

/// Slots that are listed in magazines and not in the bitmaps count as live in a pool that runs.
fn check_magazine(pool: &Pool<TestHost>) -> u64 {
    let before = check(pool, false).live_objects;
    pool.settle_all();
    before - check(pool, false).live_objects
}

/// A successor that restored the pool and died had reset every CPU slot. The threads that go on with theirs found magazines without
/// room, which ran over: slots were handed out twice.
#[test]
#[cfg_attr(miri, ignore = "thousands of objects")]
fn a_pool_that_is_taken_back_goes_on_with_its_magazines() {
    for begin_with_a_free in [false, true] {
        let geometry = Geometry::new(18, 48, 4, 64).unwrap();
        let (host, pool) = new_pool(geometry, 20, Scrub::OnFree);
        let cpu = pool.claim_cpu().unwrap();
        let mut live: Vec<_> = (0..3000).map(|_| alloc(&pool, cpu, 16, 1).unwrap()).collect();
        pool.freeze(false);
        pool.reclaim(|index| index == cpu.index());
        if begin_with_a_free {
            free(&pool, cpu, live.pop().unwrap());
        } else {
            live.push(alloc(&pool, cpu, 16, 1).unwrap());
        }
        live.drain(..).for_each(|object| free(&pool, cpu, object));
        let again: BTreeSet<u64> = (0..6000).map(|_| alloc(&pool, cpu, 16, 2).unwrap().offset).collect();
        assert_eq!(again.len(), 6000, "a slot was handed out twice");
        assert_eq!(*host.0.faults.lock().unwrap(), []);
        pool.freeze(false);
        assert_eq!(check(&pool, true).live_objects, 6000);
    }
}

/// Memory that the pool keeps near is not refused to who needs it: empty blocks, and idle slabs of other sizes.
#[test]
#[cfg_attr(miri, ignore = "thousands of objects")]
fn what_is_kept_near_is_used_before_memory_is_refused() {
    let (_, pool) = new_pool(geometry(), 12, Scrub::OnFree);
    pool.set_spare_blocks(64);
    let cpu = pool.claim_cpu().unwrap();
    let mut live: Vec<_> = std::iter::from_fn(|| alloc(&pool, cpu, 64, 1)).collect();
    assert!(live.len() > 5000);
    live.drain(..).for_each(|object| free(&pool, cpu, object));
    let huge =
        alloc(&pool, cpu, 400_000, 2).expect("the host has it, once the pool gives its empty blocks back");
    free(&pool, cpu, huge);
    for size in [24, 200, 500, 4000] {
        live.extend(std::iter::from_fn(|| alloc(&pool, cpu, size, 3)));
        assert!(live.len() > 100, "no memory for {size} bytes, and nothing is in it");
        live.drain(..).for_each(|object| free(&pool, cpu, object));
    }
}
