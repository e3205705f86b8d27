//! What an allocator must offer to take part.
#![expect(unsafe_code, reason = "to hand out memory is a promise about memory")]

/// An allocator. Its functions are static, so that what can be inlined is inlined and what cannot is called.
///
/// # Safety
///
/// The memory that `alloc` and its like return is the caller's alone until it is given back.
pub(super) unsafe trait Contestant: 'static {
    /// Called by each thread before it allocates; what it returns is kept until the thread is done.
    fn begin_thread() -> Box<dyn std::any::Any> {
        Box::new(())
    }

    /// Allocates `size` bytes, which is not zero; aborts where there are none.
    fn alloc(size: usize) -> *mut u8;

    /// The same as a function of C does it: null where there are none.
    fn alloc_or_null(size: usize) -> *mut u8 {
        Self::alloc(size)
    }

    /// The same with all bytes zero.
    fn alloc_zeroed(size: usize) -> *mut u8;

    /// Gives memory back.
    ///
    /// # Safety
    ///
    /// `block` came from this allocator for `size` bytes and was not given back.
    unsafe fn free(block: *mut u8, size: usize);

    /// Grows memory to `new` bytes.
    ///
    /// # Safety
    ///
    /// As `free`.
    unsafe fn realloc(block: *mut u8, size: usize, new: usize) -> *mut u8;
}
