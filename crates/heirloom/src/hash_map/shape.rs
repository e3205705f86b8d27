//! How many buckets a table has, how many values they take, and how its block is laid out.

use std::alloc::Layout;

use super::group::WIDTH;
use crate::alloc::AllocError;

/// Returns how many values a table of `buckets` takes: seven in eight, and at least one bucket stays empty.
#[inline]
pub(crate) const fn capacity_of(buckets: usize) -> usize {
    if buckets < 8 { buckets.saturating_sub(1) } else { buckets / 8 * 7 }
}

/// Returns the least number of buckets that take `capacity` values.
pub(crate) fn buckets_for(capacity: usize) -> Result<usize, AllocError> {
    match capacity {
        0..=3 => Ok(4),
        4..=7 => Ok(8),
        _ => {
            let eighths = capacity.checked_mul(8).ok_or(AllocError::TOO_LARGE)?;
            eighths.div_ceil(7).checked_next_power_of_two().ok_or(AllocError::TOO_LARGE)
        }
    }
}

/// Returns how many control bytes lie behind so many buckets: those of whole groups.
pub(super) const fn control_bytes(buckets: usize) -> usize {
    if buckets < WIDTH { WIDTH } else { buckets }
}

/// Returns the layout of a block of `buckets`, and how far into it the control bytes start.
pub(super) fn shape<T>(buckets: usize) -> Result<(Layout, usize), AllocError> {
    let values = Layout::array::<T>(buckets).map_err(|_| AllocError::TOO_LARGE)?;
    let control = Layout::from_size_align(control_bytes(buckets), align_of::<T>().max(WIDTH));
    let control = control.map_err(|_| AllocError::TOO_LARGE)?;
    values.extend(control).map_err(|_| AllocError::TOO_LARGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_take_what_they_were_made_for() {
        for capacity in 0..10_000 {
            let buckets = buckets_for(capacity).unwrap();
            assert!(capacity_of(buckets) >= capacity && capacity_of(buckets) < buckets);
            assert!(buckets == 4 || capacity_of(buckets / 2) < capacity);
        }
        assert!(buckets_for(usize::MAX / 2).is_err());
        assert!(shape::<u64>(1 << 61).is_err());
    }
}
