//! Counts the values that a root reaches, in a heap whose bytes are not believed: what a conversion would have to make.
//!
//! The same walk as `release`, but every address is asked for, and there is an end to it whatever the bytes say.

use heirloom_abi::pool::Memory;

use super::collection::is_full;
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

    fn bytes(&self, at: u64, to: &mut [u8]) -> Option<()> {
        self.file.read(at.checked_sub(self.base)?, to)
    }
}

/// Counts the values that the one at `at` reaches, and itself. Stops, with what it has by then, where an address leads nowhere.
pub(crate) fn count(shapes: &Shapes, memory: &HeapMemory<'_>, at: u64) -> u64 {
    let mut walk = Walk { shapes, memory, nr: 1, visits: MOST };
    let _ = walk.node(shapes.root, at, 0);
    walk.nr
}

struct Walk<'a> {
    shapes: &'a Shapes,
    memory: &'a HeapMemory<'a>,
    nr: u64,
    visits: u64,
}

/// A list in a heap that is damaged may lead round in a circle.
const DEEPEST: usize = 10_000;

impl Walk<'_> {
    fn node(&mut self, id: usize, at: u64, depth: usize) -> Option<()> {
        self.visits = self.visits.checked_sub(1)?;
        if id == PLAIN || depth > DEEPEST {
            return Some(());
        }
        let shapes = self.shapes;
        let add = |base: u64, index: u64, stride: usize| base.checked_add(index.checked_mul(stride as u64)?);
        match &shapes.nodes[id] {
            Shape::Plain | Shape::Text | Shape::Secret { .. } => {}
            Shape::Parts(parts) => self.parts(parts, at, depth)?,
            Shape::Cases(tag, cases) => {
                let mut found = [0; 16];
                self.memory.bytes(at, &mut found[..*tag])?;
                let is_it = |case: &&(i128, Vec<_>)| case.0.to_le_bytes()[..*tag] == found[..*tag];
                if let Some((_, parts)) = cases.iter().find(is_it) {
                    self.parts(parts, at, depth)?;
                }
            }
            Shape::Array { len, stride, elem } => {
                for index in 0..*len as u64 {
                    self.node(*elem, add(at, index, *stride)?, depth)?;
                }
            }
            Shape::Sequence { stride, elem, .. } => {
                let [start, _, len] = self.memory.words(at)?;
                self.nr = self.nr.saturating_add(if *stride == 1 { 0 } else { len });
                if *elem != PLAIN {
                    for index in 0..len {
                        self.node(*elem, add(start, index, *stride)?, depth + 1)?;
                    }
                }
            }
            Shape::Owned { value, .. } => {
                let [start] = self.memory.words(at)?;
                self.nr = self.nr.saturating_add(1);
                self.node(*value, start, depth + 1)?;
            }
            Shape::Map { buckets, key, value } => {
                let [control, mask, len] = self.memory.words(at)?;
                // Its top bit says that a kill cut the last change off.
                self.nr = self.nr.saturating_add(len & !crate::hash_map::table::CUT);
                if mask == 0 || (*key == PLAIN && *value == PLAIN) {
                    return Some(());
                }
                let mut group = [0; 16];
                for bucket in 0..=mask {
                    if bucket % 16 == 0 {
                        self.memory.bytes(control.checked_add(bucket)?, &mut group)?;
                    }
                    if is_full(group[(bucket % 16) as usize]) {
                        let pair = control.checked_sub((bucket + 1).checked_mul(buckets.stride as u64)?)?;
                        self.node(*key, pair, depth + 1)?;
                        self.node(*value, pair.checked_add(buckets.value_at as u64)?, depth + 1)?;
                    }
                }
            }
            Shape::Niche { size, value } => {
                let mut bytes = [0; 16];
                let bytes = &mut bytes[..(*size).min(16)];
                self.memory.bytes(at, bytes)?;
                if bytes.iter().any(|&byte| byte != 0) {
                    self.node(*value, at, depth)?;
                }
            }
        }
        Some(())
    }

    fn parts(&mut self, parts: &[(usize, usize)], at: u64, depth: usize) -> Option<()> {
        parts.iter().try_for_each(|&(offset, part)| self.node(part, at.checked_add(offset as u64)?, depth))
    }
}
