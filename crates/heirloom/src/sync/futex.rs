//! Sleeping on a word, and waking who sleeps there.

use std::sync::atomic::AtomicU32;

use rustix::thread::futex::{self, Flags};

/// Sleeps if the word still has this value, until somebody wakes it; may also return early, for no reason.
pub(super) fn wait(word: &AtomicU32, value: u32) {
    // Every error means that the caller should look at the word again: it has changed, or a signal came.
    let _looked_at_again = futex::wait(word, Flags::PRIVATE, value, None);
}

/// Wakes one thread that sleeps on the word.
pub(super) fn wake_one(word: &AtomicU32) {
    let _nobody_can_fail = futex::wake(word, Flags::PRIVATE, 1);
}

/// Wakes all threads that sleep on the word.
pub(super) fn wake_all(word: &AtomicU32) {
    let _nobody_can_fail = futex::wake(word, Flags::PRIVATE, i32::MAX.cast_unsigned());
}

/// Asks a few times whether the lock is free, before it is worth sleeping.
#[inline]
pub(super) fn spin(mut is_free: impl FnMut() -> bool) -> bool {
    const ROUNDS: u32 = 100;
    for _ in 0..ROUNDS {
        if is_free() {
            return true;
        }
        std::hint::spin_loop();
    }
    false
}
