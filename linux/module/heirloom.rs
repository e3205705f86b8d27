// SPDX-License-Identifier: GPL-2.0

//! Heirloom for Rust modules: objects that the next kernel inherits, with owners.
//!
//! Include it with `#[path = ".."] mod heirloom;`. Ownership moves: an [`Inherited`] is freed when it is dropped, unless it is given to a
//! name ([`publish`]) or becomes a handle that another object keeps ([`Inherited::into_handle`]).
//!
//! ```ignore
//! let mut table = Inherited::<Table>::alloc(May::Sleep).ok_or(ENOMEM)?;
//! table.nr_devices = 3;
//! heirloom::publish(c"devices", table)?;
//! // .. in the next kernel:
//! let table = heirloom::take::<Table>(c"devices").ok_or(ENOENT)?;
//! ```

use core::ffi::{c_char, c_int, c_void, CStr};
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use kernel::bindings;
use kernel::error::{to_result, Result};

mod raw {
    use super::*;

    extern "C" {
        pub(super) fn heirloom_zalloc(size: usize, gfp: u32) -> *mut c_void;
        pub(super) fn heirloom_free(object: *mut c_void);
        pub(super) fn heirloom_size(object: *const c_void) -> usize;
        pub(super) fn heirloom_handle(object: *const c_void) -> u64;
        pub(super) fn heirloom_object(handle: u64) -> *mut c_void;
        pub(super) fn heirloom_publish(name: *const c_char, object: *mut c_void) -> c_int;
        pub(super) fn heirloom_take(name: *const c_char, size: *mut usize) -> *mut c_void;
    }
}

/// Whether the caller may sleep.
#[derive(Clone, Copy)]
pub(crate) enum May {
    /// `GFP_KERNEL`.
    Sleep,
    /// `GFP_ATOMIC`: served from what the pool has at hand.
    NotSleep,
}

/// Types whose bytes mean the same in the next kernel.
///
/// # Safety
///
/// - Any bytes are a valid value, zeros too, and there is no padding that must not be read.
/// - Nothing in it is an address: not a reference, not a pointer.
/// - It is aligned to 16 bytes at most, unless it is larger than 8192 bytes: then to a page at most.
/// - Its layout does not depend on the compiler: `repr(C)`, integers, and arrays of such.
pub(crate) unsafe trait Plain: Sized {}

// SAFETY: an integer.
unsafe impl Plain for u64 {}
// SAFETY: as its elements.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// An object that the next kernel inherits, and this value owns.
///
/// # Invariants
///
/// - The pointer is to an object of the pool of at least `size_of::<T>()` bytes that nobody else owns.
pub(crate) struct Inherited<T: Plain> {
    object: NonNull<T>,
    owns: PhantomData<T>,
}

// SAFETY: it owns what it points to, and the pool takes it back from any CPU.
unsafe impl<T: Plain + Send> Send for Inherited<T> {}
// SAFETY: sharing it shares a `&T`.
unsafe impl<T: Plain + Sync> Sync for Inherited<T> {}

impl<T: Plain> Inherited<T> {
    /// Allocates one, all zeros.
    pub(crate) fn alloc(may: May) -> Option<Self> {
        let flags = match may {
            May::Sleep => bindings::GFP_KERNEL,
            May::NotSleep => bindings::GFP_ATOMIC,
        };
        // SAFETY: any size may be asked for; the flags say whether we may sleep.
        let object = unsafe { raw::heirloom_zalloc(size_of::<T>(), flags) };
        // INVARIANT: fresh from the pool.
        NonNull::new(object.cast()).map(|object| Self { object, owns: PhantomData })
    }

    /// Gives the object to who keeps the handle: an object that a name leads to.
    pub(crate) fn into_handle(self) -> u64 {
        let this = ManuallyDrop::new(self);
        // SAFETY: computes with the address alone.
        unsafe { raw::heirloom_handle(this.object.as_ptr().cast()) }
    }

    /// Takes the object of a handle; `None` where none starts there, or one that is too small.
    ///
    /// # Safety
    ///
    /// The handle came from [`Inherited::into_handle`], here or in an earlier kernel, and nobody took it since.
    pub(crate) unsafe fn from_handle(handle: u64) -> Option<Self> {
        // SAFETY: asks about a number.
        let object = unsafe { raw::heirloom_object(handle) };
        // SAFETY: asks about a pointer.
        let is_large_enough = unsafe { raw::heirloom_size(object) } >= size_of::<T>();
        // INVARIANT: an object of the pool, and by the caller's promise ours.
        NonNull::new(object.cast())
            .filter(|_| is_large_enough)
            .map(|object| Self { object, owns: PhantomData })
    }
}

impl<T: Plain> Deref for Inherited<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: by the type's invariant, and any bytes are a `T`.
        unsafe { self.object.as_ref() }
    }
}

impl<T: Plain> DerefMut for Inherited<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and we are the owner.
        unsafe { self.object.as_mut() }
    }
}

impl<T: Plain> Drop for Inherited<T> {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody uses it any more.
        unsafe { raw::heirloom_free(self.object.as_ptr().cast()) }
    }
}

/// Gives an object to a name, which keeps it until [`take`], here or in a later kernel.
///
/// # Errors
///
/// As `heirloom_publish` in `heirloom.h`; the object is freed.
pub(crate) fn publish<T: Plain>(name: &CStr, object: Inherited<T>) -> Result {
    // SAFETY: the name ends with a NUL, the object is one of the pool.
    to_result(unsafe { raw::heirloom_publish(name.as_ptr().cast(), object.object.as_ptr().cast()) })?;
    // It is the name's now.
    let _ = ManuallyDrop::new(object);
    Ok(())
}

/// Takes the object of a name, and the name is free again; `None` where there is no such name, or the object is too small.
pub(crate) fn take<T: Plain>(name: &CStr) -> Option<Inherited<T>> {
    let mut size = 0;
    // SAFETY: the name ends with a NUL, and `size` is a variable of ours.
    let object = NonNull::new(unsafe { raw::heirloom_take(name.as_ptr().cast(), &mut size) })?;
    if size < size_of::<T>() {
        // Somebody else's after all: the name gets it back.
        // SAFETY: the name ends with a NUL, the object is one of the pool.
        unsafe { raw::heirloom_publish(name.as_ptr().cast(), object.as_ptr()) };
        return None;
    }
    // INVARIANT: the name owned it, and gave it to us alone.
    Some(Inherited { object: object.cast(), owns: PhantomData })
}
