//! The process's own allocator in place of a heap, for unit tests.
#![expect(unsafe_code, reason = "hands out and takes back raw memory")]

use std::alloc::Layout;
use std::ptr::NonNull;

use super::AllocError;

/// The unit to which blocks are rounded up.
const GRAIN: usize = 16;

pub(super) fn allocate(layout: Layout) -> Result<NonNull<u8>, AllocError> {
    if recorded::is_on() {
        return allocate_zeroed(layout);
    }
    let layout = grained(layout);
    // SAFETY: the size is not zero: callers of the module owe that.
    let block = unsafe { std::alloc::alloc(layout) };
    NonNull::new(block).ok_or(AllocError { size_bytes: layout.size() })
}

pub(super) fn allocate_zeroed(layout: Layout) -> Result<NonNull<u8>, AllocError> {
    let grained = grained(layout);
    // SAFETY: the size is not zero: callers of the module owe that.
    let block = unsafe { std::alloc::alloc_zeroed(grained) };
    recorded::allocated(block, layout);
    NonNull::new(block).ok_or(AllocError { size_bytes: layout.size() })
}

/// # Safety
///
/// As [`super::deallocate`].
pub(super) unsafe fn deallocate(block: NonNull<u8>, layout: Layout) {
    recorded::freed(block.as_ptr(), layout);
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
    if recorded::is_on() {
        let moved = allocate_zeroed(new)?;
        // SAFETY: both blocks hold the smaller of the sizes, and they are two.
        unsafe {
            moved.as_ptr().copy_from_nonoverlapping(block.as_ptr(), old.size().min(new.size()));
            deallocate(block, old);
        }
        return Ok(moved);
    }
    let new = grained(new);
    // SAFETY: the caller passes the block and its layout; the rounding is the same as at the allocation.
    let block = unsafe { std::alloc::realloc(block.as_ptr(), grained(old), new.size()) };
    NonNull::new(block).ok_or(AllocError { size_bytes: new.size() })
}

/// # Safety
///
/// As [`super::resize_in_place`].
pub(super) unsafe fn resize_in_place(_block: NonNull<u8>, _old: Layout, _new: Layout) -> bool {
    // A test learns more where everything moves.
    false
}

pub(super) fn usable_size(layout: Layout) -> usize {
    grained(layout).size()
}

/// The blocks of this thread, while a golden file is made of them or read: they are zero at first, and given back as they came.
pub(crate) mod recorded {
    use std::alloc::Layout;
    use std::cell::RefCell;

    thread_local! {
        static BLOCKS: RefCell<Option<Vec<Block>>> = const { RefCell::new(None) };
    }

    /// A block, and the layout it was asked for with.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Block {
        pub(crate) start: *mut u8,
        pub(crate) layout: Layout,
    }

    /// Notes all blocks down from now on.
    #[cfg_attr(miri, expect(dead_code, reason = "golden files are not for Miri"))]
    pub(crate) fn start() {
        BLOCKS.set(Some(Vec::new()));
    }

    /// Returns the blocks that there are, in the order in which they came.
    #[cfg_attr(miri, expect(dead_code, reason = "golden files are not for Miri"))]
    pub(crate) fn blocks() -> Vec<Block> {
        BLOCKS.with_borrow(|blocks| blocks.clone().unwrap_or_default())
    }

    /// Notes nothing down from now on, and returns what was not given back.
    #[cfg_attr(miri, expect(dead_code, reason = "golden files are not for Miri"))]
    pub(crate) fn stop() -> Vec<Block> {
        BLOCKS.take().unwrap_or_default()
    }

    pub(crate) fn is_on() -> bool {
        BLOCKS.with_borrow(Option::is_some)
    }

    pub(super) fn allocated(start: *mut u8, layout: Layout) {
        BLOCKS.with_borrow_mut(|blocks| {
            blocks.iter_mut().for_each(|blocks| blocks.push(Block { start, layout }))
        });
    }

    pub(super) fn freed(start: *mut u8, layout: Layout) {
        BLOCKS.with_borrow_mut(|blocks| {
            let Some(blocks) = blocks else { return };
            let at = blocks.iter().position(|block| block.start == start).expect("the block is there");
            assert_eq!(blocks.remove(at).layout, layout, "a block is given back as it came");
        });
    }
}

/// Rounds a layout up to whole grains, or leaves it if that cannot be expressed.
fn grained(layout: Layout) -> Layout {
    let size = layout.size().checked_next_multiple_of(GRAIN).unwrap_or(layout.size());
    Layout::from_size_align(size, layout.align()).unwrap_or(layout)
}

/// The process's allocator outlives everything.
pub(super) fn is_large(_layout: std::alloc::Layout) -> bool {
    true
}

pub(super) fn is_here(_block: std::ptr::NonNull<u8>) -> bool {
    true
}
