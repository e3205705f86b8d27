//! The number of the generation that runs, as the collections see it.
//!
//! Maps and locks keep the generation that last touched them; a difference sends them down the slow path once.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A value that no generation has.
pub(crate) const NEVER: u32 = u32::MAX;

static CURRENT: AtomicU32 = AtomicU32::new(0);

/// Returns the generation of this process; zero before a heap is open.
#[inline(always)]
pub(crate) fn current() -> u32 {
    #[cfg(test)]
    if let Some(generation) = in_tests::PRETENDED.get() {
        return generation;
    }
    CURRENT.load(Relaxed)
}

/// Sets the generation of this process, once its heap is open.
pub(crate) fn set(generation: u32) {
    assert_ne!(generation, NEVER, "the last generation is reserved");
    CURRENT.store(generation, Relaxed);
}

#[cfg(test)]
pub(crate) use in_tests::pretend;

#[cfg(test)]
mod in_tests {
    use std::cell::Cell;

    thread_local! {
        pub(super) static PRETENDED: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// Lets this thread alone believe that it runs in `generation`, so that tests do not disturb one another.
    pub(crate) fn pretend(generation: u32) {
        PRETENDED.set(Some(generation));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_thread_starts_in_the_generation_of_its_process() {
        super::set(0);
        super::pretend(7);
        assert_eq!(super::current(), 7);
        assert_eq!(std::thread::spawn(super::current).join().unwrap(), 0);
    }
}
