//! States what must hold of a tree; the tests ask after each step.

#![expect(unsafe_code, reason = "looks at nodes")]

use super::BTreeMap;
use super::node::Node;

impl<K, V> BTreeMap<K, V> {
    /// Checks *counted*, *filled*, *level* and *linked*, and returns how many nodes there are.
    pub(super) fn check_structure(&self) -> usize {
        if self.root.is_null() {
            assert_eq!(self.len, 0);
            return 0;
        }
        // SAFETY: the tree is there.
        unsafe {
            assert!(self.root.parent().is_none());
            let (pairs, nodes) = check_node(self.root);
            assert_eq!(pairs, self.len());
            assert_eq!(self.iter().count(), pairs);
            assert_eq!(self.iter().rev().count(), pairs);
            nodes
        }
    }

    /// Checks all of it.
    pub(crate) fn check(&self) -> usize
    where
        K: Ord,
    {
        assert!(self.iter().is_sorted_by(|(a, _), (b, _)| a < b));
        self.check_structure()
    }
}

/// Checks a node and all below it; returns how many pairs and nodes there are.
unsafe fn check_node<K, V>(node: Node<K, V>) -> (usize, usize) {
    // SAFETY: the caller's node is there.
    unsafe {
        let (mut pairs, mut nodes) = (node.len(), 1);
        assert!((1..=Node::<K, V>::CAPACITY).contains(&pairs));
        if node.height() > 0 {
            for index in 0..=node.len() {
                let child = node.edge(index);
                assert_eq!(child.height() + 1, node.height());
                assert!(child.parent() == Some((node, index)));
                let below = check_node(child);
                pairs += below.0;
                nodes += below.1;
            }
        }
        (pairs, nodes)
    }
}
