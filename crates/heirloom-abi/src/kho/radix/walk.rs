//! Walking the tree in order of keys: larger orders first, within an order by address.
//!
//! ```text
//! Nodes    each node, parents first            six levels down and no further, whatever is read
//! Words    the words of a leaf that are not 0  by masks of 64 words: empty stretches cost next to nothing
//! Frames   the frames of each word             tested by the word, not one by one
//! ```

use super::check::MapError;
use super::pages::MASK_WORDS;
use super::{Frame, LEVELS, NODE_WORDS, ORDER_0_BIT, PAGE_BYTES, Pages, shift};

/// A node, before any of its entries is read. Its address is aligned and no node above it has the same.
#[derive(Clone, Copy)]
pub(super) struct Node {
    pub(super) node: u64,
    pub(super) level: usize,
    /// The lowest key below it.
    key: u64,
}

impl Node {
    /// Its words, if it is a leaf.
    #[inline]
    pub(super) fn words<'p, P: Pages>(&self, pages: &'p P) -> Words<'p, P> {
        if self.level > 0 {
            return Words::none(pages);
        }
        // Where both ends of a leaf stand for frames of one order, so does all between.
        let last = self.key + ((NODE_WORDS as u64) << shift(0)) - 1;
        let ends = (Frame::from_key(self.key), Frame::from_key(last));
        let first = match ends {
            (Some(first), Some(last)) if first.order() == last.order() => Some(first),
            _ => None,
        };
        Words { pages, entries: Entries::of(self.node), key: self.key, first }
    }

    /// The lowest key below it, if it is a leaf.
    pub(super) fn leaf_key(&self) -> Option<u64> {
        if self.level == 0 { Some(self.key) } else { None }
    }
}

/// The entries of a node that are not 0.
#[derive(Clone, Copy)]
struct Entries {
    node: u64,
    /// First entry behind those of `mask`.
    next: usize,
    /// Which of the [`MASK_WORDS`] entries before `next` are still to come.
    mask: u64,
}

impl Entries {
    const NONE: Self = Self { node: 0, next: NODE_WORDS, mask: 0 };

    const fn of(node: u64) -> Self {
        Self { node, next: 0, mask: 0 }
    }

    /// Returns the next entry and its index, or nothing behind the last; `None` if the node is in no page.
    #[inline]
    fn next<P: Pages>(&mut self, pages: &P) -> Option<Option<(usize, u64)>> {
        loop {
            while self.mask == 0 {
                if self.next >= NODE_WORDS {
                    return Some(None);
                }
                self.mask = pages.words_unlike(self.node, self.next..self.next + MASK_WORDS, 0)?;
                self.next += MASK_WORDS;
            }
            let index = self.next - MASK_WORDS + self.mask.trailing_zeros() as usize;
            self.mask &= self.mask - 1;
            // It is 0 after all if somebody takes marks back meanwhile.
            match pages.load(self.node, index)? {
                0 => {}
                entry => return Some(Some((index, entry))),
            }
        }
    }
}

/// A walk over the nodes of a foreign tree: it goes six levels down and not further, whatever it reads.
///
/// It stops at the first error. Who counts the nodes bounds the whole walk.
pub(super) struct Nodes<'p, P> {
    pages: &'p P,
    /// Entries and lowest key of each level on the way to here; those below `level` are stale.
    path: [(Entries, u64); LEVELS],
    level: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    AtRoot,
    Walking,
    Over,
}

impl<'p, P: Pages> Nodes<'p, P> {
    pub(super) fn new(pages: &'p P, root: u64) -> Self {
        let state = if root == 0 { State::Over } else { State::AtRoot };
        Self { pages, path: [(Entries::of(root), 0); LEVELS], level: LEVELS - 1, state }
    }

    /// Ends the walk.
    pub(super) fn stop(&mut self) {
        self.state = State::Over;
    }

    fn step(&mut self) -> Result<Option<Node>, MapError> {
        if self.state == State::AtRoot {
            self.state = State::Walking;
            return enter(self.path[self.level].0.node, self.level, 0).map(Some);
        }
        while self.state == State::Walking {
            let level = self.level;
            let (entries, key) = &mut self.path[level];
            let (node, key) = (entries.node, *key);
            let next = entries.next(self.pages).ok_or(MapError::NodeOutside { node, level })?;
            let Some((index, child)) = next else {
                match level + 1 {
                    LEVELS => self.state = State::Over,
                    up => self.level = up,
                }
                continue;
            };
            let key = key | ((index as u64) << shift(level));
            // Only the root can index past the last order.
            if key >> (ORDER_0_BIT + 1) != 0 {
                return Err(MapError::BadKey { key });
            }
            if self.path[level..].iter().any(|(above, _)| above.node == child) {
                return Err(MapError::Loop { node: child, level: level - 1 });
            }
            let below = level - 1;
            let node = enter(child, below, key)?;
            // A leaf has no nodes below it; its words are the caller's to read.
            if below > 0 {
                self.level = below;
                self.path[below] = (Entries::of(child), key);
            }
            return Ok(Some(node));
        }
        Ok(None)
    }
}

fn enter(node: u64, level: usize, key: u64) -> Result<Node, MapError> {
    if node % PAGE_BYTES != 0 {
        return Err(MapError::Misaligned { node, level });
    }
    Ok(Node { node, level, key })
}

impl<P: Pages> Iterator for Nodes<'_, P> {
    type Item = Result<Node, MapError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().inspect_err(|_| self.state = State::Over).transpose()
    }
}

/// The words of a leaf that are not 0, each with the key of its lowest bit.
pub(super) struct Words<'p, P> {
    pages: &'p P,
    entries: Entries,
    /// The lowest key.
    key: u64,
    /// Its frame, if all keys of the leaf stand for frames of one order. It is so but in the first leaf of the tree and the last of an order.
    first: Option<Frame>,
}

impl<'p, P: Pages> Words<'p, P> {
    const fn none(pages: &'p P) -> Self {
        Self { pages, entries: Entries::NONE, key: 0, first: None }
    }

    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(u64, u64)>, MapError> {
        match self.entries.next(self.pages) {
            Some(Some((index, bits))) => Ok(Some((self.key | ((index as u64) << shift(0)), bits))),
            Some(None) => Ok(None),
            None => Err(MapError::NodeOutside { node: self.entries.node, level: 0 }),
        }
    }

    /// The frames of a word of the leaf.
    #[inline]
    pub(super) fn frames(&self, key: u64, bits: u64) -> Result<WordFrames, MapError> {
        match self.first {
            Some(first) => Ok(WordFrames { bits, first: Some(first.further(key - self.key)) }),
            None => WordFrames::new(key, bits),
        }
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
    #[cold]
    fn new(key: u64, bits: u64) -> Result<Self, MapError> {
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
    nodes: Nodes<'p, P>,
    words: Words<'p, P>,
    word: WordFrames,
}

impl<'p, P: Pages> Frames<'p, P> {
    pub(super) fn new(pages: &'p P, root: u64) -> Self {
        Self { nodes: Nodes::new(pages, root), words: Words::none(pages), word: WordFrames::NONE }
    }

    /// Goes on to the next word, whatever is left of this one; false behind the last.
    fn advance(&mut self) -> Result<bool, MapError> {
        loop {
            if let Some((key, bits)) = self.words.next()? {
                self.word = self.words.frames(key, bits)?;
                return Ok(true);
            }
            match self.nodes.next() {
                Some(node) => self.words = node?.words(self.words.pages),
                None => return Ok(false),
            }
        }
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
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.nodes.stop();
                    self.words.entries = Entries::NONE;
                    return Some(Err(error));
                }
            }
        }
    }
}
