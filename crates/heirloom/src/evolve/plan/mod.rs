//! The plan: how a value of one layout becomes one of another, found from two descriptions and the rules in one of them.
//!
//! ```text
//! description in the heap ----+
//!                             +--> Plan: nodes, each a step from an offset here to an offset there  --> `convert`
//! form with rules ------------+      or a Refusal, with the way to what cannot be done
//! ```
//!
//! It runs before anything is touched, in the program that hands over as in the one that takes, and in the command line: all
//! three come to the same answer. Forward the rules are those of the newer type and say what its ancestors lacked. Backward they
//! are those of the newer type too, which writes for its ancestor.
//!
//! Fields and variants are matched by name. So a field that moved is no change, a number that can hold all that the other held is
//! widened, and all else must be declared: nothing is lost by a slip.
//!
//! - `node`: the steps. `planner`: the search, one pair of types after the other; `fields`, `variants`, `containers`, `by_code`: what it does with
//!   each kind of them. `keeps`: what becomes of the keys of maps. `identity`: what pointers that share something must agree on.

mod by_code;
mod containers;
mod fields;
mod identity;
mod keeps;
mod node;
mod planner;
mod variants;

use std::cell::Cell;
use std::rc::Rc;

use heirloom_abi::types::TypeView;

pub(in crate::evolve) use node::{Between, Case, Fill, Move, Node, Pairs, Stride, With};
pub(in crate::evolve) use variants::tag_bytes;

use planner::{MOST_STEPS, Planner};

/// Which of the two descriptions carries the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The one that is to be.
    Forward,
    /// The one that is.
    Back,
}

/// The index of a step.
pub(in crate::evolve) type NodeId = usize;

/// How a value of one type becomes one of another.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(in crate::evolve) nodes: Vec<Node>,
    pub(in crate::evolve) root: NodeId,
    /// True where the bytes may stay as they are: both layouts are one.
    pub(crate) is_same_layout: bool,
    /// The types that are made by code of the program, in the order of the way.
    pub(crate) chain: Vec<String>,
}

/// Why a value cannot become one of the other type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}{reason}")]
pub struct Refusal {
    /// The way to it.
    pub path: String,
    /// What cannot be done, and what would help.
    pub reason: String,
}

impl Plan {
    /// Finds the way from `old` to `new`.
    pub(crate) fn find(
        old: &TypeView<'_>,
        new: &TypeView<'_>,
        direction: Direction,
    ) -> Result<Self, Refusal> {
        let mut planner = Planner::new(direction, Rc::new(Cell::new(MOST_STEPS)));
        let root = planner.step(old, new)?.node;
        let (mut nodes, stays, chain) = planner.finish();
        for node in &mut nodes {
            if let Node::Shared { value, is_kept, .. } = node {
                *is_kept = stays[*value];
            }
        }
        let plan = Self { nodes, root, is_same_layout: stays[root], chain };
        plan.refuse_shared_on_the_way()?;
        Ok(plan)
    }

    /// True if values that several own are made anew: then all that lead to one must come to the new one.
    pub(crate) fn makes_shared(&self) -> bool {
        let makes = |node: &Node| matches!(node, Node::Shared { is_kept: false, .. });
        !self.is_same_layout && self.reached(self.root).into_iter().any(|id| makes(&self.nodes[id]))
    }

    /// A value that is made on the way and dropped again cannot share anything with those that stay.
    fn refuse_shared_on_the_way(&self) -> Result<(), Refusal> {
        for node in &self.nodes {
            let Node::Custom { before, after, .. } = node else { continue };
            for between in before.iter().chain(after) {
                let shared = self.reached(between.node).into_iter().find_map(|id| match &self.nodes[id] {
                    Node::Shared { path, .. } => Some(path),
                    _ => None,
                });
                if let Some(path) = shared {
                    let reason = "what pointers share cannot be brought to an ancestor before the program's own conversion; \
                                  declare one that leads there directly: #[heritable(from = ..)], #[heritable(back_to = ..)]";
                    return Err(Refusal { path: path.clone(), reason: reason.to_owned() });
                }
            }
        }
        Ok(())
    }

    /// A step and all that it leads to.
    fn reached(&self, from: NodeId) -> Vec<NodeId> {
        let mut is_found = vec![false; self.nodes.len()];
        is_found[from] = true;
        let (mut found, mut next) = (vec![from], 0);
        while let Some(&id) = found.get(next) {
            next += 1;
            for child in self.nodes[id].children() {
                if !std::mem::replace(&mut is_found[child], true) {
                    found.push(child);
                }
            }
        }
        found
    }
}
