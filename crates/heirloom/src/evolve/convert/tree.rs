//! Ordered maps: the pairs of the old tree, in their order, become those of a new one whose nodes hold as many as theirs can.
//!
//! ```text
//! old  |..|..|..|   -->   pair 0, pair 1, ..   -->   new: so low as it can be, and filled evenly
//! ```
//!
//! A pair of another size makes nodes of another capacity, so the old nodes are no model. The new ones are laid out by count alone, and
//! each pair is made where it stays.
#![expect(unsafe_code, reason = "reads and writes nodes whose keys and values have any type")]

use std::alloc::Layout;

use super::ConvertError;
use super::walk::Walk;
use crate::btree_map::shape::HEAD_BYTES;
use crate::evolve::collection::{NODE_HEIGHT, NODE_LEN, address, write_address};
use crate::evolve::plan::{NodeId, Pairs};

/// Where in a node its head names the one above.
const PARENT: usize = 0;
const INDEX: usize = 8;

/// No heap has room for a tree that is higher: a node that is no leaf leads to two at least.
const HIGHEST: u16 = 48;

/// Where a key and its value lie.
type Pair = (*const u8, *const u8);

impl Walk<'_> {
    /// # Safety
    ///
    /// As for [`Conversion::run`](super::Conversion::run), for maps of these types.
    pub(super) unsafe fn tree(
        &mut self,
        (old, new): (&Pairs, &Pairs),
        (key, value): (NodeId, NodeId),
        from: *const u8,
        to: *mut u8,
    ) -> Result<(), ConvertError> {
        // SAFETY: the head of a map lies there: the address of a node, or zero. What it leads to is checked.
        unsafe {
            let root = address(from);
            let mut pairs = Vec::new();
            if root != 0 {
                let most = self.conversion.ground.bytes() / old.shape.leaf_bytes.max(1);
                self.collect(old, root, None, most, &mut (0, &mut pairs))?;
            }
            let len = pairs.len();
            if len > 0 {
                let capacity = new.shape.capacity;
                let height = (0..HIGHEST).find(|&height| most_pairs(capacity, height) >= len);
                let height = height.ok_or(ConvertError::Shape)?;
                let mut pairs = pairs.into_iter();
                let root = self.build(new, (key, value), height, len, &mut pairs)?;
                write_address(to, root.expose_provenance() as u64);
            }
            to.cast::<u64>().add(1).write(len as u64);
        }
        Ok(())
    }

    /// Lists the pairs below a node, in their order. `found` counts the nodes, of which there are at most so many.
    ///
    /// # Safety
    ///
    /// If a node lies at the address, its pairs are of these sizes.
    unsafe fn collect(
        &self,
        of: &Pairs,
        start: u64,
        height: Option<u16>,
        most: usize,
        found: &mut (usize, &mut Vec<Pair>),
    ) -> Result<(), ConvertError> {
        let (shape, ground) = (&of.shape, &self.conversion.ground);
        // SAFETY: the node is checked to lie where blocks are, its length to be below its capacity.
        unsafe {
            let head = ground.at(start, HEAD_BYTES, shape.align)?;
            let (len, is) = (read_u16(head, NODE_LEN), read_u16(head, NODE_HEIGHT));
            let bytes = if is == 0 { shape.leaf_bytes } else { shape.inner_bytes };
            ground.at(start, bytes, shape.align)?;
            found.0 += 1;
            let holds = height.is_none_or(|height| height == is) && is < HIGHEST && found.0 <= most;
            if !holds || usize::from(len) > shape.capacity {
                return Err(ConvertError::Shape);
            }
            let edge = |nr: usize| address(head.add(shape.edges + 8 * nr));
            for nr in 0..usize::from(len) {
                if is > 0 {
                    self.collect(of, edge(nr), Some(is - 1), most, found)?;
                }
                let key = head.add(shape.keys + nr * of.key);
                found.1.push((key, head.add(shape.values + nr * of.value)));
            }
            if is > 0 {
                self.collect(of, edge(len.into()), Some(is - 1), most, found)?;
            }
        }
        Ok(())
    }

    /// Makes a node of some height with so many of the next pairs in and below it.
    ///
    /// # Safety
    ///
    /// There are so many; they are of the old types of the steps.
    unsafe fn build(
        &mut self,
        of: &Pairs,
        (key, value): (NodeId, NodeId),
        height: u16,
        nr_pairs: usize,
        pairs: &mut impl Iterator<Item = Pair>,
    ) -> Result<*mut u8, ConvertError> {
        let shape = &of.shape;
        let bytes = if height == 0 { shape.leaf_bytes } else { shape.inner_bytes };
        let layout = Layout::from_size_align(bytes, shape.align).map_err(|_| ConvertError::Shape)?;
        let node = self.block(layout)?.as_ptr();
        // As few children as can hold them all, and pairs between them.
        let nr_children = match height.checked_sub(1) {
            Some(below) => (nr_pairs + 1).div_ceil(most_pairs(shape.capacity, below).saturating_add(1)),
            None => 0,
        };
        let len = if height == 0 { nr_pairs } else { nr_children - 1 };
        // SAFETY: the block is new, and large enough for a node of its height; its capacity was not passed.
        unsafe {
            write_u16(node, NODE_LEN, len as u16);
            write_u16(node, NODE_HEIGHT, height);
            for nr in 0..=len {
                if height > 0 {
                    let below = nr_pairs - len;
                    let share = below / nr_children + usize::from(nr < below % nr_children);
                    let child = self.build(of, (key, value), height - 1, share, pairs)?;
                    write_address(child.add(PARENT), node.expose_provenance() as u64);
                    write_u16(child, INDEX, nr as u16);
                    write_address(node.add(shape.edges + 8 * nr), child.expose_provenance() as u64);
                }
                if nr < len {
                    let (old_key, old_value) = pairs.next().ok_or(ConvertError::Shape)?;
                    self.node(key, old_key, node.add(shape.keys + nr * of.key))?;
                    self.node(value, old_value, node.add(shape.values + nr * of.value))?;
                    self.count(1);
                }
            }
        }
        Ok(node)
    }
}

/// Pairs that a tree of this height has room for.
fn most_pairs(capacity: usize, height: u16) -> usize {
    (capacity + 1).saturating_pow(u32::from(height) + 1) - 1
}

/// # Safety
///
/// Two bytes can be read there.
unsafe fn read_u16(at: *const u8, offset: usize) -> u16 {
    // SAFETY: by the caller.
    unsafe { at.add(offset).cast::<u16>().read() }
}

/// # Safety
///
/// Two bytes can be written there.
unsafe fn write_u16(at: *mut u8, offset: usize, value: u16) {
    // SAFETY: by the caller.
    unsafe { at.add(offset).cast::<u16>().write(value) }
}
