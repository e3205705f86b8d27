//! The hash of a map: SipHash-1-3 under a key of its own.
//!
//! The algorithm is part of the format, and so is the key, which lies in the map. What a key feeds to the hasher is not:
//! std may change it, and then a map rebuilds itself.

use std::cell::Cell;
use std::hash::{Hash, Hasher};

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use siphasher::sip::SipHasher13;

/// The 128-bit key of a map's hash.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Seed([u64; 2]);

impl Seed {
    /// The seed of a map without a table, which hashes nothing.
    pub(crate) const NONE: Self = Self([0; 2]);

    /// Draws a seed: random for the first map of a thread, then one more for each, as a system call costs more than a map.
    pub(crate) fn draw() -> Self {
        #[cfg(test)]
        if crate::alloc::recorded::is_on() {
            // A golden file is the same each time.
            return Self([7, 11]);
        }
        thread_local! {
            static NEXT: Cell<Option<[u64; 2]>> = const { Cell::new(None) };
        }
        let [low, high] = NEXT.get().unwrap_or_else(|| [random(), random()]);
        NEXT.set(Some([low.wrapping_add(1), high]));
        Self([low, high])
    }

    /// Hashes a key.
    #[inline]
    pub(crate) fn hash<Q: Hash + ?Sized>(self, key: &Q) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0[0], self.0[1]);
        key.hash(&mut hasher);
        hasher.finish()
    }
}

impl Seed {
    /// Hashes bytes as they are, which no version of std has a say in.
    #[inline]
    pub(crate) fn hash_bytes(self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0[0], self.0[1]);
        hasher.write(bytes);
        hasher.finish()
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    loop {
        match getrandom(&mut bytes, GetRandomFlags::empty()) {
            // So few bytes are never returned in part.
            Ok(_) => return u64::from_le_bytes(bytes),
            Err(Errno::INTR) => {}
            Err(error) => panic!("the system has no random bytes: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_the_format_names() {
        // SipHash-1-3 of the bytes 0..8, under the key 00 01 .. 0f.
        let seed = Seed([0x0706_0504_0302_0100, 0x0F0E_0D0C_0B0A_0908]);
        let reference = reference_siphash_1_3(seed.0, 0x0706_0504_0302_0100);
        assert_eq!(seed.hash(&0x0706_0504_0302_0100_u64), reference);
    }

    #[test]
    fn bytes_are_hashed_as_they_are() {
        let seed = Seed([1, 2]);
        assert_eq!(seed.hash_bytes(&7_u64.to_le_bytes()), reference_siphash_1_3([1, 2], 7));
    }

    #[test]
    fn no_two_maps_share_a_seed() {
        assert_ne!(Seed::draw().0, Seed::draw().0);
        let elsewhere = std::thread::spawn(|| Seed::draw().0[1]).join().unwrap();
        assert_ne!(Seed::draw().0[1], elsewhere);
    }

    /// SipHash-1-3 of eight bytes, from the paper.
    fn reference_siphash_1_3(key: [u64; 2], message: u64) -> u64 {
        let mut v = [
            key[0] ^ 0x736f_6d65_7073_6575,
            key[1] ^ 0x646f_7261_6e64_6f6d,
            key[0] ^ 0x6c79_6765_6e65_7261,
            key[1] ^ 0x7465_6462_7974_6573,
        ];
        let round = |v: &mut [u64; 4]| {
            v[0] = v[0].wrapping_add(v[1]);
            v[1] = v[1].rotate_left(13) ^ v[0];
            v[0] = v[0].rotate_left(32);
            v[2] = v[2].wrapping_add(v[3]);
            v[3] = v[3].rotate_left(16) ^ v[2];
            v[0] = v[0].wrapping_add(v[3]);
            v[3] = v[3].rotate_left(21) ^ v[0];
            v[2] = v[2].wrapping_add(v[1]);
            v[1] = v[1].rotate_left(17) ^ v[2];
            v[2] = v[2].rotate_left(32);
        };
        for word in [message, 8 << 56] {
            v[3] ^= word;
            round(&mut v);
            v[0] ^= word;
        }
        v[2] ^= 0xff;
        (0..3).for_each(|_| round(&mut v));
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}
