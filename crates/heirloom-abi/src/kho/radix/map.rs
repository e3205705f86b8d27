//! The map that its owner works on: mark, unmark, ask, walk. Many frames at once are in `batch`.

use core::ops::{ControlFlow, Range};

use super::check::{Limits, MapError, Summary, validate};
use super::path::Path;
use super::range::{Mark, keys, pieces};
use super::runs::{Run, Runs};
use super::walk::{Frames, Nodes};
use super::{Frame, FrameError, LEVELS, Order, Pages, PagesMut, index};

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

/// A map of preserved frames. The tree lies in [`Pages`]; this is its root and the nodes that were used last.
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
    pub(super) path: Path,
}

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
        Self { path: Path::new(root) }
    }

    /// Returns the address of the root, which `preserved-memory-map` of the root FDT says.
    #[must_use]
    pub const fn root(&self) -> u64 {
        self.path.root()
    }

    /// Marks a frame as preserved.
    ///
    /// # Errors
    ///
    /// [`MarkError::AlreadyMarked`], [`MarkError::OutOfPages`], or [`MarkError::Map`] if the tree is broken.
    #[inline]
    pub fn mark<P: PagesMut>(&mut self, pages: &mut P, frame: Frame) -> Result<(), MarkError> {
        let (key, bit) = (frame.key(), bit(frame.key()));
        if let Some(leaf) = self.path.near(pages, key) {
            if pages.update(leaf, index(key, 0), with(bit)).is_some_and(|word| word & bit == 0) {
                return Ok(());
            }
        }
        self.mark_slowly(pages, frame)
    }

    /// Marks a frame whose leaf is not near, or says why it cannot be marked.
    #[cold]
    #[inline(never)]
    fn mark_slowly<P: PagesMut>(&mut self, pages: &mut P, frame: Frame) -> Result<(), MarkError> {
        let (key, bit) = (frame.key(), bit(frame.key()));
        let leaf = self.path.seek_or_grow(pages, key)?;
        let word = pages.update(leaf, index(key, 0), with(bit)).ok_or(outside(leaf))?;
        if word & bit == 0 { Ok(()) } else { Err(MarkError::AlreadyMarked { frame }) }
    }

    /// Takes the mark of a frame back.
    ///
    /// # Errors
    ///
    /// [`MarkError::NotMarked`], or [`MarkError::Map`] if the tree is broken.
    #[inline]
    pub fn unmark<P: PagesMut>(&mut self, pages: &mut P, frame: Frame) -> Result<(), MarkError> {
        let (key, bit) = (frame.key(), bit(frame.key()));
        if let Some(leaf) = self.path.near(pages, key) {
            if pages.update(leaf, index(key, 0), without(bit)).is_some_and(|word| word & bit != 0) {
                return Ok(());
            }
        }
        self.unmark_slowly(pages, frame)
    }

    /// Takes the mark back of a frame whose leaf is not near, or says why it cannot be.
    #[cold]
    #[inline(never)]
    fn unmark_slowly<P: PagesMut>(&mut self, pages: &mut P, frame: Frame) -> Result<(), MarkError> {
        let (key, bit) = (frame.key(), bit(frame.key()));
        let leaf = self.path.seek(pages, key)?.ok_or(MarkError::NotMarked { frame })?;
        let word = pages.update(leaf, index(key, 0), without(bit)).ok_or(outside(leaf))?;
        if word & bit != 0 { Ok(()) } else { Err(MarkError::NotMarked { frame }) }
    }

    /// Returns whether this very frame is marked; a marked larger one around it does not count.
    ///
    /// # Errors
    ///
    /// [`MapError`] if the tree is broken.
    #[inline]
    pub fn contains<P: Pages>(&self, pages: &P, frame: Frame) -> Result<bool, MapError> {
        let key = frame.key();
        let Some(leaf) = self.path.find(pages, key)? else { return Ok(false) };
        Ok(pages.load(leaf, index(key, 0)).ok_or(outside(leaf))? & bit(key) != 0)
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
        for piece in pieces(keys.clone()) {
            let leaf = self.path.seek_or_grow(pages, piece.key())?;
            if let Some(key) = piece.first_unlike(pages, leaf, Mark::Clear)? {
                let frame = Frame::from_key(key).ok_or(MapError::BadKey { key })?;
                return Err(MarkError::AlreadyMarked { frame });
            }
        }
        for piece in pieces(keys) {
            let leaf = self.path.seek_or_grow(pages, piece.key())?;
            piece.write(pages, leaf, Mark::Set)?;
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
        for piece in pieces(keys.clone()) {
            let first_clear = match self.path.seek(pages, piece.key())? {
                Some(leaf) => piece.first_unlike(pages, leaf, Mark::Set)?,
                None => Some(piece.first_key()),
            };
            if let Some(key) = first_clear {
                let frame = Frame::from_key(key).ok_or(MapError::BadKey { key })?;
                return Err(MarkError::NotMarked { frame });
            }
        }
        for piece in pieces(keys) {
            if let Some(leaf) = self.path.seek(pages, piece.key())? {
                piece.write(pages, leaf, Mark::Clear)?;
            }
        }
        Ok(())
    }

    /// Iterates over the marked frames, larger orders first, within an order by address.
    pub fn frames<'p, P: Pages>(&self, pages: &'p P) -> Frames<'p, P> {
        Frames::new(pages, self.path.root())
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
        for node in Nodes::new(pages, self.path.root()) {
            let mut words = node?.words(pages);
            while let Some((key, bits)) = words.next()? {
                for frame in words.frames(key, bits)? {
                    if let ControlFlow::Break(value) = visit(frame) {
                        return Ok(ControlFlow::Break(value));
                    }
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Iterates over the marked frames in runs: neighbours of one order, as many as there are, in the order of [`RadixMap::frames`].
    pub fn runs<'p, P: Pages>(&self, pages: &'p P) -> Runs<'p, P> {
        Runs::new(pages, self.path.root())
    }

    /// Calls `visit` with each run, in the order of [`RadixMap::runs`], until it breaks.
    ///
    /// # Errors
    ///
    /// [`MapError`] if the tree is broken; `visit` may have been called before.
    pub fn walk_runs<P: Pages, B>(
        &self,
        pages: &P,
        mut visit: impl FnMut(Run) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, MapError> {
        for run in self.runs(pages) {
            if let ControlFlow::Break(value) = visit(run?) {
                return Ok(ControlFlow::Break(value));
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
        for node in Nodes::new(pages, self.path.root()) {
            visit(node?.node);
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
        validate(pages, self.path.root(), limits, first_visit)
    }
}

/// The bit of a key in its word.
#[inline]
fn bit(key: u64) -> u64 {
    1 << (key % u64::from(u64::BITS))
}

/// Sets a bit that is not set.
#[inline]
fn with(bit: u64) -> impl FnOnce(u64) -> Option<u64> {
    move |word| if word & bit == 0 { Some(word | bit) } else { None }
}

/// Clears a bit that is set.
#[inline]
fn without(bit: u64) -> impl FnOnce(u64) -> Option<u64> {
    move |word| if word & bit != 0 { Some(word & !bit) } else { None }
}

fn outside(leaf: u64) -> MapError {
    MapError::NodeOutside { node: leaf, level: 0 }
}
