//! Insertion: into a leaf, and where that is full, by splits up to the root.
//!
//! ```text
//! in the middle      | 10 20 30 40 50 |  + 25   ->   | 10 20 25 |  30  | 40 50 |
//! at an end          | 10 20 30 40 50 |  + 60   ->   | 10 20 30 40 |  50  | 60 |       keys that come in order leave full nodes
//! ```
//!
//! All nodes that the splits need are allocated before anything changes, so that a full heap leaves the map as it was.

#![expect(unsafe_code, reason = "changes nodes")]

use super::BTreeMap;
use super::node::{Node, Spares};
use super::place::Place;
use crate::alloc::AllocError;
use crate::whole::{Undo, guarded};

impl<K, V> BTreeMap<K, V> {
    /// Inserts a pair in a gap of a leaf, or into an empty map at the end; returns where it lies.
    ///
    /// # Safety
    ///
    /// The gap is in this tree.
    pub(super) unsafe fn insert_at(
        &mut self,
        gap: Place<K, V>,
        key: K,
        value: V,
    ) -> Result<Place<K, V>, AllocError> {
        // SAFETY: the caller's duty; a leaf with room takes the pair.
        unsafe {
            let Place { node, index } = gap;
            if node.is_null() || node.len() == Node::<K, V>::CAPACITY {
                return self.insert_by_splits(gap, key, value);
            }
            guarded(node.places_from(index, self.words()), || {
                node.insert(index, (key, value), None, &mut Undo::none());
                self.len += 1;
            });
        }
        Ok(gap)
    }

    /// Inserts a pair behind the last one.
    pub(super) fn try_push_last(&mut self, key: K, value: V) -> Result<(), AllocError> {
        // SAFETY: the gap behind the last pair of the last leaf is in this tree.
        unsafe {
            let mut gap = Place::last(self.root);
            gap.index += usize::from(!gap.is_end());
            self.insert_at(gap, key, value)?;
        }
        Ok(())
    }

    /// # Safety
    ///
    /// As for [`insert_at`](Self::insert_at).
    #[cold]
    #[inline(never)]
    unsafe fn insert_by_splits(
        &mut self,
        gap: Place<K, V>,
        key: K,
        value: V,
    ) -> Result<Place<K, V>, AllocError> {
        // SAFETY: the caller's duty; whatever is split is full, and whatever is inserted into has room.
        unsafe {
            let mut spares = Spares::new();
            if gap.is_end() {
                spares.add(0)?;
                let root = spares.take();
                root.insert(0, (key, value), None, &mut Undo::none());
                self.set(root, 1);
                return Ok(Place { node: root, index: 0 });
            }
            foresee(gap.node, &mut spares)?;
            let mut undo = Undo::begin(self.words().start);
            undo.note([self.words()]);

            let Place { mut node, mut index } = gap;
            let (mut pair, mut edge, mut placed) = ((key, value), None, None);
            while node.len() == Node::<K, V>::CAPACITY {
                let at = split_point(node, index);
                let right = spares.take();
                let middle = node.split(at, right, &mut undo);
                let place = if index <= at {
                    Place { node, index }
                } else {
                    Place { node: right, index: index - at - 1 }
                };
                place.node.insert(place.index, pair, edge, &mut undo);
                placed = placed.or(Some(place));
                (pair, edge) = (middle, Some(right));
                (node, index) = match node.parent() {
                    Some(above) => above,
                    None => {
                        let root = spares.take();
                        root.set_edge(0, node, &mut undo);
                        self.root = root;
                        (root, 0)
                    }
                };
            }
            node.insert(index, pair, edge, &mut undo);
            self.len += 1;
            undo.retire();
            Ok(placed.unwrap_or(Place { node, index }))
        }
    }
}

/// Allocates the nodes that an insertion into a full leaf needs.
unsafe fn foresee<K, V>(mut node: Node<K, V>, spares: &mut Spares<K, V>) -> Result<(), AllocError> {
    // SAFETY: the caller's node is there, and so are those above it.
    unsafe {
        while node.len() == Node::<K, V>::CAPACITY {
            spares.add(node.height())?;
            match node.parent() {
                Some((above, _)) => node = above,
                None => return spares.add(node.height() + 1),
            }
        }
    }
    Ok(())
}

/// Chooses the pair of a full node that goes up when one comes in at `index`.
unsafe fn split_point<K, V>(node: Node<K, V>, index: usize) -> usize {
    let full = Node::<K, V>::CAPACITY;
    // SAFETY: the caller's node is there, and so are those above it.
    unsafe {
        if index == full && is_at_end(node, |parent, edge| edge == parent.len()) {
            return full - 1;
        }
        if index == 0 && is_at_end(node, |_, edge| edge == 0) {
            return 0;
        }
    }
    if index <= (full - 1) / 2 { (full - 1) / 2 } else { full / 2 }
}

/// Returns whether `outermost` is true of every edge that leads here from the root.
unsafe fn is_at_end<K, V>(mut node: Node<K, V>, outermost: impl Fn(Node<K, V>, usize) -> bool) -> bool {
    // SAFETY: the caller's node is there, and so are those above it.
    unsafe {
        while let Some((parent, index)) = node.parent() {
            if !outermost(parent, index) {
                return false;
            }
            node = parent;
        }
    }
    true
}
