//! The number of the generation that runs, as the collections see it, and where its heap lies.
//!
//! Maps and locks keep the generation that last touched them; a difference sends them down the slow path once. A process may open
//! one heap after another, or the same again: a generation is the heap's then, and what lies outside of it is the process's own
//! whatever number it holds.

use std::sync::atomic::{
    AtomicU32, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

/// A value that no generation has.
pub(crate) const NEVER: u32 = u32::MAX;

static CURRENT: AtomicU32 = AtomicU32::new(0);

/// The addresses of the heap that was opened last: the first one, and how many.
static HEAP: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// Returns the generation of this process; zero before a heap is open.
#[inline(always)]
pub(crate) fn current() -> u32 {
    #[cfg(test)]
    if let Some(generation) = in_tests::PRETENDED.get() {
        return generation;
    }
    CURRENT.load(Relaxed)
}

/// Sets the generation of this process, and where its heap lies, once that is open.
pub(crate) fn set(generation: u32, heap: std::ops::Range<usize>) {
    assert_ne!(generation, NEVER, "the last generation is reserved");
    // Nowhere, between the two: a thread may be asking about a lock of its own.
    HEAP[1].store(0, SeqCst);
    HEAP[0].store(heap.start, SeqCst);
    HEAP[1].store(heap.len(), SeqCst);
    CURRENT.store(generation, Relaxed);
}

/// True where a generation before this one may have left something: what lies anywhere else is this process's.
///
/// Whoever reaches a place in the heap has come by its address after the heap was opened, so behind these stores.
pub(crate) fn is_in_heap<T>(place: &T) -> bool {
    #[cfg(test)]
    if in_tests::PRETENDED.get().is_some() {
        return true;
    }
    std::ptr::from_ref(place).addr().wrapping_sub(HEAP[0].load(SeqCst)) < HEAP[1].load(SeqCst)
}

#[cfg(test)]
pub(crate) use in_tests::pretend;

#[cfg(test)]
mod in_tests {
    use std::cell::Cell;

    thread_local! {
        pub(super) static PRETENDED: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// Lets this thread alone believe that it runs in `generation`, so that tests do not disturb one another, and that all it has
    /// lies in a heap.
    pub(crate) fn pretend(generation: u32) {
        PRETENDED.set(Some(generation));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_thread_starts_in_the_generation_of_its_process() {
        super::set(0, 0x1000..0x2000);
        super::pretend(7);
        assert_eq!(super::current(), 7);
        assert_eq!(std::thread::spawn(super::current).join().unwrap(), 0);
        assert!(!std::thread::spawn(|| super::is_in_heap(&7)).join().unwrap());
    }
}
