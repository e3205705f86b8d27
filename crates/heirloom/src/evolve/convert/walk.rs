//! The walk of a conversion: a step for what lies in one place, and a list of the blocks whose contents are still to be made.
//!
//! ```text
//! node: fields, variants, arrays ..  in place, by calls: as deep as a description is
//!       a pointer to a block         a new block, its address written, its contents due --> later
//! ```
//!
//! # Invariants
//!
//! - *level*: calls go no deeper than types within types; a list of a million boxes is a million steps and one entry.
//! - *at once*: the head of a collection is complete when its step is done; nobody moves it afterwards.
#![expect(unsafe_code, reason = "reads and writes objects of types that this program may not have")]

use std::ptr::NonNull;

use heirloom_abi::types::Hook;

use super::{Conversion, ConvertError};
use crate::evolve::collection::{Buckets, is_done, is_full};
use crate::evolve::number;
use crate::evolve::plan::{Case, Node, NodeId, Plan};

/// One plan that is carried out.
pub(super) struct Walk<'a> {
    pub(super) conversion: &'a mut Conversion,
    pub(super) plan: &'a Plan,
    hooks: &'a [Option<Hook>],
    pub(super) due: Vec<Due>,
    /// Walks within walks.
    pub(super) depth: usize,
    /// Called with the number of values so far, now and then.
    progress: &'a mut dyn FnMut(u64),
}

/// Contents of a block that are to be made.
pub(super) enum Due {
    Row { node: NodeId, from: *const u8, stride: usize, to: *mut u8, wanted: usize, left: usize },
    Table(Table),
}

/// Buckets, from their control bytes: the pairs lie before them.
#[derive(Clone, Copy)]
pub(super) struct Table {
    pub(super) from: *const u8,
    pub(super) to: *mut u8,
    pub(super) old: Buckets,
    pub(super) new: Buckets,
    pub(super) key: NodeId,
    pub(super) value: NodeId,
    pub(super) next: usize,
    pub(super) buckets: usize,
}

/// How many values lie between two calls for progress.
const STRIDE: u64 = 16 * 1024;

impl<'a> Walk<'a> {
    pub(super) fn new(
        conversion: &'a mut Conversion,
        plan: &'a Plan,
        hooks: &'a [Option<Hook>],
        progress: &'a mut dyn FnMut(u64),
    ) -> Self {
        Self { conversion, plan, hooks, due: Vec::new(), depth: 0, progress }
    }

    /// Makes a value with all that it leads to.
    ///
    /// # Safety
    ///
    /// As for [`Conversion::run`], for the types of this node.
    pub(super) unsafe fn fully(
        &mut self,
        id: NodeId,
        from: *const u8,
        to: *mut u8,
    ) -> Result<(), ConvertError> {
        let outside = std::mem::take(&mut self.due);
        // SAFETY: passed on; what is due was found by steps of this plan.
        unsafe {
            self.node(id, from, to)?;
            while let Some(due) = self.due.last_mut() {
                let (steps, is_last) = due.next();
                if is_last {
                    self.due.pop();
                }
                for (node, from, to) in steps.into_iter().flatten() {
                    self.node(node, from, to)?;
                }
                self.count(1);
            }
        }
        self.due = outside;
        Ok(())
    }

    pub(super) fn count(&mut self, nr: u64) {
        let before = self.conversion.nr / STRIDE;
        self.conversion.nr += nr;
        if self.conversion.nr / STRIDE != before {
            (self.progress)(self.conversion.nr);
        }
    }

    pub(super) fn hook(&self, hook: u16) -> Option<Hook> {
        self.hooks.get(usize::from(hook)).copied().flatten()
    }

    /// # Safety
    ///
    /// As for [`Conversion::run`], for the types of this node.
    pub(super) unsafe fn node(
        &mut self,
        id: NodeId,
        from: *const u8,
        to: *mut u8,
    ) -> Result<(), ConvertError> {
        let plan = self.plan;
        // SAFETY: the plan was made from both descriptions, so its offsets lie in the values at `from` and `to`, and what they
        // lead to is as described; the rest is the caller's promise.
        unsafe {
            match &plan.nodes[id] {
                Node::Open => return Err(ConvertError::Shape),
                Node::Copy(bytes) => to.copy_from_nonoverlapping(from, *bytes),
                Node::Number { from: kind, to: wanted, path } => {
                    if !number::convert(from, *kind, to, *wanted) {
                        return Err(ConvertError::Narrow { path: path.clone() });
                    }
                }
                Node::Fields(moves, fills, _) => self.fields(moves, fills, from, to)?,
                Node::Cases { from_tag, to_tag, cases, path, .. } => {
                    let found = read_tag(from, *from_tag);
                    let case = cases.iter().find(|case| same_tag(case.from_value, found, *from_tag));
                    let case = case.ok_or_else(|| ConvertError::Tag { path: path.clone(), found })?;
                    self.case(case, *to_tag, path, from, to)?;
                }
                Node::Array { len, from: stride, to: wanted, elem } => {
                    for nr in 0..*len {
                        self.node(*elem, from.add(nr * stride), to.add(nr * wanted))?;
                    }
                }
                Node::Lock { head, from: source, to: target, value } => {
                    to.copy_from_nonoverlapping(from, *head);
                    self.node(*value, from.add(*source), to.add(*target))?;
                }
                Node::Late { from: source, to: target, value } => {
                    let word = from.cast::<u32>().read();
                    to.cast::<u32>().write(word);
                    if is_done(word) {
                        self.node(*value, from.add(*source), to.add(*target))?;
                    }
                }
                // `None` is an address of zeroes, and so is what lies at `to`.
                Node::Niche { size, value } => {
                    if (0..*size).any(|at| from.add(at).read() != 0) {
                        self.node(*value, from, to)?;
                    }
                }
                Node::Text { from: form, to: wanted } => self.text(*form, *wanted, from, to)?,
                Node::Sequence { row, from: old, to: new, elem } => {
                    self.sequence(*row, *old, *new, *elem, from, to)?;
                }
                Node::Owned { from: old, to: new, value } => self.owned(*old, *new, *value, from, to)?,
                Node::Shared { owns, from: old, to: new, value, identity, is_kept, path } => {
                    let found = self.shared(*owns, *old, *new, (*value, *identity, *is_kept), from, to)?;
                    if !found {
                        return Err(ConvertError::Shared { path: path.clone() });
                    }
                }
                Node::Map { head, from: old, to: new, key, value, keys_stay } => {
                    self.map(*head, (*old, *new), (*key, *value), *keys_stay, from, to)?;
                }
                Node::Tree { from: old, to: new, key, value } => {
                    self.tree((old, new), (*key, *value), from, to)?;
                }
                Node::Custom { hook, before, after } => self.custom(*hook, before, after, from, to)?,
            }
        }
        Ok(())
    }

    /// # Safety
    ///
    /// As for [`Conversion::run`], for the types that this is a variant of.
    unsafe fn case(
        &mut self,
        case: &Case,
        tag: usize,
        path: &str,
        from: *const u8,
        to: *mut u8,
    ) -> Result<(), ConvertError> {
        let Some(value) = case.to_value else {
            return Err(ConvertError::Variant { path: path.to_owned(), variant: case.name.clone() });
        };
        // SAFETY: the tag comes first in every enum; the rest is passed on.
        unsafe {
            to.copy_from_nonoverlapping(value.to_le_bytes().as_ptr(), tag);
            self.fields(&case.moves, &case.fills, from, to)
        }
    }

    pub(super) fn block(&mut self, layout: std::alloc::Layout) -> Result<NonNull<u8>, ConvertError> {
        self.conversion.block(layout)
    }
}

type Steps = [Option<(NodeId, *const u8, *mut u8)>; 2];

impl Due {
    /// The next value, in one or two parts, and whether it is the last.
    ///
    /// # Safety
    ///
    /// The block is there, with as many values as it was said to have.
    unsafe fn next(&mut self) -> (Steps, bool) {
        // SAFETY: by the caller; the end of a row is not passed.
        unsafe {
            match self {
                Self::Row { node, from, stride, to, wanted, left } => {
                    let step = (*node, *from, *to);
                    *left -= 1;
                    if *left > 0 {
                        (*from, *to) = (from.add(*stride), to.add(*wanted));
                    }
                    ([Some(step), None], *left == 0)
                }
                Self::Table(table) => {
                    let bucket = table.next;
                    table.next += 1;
                    while table.next < table.buckets && !is_full(table.from.add(table.next).read()) {
                        table.next += 1;
                    }
                    let source = table.from.sub((bucket + 1) * table.old.stride);
                    let target = table.to.sub((bucket + 1) * table.new.stride);
                    let value = (table.value, source.add(table.old.value_at), target.add(table.new.value_at));
                    ([Some((table.key, source, target)), Some(value)], table.next == table.buckets)
                }
            }
        }
    }
}

/// # Safety
///
/// So many bytes, at most 16, can be read.
unsafe fn read_tag(at: *const u8, bytes: usize) -> i128 {
    let mut tag = [0; 16];
    // SAFETY: by the caller.
    unsafe { at.copy_to_nonoverlapping(tag.as_mut_ptr(), bytes.min(16)) };
    i128::from_le_bytes(tag)
}

/// True if a tag of so many bytes is that of a variant, whose value may be negative.
fn same_tag(value: i128, found: i128, bytes: usize) -> bool {
    let unused = 128 - 8 * bytes.min(16) as u32;
    value << unused == found << unused
}
