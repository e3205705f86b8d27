//! The table behind a map: buckets, and a control byte for each, in one block.
//!
//! ```text
//!  | .. | bucket 2 | bucket 1 | bucket 0 | group 0 | group 1 | ..
//!                                        ^ control, aligned at 16 or at what the buckets need
//! ```
//!
//! Where a hash leads is `walk`'s business, the sizes are `shape`'s; what a value is, and how it hashes, is the caller's. `rehash`
//! moves values when the table changes its shape.
//!
//! # A kill
//!
//! ```text
//! fill      value -> growth_left -> len: cut -> control byte: full      -> len + 1          full is the instant at which the value is there
//! remove             len: cut    -> control byte: deleted -> growth_left -> len - 1         and here it is gone
//! clear     len: cut -> each value: control byte: deleted, then dropped -> all bytes empty -> len = 0
//! adopt     len: cut -> growth_left, no more than either table's -> control and mask, one store -> growth_left -> len
//! ```
//!
//! So the control bytes alone say what is there, at every instruction, and nobody else's memory is named. A count that a kill cut off says so
//! itself, by its top bit ([`CUT`]): whoever reads it next counts the control bytes, and repairs it.
//!
//! # Invariants (tested by `Table::check`)
//!
//! - *shape*: without a block everything is zero; else the buckets are a power of two from 4 on.
//! - *counted*: unless `len` is cut off, `len` control bytes are full, and empty and not set aside for probing are `growth_left` more; else they
//!   are at least `growth_left`.
//! - *padded*: the bytes beyond the buckets of a table of 4 or 8 are padding.
//! - *reached*: a probe for its hash finds every value (does not hold while a map knows itself to be out of order).

#![expect(unsafe_code, reason = "keeps values in a block without types")]

#[cfg(test)]
mod check;

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::group::{self, Bytes, DELETED, EMPTY, Group, PADDING, WIDTH};
use super::shape::{capacity_of, control_bytes, shape};
use super::walk::{Walk, Walker, tag};
use crate::alloc::{self, AllocError};
use crate::whole::{self, step};

/// In `len`: the change that it counts was begun, and has not been seen to end.
pub(crate) const CUT: u64 = 1 << 63;

/// Buckets and their control bytes.
///
/// # Invariants
///
/// - If `mask` is 0, `control` is null, and so are `len` and `growth_left`.
/// - Else `control` points into a block of `shape(mask + 1)` that is ours, at the first of its control bytes.
/// - The bucket of every full control byte holds a live value, unless `len` is 0.
///
/// `control` and `mask` are stored at once. The counts are atomics, as who reads a shared table may repair them.
#[repr(C)]
pub(crate) struct Table<T> {
    control: *mut u8,
    mask: u64,
    len: AtomicU64,
    growth_left: AtomicU64,
    owns: PhantomData<T>,
}

// A footprint has both counts by the address of the first.
const _: () = assert!(size_of::<AtomicU64>() == 8 && align_of::<AtomicU64>() == 8);
const _: () = assert!(size_of::<Table<u64>>() == 32);
const _: () = assert!(std::mem::offset_of!(Table<u64>, mask) == 8);
const _: () = assert!(std::mem::offset_of!(Table<u64>, len) == 16);
const _: () = assert!(std::mem::offset_of!(Table<u64>, growth_left) == 24);

// SAFETY: a table owns its values and shares nothing else.
unsafe impl<T: Send> Send for Table<T> {}
// SAFETY: a shared table gives out nothing but `&T`.
unsafe impl<T: Sync> Sync for Table<T> {}

/// What a change of one bucket writes. Good as long as the table keeps its block.
#[derive(Debug)]
pub(crate) struct Footprint<T> {
    /// `len` and `growth_left`.
    pub(crate) counts: NonNull<[u64; 2]>,
    pub(crate) control: NonNull<u8>,
    pub(crate) bucket: NonNull<T>,
}

/// What a search for a place found.
pub(crate) enum Place {
    /// The value is in this bucket.
    Found(usize),
    /// The value is nowhere, and this is the first bucket on its walk that could take it.
    Vacant(usize),
}

impl<T> Table<T> {
    #[inline]
    pub(crate) const fn new() -> Self {
        Self::over(ptr::null_mut(), 0)
    }

    const fn over(control: *mut u8, mask: u64) -> Self {
        Self { control, mask, len: AtomicU64::new(0), growth_left: AtomicU64::new(0), owns: PhantomData }
    }

    /// Creates an empty table of `buckets`, a power of two from 4 on.
    pub(crate) fn with_buckets(buckets: usize) -> Result<Self, AllocError> {
        debug_assert!(buckets.is_power_of_two() && buckets >= 4);
        let (layout, to_control) = shape::<T>(buckets)?;
        let block = alloc::allocate(layout)?;
        // SAFETY: the control bytes start within the block.
        let control = unsafe { block.add(to_control) };
        // INVARIANT: the block has the shape of its buckets; `reset` writes its control bytes.
        let mut table = Self::over(control.as_ptr(), buckets as u64 - 1);
        table.reset();
        Ok(table)
    }

    #[inline]
    pub(crate) fn has_block(&self) -> bool {
        self.mask != 0
    }

    #[inline]
    pub(crate) fn buckets(&self) -> usize {
        if self.has_block() { self.mask() + 1 } else { 0 }
    }

    /// Returns how many values there are; counts them first if a kill has cut a change off.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        let len = self.len.load(Relaxed);
        if len & CUT == 0 { len as usize } else { self.recount() }
    }

    /// Returns how many empty buckets may be filled, at least: exactly once [`len`](Self::len) was asked.
    #[inline(always)]
    pub(crate) fn growth_left(&self) -> usize {
        self.growth_left.load(Relaxed) as usize
    }

    /// Counts what the control bytes say. All who read a shared table that was cut off store the same.
    #[cold]
    #[inline(never)]
    fn recount(&self) -> usize {
        let (mut full, mut empty) = (0, 0);
        for position in (0..self.buckets()).step_by(WIDTH) {
            let group = self.group(position);
            full += group.full().count();
            empty += group.empty().count();
        }
        let set_aside = self.buckets() - capacity_of(self.buckets());
        self.growth_left.store(empty.saturating_sub(set_aside) as u64, Relaxed);
        self.len.store(full as u64, Relaxed);
        full
    }

    /// Returns whether there is nothing, by the count as it stands: one that was cut off is not believed to be 0.
    #[inline(always)]
    fn is_surely_empty(&self) -> bool {
        self.len.load(Relaxed) == 0
    }

    /// Finds a value.
    #[inline(always)]
    pub(crate) fn get(&self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&T> {
        let index = self.find(hash, eq)?;
        // SAFETY: the bucket is full, and borrowed with the table.
        Some(unsafe { &*self.bucket(index) })
    }

    /// Finds the bucket of a value.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, mut eq: impl FnMut(&T) -> bool) -> Option<usize> {
        // Not its length: that may be on its way still while the block is gone already.
        if !self.has_block() {
            return None;
        }
        let tag = tag(hash);
        let mut walk = Walk::new(hash, self.mask());
        loop {
            let group = self.group(walk.position);
            for offset in group.tagged(tag) {
                let index = walk.position + offset;
                // SAFETY: a tag matches full control bytes only.
                if eq(unsafe { &*self.bucket(index) }) {
                    return Some(index);
                }
            }
            if group.empty().any() || !walk.advance(self.mask()) {
                return None;
            }
        }
    }

    /// Finds the bucket of a value that is most likely there, to be taken out.
    #[inline(always)]
    pub(crate) fn find_to_take(&self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<usize> {
        if self.has_block() {
            self.expect(Walk::new(hash, self.mask()).position);
        }
        self.find(hash, eq)
    }

    /// Finds the bucket of a value, or else one that could take it; the table has a block.
    #[inline(always)]
    pub(crate) fn place(&self, hash: u64, mut eq: impl FnMut(&T) -> bool) -> Place {
        assert!(self.has_block(), "a place is looked for in a table with a block");
        let tag = tag(hash);
        let mut walk = Walk::new(hash, self.mask());
        self.expect(walk.position);
        let mut vacant = None;
        loop {
            let group = self.group(walk.position);
            for offset in group.tagged(tag) {
                let index = walk.position + offset;
                // SAFETY: a tag matches full control bytes only.
                if eq(unsafe { &*self.bucket(index) }) {
                    return Place::Found(index);
                }
            }
            if vacant.is_none() {
                vacant = group.vacant().lowest().map(|offset| walk.position + offset);
            }
            if group.empty().any() || !walk.advance(self.mask()) {
                return Place::Vacant(vacant.expect("a table keeps an eighth of its buckets empty"));
            }
        }
    }

    /// Finds the first bucket on the walk of `hash` that could take a value; the table has a block.
    #[inline]
    pub(crate) fn vacant(&self, hash: u64) -> usize {
        assert!(self.has_block(), "a place is looked for in a table with a block");
        let mut walk = Walk::new(hash, self.mask());
        loop {
            if let Some(offset) = self.group(walk.position).vacant().lowest() {
                return walk.position + offset;
            }
            assert!(walk.advance(self.mask()), "a table keeps an eighth of its buckets empty");
        }
    }

    /// Returns whether a walk for `hash` comes by the full bucket `index` and sees its tag there.
    pub(crate) fn leads_to(&self, hash: u64, index: usize) -> bool {
        let mut walk = Walk::new(hash, self.mask());
        while walk.position != index / WIDTH * WIDTH {
            if self.group(walk.position).empty().any() || !walk.advance(self.mask()) {
                return false;
            }
        }
        self.control(index) == tag(hash)
    }

    /// Returns whether the vacant bucket `index` may be filled without leaving too few empty ones.
    #[inline(always)]
    pub(crate) fn may_fill(&self, index: usize) -> bool {
        self.growth_left() != 0 || self.control(index) == DELETED
    }

    /// Puts a value into a vacant bucket that may be filled.
    #[inline(always)]
    pub(crate) fn fill(&mut self, index: usize, hash: u64, value: T) -> &mut T {
        let before = self.control(index);
        assert!(
            matches!(before, EMPTY | DELETED) && self.may_fill(index),
            "a bucket is filled while it is vacant"
        );
        let (len, growth_left) = (self.len() as u64, self.growth_left.load(Relaxed));
        let bucket = self.bucket(index);
        // SAFETY: the bucket exists and holds no value; it does once its control byte says so.
        unsafe {
            bucket.write(value);
            self.growth_left.store(growth_left.wrapping_sub(u64::from(before == EMPTY)), Relaxed);
            self.len.store(len | CUT, Relaxed);
            step();
            self.set_control(index, tag(hash));
            step();
            self.len.store(len + 1, Relaxed);
            &mut *bucket
        }
    }

    /// Where a change of one bucket writes, for who writes it down before; see [`fill`](Self::fill) and [`Occupied::remove`].
    pub(crate) fn footprint(&mut self, index: usize) -> Footprint<T> {
        assert!(index < self.buckets(), "a bucket of this table");
        // SAFETY: the table is there. Both counts lie side by side, so the address is not that of the first alone.
        let counts = unsafe { NonNull::from(&mut *self).byte_add(std::mem::offset_of!(Self, len)).cast() };
        // SAFETY: the bucket exists, and so does its control byte: neither is null.
        let (control, bucket) = unsafe {
            (NonNull::new_unchecked(self.control.add(index)), NonNull::new_unchecked(self.bucket(index)))
        };
        Footprint { counts, control, bucket }
    }

    /// Names a full bucket, for as long as the table is borrowed.
    #[inline(always)]
    pub(crate) fn occupied(&mut self, index: usize) -> Occupied<'_, T> {
        assert!(self.control(index) < 0x80, "a bucket is taken while it is full");
        // INVARIANT: it is full, and the borrow keeps it so.
        Occupied { table: self, index }
    }

    /// Visits every full bucket. The walker is good for as long as the table keeps its block and its values: who keeps it sees to that.
    #[inline]
    pub(crate) fn iter(&self) -> Walker<T> {
        // SAFETY: so many are full, and the block holds whole groups; who keeps the walker keeps the table.
        unsafe { Walker::over(self.control, self.len()) }
    }

    /// Drops the values for which `keep` returns false.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        for position in (0..self.buckets()).step_by(WIDTH) {
            for offset in self.group(position).full() {
                let mut occupied = self.occupied(position + offset);
                if !keep(occupied.get_mut()) {
                    drop(occupied.remove());
                }
            }
        }
    }

    /// Picks up to `wanted` full buckets, from all over the table.
    pub(crate) fn sample(&self, wanted: usize) -> impl Iterator<Item = (usize, &T)> {
        let groups = self.buckets().div_ceil(WIDTH);
        let parts = wanted.min(groups);
        // A table with few groups gives several from each.
        let each = wanted.checked_div(parts).unwrap_or(0);
        (0..parts).flat_map(move |part| {
            let range = groups * part / parts..groups * (part + 1) / parts;
            let full = range
                .flat_map(|group| self.group(group * WIDTH).full().map(move |offset| group * WIDTH + offset));
            // SAFETY: the bucket is full, and borrowed with the table.
            full.take(each).map(|index| (index, unsafe { &*self.bucket(index) }))
        })
    }

    /// Drops all values and keeps the block.
    pub(crate) fn clear(&mut self) {
        /// Empties the control bytes even if a value panics while it is dropped; the values behind it then leak.
        struct Reset<'a, T>(&'a mut Table<T>);
        impl<T> Drop for Reset<'_, T> {
            fn drop(&mut self) {
                self.0.reset();
            }
        }
        if self.is_surely_empty() {
            return self.reset();
        }
        self.len.store(self.len() as u64 | CUT, Relaxed);
        step();
        let table = Reset(self);
        if !std::mem::needs_drop::<T>() {
            let buckets = table.0.buckets();
            // SAFETY: the block holds this many control bytes, and no value is to be dropped.
            unsafe { table.0.control.write_bytes(DELETED, buckets) };
            step();
            return;
        }
        // As tombstones first: until the last one is gone, probes find those that are left.
        for position in (0..table.0.buckets()).step_by(WIDTH) {
            for offset in table.0.group(position).full() {
                let index = position + offset;
                // SAFETY: the bucket is full until here, and dropped once.
                unsafe {
                    table.0.set_control(index, DELETED);
                    step();
                    table.0.bucket(index).drop_in_place();
                }
            }
        }
    }

    /// Declares every bucket empty, whatever it holds.
    pub(crate) fn reset(&mut self) {
        if !self.has_block() {
            return;
        }
        let (buckets, bytes) = (self.buckets(), control_bytes(self.buckets()));
        self.len.store(CUT, Relaxed);
        self.growth_left.store(0, Relaxed);
        step();
        // SAFETY: by the type invariant the block holds this many control bytes.
        unsafe {
            self.control.write_bytes(EMPTY, buckets);
            self.control.add(buckets).write_bytes(PADDING, bytes - buckets);
        }
        step();
        self.growth_left.store(capacity_of(buckets) as u64, Relaxed);
        step();
        self.len.store(0, Relaxed);
    }

    /// Takes the table, and leaves one without a block.
    ///
    /// The taken one forgets its values: they are the walker's, and the block is given back without them.
    pub(crate) fn release(&mut self) -> (Self, Walker<T>) {
        let walker = self.iter();
        (self.adopt(Self::new()), walker)
    }

    /// Puts another table in this one's place, and returns the old block without its values, which are the caller's.
    pub(crate) fn adopt(&mut self, new: Self) -> Self {
        let new = ManuallyDrop::new(new);
        // INVARIANT: with a `len` of 0, full control bytes promise nothing.
        let old = Self::over(self.control, self.mask);
        let growth_left = new.growth_left.load(Relaxed);
        self.len.store(self.len() as u64 | CUT, Relaxed);
        self.growth_left.store(growth_left.min(self.growth_left.load(Relaxed)), Relaxed);
        // SAFETY: by the layout the first two words are `control` and `mask`.
        unsafe { whole::address_and_word(ptr::from_mut(self).cast(), new.control, new.mask) };
        self.growth_left.store(growth_left, Relaxed);
        step();
        self.len.store(new.len.load(Relaxed), Relaxed);
        step();
        old
    }

    /// Clones the table bucket by bucket.
    pub(crate) fn try_clone(&self) -> Result<Self, AllocError>
    where
        T: Clone,
    {
        if !self.has_block() {
            return Ok(Self::new());
        }
        let mut clone = Self::with_buckets(self.buckets())?;
        for position in (0..self.buckets()).step_by(WIDTH) {
            for offset in self.group(position).full() {
                let index = position + offset;
                // SAFETY: the bucket is full here; there it is empty until its control byte is set.
                unsafe {
                    let value = (*self.bucket(index)).clone();
                    clone.bucket(index).write(value);
                    clone.set_control(index, self.control(index));
                }
                *clone.len.get_mut() += 1;
            }
        }
        // SAFETY: both tables have as many control bytes; the same are full in both. Deleted ones are added.
        unsafe { clone.control.copy_from_nonoverlapping(self.control, control_bytes(self.buckets())) };
        *clone.growth_left.get_mut() = self.growth_left.load(Relaxed);
        Ok(clone)
    }

    #[inline(always)]
    pub(crate) fn mask(&self) -> usize {
        self.mask as usize
    }

    /// Returns where bucket `index` lies.
    #[inline(always)]
    pub(crate) fn bucket(&self, index: usize) -> *mut T {
        self.control.cast::<T>().wrapping_sub(index + 1)
    }

    /// Asks the processor for the buckets of the group at `position` while its control bytes are still on their way.
    ///
    /// In a large table both miss, and each has to look its page up first: side by side that takes half as long. For whoever
    /// is going to write a bucket, that is: a look-up that finds nothing needs none, and would pay for it.
    #[inline(always)]
    fn expect(&self, position: usize) {
        group::prefetch(self.bucket(position + WIDTH / 2).cast());
    }

    /// Loads the group that starts at bucket `position`, a multiple of its width.
    #[inline(always)]
    pub(super) fn group(&self, position: usize) -> Group {
        debug_assert!(self.has_block() && position <= self.mask() && position.is_multiple_of(WIDTH));
        // SAFETY: the block holds a whole group from every such position on; its first is aligned at the width.
        Group::load(unsafe { &*self.control.add(position).cast::<Bytes>() })
    }

    /// Returns the control byte of bucket `index`.
    #[inline(always)]
    pub(crate) fn control(&self, index: usize) -> u8 {
        assert!(index <= self.mask() || index < WIDTH);
        debug_assert!(self.has_block());
        // SAFETY: the block holds this byte.
        unsafe { self.control.add(index).read() }
    }

    /// Returns where the control byte of bucket `index` lies.
    pub(super) fn control_at(&self, index: usize) -> *mut u8 {
        assert!(self.has_block() && index <= self.mask(), "a table has so many buckets");
        self.control.wrapping_add(index)
    }

    /// Sets the control byte of bucket `index`.
    ///
    /// # Safety
    ///
    /// - The table has such a bucket.
    /// - It holds a value that is ours exactly if the byte says full.
    #[inline(always)]
    pub(crate) unsafe fn set_control(&mut self, index: usize, byte: u8) {
        debug_assert!(self.has_block() && index <= self.mask());
        // SAFETY: the caller's first duty; the block holds a byte for each bucket.
        unsafe { self.control.add(index).write(byte) };
    }

    /// Sets the number of values, and what may still be filled if none is deleted.
    ///
    /// # Safety
    ///
    /// That many control bytes are full, and their buckets hold values that are ours; or it is 0.
    pub(crate) unsafe fn set_len(&mut self, len: usize) {
        self.growth_left.store((capacity_of(self.buckets()) - len) as u64, Relaxed);
        step();
        self.len.store(len as u64, Relaxed);
    }

    fn drop_values(&mut self) {
        if std::mem::needs_drop::<T>() {
            for value in self.iter() {
                // SAFETY: the walker visits every live value once; the caller forgets them all.
                unsafe { value.drop_in_place() };
            }
        }
    }
}

impl<T> Drop for Table<T> {
    #[inline]
    fn drop(&mut self) {
        /// Gives the block back even if a value panics while it is dropped; the values behind it then leak.
        struct Block<'a, T>(&'a mut Table<T>);
        impl<T> Drop for Block<'_, T> {
            fn drop(&mut self) {
                let (layout, to_control) =
                    shape::<T>(self.0.buckets()).expect("the block was allocated with this shape");
                // SAFETY: by the type invariant the block starts there, is ours and has this shape; its table is going.
                unsafe {
                    let block = NonNull::new_unchecked(self.0.control.sub(to_control));
                    alloc::deallocate(block, layout);
                }
            }
        }
        if self.has_block() {
            Block(self).0.drop_values();
        }
    }
}

/// A full bucket of a table that is borrowed.
///
/// # Invariants
///
/// The bucket is full.
pub(crate) struct Occupied<'a, T> {
    table: &'a mut Table<T>,
    index: usize,
}

impl<'a, T> Occupied<'a, T> {
    #[inline]
    pub(crate) fn get(&self) -> &T {
        // SAFETY: by the type invariant the bucket is full, and borrowed with `self`.
        unsafe { &*self.table.bucket(self.index) }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        // SAFETY: by the type invariant the bucket is full, and borrowed with `self`.
        unsafe { &mut *self.table.bucket(self.index) }
    }

    #[inline]
    pub(crate) fn into_mut(self) -> &'a mut T {
        // SAFETY: by the type invariant the bucket is full, and borrowed with the table.
        unsafe { &mut *self.table.bucket(self.index) }
    }

    /// Takes the value out.
    #[inline]
    pub(crate) fn remove(self) -> T {
        let Self { table, index } = self;
        // A group that has an empty bucket never was full, so no walk has passed it.
        let passed = !table.group(index / WIDTH * WIDTH).empty().any();
        // SAFETY: by the type invariant the bucket is full; it no longer is once it has been read.
        unsafe {
            let len = table.len() as u64;
            table.len.store(len | CUT, Relaxed);
            step();
            table.set_control(index, if passed { DELETED } else { EMPTY });
            step();
            table.growth_left.store(table.growth_left.load(Relaxed) + u64::from(!passed), Relaxed);
            let value = table.bucket(index).read();
            step();
            table.len.store(len.wrapping_sub(1), Relaxed);
            value
        }
    }
}
