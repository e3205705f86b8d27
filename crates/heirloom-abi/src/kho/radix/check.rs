//! The validating reader: one walk over a tree that another generation left.
//!
//! Keys come larger orders first, and a frame's key shifted right by `d` is the key of the frame of order `+d` around it. So
//! when a word of bits is reached, every frame that could contain one of its 64 frames was walked and found sound before, and
//! a few loads tell whether one is marked. Overlaps cost a load or two a word and order in use, and no memory.

use core::ops::Range;

use super::walk::Nodes;
use super::{Frame, LEVELS, ORDER_0_BIT, Order, Pages, index, shift};

/// What is wrong with a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The root is all zeros, or there is none: the map was lost, which must not pass for "nothing was preserved".
    #[error("the map's root at {root:#x} is all zeros")]
    ZeroRoot {
        /// Address of the root, or 0.
        root: u64,
    },
    /// The tree has nodes, but no frame is marked.
    #[error("the map at {root:#x} has {nr_nodes} nodes and marks no frame")]
    Empty {
        /// Address of the root.
        root: u64,
        /// Nodes of the tree.
        nr_nodes: u64,
    },
    /// A node's address is not a multiple of the page size.
    #[error("node {node:#x} of level {level} is misaligned")]
    Misaligned {
        /// Address of the node.
        node: u64,
        /// Its level; leaves are 0.
        level: usize,
    },
    /// A node lies where no node may lie.
    #[error("node {node:#x} of level {level} lies outside the memory for nodes")]
    NodeOutside {
        /// Address of the node.
        node: u64,
        /// Its level; leaves are 0.
        level: usize,
    },
    /// A node is its own descendant.
    #[error("node {node:#x} of level {level} is a loop: it stands above itself")]
    Loop {
        /// Address of the node.
        node: u64,
        /// The level at which it came again.
        level: usize,
    },
    /// A node has two parents.
    #[error("node {node:#x} of level {level} was reached before")]
    SharedNode {
        /// Address of the node.
        node: u64,
        /// The level at which it came again.
        level: usize,
    },
    /// The tree has more nodes than the caller allows.
    #[error("the map has more than {most} nodes")]
    TooManyNodes {
        /// The limit.
        most: u64,
    },
    /// A bit stands for no order, or for a frame at the end of the address space.
    #[error("key {key:#x} stands for no frame")]
    BadKey {
        /// The key; for a child of the root that is out of range, the lowest of its keys.
        key: u64,
    },
    /// A frame reaches out of the memory.
    #[error("frame {frame} is not inside the memory {start:#x}..{end:#x}")]
    FrameOutside {
        /// The frame.
        frame: Frame,
        /// Start of the memory.
        start: u64,
        /// End of the memory.
        end: u64,
    },
    /// Two marked frames share pages.
    #[error("frame {inner} lies inside frame {outer}, and both are marked")]
    Overlap {
        /// The smaller frame.
        inner: Frame,
        /// The larger one.
        outer: Frame,
    },
}

/// Whether a map may be without a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emptiness {
    /// A map without a frame is a lost one: [`MapError::ZeroRoot`] or [`MapError::Empty`].
    #[default]
    Refused,
    /// Nothing need be marked (yet).
    Expected,
}

/// What the reader of a foreign map holds against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Where preserved frames may lie.
    pub memory: Range<u64>,
    /// Where nodes may lie.
    pub nodes: Range<u64>,
    /// Nodes that the tree may have; this bounds the work of reading it.
    pub max_nodes: u64,
    /// Whether the map may be empty.
    pub emptiness: Emptiness,
}

impl Limits {
    /// Allows frames and nodes anywhere in `memory`, as Linux does, and as many nodes as it has pages.
    #[must_use]
    pub const fn within(memory: Range<u64>) -> Self {
        let max_nodes = memory.end.saturating_sub(memory.start) / super::PAGE_BYTES;
        let nodes = memory.start..memory.end;
        Self { memory, nodes, max_nodes, emptiness: Emptiness::Refused }
    }
}

/// What a map that passed its check amounts to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Nodes of the tree: pages of metadata.
    pub nr_nodes: u64,
    /// Marked frames.
    pub nr_frames: u64,
    /// Bytes of the marked frames.
    pub size_bytes: u64,
}

/// Validates the tree at `root` and sums it up.
///
/// `first_visit` is told of each node and says whether it sees it for the first time; see [`super::RadixMap::open`].
pub(super) fn validate<P: Pages>(
    pages: &P,
    root: u64,
    limits: &Limits,
    mut first_visit: impl FnMut(u64) -> bool,
) -> Result<Summary, MapError> {
    let mut summary = Summary::default();
    let mut enclosing = Enclosing::new(pages, root);
    for node in Nodes::new(pages, root) {
        let leaf = node?;
        let (node, level) = (leaf.node, leaf.level);
        let end = node.checked_add(super::PAGE_BYTES);
        let inside = limits.nodes.start <= node && end.is_some_and(|end| end <= limits.nodes.end);
        if !inside {
            return Err(MapError::NodeOutside { node, level });
        }
        if !first_visit(node) {
            return Err(MapError::SharedNode { node, level });
        }
        if summary.nr_nodes == limits.max_nodes {
            return Err(MapError::TooManyNodes { most: limits.max_nodes });
        }
        summary.nr_nodes += 1;
        let mut words = leaf.words(pages);
        while let Some((key, bits)) = words.next()? {
            let bytes = in_range(key, bits, &limits.memory)?;
            enclosing.refuse_overlaps(key, bits)?;
            summary.nr_frames += u64::from(bits.count_ones());
            // Disjoint frames inside the memory cannot sum up to more than it has.
            summary.size_bytes = summary.size_bytes.saturating_add(bytes);
        }
    }
    match (limits.emptiness, summary) {
        (Emptiness::Refused, Summary { nr_nodes: 0 | 1, nr_frames: 0, .. }) => {
            Err(MapError::ZeroRoot { root })
        }
        (Emptiness::Refused, Summary { nr_nodes, nr_frames: 0, .. }) => {
            Err(MapError::Empty { root, nr_nodes })
        }
        _ => Ok(summary),
    }
}

/// Returns the bytes of a word's frames, all of which must lie in `memory`.
fn in_range(key: u64, bits: u64, memory: &Range<u64>) -> Result<u64, MapError> {
    let inside = |key: u64| {
        let frame = Frame::from_key(key).ok_or(MapError::BadKey { key })?;
        let (start, end) = (memory.start, memory.end);
        let inside = start <= frame.phys() && frame.end() <= end;
        if inside { Ok(frame.bytes()) } else { Err(MapError::FrameOutside { frame, start, end }) }
    };
    if key == 0 {
        // The first word of the tree holds the largest orders, a few bits each.
        let mut bytes = 0u64;
        for bit in ones(bits) {
            bytes = bytes.saturating_add(inside(bit)?);
        }
        return Ok(bytes);
    }
    // Every other word holds one order, in order of addresses: its ends speak for all of it.
    let bytes = inside(key + u64::from(bits.trailing_zeros()))?;
    inside(key + u64::from(bits.ilog2()))?;
    Ok(bytes.saturating_mul(u64::from(bits.count_ones())))
}

/// Iterates over the positions of the ones in a word.
fn ones(mut bits: u64) -> impl Iterator<Item = u64> {
    core::iter::from_fn(move || {
        if bits == 0 {
            return None;
        }
        let bit = u64::from(bits.trailing_zeros());
        bits &= bits - 1;
        Some(bit)
    })
}

/// Finds the marked frames around a word of frames.
struct Enclosing<'p, P> {
    pages: &'p P,
    root: u64,
    /// The orders of which a frame was seen, one bit each.
    seen: u64,
    /// For each order the leaf that was looked at last.
    leaves: [(u64, Option<u64>); ORDERS],
}

const ORDERS: usize = Order::MAX.get() as usize + 1;

impl<'p, P: Pages> Enclosing<'p, P> {
    fn new(pages: &'p P, root: u64) -> Self {
        Self { pages, root, seen: 0, leaves: [(u64::MAX, None); ORDERS] }
    }

    /// Refuses the word if one of its frames lies in a larger marked one, and remembers its order otherwise.
    fn refuse_overlaps(&mut self, key: u64, bits: u64) -> Result<(), MapError> {
        if key == 0 {
            return ones(bits).try_for_each(|key| self.refuse_overlap_of(key, 1));
        }
        self.refuse_overlap_of(key, bits)
    }

    /// The same for frames of one order: `key` is that of the lowest of `bits`.
    fn refuse_overlap_of(&mut self, key: u64, bits: u64) -> Result<(), MapError> {
        let order = key.checked_ilog2().and_then(|top| ORDER_0_BIT.checked_sub(top));
        let order = order.ok_or(MapError::BadKey { key })?;
        let larger = self.seen & (u64::MAX << order << 1);
        for outer in ones(larger) {
            let up = outer as u32 - order;
            let around = self.marked_around(key, up, outer as usize) & bits;
            if around != 0 {
                let inner = key + u64::from(around.trailing_zeros());
                let frame = |key| Frame::from_key(key).ok_or(MapError::BadKey { key });
                return Err(MapError::Overlap { inner: frame(inner)?, outer: frame(inner >> up)? });
            }
        }
        self.seen |= 1 << order;
        Ok(())
    }

    /// Returns which of the 64 frames from `key` on lie in a marked frame that is `up` orders larger.
    fn marked_around(&mut self, key: u64, up: u32, outer: usize) -> u64 {
        let outer_key = key >> up;
        let bits = self.word(outer_key, outer) >> (outer_key % u64::from(u64::BITS));
        if up >= u64::BITS.ilog2() {
            return if bits & 1 != 0 { u64::MAX } else { 0 };
        }
        let (span, nr_outer) = (1u32 << up, u64::BITS >> up);
        let one = (1u64 << span) - 1;
        ones(bits & (u64::MAX >> (u64::BITS - nr_outer)))
            .fold(0, |around, outer| around | (one << (outer as u32 * span)))
    }

    /// Returns the word that holds the bit of `key`, or 0 if the tree has none.
    fn word(&mut self, key: u64, order: usize) -> u64 {
        let prefix = key >> shift(1);
        let leaf = match self.leaves.get(order) {
            Some(&(cached, leaf)) if cached == prefix => leaf,
            _ => {
                // These nodes hold smaller keys, or stand above this word: the walk was there.
                let leaf = (1..LEVELS).rev().try_fold(self.root, |node, level| {
                    self.pages.load(node, index(key, level)).filter(|&child| child != 0)
                });
                if let Some(cache) = self.leaves.get_mut(order) {
                    *cache = (prefix, leaf);
                }
                leaf
            }
        };
        leaf.and_then(|leaf| self.pages.load(leaf, index(key, 0))).unwrap_or(0)
    }
}
