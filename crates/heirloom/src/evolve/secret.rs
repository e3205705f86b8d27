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
use std::ptr::NonNull;

use heirloom_abi::types::{Hook, TypeView};

use super::collection::{is_full, text_block};
use super::shape::{Block, PLAIN, Shape, Shapes};
use crate::alloc;

/// Secrets outside the heap.
#[derive(Default)]
pub(crate) struct Kept(Vec<Secret>);

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
    match shapes.unknown {
        // A collection that cannot be walked is no matter where it holds no secret, which its rules would say.
        Some(ref what) if what.contains("a secret is") => Some(Err(what.clone())),
        // A type that holds itself is no plain one, though there is nothing in it to be taken.
        _ if !shapes.nodes.iter().any(|node| matches!(node, Shape::Secret { .. })) => None,
        _ => Some(Ok(shapes)),
    }
}

impl Kept {
    /// Takes the secrets of the value at `at` out of it.
    ///
    /// # Safety
    ///
    /// - A value of the type lies at `at`, nobody uses it meanwhile, and this thread may allocate.
    /// - The hooks are those of the form that `shapes` was made from.
    pub(crate) unsafe fn take(&mut self, shapes: &Shapes, hooks: &[Option<Hook>], at: *mut u8) {
        // A list of its own in place of the call stack: a chain of values may be as long as the heap is large.
        let mut due = vec![(shapes.root, at)];
        while let Some((id, at)) = due.pop() {
            // SAFETY: the offsets come from the description of what lies at `at`, by the caller's promise.
            unsafe { self.node(shapes, id, hooks, at, &mut due) };
        }
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
    ) {
        if id == PLAIN {
            return;
        }
        // SAFETY: the offsets come from the description of what lies at `at`, by the caller's promise.
        unsafe {
            match &shapes.nodes[id] {
                Shape::Plain | Shape::Text => {}
                Shape::Secret { size, hook, block } => {
                    let Some(Hook::Default(write, _)) = hooks.get(usize::from(*hook)).copied().flatten()
                    else {
                        return;
                    };
                    let bytes = std::slice::from_raw_parts(at, *size).to_vec();
                    let block = take_block(at, *block);
                    at.write_bytes(0, *size);
                    write(at);
                    self.0.push(Secret { at, bytes, block });
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
                Shape::Sequence { stride, elem, .. } => {
                    let [start, capacity, len] = at.cast::<[u64; 3]>().read().map(|word| word as usize);
                    let start = std::ptr::with_exposed_provenance_mut::<u8>(start);
                    due.extend((0..len).map(|index| (*elem, start.add(index * stride))));
                    start.add(len * stride).write_bytes(0, capacity.saturating_sub(len) * stride);
                }
                Shape::Owned { value, .. } => {
                    let start = std::ptr::with_exposed_provenance_mut::<u8>(at.cast::<u64>().read() as usize);
                    due.push((*value, start));
                }
                Shape::Map { buckets, key, value } => {
                    let [control, mask] = at.cast::<[u64; 2]>().read().map(|word| word as usize);
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
    }

    /// Puts every secret back where it was. Returns how many could not be, as there was no room for a text.
    ///
    /// # Safety
    ///
    /// The heap is as it was when they were taken: nobody else has used it, and this thread may allocate.
    pub(crate) unsafe fn put_back(&mut self) -> usize {
        let mut nr_lost = 0;
        for secret in self.0.drain(..).rev() {
            // SAFETY: the field is where it was, and holds its default, which owns nothing by the rules for secrets.
            unsafe {
                if let Some((elements, layout)) = secret.block {
                    let Ok(block) = alloc::allocate_zeroed(layout) else {
                        nr_lost += 1;
                        continue;
                    };
                    block.as_ptr().copy_from_nonoverlapping(elements.as_ptr(), elements.len());
                    secret.at.copy_from_nonoverlapping(secret.bytes.as_ptr(), secret.bytes.len());
                    secret.at.cast::<u64>().write(block.as_ptr().expose_provenance() as u64);
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
        let words = || at.cast::<[u64; 3]>().read();
        let (start, len, layout, stride) = match block {
            Block::None => return None,
            Block::Text => {
                let text @ [start, len, _] = words();
                (start as usize, len as usize, text_block(text)?, 1)
            }
            Block::Sequence(stride, align) => {
                let [start, capacity, len] = words().map(|word| word as usize);
                (start, len, Layout::from_size_align(capacity * stride, align).ok()?, stride)
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
