//! What one hand-over took, as the successor tells it, and the clock and the memory that it is told by.
//!
//! ```text
//! predecessor  ..answer..answer|--- freeze ---|
//! successor                                   |-- start --|-- open --|-- find --|answer|------ read all ------|
//!                     blackout |--------------------------------------------------|
//!                                  first read |-----------------------------------|
//! ```

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The figures of one hand-over. Times in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// From the beginning of the predecessor's last work to its end: the heap frozen, the snapshot written, the server gone.
    pub(crate) freeze_us: f64,
    /// From the predecessor's last answer to the successor's first.
    pub(crate) blackout_us: f64,
    /// From the end of the freeze to the successor's first answer.
    pub(crate) first_read_us: f64,
    /// From the first answer until every object has been read, page faults included.
    pub(crate) read_all_us: f64,
    /// From the end of the freeze until the successor runs its first instruction of its own; 0 where it ran before.
    pub(crate) start_us: f64,
    /// From there until it has what it was handed.
    pub(crate) open_us: f64,
    /// The most memory that was held at a time by all processes, what they share counted once; page tables included.
    pub(crate) peak_bytes: u64,
    /// The process that tells.
    pub(crate) pid: u32,
}

/// Returns `CLOCK_MONOTONIC` in nanoseconds: one clock for all processes.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Both parts are never negative for this clock.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Microseconds from one moment to a later one; 0 where it is not later.
pub(crate) fn us_between(from_ns: u64, to_ns: u64) -> f64 {
    Duration::from_nanos(to_ns.saturating_sub(from_ns)).as_secs_f64() * 1e6
}

/// Returns what a process, by its number or `self`, holds for itself, at the moment: anonymous memory and page tables, in bytes. 0
/// where there is none.
pub(crate) fn private_bytes(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    (kib("RssAnon") + kib("VmPTE")) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_memory_is_counted() {
        const BYTES: u64 = 64 << 20;
        let before = private_bytes("self");
        let memory = std::hint::black_box(vec![1u8; BYTES as usize]);
        let with = private_bytes("self");
        drop(memory);
        assert!(with >= before + BYTES && private_bytes("self") < with, "{before} {with}");
        assert_eq!(private_bytes("no such process"), 0);
    }

    #[test]
    fn a_moment_that_is_not_later_is_no_time_at_all() {
        assert_eq!((us_between(1_000, 3_500), us_between(5, 4)), (2.5, 0.0));
    }
}
