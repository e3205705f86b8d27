//! Secrets: values that are taken out of the heap before it is handed over.
//!
//! ```text
//! freeze      key: [bytes]  -->  this process's own memory     key: its default      the block of a text: given back, zeroed
//! taken back  key: [bytes]  <--
//! ```
//!
//! So a successor, and whoever else gets hold of the memory in between, finds the default. Where the hand-over is called
//! off every value is back. What collections keep behind their last element, and in buckets that were emptied, is zeroed too: a
//! secret may have been there.
#![expect(unsafe_code, reason = "moves fields of types that it knows by their description alone")]

use std::alloc::Layout;
use std::collections::HashSet;
use std::panic::catch_unwind;
use std::ptr::NonNull;

use heirloom_abi::types::{Hook, TypeView};

use super::collection::{
    NODE_HEIGHT, NODE_LEN, Row, TextAt, address as word, is_done, is_full, words, write_address,
};
use super::shape::{Block, PLAIN, Shape, Shapes};
use crate::alloc;

/// Secrets outside the heap.
#[derive(Default)]
pub(crate) struct Kept {
    secrets: Vec<Secret>,
    /// Values that several own, in one root or in several: looked at once.
    shared: HashSet<usize>,
}

struct Secret {
    at: *mut u8,
    bytes: Vec<u8>,
    /// The elements of a sequence, and the layout of the block that they lay in.
    block: Option<(Vec<u8>, Layout)>,
}

// SAFETY: addresses in the heap, which are used again with its door closed, by whoever has closed it.
unsafe impl Send for Kept {}

/// The ways to the secrets of a type; `None` where it has none.
pub(crate) fn find(rules: &[u8]) -> Option<Result<Shapes, String>> {
    let shapes = Shapes::of_secrets(&TypeView::parse_rules(rules).ok()?);
    match &shapes.refused {
        Some(what) => Some(Err(what.clone())),
        // A type that holds itself is no plain one, though there is nothing in it to be taken.
        None if !shapes.has_secret() => None,
        None => Some(Ok(shapes)),
    }
}

impl Kept {
    /// Takes the secrets of the value at `at` out of it.
    ///
    /// # Safety
    ///
    /// - A value of the type lies at `at`, nobody uses it meanwhile, and this thread may allocate.
    /// - The hooks are those of the form that `shapes` was made from.
    pub(crate) unsafe fn take(
        &mut self,
        shapes: &Shapes,
        hooks: &[Option<Hook>],
        at: *mut u8,
    ) -> Result<(), String> {
        // A list of its own in place of the call stack: a chain of values may be as long as the heap is large.
        let mut due = vec![(shapes.root, at)];
        while let Some((id, at)) = due.pop() {
            if let Shape::Shared { counted, value, .. } = &shapes.nodes[id] {
                // SAFETY: a pointer lies there, to a block or nowhere.
                let address = unsafe { word(at) } as usize;
                if address != counted.align && self.shared.insert(address) {
                    due.push((*value, std::ptr::with_exposed_provenance_mut(address + counted.value_at)));
                }
                continue;
            }
            // SAFETY: the offsets come from the description of what lies at `at`, by the caller's promise.
            unsafe { self.node(shapes, id, hooks, at, &mut due)? };
        }
        Ok(())
    }

    /// # Safety
    ///
    /// As for [`Kept::take`], for the type of this node.
    unsafe fn node(
        &mut self,
        shapes: &Shapes,
        id: usize,
        hooks: &[Option<Hook>],
        at: *mut u8,
        due: &mut Vec<(usize, *mut u8)>,
    ) -> Result<(), String> {
        if id == PLAIN {
            return Ok(());
        }
        // SAFETY: the offsets come from the description of what lies at `at`, by the caller's promise.
        unsafe {
            match &shapes.nodes[id] {
                Shape::Plain | Shape::Text(_) | Shape::Shared { .. } => {}
                Shape::Secret { size, hook, block } => {
                    let Some(Hook::Default(write, _)) = hooks.get(usize::from(*hook)).copied().flatten()
                    else {
                        return Ok(());
                    };
                    let bytes = std::slice::from_raw_parts(at, *size).to_vec();
                    at.write_bytes(0, *size);
                    let is_made = catch_unwind(|| write(at)).is_ok();
                    let default = std::slice::from_raw_parts(at, *size).to_vec();
                    at.copy_from_nonoverlapping(bytes.as_ptr(), *size);
                    if !is_made {
                        return Err("the default that takes the place of a secret panicked".to_owned());
                    }
                    let block = take_block(at, *block);
                    at.copy_from_nonoverlapping(default.as_ptr(), *size);
                    self.secrets.push(Secret { at, bytes, block });
                }
                Shape::Parts(parts) => due.extend(parts.iter().map(|&(offset, part)| (part, at.add(offset)))),
                Shape::Cases(tag, cases) => {
                    let mut found = [0; 16];
                    at.copy_to_nonoverlapping(found.as_mut_ptr(), *tag);
                    let is_it = |case: &&(i128, Vec<_>)| case.0.to_le_bytes()[..*tag] == found[..*tag];
                    if let Some((_, parts)) = cases.iter().find(is_it) {
                        due.extend(parts.iter().map(|&(offset, part)| (part, at.add(offset))));
                    }
                }
                Shape::Array { len, stride, elem } => {
                    due.extend((0..*len).map(|index| (*elem, at.add(index * stride))));
                }
                Shape::Sequence { row, stride, elem, .. } => {
                    let Some(head) = row.read(words(at, row.words()), *stride) else { return Ok(()) };
                    let start = std::ptr::with_exposed_provenance_mut::<u8>(head.start as usize);
                    for place in 0..head.capacity.max(head.len) {
                        // Of a ring, places before the first value are behind the last one.
                        let nr = match place.checked_sub(head.first) {
                            Some(nr) => nr,
                            None => place + head.capacity - head.first,
                        };
                        match nr < head.len {
                            true => due.push((*elem, start.add(place * stride))),
                            false => start.add(place * stride).write_bytes(0, *stride),
                        }
                    }
                }
                Shape::Tree { pairs, key, value } => {
                    let root = word(at);
                    if root != 0 {
                        let mut nodes = vec![std::ptr::with_exposed_provenance_mut::<u8>(root as usize)];
                        while let Some(node) = nodes.pop() {
                            let shape = &pairs.shape;
                            let len = usize::from(node.add(NODE_LEN).cast::<u16>().read());
                            for nr in 0..shape.capacity {
                                let places = [
                                    (*key, node.add(shape.keys + nr * pairs.key), pairs.key),
                                    (*value, node.add(shape.values + nr * pairs.value), pairs.value),
                                ];
                                for (part, place, bytes) in places {
                                    if nr < len {
                                        due.push((part, place))
                                    } else {
                                        place.write_bytes(0, bytes)
                                    }
                                }
                            }
                            if node.add(NODE_HEIGHT).cast::<u16>().read() > 0 {
                                let edge = |nr| word(node.add(shape.edges + 8 * nr)) as usize;
                                nodes.extend(
                                    (0..=len).map(|nr| std::ptr::with_exposed_provenance_mut::<u8>(edge(nr))),
                                );
                            }
                        }
                    }
                }
                Shape::Late { at: offset, value } => {
                    if is_done(at.cast::<u32>().read()) {
                        due.push((*value, at.add(*offset)));
                    }
                }
                Shape::Owned { value, .. } => {
                    let start = std::ptr::with_exposed_provenance_mut::<u8>(word(at) as usize);
                    due.push((*value, start));
                }
                Shape::Map { buckets, key, value } => {
                    let [control, mask, ..] = words(at, 2).map(|word| word as usize);
                    let control = std::ptr::with_exposed_provenance_mut::<u8>(control);
                    for bucket in (0..=mask).filter(|_| mask != 0) {
                        let pair = control.sub((bucket + 1) * buckets.stride);
                        if is_full(control.add(bucket).read()) {
                            due.extend([(*key, pair), (*value, pair.add(buckets.value_at))]);
                        } else {
                            pair.write_bytes(0, buckets.stride);
                        }
                    }
                }
                Shape::Niche { size, value } => {
                    if (0..*size).any(|offset| at.add(offset).read() != 0) {
                        due.push((*value, at));
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts every secret back where it was. Returns how many could not be, as there was no room for a text.
    ///
    /// # Safety
    ///
    /// The heap is as it was when they were taken: nobody else has used it, and this thread may allocate.
    pub(crate) unsafe fn put_back(&mut self) -> usize {
        let mut nr_lost = 0;
        self.shared.clear();
        for secret in self.secrets.drain(..).rev() {
            // SAFETY: the field is where it was, and holds its default, which owns nothing by the rules for secrets.
            unsafe {
                if let Some((elements, layout)) = secret.block {
                    let Ok(block) = alloc::allocate_zeroed(layout) else {
                        nr_lost += 1;
                        continue;
                    };
                    block.as_ptr().copy_from_nonoverlapping(elements.as_ptr(), elements.len());
                    secret.at.copy_from_nonoverlapping(secret.bytes.as_ptr(), secret.bytes.len());
                    write_address(secret.at, block.as_ptr().expose_provenance() as u64);
                } else {
                    secret.at.copy_from_nonoverlapping(secret.bytes.as_ptr(), secret.bytes.len());
                }
            }
        }
        nr_lost
    }
}

/// Copies the elements of a sequence out and gives its block back, zeroed.
///
/// # Safety
///
/// A value with such a block lies at `at`, which nobody uses, and which is written anew afterwards.
unsafe fn take_block(at: *mut u8, block: Block) -> Option<(Vec<u8>, Layout)> {
    // SAFETY: by the caller: start, capacity and length, and a block of that layout.
    unsafe {
        let (start, len, layout, stride) = match block {
            Block::None => return None,
            Block::Text(form) => {
                let head = words(at, form.words());
                let (start, layout) = form.block(head)?;
                let len = match form.read(head)? {
                    TextAt::Block { len, .. } => len,
                    TextAt::Inline(_) => return None,
                };
                (start as usize, len, layout, 1)
            }
            Block::Sequence(row, stride, align) => {
                let head = row.read(words(at, row.words()), stride)?;
                let layout = Layout::from_size_align(head.capacity * stride, align).ok()?;
                // Those of a ring may lie anywhere in it.
                let len = if row == Row::Ring { head.capacity } else { head.len };
                (head.start as usize, len, layout, stride)
            }
        };
        if layout.size() == 0 {
            return None;
        }
        let start = NonNull::new(std::ptr::with_exposed_provenance_mut::<u8>(start))?;
        let elements = std::slice::from_raw_parts(start.as_ptr(), len * stride).to_vec();
        start.as_ptr().write_bytes(0, layout.size());
        alloc::deallocate(start, layout);
        Some((elements, layout))
    }
}
