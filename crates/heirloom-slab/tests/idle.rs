//! Memory in which nothing is belongs to everybody, whichever cache it was cut for and whatever became of who cut it.
#![expect(unsafe_code, reason = "drives the allocator")]

mod common;

use common::*;
use heirloom_slab::{Cpu, Pool, Scrub};

const BLOCKS: usize = 32;

/// More than there are: whatever is idle may stay.
const SPARE: u32 = 64;

fn fill(pool: &Pool<TestHost>, cpu: Cpu<'_>, size: usize) -> Vec<Object> {
    std::iter::from_fn(|| alloc(pool, cpu, size, 2)).collect()
}

fn free_all(pool: &Pool<TestHost>, cpu: Cpu<'_>, objects: Vec<Object>) {
    for object in objects {
        free(pool, cpu, object);
    }
}

/// So many objects go into a pool that never held another.
fn fits(size: usize) -> usize {
    let (_host, pool) = new_pool(geometry(), BLOCKS, Scrub::OnFree);
    fill(&pool, pool.claim_cpu().unwrap(), size).len()
}

/// A pool that is full of small objects, which are freed: their slabs stay on the thread's list.
fn with_idle_slabs() -> (TestHost, Pool<TestHost>, u32) {
    let (host, pool) = new_pool(geometry(), BLOCKS, Scrub::OnFree);
    pool.set_spare_blocks(SPARE);
    let cpu = pool.claim_cpu().unwrap();
    let objects = fill(&pool, cpu, 64);
    free_all(&pool, cpu, objects);
    let index = cpu.index();
    assert_eq!(host.nr_taken(), BLOCKS, "idle slabs stay");
    (host, pool, index)
}

#[test]
fn a_freeze_hands_no_idle_slabs_over() {
    let (host, pool, _) = with_idle_slabs();
    pool.freeze(false);
    let tally = check(&pool, true);
    assert_eq!((host.nr_taken(), tally.slabs), (0, 0), "nothing is in it: {tally:?}");
    drop(pool);
    let pool = restore(&host);
    assert_eq!(fill(&pool, pool.claim_cpu().unwrap(), 1024).len(), fits(1024));
}

/// ```text
/// the list of one cache   | 100 slabs with a live object each | 100 idle ones |
/// ```
#[test]
fn a_freeze_finds_idle_slabs_behind_those_in_use() {
    let (host, pool) = new_pool(geometry(), BLOCKS, Scrub::OnFree);
    pool.set_spare_blocks(SPARE);
    let cpu = pool.claim_cpu().unwrap();
    let objects = fill(&pool, cpu, 1024);
    let (idle, used): (Vec<_>, Vec<_>) = {
        let middle = objects[objects.len() / 2].offset;
        objects.into_iter().partition(|object| object.offset >= middle)
    };
    free_all(&pool, cpu, idle);
    // Two slots of each slab, so that it goes to the front of the list now.
    let some = |nth: &usize| nth % 4 == 0;
    let freed: Vec<_> = (0..used.len()).filter(some).map(|nth| used[nth]).collect();
    let nr_used_blocks = 1 + {
        let blocks = used.iter().map(|object| object.offset / geometry().block_bytes());
        blocks.collect::<std::collections::BTreeSet<_>>().len()
    };
    free_all(&pool, cpu, freed);
    pool.freeze(false);
    check(&pool, true);
    assert!(host.nr_taken() <= nr_used_blocks, "{} of {nr_used_blocks}", host.nr_taken());
    assert!(nr_used_blocks < BLOCKS / 2 + 3);
}

#[test]
fn what_a_thread_leaves_when_it_ends_goes_back() {
    let (host, pool, index) = with_idle_slabs();
    pool.release_cpu(pool.cpu(index));
    pool.trim();
    assert!(host.nr_taken() <= 1, "{} blocks in which nothing is", host.nr_taken());
    let cpu = pool.claim_cpu().unwrap();
    assert_eq!(fill(&pool, cpu, 1024).len(), fits(1024));
}

/// Before memory is refused the same is found without a `trim`.
#[test]
fn after_a_death_every_cache_gets_what_is_idle() {
    let (host, pool, _) = with_idle_slabs();
    drop(pool);
    // SAFETY: the former pool is not used any more.
    let (pool, _) = unsafe { Pool::recover(host.successor(), 0, host.control_bytes()) }.unwrap();
    let cpu = pool.claim_cpu().unwrap();
    assert_eq!(fill(&pool, cpu, 1024).len(), fits(1024));
    check(&pool, true);
}

/// A slab that others freed into after its thread had ended, and one that a thread wants at this moment.
#[test]
fn threads_that_come_and_go_leave_room_for_all() {
    let (host, pool) = new_pool(geometry(), BLOCKS, Scrub::OnFree);
    pool.set_spare_blocks(SPARE);
    let rounds = if cfg!(miri) { 2 } else { 40 };
    for round in 0..rounds {
        let (one, other) = (pool.claim_cpu().unwrap(), pool.claim_cpu().unwrap());
        let objects = fill(&pool, one, [64, 200, 700, 1024][round % 4]);
        pool.release_cpu(one);
        let half = objects.len() / 2;
        free_all(&pool, other, objects[..half].to_vec());
        let third = pool.claim_cpu().unwrap();
        free_all(&pool, third, objects[half..].to_vec());
        pool.release_cpu(if round % 2 == 0 { other } else { third });
        pool.trim();
        let left = pool.claim_cpu().unwrap();
        let nr = fill(&pool, left, 2000);
        // What one magazine of another thread holds back.
        assert!(nr.len() + 64 >= fits(2000), "round {round}: {} of {}", nr.len(), fits(2000));
        free_all(&pool, left, nr);
        pool.release_cpu(left);
        pool.release_cpu(if round % 2 == 0 { third } else { other });
        check(&pool, true);
    }
    pool.trim();
    assert!(host.nr_taken() <= 1);
}
