//! Bytes of small blocks, zeroed and copied without a call where their size comes up at run time.
//!
//! ```text
//! 33 to 64 bytes    | first 32 |            two stores of a fixed length each, which meet or overlap
//!                        | last 32 |
//! ```
//!
//! A block is a multiple of [`STEP`] long and so aligned; up to 128 bytes, whatever is asked for is rounded up to one.
#![expect(unsafe_code, reason = "writes through pointers to blocks")]

use std::ptr::NonNull;

/// What every block is a multiple of.
pub(super) const STEP: usize = 16;

/// Zeroes the first `nr` bytes of a block, or of up to 128 the next multiple of [`STEP`].
///
/// # Safety
///
/// So many bytes are the block's, and nobody else uses them. `nr` is not zero.
#[inline(always)]
pub(super) unsafe fn zero(block: NonNull<u8>, nr: usize) {
    let (at, end) = (block.as_ptr(), nr.next_multiple_of(STEP));
    // SAFETY: by the caller's promise; each store lies within `end` bytes.
    unsafe {
        if end == 16 {
            at.write_bytes(0, 16);
        } else if end <= 32 {
            at.write_bytes(0, 32);
        } else if end <= 64 {
            at.write_bytes(0, 32);
            at.add(end - 32).write_bytes(0, 32);
        } else if end <= 128 {
            at.write_bytes(0, 64);
            at.add(end - 64).write_bytes(0, 64);
        } else {
            at.write_bytes(0, nr);
        }
    }
}

/// Copies the first `nr` bytes of a block, or of up to 128 the next multiple of [`STEP`], to another.
///
/// # Safety
///
/// So many bytes are each block's, the two are not one, and nobody else uses them. `nr` is not zero.
#[inline(always)]
pub(super) unsafe fn copy(from: NonNull<u8>, to: NonNull<u8>, nr: usize) {
    let (from, to, end) = (from.as_ptr().cast_const(), to.as_ptr(), nr.next_multiple_of(STEP));
    // SAFETY: by the caller's promise; each copy lies within `end` bytes of both.
    unsafe {
        if end == 16 {
            to.copy_from_nonoverlapping(from, 16);
        } else if end <= 32 {
            to.copy_from_nonoverlapping(from, 32);
        } else if end <= 64 {
            to.copy_from_nonoverlapping(from, 32);
            to.add(end - 32).copy_from_nonoverlapping(from.add(end - 32), 32);
        } else if end <= 128 {
            to.copy_from_nonoverlapping(from, 64);
            to.add(end - 64).copy_from_nonoverlapping(from.add(end - 64), 64);
        } else {
            to.copy_from_nonoverlapping(from, nr);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_bytes_and_no_more_than_the_next_multiple() {
        for nr in 1..300_usize {
            let end = if nr > 128 { nr } else { nr.next_multiple_of(STEP) };
            let from: Vec<u8> = (0..320).map(|i| (i % 251) as u8 + 1).collect();
            let mut to = vec![0xff; 320];
            let start = NonNull::new(to.as_mut_ptr()).unwrap();
            // SAFETY: both are longer than 300 bytes, and they are two.
            unsafe { copy(NonNull::new(from.as_ptr().cast_mut()).unwrap(), start, nr) };
            assert_eq!(to[..end], from[..end], "{nr}");
            assert!(to[end..].iter().all(|&byte| byte == 0xff), "{nr}");
            let mut block = vec![0xff; 320];
            // SAFETY: as above.
            unsafe { zero(NonNull::new(block.as_mut_ptr()).unwrap(), nr) };
            assert!(block[..end].iter().all(|&byte| byte == 0), "{nr}");
            assert!(block[end..].iter().all(|&byte| byte == 0xff), "{nr}");
        }
    }
}
