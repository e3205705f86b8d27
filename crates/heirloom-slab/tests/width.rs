//! A magazine is as wide as its thread has use for, within what the pool keeps where nothing is.
#![expect(unsafe_code, reason = "drives the allocator")]

mod common;

use common::*;
use heirloom_slab::{Cpu, Pool, Scrub};

const BLOCKS: usize = 512;

/// As many blocks as the block table has room for, so that the part of it that wider magazines may hold is 16 of them, a MiB.
fn wide_geometry() -> heirloom_abi::pool::Geometry {
    heirloom_abi::pool::Geometry::new(16, 32, 4, BLOCKS as u32).unwrap()
}

fn wide_pool(scrub: Scrub) -> (TestHost, Pool<TestHost>) {
    let (host, pool) = new_pool(wide_geometry(), BLOCKS, scrub);
    pool.set_spare_blocks(64);
    (host, pool)
}

fn take(pool: &Pool<TestHost>, cpu: Cpu<'_>, nr: usize, size: usize) -> Vec<Object> {
    (0..nr).map(|nth| alloc(pool, cpu, size, nth as u8).unwrap()).collect()
}

fn give(pool: &Pool<TestHost>, cpu: Cpu<'_>, objects: Vec<Object>) {
    for object in objects {
        free(pool, cpu, object);
    }
}

fn width(pool: &Pool<TestHost>, cpu: Cpu<'_>, size: usize) -> u32 {
    pool.magazine_width(cpu, pool.cache_for(size, 16).unwrap())
}

#[test]
fn who_takes_and_gives_by_turns_gets_room_for_all_of_it() {
    for scrub in [Scrub::OnFree, Scrub::AtFreeze] {
        let (_host, pool) = wide_pool(scrub);
        let cpu = pool.claim_cpu().unwrap();
        let first = width(&pool, cpu, 1024);
        let nr = first as usize * 20;
        for _ in 0..3 {
            let objects = take(&pool, cpu, nr, 1024);
            give(&pool, cpu, objects);
        }
        assert!(width(&pool, cpu, 1024) as usize >= nr, "{} for {nr}", width(&pool, cpu, 1024));
        check(&pool, true);
        // Who gives more and more that came from elsewhere is as any other thread again.
        let other = pool.claim_cpu().unwrap();
        let objects = take(&pool, other, nr * 8, 1024);
        give(&pool, cpu, objects);
        assert_eq!(width(&pool, cpu, 1024), first);
        check(&pool, true);
    }
}

#[test]
fn who_only_gives_or_only_takes_gets_nothing() {
    let (_host, pool) = wide_pool(Scrub::OnFree);
    let (maker, user) = (pool.claim_cpu().unwrap(), pool.claim_cpu().unwrap());
    let first = width(&pool, maker, 512);
    for _ in 0..10 {
        let objects = take(&pool, maker, 500, 512);
        give(&pool, user, objects);
    }
    assert_eq!((width(&pool, maker, 512), width(&pool, user, 512)), (first, first));
}

#[test]
fn all_magazines_together_are_no_wider_than_is_kept_where_nothing_is() {
    let (_host, pool) = wide_pool(Scrub::OnFree);
    let cpus: Vec<_> = (0..3).map(|_| pool.claim_cpu().unwrap()).collect();
    let sizes = [512, 1024, 2048, 4096];
    let wider = || -> u64 {
        let of = |cpu: &Cpu<'_>, size: usize| {
            let first = pool.magazine_width(pool.cpu(3), pool.cache_for(size, 16).unwrap());
            u64::from(width(&pool, *cpu, size) - first) * size as u64
        };
        cpus.iter().map(|cpu| sizes.iter().map(|&size| of(cpu, size)).sum::<u64>()).sum()
    };
    // A fourth, which does nothing, shows how wide they are at first.
    pool.claim_cpu().unwrap();
    for _ in 0..4 {
        for &cpu in &cpus {
            for size in sizes {
                let objects = take(&pool, cpu, 800, size);
                give(&pool, cpu, objects);
            }
        }
    }
    let most = 16 << 16;
    assert!(wider() > most / 2 && wider() <= most, "{} of {most}", wider());
    // Where nothing is kept, nothing is wider from then on, and a freeze makes all as they were.
    pool.freeze(false);
    assert_eq!(wider(), 0);
    pool.thaw();
    pool.set_spare_blocks(0);
    for _ in 0..3 {
        let objects = take(&pool, cpus[0], 800, 512);
        give(&pool, cpus[0], objects);
    }
    assert_eq!(wider(), 0);
    pool.freeze(false);
    assert_eq!(check(&pool, true).live_objects, 0);
}

/// Another thread, which has another slot, and the one that has this slot next.
#[test]
fn what_a_thread_had_for_itself_goes_back_when_it_ends() {
    let (host, pool) = wide_pool(Scrub::OnFree);
    for _ in 0..20 {
        let cpu = pool.claim_cpu().unwrap();
        let first = width(&pool, cpu, 4096);
        for _ in 0..3 {
            let objects = take(&pool, cpu, 200, 4096);
            give(&pool, cpu, objects);
        }
        // As much each time: else what was given back would not be counted.
        assert!(width(&pool, cpu, 4096) >= 200 && first < 100, "{first}");
        pool.release_cpu(cpu);
    }
    pool.trim();
    assert!(host.nr_taken() <= 1);
    check(&pool, true);
}

#[test]
fn a_wide_magazine_is_found_whole_after_a_death() {
    let (host, pool) = wide_pool(Scrub::OnFree);
    let cpu = pool.claim_cpu().unwrap();
    for _ in 0..3 {
        let objects = take(&pool, cpu, 300, 2048);
        give(&pool, cpu, objects);
    }
    let live = take(&pool, cpu, 10, 2048);
    drop(pool);
    // SAFETY: the former pool is not used any more.
    let (pool, recovered) = unsafe { Pool::recover(host.successor(), 0, host.control_bytes()) }.unwrap();
    assert!(recovered.folded >= 290, "{recovered:?}");
    assert_eq!(check(&pool, true).live_objects, 10);
    let cpu = pool.claim_cpu().unwrap();
    give(&pool, cpu, live);
}
