//! Sixteen control bytes, examined at once.
//!
//! ```text
//! 0xxxxxxx  the bucket is full; the low bits are the tag, the top seven bits of its key's hash
//! 11111111  EMPTY    never used since its group was last swept
//! 10000000  DELETED  used once; a probe walks on
//! 11111110  PADDING  no bucket: fills the only group of a table of 4 or 8
//! ```
//!
//! SSE2 does this in a few instructions; elsewhere two 64-bit words do, with the same results bit for bit.

#![cfg_attr(
    all(target_arch = "x86_64", target_feature = "sse2"),
    expect(unsafe_code, reason = "calls SSE2 intrinsics")
)]

/// Control bytes in a group.
pub(super) const WIDTH: usize = 16;
/// Control byte of a bucket that no probe has walked over.
pub(super) const EMPTY: u8 = 0xFF;
/// Control byte of a bucket that was emptied after its group had been full.
pub(super) const DELETED: u8 = 0x80;
/// Control byte without a bucket.
pub(super) const PADDING: u8 = 0xFE;

#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
use portable as lanes;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
use sse2 as lanes;

/// The control bytes of a group, as they lie in the block.
#[repr(C, align(16))]
pub(super) struct Bytes(pub(super) [u8; WIDTH]);

/// The control bytes of a group, in registers.
#[derive(Clone, Copy)]
pub(super) struct Group(lanes::Lanes);

impl Group {
    #[inline(always)]
    pub(super) fn load(bytes: &Bytes) -> Self {
        Self(lanes::load(bytes))
    }

    /// Finds the full buckets with this tag.
    #[inline(always)]
    pub(super) fn tagged(self, tag: u8) -> Matches {
        Matches(lanes::equal(self.0, tag))
    }

    #[inline(always)]
    pub(super) fn empty(self) -> Matches {
        Matches(lanes::equal(self.0, EMPTY))
    }

    /// Finds what is not full: empty and deleted buckets and, above all of them, padding.
    #[inline(always)]
    pub(super) fn vacant(self) -> Matches {
        Matches(lanes::high_bits(self.0))
    }

    #[inline(always)]
    pub(super) fn full(self) -> Matches {
        Matches(!lanes::high_bits(self.0))
    }
}

/// Asks the processor for the cache line at `address`, which need not be there.
#[inline(always)]
pub(super) fn prefetch(address: *const u8) {
    lanes::prefetch(address);
}

/// A set of positions in a group; iterates upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Matches(u16);

impl Matches {
    pub(super) const NONE: Self = Self(0);

    #[inline(always)]
    pub(super) fn any(self) -> bool {
        self.0 != 0
    }

    #[inline(always)]
    pub(super) fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    #[inline(always)]
    pub(super) fn lowest(self) -> Option<usize> {
        self.any().then_some(self.0.trailing_zeros() as usize)
    }
}

impl Iterator for Matches {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let lowest = self.lowest()?;
        self.0 &= self.0 - 1;
        Some(lowest)
    }
}

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod sse2 {
    use core::arch::x86_64::{
        __m128i, _MM_HINT_T0, _mm_cmpeq_epi8, _mm_load_si128, _mm_movemask_epi8, _mm_prefetch, _mm_set1_epi8,
    };

    use super::Bytes;

    pub(super) type Lanes = __m128i;

    #[inline(always)]
    pub(super) fn prefetch(address: *const u8) {
        // SAFETY: a prefetch reads nothing, and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }

    #[inline(always)]
    pub(super) fn load(bytes: &Bytes) -> Lanes {
        // SAFETY: the bytes are sixteen, aligned at sixteen; SSE2 is there at compile time.
        unsafe { _mm_load_si128(std::ptr::from_ref(bytes).cast()) }
    }

    #[inline(always)]
    pub(super) fn equal(lanes: Lanes, byte: u8) -> u16 {
        // SAFETY: SSE2 is there at compile time.
        unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(lanes, _mm_set1_epi8(byte.cast_signed()))) as u16 }
    }

    #[inline(always)]
    pub(super) fn high_bits(lanes: Lanes) -> u16 {
        // SAFETY: SSE2 is there at compile time.
        unsafe { _mm_movemask_epi8(lanes) as u16 }
    }
}

#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "sse2"))))]
mod portable {
    use super::Bytes;

    pub(super) type Lanes = [u64; 2];

    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;

    /// Elsewhere there is no such hint in stable Rust.
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
    pub(super) fn prefetch(_address: *const u8) {}

    pub(super) fn load(bytes: &Bytes) -> Lanes {
        let mut halves = bytes.0.chunks_exact(8);
        std::array::from_fn(|_| {
            let half = halves.next().and_then(|half| half.try_into().ok());
            u64::from_le_bytes(half.expect("a group is two words"))
        })
    }

    pub(super) fn equal(lanes: Lanes, byte: u8) -> u16 {
        high_bits(lanes.map(|word| {
            let zero_where_equal = word ^ (LOW * u64::from(byte));
            // Adding to seven bits cannot carry into the next byte, so only a zero byte leaves its high bit clear.
            let nonzero = ((zero_where_equal & !HIGH) + !HIGH) | zero_where_equal;
            !nonzero & HIGH
        }))
    }

    pub(super) fn high_bits(lanes: Lanes) -> u16 {
        // The factor moves the high bit of byte `n`, brought down to bit `8n`, to bit `56 + n`; no two products meet.
        let [low, high] = lanes.map(|word| (((word & HIGH) >> 7).wrapping_mul(0x0102_0408_1020_4080)) >> 56);
        (low | high << 8) as u16
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 512 }, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn both_implementations_agree(bytes: [u8; 16], swaps: [u8; 16], tag in 0_u8..=255) {
            // Equal neighbours are where a carry would show.
            let bytes = Bytes(std::array::from_fn(|i| match swaps[i] % 4 {
                0 => tag,
                1 => tag ^ 1,
                2 => EMPTY,
                _ => bytes[i],
            }));
            let naive = |test: &dyn Fn(u8) -> bool| {
                bytes.0.iter().enumerate().fold(0_u16, |set, (i, &byte)| set | (u16::from(test(byte)) << i))
            };
            let portable = portable::load(&bytes);
            prop_assert_eq!(portable::equal(portable, tag), naive(&|byte| byte == tag));
            prop_assert_eq!(portable::high_bits(portable), naive(&|byte| byte >= 0x80));
            let group = Group::load(&bytes);
            prop_assert_eq!(group.tagged(tag), Matches(naive(&|byte| byte == tag)));
            prop_assert_eq!(group.empty(), Matches(naive(&|byte| byte == EMPTY)));
            prop_assert_eq!(group.vacant(), Matches(naive(&|byte| byte >= 0x80)));
            prop_assert_eq!(group.full(), Matches(naive(&|byte| byte < 0x80)));
        }
    }

    #[test]
    fn matches_come_in_rising_order() {
        assert!(Matches(0b1000_0000_0000_0101).eq([0, 2, 15]));
        assert_eq!((Matches(0b100).lowest(), Matches::NONE.lowest()), (Some(2), None));
    }
}
