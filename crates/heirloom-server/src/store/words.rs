//! Vectors whose words are switched one by one, so that a kill between two of them leaves something that can be read.
//!
//! ```text
//! start     old or new: both blocks hold the same values until nothing names the old one
//! capacity  old or new: not to be believed after a kill
//! len       the same in both
//! ```
//!
//! A vector that was being moved when its owner was killed is moved once more, and the block that it names is left alone: how large it is,
//! nobody knows. So a kill here costs a block, and no value.
#![expect(unsafe_code, reason = "copies values that are then forgotten in one place")]

use std::mem::forget;
use std::sync::atomic::{Ordering::SeqCst, compiler_fence};

use heirloom::{AllocError, Vec};

/// Keeps the compiler from moving stores from one side to the other. No more is needed against a kill, as a processor leaves its stores in
/// their order.
#[inline(always)]
pub(super) fn fence() {
    compiler_fence(SeqCst);
    #[cfg(test)]
    super::stops::reached();
}

/// Moves what a vector holds, whose capacity is not to be believed, to a block of which all is known.
pub(super) fn move_anew<T>(vec: &mut Vec<T>) -> Result<(), AllocError> {
    let mut fresh = Vec::try_with_capacity(vec.len().max(1))?;
    // SAFETY: there is room, and what holds the values now is forgotten below.
    unsafe { copy(vec, &mut fresh) };
    fence();
    forget(std::mem::replace(vec, fresh));
    Ok(())
}

/// Leaves all that a vector holds where it is, unnamed.
pub(super) fn abandon<T>(vec: &mut Vec<T>) {
    forget_values(vec);
    forget(std::mem::replace(vec, Vec::new()));
}

/// Empties a vector whose values another one holds too.
pub(super) fn forget_values<T>(vec: &mut Vec<T>) {
    // SAFETY: nothing is live up to 0.
    unsafe { vec.set_len(0) };
    fence();
}

/// Appends copies of values, for which there is room.
///
/// # Safety
///
/// - Each value is forgotten in one of its places.
pub(super) unsafe fn copy<T>(from: &[T], to: &mut Vec<T>) {
    let len = to.len();
    assert!(to.capacity() - len >= from.len(), "there is room");
    // SAFETY: the values are live, there is room for them, and two vectors do not overlap; who owns them is the caller's matter.
    unsafe {
        to.as_mut_ptr().add(len).copy_from_nonoverlapping(from.as_ptr(), from.len());
        to.set_len(len + from.len());
    }
}
