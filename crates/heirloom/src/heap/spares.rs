//! Blocks that the pool gave back and whose pages stay for a while: all zeros, so that whoever takes them next gets what a
//! new page is, without the fault.
//!
//! ```text
//! given back --zeroed where its pages are--> spare --taken--> the pool's
//!     |                                        |
//!     +---- enough are kept ---> punched <-----+ a hand-over begins, or the heap closes
//! ```
//!
//! Not so in a file with a name, whose file system may be full for others. A page of shared memory costs about 3 us to get and 0.6 us to give back, and 0.4 us to zero. Spares are nobody's: they are
//! not marked in the preserved map, and a recovery punches them with all else that no pool has.

/// Bytes that are always kept, as glibc keeps the top of its heap; from then on an eighth of what the pool has.
const KEPT_BYTES: u64 = 64 << 20;
const KEPT_SHARE: u64 = 8;

/// Which free blocks have pages.
pub(super) struct Spares {
    /// One bit a block.
    bits: Vec<u64>,
    nr: u64,
    block_shift: u32,
    /// False from the moment that a hand-over begins, and always for a heap that takes room of a file system.
    wanted: bool,
}

impl Spares {
    pub(super) fn new(nr_blocks: u64, block_shift: u32, wanted: bool) -> Self {
        Self { bits: vec![0; nr_blocks.div_ceil(64) as usize], nr: 0, block_shift, wanted }
    }

    pub(super) fn want(&mut self, wanted: bool) {
        self.wanted = wanted;
    }

    /// Whether `nr` more may be kept beside a pool that has `nr_taken`.
    pub(super) fn have_room(&self, nr: u64, nr_taken: u64) -> bool {
        let most = (KEPT_BYTES >> self.block_shift).max(nr_taken / KEPT_SHARE);
        self.wanted && self.nr + nr <= most
    }

    /// Keeps blocks, whose bytes are all zero.
    pub(super) fn add(&mut self, start: u64, nr: u64) {
        for index in start..start + nr {
            self.bits[(index / 64) as usize] |= 1 << (index % 64);
        }
        self.nr += nr;
    }

    /// Forgets those of these blocks that it has: they are taken.
    pub(super) fn remove(&mut self, start: u64, nr: u64) {
        for index in start..start + nr {
            let (word, bit) = (&mut self.bits[(index / 64) as usize], 1 << (index % 64));
            self.nr -= u64::from(*word & bit != 0);
            *word &= !bit;
        }
    }

    /// Forgets all, and calls `each` with every one.
    pub(super) fn drain(&mut self, mut each: impl FnMut(u64)) {
        for (nth, word) in self.bits.iter_mut().enumerate() {
            while *word != 0 {
                each(nth as u64 * 64 + u64::from(word.trailing_zeros()));
                *word &= *word - 1;
            }
        }
        self.nr = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_kept_and_no_more() {
        let mut spares = Spares::new(1000, 21, true);
        assert!(spares.have_room(32, 0) && !spares.have_room(33, 0));
        assert!(spares.have_room(100, 800) && !spares.have_room(101, 800));
        spares.add(60, 10);
        assert!(spares.have_room(22, 0) && !spares.have_room(23, 0));
        spares.remove(65, 20);
        assert!(spares.have_room(27, 0) && !spares.have_room(28, 0));
        let mut left = Vec::new();
        spares.drain(|index| left.push(index));
        assert_eq!(left, [60, 61, 62, 63, 64]);
        assert!(spares.have_room(32, 0));
        spares.want(false);
        assert!(!spares.have_room(1, 0));
    }
}
