//! The way from the root down to a leaf, and what is remembered of the last one.
//!
//! ```text
//! level 5 -> 4 -> 3 -> 2 -> 1 -> 0        key >> 33 as before: start here, two loads
//!                      ^         ^
//!                    upper      leaf      key >> 15 as before: no load at all
//! ```
//!
//! A leaf covers 128 MiB of pages, a node of level 2 covers 32 TiB of them: runs stay in one leaf, and random pages of a machine mostly
//! below one upper node. Nodes are never taken away, so what is remembered stays true.
//!
//! The quick ways ([`Path::near`]) answer in a register and give up on whatever is odd; the whole way from the root says what it was.

use super::check::MapError;
use super::map::MarkError;
use super::{LEVELS, Pages, PagesMut, index, shift};

/// The level from which the quick way starts.
const UPPER: usize = 2;

/// A node, and what all keys below it have in common.
#[derive(Clone, Copy, Debug)]
struct Known {
    prefix: u64,
    node: u64,
}

impl Known {
    /// No key has this prefix.
    const NONE: Self = Self { prefix: u64::MAX, node: 0 };
}

/// The root of a tree, with the nodes above the key that was sought last.
#[derive(Clone, Debug)]
pub(super) struct Path {
    root: u64,
    upper: Known,
    leaf: Known,
}

impl Path {
    pub(super) const fn new(root: u64) -> Self {
        Self { root, upper: Known::NONE, leaf: Known::NONE }
    }

    pub(super) const fn root(&self) -> u64 {
        self.root
    }

    /// Returns the leaf of `key` if there is one and what is known leads to it, and remembers it.
    #[inline]
    pub(super) fn near<P: Pages>(&mut self, pages: &P, key: u64) -> Option<u64> {
        if key >> shift(1) == self.leaf.prefix {
            return Some(self.leaf.node);
        }
        self.near_upper(pages, key)
    }

    /// Not inlined, so that what is inlined is small enough to be.
    #[inline(never)]
    fn near_upper<P: Pages>(&mut self, pages: &P, key: u64) -> Option<u64> {
        let node = self.below_upper(pages, key)?;
        self.leaf = Known { prefix: key >> shift(1), node };
        Some(node)
    }

    /// Returns the leaf of `key` if there is one.
    #[inline]
    pub(super) fn find<P: Pages>(&self, pages: &P, key: u64) -> Result<Option<u64>, MapError> {
        match self.below_upper(pages, key) {
            Some(leaf) => Ok(Some(leaf)),
            None => self.whole_way(pages, key).map(|(_, leaf)| leaf),
        }
    }

    /// The same, and remembers it.
    #[inline]
    pub(super) fn seek<P: Pages>(&mut self, pages: &P, key: u64) -> Result<Option<u64>, MapError> {
        if let Some(leaf) = self.near(pages, key) {
            return Ok(Some(leaf));
        }
        let (upper, leaf) = self.whole_way(pages, key)?;
        self.remember(key, upper, leaf);
        Ok(leaf)
    }

    /// Returns the leaf of `key`, which is made if there is none, and remembers it.
    #[inline]
    pub(super) fn seek_or_grow<P: PagesMut>(&mut self, pages: &mut P, key: u64) -> Result<u64, MarkError> {
        match self.near(pages, key) {
            Some(leaf) => Ok(leaf),
            None => self.grow(pages, key),
        }
    }

    /// The leaf of `key` below the upper node that is known, if it lies there.
    #[inline]
    pub(super) fn below_upper<P: Pages>(&self, pages: &P, key: u64) -> Option<u64> {
        if key >> shift(UPPER + 1) != self.upper.prefix {
            return None;
        }
        let is_child = |child: &u64| *child != 0;
        let node = pages.load(self.upper.node, index(key, UPPER)).filter(is_child)?;
        pages.load(node, index(key, UPPER - 1)).filter(is_child)
    }

    fn remember(&mut self, key: u64, upper: Option<u64>, leaf: Option<u64>) {
        if let Some(node) = upper {
            self.upper = Known { prefix: key >> shift(UPPER + 1), node };
        }
        if let Some(node) = leaf {
            self.leaf = Known { prefix: key >> shift(1), node };
        }
    }

    /// The node of level [`UPPER`] and the leaf above `key`, as far as there are any.
    #[inline(never)]
    fn whole_way<P: Pages>(&self, pages: &P, key: u64) -> Result<(Option<u64>, Option<u64>), MapError> {
        if self.root == 0 {
            return Err(MapError::ZeroRoot { root: 0 });
        }
        let (mut node, mut upper) = (self.root, None);
        for level in (1..LEVELS).rev() {
            if level == UPPER {
                upper = Some(node);
            }
            node = pages.load(node, index(key, level)).ok_or(MapError::NodeOutside { node, level })?;
            if node == 0 {
                return Ok((upper, None));
            }
        }
        Ok((upper, Some(node)))
    }

    /// Walks down to the leaf and adds the nodes that are not there.
    ///
    /// Each node is linked to its parent at once. If a later one cannot be had, the earlier ones stay, empty, where the next
    /// attempt finds them: nothing dangles and nothing leaks.
    #[cold]
    fn grow<P: PagesMut>(&mut self, pages: &mut P, key: u64) -> Result<u64, MarkError> {
        if self.root == 0 {
            return Err(MapError::ZeroRoot { root: 0 }.into());
        }
        let mut node = self.root;
        for level in (1..LEVELS).rev() {
            if level == UPPER {
                self.remember(key, Some(node), None);
            }
            let outside = MapError::NodeOutside { node, level };
            let mut child = pages.load(node, index(key, level)).ok_or(outside)?;
            if child == 0 {
                child = pages.allocate().ok_or(MarkError::OutOfPages { level: level - 1 })?;
                pages.store(node, index(key, level), child).ok_or(outside)?;
            }
            node = child;
        }
        self.remember(key, None, Some(node));
        Ok(node)
    }
}
