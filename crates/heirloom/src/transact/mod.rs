//! Small transactions: a few changes that are all made, or none, whatever happens in between.
//!
//! ```text
//! set(place, value)   diary: blocks of the value | old bytes of the place      then the place is written
//! ..
//! Ok                  diary: used = 0, one store: the commit                   then the old values are dropped
//! Err, panic          old bytes written back, used = 0                         then the new values are dropped
//! kill                the next opening writes the old bytes back and gives the blocks of the new values back
//! ```
//!
//! A process that is killed leaves each CPU at a prefix of its program order, with caches coherent, so that a compiler fence between
//! two stores is all the order there must be. (A power cut is another matter: the heap is memory.)
//!
//! A map and a vector can be changed too, by [`TxMap`] and [`TxVec`]: the counts, the control byte and the bucket, or the length and the slot, are
//! written down like any place. They do not grow meanwhile, as that moves what was written down: room is asked for before.
//!
//! A value that was replaced is kept until the commit, and dropped behind it. Killed between the two, the heap has the new value and
//! the old one's blocks are a leak, which [`reclaim_leaks`](crate::Options::reclaim_leaks) gives back; so is a value that a killed thread had made
//! and not yet set.
//!
//! # Invariants
//!
//! - *written down*: a place is in the diary before it is written.
//! - *held*: a place stays borrowed until the transaction ends, so nobody else changes it, moves it or frees it.
//! - *returned*: a reference that the transaction gave out ends before it is committed or undone: it borrows the [`Tx`], whose own
//!   lifetime no caller can name. It comes from the pointer through which the place is undone.
//! - *last*: the commit is one store.
#![expect(unsafe_code, reason = "writes places whose old bytes it keeps, and drops values by their bytes")]

mod blocks;

pub use crate::hash_map::TxMap;
pub use crate::vec::TxVec;

use std::cell::{Cell, RefCell, RefMut};
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, needs_drop, size_of};
use std::ptr::{self, NonNull};

use heirloom_slab::caller_step;

use crate::alloc::AllocError;
use crate::heap::diary::{Diary, Refused};
use crate::heap::door;
use crate::heritable::Heritable;
use crate::{Heap, Inside};

/// A change was not made; the transaction can go on, or end with an error and undo what came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransactError {
    /// The heap has no room for what must be written down.
    #[error("no room to write a transaction down: {0}")]
    NoRoom(AllocError),
    /// The transaction changes more than 16 MiB.
    #[error("a transaction would write down {0} bytes, more than 16 MiB")]
    TooLarge(usize),
    /// The place does not lie in the heap: nothing could undo a change there after a kill.
    #[error("the place does not lie in the heap")]
    Outside,
    /// A map or vector has no room for another value: it does not grow in a transaction.
    #[error("the collection has no room left that was asked for before")]
    Full,
    /// This thread has a transaction open already.
    #[error("this thread has a transaction open already")]
    Nested,
}

impl From<Refused> for TransactError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Alloc(error) => Self::NoRoom(error),
            Refused::TooLarge(bytes) => Self::TooLarge(bytes),
            Refused::Outside => Self::Outside,
        }
    }
}

/// An open transaction; see [`Heap::transact`].
///
/// The places that it changes are borrowed for `'places`, to its end.
pub struct Tx<'places> {
    written: RefCell<Written>,
    is_over: bool,
    // Not covariant: a shared reference to a transaction must not become one to a transaction of places that live shorter.
    places: PhantomData<Cell<&'places mut ()>>,
    /// It is the thread's, and dropped before the thread leaves the heap.
    thread: PhantomData<*const ()>,
    _inside: Inside<'places>,
}

/// What a transaction has changed, and how it is undone.
pub(crate) struct Written {
    diary: Diary<'static>,
    /// Values that were replaced, each with the way to undo it.
    replaced: std::vec::Vec<std::boxed::Box<dyn Replaced>>,
    /// Places of plain bytes: address, length, and where the old bytes are in the diary.
    plain: std::vec::Vec<(NonNull<u8>, usize, usize)>,
}

thread_local! {
    /// True while this thread has a transaction open.
    static IS_OPEN: Cell<bool> = const { Cell::new(false) };
}

/// A change that was made.
pub(crate) trait Replaced {
    /// Puts things back as they were, and keeps what the change had put there.
    fn undo(&mut self);
    /// Drops what is not in its place: the old values, or the new ones if the change was undone.
    fn forget_other(self: std::boxed::Box<Self>);
}

struct Replacement<T> {
    place: NonNull<T>,
    /// The value that is not in the place.
    other: ManuallyDrop<T>,
}

impl<T> Replaced for Replacement<T> {
    fn undo(&mut self) {
        // SAFETY: the place is borrowed by the transaction, which is not over; it holds the new value.
        unsafe { ptr::swap(self.place.as_ptr(), &raw mut *self.other) };
    }

    fn forget_other(self: std::boxed::Box<Self>) {
        drop(ManuallyDrop::into_inner(self.other));
    }
}

impl Heap {
    /// Changes a few places in the heap, all of them or none: if `change` returns an error or panics, and if the process is killed at any
    /// instruction, every place holds what it held before. Once this has returned `Ok`, all changes stand.
    ///
    /// ```no_run
    /// # use heirloom::{Heap, Options, TransactError};
    /// # heirloom::root! { static ACCOUNTS: heirloom::sync::Mutex<heirloom::Vec<u64>> = "accounts"; }
    /// # let heap = Heap::inherit_or_create("bank", Options::new())?;
    /// let inside = heap.enter();
    /// let mut accounts = ACCOUNTS.get(&inside).lock();
    /// let (one, other) = accounts.split_at_mut(1);
    /// heap.transact(|tx| {
    ///     let (from, to) = (tx.change(&mut one[0])?, tx.change(&mut other[0])?);
    ///     *from -= 10;
    ///     *to += 10;
    ///     Ok::<_, TransactError>(())
    /// })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Only what goes through the [`Tx`] is part of it; what it gives out to be changed goes back before the transaction ends. A lock that the thread held when it was killed is poisoned all the same,
    /// as nobody knows what else it changed. A thread has one transaction at a time.
    ///
    /// # Errors
    ///
    /// What `change` returns; [`TransactError`] where the thread's diary cannot be had, or is in use.
    pub fn transact<'places, R, E: From<TransactError>>(
        &self,
        change: impl for<'tx> FnOnce(&'tx Tx<'places>) -> Result<R, E>,
    ) -> Result<R, E> {
        let tx = Tx::begin(self)?;
        let result = change(&tx);
        if result.is_ok() {
            tx.commit();
        }
        result
    }
}

impl<'places> Tx<'places> {
    fn begin(heap: &Heap) -> Result<Self, TransactError> {
        if IS_OPEN.get() {
            return Err(TransactError::Nested);
        }
        let inside = heap.enter();
        // SAFETY: `Tx` is dropped before the guard that it holds, and so is all that it borrows.
        let seat = unsafe { door::seat() }.ok_or(TransactError::Outside)?;
        let diary = Diary::open(seat).map_err(TransactError::NoRoom)?;
        IS_OPEN.set(true);
        Ok(Self {
            written: RefCell::new(Written {
                diary,
                replaced: std::vec::Vec::new(),
                plain: std::vec::Vec::new(),
            }),
            is_over: false,
            places: PhantomData,
            thread: PhantomData,
            // INVARIANT: as long as this lives, the thread is inside; the lifetime says no more than the places' own.
            _inside: inside.for_a_transaction(),
        })
    }

    /// Gives a place of plain bytes to be changed at will until the transaction ends.
    ///
    /// # Errors
    ///
    /// [`TransactError`]; nothing was changed.
    #[expect(
        clippy::mut_from_ref,
        reason = "it leads to the place, which is borrowed mutably, and not into the transaction"
    )]
    pub fn change<'tx, T: Heritable + Copy>(
        &'tx self,
        place: &'places mut T,
    ) -> Result<&'tx mut T, TransactError> {
        let place = NonNull::from(place);
        self.written().note(place)?;
        // SAFETY: the place is borrowed mutably for longer than the transaction lives, and given out once; by *returned* this ends
        // before the transaction touches the place again.
        Ok(unsafe { &mut *place.as_ptr() })
    }

    /// Puts a value into a place. The old one is dropped once the transaction has ended well, and comes back if not.
    ///
    /// # Errors
    ///
    /// [`TransactError`]; nothing was changed, and the value is dropped.
    pub fn set<T: Heritable>(&self, place: &'places mut T, value: T) -> Result<(), TransactError> {
        let place = NonNull::from(place);
        if !needs_drop::<T>() {
            self.written().note(place)?;
            // SAFETY: a borrowed place can be written.
            unsafe { place.write(value) };
            caller_step();
            return Ok(());
        }
        self.written().replace(place, value)
    }

    /// Swaps the values of two places.
    ///
    /// # Errors
    ///
    /// [`TransactError`]; nothing was changed.
    pub fn swap<T: Heritable>(
        &self,
        one: &'places mut T,
        other: &'places mut T,
    ) -> Result<(), TransactError> {
        let (one, other) = (NonNull::from(one), NonNull::from(other));
        self.written().note_two(one, other)?;
        // SAFETY: both are borrowed mutably, so they are two.
        unsafe { ptr::swap(one.as_ptr(), other.as_ptr()) };
        caller_step();
        Ok(())
    }

    pub(crate) fn written(&self) -> RefMut<'_, Written> {
        self.written.borrow_mut()
    }

    fn commit(mut self) {
        self.is_over = true;
        let written = self.written.get_mut();
        // The diary belongs to the next one from here on, be it of a value that is dropped now.
        if written.diary.is_in_use() {
            written.diary.close();
        }
        IS_OPEN.set(false);
        for replaced in std::mem::take(&mut written.replaced) {
            replaced.forget_other();
        }
    }
}

impl Written {
    /// Puts a value into a place, which the caller borrows for as long as the transaction lasts.
    pub(crate) fn replace<T: Heritable>(&mut self, place: NonNull<T>, value: T) -> Result<(), TransactError> {
        self.write_down(|written| {
            written.note_blocks(&value)?;
            // SAFETY: a borrowed place can be read.
            unsafe { written.note_place(place) }
        })?;
        // Before the place is written: no allocation stands between the two.
        self.replaced.reserve(1);
        let mut replacement = std::boxed::Box::new(Replacement { place, other: ManuallyDrop::new(value) });
        caller_step();
        // SAFETY: both are values of `T` that nobody else refers to.
        unsafe { ptr::swap(place.as_ptr(), &raw mut *replacement.other) };
        caller_step();
        // What the transaction holds does not outlive the places; the type need not be named.
        self.replaced.push(replacement);
        Ok(())
    }

    /// Writes down what stands at a place, which the caller borrows.
    fn note<T>(&mut self, place: NonNull<T>) -> Result<(), TransactError> {
        let len = size_of::<T>();
        // SAFETY: the caller borrows the place.
        let old = unsafe { self.diary.note_bytes(place.cast(), len)? };
        self.plain.push((place.cast(), len, old));
        Ok(())
    }

    /// Both, or none.
    fn note_two<T>(&mut self, one: NonNull<T>, other: NonNull<T>) -> Result<(), TransactError> {
        let before = (self.diary.used(), self.plain.len());
        self.note(one)?;
        self.note(other).inspect_err(|_| {
            self.plain.truncate(before.1);
            self.diary.forget_behind(before.0);
        })
    }

    /// Writes down what is about to be changed: all of it or, after an error, nothing.
    pub(crate) fn write_down(
        &mut self,
        note: impl FnOnce(&mut Self) -> Result<(), Refused>,
    ) -> Result<(), TransactError> {
        let used = self.diary.used();
        note(self).map_err(|refused| {
            self.diary.forget_behind(used);
            refused.into()
        })
    }

    /// Writes down the bytes of a place, in [`Written::write_down`].
    ///
    /// # Safety
    ///
    /// It can be read.
    pub(crate) unsafe fn note_place<T>(&mut self, place: NonNull<T>) -> Result<(), Refused> {
        // SAFETY: by the caller.
        unsafe { self.diary.note_bytes(place.cast(), size_of::<T>()).map(drop) }
    }

    /// Makes a change that was written down, and keeps the way to undo it.
    pub(crate) fn make(&mut self, change: impl FnOnce() -> std::boxed::Box<dyn Replaced>) {
        self.replaced.reserve(1);
        caller_step();
        let made = change();
        caller_step();
        self.replaced.push(made);
    }

    pub(crate) fn note_blocks<T: Heritable>(&mut self, value: &T) -> Result<(), Refused> {
        let mut noted = Ok(());
        blocks::for_each_owned(value, |block| {
            if noted.is_ok() {
                noted = self.diary.note_block(block);
            }
        });
        noted
    }

    fn undo(&mut self) {
        // Last change first. The two kinds have no byte in common: a place whose value is replaced is not given out.
        for &(place, len, old) in self.plain.iter().rev() {
            // SAFETY: the place is borrowed by this transaction; the diary has the bytes that stood there.
            unsafe { place.as_ptr().copy_from_nonoverlapping(self.diary.old_bytes(old), len) };
            caller_step();
        }
        for replaced in self.replaced.iter_mut().rev() {
            replaced.undo();
            caller_step();
        }
        if self.diary.is_in_use() {
            self.diary.close();
        }
    }
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        let written = self.written.get_mut();
        written.undo();
        IS_OPEN.set(false);
        for replaced in std::mem::take(&mut written.replaced) {
            replaced.forget_other();
        }
    }
}
