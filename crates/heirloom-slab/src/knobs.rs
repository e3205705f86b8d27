//! Test-only knobs: a crash test widens each multi-step window so that a kill lands there often, and swaps one
//! order to see that the test would notice. Without the feature `knobs` all of this is nothing.

/// Stands in each window between two steps that a kill may cut apart.
#[inline(always)]
pub(crate) fn window() {
    crate::sync::commit();
    #[cfg(feature = "knobs")]
    imp::window();
}

/// True where a test asked for the order that loses objects (see [`crate::slab`], the trap).
#[inline(always)]
pub(crate) fn wrong_order() -> bool {
    #[cfg(feature = "knobs")]
    return imp::wrong_order();
    #[cfg(not(feature = "knobs"))]
    false
}

#[cfg(feature = "knobs")]
pub use imp::{set_window, set_wrong_order};

#[cfg(feature = "knobs")]
mod imp {
    use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    static SPINS: AtomicU32 = AtomicU32::new(0);
    static WRONG: AtomicBool = AtomicBool::new(false);

    /// Spins this often in every window.
    pub fn set_window(spins: u32) {
        SPINS.store(spins, Ordering::Relaxed);
    }

    /// Ignores the `publishing` count, as the first design did.
    pub fn set_wrong_order(wrong: bool) {
        WRONG.store(wrong, Ordering::Relaxed);
    }

    pub(crate) fn window() {
        for _ in 0..SPINS.load(Ordering::Relaxed) {
            core::hint::spin_loop();
        }
    }

    pub(crate) fn wrong_order() -> bool {
        WRONG.load(Ordering::Relaxed)
    }
}
