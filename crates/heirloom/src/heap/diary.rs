//! The diary of a thread: what it is about to change, in the heap, where a recovery finds it.
//!
//! ```text
//! CPU slot: diary --> | head | roots being changed | entry | entry | ..        `heirloom_abi::diary`
//! ```
//!
//! Two kinds of users: a transaction (`transact`) has a [`Diary`] open for as long as it lasts, and a change of a collection that takes more
//! than one store leaves a [`Note`] for the few instructions that it takes (`whole`), behind the transaction's entries if one is open.
//!
//! A thread gets one when it first needs one, and leaves it to the next thread of its CPU slot. The format says what each store
//! means; here they are made, each step behind a compiler fence: a kill leaves a thread at a prefix of its program order.
//!
//! # Invariants
//!
//! - *trusted*: a diary that a predecessor left was checked when the heap was opened; the slot's word names none that was not.
//! - *before*: an entry is covered by `used` before the place it speaks of is written.
#![expect(unsafe_code, reason = "writes to a block of the heap that the thread owns")]

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use heirloom_abi::diary::{
    CHANGING, CHANGING_AT, ENTRIES_AT, ENTRY_BYTES, KIND_BLOCK, KIND_BYTES, MAGIC, MAX_BYTES, USED_AT,
};
use heirloom_slab::{Pool, caller_step};

use super::door::{self, Seat};
use super::host::BlockHost;
use crate::alloc::{self, AllocError};
use crate::backing::Backing;
use crate::whole::{Place, step};

/// Bytes of a first diary.
const FIRST_BYTES: usize = 4096;

/// The calling thread's diary.
///
/// Where it lies is asked of the seat each time: another view of it, further down the call stack, may have moved it.
pub(crate) struct Diary<'a> {
    seat: &'a Seat,
    /// As in the block; kept so that it is not read back.
    used: usize,
}

/// Nothing was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The heap is full.
    Alloc(AllocError),
    /// A diary would need so many bytes.
    TooLarge(usize),
    /// What is to be written down does not lie in the heap.
    Outside,
}

impl From<AllocError> for Refused {
    fn from(error: AllocError) -> Self {
        Self::Alloc(error)
    }
}

impl<'a> Diary<'a> {
    /// Opens the diary of the thread that is inside with `seat`.
    #[inline(always)]
    pub(crate) fn open(seat: &'a Seat) -> Result<Self, AllocError> {
        if seat.cpu.diary().load(Relaxed) == 0 {
            Self::make(seat)?;
        }
        let mut diary = Self { seat, used: 0 };
        diary.used = diary.used_word().load(Relaxed) as usize;
        Ok(diary)
    }

    #[cold]
    #[inline(never)]
    fn make(seat: &Seat) -> Result<(), AllocError> {
        publish(seat, new_block(FIRST_BYTES)?);
        Ok(())
    }

    #[inline(always)]
    fn block(&self) -> NonNull<u8> {
        self.seat.address_of(self.seat.cpu.diary().load(Relaxed))
    }

    #[inline(always)]
    fn capacity(&self) -> usize {
        // SAFETY: by *trusted* a diary lies there, and it is this thread's.
        unsafe { self.block().as_ptr().add(8).cast::<u64>().read() as usize }
    }

    /// True while a transaction is open.
    pub(crate) fn is_in_use(&self) -> bool {
        self.used > 0
    }

    /// Writes down what stands at a place that is about to be written, and returns where in the diary the bytes are.
    ///
    /// # Safety
    ///
    /// The place can be read for `len` bytes.
    pub(crate) unsafe fn note_bytes(&mut self, place: NonNull<u8>, len: usize) -> Result<usize, Refused> {
        let offset = self.seat.offset_of(place).ok_or(Refused::Outside)?;
        let bytes = u32::try_from(len).map_err(|_| Refused::TooLarge(len))?;
        let at = self.room(ENTRY_BYTES + len.next_multiple_of(8))?;
        self.write_head(at, offset, bytes, KIND_BYTES);
        // SAFETY: there is room for it, and the place is the caller's promise; it is no part of the diary.
        unsafe {
            self.block().as_ptr().add(at + ENTRY_BYTES).copy_from_nonoverlapping(place.as_ptr(), len);
        }
        self.cover(at + ENTRY_BYTES + len.next_multiple_of(8));
        Ok(at + ENTRY_BYTES)
    }

    /// Writes down what stands at several places, of which those outside the heap are left out; covered by one store. Says whether the diary had to
    /// move for it.
    ///
    /// Inlined to the last call, place by place: where a size is known, its old bytes are a few moves. The compiler does not unroll a loop
    /// around a copy, and in a loop it takes every size for unknown.
    ///
    /// # Safety
    ///
    /// The places can be read.
    #[inline(always)]
    unsafe fn note_all<const N: usize>(&mut self, places: &[Place; N]) -> Result<bool, Refused> {
        const { assert!(N <= 4, "each place has its line below") };
        let (mut needed, mut offsets) = (0, [None; N]);
        for nr in 0..N {
            needed += ENTRY_BYTES + places[nr].bytes.next_multiple_of(8);
            offsets[nr] = self.seat.offset_of(places[nr].start).filter(|_| places[nr].bytes > 0);
        }
        let mut block = self.block().as_ptr();
        // SAFETY: by *trusted* a diary lies there, and it is this thread's.
        let capacity = unsafe { block.add(8).cast::<u64>().read() as usize };
        let mut at = ENTRIES_AT + self.used;
        let moves = needed > capacity - at;
        if moves {
            Self::grow(self.seat, self.used, at.saturating_add(needed))?;
            block = self.block().as_ptr();
        }
        let mut note = |nr: usize| {
            let (Some(&place), Some(&Some(offset))) = (places.get(nr), offsets.get(nr)) else { return };
            // SAFETY: there is room for the entry, and the place is the caller's promise; it is no part of the diary.
            at += unsafe { write_entry(block.add(at), offset, place) };
        };
        note(0);
        note(1);
        note(2);
        note(3);
        self.cover(at);
        Ok(moves)
    }

    /// Writes down that a block belongs to what is about to be written: undoing gives it back.
    pub(crate) fn note_block(&mut self, block: NonNull<u8>) -> Result<(), Refused> {
        let offset = self.seat.offset_of(block).ok_or(Refused::Outside)?;
        let at = self.room(ENTRY_BYTES)?;
        self.write_head(at, offset, 0, KIND_BLOCK);
        self.cover(at + ENTRY_BYTES);
        Ok(())
    }

    /// Drops the entries behind `used` bytes: what they speak of was not touched.
    #[inline(always)]
    pub(crate) fn forget_behind(&mut self, used: usize) {
        self.used = used;
        self.used_word().store(used as u64, Release);
    }

    /// Bytes of the entries that count.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Old bytes, by the number that [`Diary::note_bytes`] returned. Good until the next note.
    pub(crate) fn old_bytes(&self, at: usize) -> *const u8 {
        debug_assert!(at < ENTRIES_AT + self.used);
        // SAFETY: within the block.
        unsafe { self.block().as_ptr().add(at).cast_const() }
    }

    /// What was written down counts no longer: one store. It is the commit, and the end of an undoing.
    pub(crate) fn close(&mut self) {
        caller_step();
        self.forget_behind(0);
        caller_step();
    }

    /// Notes that this thread changes a root; false where it changes too many.
    pub(crate) fn note_change(&self, root: u32) -> bool {
        self.replace_change(0, root + 1)
    }

    /// Takes back what [`Diary::note_change`] noted for a root.
    pub(crate) fn end_change(&self, root: u32) {
        // One of those that say so, whichever: they are equal.
        self.replace_change(root + 1, 0);
    }

    fn replace_change(&self, from: u32, to: u32) -> bool {
        caller_step();
        let mut words = (0..CHANGING).map(|n| self.word(CHANGING_AT + 4 * n));
        let Some(word) = words.find(|word| word.load(Relaxed) == from) else { return false };
        word.store(to, Release);
        caller_step();
        true
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        // SAFETY: within the block and aligned; such words are atomics always.
        unsafe { &*self.block().as_ptr().add(at).cast::<AtomicU32>() }
    }

    #[inline(always)]
    fn used_word(&self) -> &AtomicU64 {
        // SAFETY: within the block and aligned; it is an atomic always.
        unsafe { &*self.block().as_ptr().add(USED_AT).cast::<AtomicU64>() }
    }

    fn write_head(&self, at: usize, offset: u64, bytes: u32, kind: u32) {
        // SAFETY: there is room at `at`, a multiple of 8, behind what `used` covers.
        unsafe {
            let words = self.block().as_ptr().add(at).cast::<u64>();
            words.write(offset);
            words.add(1).write(u64::from(bytes) | u64::from(kind) << 32);
        }
    }

    #[inline(always)]
    fn cover(&mut self, end: usize) {
        caller_step();
        self.used = end - ENTRIES_AT;
        self.used_word().store(self.used as u64, Release);
        // What is written next is written behind this.
        caller_step();
    }

    /// Where the next entry goes.
    fn room(&mut self, bytes: usize) -> Result<usize, Refused> {
        let end = (ENTRIES_AT + self.used).saturating_add(bytes);
        if end > self.capacity() {
            Self::grow(self.seat, self.used, end)?;
        }
        Ok(ENTRIES_AT + self.used)
    }

    /// Moves to a block of the first size, with nothing in it that counts; stays where it is if there is none.
    ///
    /// By value, as is [`grow`](Self::grow): a diary whose address nobody takes stays in registers.
    #[cold]
    #[inline(never)]
    fn shrink(self) {
        // A root that is being changed is noted in the head.
        let is_changing = (0..CHANGING).any(|n| self.word(CHANGING_AT + 4 * n).load(Relaxed) != 0);
        let Some(block) = (!is_changing).then(|| new_block(FIRST_BYTES).ok()).flatten() else { return };
        let (old, old_capacity) = (self.block(), self.capacity());
        publish(self.seat, block);
        // SAFETY: allocated with this layout, and named by nobody any more.
        unsafe { alloc::deallocate(old, layout(old_capacity)) };
    }

    /// Moves a diary with so many bytes of entries to a larger block: complete before the slot names it.
    #[cold]
    #[inline(never)]
    fn grow(seat: &Seat, used: usize, least: usize) -> Result<(), Refused> {
        let diary = Diary { seat, used };
        let capacity = least.checked_next_power_of_two().filter(|&capacity| capacity <= MAX_BYTES);
        let capacity = capacity.ok_or(Refused::TooLarge(least))?;
        let block = new_block(capacity)?;
        // SAFETY: both blocks hold this much, and they are two. The head's capacity stays the new one's.
        unsafe {
            let (from, to) = (diary.block().as_ptr().add(USED_AT), block.as_ptr().add(USED_AT));
            to.copy_from_nonoverlapping(from, ENTRIES_AT - USED_AT + used);
        }
        let (old, old_capacity) = (diary.block(), diary.capacity());
        publish(seat, block);
        // SAFETY: allocated with this layout, and named by nobody any more.
        unsafe { alloc::deallocate(old, layout(old_capacity)) };
        Ok(())
    }
}

/// Writes an entry with what stands at a place; returns how long it is.
///
/// # Safety
///
/// There is room for it, and the place can be read.
#[inline(always)]
unsafe fn write_entry(entry: *mut u8, offset: u64, place: Place) -> usize {
    // A diary is never so large that the length would not fit.
    let length_and_kind = place.bytes as u64 | u64::from(KIND_BYTES) << 32;
    // SAFETY: by the caller.
    unsafe {
        entry.cast::<u64>().write(offset);
        entry.add(8).cast::<u64>().write(length_and_kind);
        entry.add(ENTRY_BYTES).copy_from_nonoverlapping(place.start.as_ptr(), place.bytes);
    }
    ENTRY_BYTES + place.bytes.next_multiple_of(8)
}

/// Old bytes of places that are about to be written, until it is retired.
///
/// Behind the entries of a transaction, should one be open: its own view of the diary ends where this begins.
pub(crate) struct Note {
    diary: Diary<'static>,
    before: usize,
    /// The diary has become larger for it.
    has_moved: bool,
}

/// A diary that a large change has made larger than this is let go behind it.
const MOST_KEPT: usize = 64 << 10;

impl Note {
    /// Begins a note for a place of this thread's. `None` where nothing needs to be written down: this thread is in no heap, or the place is not
    /// in it.
    #[inline(always)]
    pub(crate) fn begin(place: NonNull<u8>) -> Result<Option<Self>, AllocError> {
        // SAFETY: the reference goes no further than the change that this is about.
        let Some(seat) = (unsafe { door::seat() }) else { return Ok(None) };
        if seat.offset_of(place).is_none() {
            return Ok(None);
        }
        let diary = Diary::open(seat)?;
        let before = diary.used;
        Ok(Some(Self { diary, before, has_moved: false }))
    }

    /// Writes down what stands at more places; those outside the heap are left out. On an error nothing more is noted.
    ///
    /// # Safety
    ///
    /// The places can be read.
    #[inline(always)]
    pub(crate) unsafe fn add<const N: usize>(&mut self, places: &[Place; N]) -> Result<(), AllocError> {
        // SAFETY: by the caller.
        match unsafe { self.diary.note_all(places) } {
            Ok(moved) => {
                self.has_moved |= moved;
                Ok(())
            }
            Err(Refused::Alloc(error)) => Err(error),
            Err(Refused::TooLarge(size_bytes)) => Err(AllocError { size_bytes }),
            Err(Refused::Outside) => Ok(()),
        }
    }

    /// The places have been written.
    #[inline(always)]
    pub(crate) fn retire(mut self) {
        self.diary.forget_behind(self.before);
        step();
        if self.has_moved && self.before == 0 && self.diary.capacity() > MOST_KEPT {
            self.diary.shrink();
        }
    }
}

/// Zeroes all that the diaries say: old values, of which a secret may be one, and roots that are being changed. The door is closed, so no root is:
/// a guard that was leaked ended with its thread's stay, and must not poison a root when some later owner dies.
pub(super) fn wipe(pool: &Pool<BlockHost>, backing: &Backing) {
    for index in 0..pool.nr_cpu_slots() {
        let offset = pool.cpu(index).diary().load(Relaxed);
        if offset == 0 {
            continue;
        }
        // SAFETY: by *trusted* a diary lies there, with room for as much as it says, and its thread is outside: no entry counts.
        unsafe {
            let block = backing.base().as_ptr().add(offset as usize);
            let capacity = block.add(8).cast::<u64>().read() as usize;
            block.add(CHANGING_AT).write_bytes(0, capacity - CHANGING_AT);
        }
    }
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, 8).unwrap_or(Layout::new::<u64>())
}

/// An empty diary that nobody names yet.
fn new_block(capacity: usize) -> Result<NonNull<u8>, AllocError> {
    let block = alloc::allocate_zeroed(layout(capacity))?;
    // SAFETY: the block is ours and holds a head.
    unsafe {
        block.as_ptr().cast::<[u8; 8]>().write(MAGIC);
        block.as_ptr().add(8).cast::<u64>().write(capacity as u64);
    }
    Ok(block)
}

fn publish(seat: &Seat, block: NonNull<u8>) {
    caller_step();
    let offset = seat.offset_of(block).unwrap_or(0);
    seat.cpu.diary().store(offset, Release);
    caller_step();
}
