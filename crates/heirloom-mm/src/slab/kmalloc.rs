//! kmalloc classes: which size an allocation that names no cache is served as.
//!
//! The ordinary classes are SLUB's: powers of two, and 96 and 192 between them. The preserved ones leave those two out: their
//! slots do not fill a page, and the 64 bytes that each page of them has left would be bytes of preserved pages that nobody can ever allocate.

use crate::phys::PAGE_BYTES;

/// Ordinary classes. The smallest is 16, the alignment that every object gets.
pub const KMALLOC_SIZES: [usize; 12] = [16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192];

/// Classes of `Gfp::PRESERVE`.
pub const PRESERVED_KMALLOC_SIZES: [usize; 10] = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192];

/// Bytes that a request for `size` bytes is served as: a class, and above the largest whole pages.
pub fn kmalloc_bytes(size: usize, preserved: bool) -> usize {
    let classes: &[usize] = if preserved { &PRESERVED_KMALLOC_SIZES } else { &KMALLOC_SIZES };
    let class = classes.get(classes.partition_point(|&class| class < size));
    class.copied().unwrap_or_else(|| size.checked_next_multiple_of(PAGE_BYTES as usize).unwrap_or(size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use heirloom_slab::size_class::{class_bytes, class_of};

    #[test]
    fn each_size_gets_the_smallest_class() {
        for (size, class) in
            [(0, 16), (1, 16), (65, 96), (96, 96), (97, 128), (129, 192), (4097, 8192), (8193, 12288)]
        {
            assert_eq!(kmalloc_bytes(size, false), class, "{size} bytes");
        }
        assert_eq!(kmalloc_bytes(65, true), 128);
        assert_eq!(kmalloc_bytes(usize::MAX, true), usize::MAX);
    }

    #[test]
    fn each_class_up_to_a_page_is_a_size_class_of_the_pools() {
        for class in KMALLOC_SIZES.into_iter().filter(|&class| class <= 4096) {
            assert_eq!(class_bytes(class_of(class)), class);
        }
    }
}
