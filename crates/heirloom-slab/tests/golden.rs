//! The golden file: a pool of version 2 as the first release writes it. Whatever changes here, it must be read back.
//!
//! Only lines of 64 bytes that are not all zeros are stored: the number of the first of a run of equal ones, how many, the line.
#![expect(unsafe_code, reason = "drives the allocator")]

mod common;

use common::*;
use heirloom_abi::pool::Tally;
use heirloom_slab::{Pool, Scrub};

const GOLDEN: &[u8] = include_bytes!("golden/pool-v2.bin");
const LINE: usize = 64;
const NR_BLOCKS: usize = 6;

/// Objects in the file: slots of three sizes from two CPUs, a large object and a huge one.
fn objects() -> Vec<(usize, u8)> {
    let small = (0..40).map(|nr| ([24, 200, 3000][nr % 3], nr as u8 + 1));
    small.chain([(9000, 101), (100_000, 102)]).collect()
}

/// The same steps give the same bytes.
fn build() -> (TestHost, Vec<Object>) {
    let (host, pool) = new_pool(geometry(), NR_BLOCKS, Scrub::OnFree);
    let (first, second) = (pool.claim_cpu().unwrap(), pool.claim_cpu().unwrap());
    pool.create_cache("sessions", 96, 32).unwrap();
    let made: Vec<_> = objects()
        .into_iter()
        .enumerate()
        .flat_map(|(nr, (size, mark))| {
            let cpu = if nr % 5 == 0 { second } else { first };
            [alloc(&pool, cpu, size, mark).unwrap()].into_iter().chain(
                // And one that is freed again by the other, so that there are holes.
                (nr % 7 == 0 && size < 9000).then(|| alloc(&pool, cpu, size, 0xff).unwrap()),
            )
        })
        .collect();
    let (holes, live): (Vec<_>, Vec<_>) = made.into_iter().partition(|object| object.mark == 0xff);
    holes.into_iter().for_each(|object| free(&pool, second, object));
    pool.release_cpu(second);
    pool.freeze(true);
    check(&pool, true);
    (host, live)
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut lines = bytes.chunks_exact(LINE).enumerate().peekable();
    while let Some((nr, line)) = lines.next() {
        if line.iter().all(|&byte| byte == 0) {
            continue;
        }
        let mut run = 1u32;
        while lines.next_if(|(_, next)| *next == line).is_some() {
            run += 1;
        }
        packed.extend((nr as u32).to_le_bytes());
        packed.extend(run.to_le_bytes());
        packed.extend(line);
    }
    packed
}

fn unpack(packed: &[u8], bytes: &mut [u8]) {
    let number = |four: &[u8]| u32::from_le_bytes(four.try_into().unwrap()) as usize;
    for entry in packed.chunks_exact(8 + LINE) {
        let (nr, run) = (number(&entry[..4]), number(&entry[4..8]));
        for line in bytes.chunks_exact_mut(LINE).skip(nr).take(run) {
            line.copy_from_slice(&entry[8..]);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "looks at each byte of the memory")]
fn version_2_is_written_to_the_same_bytes() {
    let (host, _) = build();
    // SAFETY: the pool is gone.
    let packed = pack(unsafe { host.bytes() });
    if std::env::var_os("HEIRLOOM_WRITE_GOLDEN").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pool-v2.bin"), &packed).unwrap();
        return;
    }
    assert!(
        packed == GOLDEN,
        "the bytes of a pool changed: that is another version, with another `COMPATIBLE`"
    );
}

#[test]
fn version_2_is_read_back() {
    let host = TestHost::new(geometry(), NR_BLOCKS);
    // SAFETY: nobody works on the memory yet.
    unpack(GOLDEN, unsafe { host.bytes() });
    // SAFETY: its writer is long gone.
    let pool = unsafe { Pool::restore_checked(host.successor(), 0, host.control_bytes()) }.unwrap();
    let expected = Tally {
        live_objects: 42,
        live_bytes: live_bytes(&pool),
        blocks: 4,
        pool_bytes: 4 << 16,
        stale_bytes: 0,
        ..check(&pool, true)
    };
    assert_eq!(check(&pool, true), expected);
    let (_, live) = build();
    assert_eq!(live.len(), 42);
    live.iter().for_each(|object| verify(&pool, *object));
    let cpu = pool.claim_cpu().unwrap();
    assert_eq!(pool.create_cache("sessions", 96, 32).unwrap().0, 28, "the first after the size classes");
    live.into_iter().for_each(|object| free(&pool, cpu, object));
    pool.freeze(false);
    assert_eq!(check(&pool, true).live_objects, 0);
    assert_eq!(*host.0.faults.lock().unwrap(), []);
}

fn live_bytes(pool: &Pool<TestHost>) -> u64 {
    let sizes = objects().into_iter().map(|(size, _)| match pool.cache_for(size, 16) {
        Some(_) => pool.usable_bytes(size, 16) as u64,
        None => size as u64,
    });
    sizes.sum()
}
