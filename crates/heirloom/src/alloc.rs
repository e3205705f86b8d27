//! Memory of the heap: the only door from the collections to the allocator.
//!
//! ```text
//! boxed  vec  string  hash_map   --allocate(layout)-->   alloc   -->   pool
//! ```
//!
//! A collection first asks [`usable_size`] what the block for its next capacity would really hold and then allocates
//! exactly that much, so that the layout it gives back is always the layout it asked for.
//!
//! The bytes come from the process's own allocator until the pool stands behind this interface.

#![expect(unsafe_code, reason = "hands out and takes back raw memory")]

use std::alloc::Layout;
use std::fmt;
use std::ptr::NonNull;

/// The unit to which the blocks of this allocator are rounded up.
const GRAIN: usize = 16;

/// The heap could not provide a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError {
    /// Size of the block that was asked for; `usize::MAX` if no address space could hold it.
    pub size_bytes: usize,
}

impl AllocError {
    /// The error for a request whose size cannot be expressed as a [`Layout`].
    pub const TOO_LARGE: Self = Self { size_bytes: usize::MAX };
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TOO_LARGE => write!(f, "the request exceeds any heap"),
            Self { size_bytes } => write!(f, "the heap has no room for {size_bytes} bytes"),
        }
    }
}

impl std::error::Error for AllocError {}

/// Allocates a block of `layout`, whose size is not zero.
///
/// # Errors
///
/// [`AllocError`] if the heap is full.
pub fn allocate(layout: Layout) -> Result<NonNull<u8>, AllocError> {
    let layout = grained(admit(layout)?);
    // SAFETY: the size is not zero: `admit` asserts it.
    let block = unsafe { std::alloc::alloc(layout) };
    NonNull::new(block).ok_or(AllocError { size_bytes: layout.size() })
}

/// Allocates a block of `layout`, whose size is not zero, with every byte zero.
///
/// # Errors
///
/// [`AllocError`] if the heap is full.
pub fn allocate_zeroed(layout: Layout) -> Result<NonNull<u8>, AllocError> {
    let layout = grained(admit(layout)?);
    // SAFETY: the size is not zero: `admit` asserts it.
    let block = unsafe { std::alloc::alloc_zeroed(layout) };
    NonNull::new(block).ok_or(AllocError { size_bytes: layout.size() })
}

/// Gives a block back.
///
/// # Safety
///
/// - `ptr` came from this module and has not been given back.
/// - `layout` is the one it was last allocated or reallocated with.
pub unsafe fn deallocate(ptr: NonNull<u8>, layout: Layout) {
    // SAFETY: the caller passes the block and its layout; the rounding is the same as at the allocation.
    unsafe { std::alloc::dealloc(ptr.as_ptr(), grained(layout)) };
}

/// Resizes a block to `new_size` bytes, which is not zero; it may move, and keeps the bytes both sizes share.
///
/// # Errors
///
/// [`AllocError`] if the heap is full; the old block is then untouched.
///
/// # Safety
///
/// - `ptr` came from this module and has not been given back.
/// - `old` is the layout it was last allocated or reallocated with.
pub unsafe fn reallocate(ptr: NonNull<u8>, old: Layout, new_size: usize) -> Result<NonNull<u8>, AllocError> {
    let new = Layout::from_size_align(new_size, old.align()).map_err(|_| AllocError::TOO_LARGE)?;
    let new = grained(admit(new)?);
    // SAFETY: the caller passes the block and its layout; the new size is not zero and was checked by `Layout`.
    let block = unsafe { std::alloc::realloc(ptr.as_ptr(), grained(old), new.size()) };
    NonNull::new(block).ok_or(AllocError { size_bytes: new.size() })
}

/// Returns how many bytes the block for `layout` would really hold, which is at least its size.
pub fn usable_size(layout: Layout) -> usize {
    grained(layout).size()
}

/// Rounds a layout up to whole grains, or leaves it if that cannot be expressed.
fn grained(layout: Layout) -> Layout {
    let size = layout.size().checked_next_multiple_of(GRAIN).unwrap_or(layout.size());
    Layout::from_size_align(size, layout.align()).unwrap_or(layout)
}

/// Passes a request on, unless a test has set a limit that it exceeds.
fn admit(layout: Layout) -> Result<Layout, AllocError> {
    assert_ne!(layout.size(), 0, "a block holds at least one byte");
    #[cfg(test)]
    if limit::is_reached() {
        return Err(AllocError { size_bytes: layout.size() });
    }
    Ok(layout)
}

#[cfg(test)]
pub(crate) use limit::{fail_after, never_fail};

#[cfg(test)]
mod limit {
    use std::cell::Cell;

    thread_local! {
        /// How many more requests of this thread succeed.
        static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
    }

    /// Lets the next `n` requests of this thread succeed and refuses all that follow.
    pub(crate) fn fail_after(n: u64) {
        LEFT.set(n);
    }

    /// Takes the limit of this thread away.
    pub(crate) fn never_fail() {
        LEFT.set(u64::MAX);
    }

    pub(super) fn is_reached() -> bool {
        let left = LEFT.get();
        if left != u64::MAX {
            LEFT.set(left.saturating_sub(1));
        }
        left == 0
    }
}
