//! The steps of a plan: each from an address of a value of one layout to one of the other.

use super::NodeId;
use super::keeps::Keeps;
use crate::btree_map::shape::Shape as TreeShape;
use crate::evolve::collection::{Buckets, Counted, Row, TextForm};
use crate::evolve::number::Number;

/// One step, from an address to an address.
#[derive(Debug)]
pub(in crate::evolve) enum Node {
    /// To be filled in: a type that is being looked at.
    Open,
    /// So many bytes as they are.
    Copy(usize),
    Number {
        from: Number,
        to: Number,
        path: String,
    },
    Fields(Vec<Move>, Vec<Fill>, Keeps),
    Cases {
        from_tag: usize,
        to_tag: usize,
        cases: Vec<Case>,
        keeps: Keeps,
        path: String,
    },
    Array {
        len: usize,
        from: usize,
        to: usize,
        elem: NodeId,
    },
    Text {
        from: TextForm,
        to: TextForm,
    },
    Sequence {
        row: Row,
        from: Stride,
        to: Stride,
        elem: NodeId,
    },
    Owned {
        from: Stride,
        to: Stride,
        value: NodeId,
    },
    /// One value that several own, or that this does not own.
    Shared {
        owns: bool,
        from: Counted,
        to: Counted,
        value: NodeId,
        /// What it is afterwards: all that lead to one value must make the same of it.
        identity: u64,
        /// Nothing that it reaches changes, so it is taken along: others may have it who do not change.
        is_kept: bool,
        path: String,
    },
    Map {
        /// Bytes of the head, as they are but for what has to change.
        head: usize,
        from: Buckets,
        to: Buckets,
        key: NodeId,
        value: NodeId,
        keys_stay: bool,
    },
    Tree {
        from: Pairs,
        to: Pairs,
        key: NodeId,
        value: NodeId,
    },
    /// A head as it is, and a value behind it.
    Lock {
        head: usize,
        from: usize,
        to: usize,
        value: NodeId,
    },
    /// The same, where the head says that the value was made.
    Late {
        from: usize,
        to: usize,
        value: NodeId,
    },
    /// All zeroes, or a value.
    Niche {
        size: usize,
        value: NodeId,
    },
    Custom {
        hook: u16,
        before: Option<Between>,
        after: Option<Between>,
    },
}

/// A value that is made on the way and dropped again.
#[derive(Debug)]
pub(in crate::evolve) struct Between {
    pub(in crate::evolve) node: NodeId,
    pub(in crate::evolve) size: usize,
    pub(in crate::evolve) align: usize,
}

/// The nodes of an ordered map, and the bytes of what they hold.
#[derive(Clone, Copy, Debug)]
pub(in crate::evolve) struct Pairs {
    pub(in crate::evolve) shape: TreeShape,
    pub(in crate::evolve) key: usize,
    pub(in crate::evolve) value: usize,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::evolve) struct Stride {
    pub(in crate::evolve) bytes: usize,
    pub(in crate::evolve) align: usize,
}

#[derive(Debug)]
pub(in crate::evolve) struct Move {
    /// Its place among the fields of the new type.
    pub(super) nth: usize,
    pub(in crate::evolve) from: usize,
    pub(in crate::evolve) to: usize,
    pub(in crate::evolve) node: NodeId,
}

/// A field without a predecessor.
#[derive(Debug)]
pub(in crate::evolve) struct Fill {
    /// Its place among the fields of the new type.
    pub(super) nth: usize,
    pub(in crate::evolve) to: usize,
    pub(in crate::evolve) with: With,
}

#[derive(Debug)]
pub(in crate::evolve) enum With {
    /// What the program's code writes.
    Hook(u16),
    /// The emptiest value of its layout: these bytes, the rest zero.
    Bytes(Vec<(usize, Vec<u8>)>),
}

#[derive(Debug)]
pub(in crate::evolve) struct Case {
    pub(in crate::evolve) from_value: i128,
    /// `None` where the other side has no such variant.
    pub(in crate::evolve) to_value: Option<i128>,
    pub(in crate::evolve) name: String,
    pub(in crate::evolve) moves: Vec<Move>,
    pub(in crate::evolve) fills: Vec<Fill>,
}

impl Node {
    /// Steps side by side, each at an offset that stays.
    pub(super) fn in_a_row(steps: &[(usize, NodeId)]) -> Self {
        let field = |(nth, &(at, node)): (usize, &(usize, NodeId))| Move { nth, from: at, to: at, node };
        Self::Fields(steps.iter().enumerate().map(field).collect(), Vec::new(), Keeps::ALL)
    }

    /// The steps that this one takes on its way.
    pub(in crate::evolve) fn children(&self) -> Vec<NodeId> {
        let of = |moves: &[Move]| moves.iter().map(|field| field.node).collect();
        match self {
            Self::Open | Self::Copy(_) | Self::Number { .. } | Self::Text { .. } => Vec::new(),
            Self::Fields(moves, ..) => of(moves),
            Self::Cases { cases, .. } => {
                cases.iter().flat_map(|case| -> Vec<_> { of(&case.moves) }).collect()
            }
            Self::Array { elem: node, .. }
            | Self::Sequence { elem: node, .. }
            | Self::Owned { value: node, .. }
            | Self::Shared { value: node, .. }
            | Self::Lock { value: node, .. }
            | Self::Late { value: node, .. }
            | Self::Niche { value: node, .. } => vec![*node],
            Self::Map { key, value, .. } | Self::Tree { key, value, .. } => vec![*key, *value],
            Self::Custom { before, after, .. } => {
                before.iter().chain(after).map(|between| between.node).collect()
            }
        }
    }
}
