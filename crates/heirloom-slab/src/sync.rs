//! Atomics, or loom's models of them.
//!
//! `Relaxed` loads and stores are the plain ones: a word that only its owner edits is still an atomic, because a
//! successor, a stealing CPU under the lock, or a tool may read it.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Waits a moment for a lock to be released.
#[inline]
pub(crate) fn relax() {
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}

/// Takes a lock word: 0 is free.
#[inline]
pub(crate) fn try_lock(word: &AtomicU32) -> bool {
    word.load(Ordering::Relaxed) == 0 && word.swap(1, Ordering::Acquire) == 0
}

/// Takes a lock word, spinning; `pause` is called after a while, so that a host with threads can yield.
#[inline]
pub(crate) fn lock(word: &AtomicU32, pause: impl Fn()) {
    let mut spins = 0u32;
    while !try_lock(word) {
        spins += 1;
        if spins.is_multiple_of(64) { pause() } else { relax() }
    }
}
