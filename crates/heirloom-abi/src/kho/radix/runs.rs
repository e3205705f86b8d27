//! Runs: marked frames side by side, taken as one.
//!
//! ```text
//! words       1111...1111  1111...1111  0000011101
//! runs        |------------------------------|  |-|        neighbours join over words, leaves and nodes
//! ```
//!
//! 64 words that are full are one step, so a walk over runs costs by the run and hardly by the frame.

use core::fmt;
use core::ops::Range;

use super::check::MapError;
use super::pages::MASK_WORDS;
use super::walk::Nodes;
use super::{Frame, NODE_WORDS, ORDER_0_BIT, Order, Pages};

/// Keys of a word.
const BITS: u64 = u64::BITS as u64;

/// Neighbouring frames of one order.
///
/// # Invariants
///
/// There is one at least, and the last ends at or before [`u64::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    first: Frame,
    nr_frames: u64,
}

impl Run {
    /// Takes a range of keys, which is not empty.
    fn of_keys(keys: &Range<u64>) -> Result<Self, MapError> {
        let frame = |key| Frame::from_key(key).ok_or(MapError::BadKey { key });
        let (first, last) = (frame(keys.start)?, frame(keys.end - 1)?);
        if first.order() != last.order() {
            // Between two orders lies the key of a frame that reaches past the address space.
            let key = (2 << (ORDER_0_BIT - first.order().get())) - 1;
            return Err(MapError::BadKey { key });
        }
        // INVARIANT: the last frame is one, and of the order of the first.
        Ok(Self { first, nr_frames: keys.end - keys.start })
    }

    /// Returns the first frame.
    #[must_use]
    pub const fn first(self) -> Frame {
        self.first
    }

    /// Returns how many frames there are.
    #[must_use]
    pub const fn nr_frames(self) -> u64 {
        self.nr_frames
    }

    /// Returns the order of each frame.
    #[must_use]
    pub const fn order(self) -> Order {
        self.first.order()
    }

    /// Returns the addresses of all frames, as [`RadixMap::mark_range`](super::RadixMap::mark_range) takes them.
    #[must_use]
    pub const fn range(self) -> Range<u64> {
        self.first.phys()..self.first.phys() + self.bytes()
    }

    /// Returns the size of all frames in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        // By the type invariant this does not wrap.
        self.nr_frames * self.first.bytes()
    }

    /// Iterates over the frames.
    pub fn frames(self) -> impl Iterator<Item = Frame> {
        (0..self.nr_frames).map(move |index| self.first.further(index))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = self.range();
        write!(f, "{:#x}..{:#x} order {}", range.start, range.end, self.order())
    }
}

/// The marked frames of a map in runs, each as long as can be; larger orders first, within an order by address.
///
/// It ends after the first error, which a map that passed its check does not have. The error may come in the place of
/// frames before it that would have been part of the same run.
pub struct Runs<'p, P> {
    pages: &'p P,
    nodes: Nodes<'p, P>,
    leaf: Leaf,
    /// Keys that were found and not handed out, as more may follow.
    open: Range<u64>,
}

/// What is left of a leaf.
struct Leaf {
    node: u64,
    /// Its lowest key.
    key: u64,
    /// The first word that was not looked at.
    next: usize,
    /// Of the 64 words before `next`: those that are not 0 and still to come, and those that are not full.
    some: u64,
    not_full: u64,
    /// Of the word looked at last: its lowest key, and the bits that are still to come.
    word: u64,
    bits: u64,
}

impl Leaf {
    const NONE: Self = Self { node: 0, key: 0, next: NODE_WORDS, some: 0, not_full: 0, word: 0, bits: 0 };

    /// Returns the next keys that are neighbours, which may go on in the keys after; nothing behind the last.
    #[inline]
    fn next<P: Pages>(&mut self, pages: &P) -> Result<Option<Range<u64>>, MapError> {
        let outside = MapError::NodeOutside { node: self.node, level: 0 };
        loop {
            if self.bits != 0 {
                let first = self.bits.trailing_zeros();
                let nr = (!(self.bits >> first)).trailing_zeros();
                // All bits up to the last of these were seen.
                self.bits &= u64::MAX.checked_shl(first + nr).unwrap_or(0);
                let start = self.word + u64::from(first);
                return Ok(Some(start..start + u64::from(nr)));
            }
            if self.some != 0 {
                let bit = self.some.trailing_zeros();
                let index = self.next - MASK_WORDS + bit as usize;
                let key = self.key + index as u64 * BITS;
                let nr_full = (self.not_full >> bit).trailing_zeros().min(u64::BITS - bit);
                if nr_full > 0 {
                    self.some &= u64::MAX.checked_shl(bit + nr_full).unwrap_or(0);
                    return Ok(Some(key..key + u64::from(nr_full) * BITS));
                }
                self.some &= self.some - 1;
                self.word = key;
                self.bits = pages.load(self.node, index).ok_or(outside)?;
                continue;
            }
            if self.next >= NODE_WORDS {
                return Ok(None);
            }
            let words = self.next..self.next + MASK_WORDS;
            self.some = pages.words_unlike(self.node, words.clone(), 0).ok_or(outside)?;
            if self.some != 0 {
                self.not_full = pages.words_unlike(self.node, words.clone(), u64::MAX).ok_or(outside)?;
            }
            self.next = words.end;
        }
    }
}

impl<'p, P: Pages> Runs<'p, P> {
    pub(super) fn new(pages: &'p P, root: u64) -> Self {
        Self { pages, nodes: Nodes::new(pages, root), leaf: Leaf::NONE, open: 0..0 }
    }

    /// Returns the next run's keys.
    fn next_keys(&mut self) -> Result<Option<Range<u64>>, MapError> {
        loop {
            let Some(found) = self.leaf.next(self.pages)? else {
                match self.nodes.next() {
                    Some(node) => {
                        let node = node?;
                        if let Some(key) = node.leaf_key() {
                            self.leaf = Leaf { node: node.node, key, next: 0, ..Leaf::NONE };
                        }
                        continue;
                    }
                    None => return Ok(self.close(0..0)),
                }
            };
            if found.start == self.open.end {
                self.open.end = found.end;
            } else if let Some(run) = self.close(found) {
                return Ok(Some(run));
            }
        }
    }

    /// Hands out the run that is open, if one is, and opens another.
    fn close(&mut self, other: Range<u64>) -> Option<Range<u64>> {
        let run = core::mem::replace(&mut self.open, other);
        if run.is_empty() { None } else { Some(run) }
    }
}

impl<P: Pages> Iterator for Runs<'_, P> {
    type Item = Result<Run, MapError>;

    fn next(&mut self) -> Option<Self::Item> {
        let run = self.next_keys().and_then(|keys| keys.map(|keys| Run::of_keys(&keys)).transpose());
        if run.is_err() {
            self.nodes.stop();
            (self.leaf, self.open) = (Leaf::NONE, 0..0);
        }
        run.transpose()
    }
}
