//! A hand-over that is called off behind the freeze: what other threads of the predecessor see meanwhile, and that they go on
//! as if it had never begun.
//!
//! The successor is this test again. It speaks the protocol by hand, so that it can stop where a real one is killed.
#![allow(unsafe_code, reason = "uses raw allocations and inherited descriptors")]

use std::alloc::Layout;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::mem::offset_of;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Barrier;
use std::time::Duration;

use heirloom::{Broken, Command, HandOverError, Heap, Options, alloc};
use heirloom_abi::heap::{Header, Host};
use heirloom_abi::pool::{CpuRecord, Geometry, PoolRecord};

const CHILD: &str = "HEIRLOOM_TEST_CALLED_OFF";

/// Is ready, waits for the freeze, does what a restore does first, and ends.
#[test]
fn successor() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let ticket = std::env::var("HEIRLOOM_HANDOVER").unwrap();
    let fields: Vec<_> = ticket.split(':').collect();
    // SAFETY: the ticket is for this process, and nothing else owns these numbers.
    let (heap, mut peer) = unsafe {
        let file = |field: &str| std::fs::File::from_raw_fd(field.parse().unwrap());
        (file(fields[3]), file(fields[4]))
    };
    let mut page = [0; 4096];
    heap.read_exact_at(&mut page, 0).unwrap();
    let header = Header::read(&page, heap.metadata().unwrap().len(), &Host::current(4096)).unwrap();
    let mut ready = [0; 32];
    ready[..16].copy_from_slice(&[b'H', b'L', b'H', b'O', 1, 0, 1, 0, 32, 0, 0, 0, 0, 0, 0, 0]);
    ready[16..].copy_from_slice(&header.identity.id);
    assert_eq!(peer.write(&ready).unwrap(), 32);
    let mut frozen = [0; 512];
    assert_eq!(peer.read(&mut frozen).unwrap(), 32);
    // The predecessor's other threads try things meanwhile.
    std::thread::sleep(Duration::from_millis(700));
    let control = header.identity.control.offset;
    let number = |at: u64| {
        let mut four = [0; 4];
        heap.read_exact_at(&mut four, control + at).unwrap();
        u32::from_le_bytes(four)
    };
    let field = |offset: usize| number(offset as u64);
    let geometry = Geometry {
        block_shift: field(offset_of!(PoolRecord, block_shift)),
        unit_shift: field(offset_of!(PoolRecord, unit_shift)),
        max_caches: field(offset_of!(PoolRecord, max_caches)),
        max_cpus: field(offset_of!(PoolRecord, max_cpus)),
        max_blocks: field(offset_of!(PoolRecord, max_blocks)),
    };
    for cpu in 0..field(offset_of!(PoolRecord, nr_cpus)) {
        let tag = geometry.cpu_offset(cpu) + offset_of!(CpuRecord, tag) as u64;
        heap.write_all_at(&[0; 8], control + tag).unwrap();
    }
    heap.write_all_at(&[0; 4], control + offset_of!(PoolRecord, frozen) as u64).unwrap();
    std::process::exit(3);
}

fn hand_over(heap: &Heap) -> HandOverError {
    let command =
        Command::current_exe().unwrap().args(["successor", "--exact", "--nocapture"]).env(CHILD, "1");
    heap.hand_over(command).unwrap_err()
}

fn take(nr: usize) -> Vec<usize> {
    let layout = Layout::from_size_align(64, 16).unwrap();
    (0..nr).map(|_| alloc::allocate(layout).unwrap().addr().get()).collect()
}

#[test]
fn a_successor_that_dies_as_it_takes_over_leaves_all_as_it_was() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let options = Options::new().size_limit(64 << 20).block_size(64 << 10);
    let heap = Heap::inherit_or_create("called off", options).unwrap();
    let (before, frozen, after) = (Barrier::new(2), Barrier::new(2), Barrier::new(4));
    let objects = std::thread::scope(|scope| {
        // One thread has a slot since before, and looks at the heap while the successor has it.
        let looker = scope.spawn(|| {
            let mut objects = take(100);
            before.wait();
            std::thread::sleep(Duration::from_millis(20));
            frozen.wait();
            // The hand-over's freeze comes when the successor is ready: at some moment from here on.
            let mut refused = Vec::new();
            for _ in 0..2000 {
                match heap.check() {
                    Ok(()) => std::thread::sleep(Duration::from_millis(1)),
                    Err(error) => {
                        refused.push((error, hand_over(&heap)));
                        break;
                    }
                }
            }
            assert!(
                matches!(refused[..], [(Broken::HandOver, HandOverError::UnderWay)]),
                "while a successor has the heap: {refused:?}"
            );
            after.wait();
            objects.extend(take(2000));
            objects
        });
        let mut objects = take(100);
        before.wait();
        frozen.wait();
        let error = hand_over(&heap);
        assert!(matches!(error, HandOverError::Died { .. }), "{error}");
        // Threads that come now find the slots of those that are here taken.
        let late: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    after.wait();
                    take(2000)
                })
            })
            .collect();
        after.wait();
        objects.extend(take(2000));
        objects.extend(looker.join().unwrap());
        for late in late {
            objects.extend(late.join().unwrap());
        }
        objects
    });
    let different: HashSet<_> = objects.iter().collect();
    assert_eq!(different.len(), objects.len(), "objects were handed out twice");
    let scan = heap.scan().unwrap();
    assert_eq!((scan.live_objects, scan.stale_bytes), (objects.len() as u64, 0));
}
