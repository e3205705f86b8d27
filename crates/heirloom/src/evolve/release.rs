//! Gives back all that a value owns, by its description alone: what is left of a root once its successor stands.
#![expect(unsafe_code, reason = "follows the pointers of types that this program may not have")]

use std::alloc::Layout;
use std::ptr::NonNull;

use super::collection::{is_full, text_block};
use super::shape::{PLAIN, Shape, Shapes};
use crate::alloc;

/// Gives back what the value at `at` owns, not the value itself. Returns how many blocks that were.
///
/// # Safety
///
/// - A value of the type lies at `at`, and nobody uses it or what it owns any more.
/// - It owns what it reaches: nobody else frees it.
pub(crate) unsafe fn release(shapes: &Shapes, at: *const u8) -> u64 {
    let mut nr = 0;
    // SAFETY: passed on.
    unsafe { node(shapes, shapes.root, at, &mut nr) };
    nr
}

/// # Safety
///
/// As for [`release`], for the type of this node.
unsafe fn node(shapes: &Shapes, id: usize, at: *const u8, nr: &mut u64) {
    if id == PLAIN {
        return;
    }
    // SAFETY: the offsets come from the description of what lies at `at`, by the caller's promise.
    unsafe {
        match &shapes.nodes[id] {
            Shape::Plain | Shape::Secret { .. } => {}
            Shape::Parts(parts) => {
                parts.iter().for_each(|&(offset, part)| node(shapes, part, at.add(offset), nr))
            }
            Shape::Cases(tag, cases) => {
                let mut found = [0; 16];
                at.copy_to_nonoverlapping(found.as_mut_ptr(), *tag);
                let is_it = |case: &&(i128, Vec<_>)| case.0.to_le_bytes()[..*tag] == found[..*tag];
                if let Some((_, parts)) = cases.iter().find(is_it) {
                    parts.iter().for_each(|&(offset, part)| node(shapes, part, at.add(offset), nr));
                }
            }
            Shape::Array { len, stride, elem } => {
                (0..*len).for_each(|index| node(shapes, *elem, at.add(index * stride), nr));
            }
            Shape::Text => {
                let text = at.cast::<[u64; 3]>().read();
                if let Some(layout) = text_block(text) {
                    give_back(std::ptr::with_exposed_provenance(text[0] as usize), Some(layout), nr);
                }
            }
            Shape::Sequence { stride, align, elem } => {
                let [start, capacity, len] = at.cast::<[u64; 3]>().read().map(|word| word as usize);
                let start = std::ptr::with_exposed_provenance::<u8>(start);
                if *elem != PLAIN {
                    (0..len).for_each(|index| node(shapes, *elem, start.add(index * stride), nr));
                }
                give_back(start, Layout::from_size_align(capacity * stride, *align).ok(), nr);
            }
            Shape::Owned { size, align, value } => {
                let start = std::ptr::with_exposed_provenance::<u8>(at.cast::<u64>().read() as usize);
                node(shapes, *value, start, nr);
                give_back(start, Layout::from_size_align(*size, *align).ok(), nr);
            }
            Shape::Map { buckets, key, value } => {
                let [control, mask] = at.cast::<[u64; 2]>().read().map(|word| word as usize);
                if mask == 0 {
                    return;
                }
                let control = std::ptr::with_exposed_provenance::<u8>(control);
                if *key != PLAIN || *value != PLAIN {
                    for bucket in (0..=mask).filter(|&bucket| is_full(control.add(bucket).read())) {
                        let pair = control.sub((bucket + 1) * buckets.stride);
                        node(shapes, *key, pair, nr);
                        node(shapes, *value, pair.add(buckets.value_at), nr);
                    }
                }
                if let Some((layout, control_at)) = buckets.block(mask + 1) {
                    give_back(control.sub(control_at), Some(layout), nr);
                }
            }
            Shape::Niche { size, value } => {
                if (0..*size).any(|offset| at.add(offset).read() != 0) {
                    node(shapes, *value, at, nr);
                }
            }
        }
    }
}

/// # Safety
///
/// The block is one of this heap's, of this layout, and nobody's any more.
unsafe fn give_back(start: *const u8, layout: Option<Layout>, nr: &mut u64) {
    if let (Some(start), Some(layout)) = (NonNull::new(start.cast_mut()), layout)
        && layout.size() > 0
    {
        // SAFETY: passed on.
        unsafe { alloc::deallocate(start, layout) };
        *nr += 1;
    }
}
