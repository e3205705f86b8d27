//! `RwLock`: many readers, or one writer.
//!
//! ```text
//!  0  state   bits 0..29 READERS | bit 29 WAITING | bit 30 POISONED | bit 31 WRITING | bits 32..64 generation
//!  8  wakes   counts the times that sleepers were woken; they sleep on it
//! 12  ..      up to the alignment of the value
//!     value
//! ```
//!
//! The generation is that of the readers or the writer; it means nothing while there is none. While a thread waits, new
//! readers wait too, or else writers might wait for ever. A dead reader changed nothing, so only a dead writer poisons.

#![expect(unsafe_code, reason = "hands out the value to those who hold the lock")]

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::thread;

use super::{Left, RWLOCK_FORMAT_VERSION, futex};
use crate::generation;
use crate::heritable::{Heritable, TypeDesc};

const READER: u64 = 1;
const READERS: u64 = WAITING - 1;
const WAITING: u64 = 1 << 29;
const POISONED: u64 = 1 << 30;
const WRITING: u64 = 1 << 31;
const GENERATION_SHIFT: u32 = 32;

/// Guards a value: many readers or one writer, in one generation at a time.
///
/// # Invariants
///
/// While the state has the present generation, only as many read guards as it counts, or the one write guard that it
/// knows of, touch the value.
#[repr(C)]
pub struct RwLock<T> {
    state: AtomicU64,
    wakes: AtomicU32,
    value: UnsafeCell<T>,
}

const _: () = assert!(size_of::<RwLock<u64>>() == 24 && std::mem::offset_of!(RwLock<u64>, value) == 16);
const _: () = assert!(size_of::<RwLock<u8>>() == 16 && std::mem::offset_of!(RwLock<u8>, value) == 12);
const _: () = assert!(std::mem::offset_of!(RwLock<u8>, wakes) == 8);

// SAFETY: the lock owns its value.
unsafe impl<T: Send> Send for RwLock<T> {}
// SAFETY: sharing the lock hands the value from thread to thread, and shows it to many at a time.
unsafe impl<T: Send + Sync> Sync for RwLock<T> {}

// SAFETY: the value lies in the lock and is described by its own type; whoever held the lock is gone in the next generation.
unsafe impl<T: Heritable> Heritable for RwLock<T> {
    const TYPE: &'static TypeDesc = &TypeDesc::collection(
        "RwLock",
        RWLOCK_FORMAT_VERSION,
        size_of::<Self>(),
        align_of::<Self>(),
        &[T::TYPE],
    );
}

impl<T> RwLock<T> {
    /// Creates a free lock.
    #[inline]
    pub const fn new(value: T) -> Self {
        Self { state: AtomicU64::new(0), wakes: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    /// Waits until nobody writes and locks for reading. A thread that reads already may wait for ever.
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        if !self.try_enter(one_more_reader) {
            self.enter_slowly(one_more_reader);
        }
        RwLockReadGuard { lock: self, stays: PhantomData }
    }

    /// Locks for reading if nobody writes, or waits to.
    #[inline]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.try_enter(one_more_reader).then(|| RwLockReadGuard { lock: self, stays: PhantomData })
    }

    /// Waits until nobody reads or writes and locks for writing.
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        if !self.try_enter(the_writer) {
            self.enter_slowly(the_writer);
        }
        RwLockWriteGuard::new(self)
    }

    /// Locks for writing if nobody reads or writes.
    #[inline]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.try_enter(the_writer).then(|| RwLockWriteGuard::new(self))
    }

    /// Returns whether a writer panicked, or was stopped with its process.
    pub fn is_poisoned(&self) -> bool {
        self.settled(self.state.load(Relaxed)) & POISONED != 0
    }

    /// Declares that the value has been looked after.
    pub fn clear_poison(&self) {
        let _always_mended =
            self.state.fetch_update(Relaxed, Relaxed, |state| Some(self.settled(state) & !POISONED));
    }

    /// Returns the value, which nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }

    /// Enters as `enter` says, as long as that says that the lock is free.
    #[inline]
    fn try_enter(&self, enter: fn(u64) -> Option<u64>) -> bool {
        let mut state = self.state.load(Relaxed);
        while let Some(entered) = enter(self.settled(state)) {
            match self.state.compare_exchange_weak(state, entered, Acquire, Relaxed) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    #[cold]
    fn enter_slowly(&self, enter: fn(u64) -> Option<u64>) {
        loop {
            futex::spin(|| enter(self.settled(self.state.load(Relaxed))).is_some());
            // Read before the state: whoever lets go after we have looked at that will change it.
            let wakes = self.wakes.load(Acquire);
            if self.try_enter(enter) {
                return;
            }
            let wait = |state: u64| enter(self.settled(state)).is_none().then_some(state | WAITING);
            if self.state.fetch_update(Relaxed, Relaxed, wait).is_ok() {
                futex::wait(&self.wakes, wakes);
            }
        }
    }

    /// Returns the state as it is for this generation: an earlier one holds nothing, and poisons if it was writing.
    ///
    /// Whoever locked it before this process had this heap is of this process, so the lock is not in the heap, and still held.
    #[inline]
    fn settled(&self, state: u64) -> u64 {
        let ours = u64::from(generation::current()) << GENERATION_SHIFT;
        let holders = state >> GENERATION_SHIFT << GENERATION_SHIFT;
        if holders == ours {
            return state;
        }
        if state & (READERS | WRITING) != 0 && (holders == 0 || !generation::is_in_heap(&self.state)) {
            return state;
        }
        let writing = state & WRITING != 0;
        ours | state & POISONED | if writing { POISONED } else { 0 }
    }

    #[inline]
    fn leave_reading(&self) {
        let before = self.state.fetch_sub(READER, Release);
        if before & (READERS | WAITING) == READER | WAITING {
            self.wake_if_free(before - READER);
        }
    }

    #[inline]
    fn leave_writing(&self) {
        if self.state.fetch_and(!(WRITING | WAITING), Release) & WAITING != 0 {
            self.wake();
        }
    }

    /// Wakes those who wait, unless somebody has entered since the state was seen: that one will then.
    #[cold]
    fn wake_if_free(&self, state: u64) {
        if self.state.compare_exchange(state, state & !WAITING, Relaxed, Relaxed).is_ok() {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        self.wakes.fetch_add(1, Release);
        futex::wake_all(&self.wakes);
    }
}

/// Returns the state with one more reader, if one may enter.
#[inline]
fn one_more_reader(state: u64) -> Option<u64> {
    let readers = state & READERS;
    let waits = state & WRITING != 0 || readers != 0 && state & WAITING != 0 || readers == READERS;
    (!waits).then_some(state + READER)
}

/// Returns the state with a writer, if one may enter.
#[inline]
fn the_writer(state: u64) -> Option<u64> {
    (state & (READERS | WRITING) == 0).then_some(state | WRITING)
}

/// Access to the value of a [`RwLock`] for reading; lets go when it is dropped.
///
/// # Invariants
///
/// The state counts this guard as a reader.
#[must_use = "the lock is let go at once"]
pub struct RwLockReadGuard<'a, T> {
    lock: &'a RwLock<T>,
    /// A thread lets go of what it locked itself, as in std.
    stays: PhantomData<*const ()>,
}

/// Access to the value of a [`RwLock`] for writing; lets go when it is dropped.
///
/// # Invariants
///
/// The state knows this guard as the writer.
#[must_use = "the lock is let go at once"]
pub struct RwLockWriteGuard<'a, T> {
    lock: &'a RwLock<T>,
    panicking: bool,
    /// A thread lets go of what it locked itself, as in std.
    stays: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out nothing but `&T`.
unsafe impl<T: Sync> Sync for RwLockReadGuard<'_, T> {}
// SAFETY: a shared guard gives out nothing but `&T`.
unsafe impl<T: Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<'a, T> RwLockWriteGuard<'a, T> {
    #[inline]
    fn new(lock: &'a RwLock<T>) -> Self {
        Self { lock, panicking: thread::panicking(), stays: PhantomData }
    }
}

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard is a reader, and borrowed as long as the value; a writer waits for it.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard is the writer, and borrowed as long as the value.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard is the writer, and mutably borrowed as long as the value.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.leave_reading();
    }
}

impl<T> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if !self.panicking && thread::panicking() {
            self.lock.state.fetch_or(POISONED, Relaxed);
        }
        self.lock.leave_writing();
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RwLock");
        match self.try_read() {
            Some(guard) => debug.field("value", &*guard),
            None => debug.field("value", &format_args!("<locked>")),
        };
        debug.field("poisoned", &self.is_poisoned()).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

/// Reads what a lock's holders have left, from its first eight bytes.
pub(super) fn left_in(state: u64) -> Left {
    if state & WRITING != 0 {
        Left::BeingChanged { generation: (state >> GENERATION_SHIFT) as u32 }
    } else if state & POISONED != 0 {
        Left::Poisoned
    } else if state & READERS != 0 {
        Left::BeingRead { readers: (state & READERS) as u32 }
    } else {
        Left::Free
    }
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;

    use super::*;
    use crate::generation::pretend;

    #[test]
    fn readers_share_and_writers_do_not() {
        let lock = RwLock::new(1);
        let (one, two) = (lock.read(), lock.read());
        assert!(lock.try_write().is_none());
        assert_eq!(*one + *two, 2);
        drop((one, two));
        let mut writer = lock.write();
        assert!(lock.try_read().is_none() && lock.try_write().is_none());
        *writer += 1;
        drop(writer);
        assert_eq!(*lock.try_write().unwrap(), 2);
        assert_eq!(lock.into_inner(), 2);
    }

    #[test]
    fn a_lock_taken_before_there_was_a_heap_stays_taken() {
        pretend(0);
        let lock = RwLock::new(7);
        let reader = lock.read();
        pretend(1);
        let another = lock.read();
        assert!(lock.try_write().is_none());
        drop((reader, another));
        pretend(0);
        let writer = lock.write();
        pretend(1);
        assert!(lock.try_read().is_none() && lock.try_write().is_none() && !lock.is_poisoned());
        drop(writer);
        assert!(lock.try_write().is_some());
    }

    #[test]
    fn dead_readers_do_not_count() {
        pretend(1);
        let lock = RwLock::new(1);
        let _stopped = ManuallyDrop::new((lock.read(), lock.read()));
        lock.state.fetch_or(WAITING, Relaxed);
        pretend(2);
        *lock.write() += 1;
        assert_eq!(*lock.read(), 2);
        assert!(!lock.is_poisoned());
    }

    #[test]
    fn a_dead_writer_poisons() {
        pretend(1);
        let lock = RwLock::new(1);
        let _stopped = ManuallyDrop::new(lock.write());
        assert!(!lock.is_poisoned());
        pretend(2);
        assert!(lock.is_poisoned());
        drop(lock.read());
        assert!(lock.is_poisoned());
        lock.clear_poison();
        assert!(!lock.is_poisoned());
        assert_eq!(*lock.write(), 1);
        assert!(!lock.is_poisoned());
    }

    #[test]
    fn only_a_writer_that_panics_poisons() {
        let lock = RwLock::new(1);
        let blown = |write: bool| {
            thread::scope(|scope| {
                let job = || {
                    let _guards = if write { (Some(lock.write()), None) } else { (None, Some(lock.read())) };
                    panic!("bang");
                };
                scope.spawn(job).join().is_err()
            })
        };
        assert!(blown(false) && !lock.is_poisoned());
        assert!(blown(true) && lock.is_poisoned());
        assert_eq!(*lock.read(), 1);
    }

    #[test]
    fn threads_see_whole_values() {
        const ROUNDS: u64 = if cfg!(miri) { 20 } else { 20_000 };
        let lock = RwLock::new((0_u64, 0_u64));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let mut pair = lock.write();
                        pair.0 += 1;
                        pair.1 += 1;
                    }
                });
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let pair = lock.read();
                        assert_eq!(pair.0, pair.1);
                    }
                });
            }
        });
        assert_eq!(*lock.read(), (2 * ROUNDS, 2 * ROUNDS));
        assert_eq!(lock.state.load(Relaxed) & (READERS | WAITING | WRITING | POISONED), 0);
    }

    #[test]
    fn sleepers_are_woken() {
        let lock = RwLock::new(0);
        thread::scope(|scope| {
            let reader = lock.read();
            scope.spawn(|| *lock.write() += 1);
            while lock.state.load(Relaxed) & WAITING == 0 {
                thread::yield_now();
            }
            assert!(lock.try_read().is_none(), "new readers wait behind a writer");
            scope.spawn(|| drop(lock.read()));
            thread::sleep(std::time::Duration::from_millis(10));
            drop(reader);
        });
        assert_eq!(*lock.read(), 1);
    }
}
