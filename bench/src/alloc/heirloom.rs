//! Heirloom: inlined as a Rust user gets it, and behind function pointers as C libraries are.
#![expect(unsafe_code, reason = "an allocator hands out raw memory")]

use std::alloc::Layout;
use std::any::Any;
use std::ptr::NonNull;
use std::sync::OnceLock;

use heirloom::{Heap, Options, Scrub};

use super::contestant::Contestant;

static HEAP: OnceLock<Heap> = OnceLock::new();

/// Opens the heap of this process.
pub(super) fn open(scrub: Scrub) -> Result<(), String> {
    let options = Options::new().scrub(scrub).size_limit(16 << 30);
    let heap = Heap::inherit_or_create("heirloom-bench", options).map_err(|error| error.to_string())?;
    HEAP.set(heap).map_err(|_| "the heap is open already".to_owned())
}

fn enter() -> Box<dyn Any> {
    Box::new(HEAP.get().expect("opened by the worker").enter())
}

#[inline(always)]
fn layout(size: usize) -> Layout {
    // SAFETY: 16 is a power of two, and no size here comes near the end of the address space.
    unsafe { Layout::from_size_align_unchecked(size, 16) }
}

#[cold]
fn full(size: usize) -> ! {
    panic!("the heap has no room for {size} bytes")
}

/// Calls are inlined.
pub(super) struct Inlined<const ON_FREE: bool>;

// SAFETY: the heap's promise.
unsafe impl<const ON_FREE: bool> Contestant for Inlined<ON_FREE> {
    fn begin_thread() -> Box<dyn Any> {
        enter()
    }

    #[inline(always)]
    fn alloc(size: usize) -> *mut u8 {
        match heirloom::alloc::allocate(layout(size)) {
            Ok(block) => block.as_ptr(),
            Err(_) => full(size),
        }
    }

    #[inline(always)]
    fn alloc_or_null(size: usize) -> *mut u8 {
        heirloom::alloc::allocate(layout(size)).map_or(std::ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline(always)]
    fn alloc_zeroed(size: usize) -> *mut u8 {
        match heirloom::alloc::allocate_zeroed(layout(size)) {
            Ok(block) => block.as_ptr(),
            Err(_) => full(size),
        }
    }

    #[inline(always)]
    unsafe fn free(block: *mut u8, size: usize) {
        // SAFETY: passed on; a block is not null.
        unsafe { heirloom::alloc::deallocate(NonNull::new_unchecked(block), layout(size)) }
    }

    #[inline(always)]
    unsafe fn realloc(block: *mut u8, size: usize, new: usize) -> *mut u8 {
        // SAFETY: passed on; a block is not null.
        match unsafe { heirloom::alloc::reallocate(NonNull::new_unchecked(block), layout(size), new) } {
            Ok(block) => block.as_ptr(),
            Err(_) => full(new),
        }
    }
}

/// Calls go through pointers that are read from memory for each call, as those into a shared library are.
pub(super) struct Called<C>(C);

impl<C: Contestant> Called<C> {
    const ALLOC: &'static fn(usize) -> *mut u8 = &(C::alloc_or_null as fn(usize) -> *mut u8);
    const ALLOC_ZEROED: &'static fn(usize) -> *mut u8 = &(C::alloc_zeroed as fn(usize) -> *mut u8);
    const FREE: &'static unsafe fn(*mut u8, usize) = &(C::free as unsafe fn(*mut u8, usize));
    const REALLOC: &'static unsafe fn(*mut u8, usize, usize) -> *mut u8 =
        &(C::realloc as unsafe fn(*mut u8, usize, usize) -> *mut u8);
}

#[inline(always)]
fn pointer<F: Copy>(place: &'static F) -> F {
    // SAFETY: a reference is valid for reads.
    unsafe { std::ptr::read_volatile(place) }
}

// SAFETY: that of `C`.
unsafe impl<C: Contestant> Contestant for Called<C> {
    fn begin_thread() -> Box<dyn Any> {
        C::begin_thread()
    }

    #[inline(always)]
    fn alloc(size: usize) -> *mut u8 {
        pointer(Self::ALLOC)(size)
    }

    #[inline(always)]
    fn alloc_zeroed(size: usize) -> *mut u8 {
        pointer(Self::ALLOC_ZEROED)(size)
    }

    #[inline(always)]
    unsafe fn free(block: *mut u8, size: usize) {
        // SAFETY: passed on.
        unsafe { pointer(Self::FREE)(block, size) }
    }

    #[inline(always)]
    unsafe fn realloc(block: *mut u8, size: usize, new: usize) -> *mut u8 {
        // SAFETY: passed on.
        unsafe { pointer(Self::REALLOC)(block, size, new) }
    }
}
