//! `Box`: one value in the heap, owned.
//!
//! ```text
//! 0  value   address of the T, or its alignment if T has no bytes
//! 8
//! ```

#![expect(unsafe_code, reason = "owns the block that its pointer names")]

mod slice;
mod traits;

use std::alloc::Layout;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

pub use slice::{BoxSlice, BoxStr, SLICE_FORMAT_VERSION, STR_FORMAT_VERSION};

use crate::alloc::{self, AllocError};
use crate::heritable::{Heritable, TypeDesc, ZeroNiche};
use crate::or_panic;

/// Version of the layout of [`Box`].
pub const FORMAT_VERSION: u32 = 1;

/// Owns one value that lies in the heap.
///
/// # Invariants
///
/// The pointer is aligned and names a live `T` that nobody else owns, in a block of `Layout::new::<T>()`.
// Transparent, so that `None` of an `Option<Box<T>>` is promised to be zero.
#[repr(transparent)]
pub struct Box<T> {
    value: NonNull<T>,
    owns: PhantomData<T>,
}

const _: () = assert!(size_of::<Box<u8>>() == 8 && align_of::<Box<u8>>() == 8);
const _: () = assert!(size_of::<Option<Box<u8>>>() == 8);

// SAFETY: a box owns its value and shares nothing else.
unsafe impl<T: Send> Send for Box<T> {}
// SAFETY: a shared box gives out nothing but `&T`.
unsafe impl<T: Sync> Sync for Box<T> {}

// SAFETY: the value lies in a block of the heap, is owned, and described by its own type.
unsafe impl<T: Heritable> Heritable for Box<T> {
    const TYPE: &'static TypeDesc =
        &TypeDesc::collection("Box", FORMAT_VERSION, size_of::<Self>(), align_of::<Self>(), &[T::TYPE]);
}

// SAFETY: the pointer is never null, and the only field; the language promises that `Option` makes use of that.
unsafe impl<T: Heritable> ZeroNiche for Box<T> {}

impl<T> Box<T> {
    /// Moves `value` into the heap.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn new(value: T) -> Self {
        or_panic(Self::try_new(value))
    }

    /// Moves `value` into the heap.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; `value` is then dropped.
    #[inline]
    pub fn try_new(value: T) -> Result<Self, AllocError> {
        let place = block_for::<T>(alloc::allocate)?;
        // SAFETY: the block is new, aligned and large enough for a `T`.
        unsafe { place.write(value) };
        // INVARIANT: the value has just been written there.
        Ok(Self { value: place, owns: PhantomData })
    }

    /// Takes the value out and gives its block back.
    #[inline]
    pub fn into_inner(this: Self) -> T {
        // Not through a reference, which would be good for the value alone and not for its block.
        let place = Self::into_raw(this);
        // SAFETY: the value is live and, as the box is gone, ours; it is read once and its block given back as it came.
        unsafe {
            let place = NonNull::new_unchecked(place);
            let value = place.read();
            give_back(place);
            value
        }
    }

    /// Gives the value up as a pointer, to be turned back by [`from_raw`](Self::from_raw).
    #[inline]
    pub fn into_raw(this: Self) -> *mut T {
        let this = std::mem::ManuallyDrop::new(this);
        this.value.as_ptr()
    }

    /// Builds a box from what [`into_raw`](Self::into_raw) returned.
    ///
    /// # Safety
    ///
    /// - `raw` came from `into_raw` of a `Box<T>` of this heap, in this generation or an earlier one.
    /// - Nobody else uses it, now or later.
    #[inline]
    pub unsafe fn from_raw(raw: *mut T) -> Self {
        // SAFETY: the caller's first duty: a pointer from `into_raw` is not null.
        let value = unsafe { NonNull::new_unchecked(raw) };
        // INVARIANT: it was upheld when `into_raw` took the box apart, and the caller's second duty keeps it.
        Self { value, owns: PhantomData }
    }

    /// Gives up the box and keeps the value for as long as the heap is open.
    #[inline]
    pub fn leak<'a>(this: Self) -> &'a mut T
    where
        T: 'a,
    {
        // SAFETY: the value is live and nobody but the caller can reach it any more.
        unsafe { &mut *Self::into_raw(this) }
    }

    /// Allocates room for a `T` with every byte zero.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn new_zeroed() -> Box<MaybeUninit<T>> {
        or_panic(Self::try_new_zeroed())
    }

    /// Allocates room for a `T` with every byte zero.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full.
    pub fn try_new_zeroed() -> Result<Box<MaybeUninit<T>>, AllocError> {
        let value = block_for::<MaybeUninit<T>>(alloc::allocate_zeroed)?;
        // INVARIANT: any bytes are a live `MaybeUninit`.
        Ok(Box { value, owns: PhantomData })
    }
}

impl<T> Box<MaybeUninit<T>> {
    /// Declares that the room holds a value.
    ///
    /// # Safety
    ///
    /// It does: it was written, or every byte is zero and such bytes are a `T`.
    pub unsafe fn assume_init(self) -> Box<T> {
        let raw = Self::into_raw(self);
        // SAFETY: both types have one layout, and the caller answers for the value.
        unsafe { Box::from_raw(raw.cast()) }
    }
}

impl<T> Drop for Box<T> {
    #[inline]
    fn drop(&mut self) {
        /// Gives the block back even if the value panics while it is dropped.
        struct Block<T>(NonNull<T>);
        impl<T> Drop for Block<T> {
            fn drop(&mut self) {
                // SAFETY: the block came from `block_for::<T>`, and its box is going.
                unsafe { give_back(self.0) };
            }
        }
        let block = Block(self.value);
        // SAFETY: the value is live and is not used again.
        unsafe { block.0.drop_in_place() };
    }
}

/// Returns a block for a `T`, or the aligned nowhere if it has no bytes.
#[inline]
fn block_for<T>(allocate: fn(Layout) -> Result<NonNull<u8>, AllocError>) -> Result<NonNull<T>, AllocError> {
    match size_of::<T>() {
        0 => Ok(NonNull::dangling()),
        _ => allocate(Layout::new::<T>()).map(NonNull::cast),
    }
}

/// Gives a block back.
///
/// # Safety
///
/// - `place` came from [`block_for`] of the same type.
/// - It is not used again.
#[inline]
unsafe fn give_back<T>(place: NonNull<T>) {
    if size_of::<T>() != 0 {
        // SAFETY: the caller's duties; a type with bytes has a block of its own layout.
        unsafe { alloc::deallocate(place.cast(), Layout::new::<T>()) };
    }
}

#[cfg(test)]
mod tests;
