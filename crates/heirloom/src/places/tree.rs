//! The B-tree: from the root down, each node once.
//!
//! An edge is followed only into a node that knows this edge as the way to it, so that two edges never lead to one node, and into a
//! node one lower than its own, so that no way is longer than the first height says.

use super::{Argument, Memory, Misplaced, Place, Walk, ensure};
use crate::btree_map::shape::{HEAD_BYTES, Shape};

/// No tree is higher: a tree of that height has 2^48 nodes at least.
const MAX_HEIGHT: u16 = 48;

/// The tree and what is left of it.
struct Tree {
    at: u64,
    key: Argument,
    value: Argument,
    shape: Shape,
    /// Pairs that have not been visited.
    left: u64,
}

/// A node's head.
struct Head {
    parent: u64,
    parent_index: u16,
    len: u16,
    height: u16,
}

impl<M: Memory, F: FnMut(Place)> Walk<'_, M, F> {
    /// `| root | len |`
    pub(super) fn tree(&mut self, at: u64, key: Argument, value: Argument) -> Result<(), Misplaced> {
        let (root, len) = (self.word(at, 0)?, self.word(at, 8)?);
        if root == 0 {
            return ensure(len == 0, at, "there is no root, but something below it");
        }
        let shape =
            Shape::of((key.size as usize, key.align as usize), (value.size as usize, value.align as usize));
        let mut tree = Tree { at, key, value, shape, left: len };
        let head = self.head(root)?;
        ensure(head.parent == 0, root, "the root has a parent")?;
        ensure(head.height <= MAX_HEIGHT, root, "the tree is too high")?;
        self.node(&mut tree, root, &head)?;
        ensure(tree.left == 0, at, "there are fewer pairs than are counted")
    }

    fn node(&mut self, tree: &mut Tree, node: u64, head: &Head) -> Result<(), Misplaced> {
        let shape = tree.shape;
        let size = if head.height == 0 { shape.leaf_bytes } else { shape.inner_bytes };
        self.block(node, Some(size as u64), shape.align as u64)?;
        let len = u64::from(head.len);
        ensure(len >= 1 && len <= shape.capacity as u64, node, "the node has no pairs, or too many")?;
        tree.left = tree
            .left
            .checked_sub(len)
            .ok_or(Misplaced::Wrong { address: tree.at, what: "there are more pairs than are counted" })?;
        for (argument, part, offset) in [(0, tree.key, shape.keys), (1, tree.value, shape.values)] {
            if part.size != 0 {
                self.elements(argument, node + offset as u64, part.size, len);
            }
        }
        for index in 0..if head.height == 0 { 0 } else { head.len + 1 } {
            let child = self.word(node, shape.edges as u64 + u64::from(index) * 8)?;
            let below = self.head(child)?;
            ensure(
                below.height.checked_add(1) == Some(head.height),
                child,
                "the node is not one lower than its parent",
            )?;
            ensure(
                below.parent == node && below.parent_index == index,
                child,
                "the node does not know its parent",
            )?;
            self.node(tree, child, &below)?;
        }
        Ok(())
    }

    fn head(&self, node: u64) -> Result<Head, Misplaced> {
        let mut bytes = [0; HEAD_BYTES];
        self.read(node, 0, &mut bytes)?;
        let [parent @ .., a, b, c, d, e, f, _, _] = bytes;
        Ok(Head {
            parent: u64::from_le_bytes(parent),
            parent_index: u16::from_le_bytes([a, b]),
            len: u16::from_le_bytes([c, d]),
            height: u16::from_le_bytes([e, f]),
        })
    }
}
