//! How pointers are counted: with plain loads and stores, or atomically.
//!
//! Both counts are halves of one word. A count never comes near the end of its half: at 2^31 the program is stopped, as std's is.

use std::sync::atomic::{AtomicU64, Ordering::*, fence};

/// One weak pointer.
pub(super) const ONE_WEAK: u64 = 1 << 32;

/// The highest bit of each half.
const TOO_MANY: u64 = 1 << 31 | 1 << 63;

/// Returns the strong count.
pub(super) fn strong(counts: u64) -> usize {
    counts as u32 as usize
}

/// Returns the weak count, without the one that all strong pointers have together.
pub(super) fn weak(counts: u64) -> usize {
    (counts >> 32) as usize - usize::from(counts as u32 != 0)
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Local {}
    impl Sealed for super::Atomic {}
}

/// A way to count; there are [`Local`] and [`Atomic`].
pub trait Count: sealed::Sealed + 'static {
    /// The name of a strong pointer in type descriptions.
    const STRONG: &'static str;
    /// The name of a weak one.
    const WEAK: &'static str;

    /// Counts up.
    #[doc(hidden)]
    fn add(counts: &AtomicU64, count: u64);

    /// Counts down; says whether that half is 0 now. Then all that others did before they counted down is seen.
    #[doc(hidden)]
    fn subtract(counts: &AtomicU64, count: u64) -> bool;

    /// Counts a strong pointer, unless there is none.
    #[doc(hidden)]
    fn upgrade(counts: &AtomicU64) -> bool;

    /// Makes a strong count of 1 to 0; says whether it was 1.
    #[doc(hidden)]
    fn give_up_last(counts: &AtomicU64) -> bool;
}

/// Counts for one thread.
#[derive(Debug)]
pub enum Local {}

/// Counts for many threads.
#[derive(Debug)]
pub enum Atomic {}

impl Count for Local {
    const STRONG: &'static str = "Rc";
    const WEAK: &'static str = "RcWeak";

    #[inline(always)]
    fn add(counts: &AtomicU64, count: u64) {
        let after = counts.load(Relaxed) + count;
        admit(after);
        counts.store(after, Relaxed);
    }

    #[inline(always)]
    fn subtract(counts: &AtomicU64, count: u64) -> bool {
        let after = counts.load(Relaxed) - count;
        counts.store(after, Relaxed);
        is_zero(after, count)
    }

    fn upgrade(counts: &AtomicU64) -> bool {
        let is_alive = strong(counts.load(Relaxed)) != 0;
        if is_alive {
            Self::add(counts, 1);
        }
        is_alive
    }

    fn give_up_last(counts: &AtomicU64) -> bool {
        let is_last = strong(counts.load(Relaxed)) == 1;
        if is_last {
            counts.store(counts.load(Relaxed) - 1, Relaxed);
        }
        is_last
    }
}

impl Count for Atomic {
    const STRONG: &'static str = "Arc";
    const WEAK: &'static str = "ArcWeak";

    #[inline(always)]
    fn add(counts: &AtomicU64, count: u64) {
        // Who counts up has a pointer already, so nothing is to be seen or shown.
        admit(counts.fetch_add(count, Relaxed) + count);
    }

    #[inline(always)]
    fn subtract(counts: &AtomicU64, count: u64) -> bool {
        let is_zero = is_zero(counts.fetch_sub(count, Release) - count, count);
        if is_zero {
            fence(Acquire);
        }
        is_zero
    }

    fn upgrade(counts: &AtomicU64) -> bool {
        let one_more = |counts| (strong(counts) != 0).then_some(counts + 1);
        match counts.fetch_update(Acquire, Relaxed, one_more) {
            Ok(before) => {
                admit(before + 1);
                true
            }
            Err(_) => false,
        }
    }

    fn give_up_last(counts: &AtomicU64) -> bool {
        counts.fetch_update(AcqRel, Relaxed, |counts| (strong(counts) == 1).then_some(counts - 1)).is_ok()
    }
}

/// Whether the half in which `count` is one is 0.
#[inline(always)]
fn is_zero(counts: u64, count: u64) -> bool {
    if count == 1 { counts as u32 == 0 } else { counts < ONE_WEAK }
}

/// Stops the program before a count gets into the other half, or around.
#[inline(always)]
fn admit(counts: u64) {
    if counts & TOO_MANY != 0 {
        // Unwinding would drop pointers, and there is nothing to be saved: who leaks two thousand million of them has lost count.
        std::process::abort();
    }
}
