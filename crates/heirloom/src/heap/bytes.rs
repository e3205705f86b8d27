//! Copies between the mapped file and ordinary memory, for records that are written or read as a whole.
#![expect(unsafe_code, reason = "reads and writes the mapped file")]

use std::sync::atomic::{AtomicU64, Ordering::*};

use heirloom_abi::pool::Memory;

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

/// The mapped file for a validating reader: what lies outside the file is not there.
pub(super) struct Mapped<'a>(pub(super) &'a Backing);

impl Memory for Mapped<'_> {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Option<()> {
        let start = offset & !7;
        let end = offset.checked_add(buffer.len() as u64)?.checked_next_multiple_of(8)?;
        if end > self.0.len() {
            return None;
        }
        let words = words(self.0, start, (end - start) as usize);
        if offset == start {
            let (whole, rest) = buffer.as_chunks_mut::<8>();
            for (bytes, word) in whole.iter_mut().zip(words) {
                *bytes = word.load(Relaxed).to_le_bytes();
            }
            if let Some(last) = words.get(whole.len()) {
                rest.copy_from_slice(&last.load(Relaxed).to_le_bytes()[..rest.len()]);
            }
            return Some(());
        }
        let bytes = words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes());
        for (to, byte) in buffer.iter_mut().zip(bytes.skip((offset - start) as usize)) {
            *to = byte;
        }
        Some(())
    }

    fn count_nonzero(&self, _offset: u64, _len: u64) -> Option<u64> {
        // Records are read with this, free memory is not.
        None
    }
}
