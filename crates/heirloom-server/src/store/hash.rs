//! The hash of a key: SipHash-1-3 of its bytes, under a key that is drawn once for a heap.
//!
//! ```text
//! bits 48..64 shard | 40..48 tag in a bucket | 0..40 bucket
//! ```
//!
//! It is part of what is handed over: shards and tables are laid out by it. Clients choose the keys and must not be able to choose the
//! bucket, hence a keyed hash.

use std::hash::Hasher as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use siphasher::sip::SipHasher13;

static SEED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Sets the seed of this process: that of its heap.
pub(crate) fn set_seed(seed: [u64; 2]) {
    for (cell, word) in SEED.iter().zip(seed) {
        cell.store(word, Relaxed);
    }
}

/// Hashes a key.
#[inline]
pub(crate) fn hash(key: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(SEED[0].load(Relaxed), SEED[1].load(Relaxed));
    hasher.write(key);
    hasher.finish()
}

/// Draws a seed.
pub(crate) fn draw_seed() -> [u64; 2] {
    // std's own hasher is keyed by the system's random bytes.
    use std::hash::{BuildHasher as _, RandomState};
    let state = RandomState::new();
    [state.hash_one(1_u8), state.hash_one(2_u8)]
}
