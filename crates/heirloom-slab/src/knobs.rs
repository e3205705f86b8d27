//! Test-only knobs: a crash test widens each multi-step window so that a kill lands there often, stops between any two
//! stores, and swaps one order to see that the test would notice. Without the feature `knobs` all of this is nothing.

/// Stands in each window between two steps that a kill may cut apart, and keeps them in order.
#[inline(always)]
pub(crate) fn window() {
    crate::sync::commit();
    #[cfg(feature = "knobs")]
    imp::window();
}

/// Called after each change of an atomic.
#[cfg(all(feature = "knobs", not(loom)))]
#[inline(always)]
pub(crate) fn step() {
    imp::step();
}

/// A step of a caller's own, between two stores that a kill may cut apart.
#[inline(always)]
pub fn caller_step() {
    crate::sync::commit();
    #[cfg(feature = "knobs")]
    imp::step();
}

/// True where a test asked for the order that loses objects (see [`crate::slab`], the trap).
#[inline(always)]
pub(crate) fn wrong_order() -> bool {
    #[cfg(loom)]
    return crate::models::is_order_wrong();
    #[cfg(all(feature = "knobs", not(loom)))]
    return imp::wrong_order();
    #[cfg(not(any(feature = "knobs", loom)))]
    false
}

#[cfg(feature = "knobs")]
pub use imp::{clear_hook, set_hook, set_window, set_wrong_order};

#[cfg(feature = "knobs")]
mod imp {
    use core::cell::{Cell, RefCell};
    use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::boxed::Box;

    static SPINS: AtomicU32 = AtomicU32::new(0);
    static WRONG: AtomicBool = AtomicBool::new(false);

    std::thread_local! {
        static IS_HOOKED: Cell<bool> = const { Cell::new(false) };
        static HOOK: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
    }

    /// Spins this often in every window.
    pub fn set_window(spins: u32) {
        SPINS.store(spins, Ordering::Relaxed);
    }

    /// Ignores the `publishing` count, as the first design did.
    pub fn set_wrong_order(wrong: bool) {
        WRONG.store(wrong, Ordering::Relaxed);
    }

    /// Calls `hook` after each change that this thread makes to an atomic, and in each window. While it runs it is not called,
    /// and may set another one for what it does itself.
    pub fn set_hook(hook: impl FnMut() + 'static) {
        HOOK.set(Some(Box::new(hook)));
        IS_HOOKED.set(true);
    }

    /// Takes this thread's hook back.
    pub fn clear_hook() {
        IS_HOOKED.set(false);
        HOOK.set(None);
    }

    pub(crate) fn window() {
        for _ in 0..SPINS.load(Ordering::Relaxed) {
            core::hint::spin_loop();
        }
        step();
    }

    #[inline(always)]
    pub(crate) fn step() {
        if IS_HOOKED.get() {
            call_hook();
        }
    }

    #[cold]
    fn call_hook() {
        IS_HOOKED.set(false);
        let Some(mut hook) = HOOK.take() else { return };
        hook();
        HOOK.set(Some(hook));
        IS_HOOKED.set(true);
    }

    pub(crate) fn wrong_order() -> bool {
        WRONG.load(Ordering::Relaxed)
    }
}
