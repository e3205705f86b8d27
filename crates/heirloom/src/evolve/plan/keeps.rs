//! What a conversion keeps of the keys of a map: that they differ, and their order.
//!
//! A table is built from the old one bucket by bucket, and an ordered map pair by pair: nobody here can compare two keys. So two keys
//! must not become one, and where they are ordered they must stay so, as far as the order that `derive` gives is concerned.

use super::{Case, Fill, Move, Node, NodeId};

/// What a step keeps of the values that go through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::evolve) struct Keeps {
    /// Two values that differ still do.
    pub(super) distinct: bool,
    /// The lesser of two values still is.
    pub(super) order: bool,
}

impl Keeps {
    pub(super) const ALL: Self = Self { distinct: true, order: true };
    const NOTHING: Self = Self { distinct: false, order: false };

    pub(super) fn and(self, other: Self) -> Self {
        Self { distinct: self.distinct && other.distinct, order: self.order && other.order }
    }

    /// What fields keep by their places alone; `moves` are in the order of the new type. Each has the place that its source has among
    /// the old ones.
    pub(super) fn of_fields(is_all_moved: bool, sources: &[usize], is_filled_before_a_move: bool) -> Self {
        let order = sources.windows(2).all(|pair| pair[0] < pair[1]);
        Self { distinct: is_all_moved, order: is_all_moved && order && !is_filled_before_a_move }
    }

    /// What variants keep by their values alone.
    pub(super) fn of_cases(cases: &[Case]) -> Self {
        let mut pairs: Vec<_> =
            cases.iter().filter_map(|case| Some((case.from_value, case.to_value?))).collect();
        pairs.sort_unstable();
        let order = pairs.windows(2).all(|pair| pair[0].1 < pair[1].1);
        pairs.sort_unstable_by_key(|pair| pair.1);
        let distinct = pairs.windows(2).all(|pair| pair[0].1 != pair[1].1);
        Self { distinct, order }
    }
}

/// Finds out what a step keeps. A type that is being looked at keeps nothing yet.
pub(super) fn keeps(nodes: &[Node], id: NodeId) -> Keeps {
    look(nodes, id, &mut Vec::new())
}

fn look(nodes: &[Node], id: NodeId, around: &mut Vec<NodeId>) -> Keeps {
    if around.contains(&id) {
        // What it leads back to is asked where it stands.
        return Keeps::ALL;
    }
    around.push(id);
    let mut all = |own: Keeps, ids: Vec<NodeId>| {
        ids.into_iter().fold(own, |found, id| found.and(look(nodes, id, around)))
    };
    let found = match &nodes[id] {
        Node::Copy(_) | Node::Number { .. } | Node::Text { .. } => Keeps::ALL,
        Node::Open | Node::Custom { .. } => Keeps::NOTHING,
        Node::Fields(_, _, own) | Node::Cases { keeps: own, .. } => all(*own, nodes[id].children()),
        // What lies in it has no order that anybody promises.
        Node::Map { .. } => all(Keeps { distinct: true, order: false }, nodes[id].children()),
        other => all(Keeps::ALL, other.children()),
    };
    around.pop();
    found
}

/// Where fields come from, and whether one that has no predecessor stands before one that has: for [`Keeps::of_fields`].
pub(super) fn is_filled_before_a_move(moves: &[Move], fills: &[Fill]) -> bool {
    let last = moves.iter().map(|field| field.nth).max();
    fills.iter().any(|fill| last.is_some_and(|last| fill.nth < last))
}
