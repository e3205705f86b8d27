//! Foreign bytes: each byte of a frozen pool's records changed, running pools damaged at random, tables that contradict
//! themselves. Never a panic, never an endless loop, and what is refused is left as it was.
#![expect(unsafe_code, reason = "damages memory and drives the allocator")]

mod common;

use std::mem::offset_of;

use common::*;
use heirloom_abi::pool::{
    BLOCK_KIND_HUGE, BlockHead, BlockRecord, CacheRecord, Geometry, PoolError, PoolRecord, SLAB_KIND_LARGE,
    SLAB_KIND_SLAB, SLAB_KIND_TAIL, SlabRecord,
};
use heirloom_slab::{Contents, Fault, Pool, RestoreError, Scrub};

const NR_BLOCKS: usize = 8;

/// A pool with slabs of several orders, a large object, a huge one, and holes.
///
/// ```text
/// control (2 blocks) | slabs of 24, 500, 4000 B, a large object | huge object, 3 blocks | free ...
/// ```
fn build(scrub: Scrub) -> (TestHost, Pool<TestHost>, Vec<Object>) {
    let (host, pool) = new_pool(geometry(), NR_BLOCKS, scrub);
    let cpu = pool.claim_cpu().unwrap();
    let mut live = Vec::new();
    for (size, nr) in [(24, 300), (500, 12), (4000, 5), (9000, 1), (150_000, 1)] {
        for nr in 0..nr {
            live.push(alloc(&pool, cpu, size, nr as u8 | 1).unwrap());
        }
    }
    for at in [280, 200, 199, 7] {
        free(&pool, cpu, live.swap_remove(at));
    }
    pool.create_cache("sessions", 96, 32).unwrap();
    (host, pool, live)
}

fn frozen(seal: bool) -> (TestHost, Vec<Object>) {
    let (host, pool, live) = build(Scrub::OnFree);
    pool.freeze(seal);
    check(&pool, true);
    (host, live)
}

fn restore_checked(host: &TestHost) -> Result<Pool<TestHost>, RestoreError> {
    // SAFETY: the former pool is not used any more.
    unsafe { Pool::restore_checked(host.successor(), 0, host.control_bytes()) }
}

fn half(bytes: &[u8], at: u64) -> u32 {
    u32::from_le_bytes(bytes[at as usize..][..4].try_into().unwrap())
}

fn word(bytes: &[u8], at: u64) -> u64 {
    u64::from_le_bytes(bytes[at as usize..][..8].try_into().unwrap())
}

/// Offset and length of everything that a seal, a checksum or a rule covers, and nothing else.
fn covered(bytes: &[u8], geometry: Geometry) -> Vec<(u64, u64)> {
    let mut ranges = vec![(0, size_of::<PoolRecord>() as u64)];
    let nr_caches = half(bytes, offset_of!(PoolRecord, nr_caches) as u64);
    let nr_blocks = half(bytes, offset_of!(PoolRecord, nr_blocks) as u64);
    ranges.push((geometry.cache_offset(0), u64::from(nr_caches) * size_of::<CacheRecord>() as u64));
    ranges.push((geometry.block_offset(0), u64::from(nr_blocks) * size_of::<BlockRecord>() as u64));
    for index in 0..nr_blocks {
        let block = word(bytes, geometry.block_offset(index));
        if block == 0 {
            continue;
        }
        // The head but for the NUMA node, which may be any.
        ranges.push((block, offset_of!(BlockHead, node) as u64));
        ranges.push((block + offset_of!(BlockHead, reserved) as u64, 96));
        // A huge object has one descriptor.
        let is_huge = half(bytes, geometry.block_offset(index) + 8) == BLOCK_KIND_HUGE;
        let units = if is_huge { geometry.header_units() + 1 } else { geometry.units() };
        for unit in geometry.header_units()..units {
            let at = block + geometry.descriptor_offset(unit);
            match half(bytes, at) {
                SLAB_KIND_SLAB | SLAB_KIND_LARGE => ranges.push((at, geometry.descriptor_bytes())),
                SLAB_KIND_TAIL => {
                    ranges.push((at, 4));
                    ranges.push((at + offset_of!(SlabRecord, head_unit) as u64, 4));
                }
                // Of a free unit only its kind says anything.
                _ => ranges.push((at, 4)),
            }
        }
    }
    ranges
}

#[test]
fn each_changed_byte_of_a_sealed_pool_is_an_error_and_the_pool_stays_as_it_was() {
    let (host, live) = frozen(true);
    let before = host.snapshot();
    let mut nr = 0u32;
    let step = if cfg!(miri) { 9973 } else { 1 };
    for (start, len) in covered(&before, geometry()) {
        for at in (start..start + len).step_by(step) {
            for flip in [0xff, 1] {
                host.overwrite(at as usize, &[before[at as usize] ^ flip]);
                let refused = restore_checked(&host).err();
                assert!(refused.is_some(), "byte {at:#x} ^ {flip:#x} goes unseen");
                host.overwrite(at as usize, &[before[at as usize]]);
                nr += 1;
                if nr % 512 == 0 {
                    assert!(host.snapshot() == before, "byte {at:#x}: a refused pool was changed");
                }
            }
        }
    }
    assert!(host.snapshot() == before, "a refused pool was changed");
    assert!(cfg!(miri) || nr > 10_000, "{nr} changes");
    let pool = restore_checked(&host).unwrap();
    live.iter().for_each(|object| verify(&pool, *object));
}

/// What no rule covers does no harm: CPU slots, unused entries, free descriptors.
#[test]
fn changed_bytes_that_mean_nothing_do_no_harm() {
    let (host, live) = frozen(true);
    let before = host.snapshot();
    let geometry = geometry();
    let mut ranges = vec![
        (geometry.cpu_offset(0), geometry.control_bytes()),
        (geometry.cache_offset(30), geometry.cache_offset(31)),
        (geometry.block_offset(20), geometry.block_offset(21)),
    ];
    let nr_blocks = half(&before, offset_of!(PoolRecord, nr_blocks) as u64);
    for index in 0..nr_blocks {
        let block = word(&before, geometry.block_offset(index));
        for unit in geometry.header_units()..geometry.units() {
            let at = block + geometry.descriptor_offset(unit);
            if half(&before, at) == 0 {
                ranges.push((at + 4, at + geometry.descriptor_bytes()));
            }
        }
    }
    let rounds = if cfg!(miri) { 1 } else { 200 };
    for seed in 1..=rounds {
        let mut random = Random(seed);
        for &(start, end) in &ranges {
            for _ in 0..1 + random.below(40) {
                let at = start + random.below(end - start);
                host.overwrite(at as usize, &[random.below(256) as u8]);
            }
        }
        // SAFETY: the former pool is not used any more.
        let pool = unsafe { Pool::restore(host.successor(), 0, host.control_bytes()) }.unwrap();
        use_pool(&pool, &mut random, &live);
        pool.freeze(true);
        let tally = pool.check(true, |broken| panic!("seed {seed}: {broken}"));
        assert_eq!(tally.live_objects, live.len() as u64, "seed {seed}");
        assert_eq!(tally.stale_bytes, 0, "seed {seed}");
        live.iter().for_each(|object| verify(&pool, *object));
        drop(pool);
        host.overwrite(0, &before);
    }
}

/// Three threads' worth of operations; all is given back.
fn use_pool(pool: &Pool<TestHost>, random: &mut Random, live: &[Object]) {
    let cpus: Vec<u32> = (0..3).map(|_| pool.claim_cpu().unwrap().index()).collect();
    let cache = pool.create_cache("more", 48, 16).unwrap().0 as usize;
    let mut made = Vec::new();
    for nr in 0..if cfg!(miri) { 40 } else { 300 } {
        let cpu = pool.cpu(cpus[random.below(3) as usize]);
        let size = [24, 40, 500, 4000, 9000][random.below(5) as usize];
        if nr % 7 == 0 {
            let slot = pool.alloc(cpu, cache).unwrap();
            // SAFETY: it was just made.
            unsafe { pool.free(cpu, cache, slot, 0) };
        }
        made.extend(alloc(pool, cpu, size, nr as u8 | 1));
        if made.len() > 20 {
            let object = made.swap_remove(random.below(made.len() as u64) as usize);
            free(pool, pool.cpu(cpus[random.below(3) as usize]), object);
        }
    }
    live.iter().for_each(|object| verify(pool, *object));
    made.into_iter().for_each(|object| free(pool, pool.cpu(cpus[0]), object));
}

/// A running pool whose owner died, damaged anywhere in its records: it is refused, or it is used without harm to the
/// program. (What stands in it may be lost: damage can make a live object look free.)
#[test]
fn a_damaged_running_pool_is_refused_or_recovered() {
    for scrub in [Scrub::OnFree, Scrub::AtFreeze] {
        let (host, pool, _) = build(scrub);
        let other = pool.claim_cpu().unwrap();
        let made: Vec<_> = (0..90).filter_map(|_| alloc(&pool, pool.cpu(0), 64, 9)).collect();
        made.into_iter().for_each(|object| free(&pool, other, object));
        let before = host.snapshot();
        let geometry = geometry();
        let mut ranges = vec![
            (0, geometry.control_bytes()),
            (0, 112),
            (geometry.block_offset(0), geometry.block_offset(5)),
        ];
        let nr_blocks = half(&before, offset_of!(PoolRecord, nr_blocks) as u64);
        for index in 0..nr_blocks {
            let block = word(&before, geometry.block_offset(index));
            ranges.push((block, block + geometry.header_bytes()));
        }
        let (mut refused, mut recovered) = (0, 0);
        for seed in 1..=if cfg!(miri) { 1 } else { 4000 } {
            let mut random = Random(seed * 0x9e37_79b9);
            let print = Printing(seed);
            let mut changed = Vec::new();
            for _ in 0..1 + random.below(12) {
                let (start, end) = ranges[random.below(ranges.len() as u64) as usize];
                let at = start + random.below(end - start);
                // Small numbers in fields are likelier to pass a check than noise.
                let value =
                    if random.below(3) == 0 { random.below(256) as u8 } else { random.below(4) as u8 };
                changed.push(at);
                host.overwrite(at as usize, &[value]);
            }
            let damaged = host.snapshot();
            // SAFETY: its owner is dead.
            match unsafe { Pool::recover(host.successor(), 0, host.control_bytes()) } {
                Ok((pool, _)) => {
                    recovered += 1;
                    pool.check(true, |_| {});
                    exercise(&pool, &mut random);
                    pool.freeze(true);
                    pool.check(true, |broken| panic!("seed {seed}: {broken} after {changed:x?}"));
                }
                Err(_) => {
                    refused += 1;
                    assert!(host.snapshot() == damaged, "seed {seed}: a refused pool was changed");
                }
            }
            host.0.faults.lock().unwrap().clear();
            host.overwrite(0, &before);
            print.done();
        }
        assert!(cfg!(miri) || (refused > 100 && recovered > 100), "{refused} refused, {recovered} recovered");
        drop(pool);
    }
}

/// The same for a frozen pool that is restored without a look at its slabs: damage in a slab is found when it is wanted.
#[test]
fn a_damaged_slab_is_found_when_it_is_wanted_and_left_alone() {
    let (host, _) = frozen(false);
    let before = host.snapshot();
    let geometry = geometry();
    let block = word(&before, geometry.block_offset(0));
    let end = block + geometry.header_bytes();
    for seed in 1..=if cfg!(miri) { 1 } else { 4000 } {
        let mut random = Random(seed * 0x51_7cc1);
        let print = Printing(seed);
        for _ in 0..1 + random.below(12) {
            let mut at = block + random.below(end - block);
            // Who owns a slab is the predecessor's word (see `Pool::restore`).
            let field =
                (at - block).wrapping_sub(geometry.descriptor_offset(0)) % geometry.descriptor_bytes();
            if (24..32).contains(&field) {
                at += 8;
            }
            host.overwrite(at as usize, &[random.below(256) as u8]);
        }
        // SAFETY: the former pool is not used any more.
        let pool = unsafe { Pool::restore(host.successor(), 0, host.control_bytes()) }.unwrap();
        exercise(&pool, &mut random);
        pool.freeze(true);
        pool.check(true, |_| {});
        drop(pool);
        host.0.faults.lock().unwrap().clear();
        host.overwrite(0, &before);
        print.done();
    }
}

/// Allocates and frees its own objects only, and looks at no byte of them.
fn exercise(pool: &Pool<TestHost>, random: &mut Random) {
    let Some(first) = pool.claim_cpu() else { return };
    let second = pool.claim_cpu().unwrap_or(first);
    let mut made = Vec::new();
    for _ in 0..if cfg!(miri) { 20 } else { 150 } {
        let cpu = if random.below(2) == 0 { first } else { second };
        let size = [24, 64, 500, 4000, 9000, 100_000][random.below(6) as usize];
        let got = match pool.cache_for(size, 16) {
            Some(cache) => pool.alloc(cpu, cache),
            None => pool.alloc_large(size as u64, Contents::Any),
        };
        made.extend(got.ok().map(|offset| (offset, size)));
        if made.len() > 30 {
            let (offset, size) = made.swap_remove(random.below(made.len() as u64) as usize);
            // SAFETY: it was made above.
            unsafe {
                match pool.cache_for(size, 16) {
                    Some(cache) => pool.free(cpu, cache, offset, 0),
                    None => pool.free_large(offset),
                }
            }
        }
    }
    pool.release_cpu(first);
    if second.index() != first.index() {
        pool.release_cpu(second);
    }
}

#[test]
fn tables_that_contradict_themselves_are_refused_by_name() {
    let (host, _) = frozen(false);
    let before = host.snapshot();
    let geometry = geometry();
    let first = geometry.block_offset(0) as usize;
    let second = geometry.block_offset(1) as usize;
    // SAFETY: its owner is dead, or never was.
    let recover =
        || unsafe { Pool::recover(host.successor(), 0, host.control_bytes()) }.map(drop).unwrap_err();

    // Two entries for one block.
    let offset = word(&before, second as u64);
    host.overwrite(first, &offset.to_le_bytes());
    assert!(matches!(recover(), RestoreError::Block { .. } | RestoreError::Pool(PoolError::Block { .. })));
    host.overwrite(0, &before);
    // A block outside the memory, and one in the control area.
    for offset in [1u64 << 40, 0] {
        host.overwrite(first, &offset.to_le_bytes());
        assert_eq!(recover(), RestoreError::Block { index: 0, offset });
        host.overwrite(0, &before);
    }
    // A huge object whose run leaves the memory.
    let huge =
        (0..4).map(|index| geometry.block_offset(index)).find(|&at| half(&before, at + 8) == 2).unwrap()
            as usize;
    host.overwrite(huge + 12, &u32::MAX.to_le_bytes());
    assert!(matches!(recover(), RestoreError::Block { .. }), "{:?}", recover());
    host.overwrite(0, &before);
    // Foreign, zeroed, and cut short.
    host.overwrite(0, b"heirloom-slab-v1");
    assert_eq!(recover(), RestoreError::Pool(PoolError::Foreign(0)));
    host.overwrite(0, &[0; 4096]);
    assert_eq!(recover(), RestoreError::Pool(PoolError::Foreign(0)));
    host.overwrite(0, &before);
    for control_bytes in [0, 100, 4096, geometry.control_bytes() - 1] {
        // SAFETY: the former pool is not used any more.
        let cut = unsafe { Pool::restore(host.successor(), 0, control_bytes) };
        assert!(matches!(cut.map(drop), Err(RestoreError::Pool(PoolError::Outside { .. }))));
    }
    // Moved: the same bytes at another place.
    let at = 4 * geometry.block_bytes();
    host.overwrite(at as usize, &before[..geometry.control_bytes() as usize]);
    // SAFETY: nobody uses that memory.
    let moved = unsafe { Pool::restore(host.successor(), at, host.control_bytes()) };
    assert_eq!(moved.map(drop), Err(RestoreError::Pool(PoolError::Moved { found: at, recorded: 0 })));
    host.overwrite(0, &before);
    // A size class of another size: `alloc` would hand out slots that are too small.
    let class = geometry.cache_offset(5);
    let small = before[geometry.cache_offset(0) as usize..][..128].to_vec();
    host.overwrite(class as usize, &small);
    assert!(matches!(recover(), RestoreError::Pool(PoolError::Cache { index: 5, .. })));
    let nr_caches = offset_of!(PoolRecord, nr_caches);
    host.overwrite(0, &before);
    host.overwrite(nr_caches, &[3]);
    assert!(matches!(recover(), RestoreError::Pool(PoolError::Cache { index: 3, .. })));
    host.overwrite(0, &before);
    restore(&host);
}

/// The sizes of a large object lie in its block, at which a restore does not look. Whoever shrinks or frees it would zero as much as
/// they say.
///
/// ```text
/// | object, n units | neighbour, n units | ..    | huge object, 3 blocks |
/// ```
#[test]
fn a_large_object_that_says_more_than_it_has_is_left_alone() {
    let (host, pool) = new_pool(geometry(), NR_BLOCKS, Scrub::OnFree);
    let cpu = pool.claim_cpu().unwrap();
    let object = alloc(&pool, cpu, 8000, 1).unwrap();
    let neighbour = alloc(&pool, cpu, 8000, 3).unwrap();
    let huge = alloc(&pool, cpu, 150_000, 5).unwrap();
    let geometry = geometry();
    let record = |object: Object| {
        let block = object.offset & !(geometry.block_bytes() - 1);
        (block + geometry.descriptor_offset(((object.offset - block) >> geometry.unit_shift) as u32)) as usize
    };
    let (bytes, units) = (offset_of!(SlabRecord, object_bytes), offset_of!(SlabRecord, units));
    let both = (2 * pool.usable_bytes(8000, 16) as u32) >> geometry.unit_shift;
    pool.freeze(false);
    drop(pool);
    let before = host.snapshot();
    let wild: [(Object, usize, &[u8]); 6] = [
        (object, bytes, &(1u64 << 40).to_le_bytes()),
        (object, bytes, &0u64.to_le_bytes()),
        (object, units, &0u32.to_le_bytes()),
        (object, units, &both.to_le_bytes()),
        (huge, bytes, &(1u64 << 40).to_le_bytes()),
        (huge, bytes, &140_000u64.to_le_bytes()),
    ];
    for (damaged, field, value) in wild {
        host.overwrite(record(damaged) + field, value);
        let pool = restore(&host);
        let size = damaged.size as u64 - 100;
        // SAFETY: the objects are ours; what goes is zeroed, as the caller owes, by nobody here.
        unsafe {
            assert!(!pool.resize_large(damaged.offset, size, Contents::Any), "{field} {value:x?}");
            assert!(!pool.resize_large(damaged.offset, 3 * size, Contents::Any), "{field} {value:x?}");
            assert_eq!(pool.find(damaged.offset), None, "{field} {value:x?}");
            pool.free_large(damaged.offset);
        }
        assert_eq!(*host.0.faults.lock().unwrap(), [Fault::NoSlot(damaged.offset)]);
        for object in [object, neighbour, huge] {
            verify(&pool, object);
        }
        host.0.faults.lock().unwrap().clear();
        drop(pool);
        host.overwrite(0, &before);
    }
}

/// A successor restored the pool, wrote wildly and died: whoever handed it over takes it back, and believes no number of it either.
#[test]
fn a_block_table_that_a_successor_wrote_on_is_not_taken_back() {
    let (host, pool, live) = build(Scrub::OnFree);
    pool.freeze(false);
    let before = host.snapshot();
    let geometry = geometry();
    let (first, second) = (geometry.block_offset(0) as usize, geometry.block_offset(1) as usize);
    let block = word(&before, first as u64);
    // Far outside, no block's start, another's, the control area, behind the memory's end.
    for offset in [1 << 45, block + 4096, word(&before, second as u64), 0, before.len() as u64] {
        host.overwrite(first, &offset.to_le_bytes());
        let wild = host.snapshot();
        host.successor();
        let refused = pool.reclaim_used(|_| true);
        assert!(
            matches!(refused, Err(RestoreError::Block { .. } | RestoreError::Pool(PoolError::Block { .. }))),
            "{offset:#x}: {refused:?}"
        );
        assert!(host.snapshot() == wild, "{offset:#x}: a refused pool was changed");
        host.overwrite(first, &block.to_le_bytes());
    }
    host.successor();
    pool.reclaim_used(|_| true).unwrap();
    check(&pool, true);
    live.iter().for_each(|object| verify(&pool, *object));
    live.into_iter().for_each(|object| free(&pool, pool.cpu(0), object));
}

/// Prints the seed if the test ends while it lives.
struct Printing(u64);

impl Printing {
    fn done(self) {
        std::mem::forget(self);
    }
}

impl Drop for Printing {
    fn drop(&mut self) {
        eprintln!("seed {}", self.0);
    }
}
