// SPDX-License-Identifier: GPL-2.0

//! The doors into the module: what `heirloom.h` declares for other modules, and what `shim.c` calls.
//!
//! Nothing is decided here. Pointers from outside are judged behind these doors: one that is no object of the pool has no effect.

use core::ffi::{c_char, c_int, c_void, CStr};
use core::ptr::{null_mut, NonNull};

use kernel::prelude::*;

use crate::linux::Page;
use crate::pool::{current, Heirloom};
use crate::{handover, report};

/// See `heirloom.h`.
#[no_mangle]
extern "C" fn heirloom_alloc(size: usize, gfp: u32) -> *mut c_void {
    current().map_or(null_mut(), |heirloom| heirloom.alloc(size, gfp)).cast()
}

/// See `heirloom.h`.
#[no_mangle]
extern "C" fn heirloom_zalloc(size: usize, gfp: u32) -> *mut c_void {
    heirloom_alloc(size, gfp)
}

/// See `heirloom.h`.
#[no_mangle]
extern "C" fn heirloom_free(object: *mut c_void) {
    if let Some(heirloom) = current().filter(|_| !object.is_null()) {
        heirloom.free(object.cast());
    }
}

/// See `heirloom.h`.
#[no_mangle]
extern "C" fn heirloom_size(object: *const c_void) -> usize {
    current().and_then(|heirloom| heirloom.find(object.cast())).map_or(0, |found| found.bytes as usize)
}

/// See `heirloom.h`.
#[no_mangle]
extern "C" fn heirloom_handle(object: *const c_void) -> u64 {
    if object.is_null() {
        0
    } else {
        crate::linux::phys(object)
    }
}

/// See `heirloom.h`.
#[no_mangle]
extern "C" fn heirloom_object(handle: u64) -> *mut c_void {
    current().and_then(|heirloom| heirloom.object(handle)).map_or(null_mut(), NonNull::as_ptr).cast()
}

/// See `heirloom.h`.
///
/// # Safety
///
/// `name` is a string that ends with a NUL.
#[no_mangle]
unsafe extern "C" fn heirloom_publish(name: *const c_char, object: *mut c_void) -> c_int {
    // SAFETY: by the caller's promise.
    let name = unsafe { text(name) };
    errno(current().ok_or(ENODEV).and_then(|heirloom| heirloom.publish(name?, object.cast())))
}

/// See `heirloom.h`.
///
/// # Safety
///
/// As [`heirloom_publish`].
#[no_mangle]
unsafe extern "C" fn heirloom_unpublish(name: *const c_char) -> c_int {
    // SAFETY: by the caller's promise.
    let name = unsafe { text(name) };
    errno(current().ok_or(ENODEV).and_then(|heirloom| heirloom.unpublish(name?).map(drop)))
}

/// See `heirloom.h`.
///
/// # Safety
///
/// As [`heirloom_publish`], and `size` is null or may be written.
#[no_mangle]
unsafe extern "C" fn heirloom_retrieve(name: *const c_char, size: *mut usize) -> *mut c_void {
    // SAFETY: by the caller's promise.
    unsafe { found(name, size, |heirloom, name| heirloom.named(name)) }
}

/// See `heirloom.h`.
///
/// # Safety
///
/// As [`heirloom_retrieve`].
#[no_mangle]
unsafe extern "C" fn heirloom_take(name: *const c_char, size: *mut usize) -> *mut c_void {
    // SAFETY: by the caller's promise.
    unsafe { found(name, size, |heirloom, name| heirloom.unpublish(name).ok()) }
}

/// # Safety
///
/// As [`heirloom_retrieve`].
unsafe fn found(
    name: *const c_char,
    size: *mut usize,
    find: impl FnOnce(&Heirloom, &str) -> Option<u64>,
) -> *mut c_void {
    // SAFETY: by the caller's promise.
    let Ok(name) = (unsafe { text(name) }) else { return null_mut() };
    let Some(heirloom) = current() else { return null_mut() };
    let Some(object) = find(heirloom, name).and_then(|handle| heirloom.object(handle)) else {
        return null_mut();
    };
    // SAFETY: by the caller's promise it may be written where it is not null.
    if let Some(size) = unsafe { size.as_mut() } {
        *size = heirloom_size(object.as_ptr().cast());
    }
    object.as_ptr().cast()
}

/// # Safety
///
/// `name` is null or a string that ends with a NUL.
unsafe fn text<'a>(name: *const c_char) -> Result<&'a str> {
    if name.is_null() {
        return Err(EINVAL);
    }
    // SAFETY: by the caller's promise.
    unsafe { CStr::from_ptr(name.cast()) }.to_str().map_err(|_| EINVAL)
}

fn errno(result: Result) -> c_int {
    result.map_or_else(|error| error.to_errno(), |()| 0)
}

#[no_mangle]
extern "C" fn hl_on_work() {
    if let Some(heirloom) = current() {
        heirloom.work();
    }
}

#[no_mangle]
extern "C" fn hl_on_interrupt(cache: usize) {
    if let Some(heirloom) = current() {
        heirloom.hand_in(cache);
    }
}

#[no_mangle]
extern "C" fn hl_on_kexec() {
    if let Some(heirloom) = current() {
        heirloom.freeze();
        pr_info!("frozen: {} objects are handed over\n", heirloom.nr_live());
    }
}

#[no_mangle]
extern "C" fn hl_is_ours(phys: u64) -> bool {
    handover::is_ours(phys)
}

/// # Safety
///
/// `text` is `len` bytes long.
#[no_mangle]
unsafe extern "C" fn hl_on_command(text: *const u8, len: usize) -> c_int {
    // SAFETY: by the caller's promise.
    let bytes = unsafe { core::slice::from_raw_parts(text, len) };
    errno(core::str::from_utf8(bytes).map_err(|_| EINVAL).and_then(report::command))
}

macro_rules! shown {
    ($($name:ident $report:ident)*) => {$(
        /// # Safety
        ///
        /// `to` is the file that is being read.
        #[no_mangle]
        unsafe extern "C" fn $name(to: *mut c_void) {
            // SAFETY: by the caller's promise.
            let mut page = unsafe { Page::new(to) };
            // What does not fit is asked for again, with more room, by the caller.
            let _ = report::$report(&mut page);
        }
    )*};
}

shown!(hl_show_stats stats  hl_show_check check  hl_show_names names  hl_show_blocks blocks);
