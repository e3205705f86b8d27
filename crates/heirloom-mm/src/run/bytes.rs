//! Contents of objects: a pattern that follows from a seed, and words of random numbers.

use crate::phys::Memory;

/// Numbers that are the same for the same seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(mix(seed).max(1))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit.max(1)
    }
}

/// Fills bytes with the pattern of `seed`. They are the caller's own.
pub(super) fn fill(map: Memory, phys: u64, size: u64, seed: u64) {
    each_chunk(size, seed, |at, word| {
        map.write(phys + at, word);
        true
    });
}

/// Whether bytes are the pattern of `seed`. They lie in memory.
pub(super) fn is_whole(map: Memory, phys: u64, size: u64, seed: u64) -> bool {
    each_chunk(size, seed, |at, word| {
        let mut found = [0; 8];
        let found = &mut found[..word.len()];
        map.read(phys + at, found);
        found == word
    })
}

/// Whether all bytes are zero. They lie in memory.
pub(super) fn is_zero(map: Memory, phys: u64, size: u64) -> bool {
    let mut byte = [0];
    (0..size).all(|at| {
        map.read(phys + at, &mut byte);
        byte == [0]
    })
}

/// Calls `visit` with each eight bytes of a pattern, the last perhaps fewer, until it answers false.
fn each_chunk(size: u64, seed: u64, mut visit: impl FnMut(u64, &[u8]) -> bool) -> bool {
    (0..size).step_by(8).all(|at| {
        let word = mix(seed ^ at.wrapping_mul(0xff51_afd7_ed55_8ccd)).to_le_bytes();
        visit(at, &word[..(size - at).min(8) as usize])
    })
}

/// A number that looks nothing like the one before.
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
