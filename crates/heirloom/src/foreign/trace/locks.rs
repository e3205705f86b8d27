//! Locks that a dead thread left taken, in an object itself: those of what it owns are asked when they are next taken.

use heirloom_abi::pool::Memory;

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
    match &ty.parts {
        Parts::Fields(fields) => {
            fields.iter().any(|&(offset, field)| is_held(memory, shapes, field, at + offset, generation))
        }
        Parts::Elements(len, elem) => {
            let size = shapes.get(*elem).size;
            (0..(*len).min(ELEMENTS))
                .any(|index| is_held(memory, shapes, *elem, at + index * size, generation))
        }
        Parts::Collection(collection, args) => {
            let mut word = [0; 8];
            let len = if collection.name == "Mutex" { 4 } else { 8 };
            let held = match collection.name {
                "Mutex" | "RwLock" if memory.read(at, &mut word[..len]).is_none() => false,
                // A mutex keeps the low 29 bits of its holder's generation.
                "Mutex" => word[0] & 1 == 1 && low_half(&word) >> 3 == generation << 3 >> 3,
                // A writer. Readers change nothing.
                "RwLock" => word[3] & 0x80 != 0 && (u64::from_le_bytes(word) >> 32) as u32 == generation,
                _ => return false,
            };
            // The value behind its own words; see `collections::behind`.
            let words = if collection.name == "Mutex" { 4u64 } else { 12 };
            let inner = args.first().is_some_and(|&arg| {
                is_held(memory, shapes, arg, at + words.next_multiple_of(shapes.get(arg).align), generation)
            });
            held || inner
        }
        _ => false,
    }
}

fn low_half(word: &[u8; 8]) -> u32 {
    u32::from_le_bytes([word[0], word[1], word[2], word[3]])
}
