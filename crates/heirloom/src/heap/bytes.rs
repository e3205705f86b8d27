//! Copies between the mapped file and ordinary memory, for records that are written or read as a whole.
#![expect(unsafe_code, reason = "reads and writes the mapped file")]

use std::sync::atomic::{AtomicU64, Ordering::*};

use crate::backing::Backing;

/// Copies whole words from the file.
///
/// # Panics
///
/// Where the range is not inside the file, or not of whole words: offsets come from a header that was checked.
pub(super) fn copy_out(backing: &Backing, offset: u64, to: &mut [u8]) {
    let words = words(backing, offset, to.len());
    for (bytes, word) in to.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.load(Relaxed).to_le_bytes());
    }
}

/// Copies whole words to the file.
///
/// # Panics
///
/// As [`copy_out`].
pub(super) fn copy_in(backing: &Backing, offset: u64, from: &[u8]) {
    let words = words(backing, offset, from.len());
    for (bytes, word) in from.chunks_exact(8).zip(words) {
        let mut eight = [0; 8];
        eight.copy_from_slice(bytes);
        word.store(u64::from_le_bytes(eight), Release);
    }
}

fn words(backing: &Backing, offset: u64, len: usize) -> &[AtomicU64] {
    let inside = offset.checked_add(len as u64).is_some_and(|end| end <= backing.len());
    let whole = offset.is_multiple_of(8) && len.is_multiple_of(8);
    assert!(inside && whole, "{len} bytes at {offset:#x} are no words of the heap's file");
    // SAFETY: inside the file, so mapped and backed, and aligned as the base is; read and written as atomics.
    unsafe { std::slice::from_raw_parts(backing.base().as_ptr().add(offset as usize).cast(), len / 8) }
}
