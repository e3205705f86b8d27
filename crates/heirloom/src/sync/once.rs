//! `Once` and `OnceLock`: something that is done once in the life of a heap, over all its generations.
//!
//! ```text
//! 0  word    bits 0..2 NEW 0, RUNNING 1, DONE 2 | bit 2 POISONED | bits 3..32 generation of the runner, modulo 2^29
//!    ..      up to the alignment of the value
//!    value   live while the word says DONE
//! ```
//!
//! A runner that died with its generation, or panicked, has not done it: the next one runs again, and finds `POISONED`. What was done stays
//! done, whatever becomes of the generation that did it.

#![expect(unsafe_code, reason = "hands out a value once it is there")]

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    compiler_fence,
};

use super::{ONCE_FORMAT_VERSION, futex};
use crate::generation;
use crate::heritable::{Heritable, TypeDesc};

const STATE: u32 = 3;
const NEW: u32 = 0;
const RUNNING: u32 = 1;
const DONE: u32 = 2;
const POISONED: u32 = 4;
const GENERATION_SHIFT: u32 = 3;

/// Runs something once in the life of a heap.
///
/// ```
/// use heirloom::sync::Once;
///
/// let once = Once::new();
/// let mut runs = 0;
/// once.call_once(|| runs += 1);
/// once.call_once(|| runs += 1);
/// assert!(once.is_completed() && runs == 1);
/// ```
#[repr(C)]
pub struct Once {
    word: AtomicU32,
}

const _: () = assert!(size_of::<Once>() == 4 && align_of::<Once>() == 4);

// SAFETY: a word whose meaning is part of the format.
unsafe impl Heritable for Once {
    const TYPE: &'static TypeDesc =
        &TypeDesc::collection("Once", ONCE_FORMAT_VERSION, size_of::<Self>(), align_of::<Self>(), &[]);
}

impl Once {
    /// Creates one of which nothing was run.
    pub const fn new() -> Self {
        Self { word: AtomicU32::new(NEW) }
    }

    /// Runs `f` if nothing has been run to its end, and waits for another thread that is at it. Where that one panics, or died with its
    /// generation, `f` runs: see [`Once::is_poisoned`]. Called by `f` itself, it waits for ever.
    ///
    /// # Panics
    ///
    /// Where `f` does; the next call runs its own.
    #[inline]
    pub fn call_once(&self, f: impl FnOnce()) {
        if !self.is_completed() {
            self.run(f);
        }
    }

    /// True once something was run to its end, in this generation or an earlier one.
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.word.load(Acquire) & STATE == DONE
    }

    /// True where a runner panicked or was stopped with its process, and nothing has been run to its end since.
    pub fn is_poisoned(&self) -> bool {
        let word = self.word.load(Relaxed);
        word & STATE != DONE && (word & POISONED != 0 || self.is_abandoned(word))
    }

    #[cold]
    fn run(&self, f: impl FnOnce()) {
        /// Says how it ended, be it by a panic.
        struct Runner<'a> {
            word: &'a AtomicU32,
            end: u32,
        }
        impl Drop for Runner<'_> {
            fn drop(&mut self) {
                self.word.store(self.end, Release);
                futex::wake_all(self.word);
            }
        }
        let mut word = self.word.load(Acquire);
        loop {
            match word & STATE {
                DONE => return,
                RUNNING if !self.is_abandoned(word) => {
                    futex::wait(&self.word, word);
                    word = self.word.load(Acquire);
                }
                _ => {
                    let ours = generation::current() << GENERATION_SHIFT | RUNNING;
                    match self.word.compare_exchange(word, ours, Acquire, Acquire) {
                        Ok(_) => break,
                        Err(now) => word = now,
                    }
                }
            }
        }
        let mut runner = Runner { word: &self.word, end: NEW | POISONED };
        f();
        runner.end = DONE;
    }

    /// Returns whether an earlier generation left the word as its own; as for a mutex, what lies outside the heap is of this process.
    fn is_abandoned(&self, word: u32) -> bool {
        let holder = word >> GENERATION_SHIFT;
        word & STATE == RUNNING
            && holder != 0
            && holder != generation::current() << GENERATION_SHIFT >> GENERATION_SHIFT
            && generation::is_in_heap(&self.word)
    }
}

impl Default for Once {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("completed", &self.is_completed()).finish_non_exhaustive()
    }
}

/// A value that is made once in the life of a heap.
///
/// ```
/// use heirloom::sync::OnceLock;
///
/// let id = OnceLock::new();
/// assert_eq!(id.get(), None);
/// assert_eq!(*id.get_or_init(|| 7), 7);
/// assert_eq!(id.set(8), Err(8));
/// ```
///
/// # Invariants
///
/// While `once` is completed, the value is live and is not changed through a shared reference.
#[repr(C)]
pub struct OnceLock<T> {
    once: Once,
    value: UnsafeCell<MaybeUninit<T>>,
}

const _: () = assert!(size_of::<OnceLock<u64>>() == 16 && std::mem::offset_of!(OnceLock<u64>, value) == 8);
const _: () = assert!(size_of::<OnceLock<u8>>() == 8 && std::mem::offset_of!(OnceLock<u8>, value) == 4);

// SAFETY: it owns its value.
unsafe impl<T: Send> Send for OnceLock<T> {}
// SAFETY: sharing it hands a value in from any thread, and shows it to all.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

// SAFETY: the value lies in the lock, is live if the word says so, and is described by its own type.
unsafe impl<T: Heritable> Heritable for OnceLock<T> {
    const TYPE: &'static TypeDesc = &TypeDesc::collection(
        "OnceLock",
        ONCE_FORMAT_VERSION,
        size_of::<Self>(),
        align_of::<Self>(),
        &[T::TYPE],
    );
}

impl<T> OnceLock<T> {
    /// Creates one without a value.
    pub const fn new() -> Self {
        Self { once: Once::new(), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Returns the value, if it is there.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: by the type invariant.
        self.once.is_completed().then(|| unsafe { (*self.value.get()).assume_init_ref() })
    }

    /// Returns the value, which nobody else can reach.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: by the type invariant; the reference is the only one.
        self.once.is_completed().then(|| unsafe { self.value.get_mut().assume_init_mut() })
    }

    /// Returns the value, which `make` makes if it is not there. Where `make` panics, or its generation ended meanwhile, the next call
    /// makes it.
    ///
    /// # Panics
    ///
    /// Where `make` does.
    #[inline]
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        self.once.call_once(|| {
            let value = make();
            // SAFETY: only one thread runs this, and nobody looks at the value before it has.
            unsafe { (*self.value.get()).write(value) };
        });
        // SAFETY: it has been run.
        unsafe { (*self.value.get()).assume_init_ref() }
    }

    /// Puts a value in.
    ///
    /// # Errors
    ///
    /// The value, where one is there already.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        if let Some(taken) = value.take_if(|_| !self.once.is_completed()) {
            let mut taken = Some(taken);
            self.get_or_init(|| taken.take().unwrap_or_else(|| unreachable!("it is run once")));
            value = taken;
        }
        value.map_or(Ok(()), Err)
    }

    /// Takes the value out, and leaves none.
    pub fn take(&mut self) -> Option<T> {
        if !self.once.is_completed() {
            return None;
        }
        // Killed behind this, the value is a leak; before, it is there still. Volatile, for nobody but a successor looks at the word
        // between this and what becomes of the value.
        // SAFETY: it is a place of ours.
        unsafe { (&raw mut self.once).write_volatile(Once::new()) };
        compiler_fence(SeqCst);
        // SAFETY: it was there until now, and nobody takes it twice.
        Some(unsafe { self.value.get_mut().assume_init_read() })
    }

    /// Takes the value out.
    pub fn into_inner(mut self) -> Option<T> {
        self.take()
    }

    /// True where the making of the value was cut by a panic or by the end of a generation, and it was not made since.
    pub fn is_poisoned(&self) -> bool {
        self.once.is_poisoned()
    }
}

impl<T> Drop for OnceLock<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceLock").field(&self.get()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use super::*;
    use crate::generation::pretend;

    #[test]
    fn one_of_many_threads_makes_the_value() {
        let (made, lock) = (AtomicU64::new(0), OnceLock::new());
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let value = lock.get_or_init(|| {
                        thread::yield_now();
                        made.fetch_add(1, Relaxed) + 7
                    });
                    assert_eq!(*value, 7);
                });
            }
        });
        assert_eq!((made.load(Relaxed), lock.into_inner()), (1, Some(7)));
    }

    #[test]
    fn what_a_dead_generation_did_stays_done_and_what_it_began_does_not() {
        pretend(1);
        let (done, begun) = (OnceLock::new(), Once::new());
        done.set(std::string::String::from("made by the first")).unwrap();
        begun.word.store(1 << GENERATION_SHIFT | RUNNING, Relaxed);
        assert!(!begun.is_poisoned());
        pretend(2);
        assert_eq!(done.get().unwrap(), "made by the first");
        assert!(begun.is_poisoned() && !begun.is_completed());
        let mut ran = false;
        begun.call_once(|| ran = true);
        assert!(ran && begun.is_completed() && !begun.is_poisoned());
        assert_eq!(begun.word.load(Relaxed), DONE);
    }

    #[test]
    fn a_panic_leaves_it_to_the_next() {
        let lock: OnceLock<u64> = OnceLock::new();
        let blown = catch_unwind(AssertUnwindSafe(|| lock.get_or_init(|| panic!("bang")).to_owned()));
        assert!(blown.is_err() && lock.is_poisoned() && lock.get().is_none());
        assert_eq!(*lock.get_or_init(|| 3), 3);
        assert!(!lock.is_poisoned());
    }

    #[test]
    fn a_value_is_set_once_and_dropped_once() {
        let value = std::rc::Rc::new(5);
        let mut lock = OnceLock::new();
        lock.set(value.clone()).unwrap();
        assert!(lock.set(value.clone()).is_err());
        assert_eq!(std::rc::Rc::strong_count(&value), 2);
        assert_eq!(lock.take().as_deref(), Some(&5));
        assert!(lock.get_mut().is_none() && lock.set(value.clone()).is_ok());
        drop(lock);
        assert_eq!(std::rc::Rc::strong_count(&value), 1);
    }
}
