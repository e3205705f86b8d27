//! Gives back all that a value owns, by its description alone: what is left of a root once its successor stands.
//!
//! ```text
//! value --heads of what it owns--> due: contents of a block, and what becomes of the block when the last of their heads was read
//! ```
//!
//! # Invariants
//!
//! - *level*: calls go no deeper than types within types; a list of a million boxes is a million steps and one entry.
//! - *shared*: a value that several own goes with the last of them.
#![expect(unsafe_code, reason = "follows the pointers of types that this program may not have")]

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::AcqRel};

use super::collection::{Buckets, Counted, NODE_HEIGHT, NODE_LEN, address as word, is_done, is_full, words};
use super::plan::Pairs;
use super::shape::{PLAIN, Shape, Shapes};
use crate::alloc;

/// Gives back what the value at `at` owns, not the value itself. Returns how many blocks that were.
///
/// # Safety
///
/// - A value of the type lies at `at`, and nobody uses it or what it owns any more.
/// - It owns what it reaches: nobody else frees it, but for what its counts say.
pub(crate) unsafe fn release(shapes: &Shapes, at: *const u8) -> u64 {
    let mut walk = Walk { shapes, due: Vec::new(), nr: 0 };
    // SAFETY: passed on; what is due was found in such a value.
    unsafe {
        walk.node(shapes.root, at);
        while let Some(due) = walk.due.last_mut() {
            let (values, after) = due.next();
            if after.is_some() {
                walk.due.pop();
            }
            for (id, at) in values {
                walk.node(id, at);
            }
            if let Some(after) = after {
                walk.end(after);
            }
        }
    }
    walk.nr
}

struct Walk<'a> {
    shapes: &'a Shapes,
    due: Vec<Due>,
    nr: u64,
}

/// Values in a block that are to be looked at.
enum Due {
    Row {
        id: usize,
        at: *const u8,
        stride: usize,
        left: usize,
        after: After,
    },
    Table {
        buckets: Buckets,
        key: usize,
        value: usize,
        control: *const u8,
        next: usize,
        nr: usize,
        after: After,
    },
}

/// What becomes of a block whose values were looked at.
#[derive(Clone, Copy)]
enum After {
    Nothing,
    Free(*const u8, Layout),
    /// It goes when nobody names it any more.
    GiveUp(*const u8, Counted),
}

/// One strong pointer, one weak one.
const STRONG: u64 = 1;
const WEAK: u64 = 1 << 32;

/// # Safety
///
/// For all of these: as for [`release`], for the types of the step.
impl Walk<'_> {
    unsafe fn node(&mut self, id: usize, at: *const u8) {
        if id == PLAIN {
            return;
        }
        let shapes = self.shapes;
        // SAFETY: the offsets come from the description of what lies at `at`, by the caller's promise.
        unsafe {
            match &shapes.nodes[id] {
                Shape::Plain | Shape::Secret { .. } => {}
                Shape::Parts(parts) => {
                    parts.iter().for_each(|&(offset, part)| self.node(part, at.add(offset)));
                }
                Shape::Cases(tag, cases) => {
                    let mut found = [0; 16];
                    at.copy_to_nonoverlapping(found.as_mut_ptr(), *tag);
                    let is_it = |case: &&(i128, Vec<_>)| case.0.to_le_bytes()[..*tag] == found[..*tag];
                    if let Some((_, parts)) = cases.iter().find(is_it) {
                        parts.iter().for_each(|&(offset, part)| self.node(part, at.add(offset)));
                    }
                }
                Shape::Array { len, stride, elem } => {
                    (0..*len).for_each(|index| self.node(*elem, at.add(index * stride)));
                }
                Shape::Text(form) => {
                    if let Some((start, layout)) = form.block(words(at, form.words())) {
                        self.end(After::Free(std::ptr::with_exposed_provenance(start as usize), layout));
                    }
                }
                Shape::Sequence { row, stride, align, elem } => {
                    let Some(head) = row.read(words(at, row.words()), *stride) else { return };
                    let start = std::ptr::with_exposed_provenance::<u8>(head.start as usize);
                    let after = match Layout::from_size_align(head.capacity * stride, *align) {
                        Ok(layout) => After::Free(start, layout),
                        Err(_) => After::Nothing,
                    };
                    // Of a ring the values come in two parts; the block goes with the one that is looked at last.
                    let first =
                        if *stride == 0 { head.len } else { head.len.min(head.capacity - head.first) };
                    self.row(*elem, start.add(head.first * stride), *stride, first, after);
                    self.row(*elem, start, *stride, head.len - first, After::Nothing);
                }
                Shape::Owned { size, align, value } => {
                    let start = std::ptr::with_exposed_provenance::<u8>(word(at) as usize);
                    let layout = Layout::from_size_align(*size, *align);
                    let after = layout.map_or(After::Nothing, |layout| After::Free(start, layout));
                    self.row(*value, start, 0, 1, after);
                }
                Shape::Shared { owns, counted, value } => {
                    let address = word(at) as usize;
                    if address != counted.align {
                        self.shared(*owns, *counted, *value, address);
                    }
                }
                Shape::Map { buckets, key, value } => {
                    let [control, mask, len, ..] = words(at, 3).map(|word| word as usize);
                    if mask != 0
                        && let Some((layout, control_at)) = buckets.block(mask + 1)
                    {
                        let control = std::ptr::with_exposed_provenance::<u8>(control);
                        let after = After::Free(control.sub(control_at), layout);
                        self.table(*buckets, (*key, *value), control, mask + 1, len, after);
                    }
                }
                Shape::Tree { pairs, key, value } => {
                    let root = word(at);
                    if root != 0 {
                        self.tree(pairs, (*key, *value), std::ptr::with_exposed_provenance(root as usize));
                    }
                }
                Shape::Late { at: offset, value } => {
                    if is_done(at.cast::<u32>().read()) {
                        self.node(*value, at.add(*offset));
                    }
                }
                Shape::Niche { size, value } => {
                    if (0..*size).any(|offset| at.add(offset).read() != 0) {
                        self.node(*value, at);
                    }
                }
            }
        }
    }

    unsafe fn row(&mut self, id: usize, at: *const u8, stride: usize, left: usize, after: After) {
        if id != PLAIN && left > 0 {
            self.due.push(Due::Row { id, at, stride, left, after });
        } else {
            // SAFETY: passed on.
            unsafe { self.end(after) };
        }
    }

    unsafe fn table(
        &mut self,
        buckets: Buckets,
        (key, value): (usize, usize),
        control: *const u8,
        nr: usize,
        len: usize,
        after: After,
    ) {
        let is_plain = key == PLAIN && value == PLAIN;
        // SAFETY: so many control bytes lie there. Where nothing is counted, full ones promise nothing.
        let first = (0..nr).find(|&bucket| unsafe { is_full(control.add(bucket).read()) });
        match first.filter(|_| len > 0 && !is_plain) {
            Some(next) => self.due.push(Due::Table { buckets, key, value, control, next, nr, after }),
            // SAFETY: passed on.
            None => unsafe { self.end(after) },
        }
    }

    /// The nodes of a tree, which is as low as the number of its pairs allows.
    unsafe fn tree(&mut self, pairs: &Pairs, (key, value): (usize, usize), node: *const u8) {
        // SAFETY: a node lies there, with so many pairs, and below it what its edges name.
        unsafe {
            let shape = &pairs.shape;
            let len = usize::from(node.add(NODE_LEN).cast::<u16>().read());
            let is_leaf = node.add(NODE_HEIGHT).cast::<u16>().read() == 0;
            for nr in (0..=len).filter(|_| !is_leaf) {
                let edge = word(node.add(shape.edges + 8 * nr)) as usize;
                self.tree(pairs, (key, value), std::ptr::with_exposed_provenance(edge));
            }
            for nr in 0..len {
                self.node(key, node.add(shape.keys + nr * pairs.key));
                self.node(value, node.add(shape.values + nr * pairs.value));
            }
            let bytes = if is_leaf { shape.leaf_bytes } else { shape.inner_bytes };
            if let Ok(layout) = Layout::from_size_align(bytes, shape.align) {
                self.end(After::Free(node, layout));
            }
        }
    }

    unsafe fn shared(&mut self, owns: bool, counted: Counted, value: usize, address: usize) {
        let block = std::ptr::with_exposed_provenance::<u8>(address);
        if !owns {
            // SAFETY: passed on.
            return unsafe { self.end(After::GiveUp(block, counted)) };
        }
        // SAFETY: this pointer was counted until now, so the block is there; the last one looks at the value.
        unsafe {
            let before = (*block.cast::<AtomicU64>()).fetch_sub(STRONG, AcqRel);
            if before as u32 == 1 {
                self.row(value, block.add(counted.value_at), 0, 1, After::GiveUp(block, counted));
            }
        }
    }

    unsafe fn end(&mut self, after: After) {
        let (start, layout) = match after {
            After::Nothing => return,
            After::Free(start, layout) => (start, Some(layout)),
            After::GiveUp(block, counted) => {
                // SAFETY: the pointer that is given up was counted until now.
                let before = unsafe { (*block.cast::<AtomicU64>()).fetch_sub(WEAK, AcqRel) };
                (block, counted.layout().filter(|_| before < 2 * WEAK))
            }
        };
        if let (Some(start), Some(layout)) = (NonNull::new(start.cast_mut()), layout)
            && layout.size() > 0
        {
            // SAFETY: the block is one of this heap's, of this layout, and nobody's any more.
            unsafe { alloc::deallocate(start, layout) };
            self.nr += 1;
        }
    }
}

impl Due {
    /// The next value, or key and value, and behind the last one what becomes of the block.
    ///
    /// # Safety
    ///
    /// The block is there, with as many values as it was said to have.
    unsafe fn next(&mut self) -> ([(usize, *const u8); 2], Option<After>) {
        // SAFETY: by the caller; the end of a row is not passed.
        unsafe {
            match self {
                Self::Row { id, at, stride, left, after } => {
                    let value = (*id, *at);
                    *left -= 1;
                    if *left > 0 {
                        *at = at.add(*stride);
                    }
                    ([value, (PLAIN, *at)], (*left == 0).then_some(*after))
                }
                Self::Table { buckets, key, value, control, next, nr, after } => {
                    let pair = control.sub((*next + 1) * buckets.stride);
                    *next += 1;
                    while *next < *nr && !is_full(control.add(*next).read()) {
                        *next += 1;
                    }
                    let values = [(*key, pair), (*value, pair.add(buckets.value_at))];
                    (values, (*next == *nr).then_some(*after))
                }
            }
        }
    }
}
