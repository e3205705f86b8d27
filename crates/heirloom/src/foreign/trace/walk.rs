//! The walk: from the roots to all that they reach, block by block.
//!
//! ```text
//! root --value--> collection --decode--> block --reach, once--> frame on the stack --value--> ...
//! ```
//!
//! # Invariants
//!
//! - *once*: a block's contents are walked when it is first reached, so that no cycle is walked twice.
//! - *counted*: a value that several own has no more owners than it counts, and one that is counted is walked, be it that a weak
//!   pointer alone leads to it.
//! - *bounded*: the stack has at most one frame for each block, and a frame that is at its last value is gone before that value
//!   is looked at, so a list of any length takes one. Steps are counted: a type whose fields lie over each other costs its
//!   limit and no more.
//! - *distrust*: a value lies within its block, a block within a slot; anything else is noted and not followed.

use std::collections::{BTreeMap, BTreeSet};
use std::string::String;
use std::vec::Vec;

use heirloom_abi::pool::Memory;

use super::collections::{Block, Contents, Holding, Item, Table, Tree, Wrong, shape_of};
use super::ground::{Ground, Slot};
use super::pages::Pages;
use super::shapes::{Node, Parts, Shapes};
use crate::btree_map::shape::HEAD_BYTES;

/// A walk over one heap.
pub(super) struct Walk<'m, M: ?Sized> {
    pub(super) pages: Pages<'m, M>,
    pub(super) shapes: &'m Shapes,
    pub(super) ground: Ground,
    /// The address at which the heap's owner maps it.
    pub(super) base: u64,
    stack: Vec<Frame>,
    /// Blocks that a weak pointer names and nobody had reached: with the type of their value and its place within.
    weak: Vec<(u64, Node, u64)>,
    /// How many owners were seen of blocks that more than one may own, by the number of the slot.
    owners: BTreeMap<usize, u64>,
    steps_left: u64,
    pub(super) findings: Findings,
    /// What was reached, and through a collection of which type, where somebody asked.
    pub(super) log: Option<Vec<(Slot, Node)>>,
}

/// What stood in the way.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// References that lead nowhere, and how many there are in all.
    pub(super) broken: Vec<String>,
    pub(super) nr_broken: u64,
    /// Collections that this program does not know.
    pub(super) unknown: BTreeSet<(String, u32)>,
    /// True where the walk took more steps than any whole heap can need.
    pub(super) is_cut_short: bool,
}

/// Values that are still to be looked at.
enum Frame {
    Values { node: Node, at: u64, left: u64 },
    Table { table: Table, block: u64, next: u64 },
    Edges { tree: Tree, at: u64, left: u64 },
    Texts { at: u64, left: u64 },
}

/// So many references are described; the others are counted.
const DESCRIBED: usize = 16;

impl<'m, M: Memory + ?Sized> Walk<'m, M> {
    pub(super) fn new(memory: &'m M, shapes: &'m Shapes, ground: Ground, base: u64) -> Self {
        // A value has 8 bytes at least where it points anywhere, so this is enough for one inside of sixteen.
        let steps_left = ground.live_bytes().saturating_mul(2).saturating_add(1 << 20);
        Self {
            pages: Pages::new(memory),
            shapes,
            ground,
            base,
            stack: Vec::new(),
            weak: Vec::new(),
            owners: BTreeMap::new(),
            steps_left,
            findings: Findings::default(),
            log: None,
        }
    }

    /// Walks from one root, whose object lies at `at`.
    pub(super) fn root(&mut self, name: &str, node: Node, at: u64) {
        let bytes = self.shapes.get(node).size;
        match self.ground.allocated_at(at).filter(|slot| slot.bytes >= bytes) {
            Some(slot) => {
                self.ground.reach(&slot);
                self.value(node, at);
                self.finish();
            }
            None => {
                self.broken(|| format!("root `{name}` is said to lie at {at:#x}, where no such object is"))
            }
        }
    }

    /// Reaches what weak pointers alone lead to. After all roots, as owners say more.
    ///
    /// A value that counts owners can still be had through a weak pointer, though the last owner be a dead thread's: it is walked.
    /// Of one that counts none the block is kept, and nothing else.
    pub(super) fn settle_weak(&mut self) {
        while let Some((at, node, skip)) = self.weak.pop() {
            let Some(slot) = self.ground.allocated_at(at) else { continue };
            if !self.ground.reach(&slot) {
                continue;
            }
            self.owners.insert(slot.number(), 0);
            match self.strong_of(&slot) {
                Some(0) => {}
                Some(_) => {
                    self.push(&Contents::Values { node, skip, len: 1 }, at);
                    self.finish();
                }
                None => self.broken(|| format!("the counts at {at:#x} cannot be read")),
            }
        }
    }

    /// How many owners a shared block counts.
    fn strong_of(&mut self, slot: &Slot) -> Option<u64> {
        let mut strong = [0; 4];
        self.pages.read(slot.start, &mut strong)?;
        Some(u64::from(u32::from_le_bytes(strong)))
    }

    /// Counts an owner of a shared block; false where the block knows of fewer.
    fn count_owner(&mut self, slot: &Slot, is_first: bool) -> bool {
        let Some(strong) = self.strong_of(slot) else { return false };
        if is_first && strong == 1 {
            // Most have one owner: only others are kept in mind.
            return true;
        }
        let seen = self.owners.entry(slot.number()).or_insert(u64::from(!is_first));
        *seen += 1;
        *seen <= strong
    }

    /// Walks from the value at `at`, which lies in a block that counts as reached.
    pub(super) fn add_value(&mut self, node: Node, at: u64) {
        self.value(node, at);
        self.finish();
    }

    /// Walks the contents of a block that counts as reached.
    pub(super) fn add_contents(&mut self, contents: &Contents, block: u64) {
        self.push(contents, block);
        self.finish();
    }

    fn finish(&mut self) {
        while let Some(frame) = self.stack.last_mut() {
            match frame {
                Frame::Values { node, at, left } => {
                    let (node, place) = (*node, *at);
                    *at += self.shapes.get(node).size;
                    *left -= 1;
                    if *left == 0 {
                        self.stack.pop();
                    }
                    self.value(node, place);
                }
                Frame::Table { table, block, next } => {
                    let (table, block, bucket) = (*table, *block, *next);
                    *next += 1;
                    if *next == table.buckets {
                        self.stack.pop();
                    }
                    self.bucket(&table, block, bucket);
                }
                Frame::Edges { tree, at, left } => {
                    let (tree, place) = (*tree, *at);
                    *at += 8;
                    *left -= 1;
                    if *left == 0 {
                        self.stack.pop();
                    }
                    self.edge(&tree, place);
                }
                Frame::Texts { at, left } => {
                    let place = *at;
                    *at += 16;
                    *left -= 1;
                    if *left == 0 {
                        self.stack.pop();
                    }
                    self.text(place);
                }
            }
            if self.findings.is_cut_short {
                self.stack.clear();
            }
        }
    }

    fn bucket(&mut self, table: &Table, block: u64, bucket: u64) {
        if !self.step() {
            return;
        }
        let mut control = [0];
        if self.pages.read(block + table.control + bucket, &mut control).is_none() {
            return self.broken(|| format!("a table at {block:#x} ends outside the heap"));
        }
        // The upper half says empty, deleted or padding.
        if control[0] < 0x80 {
            let at = block + table.control - (bucket + 1) * table.stride;
            self.value(table.key, at);
            if let Some(value) = table.value {
                self.value(value, at + table.value_at);
            }
        }
    }

    /// Looks at a value: what it owns goes onto the stack. As deep as its type is nested, which is bounded.
    fn value(&mut self, node: Node, at: u64) {
        let shapes = self.shapes;
        let ty = shapes.get(node);
        if !ty.points || !self.step() {
            return;
        }
        match &ty.parts {
            Parts::Fields(fields) => {
                for &(offset, field) in fields {
                    self.value(field, at + offset);
                }
            }
            Parts::Cases(tag, cases) => {
                let (mut bytes, tag) = ([0; 16], (*tag).min(ty.size as usize));
                let is_read = self.pages.read(at, &mut bytes[..tag]).is_some();
                match shapes.fields_of(cases, &bytes[..tag]).filter(|_| is_read) {
                    Some(fields) => {
                        for &(offset, field) in fields {
                            self.value(field, at + offset);
                        }
                    }
                    None => self.broken(|| format!("{} at {at:#x} is none of its variants", ty.text)),
                }
            }
            Parts::Elements(len, elem) => {
                let size = shapes.get(*elem).size;
                for index in 0..*len {
                    self.value(*elem, at + index * size);
                    if self.findings.is_cut_short {
                        return;
                    }
                }
            }
            Parts::Unknown(name, version) => {
                self.findings.unknown.insert((name.clone(), *version));
            }
            Parts::Collection(..) => match self.holding(node, at) {
                Ok(Holding::Nothing) => {}
                Ok(Holding::Inline(inner, place)) => self.value(inner, place),
                Ok(Holding::Block(block)) => self.own(node, at, &block, false),
                Ok(Holding::Two(one, other)) => {
                    self.own(node, at, &one, false);
                    self.own(node, at, &other, false);
                }
                Ok(Holding::Shared(block)) => self.own(node, at, &block, true),
                Err(wrong) => {
                    self.broken(|| format!("{} at {at:#x}: {wrong}", ty.text));
                }
            },
            Parts::Plain | Parts::Bool | Parts::Char | Parts::NonZero | Parts::Among(_) => {}
        }
    }

    /// What the collection at `at` holds.
    pub(super) fn holding(&mut self, node: Node, at: u64) -> Result<Holding, &'static str> {
        let ty = self.shapes.get(node);
        let Parts::Collection(collection, args) = &ty.parts else { return Ok(Holding::Nothing) };
        let mut head = [0; 256];
        let len = collection.head_bytes.min(ty.size as usize).min(head.len());
        self.pages.read(at, &mut head[..len]).ok_or("it lies outside the heap")?;
        collection.decode(self.shapes, args, &head[..len], ty.size, at).map_err(|wrong| wrong.0)
    }

    /// The slot in which a block that somebody claims to own lies.
    pub(super) fn slot_of(&self, block: &Block) -> Result<Slot, &'static str> {
        let offset = block.address.checked_sub(self.base).ok_or("points below the heap")?;
        let slot = self.ground.slot_at(offset).ok_or("points to where no object can be")?;
        if slot.start != offset {
            return Err("points into the middle of an object");
        }
        if !self.ground.is_allocated(&slot) {
            return Err("points to memory that is free");
        }
        if slot.bytes < block.bytes { Err("is larger than the object it points to") } else { Ok(slot) }
    }

    fn own(&mut self, node: Node, at: u64, block: &Block, is_shared: bool) {
        let slot = match self.slot_of(block) {
            Ok(slot) => slot,
            Err(why) => {
                let text = &self.shapes.get(node).text;
                return self.broken(|| format!("{text} at {at:#x} {why} ({:#x})", block.address));
            }
        };
        if is_shared && let Contents::Values { node, skip, len: 0 } = block.contents {
            // Not reached yet: an owner, who leads to the value, must still be the first.
            if !self.ground.is_reached(&slot) {
                self.weak.push((slot.start, node, skip));
            }
            return;
        }
        let is_first = self.ground.reach(&slot);
        if is_shared && !self.count_owner(&slot, is_first) {
            let text = &self.shapes.get(node).text;
            self.broken(|| format!("{text} at {at:#x} is an owner too many ({:#x})", block.address));
        }
        if !is_first {
            if is_shared {
                return;
            }
            let text = &self.shapes.get(node).text;
            return self
                .broken(|| format!("{text} at {at:#x} owns what another owns ({:#x})", block.address));
        }
        if let Some(log) = &mut self.log {
            log.push((slot, node));
        }
        self.push(&block.contents, slot.start);
    }

    fn push(&mut self, contents: &Contents, block: u64) {
        match *contents {
            Contents::Bytes | Contents::Text => {}
            Contents::Values { node, skip, len } => self.push_values(node, block + skip, len),
            Contents::Ring(node, capacity, first, len) => {
                let until_end = len.min(capacity - first);
                self.push_values(node, block + first * self.shapes.get(node).size, until_end);
                self.push_values(node, block, len - until_end);
            }
            Contents::Table(table) => {
                let points = |node| self.shapes.get(node).points;
                if points(table.key) || table.value.is_some_and(points) {
                    self.stack.push(Frame::Table { table, block, next: 0 });
                }
            }
            Contents::Texts(left) if left > 0 => self.stack.push(Frame::Texts { at: block, left }),
            Contents::Texts(_) => {}
            Contents::Tree(tree) => self.tree_node(&tree, block),
            Contents::Item(item) => self.item(&item, block),
        }
    }

    /// An item of a cache: what its value holds, if that is no text.
    fn item(&mut self, item: &Item, block: u64) {
        let mut head = [0; Item::HEAD_BYTES];
        let is_read = self.pages.read(block, &mut head).is_some();
        let bytes = self.ground.allocated_at(block).map_or(0, |slot| slot.bytes);
        let lies_within = |body: Option<(u64, Node)>| match body {
            Some((at, node)) if at.saturating_add(self.shapes.get(node).size) > bytes => {
                Err(Wrong("its value lies outside of its block"))
            }
            body => Ok(body),
        };
        match item.body(&head).and_then(lies_within) {
            Ok(Some((at, node))) if is_read => self.push_values(node, block + at, 1),
            Ok(None) if is_read => {}
            Ok(_) => self.broken(|| format!("an item at {block:#x} lies outside the heap")),
            Err(wrong) => self.broken(|| format!("an item at {block:#x}: {}", wrong.0)),
        }
    }

    /// A node of a B-tree: its pairs, and the nodes below it, which are each of a height less.
    fn tree_node(&mut self, tree: &Tree, block: u64) {
        let shape = shape_of(self.shapes, tree);
        let mut head = [0; HEAD_BYTES];
        let is_read = self.pages.read(block, &mut head).is_some();
        let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let (len, height) = (u64::from(half(10)), half(12));
        let bytes = if height == 0 { shape.leaf_bytes } else { shape.inner_bytes } as u64;
        let holds = self.ground.allocated_at(block).is_some_and(|slot| slot.bytes >= bytes);
        let fits = len <= shape.capacity as u64 && tree.height.is_none_or(|below| below == height);
        if !is_read || !holds || !fits {
            return self.broken(|| format!("a tree has a node at {block:#x} that is none"));
        }
        self.push_values(tree.key, block + shape.keys as u64, len);
        if let Some(value) = tree.value {
            self.push_values(value, block + shape.values as u64, len);
        }
        if height > 0 {
            let tree = Tree { height: Some(height - 1), ..*tree };
            self.stack.push(Frame::Edges { tree, at: block + shape.edges as u64, left: len + 1 });
        }
    }

    fn edge(&mut self, tree: &Tree, at: u64) {
        if !self.step() {
            return;
        }
        let mut word = [0; 8];
        let is_read = self.pages.read(at, &mut word).is_some();
        let address = u64::from_le_bytes(word);
        let block = Block { address, bytes: HEAD_BYTES as u64, contents: Contents::Tree(*tree) };
        match self.slot_of(&block).ok().filter(|_| is_read) {
            Some(slot) if self.ground.reach(&slot) => self.push(&block.contents, slot.start),
            _ => {
                self.broken(|| format!("a tree has an edge at {at:#x} that leads to no node ({address:#x})"))
            }
        }
    }

    /// An address and a length, of a block of text.
    fn text(&mut self, at: u64) {
        if !self.step() {
            return;
        }
        let (mut address, mut len) = ([0; 8], [0; 8]);
        let is_read = self.pages.read(at, &mut address).and_then(|()| self.pages.read(at + 8, &mut len));
        let (address, bytes) = (u64::from_le_bytes(address), u64::from_le_bytes(len));
        if bytes == 0 && is_read.is_some() {
            return;
        }
        let block = Block { address, bytes, contents: Contents::Text };
        let slot = self.slot_of(&block).ok().filter(|_| is_read.is_some());
        if !slot.is_some_and(|slot| self.ground.reach(&slot)) {
            self.broken(|| format!("a text at {at:#x} that is none, or another's ({address:#x})"));
        }
    }

    fn push_values(&mut self, node: Node, at: u64, left: u64) {
        if left > 0 && self.shapes.get(node).points {
            self.stack.push(Frame::Values { node, at, left });
        }
    }

    fn step(&mut self) -> bool {
        match self.steps_left.checked_sub(1) {
            Some(left) => self.steps_left = left,
            None => self.findings.is_cut_short = true,
        }
        !self.findings.is_cut_short
    }

    fn broken(&mut self, text: impl FnOnce() -> String) {
        self.findings.nr_broken += 1;
        if self.findings.broken.len() < DESCRIBED {
            let text = text();
            self.findings.broken.push(text);
        }
    }
}
