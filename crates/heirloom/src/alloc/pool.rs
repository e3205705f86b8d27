//! The interface over the pool of the open heap.
//!
//! The fast path is: this thread's seat (a thread-local), the class of the size, the magazine of that class. A thread that is
//! outside enters for the one call.
#![expect(unsafe_code, reason = "hands out and takes back raw memory")]

use std::alloc::Layout;
use std::ptr::NonNull;

use heirloom_slab::Scrub;

use super::AllocError;
use crate::heap::door::{self, Seat};

#[inline]
pub(super) fn allocate(layout: Layout) -> Result<NonNull<u8>, AllocError> {
    match door::with_seat(|seat| allocate_at(seat, layout)) {
        Some(block) => block,
        None => outside(layout, allocate_at),
    }
}

#[inline]
pub(super) fn allocate_zeroed(layout: Layout) -> Result<NonNull<u8>, AllocError> {
    let block = allocate(layout)?;
    // Under `Scrub::OnFree` every free slot is zero; a large object always is.
    let zero = |seat: &Seat| {
        let pool = seat.hall.pool();
        if pool.scrub() == Scrub::AtFreeze && pool.cache_for(layout.size(), layout.align()).is_some() {
            // SAFETY: the block is ours and holds `layout.size()` bytes.
            unsafe { block.as_ptr().write_bytes(0, layout.size()) };
        }
    };
    if door::with_seat(zero).is_none() {
        door::with_seat_for_now(zero);
    }
    Ok(block)
}

/// # Safety
///
/// As [`super::deallocate`].
#[inline]
pub(super) unsafe fn deallocate(block: NonNull<u8>, layout: Layout) {
    // SAFETY: passed on.
    let free = |seat: &Seat| unsafe { deallocate_at(seat, block, layout) };
    if door::with_seat(free).is_none() {
        // Where no heap is open, the block went with the one it came from.
        door::with_seat_for_now(free);
    }
}

/// # Safety
///
/// As [`super::reallocate`].
pub(super) unsafe fn reallocate(
    block: NonNull<u8>,
    old: Layout,
    new: Layout,
) -> Result<NonNull<u8>, AllocError> {
    // SAFETY: passed on.
    match door::with_seat(|seat| unsafe { reallocate_at(seat, block, old, new) }) {
        Some(block) => block,
        // SAFETY: passed on.
        None => outside(new, |seat, new| unsafe { reallocate_at(seat, block, old, new) }),
    }
}

pub(super) fn usable_size(layout: Layout) -> usize {
    let usable = |seat: &Seat| seat.hall.pool().usable_bytes(layout.size(), layout.align());
    door::with_seat(usable).or_else(|| door::with_seat_for_now(usable)).unwrap_or(layout.size())
}

#[cold]
fn outside<T>(
    layout: Layout,
    f: impl FnOnce(&Seat, Layout) -> Result<T, AllocError>,
) -> Result<T, AllocError> {
    let failed = Err(AllocError { size_bytes: layout.size() });
    door::with_seat_for_now(|seat| f(seat, layout)).unwrap_or(failed)
}

#[inline(always)]
fn allocate_at(seat: &Seat, layout: Layout) -> Result<NonNull<u8>, AllocError> {
    let pool = seat.hall.pool();
    let offset = match pool.cache_for(layout.size(), layout.align()) {
        Some(cache) => pool.alloc(seat.cpu, cache),
        None => allocate_large(seat, layout),
    };
    match offset {
        // SAFETY: an offset inside the mapping, whose base is not null.
        Ok(offset) => Ok(unsafe { NonNull::new_unchecked(pool.address(offset)) }),
        Err(_) => Err(AllocError { size_bytes: layout.size() }),
    }
}

#[cold]
fn allocate_large(seat: &Seat, layout: Layout) -> Result<u64, heirloom_slab::OutOfMemory> {
    let pool = seat.hall.pool();
    let bytes = layout.size() as u64;
    // A run of units is aligned to a unit and no more.
    if layout.align() as u64 > pool.geometry().unit_bytes() {
        return Err(heirloom_slab::OutOfMemory { bytes });
    }
    pool.alloc_large(bytes)
}

/// # Safety
///
/// As [`super::deallocate`].
#[inline(always)]
unsafe fn deallocate_at(seat: &Seat, block: NonNull<u8>, layout: Layout) {
    // A collection that outlived its heap: the block went with it, and elsewhere nothing is to be changed.
    if !seat.holds(block) {
        return;
    }
    let pool = seat.hall.pool();
    let offset = pool.offset(block);
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
    if !seat.holds(block) {
        return Err(AllocError { size_bytes: new.size() });
    }
    let pool = seat.hall.pool();
    let (from, to) = (pool.cache_for(old.size(), old.align()), pool.cache_for(new.size(), new.align()));
    let stays = match (from, to) {
        (Some(from), Some(to)) => from == to,
        // SAFETY: the caller's block; what a shrink drops is zeroed below, before anybody else sees it.
        (None, None) => unsafe { pool.resize_large(pool.offset(block), new.size() as u64) },
        _ => false,
    };
    if stays {
        if new.size() < old.size() {
            // Bytes beyond a block's size are zero: those that go are zeroed while we still know them.
            // SAFETY: they are within the block.
            unsafe { block.as_ptr().add(new.size()).write_bytes(0, old.size() - new.size()) };
        }
        return Ok(block);
    }
    let moved = allocate_at(seat, new)?;
    // SAFETY: both blocks hold the smaller of the sizes, and they are two.
    unsafe {
        moved.as_ptr().copy_from_nonoverlapping(block.as_ptr(), old.size().min(new.size()));
        deallocate_at(seat, block, old);
    }
    Ok(moved)
}
