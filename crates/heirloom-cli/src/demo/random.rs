//! Pseudo-random numbers that a generation can go on with where its predecessor stopped.
//!
//! SplitMix64: the whole state is one `u64`, which is kept in the heap. A crate from the registry would keep its state
//! in a layout that nobody promised to the next generation.

/// Where the sequence stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Returns the next number and steps on.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Returns a number below `bound`, which is not zero; the bias of at most `bound / 2^64` does not matter here.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the upper half of a product of two u64 is a u64")
    }

    /// Picks `count` different numbers below `bound`, in rising order.
    pub(crate) fn sample(&mut self, count: usize, bound: usize) -> Vec<usize> {
        // Knuth's selection sampling: one pass, exact, already sorted.
        let mut picked = Vec::with_capacity(count.min(bound));
        for at in 0..bound {
            let wanted = count.min(bound) - picked.len();
            if wanted == 0 {
                break;
            }
            if self.below((bound - at) as u64) < wanted as u64 {
                picked.push(at);
            }
        }
        picked
    }
}

/// Scatters the bits of a number over all 64: a bijection, and the last step of SplitMix64.
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = Random(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn a_sample_is_sorted_without_repeats_and_of_the_size_asked_for() {
        let mut random = Random(7);
        for (count, bound) in [(0, 0), (3, 0), (0, 9), (4, 9), (9, 9), (20, 9), (100, 1000)] {
            let picked = random.sample(count, bound);
            assert_eq!(picked.len(), count.min(bound));
            assert!(picked.is_sorted_by(|a, b| a < b) && picked.iter().all(|&at| at < bound));
        }
    }
}
