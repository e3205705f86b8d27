//! The clock, the fence that all threads pass, and chance.

use std::io;

use rustix::thread::MembarrierCommand;

/// The time on `CLOCK_MONOTONIC`, which all processes of one boot share.
pub(crate) fn clock_monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// Registers this process for [`membarrier`]; false where the system has none.
pub(crate) fn register_membarrier() -> bool {
    rustix::thread::membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
}

/// Makes every thread of this process that runs now pass a full memory fence.
///
/// # Panics
///
/// Without a successful [`register_membarrier`] before.
pub(crate) fn membarrier() {
    rustix::thread::membarrier(MembarrierCommand::PrivateExpedited).expect("membarrier is registered");
}

pub(crate) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut done = 0;
    while done < N {
        done += rustix::rand::getrandom(&mut bytes[done..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}
