//! A page that one thread closes while another, as a fault's handler does, opens it.

use std::sync::atomic::{AtomicU32, Ordering::*};

use heirloom_mm::Platform;
use heirloom_mm::hosted::{Hardware, small_map};

const ROUNDS: u32 = 20_000;

/// Whatever the order of their steps was: who opens the page afterwards finds it open.
#[test]
fn an_opened_page_is_open_whoever_closed_it() {
    let hardware = Hardware::new(small_map()).unwrap();
    let page = small_map()[0].range.end - 4096;
    // Rounds begun, rounds done by the other thread: they spin, to meet as closely as they can.
    let (begun, done) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                while begun.load(Acquire) < round {
                    std::hint::spin_loop();
                }
                hardware.guard(page);
                done.store(round, Release);
            }
        });
        for round in 1..=ROUNDS {
            begun.store(round, Release);
            for _ in 0..round % 64 {
                std::hint::spin_loop();
            }
            hardware.unguard(page);
            while done.load(Acquire) < round {
                std::hint::spin_loop();
            }
            hardware.unguard(page);
            hardware.load(page);
        }
    });
}
