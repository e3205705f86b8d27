//! A vector in a transaction: values pushed and popped, all of them or none.
//!
//! ```text
//! push   diary: blocks of the value | length | slot     then the value, then the length
//! pop    diary: length                                  then the length; the value is kept until the commit
//! ```
#![expect(unsafe_code, reason = "changes a vector that a transaction holds")]

use std::marker::PhantomData;
use std::mem::offset_of;
use std::ops::Deref;
use std::ptr::NonNull;

use super::Vec;
use crate::heritable::Heritable;
use crate::transact::{Replaced, TransactError, Tx};

/// A [`Vec`] that a transaction changes; see [`Tx::vec`]. It is read as a slice, as the transaction has left it so far.
#[must_use = "it is changed through this"]
pub struct TxVec<'tx, 'places, T> {
    tx: &'tx Tx<'places>,
    /// Borrowed for longer than the transaction lasts, and used by nobody else until then.
    vec: NonNull<Vec<T>>,
    borrows: PhantomData<&'places mut Vec<T>>,
}

impl<'places> Tx<'places> {
    /// Takes a vector into the transaction, with room for so many more values. It does not grow meanwhile.
    ///
    /// # Errors
    ///
    /// [`TransactError::NoRoom`]; nothing was changed.
    pub fn vec<'tx, T: Heritable>(
        &'tx self,
        vec: &'places mut Vec<T>,
        room: usize,
    ) -> Result<TxVec<'tx, 'places, T>, TransactError> {
        // No part of the transaction, as nothing in the vector changes by it.
        vec.try_reserve(room).map_err(TransactError::NoRoom)?;
        Ok(TxVec { tx: self, vec: NonNull::from(vec), borrows: PhantomData })
    }
}

impl<T: Heritable> TxVec<'_, '_, T> {
    /// Appends a value.
    ///
    /// # Errors
    ///
    /// [`TransactError::Full`] where the room that was asked for is used up, and the others; nothing was changed, and the value is dropped.
    pub fn push(&mut self, value: T) -> Result<(), TransactError> {
        // SAFETY: the vector is borrowed by this, and this is the only reference.
        let vec = unsafe { &mut *self.vec.as_ptr() };
        if vec.len() == vec.capacity() {
            return Err(TransactError::Full);
        }
        // SAFETY: below the capacity, or of no bytes.
        let slot = unsafe { NonNull::new_unchecked(vec.as_mut_ptr().add(vec.len())) };
        let len = self.len_word();
        self.tx.written().write_down(|tx| {
            tx.note_blocks(&value)?;
            // SAFETY: places of the vector's own, which is there.
            unsafe {
                tx.note_place(len)?;
                if size_of::<T>() > 0 { tx.note_place(slot) } else { Ok(()) }
            }
        })?;
        let at = self.vec;
        self.tx.written().make(|| {
            // SAFETY: the slot has no value; it is one once the length says so.
            unsafe {
                slot.write(value);
                heirloom_slab::caller_step();
                vec.set_len(vec.len() + 1);
            }
            std::boxed::Box::new(Undo { at, other: None::<T> })
        });
        Ok(())
    }

    /// Takes the last value out; says whether there was one. It is dropped once the transaction has ended well.
    ///
    /// # Errors
    ///
    /// [`TransactError`]; nothing was changed.
    pub fn pop(&mut self) -> Result<bool, TransactError> {
        // SAFETY: the vector is borrowed by this, and this is the only reference.
        let vec = unsafe { &mut *self.vec.as_ptr() };
        let Some(last) = vec.len().checked_sub(1) else { return Ok(false) };
        let len = self.len_word();
        // SAFETY: a place of the vector's own, which is there.
        self.tx.written().write_down(|tx| unsafe { tx.note_place(len) })?;
        let at = self.vec;
        self.tx.written().make(|| {
            // SAFETY: it is the last value, and none of the vector's any more.
            let value = unsafe {
                vec.set_len(last);
                vec.as_ptr().add(last).read()
            };
            std::boxed::Box::new(Undo { at, other: Some(value) })
        });
        Ok(true)
    }

    fn len_word(&self) -> NonNull<u64> {
        // SAFETY: within the vector.
        unsafe { self.vec.byte_add(offset_of!(Vec<T>, len)).cast() }
    }
}

impl<T> Deref for TxVec<'_, '_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the vector is borrowed by this.
        unsafe { self.vec.as_ref() }
    }
}

/// The way back of one change.
struct Undo<T> {
    at: NonNull<Vec<T>>,
    /// What is not in the vector: the value that was popped, or that was pushed and is not there any more.
    other: Option<T>,
}

impl<T> Replaced for Undo<T> {
    fn undo(&mut self) {
        // SAFETY: the vector is borrowed by the transaction and has not grown; what came behind this change was undone before.
        unsafe {
            let vec = self.at.as_mut();
            let len = vec.len();
            match self.other.take() {
                Some(popped) => {
                    vec.as_mut_ptr().add(len).write(popped);
                    vec.set_len(len + 1);
                }
                None => {
                    vec.set_len(len - 1);
                    self.other = Some(vec.as_ptr().add(len - 1).read());
                }
            }
        }
    }

    fn forget_other(self: std::boxed::Box<Self>) {
        drop(self.other);
    }
}
