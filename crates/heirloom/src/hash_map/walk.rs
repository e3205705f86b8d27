//! Where a hash leads, and how all full buckets are visited.
//!
//! ```text
//! hash   0101101 ........ 1101 0110     the top seven bits are the tag, the low ones above the last four name a group of 16 buckets
//!
//! probe  group g, then g + 1, g + 1 + 2, g + 1 + 2 + 3, ..     until one holds an empty bucket
//! ```
//!
//! The steps 1, 2, 3, .. visit every group once, as their number is a power of two. Nothing was ever put beyond a group that holds an empty bucket,
//! so deleting may leave an empty bucket exactly where the group has one already.

#![expect(unsafe_code, reason = "reads control bytes of a block that it knows by its address")]

use super::group::{Bytes, Group, Matches, WIDTH};

/// The walk of one hash over the groups.
pub(super) struct Walk {
    pub(super) position: usize,
    stride: usize,
}

impl Walk {
    #[inline(always)]
    pub(super) fn new(hash: u64, mask: usize) -> Self {
        Self { position: hash as usize & mask & !(WIDTH - 1), stride: 0 }
    }

    /// Goes on to the next group; false once all have been visited.
    #[inline(always)]
    pub(super) fn advance(&mut self, mask: usize) -> bool {
        self.stride += WIDTH;
        self.position = (self.position + self.stride) & mask & !(WIDTH - 1);
        self.stride <= mask
    }
}

/// Returns the tag of a hash: its top seven bits, as the low ones choose the group.
#[inline(always)]
pub(super) fn tag(hash: u64) -> u8 {
    (hash >> 57) as u8
}

/// Visits the full buckets of a table, group by group.
///
/// The addresses are good for as long as the table keeps its block and its values.
pub(crate) struct Walker<T> {
    /// Full buckets of the current group that are still to come.
    full: Matches,
    /// Control bytes of the next group.
    group: *const u8,
    /// The end of the current group's first bucket; before the start, where it would be for a group before the first.
    after: *const T,
    left: usize,
}

// SAFETY: a walker only works addresses out; who owns it touches the values, and has the bounds for that.
unsafe impl<T> Send for Walker<T> {}
// SAFETY: a shared walker does nothing.
unsafe impl<T> Sync for Walker<T> {}

impl<T> Walker<T> {
    /// Visits the buckets whose control bytes begin at `control`.
    ///
    /// # Safety
    ///
    /// There are `left` full ones, and whole groups of control bytes up to the last of them, aligned at [`WIDTH`], for as long as it walks.
    #[inline(always)]
    pub(super) const unsafe fn over(control: *const u8, left: usize) -> Self {
        Self { full: Matches::NONE, group: control, after: control.cast::<T>().wrapping_add(WIDTH), left }
    }
}

impl<T> Clone for Walker<T> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<T> Iterator for Walker<T> {
    type Item = *mut T;

    #[inline(always)]
    fn next(&mut self) -> Option<*mut T> {
        if self.left == 0 {
            return None;
        }
        loop {
            if let Some(offset) = self.full.next() {
                self.left -= 1;
                return Some(self.after.wrapping_sub(offset + 1).cast_mut());
            }
            // SAFETY: while values are left there is another group in the block, aligned at its width.
            let group = Group::load(unsafe { &*self.group.cast::<Bytes>() });
            self.full = group.full();
            self.group = self.group.wrapping_add(WIDTH);
            self.after = self.after.wrapping_sub(WIDTH);
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> ExactSizeIterator for Walker<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_visits_every_group_once() {
        for buckets in [4, 8, 16, 32, 256, 1024] {
            let mut walk = Walk::new(0xDEAD_BEEF, buckets - 1);
            let mut seen = vec![walk.position];
            while walk.advance(buckets - 1) {
                seen.push(walk.position);
            }
            seen.sort_unstable();
            assert!(seen.into_iter().eq((0..buckets).step_by(WIDTH)));
        }
    }
}
