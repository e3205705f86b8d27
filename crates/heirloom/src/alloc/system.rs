//! The process's own allocator in place of a heap, for unit tests.
#![expect(unsafe_code, reason = "hands out and takes back raw memory")]

use std::alloc::Layout;
use std::ptr::NonNull;

use super::AllocError;

/// The unit to which blocks are rounded up.
const GRAIN: usize = 16;

pub(super) fn allocate(layout: Layout) -> Result<NonNull<u8>, AllocError> {
    let layout = grained(layout);
    // SAFETY: the size is not zero: callers of the module owe that.
    let block = unsafe { std::alloc::alloc(layout) };
    NonNull::new(block).ok_or(AllocError { size_bytes: layout.size() })
}

pub(super) fn allocate_zeroed(layout: Layout) -> Result<NonNull<u8>, AllocError> {
    let layout = grained(layout);
    // SAFETY: the size is not zero: callers of the module owe that.
    let block = unsafe { std::alloc::alloc_zeroed(layout) };
    NonNull::new(block).ok_or(AllocError { size_bytes: layout.size() })
}

/// # Safety
///
/// As [`super::deallocate`].
pub(super) unsafe fn deallocate(block: NonNull<u8>, layout: Layout) {
    // SAFETY: the rounding is the same as at the allocation.
    unsafe { std::alloc::dealloc(block.as_ptr(), grained(layout)) };
}

/// # Safety
///
/// As [`super::reallocate`].
pub(super) unsafe fn reallocate(
    block: NonNull<u8>,
    old: Layout,
    new: Layout,
) -> Result<NonNull<u8>, AllocError> {
    let new = grained(new);
    // SAFETY: the caller passes the block and its layout; the rounding is the same as at the allocation.
    let block = unsafe { std::alloc::realloc(block.as_ptr(), grained(old), new.size()) };
    NonNull::new(block).ok_or(AllocError { size_bytes: new.size() })
}

pub(super) fn usable_size(layout: Layout) -> usize {
    grained(layout).size()
}

/// Rounds a layout up to whole grains, or leaves it if that cannot be expressed.
fn grained(layout: Layout) -> Layout {
    let size = layout.size().checked_next_multiple_of(GRAIN).unwrap_or(layout.size());
    Layout::from_size_align(size, layout.align()).unwrap_or(layout)
}
