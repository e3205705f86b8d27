//! Finding what stands at an address.
#![allow(unsafe_code, reason = "frees objects")]

mod common;

use common::{alloc, free, geometry, new_pool};
use heirloom_slab::Scrub;

/// Every address of a slot, of a large object and of a run of blocks leads to its object; headers and free units lead nowhere.
#[test]
fn each_address_leads_to_its_object() {
    let (_host, pool) = new_pool(geometry(), 16, Scrub::OnFree);
    let cpu = pool.claim_cpu().unwrap();
    for size in [1, 16, 100, 1024, 4096, 5000, 40_000] {
        let object = alloc(&pool, cpu, size, 1).unwrap();
        let room = pool.usable_bytes(size, 16) as u64;
        for at in [0, 1, size as u64 - 1, room.min(4096) - 1] {
            let found = pool.find(object.offset + at).unwrap();
            assert_eq!(found.start, object.offset, "{size} bytes, byte {at}");
            assert_eq!(found.cache, pool.cache_for(size, 16));
            assert!(found.bytes >= size as u64);
            assert!(!pool.is_listed_free(cpu, &found));
        }
        let block = object.offset & !(geometry().block_bytes() - 1);
        assert_eq!(pool.find(block), None, "the header");
        free(&pool, cpu, object);
        match pool.find(object.offset) {
            Some(found) => assert!(pool.is_listed_free(cpu, &found), "{size} bytes: in the magazine"),
            None => assert!(size > 4096, "a large object is gone at once"),
        }
    }
}

#[test]
fn a_slot_is_listed_free_before_and_after_it_is_settled() {
    let (_host, pool) = new_pool(geometry(), 16, Scrub::OnFree);
    let cpu = pool.claim_cpu().unwrap();
    let objects: Vec<_> = (0..200).map(|_| alloc(&pool, cpu, 64, 1).unwrap()).collect();
    for &object in &objects[1..] {
        free(&pool, cpu, object);
        let found = pool.find(object.offset).unwrap();
        assert!(pool.is_listed_free(cpu, &found));
    }
    pool.settle_all();
    let is_free = |offset| pool.find(offset).is_none_or(|found| pool.is_listed_free(cpu, &found));
    assert!(!is_free(objects[0].offset));
    assert!(objects[1..].iter().all(|object| is_free(object.offset)));
}

/// A run of blocks has one header: an address in its first block is found, one in a later block finds nothing, whatever stands there.
#[test]
fn a_run_of_blocks_is_found_by_its_first() {
    let (_host, pool) = new_pool(geometry(), 16, Scrub::OnFree);
    let cpu = pool.claim_cpu().unwrap();
    let size = 200_000;
    for mark in [0, 1, 0xff] {
        let object = alloc(&pool, cpu, size, mark).unwrap();
        let found = pool.find(object.offset + 9000).unwrap();
        assert_eq!((found.start, found.cache, found.bytes), (object.offset, None, size as u64));
        assert_eq!(pool.find(object.offset + 100_000), None);
        free(&pool, cpu, object);
    }
}
