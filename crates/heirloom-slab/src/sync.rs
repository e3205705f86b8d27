//! Atomics, or loom's models of them.
//!
//! `Relaxed` loads and stores are the plain ones: a word that only its owner edits is still an atomic, because a
//! successor, a stealing CPU under the lock, or a tool may read it.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Keeps the compiler from moving memory accesses across this point, in either direction.
///
/// A kill leaves each CPU at a prefix of its program order, so this is all that a commit needs. `Release` alone is not enough:
/// it lets what comes later, such as the caller's first write to its new object, move up before it.
#[inline(always)]
pub(crate) fn commit() {
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
}

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
        if spins % 64 == 0 { pause() } else { relax() }
    }
}
