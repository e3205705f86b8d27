//! One lock for the machine.
//!
//! A lock for each room would let CPUs work side by side; what this machine is for is what it hands over, and one lock makes each
//! operation a step that the handover sees whole.
#![expect(unsafe_code, reason = "the lock is what makes the cells behind it shareable")]

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::Machine;
use crate::platform::Platform;

// SAFETY: every cell of the machine and of its ground is used only while the lock is taken (`enter`, `try_enter`); what is read
// without it (the guard pool, the scratch areas, addresses) is atomic or never changes. The platform is `Sync` by its trait.
unsafe impl<P: Platform> Sync for Machine<'_, P> {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl<P: Platform> Send for Machine<'_, P> {}

/// The lock, held.
pub(super) struct Guard<'a, 'm, P: Platform>(&'a Machine<'m, P>);

impl<'m, P: Platform> Machine<'m, P> {
    /// Waits for the lock.
    pub(super) fn enter(&self) -> Guard<'_, 'm, P> {
        loop {
            if let Some(guard) = self.try_enter() {
                return guard;
            }
            while self.lock.load(Relaxed) != 0 {
                self.ground.platform.pause();
            }
        }
    }

    /// Takes the lock if nobody has it.
    pub(super) fn try_enter(&self) -> Option<Guard<'_, 'm, P>> {
        self.lock.compare_exchange(0, 1, Acquire, Relaxed).ok().map(|_| Guard(self))
    }
}

impl<P: Platform> Drop for Guard<'_, '_, P> {
    fn drop(&mut self) {
        self.0.lock.store(0, Release);
    }
}
