//! A map in a transaction: inserts and removals that are all made, or none.
//!
//! ```text
//! insert   diary: blocks of key and value | counts | control byte | bucket    then the bucket is filled
//! remove   diary: counts | control byte                                       then the bucket is emptied; the pair is kept until the commit
//! ```
//!
//! What a removal leaves in its bucket stays there until an insertion comes, which writes those bytes down too: so undoing, from the
//! last to the first, brings back what was there.
#![expect(unsafe_code, reason = "changes a map that a transaction holds")]

use std::borrow::Borrow;
use std::hash::Hash;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::table::{Footprint, Place};
use super::{HashMap, Pair};
use crate::heritable::Heritable;
use crate::transact::{Replaced, TransactError, Tx};

/// A [`HashMap`] that a transaction changes; see [`Tx::map`].
#[must_use = "it is changed through this"]
pub struct TxMap<'tx, 'places, K, V> {
    tx: &'tx Tx<'places>,
    /// Borrowed for longer than the transaction lasts, and used by nobody else until then.
    map: NonNull<HashMap<K, V>>,
    borrows: PhantomData<&'places mut HashMap<K, V>>,
}

impl<'places> Tx<'places> {
    /// Takes a map into the transaction, with room for so many more keys. It does not grow meanwhile.
    ///
    /// ```no_run
    /// # use heirloom::{Heap, HashMap, Options, String, TransactError};
    /// # fn book(heap: &Heap, names: &mut HashMap<u64, String>, total: &mut u64) -> Result<(), TransactError> {
    /// heap.transact(|tx| {
    ///     let mut names = tx.map(names, 1)?;
    ///     names.remove(&1)?;
    ///     names.insert(2, "two".into())?;
    ///     *tx.change(total)? += 1;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`TransactError::NoRoom`]; nothing was changed.
    pub fn map<'tx, K: Heritable + Eq + Hash, V: Heritable>(
        &'tx self,
        map: &'places mut HashMap<K, V>,
        room: usize,
    ) -> Result<TxMap<'tx, 'places, K, V>, TransactError> {
        // No part of the transaction, as nothing in the map changes by it: a kill in its middle is the map's own matter.
        map.try_reserve(room).map_err(TransactError::NoRoom)?;
        map.settle().map_err(TransactError::NoRoom)?;
        Ok(TxMap { tx: self, map: NonNull::from(map), borrows: PhantomData })
    }
}

impl<K: Heritable + Eq + Hash, V: Heritable> TxMap<'_, '_, K, V> {
    /// Returns the value of a key, as the transaction has left it so far.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        // SAFETY: the map is borrowed by this.
        unsafe { self.map.as_ref() }.get(key)
    }

    /// Returns how many keys there are, as the transaction has left it so far.
    pub fn len(&self) -> usize {
        // SAFETY: the map is borrowed by this.
        unsafe { self.map.as_ref() }.len()
    }

    /// Returns whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives a key a value; says whether it had one before, which is dropped once the transaction has ended well.
    ///
    /// # Errors
    ///
    /// [`TransactError::Full`] where the room that was asked for is used up, and the others; nothing was changed.
    pub fn insert(&mut self, key: K, value: V) -> Result<bool, TransactError> {
        let at = self.map;
        // SAFETY: the map is borrowed by this, and this is the only reference.
        let map = unsafe { &mut *at.as_ptr() };
        if !map.table.has_block() {
            return Err(TransactError::Full);
        }
        let hash = map.seed.hash(&key);
        let index = match map.table.place(hash, |pair| pair.key == key) {
            Place::Found(index) => {
                let place = NonNull::from(&mut map.table.occupied(index).into_mut().value);
                self.tx.written().replace(place, value)?;
                return Ok(true);
            }
            Place::Vacant(index) if map.table.may_fill(index) => index,
            Place::Vacant(_) => return Err(TransactError::Full),
        };
        let Footprint { counts, control, bucket } = map.table.footprint(index);
        self.tx.written().write_down(|tx| {
            tx.note_blocks(&key)?;
            tx.note_blocks(&value)?;
            // SAFETY: places of the map's own, which is there.
            unsafe {
                tx.note_place(counts)?;
                tx.note_place(control)?;
                tx.note_place(bucket)
            }
        })?;
        self.tx.written().make(|| {
            let undo = Undo::new(map.table.footprint(index));
            map.table.fill(index, hash, Pair { key, value });
            undo.made(None)
        });
        Ok(false)
    }

    /// Takes a key out; says whether it was there. It is dropped, with its value, once the transaction has ended well.
    ///
    /// # Errors
    ///
    /// [`TransactError`]; nothing was changed.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Result<bool, TransactError>
    where
        K: Borrow<Q>,
    {
        let at = self.map;
        // SAFETY: the map is borrowed by this, and this is the only reference.
        let map = unsafe { &mut *at.as_ptr() };
        let Some(index) = map.table.find(map.seed.hash(key), |pair| pair.key.borrow() == key) else {
            return Ok(false);
        };
        let Footprint { counts, control, .. } = map.table.footprint(index);
        self.tx.written().write_down(|tx| {
            // SAFETY: places of the map's own, which is there.
            unsafe {
                tx.note_place(counts)?;
                tx.note_place(control)
            }
        })?;
        self.tx.written().make(|| {
            let undo = Undo::new(map.table.footprint(index));
            let pair = map.table.occupied(index).remove();
            undo.made(Some(pair))
        });
        Ok(true)
    }
}

/// The way back of one change.
struct Undo<T> {
    at: Footprint<T>,
    counts: [u64; 2],
    control: u8,
    /// What is not in the bucket: the pair that was taken out, or that was put there and is not any more.
    other: Option<T>,
}

impl<T: 'static> Undo<T> {
    fn new(at: Footprint<T>) -> Self {
        // SAFETY: places of a table that is there.
        let (counts, control) = unsafe { (at.counts.read(), at.control.read()) };
        Self { at, counts, control, other: None }
    }

    fn made(mut self, taken: Option<T>) -> std::boxed::Box<dyn Replaced> {
        self.other = taken;
        std::boxed::Box::new(self)
    }
}

impl<T> Replaced for Undo<T> {
    fn undo(&mut self) {
        // SAFETY: the table is borrowed by the transaction and has not grown; what came behind this change was undone before. A pair that
        // was taken out goes back where nothing is, and one that was put there comes out.
        unsafe {
            match self.other.take() {
                Some(taken) => self.at.bucket.write(taken),
                None => self.other = Some(self.at.bucket.read()),
            }
            self.at.control.write(self.control);
            self.at.counts.write(self.counts);
        }
    }

    fn forget_other(self: std::boxed::Box<Self>) {
        drop(self.other);
    }
}
