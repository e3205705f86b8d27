//! Memory of the heap: the only door from the collections to the allocator.
//!
//! ```text
//! boxed  vec  string  hash_map   --allocate(layout)-->   alloc   -->   pool
//! ```
//!
//! A collection first asks [`usable_size`] what the block for its next capacity would really hold and then allocates
//! exactly that much, so that the layout it gives back is always the layout it asked for.
//!
//! Behind it stands the pool of the open heap; in this crate's own unit tests, which Miri runs too, the process's allocator.

#![expect(unsafe_code, reason = "hands out and takes back raw memory")]

use std::alloc::Layout;
use std::fmt;
use std::ptr::NonNull;

use heirloom_slab::size_class::{class_bytes, class_of};

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
/// [`AllocError`] if the heap is full, or none is open.
#[inline]
pub fn allocate(layout: Layout) -> Result<NonNull<u8>, AllocError> {
    backend::allocate(admit(layout)?)
}

/// Allocates a block of `layout`, whose size is not zero, with every byte zero.
///
/// # Errors
///
/// [`AllocError`] if the heap is full, or none is open.
#[inline]
pub fn allocate_zeroed(layout: Layout) -> Result<NonNull<u8>, AllocError> {
    backend::allocate_zeroed(admit(layout)?)
}

/// Gives a block back. After its heap was closed this does nothing.
///
/// # Safety
///
/// - `ptr` came from this module and has not been given back.
/// - `layout` is the one it was last allocated or reallocated with.
#[inline]
pub unsafe fn deallocate(ptr: NonNull<u8>, layout: Layout) {
    // SAFETY: the caller passes the block and its layout.
    unsafe { backend::deallocate(ptr, layout) };
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
    // SAFETY: the caller passes the block and its layout; the new size was checked by `Layout`.
    unsafe { backend::reallocate(ptr, old, admit(new)?) }
}

/// Resizes a block to `new_size` bytes, which is not zero, if it can stay where it is; says whether it did.
///
/// For who must list a new block in its place before the old one is given back: after a kill between the two the place names a block that is there.
///
/// # Safety
///
/// - `ptr` came from this module and has not been given back.
/// - `old` is the layout it was last allocated or reallocated with.
/// - If it is to shrink, nobody uses the bytes beyond `new_size`.
pub unsafe fn resize_in_place(ptr: NonNull<u8>, old: Layout, new_size: usize) -> bool {
    let Ok(new) = Layout::from_size_align(new_size, old.align()) else { return false };
    // SAFETY: the caller passes the block and its layout; the new size was checked by `Layout`.
    unsafe { backend::resize_in_place(ptr, old, new) }
}

/// Whether a block of this layout is a run of pages of its own, which it stays for any other such layout.
pub(crate) fn is_large(layout: Layout) -> bool {
    backend::is_large(layout)
}

/// Whether a block lies in the heap that is open: one that outlived its heap does not.
pub(crate) fn is_here(block: NonNull<u8>) -> bool {
    backend::is_here(block)
}

/// Returns how many bytes the block for `layout` would really hold, which is at least its size.
#[inline]
pub fn usable_size(layout: Layout) -> usize {
    // The smallest classes are the multiples of 16 in every heap, which is known without a look at this one.
    if layout.size() <= FINE_BYTES && layout.align() <= FINE_STEP {
        return layout.size().max(1).next_multiple_of(FINE_STEP);
    }
    backend::usable_size(layout)
}

/// Up to this size there is a class for each multiple of [`FINE_STEP`].
const FINE_BYTES: usize = 128;
const FINE_STEP: usize = 16;

const _: () = {
    let mut size = 1;
    while size <= FINE_BYTES {
        assert!(class_bytes(class_of(size)) == size.next_multiple_of(FINE_STEP));
        size += 1;
    }
};

/// Passes a request on, unless a test has set a limit that it exceeds.
#[inline]
fn admit(layout: Layout) -> Result<Layout, AllocError> {
    debug_assert_ne!(layout.size(), 0, "a block holds at least one byte");
    #[cfg(test)]
    if limit::is_reached() {
        return Err(AllocError { size_bytes: layout.size() });
    }
    Ok(layout)
}

#[cfg(not(test))]
use pool as backend;
#[cfg(test)]
use system as backend;

mod bytes;
#[cfg(not(test))]
mod pool;
#[cfg(test)]
mod system;

#[cfg(test)]
pub(crate) use limit::{fail_after, never_fail};
#[cfg(test)]
pub(crate) use system::recorded;

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
