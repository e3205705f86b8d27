//! `Mutex`: one thread at a time.
//!
//! ```text
//! 0  word    bit 0 LOCKED | bit 1 CONTENDED | bit 2 POISONED | bits 3..32 generation of the holder, modulo 2^29
//!    ..      up to the alignment of the value
//!    value
//! ```
//!
//! A free word holds at most `POISONED`. `CONTENDED` says that a thread may sleep on the word.

#![expect(unsafe_code, reason = "hands out the value to the one who holds the lock")]

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use std::thread;

use super::{Left, MUTEX_FORMAT_VERSION, futex};
use crate::generation;
use crate::heritable::{Heritable, TypeDesc};

const LOCKED: u32 = 1;
const CONTENDED: u32 = 2;
const POISONED: u32 = 4;
const GENERATION_SHIFT: u32 = 3;

/// Guards a value: one thread at a time, in one generation at a time.
///
/// # Invariants
///
/// While the word is `LOCKED` by this generation, only the guard that locked it touches the value.
#[repr(C)]
pub struct Mutex<T> {
    word: AtomicU32,
    value: UnsafeCell<T>,
}

const _: () = assert!(size_of::<Mutex<u64>>() == 16 && std::mem::offset_of!(Mutex<u64>, value) == 8);
const _: () = assert!(size_of::<Mutex<u8>>() == 8 && std::mem::offset_of!(Mutex<u8>, value) == 4);

// SAFETY: the mutex owns its value.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: sharing the mutex hands the value from thread to thread, one at a time.
unsafe impl<T: Send> Sync for Mutex<T> {}

// SAFETY: the value lies in the lock and is described by its own type; whoever held the lock is gone in the next generation.
unsafe impl<T: Heritable> Heritable for Mutex<T> {
    const TYPE: &'static TypeDesc = &TypeDesc::collection(
        "Mutex",
        MUTEX_FORMAT_VERSION,
        size_of::<Self>(),
        align_of::<Self>(),
        &[T::TYPE],
    );
}

impl<T> Mutex<T> {
    /// Creates a free mutex.
    #[inline]
    pub const fn new(value: T) -> Self {
        Self { word: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    /// Waits until the mutex is free and locks it.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if self.word.compare_exchange(0, held(), Acquire, Relaxed).is_err() {
            self.lock_slowly();
        }
        MutexGuard::new(self)
    }

    /// Locks the mutex if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let mut word = self.word.load(Relaxed);
        while let Some(taken) = self.take_over(word) {
            match self.word.compare_exchange_weak(word, taken, Acquire, Relaxed) {
                Ok(_) => return Some(MutexGuard::new(self)),
                Err(now) => word = now,
            }
        }
        None
    }

    /// Returns whether a holder panicked, or was stopped with its process.
    pub fn is_poisoned(&self) -> bool {
        let word = self.word.load(Relaxed);
        word & POISONED != 0 || self.is_abandoned(word)
    }

    /// Declares that the value has been looked after.
    pub fn clear_poison(&self) {
        let mend = |word: u32| Some(if self.is_abandoned(word) { 0 } else { word & !POISONED });
        let _always_mended = self.word.fetch_update(Relaxed, Relaxed, mend);
    }

    /// Returns the value, which nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }

    #[cold]
    fn lock_slowly(&self) {
        futex::spin(|| self.take_over(self.word.load(Relaxed)).is_some());
        // Whoever has slept must assume that others still do.
        let mut contended = 0;
        let mut word = self.word.load(Relaxed);
        loop {
            let next = match self.take_over(word) {
                Some(taken) => taken | contended,
                None => word | CONTENDED,
            };
            if next != word
                && let Err(now) = self.word.compare_exchange_weak(word, next, Acquire, Relaxed)
            {
                word = now;
                continue;
            }
            if self.take_over(word).is_some() {
                return;
            }
            futex::wait(&self.word, next);
            contended = CONTENDED;
            word = self.word.load(Relaxed);
        }
    }

    /// Returns the word by which this generation takes the mutex, if it is free.
    #[inline]
    fn take_over(&self, word: u32) -> Option<u32> {
        if self.is_abandoned(word) {
            // Those who waited for the holder are as dead as it is.
            return Some(held() | POISONED);
        }
        (word & LOCKED == 0).then(|| held() | word)
    }

    /// Returns whether an earlier generation left the mutex locked.
    ///
    /// Whoever locked it before this process had this heap is of this process, so the mutex is not in the heap, and still held.
    #[inline]
    fn is_abandoned(&self, word: u32) -> bool {
        let holder = word & !(CONTENDED | POISONED);
        holder & LOCKED != 0
            && holder != held()
            && holder >> GENERATION_SHIFT != 0
            && generation::is_in_heap(&self.word)
    }

    #[inline]
    fn unlock(&self) {
        if self.word.compare_exchange(held(), 0, Release, Relaxed).is_err() {
            self.unlock_slowly();
        }
    }

    #[cold]
    fn unlock_slowly(&self) {
        if self.word.fetch_and(POISONED, Release) & CONTENDED != 0 {
            futex::wake_one(&self.word);
        }
    }
}

/// Returns the word of a mutex that this generation holds.
#[inline]
fn held() -> u32 {
    generation::current() << GENERATION_SHIFT | LOCKED
}

/// Reads what a mutex's holder has left, from its first four bytes.
pub(super) fn left_in(word: u32) -> Left {
    if word & LOCKED != 0 {
        Left::BeingChanged { generation: word >> GENERATION_SHIFT }
    } else if word & POISONED != 0 {
        Left::Poisoned
    } else {
        Left::Free
    }
}

/// Access to the value of a [`Mutex`]; lets go when it is dropped.
///
/// # Invariants
///
/// This generation holds the mutex, on behalf of this guard.
#[must_use = "the mutex is let go at once"]
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    panicking: bool,
    /// A thread lets go of what it locked itself, as in std.
    stays: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out nothing but `&T`.
unsafe impl<T: Sync> Sync for MutexGuard<'_, T> {}

impl<'a, T> MutexGuard<'a, T> {
    #[inline]
    fn new(mutex: &'a Mutex<T>) -> Self {
        Self { mutex, panicking: thread::panicking(), stays: PhantomData }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the mutex, and is borrowed as long as the value.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the mutex, and is mutably borrowed as long as the value.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if !self.panicking && thread::panicking() {
            self.mutex.word.fetch_or(POISONED, Relaxed);
        }
        self.mutex.unlock();
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Mutex");
        match self.try_lock() {
            Some(guard) => debug.field("value", &*guard),
            None => debug.field("value", &format_args!("<locked>")),
        };
        debug.field("poisoned", &self.is_poisoned()).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::pretend;

    #[test]
    fn a_mutex_admits_one() {
        let mutex = Mutex::new(1);
        let mut guard = mutex.lock();
        assert!(mutex.try_lock().is_none());
        assert_eq!(format!("{mutex:?}"), "Mutex { value: <locked>, poisoned: false }");
        *guard += 1;
        drop(guard);
        assert_eq!(*mutex.try_lock().unwrap(), 2);
        assert_eq!(format!("{mutex:?}"), "Mutex { value: 2, poisoned: false }");
        assert_eq!(mutex.into_inner(), 2);
    }

    #[test]
    fn a_dead_generation_holds_nothing_and_poisons() {
        let lockers: [fn(&Mutex<u8>); 2] =
            [|mutex| drop(mutex.lock()), |mutex| drop(mutex.try_lock().unwrap())];
        for lock in lockers {
            pretend(1);
            let mutex = Mutex::new(7_u8);
            let _stopped = std::mem::ManuallyDrop::new(mutex.lock());
            mutex.word.fetch_or(CONTENDED, Relaxed);
            assert!(!mutex.is_poisoned());
            pretend(2);
            assert!(mutex.is_poisoned());
            lock(&mutex);
            assert!(mutex.is_poisoned());
            assert_eq!(mutex.word.load(Relaxed), POISONED);
            lock(&mutex);
            mutex.clear_poison();
            assert!(!mutex.is_poisoned());
            lock(&mutex);
            assert_eq!(mutex.word.load(Relaxed), 0);
        }
    }

    #[test]
    fn a_mutex_locked_before_there_was_a_heap_stays_locked() {
        pretend(0);
        let mutex = Mutex::new(7);
        let guard = mutex.lock();
        pretend(1);
        assert!(mutex.try_lock().is_none() && !mutex.is_poisoned());
        drop(guard);
        assert!(mutex.try_lock().is_some());
    }

    #[test]
    fn poison_is_cleared_without_taking_the_lock() {
        pretend(1);
        let mutex = Mutex::new(7_u8);
        let _stopped = std::mem::ManuallyDrop::new(mutex.lock());
        pretend(2);
        mutex.clear_poison();
        assert!(!mutex.is_poisoned() && mutex.try_lock().is_some());
    }

    #[test]
    fn a_panic_poisons_only_what_it_holds() {
        let (held, free) = (Mutex::new(1), Mutex::new(2));
        let blown = thread::scope(|scope| {
            let job = || {
                drop(free.lock());
                let _guard = held.lock();
                panic!("bang");
            };
            scope.spawn(job).join().is_err()
        });
        assert!(blown && held.is_poisoned() && !free.is_poisoned());
        assert_eq!(*held.lock(), 1);
    }

    #[test]
    fn threads_take_turns() {
        const ROUNDS: u64 = if cfg!(miri) { 30 } else { 50_000 };
        let mutex = Mutex::new((0_u64, 0_u64));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let mut pair = mutex.lock();
                        assert_eq!(pair.0, pair.1);
                        pair.0 += 1;
                        pair.1 += 1;
                    }
                });
            }
        });
        assert_eq!(*mutex.lock(), (4 * ROUNDS, 4 * ROUNDS));
        assert_eq!(mutex.word.load(Relaxed), 0);
    }

    #[test]
    fn a_sleeper_is_woken() {
        let mutex = Mutex::new(0);
        thread::scope(|scope| {
            let guard = mutex.lock();
            for _ in 0..3 {
                scope.spawn(|| *mutex.lock() += 1);
            }
            while mutex.word.load(Relaxed) & CONTENDED == 0 {
                thread::yield_now();
            }
            thread::sleep(std::time::Duration::from_millis(10));
            drop(guard);
        });
        assert_eq!(*mutex.lock(), 3);
    }
}
