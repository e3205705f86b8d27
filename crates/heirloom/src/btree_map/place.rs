//! Places of pairs, and the ways from one to the next.
//!
//! ```text
//!                 | 30 |  60 |                     the pair after (leaf, last) is the nearest above that lies to the right,
//!       | 10 20 |   | 40 50 |   | 70 80 |          the pair after one of an inner node the leftmost below
//! ```

#![expect(unsafe_code, reason = "follows the addresses of nodes")]

use std::ops::{Bound, RangeBounds};

use super::node::Node;

/// The place of a pair, or the end, behind the last one.
///
/// # Invariants
///
/// Unless it is the end, the node is part of a tree that lives as long as the place is used, and the index below its length.
pub(super) struct Place<K, V> {
    pub(super) node: Node<K, V>,
    pub(super) index: usize,
}

impl<K, V> Clone for Place<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Place<K, V> {}

impl<K, V> PartialEq for Place<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node && self.index == other.index
    }
}

/// Follows addresses.
///
/// # Safety
///
/// For all of these: the tree is there, and the places are in it.
impl<K, V> Place<K, V> {
    pub(super) const END: Self = Self { node: Node::NULL, index: 0 };

    #[inline(always)]
    pub(super) fn is_end(self) -> bool {
        self.node.is_null()
    }

    /// Returns the first place of the tree below `root`, which may be null.
    pub(super) unsafe fn first(root: Node<K, V>) -> Self {
        if root.is_null() {
            return Self::END;
        }
        // SAFETY: the caller's duty; a node that is not null has pairs.
        unsafe { Self { node: Self::leftmost(root), index: 0 } }
    }

    /// Returns the last place of the tree below `root`, which may be null.
    pub(super) unsafe fn last(root: Node<K, V>) -> Self {
        if root.is_null() {
            return Self::END;
        }
        // SAFETY: the caller's duty; a node that is not null has pairs.
        unsafe {
            let node = Self::rightmost(root);
            Self { node, index: node.len() - 1 }
        }
    }

    /// Returns the place after this one.
    #[inline]
    pub(super) unsafe fn next(self) -> Self {
        // SAFETY: the caller's duty.
        unsafe {
            if self.node.height() > 0 {
                return Self { node: Self::leftmost(self.node.edge(self.index + 1)), index: 0 };
            }
            Self { node: self.node, index: self.index + 1 }.or_above()
        }
    }

    /// Returns the place before this one, or the end if this is the first.
    #[inline]
    pub(super) unsafe fn previous(self) -> Self {
        // SAFETY: the caller's duty.
        unsafe {
            if self.node.height() > 0 {
                return Self::last(self.node.edge(self.index));
            }
            self.before_gap()
        }
    }

    /// Takes this for a gap before a pair of a leaf, if there is one, and returns the place of the pair behind it.
    #[inline]
    pub(super) unsafe fn or_above(mut self) -> Self {
        // SAFETY: the caller's duty.
        unsafe {
            while self.index == self.node.len() {
                let Some((node, index)) = self.node.parent() else { return Self::END };
                self = Self { node, index };
            }
        }
        self
    }

    /// Takes this for a gap in a leaf and returns the place of the pair before it.
    pub(super) unsafe fn before_gap(mut self) -> Self {
        // SAFETY: the caller's duty.
        unsafe {
            while self.index == 0 {
                let Some((node, index)) = self.node.parent() else { return Self::END };
                self = Self { node, index };
            }
        }
        Self { node: self.node, index: self.index - 1 }
    }

    pub(super) unsafe fn leftmost(mut node: Node<K, V>) -> Node<K, V> {
        // SAFETY: the caller's duty.
        unsafe {
            while node.height() > 0 {
                node = node.edge(0);
            }
        }
        node
    }

    pub(super) unsafe fn rightmost(mut node: Node<K, V>) -> Node<K, V> {
        // SAFETY: the caller's duty.
        unsafe {
            while node.height() > 0 {
                node = node.edge(node.len());
            }
        }
        node
    }
}

/// The places from `front` on, before `back`.
///
/// # Invariants
///
/// `front` does not lie behind `back`.
pub(super) struct Places<K, V> {
    front: Place<K, V>,
    back: Place<K, V>,
    root: Node<K, V>,
}

impl<K, V> Clone for Places<K, V> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

/// # Safety
///
/// For all of these: the tree is there, and does not change as long as the places are used.
impl<K, V> Places<K, V> {
    /// No places.
    pub(super) const NONE: Self = Self { front: Place::END, back: Place::END, root: Node::NULL };

    /// All places of the tree below `root`, which may be null.
    pub(super) unsafe fn all(root: Node<K, V>) -> Self {
        // SAFETY: the caller's duty.
        Self { front: unsafe { Place::first(root) }, back: Place::END, root }
    }

    /// The places of the keys in a range.
    ///
    /// Both ends go down together for as long as they go the same way, so that even an order that contradicts itself cannot
    /// bring the front behind the back.
    ///
    /// # Panics
    ///
    /// If the range is reversed, or excludes one key as both of its ends.
    pub(super) unsafe fn range<Q: Ord + ?Sized>(root: Node<K, V>, range: &impl RangeBounds<Q>) -> Self
    where
        K: std::borrow::Borrow<Q>,
    {
        match (range.start_bound(), range.end_bound()) {
            (Bound::Excluded(start), Bound::Excluded(end)) if start == end => {
                panic!("a range excludes one key as both of its ends")
            }
            (
                Bound::Included(start) | Bound::Excluded(start),
                Bound::Included(end) | Bound::Excluded(end),
            ) => {
                assert!(start <= end, "a range starts behind its end");
            }
            _ => {}
        }
        let before_start = |key: &K| match range.start_bound() {
            Bound::Included(start) => key.borrow() < start,
            Bound::Excluded(start) => key.borrow() <= start,
            Bound::Unbounded => false,
        };
        let before_end = |key: &K| match range.end_bound() {
            Bound::Included(end) => key.borrow() <= end,
            Bound::Excluded(end) => key.borrow() < end,
            Bound::Unbounded => true,
        };
        if root.is_null() {
            return Self { front: Place::END, back: Place::END, root };
        }
        // SAFETY: the caller's duty; an edge is followed in inner nodes only.
        unsafe {
            let mut node = root;
            loop {
                let keys = node.keys();
                let (front, back) = (keys.partition_point(before_start), keys.partition_point(before_end));
                assert!(front <= back, "the order of the keys contradicts itself");
                if front != back || node.height() == 0 {
                    return Self {
                        front: go_on(node, front, before_start),
                        back: go_on(node, back, before_end),
                        root,
                    };
                }
                node = node.edge(front);
            }
        }
    }

    #[inline(always)]
    pub(super) unsafe fn next(&mut self) -> Option<Place<K, V>> {
        if self.front == self.back {
            return None;
        }
        let place = self.front;
        // SAFETY: the caller's duty; what comes before the back is not the end.
        self.front = unsafe { place.next() };
        Some(place)
    }

    #[inline(always)]
    pub(super) unsafe fn next_back(&mut self) -> Option<Place<K, V>> {
        if self.front == self.back {
            return None;
        }
        // SAFETY: the caller's duty; behind the front there is one before the back.
        self.back = unsafe { if self.back.is_end() { Place::last(self.root) } else { self.back.previous() } };
        Some(self.back)
    }

    /// Returns the first place without passing it.
    pub(super) fn front(&self) -> Place<K, V> {
        self.front
    }
}

/// Goes down from the gap at `index` of a node to the first place of which `before` is not true.
unsafe fn go_on<K, V>(mut node: Node<K, V>, mut index: usize, before: impl Fn(&K) -> bool) -> Place<K, V> {
    // SAFETY: the caller's duty.
    unsafe {
        while node.height() > 0 {
            node = node.edge(index);
            index = node.keys().partition_point(&before);
        }
        Place { node, index }.or_above()
    }
}
