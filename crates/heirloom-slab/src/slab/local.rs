//! The owner's side: plain loads and stores on the free words, under the owning CPU's lock.

use super::Slab;
use crate::knobs::window;
use crate::sync::Ordering::{Relaxed, Release};

impl Slab<'_> {
    /// Finds a word with free slots and up to `want` of its lowest bits. Changes nothing but an outdated summary.
    #[inline]
    pub(crate) fn peek(&self, want: u32) -> Option<(usize, u64)> {
        loop {
            let summary = self.head.summary.load(Relaxed);
            if summary == 0 {
                return None;
            }
            let word = summary.trailing_zeros() as usize;
            let free = self.free.get(word)?.load(Relaxed);
            if free == 0 {
                self.head.summary.store(summary & (summary - 1), Relaxed);
                continue;
            }
            return Some((word, lowest_bits(free, want)));
        }
    }

    /// Drops `mask` from a free word: its slots are listed in the magazine by now.
    #[inline]
    pub(crate) fn drop_free(&self, word: usize, mask: u64) {
        window();
        let free = &self.free[word];
        // Release: the entries in the magazine come before this, also for a successor that sees a prefix.
        free.store(free.load(Relaxed) & !mask, Release);
        let head = self.head;
        head.nr_free.store(head.nr_free.load(Relaxed).wrapping_sub(mask.count_ones()), Relaxed);
    }

    /// Lists the slots of `mask` as free. Returns those that were listed already: a double free.
    #[inline]
    pub(crate) fn put_free(&self, word: usize, mask: u64) -> u64 {
        let free = &self.free[word];
        let old = free.load(Relaxed);
        free.store(old | mask, Release);
        self.count_free((mask & !old).count_ones(), 1 << word);
        old & mask
    }

    /// Counts `nr` slots that were listed in the free words of `summary`.
    #[inline]
    pub(crate) fn count_free(&self, nr: u32, summary: u64) {
        let head = self.head;
        head.nr_free.store(head.nr_free.load(Relaxed).wrapping_add(nr), Relaxed);
        head.summary.store(head.summary.load(Relaxed) | summary, Relaxed);
    }

    /// Bits of a word that stand for a slot.
    #[inline]
    pub(crate) fn valid_bits(&self, word: u64) -> u64 {
        match u64::from(self.head.nr_slots.load(Relaxed)).saturating_sub(word.saturating_mul(64)) {
            slots @ 0..=63 => (1 << slots) - 1,
            _ => u64::MAX,
        }
    }

    /// True where every slot is in the free words, and nobody can be about to touch the descriptor.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        let head = self.head;
        head.nr_free.load(Relaxed) == head.nr_slots.load(Relaxed)
            && head.publishing.load(Relaxed) == 0
            && head.announced.load(Relaxed) == 0
    }

    /// True where every slot is in the free words or the remote words: [`Slab::is_idle`] for who does not own the slab, and so must
    /// not fold them.
    pub(crate) fn looks_idle(&self) -> bool {
        let words = self.free.iter().zip(self.remote);
        let listed = words.map(|(free, remote)| (free.load(Relaxed) | remote.load(Relaxed)).count_ones());
        listed.sum::<u32>() == self.head.nr_slots.load(Relaxed)
    }
}

/// The lowest `want` set bits of `bits`, or all of them.
#[inline]
fn lowest_bits(bits: u64, want: u32) -> u64 {
    if bits.count_ones() <= want {
        return bits;
    }
    let mut rest = bits;
    for _ in 0..want {
        rest &= rest - 1;
    }
    bits & !rest
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::lowest_bits;

    #[test]
    fn the_lowest_bits_are_taken_and_no_more_than_wanted() {
        assert_eq!(lowest_bits(0b1011_0100, 2), 0b0001_0100);
        assert_eq!(lowest_bits(u64::MAX, 64), u64::MAX);
        assert_eq!(lowest_bits(0b1000, 5), 0b1000);
        assert_eq!(lowest_bits(u64::MAX, 1), 1);
    }
}
