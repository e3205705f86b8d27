//! The checksum of every record in this crate: XXH64.
//!
//! It finds accidents (a torn write, a stray pointer, a block that another generation wrote), not attacks: whoever can
//! write the record can write its checksum. XXH64 because its output is specified byte for byte, for every machine, by the
//! [xxHash specification](https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md), it reads several bytes a cycle
//! without special instructions, and 64 bits leave no chance collisions worth counting. CRC32C lost: half the bits, and slow
//! where the instruction is missing.

/// Computes the XXH64 of `bytes` under `seed`.
///
/// A record that holds its own checksum is summed with that field as zero, or up to that field; the record says which. The seed
/// is part of a record's format: unless its module says otherwise it is 0.
///
/// ```
/// assert_eq!(heirloom_abi::checksum(b"", 0), 0xef46_db37_51d8_e999);
/// ```
#[must_use]
pub fn checksum(bytes: &[u8], seed: u64) -> u64 {
    xxhash_rust::xxh64::xxh64(bytes, seed)
}

#[cfg(test)]
mod tests {
    use super::checksum;

    #[test]
    fn agrees_with_published_values() {
        assert_eq!(checksum(b"", 0), 0xef46_db37_51d8_e999);
        assert_eq!(checksum(b"abc", 0), 0x44bc_2cf5_ad77_0999);
    }

    #[test]
    fn a_seed_gives_another_sum() {
        assert_ne!(checksum(b"abc", 1), checksum(b"abc", 0));
    }
}
