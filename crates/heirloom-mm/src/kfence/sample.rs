//! When the guard pool serves an allocation: each so many, each so often, or not at all.

use core::sync::atomic::{AtomicU64, Ordering::*};

use crate::boot_info::GuardOptions;

/// Decides which allocations are sampled.
pub(super) struct Sampler {
    every: u64,
    interval_ns: u64,
    nr_asked: AtomicU64,
    next_ns: AtomicU64,
    /// State of the numbers that choose the side of an object.
    random: AtomicU64,
}

impl Sampler {
    pub(super) const fn new(options: &GuardOptions) -> Self {
        Self {
            every: options.every as u64,
            interval_ns: options.interval_us.saturating_mul(1000),
            nr_asked: AtomicU64::new(0),
            next_ns: AtomicU64::new(0),
            random: AtomicU64::new(0x9e37_79b9_7f4a_7c15),
        }
    }

    /// Whether this allocation is to be sampled. `now_ns` is asked only where an interval was set.
    pub(super) fn wants(&self, now_ns: impl FnOnce() -> u64) -> bool {
        if self.every != 0 {
            let nr = self.nr_asked.fetch_add(1, Relaxed) + 1;
            if nr % self.every == 0 {
                return true;
            }
        }
        if self.interval_ns != 0 {
            let (now, next) = (now_ns(), self.next_ns.load(Relaxed));
            if now >= next {
                // The first interval starts with the first question.
                self.next_ns.store(now.saturating_add(self.interval_ns), Relaxed);
                return next != 0;
            }
        }
        false
    }

    /// A coin: which side of its page an object goes to.
    pub(super) fn coin(&self) -> bool {
        let mut state = self.random.load(Relaxed);
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.random.store(state, Relaxed);
        state >> 40 & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn sampler(every: u32, interval_us: u64) -> Sampler {
        Sampler::new(&GuardOptions { nr_objects: 1, every, interval_us, quarantine: 0 })
    }

    #[test]
    fn every_third_is_sampled() {
        let sampler = sampler(3, 0);
        let sampled: Vec<bool> = (0..9).map(|_| sampler.wants(|| 0)).collect();
        assert_eq!(sampled, [false, false, true, false, false, true, false, false, true]);
    }

    #[test]
    fn one_in_each_interval_is_sampled() {
        let sampler = sampler(0, 100);
        let times = [5_000, 50_000, 104_999, 105_000, 105_001, 204_999, 400_000, 400_001];
        let sampled: Vec<bool> = times.map(|now| sampler.wants(|| now)).to_vec();
        assert_eq!(sampled, [false, false, false, true, false, false, true, false]);
    }

    #[test]
    fn a_pool_that_is_asked_by_neither_samples_nothing() {
        let sampler = sampler(0, 0);
        assert!((0..1000).all(|now| !sampler.wants(|| now << 40)));
    }
}
