//! Ranges of keys, cut where the tree cuts them: whole words of a leaf, and the bits that are left at either end.
//!
//! ```text
//!      leaf                                    leaf
//! |..............bb|WWWWWWWW ... WWWWWWWW||WWWWWWWW|bbbb............|
//!                Bits       Words             Words   Bits
//! ```

use core::ops::Range;

use super::check::MapError;
use super::map::MarkError;
use super::pages::MASK_WORDS;
use super::{Frame, FrameError, Order, Pages, PagesMut, index, shift};

/// Keys of a word.
const BITS: u64 = u64::BITS as u64;

/// Keys of a leaf.
const LEAF: u64 = 1 << shift(1);

/// What all keys of a piece are to be.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mark {
    Set,
    Clear,
}

impl Mark {
    /// A word of nothing else.
    const fn word(self) -> u64 {
        match self {
            Self::Set => u64::MAX,
            Self::Clear => 0,
        }
    }
}

/// Neighbouring keys of one leaf.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// Bits of one word, by a mask; `key` is that of the word's bit 0.
    Bits { key: u64, mask: u64 },
    /// Whole words.
    Words(Range<u64>),
}

/// Returns the keys of the frames that a range of addresses consists of.
pub(super) fn keys(range: Range<u64>, order: Order) -> Result<Range<u64>, FrameError> {
    if range.start == range.end {
        return Ok(0..0);
    }
    let first = Frame::new(range.start, order)?;
    let wrong = FrameError { phys: range.end, order };
    let last = Frame::new(range.end.wrapping_sub(order.bytes()), order).map_err(|_| wrong)?;
    if last < first || last.end() != range.end {
        return Err(wrong);
    }
    Ok(first.key()..last.key() + 1)
}

/// Cuts keys into pieces.
pub(super) fn pieces(keys: Range<u64>) -> impl Iterator<Item = Piece> {
    let mut next = keys.start;
    core::iter::from_fn(move || {
        let (start, left) = (next, keys.end.saturating_sub(next));
        if left == 0 {
            return None;
        }
        let (word, bit) = (start - start % BITS, start % BITS);
        if bit != 0 || left < BITS {
            let nr_bits = left.min(BITS - bit);
            next = start + nr_bits;
            return Some(Piece::Bits { key: word, mask: (u64::MAX >> (BITS - nr_bits)) << bit });
        }
        next = (start - start % LEAF + LEAF).min(keys.end - keys.end % BITS);
        Some(Piece::Words(start..next))
    })
}

impl Piece {
    /// Returns a key that lies in the same leaf.
    pub(super) fn key(&self) -> u64 {
        match self {
            Self::Bits { key, .. } => *key,
            Self::Words(keys) => keys.start,
        }
    }

    /// Returns its first key.
    pub(super) fn first_key(&self) -> u64 {
        match self {
            Self::Bits { key, mask } => key + u64::from(mask.trailing_zeros()),
            Self::Words(keys) => keys.start,
        }
    }

    /// Returns the first key that is not as `mark` says.
    #[inline]
    pub(super) fn first_unlike<P: Pages>(
        &self,
        pages: &P,
        leaf: u64,
        mark: Mark,
    ) -> Result<Option<u64>, MapError> {
        let outside = MapError::NodeOutside { node: leaf, level: 0 };
        let unlike = |key| pages.load(leaf, index(key, 0)).map(|word| word ^ mark.word()).ok_or(outside);
        match self {
            &Self::Bits { key, mask } => Ok(lowest(key, unlike(key)? & mask)),
            Self::Words(keys) => {
                for key in keys.clone().step_by(MASK_WORDS * BITS as usize) {
                    let first = index(key, 0);
                    let nr_words = MASK_WORDS.min(((keys.end - key) / BITS) as usize);
                    let words = pages.words_unlike(leaf, first..first + nr_words, mark.word());
                    if let Some(word) = lowest(0, words.ok_or(outside)?) {
                        let key = key + word * BITS;
                        return Ok(lowest(key, unlike(key)?));
                    }
                }
                Ok(None)
            }
        }
    }

    /// Makes all of it as `mark` says.
    #[inline]
    pub(super) fn write<P: PagesMut>(&self, pages: &mut P, leaf: u64, mark: Mark) -> Result<(), MarkError> {
        let written = match self {
            &Self::Bits { key, mask } => {
                let changed = |word| match mark {
                    Mark::Set => Some(word | mask),
                    Mark::Clear => Some(word & !mask),
                };
                pages.update(leaf, index(key, 0), changed).map(|_| ())
            }
            Self::Words(keys) => {
                let first = index(keys.start, 0);
                let nr_words = ((keys.end - keys.start) / BITS) as usize;
                pages.fill(leaf, first..first + nr_words, mark.word())
            }
        };
        written.ok_or(MarkError::Map(MapError::NodeOutside { node: leaf, level: 0 }))
    }
}

/// Returns `key` plus the number of the lowest bit.
#[inline]
fn lowest(key: u64, bits: u64) -> Option<u64> {
    if bits == 0 { None } else { Some(key + u64::from(bits.trailing_zeros())) }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    extern crate std;

    #[test]
    fn pieces_end_at_words_and_leaves() {
        let leaf = 7 * LEAF;
        let cut = |keys| pieces(keys).collect::<Vec<_>>();
        assert_eq!(cut(leaf..leaf), []);
        assert_eq!(cut(leaf + 3..leaf + 5), [Piece::Bits { key: leaf, mask: 0b11000 }]);
        assert_eq!(cut(leaf..leaf + 64), [Piece::Words(leaf..leaf + 64)]);
        assert_eq!(
            cut(leaf - 65..leaf + 129),
            [
                Piece::Bits { key: leaf - 128, mask: 1 << 63 },
                Piece::Words(leaf - 64..leaf),
                Piece::Words(leaf..leaf + 128),
                Piece::Bits { key: leaf + 128, mask: 1 },
            ]
        );
    }
}
