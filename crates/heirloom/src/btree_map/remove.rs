//! Removal: out of a leaf, and where too few are left there, by taking from a sibling or merging, up to the root.
//!
//! ```text
//! take     | 10 |  20  | 30 40 50 60 |   ->   | 10 20 30 |  40  | 50 60 |
//! merge    | 10 |  20  | 30 |            ->   | 10 20 30 |                     and the node above has one pair less
//! ```
//!
//! A pair of an inner node is replaced by the one after it, which lies in a leaf.

#![expect(unsafe_code, reason = "changes nodes")]

use super::BTreeMap;
use super::node::Node;
use super::place::Place;
use crate::whole::{Undo, guarded};

/// A removal on its way.
struct Change<K, V> {
    undo: Undo,
    /// Nodes that hold nothing any more, to be given back behind it.
    freed: std::vec::Vec<Node<K, V>>,
}

impl<K, V> BTreeMap<K, V> {
    /// Takes a pair out; returns it and the place of the one after it.
    ///
    /// # Safety
    ///
    /// The place is in this tree, and not the end.
    pub(super) unsafe fn remove_at(&mut self, place: Place<K, V>) -> ((K, V), Place<K, V>) {
        // SAFETY: the caller's duty; each pair is read once, and its place taken by another or given up.
        unsafe {
            let Place { node, index } = place;
            if node.height() == 0 && (node.len() > Node::<K, V>::FEW || node == self.root && node.len() > 1) {
                // The usual way: no other node has a part in it.
                let words = self.words();
                let pair = guarded(node.places_from(index, words), || {
                    self.len -= 1;
                    node.remove(index, &mut Undo::none())
                });
                return (pair, place.or_above());
            }
            let mut change = Change { undo: Undo::begin(self.words().start), freed: std::vec::Vec::new() };
            change.undo.note([self.words()]);
            self.len -= 1;
            let (pair, next) = if node.height() == 0 {
                let pair = node.remove(index, &mut change.undo);
                let gap = self.fill_up(place, &mut change);
                (pair, if gap.is_end() { gap } else { gap.or_above() })
            } else {
                let leaf = Place::leftmost(node.edge(index + 1));
                let pair = node.read(index);
                node.note_pairs(index, 1, &mut change.undo);
                node.write(index, leaf.remove(0, &mut change.undo));
                // What came from the leaf lies right before the gap that it left there, wherever both are moved.
                let gap = self.fill_up(Place { node: leaf, index: 0 }, &mut change);
                (pair, gap.before_gap())
            };
            change.undo.retire();
            change.freed.into_iter().for_each(|node| node.free());
            (pair, next)
        }
    }

    /// Sees to it that a leaf out of which a pair was taken has enough, and the nodes above it too; returns where the gap
    /// is then.
    unsafe fn fill_up(&mut self, gap: Place<K, V>, change: &mut Change<K, V>) -> Place<K, V> {
        let (mut gap, mut node) = (gap, gap.node);
        // SAFETY: the caller's gap is in this tree.
        unsafe {
            while node.len() < Node::<K, V>::FEW {
                let Some((parent, edge)) = node.parent() else {
                    return if node.len() == 0 { self.drop_root(gap, change) } else { gap };
                };
                let at = edge.saturating_sub(1);
                let (left, right) = (parent.edge(at), parent.edge(at + 1));
                let (l, r) = (left.len(), right.len());
                let merges = l + 1 + r <= Node::<K, V>::CAPACITY;
                // How many places the pairs of the right node move up by, or into the left node.
                let moved = if merges { l + 1 } else { l.saturating_sub(r) / 2 };
                if gap.node == right {
                    gap = Place { node: if merges { left } else { right }, index: gap.index + moved };
                }
                if merges {
                    change.freed.push(parent.merge(at, &mut change.undo));
                    node = parent;
                } else if l > r {
                    parent.shift_right(at, moved, &mut change.undo);
                    break;
                } else {
                    parent.shift_left(at, (r - l) / 2, &mut change.undo);
                    break;
                }
            }
        }
        gap
    }

    /// Takes a root without pairs away: what its only edge leads to is the new one, or the map is empty.
    unsafe fn drop_root(&mut self, gap: Place<K, V>, change: &mut Change<K, V>) -> Place<K, V> {
        let root = self.root;
        change.freed.push(root);
        // SAFETY: the root is there, and nothing refers to it any more.
        unsafe {
            if root.height() == 0 {
                self.root = Node::NULL;
                return Place::END;
            }
            self.root = root.edge(0);
            self.root.hang(Node::NULL, 0, &mut change.undo);
        }
        gap
    }
}
