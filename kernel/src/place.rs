//! Where in scratch the successor goes.
//!
//! ```text
//! scratch   |----------------------------------------------------------------|
//! in use      [this kernel, its start info, its successor's file]
//! chosen                                                          [successor ]   the first place that fits, 2 MiB aligned
//! ```
//!
//! The place may hold anything of this generation that is not needed after the freeze: its page records, its guard pool, its
//! ordinary objects. It must not hold this kernel itself (it does the copying), nor what is copied; and it cannot hold what is
//! handed over, which the machine keeps out of scratch.

use crate::range::PhysRange;

/// An image starts at a multiple of this, so that pages of 2 MiB map it.
pub const ALIGN: u64 = 2 << 20;

/// What a successor starts in has no paging, so all of it must have addresses of 32 bits.
pub const LIMIT: u64 = 1 << 32;

/// Finds the lowest place for `size_bytes` bytes in one of the ranges of scratch and in none that is in use.
#[must_use]
pub fn find_place(scratch: &[PhysRange], in_use: &[PhysRange], size_bytes: u64) -> Option<PhysRange> {
    // A place is at the start of a range of scratch, or just after something in use: there are no other lowest places.
    let starts = scratch.iter().map(|range| range.start).chain(in_use.iter().map(|range| range.end));
    starts
        .filter_map(|start| PhysRange::new(start.checked_next_multiple_of(ALIGN)?, size_bytes))
        .filter(|place| place.end <= LIMIT)
        .filter(|place| scratch.iter().any(|range| range.contains(*place)))
        .filter(|place| !in_use.iter().any(|range| range.overlaps(*place)))
        .min_by_key(|place| place.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn mib(start: u64, end: u64) -> PhysRange {
        PhysRange { start: start * MIB, end: end * MIB }
    }

    #[test]
    fn the_lowest_aligned_place_is_found() {
        // scratch |17    24|     |32     64|
        let scratch = [mib(32, 64), mib(17, 24)];
        assert_eq!(find_place(&scratch, &[], 3 * MIB), Some(mib(18, 21)));
        assert_eq!(find_place(&scratch, &[], 7 * MIB), Some(mib(32, 39)));
        assert_eq!(find_place(&scratch, &[], 33 * MIB), None);
    }

    #[test]
    fn two_generations_take_turns() {
        let scratch = [mib(16, 32)];
        let first = find_place(&scratch, &[mib(2, 5)], 3 * MIB).expect("there is room");
        let second = find_place(&scratch, &[first], 3 * MIB).expect("there is room");
        assert_eq!((first, second), (mib(16, 19), mib(20, 23)));
        assert_eq!(find_place(&scratch, &[second], 3 * MIB), Some(first));
    }

    #[test]
    fn nothing_in_use_and_nothing_above_4_gib_is_taken() {
        let scratch = [mib(16, 32), mib(4094, 4110), mib(8192, 8300)];
        assert_eq!(find_place(&scratch, &[mib(17, 18), mib(24, 25)], 6 * MIB), Some(mib(18, 24)));
        assert_eq!(find_place(&scratch, &[mib(20, 21)], 12 * MIB), None);
        assert_eq!(find_place(&scratch, &[mib(16, 32)], 2 * MIB), Some(mib(4094, 4096)));
        assert_eq!(find_place(&[mib(4094, 4110)], &[mib(4094, 4096)], 2 * MIB), None);
        assert_eq!(find_place(&[PhysRange { start: u64::MAX - 1, end: u64::MAX }], &[], 1), None);
    }
}
