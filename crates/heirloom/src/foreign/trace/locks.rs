//! Locks that a dead thread left taken, in an object itself: those of what it owns are asked when they are next taken.

use heirloom_abi::pool::Memory;

use super::collections::Holding;
use super::shapes::{Node, Parts, Shapes};

/// So many elements of an array are looked at.
const ELEMENTS: u64 = 4096;

/// True where a lock in the object at `at`, of the type that `form` describes, is held by a thread of `generation` that
/// may change what it guards. What an earlier one left held was seen when that one had died.
pub(crate) fn is_locked<M: Memory + ?Sized>(memory: &M, form: &[u8], at: u64, generation: u32) -> bool {
    let mut shapes = Shapes::default();
    shapes.add(form).is_ok_and(|node| is_held(memory, &shapes, node, at, generation))
}

/// As deep as the type is nested, which is bounded.
fn is_held<M: Memory + ?Sized>(memory: &M, shapes: &Shapes, node: Node, at: u64, generation: u32) -> bool {
    let ty = shapes.get(node);
    let any_of = |fields: &[(u64, Node)]| {
        fields.iter().any(|&(offset, field)| is_held(memory, shapes, field, at + offset, generation))
    };
    match &ty.parts {
        Parts::Fields(fields) => any_of(fields),
        Parts::Cases(tag, cases) => {
            let mut bytes = [0; 16];
            let tag = &mut bytes[..(*tag).min(ty.size as usize)];
            memory.read(at, tag).is_some() && shapes.fields_of(cases, tag).is_some_and(any_of)
        }
        Parts::Elements(len, elem) => {
            let size = shapes.get(*elem).size;
            let len = if size == 0 { 0 } else { (*len).min(ELEMENTS) };
            (0..len).any(|index| is_held(memory, shapes, *elem, at + index * size, generation))
        }
        Parts::Collection(collection, args) => {
            let held = match collection.name {
                "Mutex" => is_mutex_held(memory, at, generation),
                "RwLock" => is_written(memory, at, generation),
                _ => false,
            };
            let mut head = [0; 256];
            let head = &mut head[..collection.head_bytes.min(ty.size as usize).min(256)];
            let inner = memory.read(at, head).and_then(|()| {
                match collection.decode(shapes, args, head, ty.size, at) {
                    Ok(Holding::Inline(inner, place)) => Some((inner, place)),
                    // What does not lie inline is asked when it is next taken.
                    _ => None,
                }
            });
            held || inner.is_some_and(|(inner, place)| is_held(memory, shapes, inner, place, generation))
        }
        _ => false,
    }
}

fn is_mutex_held<M: Memory + ?Sized>(memory: &M, at: u64, generation: u32) -> bool {
    let mut word = [0; 4];
    let word = memory.read(at, &mut word).map(|()| u32::from_le_bytes(word));
    // It keeps the low 29 bits of its holder's generation.
    word.is_some_and(|word| word & 1 == 1 && word >> 3 == generation << 3 >> 3)
}

/// Readers change nothing.
fn is_written<M: Memory + ?Sized>(memory: &M, at: u64, generation: u32) -> bool {
    let mut state = [0; 8];
    let state = memory.read(at, &mut state).map(|()| u64::from_le_bytes(state));
    state.is_some_and(|state| state >> 31 & 1 == 1 && (state >> 32) as u32 == generation)
}
