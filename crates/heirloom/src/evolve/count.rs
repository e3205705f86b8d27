//! Counts the values that a root reaches, in a heap whose bytes are not believed: what a conversion would have to make.
//!
//! The same walk as `release`, but every address is asked for, and there is an end to it whatever the bytes say.

use std::collections::HashSet;

use heirloom_abi::pool::Memory;

use super::collection::{Buckets, NODE_HEIGHT, NODE_LEN, is_done, is_full};
use super::shape::{PLAIN, Shape, Shapes};

/// Values that are looked at before the rest is guessed.
const MOST: u64 = 1 << 28;

/// A heap's memory as seen from outside it.
pub(crate) struct HeapMemory<'m> {
    /// Its file.
    pub(crate) file: &'m dyn Memory,
    /// Where its owner has it mapped.
    pub(crate) base: u64,
}

impl HeapMemory<'_> {
    fn words<const N: usize>(&self, at: u64) -> Option<[u64; N]> {
        let mut words = [0; N];
        for (nr, word) in words.iter_mut().enumerate() {
            let mut bytes = [0; 8];
            self.file.read(at.checked_sub(self.base)?.checked_add(nr as u64 * 8)?, &mut bytes)?;
            *word = u64::from_le_bytes(bytes);
        }
        Some(words)
    }

    /// The words of a head, at most 4.
    fn head(&self, at: u64, nr: usize) -> Option<[u64; 4]> {
        let mut words = [0; 4];
        for (nr, word) in words.iter_mut().enumerate().take(nr) {
            [*word] = self.words(at.checked_add(nr as u64 * 8)?)?;
        }
        Some(words)
    }

    fn half_word(&self, at: u64) -> Option<u16> {
        let mut bytes = [0; 2];
        self.bytes(at, &mut bytes)?;
        Some(u16::from_le_bytes(bytes))
    }

    fn bytes(&self, at: u64, to: &mut [u8]) -> Option<()> {
        self.file.read(at.checked_sub(self.base)?, to)
    }
}

/// Counts the values that the one at `at` reaches, and itself. Stops, with what it has by then, where an address leads nowhere.
pub(crate) fn count(shapes: &Shapes, memory: &HeapMemory<'_>, at: u64) -> u64 {
    let mut walk = Walk {
        shapes,
        memory,
        nr: 1,
        visits: MOST,
        due: vec![Due::row(shapes.root, at, 0, 1)],
        seen: HashSet::new(),
    };
    let _ = walk.run();
    walk.nr
}

struct Walk<'a> {
    shapes: &'a Shapes,
    memory: &'a HeapMemory<'a>,
    nr: u64,
    visits: u64,
    due: Vec<Due>,
    /// Values that several own, by the addresses of their blocks.
    seen: HashSet<u64>,
}

/// Values that are still to be looked at.
#[derive(Clone, Copy)]
enum Due {
    Row {
        id: usize,
        at: u64,
        stride: u64,
        left: u64,
    },
    Table {
        buckets: Buckets,
        key: usize,
        value: usize,
        control: u64,
        next: u64,
        nr: u64,
    },
    /// A node of a tree, so many steps above its leaves.
    Tree {
        id: usize,
        at: u64,
        height: u16,
    },
}

/// Places that are kept in mind at once. A heap that is whole has few: one for each level of what lies within what.
const MOST_DUE: usize = 1 << 22;

impl Due {
    fn row(id: usize, at: u64, stride: usize, left: u64) -> Self {
        Self::Row { id, at, stride: stride as u64, left }
    }
}

impl Walk<'_> {
    fn run(&mut self) -> Option<()> {
        while let Some(due) = self.due.pop() {
            self.visits = self.visits.checked_sub(1)?;
            if self.due.len() > MOST_DUE {
                return None;
            }
            match due {
                Due::Row { left: 0, .. } => {}
                Due::Row { id, at, stride, left } => {
                    if left > 1 {
                        self.due.push(Due::Row { id, at: at.checked_add(stride)?, stride, left: left - 1 });
                    }
                    self.node(id, at)?;
                }
                Due::Table { buckets, key, value, control, next, nr } => {
                    let mut group = [0; 16];
                    let group = &mut group[..(nr - next).min(16) as usize];
                    self.memory.bytes(control.checked_add(next)?, group)?;
                    let end = next + group.len() as u64;
                    if end < nr {
                        self.due.push(Due::Table { buckets, key, value, control, next: end, nr });
                    }
                    let full = (next..).zip(group.iter()).filter(|(_, control)| is_full(**control));
                    for bucket in full.map(|(bucket, _)| bucket) {
                        let pair = control.checked_sub((bucket + 1).checked_mul(buckets.stride as u64)?)?;
                        self.push(key, pair, 0, 1);
                        self.push(value, pair.checked_add(buckets.value_at as u64)?, 0, 1);
                    }
                }
                Due::Tree { id, at, height } => self.tree(id, at, height)?,
            }
        }
        Some(())
    }

    fn push(&mut self, id: usize, at: u64, stride: usize, left: u64) {
        if id != PLAIN && left > 0 {
            self.due.push(Due::row(id, at, stride, left));
        }
    }

    fn node(&mut self, id: usize, at: u64) -> Option<()> {
        self.visits = self.visits.checked_sub(1)?;
        let shapes = self.shapes;
        let add = |base: u64, index: u64, stride: usize| base.checked_add(index.checked_mul(stride as u64)?);
        match &shapes.nodes[id] {
            Shape::Plain | Shape::Text(_) | Shape::Secret { .. } => {}
            Shape::Parts(parts) => self.parts(parts, at)?,
            Shape::Cases(tag, cases) => {
                let mut found = [0; 16];
                self.memory.bytes(at, &mut found[..*tag])?;
                let is_it = |case: &&(i128, Vec<_>)| case.0.to_le_bytes()[..*tag] == found[..*tag];
                if let Some((_, parts)) = cases.iter().find(is_it) {
                    self.parts(parts, at)?;
                }
            }
            Shape::Array { len, stride, elem } => self.push(*elem, at, *stride, *len as u64),
            Shape::Sequence { row, stride, elem, .. } => {
                let head = row.read(self.memory.head(at, row.words())?, *stride)?;
                self.nr = self.nr.saturating_add(if *stride == 1 { 0 } else { head.len as u64 });
                let first = if *stride == 0 { head.len } else { head.len.min(head.capacity - head.first) };
                self.push(*elem, add(head.start, head.first as u64, *stride)?, *stride, first as u64);
                self.push(*elem, head.start, *stride, (head.len - first) as u64);
            }
            Shape::Owned { value, .. } => {
                let [start] = self.memory.words(at)?;
                self.nr = self.nr.saturating_add(1);
                self.push(*value, start, 0, 1);
            }
            Shape::Shared { owns, counted, value } => {
                let [address] = self.memory.words(at)?;
                if address != counted.align as u64 && *owns && self.seen.insert(address) {
                    self.nr = self.nr.saturating_add(1);
                    self.push(*value, address.checked_add(counted.value_at as u64)?, 0, 1);
                }
            }
            Shape::Map { buckets, key, value } => {
                let [control, mask, len] = self.memory.words(at)?;
                // Its top bit says that a kill cut the last change off.
                self.nr = self.nr.saturating_add(len & !crate::hash_map::table::CUT);
                let nr = mask.checked_add(1)?;
                if mask != 0 && len != 0 && (*key != PLAIN || *value != PLAIN) {
                    let (buckets, key, value) = (*buckets, *key, *value);
                    self.due.push(Due::Table { buckets, key, value, control, next: 0, nr });
                }
            }
            Shape::Tree { key, value, .. } => {
                let [root, len] = self.memory.words(at)?;
                self.nr = self.nr.saturating_add(len);
                if root != 0 && (*key != PLAIN || *value != PLAIN) {
                    let height = self.memory.half_word(root.checked_add(NODE_HEIGHT as u64)?)?;
                    self.due.push(Due::Tree { id, at: root, height });
                }
            }
            Shape::Late { at: offset, value } => {
                let mut word = [0; 4];
                self.memory.bytes(at, &mut word)?;
                if is_done(u32::from_le_bytes(word)) {
                    self.push(*value, at.checked_add(*offset as u64)?, 0, 1);
                }
            }
            Shape::Niche { size, value } => {
                let mut bytes = [0; 16];
                let bytes = &mut bytes[..(*size).min(16)];
                self.memory.bytes(at, bytes)?;
                if bytes.iter().any(|&byte| byte != 0) {
                    self.node(*value, at)?;
                }
            }
        }
        Some(())
    }

    fn tree(&mut self, id: usize, at: u64, height: u16) -> Option<()> {
        let Shape::Tree { pairs, key, value } = &self.shapes.nodes[id] else { return None };
        let shape = &pairs.shape;
        let len = u64::from(self.memory.half_word(at.checked_add(NODE_LEN as u64)?)?);
        if len > shape.capacity as u64 {
            return None;
        }
        self.push(*key, at.checked_add(shape.keys as u64)?, pairs.key, len);
        self.push(*value, at.checked_add(shape.values as u64)?, pairs.value, len);
        if let Some(below) = height.checked_sub(1) {
            for nr in 0..=len {
                let [edge] = self.memory.words(at.checked_add(shape.edges as u64 + 8 * nr)?)?;
                self.due.push(Due::Tree { id, at: edge, height: below });
            }
        }
        Some(())
    }

    fn parts(&mut self, parts: &[(usize, usize)], at: u64) -> Option<()> {
        parts.iter().try_for_each(|&(offset, part)| self.node(part, at.checked_add(offset as u64)?))
    }
}
