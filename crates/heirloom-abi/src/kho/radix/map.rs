//! The map that its owner works on: mark, unmark, ask, walk.

use core::ops::{ControlFlow, Range};

use super::check::{Limits, MapError, Summary, validate};
use super::walk::{Frames, Step, Steps, WordFrames};
use super::{Frame, FrameError, LEVELS, Order, Pages, PagesMut, index, shift};

/// A frame could not be marked or unmarked; the map marks the same frames as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkError {
    /// The frame is marked already.
    #[error("frame {frame} is marked already")]
    AlreadyMarked {
        /// The frame; of a range, the first such.
        frame: Frame,
    },
    /// The frame is not marked.
    #[error("frame {frame} is not marked")]
    NotMarked {
        /// The frame; of a range, the first such.
        frame: Frame,
    },
    /// No page was left for a node.
    #[error("no page is left for a node of level {level}")]
    OutOfPages {
        /// Level of the node that was to be; leaves are 0.
        level: usize,
    },
    /// The range does not consist of frames of the order.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The tree itself is broken.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// A map of preserved frames. The tree lies in [`Pages`]; this is its root and the leaf that was used last.
///
/// Nodes are added and never taken away, as in Linux: the map of a steady set of frames is of steady size. A node is linked only when it
/// is all zeros, and a mark is one store, so an owner that is killed between any two stores leaves a sound tree.
///
/// `mark` refuses a frame that is marked, but does not look for frames of *other* orders that share pages with it; that is
/// for [`RadixMap::check`] (and the allocator that knows which frames it handed out).
///
/// The methods do what the tree's bits say, and none panics over a broken one. A walk is as long as the tree, which in one whose nodes
/// have many parents is very long: a tree of another generation comes in through [`RadixMap::open`], which counts.
#[derive(Clone, Debug)]
pub struct RadixMap {
    root: u64,
    /// The keys of the leaf used last, without their low 15 bits: runs of marks go to one leaf.
    cached_prefix: u64,
    cached_leaf: u64,
}

/// No key has this prefix.
const NO_PREFIX: u64 = u64::MAX;

impl RadixMap {
    /// Begins an empty map: takes one page for its root.
    ///
    /// # Errors
    ///
    /// [`MarkError::OutOfPages`].
    pub fn create<P: PagesMut>(pages: &mut P) -> Result<Self, MarkError> {
        let root = pages.allocate().ok_or(MarkError::OutOfPages { level: LEVELS - 1 })?;
        Ok(Self::at(root))
    }

    /// Validates the map that another generation left at `root`.
    ///
    /// `first_visit` is told the address of each node once a parent names it, and answers whether this was the first time: a
    /// bitmap over the pages that may hold nodes does. With `|_| true` a node below two parents passes (one above itself never does);
    /// the number of nodes is bounded by [`Limits::max_nodes`] all the same.
    ///
    /// # Errors
    ///
    /// The first [`MapError`] found. Nothing was written.
    pub fn open<P: Pages>(
        pages: &P,
        root: u64,
        limits: &Limits,
        first_visit: impl FnMut(u64) -> bool,
    ) -> Result<(Self, Summary), MapError> {
        let summary = validate(pages, root, limits, first_visit)?;
        Ok((Self::at(root), summary))
    }

    /// Takes the tree at `root`, which is this generation's own or was validated before.
    #[must_use]
    pub const fn at(root: u64) -> Self {
        Self { root, cached_prefix: NO_PREFIX, cached_leaf: 0 }
    }

    /// Returns the address of the root, which `preserved-memory-map` of the root FDT says.
    #[must_use]
    pub const fn root(&self) -> u64 {
        self.root
    }

    /// Marks a frame as preserved.
    ///
    /// # Errors
    ///
    /// [`MarkError::AlreadyMarked`], [`MarkError::OutOfPages`], or [`MarkError::Map`] if the tree is broken.
    #[inline]
    pub fn mark<P: PagesMut>(&mut self, pages: &mut P, frame: Frame) -> Result<(), MarkError> {
        let key = frame.key();
        let leaf = self.leaf_or_new(pages, key)?;
        let (word, bit) = (load(pages, leaf, key)?, 1 << (key % u64::from(u64::BITS)));
        if word & bit != 0 {
            return Err(MarkError::AlreadyMarked { frame });
        }
        store(pages, leaf, key, word | bit)
    }

    /// Takes the mark of a frame back.
    ///
    /// # Errors
    ///
    /// [`MarkError::NotMarked`], or [`MarkError::Map`] if the tree is broken.
    #[inline]
    pub fn unmark<P: PagesMut>(&mut self, pages: &mut P, frame: Frame) -> Result<(), MarkError> {
        let key = frame.key();
        let leaf = self.leaf(pages, key)?.ok_or(MarkError::NotMarked { frame })?;
        let (word, bit) = (load(pages, leaf, key)?, 1 << (key % u64::from(u64::BITS)));
        if word & bit == 0 {
            return Err(MarkError::NotMarked { frame });
        }
        store(pages, leaf, key, word & !bit)
    }

    /// Returns whether this very frame is marked; a marked larger one around it does not count.
    ///
    /// # Errors
    ///
    /// [`MapError`] if the tree is broken.
    pub fn contains<P: Pages>(&self, pages: &P, frame: Frame) -> Result<bool, MapError> {
        let key = frame.key();
        let Some(leaf) = self.find_leaf(pages, key)? else { return Ok(false) };
        Ok(load(pages, leaf, key)? & (1 << (key % u64::from(u64::BITS))) != 0)
    }

    /// Marks every frame of `order` in the range of addresses, whole words at a time. An empty range is no work.
    ///
    /// # Errors
    ///
    /// As [`RadixMap::mark`], and [`MarkError::Frame`] if an end of the range is no boundary of such frames; no frame is marked then.
    pub fn mark_range<P: PagesMut>(
        &mut self,
        pages: &mut P,
        range: Range<u64>,
        order: Order,
    ) -> Result<(), MarkError> {
        let keys = keys(range, order)?;
        // First everything that can fail: nodes, and bits that are set.
        for (key, mask) in words(keys.clone()) {
            let leaf = self.leaf_or_new(pages, key)?;
            if let Some(frame) = lowest_frame(key, load(pages, leaf, key)? & mask) {
                return Err(MarkError::AlreadyMarked { frame });
            }
        }
        for (key, mask) in words(keys) {
            let leaf = self.leaf_or_new(pages, key)?;
            let word = load(pages, leaf, key)?;
            store(pages, leaf, key, word | mask)?;
        }
        Ok(())
    }

    /// Takes the marks of every frame of `order` in the range back, whole words at a time. An empty range is no work.
    ///
    /// # Errors
    ///
    /// As [`RadixMap::unmark`], and [`MarkError::Frame`] if an end of the range is no boundary of such frames; every mark stays then.
    pub fn unmark_range<P: PagesMut>(
        &mut self,
        pages: &mut P,
        range: Range<u64>,
        order: Order,
    ) -> Result<(), MarkError> {
        let keys = keys(range, order)?;
        for (key, mask) in words(keys.clone()) {
            let word = match self.leaf(pages, key)? {
                Some(leaf) => load(pages, leaf, key)?,
                None => 0,
            };
            if let Some(frame) = lowest_frame(key, !word & mask) {
                return Err(MarkError::NotMarked { frame });
            }
        }
        for (key, mask) in words(keys) {
            if let Some(leaf) = self.leaf(pages, key)? {
                let word = load(pages, leaf, key)?;
                store(pages, leaf, key, word & !mask)?;
            }
        }
        Ok(())
    }

    /// Iterates over the marked frames, larger orders first, within an order by address.
    pub fn frames<'p, P: Pages>(&self, pages: &'p P) -> Frames<'p, P> {
        Frames::new(pages, self.root)
    }

    /// Calls `visit` with each marked frame, in the order of [`RadixMap::frames`], until it breaks.
    ///
    /// # Errors
    ///
    /// [`MapError`] if the tree is broken; `visit` may have been called before.
    pub fn walk<P: Pages, B>(
        &self,
        pages: &P,
        mut visit: impl FnMut(Frame) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, MapError> {
        for step in Steps::new(pages, self.root) {
            let Step::Word { key, bits } = step? else { continue };
            for frame in WordFrames::new(key, bits)? {
                if let ControlFlow::Break(value) = visit(frame) {
                    return Ok(ControlFlow::Break(value));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Calls `visit` with the address of each node, parents first: the pages of metadata.
    ///
    /// # Errors
    ///
    /// [`MapError`] if the tree is broken; `visit` may have been called before.
    pub fn walk_nodes<P: Pages>(&self, pages: &P, mut visit: impl FnMut(u64)) -> Result<(), MapError> {
        for step in Steps::new(pages, self.root) {
            if let Step::Node { node, .. } = step? {
                visit(node);
            }
        }
        Ok(())
    }

    /// Counts the pages of metadata.
    ///
    /// # Errors
    ///
    /// [`MapError`] if the tree is broken.
    pub fn count_nodes<P: Pages>(&self, pages: &P) -> Result<u64, MapError> {
        let mut nr_nodes = 0;
        self.walk_nodes(pages, |_| nr_nodes += 1)?;
        Ok(nr_nodes)
    }

    /// Tests the invariants of [the module](super) and sums the map up; see [`RadixMap::open`] for the arguments.
    ///
    /// # Errors
    ///
    /// The first [`MapError`] found.
    pub fn check<P: Pages>(
        &self,
        pages: &P,
        limits: &Limits,
        first_visit: impl FnMut(u64) -> bool,
    ) -> Result<Summary, MapError> {
        validate(pages, self.root, limits, first_visit)
    }

    #[inline]
    fn leaf<P: Pages>(&mut self, pages: &P, key: u64) -> Result<Option<u64>, MapError> {
        if key >> shift(1) == self.cached_prefix {
            return Ok(Some(self.cached_leaf));
        }
        let leaf = self.find_leaf(pages, key)?;
        if let Some(leaf) = leaf {
            (self.cached_prefix, self.cached_leaf) = (key >> shift(1), leaf);
        }
        Ok(leaf)
    }

    #[inline]
    fn leaf_or_new<P: PagesMut>(&mut self, pages: &mut P, key: u64) -> Result<u64, MarkError> {
        if key >> shift(1) == self.cached_prefix {
            return Ok(self.cached_leaf);
        }
        self.grow_leaf(pages, key)
    }

    fn find_leaf<P: Pages>(&self, pages: &P, key: u64) -> Result<Option<u64>, MapError> {
        if self.root == 0 {
            return Err(MapError::ZeroRoot { root: 0 });
        }
        let mut node = self.root;
        for level in (1..LEVELS).rev() {
            node = pages.load(node, index(key, level)).ok_or(MapError::NodeOutside { node, level })?;
            if node == 0 {
                return Ok(None);
            }
        }
        Ok(Some(node))
    }

    /// Walks down to a leaf and adds the nodes that are not there.
    ///
    /// Each node is linked to its parent at once. If a later one cannot be had, the earlier ones stay, empty, where the next
    /// attempt finds them: nothing dangles and nothing leaks.
    #[cold]
    fn grow_leaf<P: PagesMut>(&mut self, pages: &mut P, key: u64) -> Result<u64, MarkError> {
        if self.root == 0 {
            return Err(MapError::ZeroRoot { root: 0 }.into());
        }
        let mut node = self.root;
        for level in (1..LEVELS).rev() {
            let outside = MapError::NodeOutside { node, level };
            let mut child = pages.load(node, index(key, level)).ok_or(outside)?;
            if child == 0 {
                child = pages.allocate().ok_or(MarkError::OutOfPages { level: level - 1 })?;
                pages.store(node, index(key, level), child).ok_or(outside)?;
            }
            node = child;
        }
        (self.cached_prefix, self.cached_leaf) = (key >> shift(1), node);
        Ok(node)
    }
}

#[inline]
fn load<P: Pages>(pages: &P, leaf: u64, key: u64) -> Result<u64, MapError> {
    pages.load(leaf, index(key, 0)).ok_or(MapError::NodeOutside { node: leaf, level: 0 })
}

#[inline]
fn store<P: PagesMut>(pages: &mut P, leaf: u64, key: u64, word: u64) -> Result<(), MarkError> {
    let outside = MapError::NodeOutside { node: leaf, level: 0 };
    pages.store(leaf, index(key, 0), word).ok_or(MarkError::Map(outside))
}

/// Returns the keys of the frames that a range consists of.
fn keys(range: Range<u64>, order: Order) -> Result<Range<u64>, FrameError> {
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

/// Splits keys into words: the key of each word's bit 0, and a mask of the bits that are meant.
fn words(keys: Range<u64>) -> impl Iterator<Item = (u64, u64)> {
    const BITS: u64 = u64::BITS as u64;
    let mut next = keys.start;
    core::iter::from_fn(move || {
        if next >= keys.end {
            return None;
        }
        let word = next - next % BITS;
        let above = BITS - (keys.end - word).min(BITS);
        let mask = (u64::MAX << (next - word)) & (u64::MAX >> above);
        next = word + BITS;
        Some((word, mask))
    })
}

/// Returns the frame of the lowest bit.
fn lowest_frame(key: u64, bits: u64) -> Option<Frame> {
    if bits == 0 { None } else { Frame::from_key(key + u64::from(bits.trailing_zeros())) }
}
