//! Atomics, or loom's models of them.
//!
//! `Relaxed` loads and stores are the plain ones: a word that only its owner edits is still an atomic, because a
//! successor, a stealing CPU under the lock, or a tool may read it.

#[cfg(not(any(loom, feature = "knobs")))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64};

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::Ordering;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(all(feature = "knobs", not(loom)))]
pub(crate) use stepped::{AtomicU32, AtomicU64};

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
    // The load keeps the line shared while others wait. In a model it would see the old value for ever.
    (cfg!(loom) || word.load(Ordering::Relaxed) == 0)
        && word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
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

/// Atomics that tell a test of each change they made, so that it can cut the program there.
#[cfg(all(feature = "knobs", not(loom)))]
#[expect(dead_code, reason = "not each width needs each change")]
mod stepped {
    use core::sync::atomic::{self, Ordering};

    use crate::knobs::step;

    macro_rules! changed {
        ($($method:ident)*, $value:ty) => {$(
            pub(crate) fn $method(&self, value: $value, order: Ordering) -> $value {
                let old = self.0.$method(value, order);
                step();
                old
            }
        )*};
    }

    macro_rules! stepped {
        ($name:ident, $value:ty) => {
            #[repr(transparent)]
            pub(crate) struct $name(atomic::$name);

            impl $name {
                pub(crate) const fn new(value: $value) -> Self {
                    Self(atomic::$name::new(value))
                }

                #[inline(always)]
                pub(crate) fn load(&self, order: Ordering) -> $value {
                    self.0.load(order)
                }

                #[inline(always)]
                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    self.0.store(value, order);
                    step();
                }

                pub(crate) fn compare_exchange(
                    &self,
                    old: $value,
                    new: $value,
                    order: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    let result = self.0.compare_exchange(old, new, order, failure);
                    step();
                    result
                }

                pub(crate) fn compare_exchange_weak(
                    &self,
                    old: $value,
                    new: $value,
                    order: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    let result = self.0.compare_exchange_weak(old, new, order, failure);
                    step();
                    result
                }

                changed!(swap fetch_add fetch_sub fetch_or fetch_and fetch_min, $value);
            }
        };
    }
    stepped!(AtomicU32, u32);
    stepped!(AtomicU64, u64);
}
