//! The interface over the pool of the open heap.
//!
//! ```text
//! allocate    seat (a thread-local) --> class of the size (a table) --> magazine: one slot less     2 loads, 1 store
//! deallocate  seat --> class --> zeroed, if the heap wants that --> magazine: one slot more
//!                 `-- none: outside the heap, an empty or full magazine, a large object .. : the slow ways below
//! ```
//!
//! A thread that is outside enters for the one call.
#![expect(unsafe_code, reason = "hands out and takes back raw memory")]

use std::alloc::Layout;
use std::ptr::NonNull;

use heirloom_slab::size_class::class_at_hand;
use heirloom_slab::{Contents, OutOfMemory};

use super::{AllocError, bytes};
use crate::heap::door::{self, Seat};

/// The alignment that every slot has.
const SLOT_ALIGN: usize = 16;

#[inline(always)]
pub(super) fn allocate(layout: Layout) -> Result<NonNull<u8>, AllocError> {
    let block = match take(layout) {
        Some(block) => Some(block),
        None => allocate_slowly(layout),
    };
    block.ok_or(AllocError { size_bytes: layout.size() })
}

/// The fast way of an allocation.
#[inline(always)]
fn take(layout: Layout) -> Option<NonNull<u8>> {
    if layout.align() > SLOT_ALIGN {
        return None;
    }
    // SAFETY: the reference goes no further.
    let seat = unsafe { door::seat() }?;
    let slot = seat.magazines.take(class_at_hand(layout.size()))?;
    Some(seat.address_of(slot))
}

#[inline]
pub(super) fn allocate_zeroed(layout: Layout) -> Result<NonNull<u8>, AllocError> {
    let zero = |seat: &Seat, block: NonNull<u8>| {
        if !seat.zeroes {
            // SAFETY: the block is ours and holds `layout.size()` bytes.
            unsafe { block.as_ptr().write_bytes(0, layout.size()) };
        }
    };
    if let Some(block) = take(layout) {
        // SAFETY: the reference goes no further.
        if let Some(seat) = unsafe { door::seat() } {
            zero(seat, block);
        }
        return Ok(block);
    }
    allocate_zeroed_slowly(layout)
}

#[cold]
#[inline(never)]
fn allocate_zeroed_slowly(layout: Layout) -> Result<NonNull<u8>, AllocError> {
    let zeroed = |seat: &Seat, layout: Layout| {
        let block = allocate_at(seat, layout, Contents::Zeroed)?;
        // Under `Scrub::OnFree` every free slot is zero, and a large object is as asked for.
        if !seat.zeroes && seat.hall.pool().cache_for(layout.size(), layout.align()).is_some() {
            // SAFETY: the block is ours and holds `layout.size()` bytes.
            unsafe { block.as_ptr().write_bytes(0, layout.size()) };
        }
        Ok(block)
    };
    // SAFETY: the reference goes no further.
    match unsafe { door::seat() } {
        Some(seat) => zeroed(seat, layout),
        None => outside(layout, zeroed),
    }
}

/// # Safety
///
/// As [`super::deallocate`].
#[inline(always)]
pub(super) unsafe fn deallocate(block: NonNull<u8>, layout: Layout) {
    // SAFETY: passed on.
    unsafe {
        if !put(block, layout) {
            deallocate_slowly(block, layout);
        }
    }
}

/// The fast way of a free; false where nothing was done.
///
/// # Safety
///
/// As [`super::deallocate`].
#[inline(always)]
unsafe fn put(block: NonNull<u8>, layout: Layout) -> bool {
    if layout.align() > SLOT_ALIGN {
        return false;
    }
    // SAFETY: the reference goes no further.
    let Some(seat) = (unsafe { door::seat() }) else { return false };
    let Some(slot) = seat.offset_of(block) else { return false };
    let Some(place) = seat.magazines.room(class_at_hand(layout.size())) else { return false };
    // SAFETY: the block came from this pool with this layout; a user of it wrote no further than its size.
    unsafe {
        if seat.zeroes {
            bytes::zero(block, layout.size());
        }
        place.put(slot);
    }
    true
}

/// # Safety
///
/// As [`super::reallocate`].
#[inline]
pub(super) unsafe fn reallocate(
    block: NonNull<u8>,
    old: Layout,
    new: Layout,
) -> Result<NonNull<u8>, AllocError> {
    // SAFETY: passed on.
    unsafe {
        match grow(block, old, new) {
            Some(grown) => Ok(grown),
            None => reallocate_slowly(block, old, new),
        }
    }
}

/// The fast way of growing from one slot to a larger one; `None` where nothing was done.
///
/// # Safety
///
/// As [`super::reallocate`].
#[inline(always)]
unsafe fn grow(block: NonNull<u8>, old: Layout, new: Layout) -> Option<NonNull<u8>> {
    let (from, to) = (class_at_hand(old.size()), class_at_hand(new.size()));
    if old.align() > SLOT_ALIGN || from >= to {
        return None;
    }
    // SAFETY: the reference goes no further.
    let seat = unsafe { door::seat() }?;
    if seat.offset_of(block).is_none() || !seat.magazines.has(to) {
        return None;
    }
    let moved = seat.address_of(seat.magazines.take(to)?);
    // SAFETY: the old size, rounded up, fits its slot, and that is smaller than what was asked for now.
    unsafe {
        bytes::copy(block, moved, old.size());
        deallocate(block, old);
    }
    Some(moved)
}

/// # Safety
///
/// As [`super::reallocate`].
#[cold]
#[inline(never)]
unsafe fn reallocate_slowly(block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<u8>, AllocError> {
    // SAFETY: the reference goes no further; the rest is passed on.
    match unsafe { door::seat() } {
        // SAFETY: passed on.
        Some(seat) => unsafe { reallocate_at(seat, block, old, new) },
        // SAFETY: passed on.
        None => outside(new, |seat, new| unsafe { reallocate_at(seat, block, old, new) }),
    }
}

pub(super) fn is_here(block: NonNull<u8>) -> bool {
    let is_here = |seat: &Seat| seat.offset_of(block).is_some();
    // SAFETY: the reference goes no further.
    let found = unsafe { door::seat() }.map(is_here).or_else(|| door::with_seat_for_now(is_here));
    found.unwrap_or(false)
}

pub(super) fn is_large(layout: Layout) -> bool {
    let is_large = |seat: &Seat| seat.hall.pool().cache_for(layout.size(), layout.align()).is_none();
    // SAFETY: the reference goes no further.
    let found = unsafe { door::seat() }.map(is_large).or_else(|| door::with_seat_for_now(is_large));
    found.unwrap_or(false)
}

pub(super) fn usable_size(layout: Layout) -> usize {
    let usable = |seat: &Seat| seat.hall.pool().usable_bytes(layout.size(), layout.align());
    // SAFETY: the reference goes no further.
    let usable = unsafe { door::seat() }.map(usable).or_else(|| door::with_seat_for_now(usable));
    usable.unwrap_or(layout.size())
}

#[cold]
#[inline(never)]
fn allocate_slowly(layout: Layout) -> Option<NonNull<u8>> {
    // SAFETY: the reference goes no further.
    let block = match unsafe { door::seat() } {
        Some(seat) => allocate_at(seat, layout, Contents::Any),
        None => outside(layout, |seat, layout| allocate_at(seat, layout, Contents::Any)),
    };
    block.ok()
}

/// # Safety
///
/// As [`super::deallocate`].
#[cold]
#[inline(never)]
unsafe fn deallocate_slowly(block: NonNull<u8>, layout: Layout) {
    // SAFETY: passed on.
    let free = |seat: &Seat| unsafe { deallocate_at(seat, block, layout) };
    // SAFETY: the reference goes no further.
    match unsafe { door::seat() } {
        Some(seat) => free(seat),
        // Where no heap is open, the block went with the one it came from.
        None => drop(door::with_seat_for_now(free)),
    }
}

#[cold]
fn outside<T>(
    layout: Layout,
    f: impl FnOnce(&Seat, Layout) -> Result<T, AllocError>,
) -> Result<T, AllocError> {
    let failed = Err(AllocError { size_bytes: layout.size() });
    door::with_seat_for_now(|seat| f(seat, layout)).unwrap_or(failed)
}

fn allocate_at(seat: &Seat, layout: Layout, contents: Contents) -> Result<NonNull<u8>, AllocError> {
    let pool = seat.hall.pool();
    let offset = match pool.cache_for(layout.size(), layout.align()) {
        Some(cache) => pool.alloc(seat.cpu, cache),
        None => allocate_large(seat, layout, contents),
    };
    match offset {
        Ok(offset) => Ok(seat.address_of(offset)),
        Err(_) => Err(AllocError { size_bytes: layout.size() }),
    }
}

fn allocate_large(seat: &Seat, layout: Layout, contents: Contents) -> Result<u64, OutOfMemory> {
    let pool = seat.hall.pool();
    let bytes = layout.size() as u64;
    // A run of units is aligned to a unit and no more.
    if layout.align() as u64 > pool.geometry().unit_bytes() {
        return Err(OutOfMemory { bytes });
    }
    pool.alloc_large(bytes, contents)
}

/// # Safety
///
/// As [`super::deallocate`].
unsafe fn deallocate_at(seat: &Seat, block: NonNull<u8>, layout: Layout) {
    // A collection that outlived its heap: the block went with it, and elsewhere nothing is to be changed.
    let Some(offset) = seat.offset_of(block) else { return };
    let pool = seat.hall.pool();
    // SAFETY: the block came from this pool with this layout; a user of the block wrote no further than its size.
    unsafe {
        match pool.cache_for(layout.size(), layout.align()) {
            Some(cache) => pool.free(seat.cpu, cache, offset, layout.size()),
            None => pool.free_large(offset),
        }
    }
}

/// # Safety
///
/// As [`super::reallocate`].
unsafe fn reallocate_at(
    seat: &Seat,
    block: NonNull<u8>,
    old: Layout,
    new: Layout,
) -> Result<NonNull<u8>, AllocError> {
    let Some(offset) = seat.offset_of(block) else {
        return Err(AllocError { size_bytes: new.size() });
    };
    // SAFETY: the caller's block.
    if unsafe { stays_at(seat, block, offset, old, new) } {
        return Ok(block);
    }
    let moved = allocate(new)?;
    // SAFETY: both blocks hold the smaller of the sizes, and they are two.
    unsafe {
        moved.as_ptr().copy_from_nonoverlapping(block.as_ptr(), old.size().min(new.size()));
        deallocate(block, old);
    }
    Ok(moved)
}

/// # Safety
///
/// As [`super::resize_in_place`].
pub(super) unsafe fn resize_in_place(block: NonNull<u8>, old: Layout, new: Layout) -> bool {
    let resize = |seat: &Seat| match seat.offset_of(block) {
        // SAFETY: passed on.
        Some(offset) => unsafe { stays_at(seat, block, offset, old, new) },
        None => false,
    };
    // SAFETY: the reference goes no further.
    match unsafe { door::seat() } {
        Some(seat) => resize(seat),
        None => door::with_seat_for_now(resize).unwrap_or(false),
    }
}

/// Resizes the block at `offset` if it can stay.
///
/// # Safety
///
/// As [`super::resize_in_place`].
unsafe fn stays_at(seat: &Seat, block: NonNull<u8>, offset: u64, old: Layout, new: Layout) -> bool {
    let pool = seat.hall.pool();
    let (from, to) = (pool.cache_for(old.size(), old.align()), pool.cache_for(new.size(), new.align()));
    let stays = match (from, to) {
        (Some(from), Some(to)) => from == to,
        // SAFETY: the caller's block, of which a shrinking caller uses no more than the new size.
        (None, None) => unsafe { pool.resize_large(offset, new.size() as u64, Contents::Any) },
        _ => false,
    };
    if stays && from.is_some() && new.size() < old.size() {
        // Bytes beyond a block's size are zero: those that go are zeroed while we still know them.
        // SAFETY: they are within the block.
        unsafe { block.as_ptr().add(new.size()).write_bytes(0, old.size() - new.size()) };
    }
    stays
}
