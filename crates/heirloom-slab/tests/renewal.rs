//! Objects that stay as many stay in as many blocks, however often they are renewed and by whom.
//!
//! ```text
//! generation 1: blocks filled to the last slot --> a third freed, as many allocated --> freeze
//! generation 2: restore                        --> another third                    --> freeze ..      on two CPUs, by turns
//! ```

#![allow(unsafe_code, reason = "drives the allocator")]

mod common;

use common::*;
use heirloom_abi::pool::Geometry;
use heirloom_slab::{Cpu, Pool, Scrub};

/// Of three caches, as in the chain of Linux kernels; the lengths change within a cache.
const KINDS: [std::ops::Range<u64>; 3] = [9..17, 49..65, 65..81];

const BLOCKS: usize = if cfg!(miri) { 1 } else { 4 };
const BLOCK_SHIFT: u32 = if cfg!(miri) { 16 } else { 18 };
const GENERATIONS: u64 = if cfg!(miri) { 3 } else { 20 };

/// Every unit of the pool's blocks is cut, and every slot taken, but for the newest objects, so many of each kind.
fn new_full_pool(
    nr_cpus: u32,
    scrub: Scrub,
    nr_fewer: usize,
    random: &mut Random,
) -> (TestHost, Pool<TestHost>, Vec<(usize, Object)>) {
    let geometry = Geometry::new(BLOCK_SHIFT, 36, nr_cpus, 64).unwrap();
    let (host, pool) = new_pool(geometry, 2 * BLOCKS, scrub);
    begin(&pool);
    *host.0.limit.lock().unwrap() = BLOCKS;
    let mut table = Vec::new();
    let mut open = vec![0, 1, 2];
    while !open.is_empty() {
        let at = random.below(open.len() as u64) as usize;
        let kind = open[at];
        match alloc(&pool, pool.cpu(0), length(kind, random), 1) {
            Some(object) => table.push((kind, object)),
            None => drop(open.swap_remove(at)),
        }
    }
    *host.0.limit.lock().unwrap() = 2 * BLOCKS;
    let mut fewer = [nr_fewer; 3];
    for at in (0..table.len()).rev() {
        let left = &mut fewer[table[at].0];
        if *left > 0 {
            *left -= 1;
            free(&pool, pool.cpu(0), table.remove(at).1);
        }
    }
    (host, pool, table)
}

/// All CPUs are there. A block's worth of idle slabs stays with its caches, so that what one of them lost by chance is not cut for
/// another, and missing when it is wanted again.
fn begin(pool: &Pool<TestHost>) {
    pool.set_spare_blocks(1);
    while pool.claim_cpu().is_some() {}
}

fn length(kind: usize, random: &mut Random) -> usize {
    let lengths = &KINDS[kind];
    (lengths.start + random.below(lengths.end - lengths.start)) as usize
}

/// As the module for Linux does it: before the pool grows, every CPU hands in what it holds back.
fn alloc_after_asking(pool: &Pool<TestHost>, cpu: Cpu<'_>, size: usize) -> Object {
    let cache = pool.cache_for(size, 16).unwrap();
    let offset = pool.alloc_within(cpu, cache).or_else(|_| {
        if pool.are_held_back(cache) {
            (0..pool.nr_cpu_slots()).for_each(|index| pool.hand_in(pool.cpu(index), cache));
        }
        pool.alloc(cpu, cache)
    });
    let object = Object { offset: offset.unwrap(), size, mark: 1 };
    // SAFETY: the slot is ours, and its cache is one for so many bytes.
    unsafe { pool.address(object.offset).write_bytes(object.mark, size) };
    object
}

/// The work is moved from CPU to CPU once in so many objects.
fn renew(nr_cpus: u32, scrub: Scrub, nr_fewer: usize, moved: u64) {
    let seed = 0x9e37_79b9_7f4a_7c15 ^ moved << 8 ^ (nr_fewer as u64) << 32 ^ u64::from(nr_cpus);
    let mut random = Random(seed);
    let (host, mut pool, mut table) = new_full_pool(nr_cpus, scrub, nr_fewer, &mut random);
    let mut on = 0;
    for generation in 0..GENERATIONS {
        let is_chosen = |at: &usize| *at as u64 % 3 == generation % 3;
        let mut move_on = |random: &mut Random| {
            if random.below(moved) == 0 {
                on = random.below(nr_cpus.into()) as u32;
            }
            on
        };
        for at in (0..table.len()).filter(is_chosen) {
            free(&pool, pool.cpu(move_on(&mut random)), table[at].1);
        }
        for at in (0..table.len()).filter(is_chosen) {
            let cpu = pool.cpu(move_on(&mut random));
            let (kind, object) = &mut table[at];
            *object = alloc_after_asking(&pool, cpu, length(*kind, &mut random));
        }
        pool.freeze(true);
        let tally = check(&pool, true);
        assert_eq!(tally.live_objects, table.len() as u64, "seed {seed:#x}");
        assert_eq!(
            host.nr_taken(),
            BLOCKS,
            "generation {generation}, {nr_fewer} fewer, moved {moved} seed {seed:#x}: {tally:?}"
        );
        table.iter().for_each(|&(_, object)| verify(&pool, object));
        drop(pool);
        pool = restore(&host);
        begin(&pool);
    }
}

#[test]
fn renewed_objects_stay_in_their_blocks() {
    if cfg!(miri) {
        return renew(2, Scrub::OnFree, 0, 50);
    }
    for scrub in [Scrub::OnFree, Scrub::AtFreeze] {
        for nr_fewer in [0, 300] {
            renew(1, scrub, nr_fewer, u64::MAX);
            for moved in [5000, 700, 50, 1] {
                renew(2, scrub, nr_fewer, moved);
            }
            renew(4, scrub, nr_fewer, 300);
        }
    }
}

/// What the module for Linux met: the work was moved to the other CPU between the frees and the allocations.
#[test]
fn what_an_idle_cpu_holds_back_is_found_before_the_pool_grows() {
    let mut random = Random(7);
    let (host, pool, table) = new_full_pool(2, Scrub::OnFree, 0, &mut random);
    let (idle, busy) = (pool.cpu(0), pool.cpu(1));
    let freed: Vec<_> =
        table.iter().step_by(3).filter(|(kind, _)| *kind == 1).map(|&(_, object)| object).collect();
    let cache = pool.cache_for(64, 16).unwrap();
    assert!(!pool.are_held_back(cache));
    freed.iter().for_each(|&object| free(&pool, idle, object));
    let mut nr = 0;
    while pool.alloc_within(busy, cache).is_ok() {
        nr += 1;
    }
    assert!(nr < freed.len(), "all {nr} slots were found, and nothing is shown");
    assert!(pool.are_held_back(cache));
    pool.hand_in(idle, cache);
    assert!(!pool.are_held_back(cache));
    while pool.alloc_within(busy, cache).is_ok() {
        nr += 1;
    }
    assert_eq!(nr, freed.len());
    assert_eq!(host.nr_taken(), BLOCKS);
    pool.alloc(busy, cache).unwrap();
    assert_eq!(host.nr_taken(), BLOCKS + 1, "only now there is no room");
    check(&pool, false);
}

/// A slab that is empty for a moment, between the frees and the allocations of its cache, while another cache wants slots, of which the
/// idle CPU's slabs have enough.
#[test]
fn no_other_cache_gets_a_slab_that_is_empty_for_a_moment() {
    let mut random = Random(7);
    let (host, pool, table) = new_full_pool(2, Scrub::OnFree, 0, &mut random);
    let (idle, busy) = (pool.cpu(0), pool.cpu(1));
    let of_kind = |wanted: usize| -> Vec<Object> {
        table.iter().filter(|(kind, _)| *kind == wanted).map(|&(_, object)| object).collect()
    };
    let slab_of = |object: &Object| object.offset / 4096;
    let large = of_kind(2);
    let (one_slab, rest): (Vec<_>, Vec<_>) =
        large.iter().partition(|object| slab_of(object) == slab_of(&large[0]));
    // An object of each slab, so that there are slabs with room, then all that one slab has.
    let mut seen = std::collections::BTreeSet::new();
    let mut freed: Vec<Object> = rest.into_iter().filter(|object| seen.insert(slab_of(object))).collect();
    freed.extend(one_slab);
    let small: Vec<Object> = of_kind(0).into_iter().step_by(3).collect();
    freed.iter().chain(&small).for_each(|&object| free(&pool, idle, object));
    for kind in KINDS {
        pool.hand_in(idle, pool.cache_for(kind.start as usize, 16).unwrap());
    }
    for object in small.iter().chain(&freed) {
        alloc_after_asking(&pool, busy, object.size);
    }
    check(&pool, false);
    assert_eq!(host.nr_taken(), BLOCKS);
}
