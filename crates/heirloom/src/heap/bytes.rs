//! Copies between the mapped file and ordinary memory, for records that are written or read as a whole.
#![expect(unsafe_code, reason = "reads and writes the mapped file")]

use std::sync::atomic::{AtomicU8, Ordering::*};

use crate::backing::Backing;

/// Copies from the file.
///
/// # Panics
///
/// Where the range is not inside the file: offsets come from a header that was checked.
pub(super) fn copy_out(backing: &Backing, offset: u64, to: &mut [u8]) {
    for (at, byte) in to.iter_mut().enumerate() {
        *byte = byte_at(backing, offset + at as u64).load(Relaxed);
    }
}

/// Copies to the file.
///
/// # Panics
///
/// As [`copy_out`].
pub(super) fn copy_in(backing: &Backing, offset: u64, from: &[u8]) {
    for (at, byte) in from.iter().enumerate() {
        byte_at(backing, offset + at as u64).store(*byte, Release);
    }
}

fn byte_at(backing: &Backing, offset: u64) -> &AtomicU8 {
    assert!(offset < backing.len(), "byte {offset:#x} is outside the heap's file");
    // SAFETY: inside the file, so mapped and backed; the records are only touched as atomics.
    unsafe { AtomicU8::from_ptr(backing.base().as_ptr().add(offset as usize)) }
}
