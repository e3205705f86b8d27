//! The conversion: a plan is carried out, from objects that stay as they are into new ones.
//!
//! ```text
//! old object --Fields--> new object          blocks that are made are noted, and values that the program's code has made:
//!   | Vec --Sequence-->    | a new block     a conversion that fails gives all of it back
//!   | ..
//! ```
//!
//! The old objects are only read: as long as nothing refers to the new ones, nothing has happened. That is why a text is copied
//! and not taken along: what both reached, one of them would change or free.
//!
//! # Invariants
//!
//! - *whole*: no byte of the old objects is written.
//! - *undone*: after an error nothing of what was made is left.
#![expect(unsafe_code, reason = "reads and writes objects of types that this program may not have")]

use std::alloc::Layout;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use heirloom_abi::types::{DropFn, Hook};

use super::collection::{control_bytes, is_full, text_block};
use super::number;
use super::plan::{Between, Case, Fill, Move, Node, NodeId, Plan, With};
use crate::alloc::{self, AllocError};

/// Why a conversion was given up. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The heap has no room for what would be made beside what is there.
    #[error("no room for the new objects beside the old ones: {0}")]
    NoRoom(#[from] AllocError),
    /// A number is larger than the narrower type can hold.
    #[error("{path}a value does not fit in the narrower type")]
    Narrow {
        /// The way to it.
        path: String,
    },
    /// A value is of a variant that the other type does not have.
    #[error("{path}: a value is of variant `{variant}`, which the other type does not have")]
    Variant {
        /// The way to it.
        path: String,
        /// The name.
        variant: String,
    },
    /// A value is of no variant at all.
    #[error("{path}: a value has the tag {found}, which is no variant's")]
    Tag {
        /// The way to it.
        path: String,
        /// What stands there.
        found: i128,
    },
    /// The program's own code has panicked.
    #[error("the program's own conversion panicked: {message}")]
    Panicked {
        /// With what.
        message: String,
    },
    /// Values own values own values, without end for this walk.
    #[error(
        "values lie within values more than {DEEPEST} levels deep: make them anew in a `from` of a type around them"
    )]
    TooDeep,
    /// The objects do not have the shape that their description says.
    #[error("an object has not the shape that its description says")]
    Shape,
}

/// Carries out a plan.
pub(crate) struct Conversion<'a> {
    plan: &'a Plan,
    hooks: &'a [Option<Hook>],
    made: Vec<Made>,
    nr: u64,
    depth: usize,
    /// Called with the number of values so far, now and then.
    progress: &'a mut dyn FnMut(u64),
}

enum Made {
    Block(NonNull<u8>, Layout),
    Value(*mut u8, DropFn),
}

/// The walk goes down one level of calls for each level of values. A list that is longer would end its stack.
const DEEPEST: usize = 2000;

/// How many values lie between two calls for progress.
const STRIDE: u64 = 16 * 1024;

impl<'a> Conversion<'a> {
    pub(crate) fn new(plan: &'a Plan, hooks: &'a [Option<Hook>], progress: &'a mut dyn FnMut(u64)) -> Self {
        Self { plan, hooks, made: Vec::new(), nr: 0, depth: 0, progress }
    }

    /// Makes a value at `to` from the one at `from`, and returns how many values that were.
    ///
    /// # Safety
    ///
    /// - A value of the plan's old type lies at `from`, and nobody changes what it reaches.
    /// - `to` is valid for writing a value of its new type, and all zeroes.
    /// - The hooks are those of the form with rules from which the plan was made.
    pub(crate) unsafe fn run(mut self, from: *const u8, to: *mut u8) -> Result<u64, ConvertError> {
        // SAFETY: passed on.
        let done = unsafe { self.node(self.plan.root, from, to) };
        if done.is_err() {
            self.undo();
        }
        done.map(|()| self.nr)
    }

    fn undo(&mut self) {
        while let Some(made) = self.made.pop() {
            // SAFETY: it was made by this conversion, which failed: nobody has it. Values come after the block they lie in.
            unsafe {
                match made {
                    Made::Block(block, layout) => alloc::deallocate(block, layout),
                    Made::Value(at, drop) => {
                        let _ = catch_unwind(|| drop(at));
                    }
                }
            }
        }
    }

    fn block(&mut self, layout: Layout) -> Result<*mut u8, ConvertError> {
        // Zeroed: what lies between fields and behind the last element is nobody's business.
        let block = alloc::allocate_zeroed(layout)?;
        self.made.push(Made::Block(block, layout));
        Ok(block.as_ptr())
    }

    fn count(&mut self, nr: u64) {
        let before = self.nr / STRIDE;
        self.nr += nr;
        if self.nr / STRIDE != before {
            (self.progress)(self.nr);
        }
    }

    /// # Safety
    ///
    /// As for [`Conversion::run`], for the types of this node.
    unsafe fn node(&mut self, id: NodeId, from: *const u8, to: *mut u8) -> Result<(), ConvertError> {
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
                Node::Fields(moves, fills) => self.fields(moves, fills, from, to)?,
                Node::Cases { from_tag, to_tag, cases, path } => {
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
                Node::Text => {
                    let mut text = from.cast::<[u64; 3]>().read();
                    if let Some(layout) = text_block(text) {
                        let block = self.block(layout)?;
                        let start = std::ptr::with_exposed_provenance::<u8>(text[0] as usize);
                        block.copy_from_nonoverlapping(start, (text[1] as usize).min(layout.size()));
                        text[0] = block.expose_provenance() as u64;
                    }
                    to.cast::<[u64; 3]>().write(text);
                }
                Node::Sequence { from: stride, to: wanted, elem } => {
                    let [start, _capacity, len] = from.cast::<[u64; 3]>().read();
                    let len = usize::try_from(len).map_err(|_| ConvertError::Shape)?;
                    // An address of nothing, aligned: what an empty vector has.
                    let (mut block, mut capacity) = (std::ptr::without_provenance_mut(wanted.align), 0);
                    let bytes = wanted.bytes.checked_mul(len).ok_or(ConvertError::Shape)?;
                    if bytes > 0 {
                        let exact =
                            Layout::from_size_align(bytes, wanted.align).map_err(|_| ConvertError::Shape)?;
                        capacity = alloc::usable_size(exact) / wanted.bytes;
                        let layout = Layout::from_size_align(capacity * wanted.bytes, wanted.align);
                        block = self.block(layout.map_err(|_| ConvertError::Shape)?)?;
                    }
                    let start = std::ptr::with_exposed_provenance::<u8>(start as usize);
                    if let Node::Copy(of) = &plan.nodes[*elem]
                        && *of == stride.bytes
                        && stride.bytes == wanted.bytes
                    {
                        block.copy_from_nonoverlapping(start, bytes);
                    } else {
                        for nr in 0..len {
                            self.node(*elem, start.add(nr * stride.bytes), block.add(nr * wanted.bytes))?;
                        }
                        self.count(len as u64);
                    }
                    let start = block.expose_provenance() as u64;
                    to.cast::<[u64; 3]>().write([start, capacity as u64, len as u64]);
                }
                Node::Owned { size, align, value } => {
                    let start = std::ptr::with_exposed_provenance::<u8>(from.cast::<u64>().read() as usize);
                    let layout = Layout::from_size_align(*size, *align).map_err(|_| ConvertError::Shape)?;
                    let block = match layout.size() {
                        0 => std::ptr::without_provenance_mut(*align),
                        _ => self.block(layout)?,
                    };
                    self.depth += 1;
                    if self.depth > DEEPEST {
                        return Err(ConvertError::TooDeep);
                    }
                    self.node(*value, start, block)?;
                    self.depth -= 1;
                    self.count(1);
                    to.cast::<u64>().write(block.expose_provenance() as u64);
                }
                Node::Map { from: old, to: new, key, value, keys_stay } => {
                    to.copy_from_nonoverlapping(from, MAP_BYTES);
                    if !keys_stay {
                        // What a key feeds to the hash may be another now: the map is to find out, and to rebuild itself.
                        to.add(MAP_PROBED).cast::<u32>().write(u32::MAX);
                    }
                    let [control, mask] = from.cast::<[u64; 2]>().read();
                    if mask == 0 {
                        return Ok(());
                    }
                    let buckets = usize::try_from(mask).ok().and_then(|mask| mask.checked_add(1));
                    let buckets = buckets.ok_or(ConvertError::Shape)?;
                    let (layout, control_at) = new.block(buckets).ok_or(ConvertError::Shape)?;
                    let place = self.block(layout)?.add(control_at);
                    let control = std::ptr::with_exposed_provenance::<u8>(control as usize);
                    place.copy_from_nonoverlapping(control, control_bytes(buckets));
                    let mut nr = 0;
                    for bucket in 0..buckets {
                        if !is_full(control.add(bucket).read()) {
                            continue;
                        }
                        let source = control.sub((bucket + 1) * old.stride);
                        let target = place.sub((bucket + 1) * new.stride);
                        self.node(*key, source, target)?;
                        self.node(*value, source.add(old.value_at), target.add(new.value_at))?;
                        nr += 1;
                        if nr == STRIDE {
                            self.count(std::mem::take(&mut nr));
                        }
                    }
                    self.count(nr);
                    to.cast::<u64>().write(place.expose_provenance() as u64);
                }
                Node::Lock { head, from: source, to: target, value } => {
                    to.copy_from_nonoverlapping(from, *head);
                    self.node(*value, from.add(*source), to.add(*target))?;
                }
                Node::Niche { size, value } => {
                    let is_none = (0..*size).all(|at| from.add(at).read() == 0);
                    match is_none {
                        true => to.write_bytes(0, self.niche_bytes(*value, *size)),
                        false => self.node(*value, from, to)?,
                    }
                }
                Node::Custom { hook, before, after } => self.custom(*hook, before, after, from, to)?,
            }
        }
        Ok(())
    }

    /// What is all zeroes for `None`: a box is as large as any box, and all else that has a niche is copied.
    fn niche_bytes(&self, value: NodeId, size: usize) -> usize {
        match &self.plan.nodes[value] {
            Node::Owned { .. } => 8,
            Node::Number { to, .. } => to.bytes(),
            _ => size,
        }
    }

    /// # Safety
    ///
    /// As for [`Conversion::run`], for the types that these are fields of.
    unsafe fn fields(
        &mut self,
        moves: &[Move],
        fills: &[Fill],
        from: *const u8,
        to: *mut u8,
    ) -> Result<(), ConvertError> {
        // SAFETY: passed on.
        unsafe {
            for field in moves {
                self.node(field.node, from.add(field.from), to.add(field.to))?;
            }
            for fill in fills {
                let at = to.add(fill.to);
                match &fill.with {
                    With::Hook(hook) => {
                        let Some(Hook::Default(write, drop)) = self.hook(*hook) else {
                            return Err(ConvertError::Shape);
                        };
                        caught(|| write(at))?;
                        self.made.push(Made::Value(at, drop));
                    }
                    // The rest is zero already, as every block is.
                    With::Bytes(bytes) => {
                        for (offset, bytes) in bytes {
                            at.add(*offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                        }
                    }
                }
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

    /// # Safety
    ///
    /// As for [`Conversion::run`], for the types that this leads from and to.
    unsafe fn custom(
        &mut self,
        hook: u16,
        before: &Option<Between>,
        after: &Option<Between>,
        from: *const u8,
        to: *mut u8,
    ) -> Result<(), ConvertError> {
        let Some(Hook::Convert { convert, drop_made, drop_other }) = self.hook(hook) else {
            return Err(ConvertError::Shape);
        };
        // SAFETY: the hook belongs to the form, and leads from one of these types to the other; the rest is passed on.
        unsafe {
            match (before, after) {
                (None, None) => {
                    caught(|| convert(from, to))?;
                    self.made.push(Made::Value(to, drop_made));
                }
                (Some(between), _) => {
                    // What it is made of is its own, and goes with it; so it is not ours to give back any more.
                    let place = Place::new(between)?;
                    let mark = self.made.len();
                    self.node(between.node, from, place.at)?;
                    self.made.truncate(mark);
                    let done = caught(|| convert(place.at, to));
                    let dropped = caught(|| drop_other(place.at));
                    done?;
                    self.made.push(Made::Value(to, drop_made));
                    dropped?;
                }
                (None, Some(between)) => {
                    let place = Place::new(between)?;
                    caught(|| convert(from, place.at))?;
                    let done = self.node(between.node, place.at, to);
                    let dropped = caught(|| drop_made(place.at));
                    done?;
                    dropped?;
                }
            }
        }
        Ok(())
    }

    fn hook(&self, hook: u16) -> Option<Hook> {
        self.hooks.get(usize::from(hook)).copied().flatten()
    }
}

/// The head of a map, and where in it the generation stands in which its order was last proven.
const MAP_BYTES: usize = 56;
const MAP_PROBED: usize = 48;

/// Room outside the heap for a value on the way.
struct Place {
    at: *mut u8,
    layout: Layout,
}

impl Place {
    fn new(between: &Between) -> Result<Self, ConvertError> {
        let layout = Layout::from_size_align(between.size.max(1), between.align);
        let layout = layout.map_err(|_| ConvertError::Shape)?;
        // SAFETY: the size is not zero.
        let at = unsafe { std::alloc::alloc_zeroed(layout) };
        if at.is_null() {
            return Err(AllocError { size_bytes: layout.size() }.into());
        }
        Ok(Self { at, layout })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`.
        unsafe { std::alloc::dealloc(self.at, self.layout) };
    }
}

/// Runs the program's code, whose panic is an error.
fn caught<T>(run: impl FnOnce() -> T) -> Result<T, ConvertError> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = text.or_else(|| panic.downcast_ref::<String>().cloned());
        ConvertError::Panicked { message: message.unwrap_or_else(|| "without a word".to_owned()) }
    })
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
