//! The tree as one would first write it down: pointers from node to node, no check of anything, and the same behind a lock.
//!
//! It marks what is marked, and unmarks what is not, without a word; a wild address in it is followed. The distance of
//! `RadixMap` from it is the price of the checks.
#![expect(unsafe_code, reason = "a tree of raw pointers is the point of comparison")]

use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use heirloom_abi::kho::radix::{Frame, LEVELS, NODE_WORDS, PAGE_BYTES};

use super::contestant::{Contestant, Op};
use super::memory::Memory;
use super::pattern::Frames;

/// A node: pointers to children, or the bits of a leaf, by its level.
#[repr(C)]
union Node {
    children: [Option<NonNull<Node>>; NODE_WORDS],
    bits: [u64; NODE_WORDS],
}

const _: () = assert!(size_of::<Node>() as u64 == PAGE_BYTES);

/// # Invariants
///
/// `root` and every child of a node above the leaves is a page of `memory` below `nr_used`, all its words written.
pub(super) struct Sketch {
    memory: Memory,
    first: NonNull<Node>,
    nr_used: usize,
    root: NonNull<Node>,
}

impl Sketch {
    pub(super) fn new(nr_pages: usize, huge_pages: bool) -> Self {
        let mut memory = Memory::new(nr_pages, huge_pages);
        let first = NonNull::from(memory.pages()).cast::<Node>();
        let mut tree = Self { memory, first, nr_used: 0, root: first };
        tree.reset_tree();
        tree
    }

    fn reset_tree(&mut self) {
        // The pointers of the new tree come from this borrow; nothing else uses the memory while they are in use.
        self.first = NonNull::from(self.memory.pages()).cast::<Node>();
        self.nr_used = 0;
        self.root = self.allocate();
    }

    fn allocate(&mut self) -> NonNull<Node> {
        // SAFETY: the memory has as many pages as a tree over its frames can need; writing zeros makes a node of it.
        unsafe {
            let node = self.first.add(self.nr_used);
            node.write_bytes(0, 1);
            self.nr_used += 1;
            node
        }
    }

    #[inline]
    fn mark(&mut self, pfn: u64, order: u32) {
        let key = key(pfn, order);
        let mut node = self.root;
        for level in (1..LEVELS).rev() {
            // SAFETY: by the type invariant `node` is a node above the leaves.
            let child = unsafe { (*node.as_ptr()).children[index(key, level)] };
            node = child.unwrap_or_else(|| {
                let new = self.allocate();
                // SAFETY: as above, and `new` is a node.
                unsafe { (*node.as_ptr()).children[index(key, level)] = Some(new) };
                new
            });
        }
        // SAFETY: by the type invariant `node` is a leaf.
        unsafe { (*node.as_ptr()).bits[index(key, 0)] |= 1 << (key % 64) };
    }

    #[inline]
    fn unmark(&mut self, pfn: u64, order: u32) {
        let key = key(pfn, order);
        if let Some(leaf) = self.leaf(key) {
            // SAFETY: `leaf` found a leaf.
            unsafe { (*leaf.as_ptr()).bits[index(key, 0)] &= !(1 << (key % 64)) };
        }
    }

    #[inline]
    fn contains(&self, pfn: u64, order: u32) -> bool {
        let key = key(pfn, order);
        // SAFETY: `leaf` found a leaf.
        self.leaf(key).is_some_and(|leaf| unsafe { leaf.as_ref().bits[index(key, 0)] } & 1 << (key % 64) != 0)
    }

    #[inline]
    fn leaf(&self, key: u64) -> Option<NonNull<Node>> {
        let mut node = self.root;
        for level in (1..LEVELS).rev() {
            // SAFETY: by the type invariant `node` is a node above the leaves.
            node = unsafe { node.as_ref().children[index(key, level)] }?;
        }
        Some(node)
    }

    fn walk(&self, visit: &mut impl FnMut(u64, u32)) {
        // SAFETY: the root is of the highest level.
        unsafe { walk(self.root, LEVELS - 1, 0, visit) }
    }
}

/// # Safety
///
/// - `node` is a node of `level`, by the invariant of [`Sketch`].
unsafe fn walk(node: NonNull<Node>, level: usize, prefix: u64, visit: &mut impl FnMut(u64, u32)) {
    for index in 0..NODE_WORDS {
        let key = prefix | (index as u64) << shift(level);
        if level > 0 {
            // SAFETY: a node above the leaves holds children, and a child is of the level below.
            unsafe {
                if let Some(child) = node.as_ref().children[index] {
                    walk(child, level - 1, key, visit);
                }
            }
            continue;
        }
        // SAFETY: a leaf holds bits.
        let mut bits = unsafe { node.as_ref().bits[index] };
        while bits != 0 {
            let key = key | u64::from(bits.trailing_zeros());
            bits &= bits - 1;
            let order = key.leading_zeros() - 11;
            visit(key ^ 1 << (52 - order), order);
        }
    }
}

#[inline]
fn key(pfn: u64, order: u32) -> u64 {
    // One shift of both the order bit and the page: two would make each key wait for the last.
    (1 << 52 | pfn) >> order
}

#[inline]
fn shift(level: usize) -> u32 {
    6 + 9 * level as u32
}

#[inline]
fn index(key: u64, level: usize) -> usize {
    (key >> shift(level)) as usize % NODE_WORDS
}

/// Page and order of a frame.
#[inline]
fn pfn(frame: Frame) -> (u64, u32) {
    (frame.phys() / PAGE_BYTES, frame.order().get())
}

impl Contestant for Sketch {
    fn name(&self) -> &'static str {
        "sketch"
    }

    fn reset(&mut self) {
        self.reset_tree();
    }

    fn run(&mut self, op: Op, frames: &Frames) -> Option<u64> {
        let frames = frames.each().iter().map(|&frame| pfn(frame));
        let nr = frames.len() as u64;
        Some(match op {
            Op::Mark => {
                frames.for_each(|(pfn, order)| self.mark(pfn, order));
                nr
            }
            Op::Lookup => frames.map(|(pfn, order)| u64::from(self.contains(pfn, order))).sum(),
            Op::Walk => walk_all(self),
            Op::Unmark => {
                frames.for_each(|(pfn, order)| self.unmark(pfn, order));
                nr
            }
            _ => return None,
        })
    }

    fn metadata_bytes(&self) -> u64 {
        self.nr_used as u64 * PAGE_BYTES
    }
}

fn walk_all(tree: &Sketch) -> u64 {
    let (mut nr_frames, mut sum) = (0, 0);
    tree.walk(&mut |pfn, order| {
        nr_frames += 1;
        sum ^= pfn << order;
    });
    black_box(sum);
    nr_frames
}

/// The sketch behind a lock that nobody else wants.
pub(super) struct Locked {
    tree: Mutex<Sketch>,
}

impl Locked {
    pub(super) fn new(tree: Sketch) -> Self {
        Self { tree: Mutex::new(tree) }
    }

    #[inline]
    fn lock(&self) -> std::sync::MutexGuard<'_, Sketch> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contestant for Locked {
    fn name(&self) -> &'static str {
        "sketch+lock"
    }

    fn reset(&mut self) {
        self.lock().reset_tree();
    }

    fn run(&mut self, op: Op, frames: &Frames) -> Option<u64> {
        let frames = frames.each().iter().map(|&frame| pfn(frame));
        let nr = frames.len() as u64;
        Some(match op {
            Op::Mark => {
                frames.for_each(|(pfn, order)| self.lock().mark(pfn, order));
                nr
            }
            Op::Lookup => frames.map(|(pfn, order)| u64::from(self.lock().contains(pfn, order))).sum(),
            Op::Walk => walk_all(&self.lock()),
            Op::Unmark => {
                frames.for_each(|(pfn, order)| self.lock().unmark(pfn, order));
                nr
            }
            _ => return None,
        })
    }

    fn metadata_bytes(&self) -> u64 {
        self.lock().metadata_bytes()
    }
}
