//! Threads in one machine.
#![allow(unsafe_code, reason = "frees objects")]

mod common;

use std::ptr::NonNull;

use common::{Random, boot, hand_over, hardware};
use heirloom_mm::machine::AllocError;
use heirloom_mm::{Gfp, GuardOptions, Options};

/// Four threads allocate, fill, look and free, some of each other's; what is left is handed over.
#[test]
fn threads_share_a_machine() {
    let hardware = hardware();
    let guard = GuardOptions { nr_objects: 31, every: 7, interval_us: 0, quarantine: 8 };
    let machine = boot(&hardware, Options { guard, ..Options::default() });
    let left = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 1..=4u64 {
            let (machine, left) = (&machine, &left);
            scope.spawn(move || {
                let mut random = Random(thread * 0x1234_5678_9abc_def1);
                let mut mine: Vec<(u64, usize, Gfp)> = Vec::new();
                for _ in 0..3000 {
                    let mut gfp = [Gfp::empty(), Gfp::PRESERVE][random.below(2) as usize];
                    gfp.set(Gfp::ATOMIC, random.below(4) == 0);
                    let size = 1 + random.below(600) as usize;
                    match machine.alloc(size, gfp) {
                        Ok(object) => {
                            // SAFETY: ours.
                            unsafe { object.as_ptr().write_bytes(thread as u8, size) };
                            mine.push((machine.phys(object), size, gfp));
                        }
                        Err(error) => {
                            assert_eq!((error, gfp.contains(Gfp::ATOMIC)), (AllocError::WouldWait, true))
                        }
                    }
                    if mine.len() > 50 {
                        let (phys, size, _) = mine.swap_remove(random.below(50) as usize);
                        let at = machine.address(phys);
                        // SAFETY: ours.
                        let whole = unsafe { std::slice::from_raw_parts(at, size) }
                            .iter()
                            .all(|&b| b == thread as u8);
                        assert!(whole, "thread {thread}: {phys:#x}");
                        // SAFETY: nobody uses it any more.
                        unsafe { machine.free(NonNull::new(at).unwrap()) }.unwrap();
                    }
                }
                left.lock().unwrap().extend(mine);
            });
        }
    });
    machine.check().unwrap();
    assert_eq!(machine.nr_faults(), 0);
    let kept: Vec<u64> = left
        .into_inner()
        .unwrap()
        .into_iter()
        .filter(|(_, _, gfp)| gfp.contains(Gfp::PRESERVE))
        .map(|(phys, ..)| phys)
        .collect();
    hand_over(machine);
    let machine = boot(&hardware, Options::default());
    assert!(kept.iter().all(|&phys| machine.is_preserved_object(phys)));
    let frozen = machine.freeze().unwrap();
    assert_eq!(machine.preserve_tally(true).live_objects, kept.len() as u64);
    machine.thaw(frozen);
}
