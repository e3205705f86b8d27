//! A clock: the time stamp counter, measured against the timer that every PC has had since 1981.
//!
//! ```text
//! PIT channel 2, 1.193182 MHz, counts down once; its output is bit 5 of port 0x61
//!   start |--------- 10 ms ---------| output rises
//!   tsc a                            tsc b          ticks of the counter in a second = (b - a) * 100
//! ```
#![expect(unsafe_code, reason = "input and output ports, and the time stamp counter")]

use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::instructions::port::Port;

/// The frequency of the timer.
const PIT_HZ: u64 = 1_193_182;

/// How long the counter is watched.
const CALIBRATION_MS: u64 = 10;

/// How often the timer is asked, at most: a machine without one gets a clock that is wrong, and goes on.
const MAX_POLLS: u32 = 50_000_000;

static START: AtomicU64 = AtomicU64::new(0);
static TICKS_PER_MS: AtomicU64 = AtomicU64::new(1);

/// Starts the clock and calibrates it, which takes 10 ms.
pub(crate) fn init() {
    START.store(ticks(), Ordering::Relaxed);
    TICKS_PER_MS.store((measure() / CALIBRATION_MS).max(1), Ordering::Relaxed);
}

/// Returns the nanoseconds since this generation started.
pub(crate) fn now_ns() -> u64 {
    let ticks = ticks().wrapping_sub(START.load(Ordering::Relaxed));
    let per_ms = TICKS_PER_MS.load(Ordering::Relaxed);
    (u128::from(ticks) * 1_000_000 / u128::from(per_ms)) as u64
}

fn measure() -> u64 {
    let count = (PIT_HZ * CALIBRATION_MS / 1000) as u16;
    let mut gate = Port::<u8>::new(0x61);
    let (mut command, mut channel) = (Port::<u8>::new(0x43), Port::<u8>::new(0x42));
    // SAFETY: these are the registers of the timer and of the speaker's gate; neither has an effect on memory.
    unsafe {
        // Gate open, speaker off; channel 2, both bytes of the count, mode 0: the output rises when the count ends.
        let before = gate.read();
        gate.write((before & !0x02) | 0x01);
        command.write(0xb0);
        channel.write(count as u8);
        channel.write((count >> 8) as u8);
        let start = ticks();
        for _ in 0..MAX_POLLS {
            if gate.read() & 0x20 != 0 {
                break;
            }
        }
        ticks() - start
    }
}

fn ticks() -> u64 {
    // SAFETY: every processor with long mode has the counter, and nothing has forbidden it to us.
    unsafe { core::arch::x86_64::_rdtsc() }
}
