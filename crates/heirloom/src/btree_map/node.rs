//! A node of the tree: its memory, and what moves within it and between two of them.
//!
//! `shape` says where things lie. A [`Node`] is an address; who follows it answers for the node being there.

#![expect(unsafe_code, reason = "keys, values and edges lie in a block without types")]

use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use super::shape::{HEAD_BYTES, Shape};
use crate::alloc::{self, AllocError};
use crate::whole::{Place, Undo};

/// What every node starts with.
#[repr(C)]
pub(super) struct Head {
    /// The inner node above; null in the root.
    parent: *mut Head,
    /// Which edge of the parent leads here.
    parent_index: u16,
    len: u16,
    /// Steps down to a leaf, which has 0.
    height: u16,
    reserved: u16,
}

const _: () = assert!(size_of::<Head>() == HEAD_BYTES && std::mem::offset_of!(Head, parent_index) == 8);
const _: () = assert!(std::mem::offset_of!(Head, len) == 10 && std::mem::offset_of!(Head, height) == 12);

/// The address of a node, or null.
#[repr(transparent)]
pub(super) struct Node<K, V> {
    head: *mut Head,
    pairs: PhantomData<(*mut K, *mut V)>,
}

impl<K, V> Clone for Node<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Node<K, V> {}

impl<K, V> PartialEq for Node<K, V> {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self.head, other.head)
    }
}

impl<K, V> Node<K, V> {
    pub(super) const SHAPE: Shape =
        Shape::of((size_of::<K>(), align_of::<K>()), (size_of::<V>(), align_of::<V>()));
    pub(super) const CAPACITY: usize = Self::SHAPE.capacity;
    /// A node with fewer pairs takes some from its sibling, or merges with it, when a pair is taken out of it.
    pub(super) const FEW: usize = Self::CAPACITY / 2;

    pub(super) const NULL: Self = Self { head: ptr::null_mut(), pairs: PhantomData };

    /// Allocates a node without pairs.
    pub(super) fn allocate(height: usize) -> Result<Self, AllocError> {
        let block = alloc::allocate(Self::layout(height)?)?;
        let head: NonNull<Head> = block.cast();
        let height = u16::try_from(height).map_err(|_| AllocError::TOO_LARGE)?;
        // SAFETY: the block is new, aligned and large enough for a head.
        unsafe { head.write(Head { parent: ptr::null_mut(), parent_index: 0, len: 0, height, reserved: 0 }) };
        Ok(Self { head: head.as_ptr(), pairs: PhantomData })
    }

    /// Gives the block of a node back, whatever it holds.
    ///
    /// # Safety
    ///
    /// The node is there, and is not used again.
    pub(super) unsafe fn free(self) {
        // SAFETY: the caller's duty; the block was allocated with this layout.
        unsafe {
            let layout = Self::layout(self.height()).expect("the block was allocated with this layout");
            alloc::deallocate(NonNull::new_unchecked(self.head.cast()), layout);
        }
    }

    fn layout(height: usize) -> Result<Layout, AllocError> {
        let Shape { leaf_bytes, inner_bytes, align, .. } = Self::SHAPE;
        let size = if height == 0 { leaf_bytes } else { inner_bytes };
        Layout::from_size_align(size, align).map_err(|_| AllocError::TOO_LARGE)
    }

    #[inline(always)]
    pub(super) fn is_null(self) -> bool {
        self.head.is_null()
    }
}

/// What follows the address.
///
/// # Safety
///
/// For all of these: the node is there, and nobody holds a reference to what is changed. An index is at most the capacity; what is
/// read is live, and what is overwritten is not, or has been moved away.
impl<K, V> Node<K, V> {
    #[inline(always)]
    pub(super) unsafe fn len(self) -> usize {
        // SAFETY: the caller's duty.
        usize::from(unsafe { (*self.head).len })
    }

    #[inline(always)]
    pub(super) unsafe fn set_len(self, len: usize) {
        debug_assert!(len <= Self::CAPACITY);
        // SAFETY: the caller's duty.
        unsafe { (*self.head).len = len as u16 };
    }

    #[inline(always)]
    pub(super) unsafe fn height(self) -> usize {
        // SAFETY: the caller's duty.
        usize::from(unsafe { (*self.head).height })
    }

    /// Returns the node above, if there is one, and which of its edges leads here.
    #[inline(always)]
    pub(super) unsafe fn parent(self) -> Option<(Self, usize)> {
        // SAFETY: the caller's duty.
        let (parent, index) = unsafe { ((*self.head).parent, (*self.head).parent_index) };
        (!parent.is_null()).then_some((Self { head: parent, pairs: PhantomData }, index.into()))
    }

    #[inline(always)]
    pub(super) unsafe fn set_parent(self, parent: Self, index: usize) {
        // SAFETY: the caller's duty.
        unsafe {
            (*self.head).parent = parent.head;
            (*self.head).parent_index = index as u16;
        }
    }

    #[inline(always)]
    pub(super) fn key(self, index: usize) -> *mut K {
        self.head.wrapping_byte_add(Self::SHAPE.keys).cast::<K>().wrapping_add(index)
    }

    #[inline(always)]
    pub(super) fn value(self, index: usize) -> *mut V {
        self.head.wrapping_byte_add(Self::SHAPE.values).cast::<V>().wrapping_add(index)
    }

    #[inline(always)]
    fn edge_place(self, index: usize) -> *mut *mut Head {
        self.head.wrapping_byte_add(Self::SHAPE.edges).cast::<*mut Head>().wrapping_add(index)
    }

    /// Returns the node that edge `index` of an inner node leads to.
    #[inline(always)]
    pub(super) unsafe fn edge(self, index: usize) -> Self {
        // SAFETY: the caller's duty.
        unsafe {
            debug_assert!(self.height() > 0 && index <= self.len());
            Self { head: self.edge_place(index).read(), pairs: PhantomData }
        }
    }

    /// Sets an edge of an inner node that nobody can reach yet, and the way back.
    pub(super) unsafe fn set_edge(self, index: usize, child: Self, undo: &mut Undo) {
        // SAFETY: the caller's duty.
        unsafe {
            self.edge_place(index).write(child.head);
            child.hang(self, index, undo);
        }
    }

    /// Tells a node where it hangs now.
    pub(super) unsafe fn hang(self, parent: Self, index: usize, undo: &mut Undo) {
        // SAFETY: the caller's duty.
        unsafe {
            undo.note([self.head_place()]);
            self.set_parent(parent, index);
        }
    }

    /// The head, for a change that writes it.
    unsafe fn head_place(self) -> Place {
        // SAFETY: the caller's duty.
        unsafe { Place::of(self.head, 1) }
    }

    /// Writes down pairs that are written over next.
    pub(super) unsafe fn note_pairs(self, from: usize, count: usize, undo: &mut Undo) {
        // SAFETY: the caller's duty.
        unsafe { undo.note([Place::of(self.key(from), count), Place::of(self.value(from), count)]) };
    }

    /// What an insertion or a removal at `from` writes over: the words of its map, the head, and the pairs from there on.
    #[inline(always)]
    pub(super) unsafe fn places_from(self, from: usize, words: Place) -> [Place; 4] {
        // SAFETY: the caller's duty.
        unsafe {
            let count = self.len() - from;
            [words, self.head_place(), Place::of(self.key(from), count), Place::of(self.value(from), count)]
        }
    }

    /// Writes the head and the pairs from `from` on down.
    unsafe fn note_from(self, from: usize, undo: &mut Undo) {
        // SAFETY: the caller's duty.
        unsafe {
            let [_, head, keys, values] = self.places_from(from, self.head_place());
            undo.note([head, keys, values]);
        }
    }

    /// Writes edges of an inner node down, from `from` on.
    unsafe fn note_edges(self, from: usize, undo: &mut Undo) {
        // SAFETY: the caller's duty.
        unsafe {
            if self.height() > 0 {
                undo.note([Place::of(self.edge_place(from), self.len() + 1 - from)]);
            }
        }
    }

    pub(super) fn address(self) -> *mut Head {
        self.head
    }

    /// Returns the keys.
    #[inline(always)]
    pub(super) unsafe fn keys<'a>(self) -> &'a [K] {
        // SAFETY: the caller's duty; so many keys are live.
        unsafe { std::slice::from_raw_parts(self.key(0), self.len()) }
    }

    pub(super) unsafe fn read(self, index: usize) -> (K, V) {
        // SAFETY: the caller's duty.
        unsafe { (self.key(index).read(), self.value(index).read()) }
    }

    pub(super) unsafe fn write(self, index: usize, (key, value): (K, V)) {
        // SAFETY: the caller's duty.
        unsafe {
            self.key(index).write(key);
            self.value(index).write(value);
        }
    }

    /// Inserts a pair, for which there is room, and in an inner node the edge behind it.
    #[inline]
    pub(super) unsafe fn insert(self, index: usize, pair: (K, V), edge: Option<Self>, undo: &mut Undo) {
        // SAFETY: the caller's duty.
        unsafe {
            let len = self.len();
            self.note_from(index, undo);
            if edge.is_some() {
                self.note_edges(index + 1, undo);
            }
            self.copy_pairs(index, self, index + 1, len - index);
            self.write(index, pair);
            self.set_len(len + 1);
            if let Some(edge) = edge {
                self.copy_edges(index + 1, self, index + 2, len - index);
                self.edge_place(index + 1).write(edge.head);
                self.correct(index + 1, undo);
            }
        }
    }

    /// Takes a pair out of a leaf.
    pub(super) unsafe fn remove(self, index: usize, undo: &mut Undo) -> (K, V) {
        // SAFETY: the caller's duty.
        unsafe {
            self.note_from(index, undo);
            let pair = self.read(index);
            self.copy_pairs(index + 1, self, index, self.len() - index - 1);
            self.set_len(self.len() - 1);
            pair
        }
    }

    /// Moves the pairs behind `at` to `right`, which is empty and of the same height, and returns the pair at `at`.
    pub(super) unsafe fn split(self, at: usize, right: Self, undo: &mut Undo) -> (K, V) {
        // SAFETY: the caller's duty.
        unsafe {
            undo.note([self.head_place()]);
            // What is not live from here on was before: an insertion into this half writes over one pair and one edge of it.
            self.note_pairs(at, 1, undo);
            if self.height() > 0 {
                undo.note([Place::of(self.edge_place(at + 1), 1)]);
            }
            let moved = self.len() - at - 1;
            self.copy_pairs(at + 1, right, 0, moved);
            right.set_len(moved);
            if self.height() > 0 {
                self.copy_edges(at + 1, right, 0, moved + 1);
                right.correct(0, undo);
            }
            let pair = self.read(at);
            self.set_len(at);
            pair
        }
    }

    /// Merges the nodes beside pair `at` of this one, and that pair, into the left of them, and returns the other, which holds nothing any more.
    pub(super) unsafe fn merge(self, at: usize, undo: &mut Undo) -> Self {
        // SAFETY: the caller's duty; the caller has seen that all of it fits into one node.
        unsafe {
            let (left, right) = (self.edge(at), self.edge(at + 1));
            let (l, r, len) = (left.len(), right.len(), self.len());
            self.note_from(at, undo);
            self.note_edges(at + 1, undo);
            undo.note([left.head_place()]);
            self.copy_pairs(at, left, l, 1);
            right.copy_pairs(0, left, l + 1, r);
            left.set_len(l + 1 + r);
            if left.height() > 0 {
                right.copy_edges(0, left, l + 1, r + 1);
                left.correct(l + 1, undo);
            }
            self.copy_pairs(at + 1, self, at, len - at - 1);
            self.copy_edges(at + 2, self, at + 1, len - at - 1);
            self.set_len(len - 1);
            self.correct(at + 1, undo);
            right
        }
    }

    /// Moves `count` pairs from the node before pair `at` of this one through it to the node behind.
    pub(super) unsafe fn shift_right(self, at: usize, count: usize, undo: &mut Undo) {
        // SAFETY: the caller's duty; the caller has seen that there are so many, and room for them.
        unsafe {
            let (left, right) = (self.edge(at), self.edge(at + 1));
            let (l, r) = (left.len(), right.len());
            self.note_shift(at, undo);
            right.copy_pairs(0, right, count, r);
            self.copy_pairs(at, right, count - 1, 1);
            left.copy_pairs(l - count + 1, right, 0, count - 1);
            left.copy_pairs(l - count, self, at, 1);
            if left.height() > 0 {
                right.copy_edges(0, right, count, r + 1);
                left.copy_edges(l - count + 1, right, 0, count);
            }
            left.set_len(l - count);
            right.set_len(r + count);
            right.correct(0, undo);
        }
    }

    /// Moves `count` pairs from the node behind pair `at` of this one through it to the node before.
    pub(super) unsafe fn shift_left(self, at: usize, count: usize, undo: &mut Undo) {
        // SAFETY: the caller's duty; the caller has seen that there are so many, and room for them.
        unsafe {
            let (left, right) = (self.edge(at), self.edge(at + 1));
            let (l, r) = (left.len(), right.len());
            self.note_shift(at, undo);
            self.copy_pairs(at, left, l, 1);
            right.copy_pairs(0, left, l + 1, count - 1);
            right.copy_pairs(count - 1, self, at, 1);
            right.copy_pairs(count, right, 0, r - count);
            if left.height() > 0 {
                right.copy_edges(0, left, l + 1, count);
                right.copy_edges(count, right, 0, r - count + 1);
            }
            left.set_len(l + count);
            right.set_len(r - count);
            left.correct(l + 1, undo);
            right.correct(0, undo);
        }
    }

    /// Writes down what a shift over pair `at` writes over.
    unsafe fn note_shift(self, at: usize, undo: &mut Undo) {
        // SAFETY: the caller's duty.
        unsafe {
            let (left, right) = (self.edge(at), self.edge(at + 1));
            self.note_pairs(at, 1, undo);
            undo.note([left.head_place()]);
            right.note_from(0, undo);
            right.note_edges(0, undo);
        }
    }

    unsafe fn copy_pairs(self, from: usize, target: Self, to: usize, count: usize) {
        // SAFETY: the caller's duty.
        unsafe {
            ptr::copy(self.key(from), target.key(to), count);
            ptr::copy(self.value(from), target.value(to), count);
        }
    }

    unsafe fn copy_edges(self, from: usize, target: Self, to: usize, count: usize) {
        // SAFETY: the caller's duty.
        unsafe { ptr::copy(self.edge_place(from), target.edge_place(to), count) };
    }

    /// Tells the nodes below, from edge `from` on, where they hang; a leaf has none.
    unsafe fn correct(self, from: usize, undo: &mut Undo) {
        // SAFETY: the caller's duty.
        unsafe {
            if self.height() > 0 {
                (from..=self.len()).for_each(|index| self.edge(index).hang(self, index, undo));
            }
        }
    }
}

/// Nodes that an insertion will need, allocated before it changes anything; those it did not use are given back.
pub(super) struct Spares<K, V> {
    /// The next one; each names the one after it as its parent.
    first: Node<K, V>,
    last: Node<K, V>,
}

impl<K, V> Spares<K, V> {
    pub(super) fn new() -> Self {
        Self { first: Node::NULL, last: Node::NULL }
    }

    /// Allocates one more.
    pub(super) fn add(&mut self, height: usize) -> Result<(), AllocError> {
        let node = Node::allocate(height)?;
        if self.first.is_null() {
            self.first = node;
        } else {
            // SAFETY: spare nodes are there, and ours alone.
            unsafe { self.last.set_parent(node, 0) };
        }
        self.last = node;
        Ok(())
    }

    /// Takes the one that was added first.
    pub(super) fn take(&mut self) -> Node<K, V> {
        let node = self.first;
        assert!(!node.is_null(), "a split was foreseen");
        // SAFETY: spare nodes are there, and ours alone.
        unsafe {
            self.first = node.parent().map_or(Node::NULL, |(next, _)| next);
            node.set_parent(Node::NULL, 0);
        }
        node
    }
}

impl<K, V> Drop for Spares<K, V> {
    fn drop(&mut self) {
        while !self.first.is_null() {
            let node = self.take();
            // SAFETY: nobody else knows of it.
            unsafe { node.free() };
        }
    }
}
