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

/// The same sum under the seed 0, of eight words at a time.
///
/// For tables that are read entry by entry. `xxhash-rust` wants slices, which have to be long to be summed up fast; of words that lie in
/// registers a processor sums up the one entry while it reads the next and compares its numbers, which then cost next to nothing.
pub(crate) struct EntrySum {
    lanes: [u64; 4],
    nr_bytes: u64,
}

const PRIMES: [u64; 5] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x85eb_ca77_c2b2_ae63,
    0x27d4_eb2f_1656_67c5,
];

impl EntrySum {
    pub(crate) const fn new() -> Self {
        let [first, second, ..] = PRIMES;
        let lanes = [first.wrapping_add(second), second, 0, first.wrapping_neg()];
        Self { lanes, nr_bytes: 0 }
    }

    #[inline(always)]
    pub(crate) fn add(&mut self, words: &[u64; 8]) {
        let [a, b, c, d, e, f, g, h] = *words;
        for stripe in [[a, b, c, d], [e, f, g, h]] {
            for (lane, word) in self.lanes.iter_mut().zip(stripe) {
                *lane = round(*lane, word);
            }
        }
        self.nr_bytes += 64;
    }

    pub(crate) fn finish(self) -> u64 {
        let [first, second, third, fourth, fifth] = PRIMES;
        let mut sum = fifth;
        if self.nr_bytes > 0 {
            let rotated = self.lanes.iter().zip([1, 7, 12, 18]).map(|(lane, by)| lane.rotate_left(by));
            sum = rotated.fold(0, u64::wrapping_add);
            for lane in self.lanes {
                sum = (sum ^ round(0, lane)).wrapping_mul(first).wrapping_add(fourth);
            }
        }
        // No bytes are left over behind the last stripe.
        sum = sum.wrapping_add(self.nr_bytes);
        sum = (sum ^ sum >> 33).wrapping_mul(second);
        sum = (sum ^ sum >> 29).wrapping_mul(third);
        sum ^ sum >> 32
    }
}

#[inline(always)]
fn round(lane: u64, word: u64) -> u64 {
    let [first, second, ..] = PRIMES;
    lane.wrapping_add(word.wrapping_mul(second)).rotate_left(31).wrapping_mul(first)
}

#[cfg(test)]
mod tests {
    use super::{EntrySum, checksum};

    #[test]
    fn agrees_with_published_values() {
        assert_eq!(checksum(b"", 0), 0xef46_db37_51d8_e999);
        assert_eq!(checksum(b"abc", 0), 0x44bc_2cf5_ad77_0999);
    }

    #[test]
    fn a_seed_gives_another_sum() {
        assert_ne!(checksum(b"abc", 1), checksum(b"abc", 0));
    }

    #[test]
    fn entries_sum_up_as_their_bytes_do() {
        let mut bytes = [0; 64 * 20];
        for (byte, n) in bytes.iter_mut().zip(1u32..) {
            *byte = n.wrapping_mul(0x9e37_79b1).to_le_bytes()[3];
        }
        for nr in 0..=20 {
            let mut sum = EntrySum::new();
            for entry in bytes[..64 * nr].chunks_exact(64) {
                let word = |n: usize| entry[8 * n..][..8].try_into().map(u64::from_le_bytes);
                sum.add(&core::array::from_fn(|n| word(n).expect("eight bytes")));
            }
            assert_eq!(sum.finish(), checksum(&bytes[..64 * nr], 0), "{nr} entries");
        }
    }
}
