//! Arithmetic of orders.

use crate::phys::PAGE_BYTES;

/// The largest order: 4 MiB, which is also a page block.
pub const MAX_ORDER: u32 = 10;

/// Number of orders.
pub(crate) const NR_ORDERS: usize = MAX_ORDER as usize + 1;

/// The smallest order that holds so many bytes; `None` where the largest does not.
pub const fn order_for(bytes: u64) -> Option<u32> {
    let pages = bytes.div_ceil(PAGE_BYTES);
    let order = if pages <= 1 { 0 } else { u64::BITS - (pages - 1).leading_zeros() };
    if order <= MAX_ORDER { Some(order) } else { None }
}

/// The neighbour that a block merges with.
pub(crate) const fn buddy(pfn: u64, order: u32) -> u64 {
    pfn ^ (1 << order)
}

/// The largest order, at most `most`, of a block that starts at `pfn` and ends at or before `end`.
pub(crate) fn largest_at(pfn: u64, end: u64, most: u32) -> u32 {
    let fits = (end - pfn).ilog2();
    let aligned = if pfn == 0 { MAX_ORDER } else { pfn.trailing_zeros() };
    fits.min(aligned).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_order_that_holds_the_bytes() {
        for (bytes, order) in [(0, 0), (1, 0), (4096, 0), (4097, 1), (8193, 2), (4 << 20, 10)] {
            assert_eq!(order_for(bytes), Some(order), "{bytes} bytes");
        }
        assert_eq!(order_for((4 << 20) + 1), None);
        assert_eq!(order_for(u64::MAX), None);
    }

    #[test]
    fn blocks_are_aligned_and_fit() {
        assert_eq!(largest_at(0, 3000, 10), 10);
        assert_eq!(largest_at(8, 3000, 10), 3);
        assert_eq!(largest_at(8, 13, 10), 2);
        assert_eq!(largest_at(1024, 4096, 4), 4);
        assert_eq!(buddy(12, 2), 8);
    }
}
