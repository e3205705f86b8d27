//! Size classes: which cache serves a size.
//!
//! ```text
//! 16 32 48 64 80 96 112 128 | 160 192 224 256 | 320 384 448 512 | 640 ...     four steps a doubling
//! ```
//!
//! At most a fifth of a slot is lost above 128 bytes. The classes are the first caches of every pool, in this order.

/// Classes up to 64 KiB, the largest slot of 2 MiB blocks; more where blocks are larger.
pub const MAX_CLASSES: usize = 64;

/// The largest sizes that the tables answer. Steps above [`FINE_BYTES`] are multiples of 256 bytes.
const FINE_BYTES: usize = 1024;
const COARSE_BYTES: usize = 64 << 10;

const FINE: [u8; FINE_BYTES / 16 + 1] = {
    let mut table = [0; FINE_BYTES / 16 + 1];
    let mut i = 0;
    while i < table.len() {
        table[i] = class_by_arithmetic(i * 16) as u8;
        i += 1;
    }
    table
};

const COARSE: [u8; COARSE_BYTES / 256 + 1] = {
    let mut table = [0; COARSE_BYTES / 256 + 1];
    let mut i = 0;
    while i < table.len() {
        table[i] = class_by_arithmetic(i * 256) as u8;
        i += 1;
    }
    table
};

/// The class that serves `size` bytes (0 is served as 1). Not bounded: compare with the pool's number of classes.
#[inline(always)]
pub const fn class_of(size: usize) -> usize {
    if size <= COARSE_BYTES { class_at_hand(size) } else { class_by_arithmetic(size) }
}

/// As [`class_of`] for sizes that the tables answer; a class that there never is for larger ones.
#[inline(always)]
pub const fn class_at_hand(size: usize) -> usize {
    if size <= FINE_BYTES {
        FINE[(size + 15) >> 4] as usize
    } else if size <= COARSE_BYTES {
        COARSE[(size + 255) >> 8] as usize
    } else {
        usize::MAX
    }
}

/// Bytes of a slot of `class`.
#[inline]
pub const fn class_bytes(class: usize) -> usize {
    if class < 8 {
        (class + 1) * 16
    } else {
        let (doubling, step) = ((class - 8) / 4, (class - 8) % 4);
        (128 << doubling) + (step + 1) * (32 << doubling)
    }
}

#[cold]
const fn class_by_arithmetic(size: usize) -> usize {
    if size <= 16 {
        return 0;
    }
    if size <= 128 {
        return size.div_ceil(16) - 1;
    }
    // 2^top < size <= 2^(top + 1), cut into four steps.
    let top = (usize::BITS - 1 - (size - 1).leading_zeros()) as usize;
    let step = 1 << (top - 2);
    let steps = (size - (1 << top)).div_ceil(step);
    8 + (top - 7) * 4 + steps - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_gets_the_smallest_slot_that_holds_it() {
        for size in 0..if cfg!(miri) { 1200 } else { 200_000 } {
            let class = class_of(size);
            assert!(class_bytes(class) >= size, "{size}");
            assert!(class == 0 || class_bytes(class - 1) < size.max(1), "{size}");
            assert_eq!(class_at_hand(size), if size <= COARSE_BYTES { class } else { usize::MAX });
        }
    }

    #[test]
    fn slots_of_power_of_two_sizes_exist_for_every_alignment() {
        for shift in 4..17 {
            assert_eq!(class_bytes(class_of(1 << shift)), 1 << shift);
        }
        assert_eq!(class_of(64 << 10), 43);
    }
}
