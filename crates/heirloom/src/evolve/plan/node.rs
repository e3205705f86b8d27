//! The steps of a plan: each from an address of a value of one layout to one of the other.

use super::NodeId;
use crate::evolve::collection::Buckets;
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
    Fields(Vec<Move>, Vec<Fill>),
    Cases {
        from_tag: usize,
        to_tag: usize,
        cases: Vec<Case>,
        path: String,
    },
    Array {
        len: usize,
        from: usize,
        to: usize,
        elem: NodeId,
    },
    Text,
    Sequence {
        from: Stride,
        to: Stride,
        elem: NodeId,
    },
    Owned {
        size: usize,
        align: usize,
        value: NodeId,
    },
    Map {
        from: Buckets,
        to: Buckets,
        key: NodeId,
        value: NodeId,
        keys_stay: bool,
    },
    /// A head as it is, and a value behind it.
    Lock {
        head: usize,
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

#[derive(Clone, Copy, Debug)]
pub(in crate::evolve) struct Stride {
    pub(in crate::evolve) bytes: usize,
    pub(in crate::evolve) align: usize,
}

#[derive(Debug)]
pub(in crate::evolve) struct Move {
    pub(in crate::evolve) from: usize,
    pub(in crate::evolve) to: usize,
    pub(in crate::evolve) node: NodeId,
}

/// A field without a predecessor.
#[derive(Debug)]
pub(in crate::evolve) struct Fill {
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
