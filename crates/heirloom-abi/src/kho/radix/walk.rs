//! Walking the tree, word by word and in order of keys: larger orders first, within an order by address.

use super::check::MapError;
use super::{Frame, LEVELS, NODE_WORDS, ORDER_0_BIT, PAGE_BYTES, Pages, shift};

/// What a walk comes across.
#[derive(Clone, Copy)]
pub(super) enum Step {
    /// A node, before any of its entries is read. Its address is aligned and no node above it has the same.
    Node { node: u64, level: usize },
    /// A word of a leaf that is not 0, and the key of its lowest bit.
    Word { key: u64, bits: u64 },
}

/// A walk over foreign bytes: it goes six levels down and not further, whatever it reads.
///
/// It stops at the first error. Who counts the [`Step::Node`]s bounds the whole walk.
pub(super) struct Steps<'p, P> {
    pages: &'p P,
    /// Node, next entry and lowest key of each level on the way to here; those below `level` are stale.
    path: [Position; LEVELS],
    level: usize,
    state: State,
}

#[derive(Clone, Copy)]
struct Position {
    node: u64,
    next: usize,
    key: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    AtRoot,
    Walking,
    Over,
}

impl<'p, P: Pages> Steps<'p, P> {
    pub(super) fn new(pages: &'p P, root: u64) -> Self {
        let start = Position { node: root, next: 0, key: 0 };
        let state = if root == 0 { State::Over } else { State::AtRoot };
        Self { pages, path: [start; LEVELS], level: LEVELS - 1, state }
    }

    fn step(&mut self) -> Result<Option<Step>, MapError> {
        if self.state == State::AtRoot {
            self.state = State::Walking;
            return self.enter(self.path[self.level].node).map(Some);
        }
        while self.state == State::Walking {
            let level = self.level;
            let here = &mut self.path[level];
            if here.next == NODE_WORDS {
                match level + 1 {
                    LEVELS => self.state = State::Over,
                    up => self.level = up,
                }
                continue;
            }
            let index = here.next;
            here.next += 1;
            let Position { node, key, .. } = *here;
            let entry = self.pages.load(node, index).ok_or(MapError::NodeOutside { node, level })?;
            if entry == 0 {
                continue;
            }
            let key = key | ((index as u64) << shift(level));
            if level == 0 {
                return Ok(Some(Step::Word { key, bits: entry }));
            }
            // Only the root can index past the last order.
            if key >> (ORDER_0_BIT + 1) != 0 {
                return Err(MapError::BadKey { key });
            }
            if self.path[level..].iter().any(|above| above.node == entry) {
                return Err(MapError::Loop { node: entry, level: level - 1 });
            }
            self.level = level - 1;
            self.path[self.level] = Position { node: entry, next: 0, key };
            return self.enter(entry).map(Some);
        }
        Ok(None)
    }

    fn enter(&self, node: u64) -> Result<Step, MapError> {
        let level = self.level;
        if node % PAGE_BYTES != 0 {
            return Err(MapError::Misaligned { node, level });
        }
        Ok(Step::Node { node, level })
    }
}

impl<P: Pages> Iterator for Steps<'_, P> {
    type Item = Result<Step, MapError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.step().inspect_err(|_| self.state = State::Over).transpose()
    }
}

/// The frames of one word of a leaf.
pub(super) struct WordFrames {
    bits: u64,
    /// The frame of bit 0, whose order all frames of the word have; none in the tree's first word.
    first: Option<Frame>,
}

impl WordFrames {
    const NONE: Self = Self { bits: 0, first: None };

    /// Tests all frames of the word at once; `bits` is not 0.
    #[inline]
    pub(super) fn new(key: u64, bits: u64) -> Result<Self, MapError> {
        if key == 0 {
            // The first word of the tree holds the largest orders, a few bits each.
            let bad = (0..u64::from(u64::BITS))
                .find(|&bit| bits & (1 << bit) != 0 && Frame::from_key(bit).is_none());
            return bad.map_or(Ok(Self { bits, first: None }), |key| Err(MapError::BadKey { key }));
        }
        // If the last of them ends within the address space, so do all.
        let last = key + u64::from(u64::BITS - 1 - bits.leading_zeros());
        Frame::from_key(last).ok_or(MapError::BadKey { key: last })?;
        let first = Frame::from_key(key).ok_or(MapError::BadKey { key })?;
        Ok(Self { bits, first: Some(first) })
    }
}

impl Iterator for WordFrames {
    type Item = Frame;

    #[inline]
    fn next(&mut self) -> Option<Frame> {
        if self.bits == 0 {
            return None;
        }
        let bit = u64::from(self.bits.trailing_zeros());
        self.bits &= self.bits - 1;
        match self.first {
            Some(first) => Some(first.further(bit)),
            None => Frame::from_key(bit),
        }
    }
}

/// The marked frames of a map, larger orders first, within an order by address.
///
/// It ends after the first error, which a map that passed its check does not have.
pub struct Frames<'p, P> {
    steps: Steps<'p, P>,
    word: WordFrames,
}

impl<'p, P: Pages> Frames<'p, P> {
    pub(super) fn new(pages: &'p P, root: u64) -> Self {
        Self { steps: Steps::new(pages, root), word: WordFrames::NONE }
    }
}

impl<P: Pages> Iterator for Frames<'_, P> {
    type Item = Result<Frame, MapError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(frame) = self.word.next() {
                return Some(Ok(frame));
            }
            let word = match self.steps.next()? {
                Ok(Step::Word { key, bits }) => WordFrames::new(key, bits),
                Ok(Step::Node { .. }) => continue,
                Err(error) => Err(error),
            };
            match word {
                Ok(word) => self.word = word,
                Err(error) => {
                    self.steps.state = State::Over;
                    return Some(Err(error));
                }
            }
        }
    }
}
