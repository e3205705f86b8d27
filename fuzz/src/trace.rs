//! Tracing: a small heap whose types and whose objects both come from the input.
//!
//! `length u16`, the byte form of the root's type, then words of the objects (`at u16 in words, what u8, value u64`): the value
//! as it is, or, where `what` is odd, the address of the object of that number. The pool itself is whole: what breaks it is
//! the business of the target `pool`.

use heirloom::foreign::trace::{Start, trace};
use heirloom_abi::pool::PoolReader;
use heirloom_abi::types::{FieldDesc, FieldRules, TypeDesc, TypeKind, TypeRules, flat_len, flatten};

use crate::pool::{BYTES, Bytes, build};

/// Where the owner maps the heap.
const BASE: u64 = 0x1000_0000_0000;
const SLOT: u64 = 64;

const U64: &TypeDesc = &TypeDesc::primitive("u64", 8, 8);
const STRING: &TypeDesc = &TypeDesc::collection("String", 2, 24, 8, &[]);
const AGAIN: &TypeDesc = &TypeDesc::recursive("Node", 64, 8);
const NEXT: &TypeDesc =
    &TypeDesc::collection("Option", 1, 8, 8, &[&TypeDesc::collection("Box", 1, 8, 8, &[AGAIN])]);
const ARC: &TypeDesc = &TypeDesc::collection("Arc", 1, 8, 8, &[U64]);
const VEC: &TypeDesc = &TypeDesc::collection("Vec", 1, 24, 8, &[NEXT]);
const NODE: &TypeDesc = &TypeDesc {
    name: "Node",
    size: 64,
    align: 8,
    rules: TypeRules::NONE,
    kind: TypeKind::Struct {
        fields: &[
            field("next", 0, NEXT),
            field("arc", 8, ARC),
            field("all", 16, VEC),
            field("text", 40, STRING),
        ],
    },
};
const MAP: &TypeDesc = &TypeDesc::collection("HashMap", 1, 56, 8, &[U64, NEXT_U64]);
const NEXT_U64: &TypeDesc = &TypeDesc::collection("Box", 1, 8, 8, &[U64]);
const TREE: &TypeDesc = &TypeDesc::collection("BTreeMap", 1, 16, 8, &[U64, STRING]);
/// A value within itself: through an `Option`, which lies inline, and, once the kind of its last node is changed, through nothing.
const SELF_IN_OPTION: &TypeDesc = &within(&[field(
    "inner",
    0,
    &TypeDesc::collection("Option", 1, 8, 8, &[&TypeDesc::recursive("A", 8, 8)]),
)]);
const SELF: &TypeDesc = &within(&[field("inner", 0, &TypeDesc::primitive("A", 8, 8))]);
static SELF_IN_OPTION_FORM: [u8; flat_len(SELF_IN_OPTION)] = flatten(SELF_IN_OPTION);
static SELF_FORM: [u8; flat_len(SELF)] = flatten(SELF);
static NODE_FORM: [u8; flat_len(NODE)] = flatten(NODE);
static MAP_FORM: [u8; flat_len(MAP)] = flatten(MAP);
static TREE_FORM: [u8; flat_len(TREE)] = flatten(TREE);

const fn field(name: &'static str, offset: u64, ty: &'static TypeDesc) -> FieldDesc {
    FieldDesc { name, offset, ty, rules: FieldRules::NONE }
}

const fn within(fields: &'static [FieldDesc]) -> TypeDesc {
    TypeDesc { name: "A", size: 8, align: 8, rules: TypeRules::NONE, kind: TypeKind::Struct { fields } }
}

/// Traces from one root; every object is reached or not, whatever leads there, and each is counted once.
pub fn run(data: &[u8]) {
    let Some((len, rest)) = data.split_first_chunk() else { return };
    let (form, words) = rest.split_at(usize::from(u16::from_le_bytes(*len)).min(rest.len()));
    let mut memory = build(&[0, 0, 8, 1, 16, 1, 0, 0]);
    let (first, nr) = objects(&memory);
    for word in words.chunks_exact(11) {
        let at = u64::from(u16::from_le_bytes([word[0], word[1]])) % (nr * SLOT / 8);
        let mut value = [0; 8];
        value.copy_from_slice(&word[3..]);
        let mut value = u64::from_le_bytes(value);
        if word[2] % 2 == 1 {
            value = BASE + first + value % nr * SLOT;
        }
        memory.put(first + at * 8, &value.to_le_bytes());
    }
    let reader = PoolReader::open(&memory, 0).expect("the pool is whole");
    let start = Start { name: "root", form, offset: first };
    let Ok(traced) = trace(&memory, &reader, BASE, BYTES as u64, &[start], &[]) else { return };
    let leaks = traced.leaks(&reader);
    assert_eq!(leaks.reached + leaks.objects, nr, "each object is reached or not");
    assert_eq!(leaks.rows.iter().map(|row| row.objects).sum::<u64>(), leaks.objects);
    assert_eq!(traced.unreached().count() as u64, leaks.objects);
}

/// Where the objects start, and how many there are.
fn objects(memory: &Bytes) -> (u64, u64) {
    let reader = PoolReader::open(memory, 0).expect("the pool is whole");
    let block = reader.block(0).expect("a block").expect("a block");
    let slabs = (0..reader.geometry().units()).filter_map(|unit| reader.slab(&block, unit).ok().flatten());
    let slab = slabs.last().expect("a slab");
    (slab.base, u64::from(slab.nr_slots - slab.free_bits))
}

/// A root of each form, with a few references that lead somewhere.
pub fn seeds() -> Vec<Vec<u8>> {
    let seed = |form: &[u8], words: &[(u16, u8, u64)]| {
        let mut bytes = (form.len() as u16).to_le_bytes().to_vec();
        bytes.extend(form);
        for (at, what, value) in words {
            bytes.extend(at.to_le_bytes());
            bytes.push(*what);
            bytes.extend(value.to_le_bytes());
        }
        bytes
    };
    // The root is object 0; object n starts at word 8 n.
    let list: Vec<(u16, u8, u64)> = (0..9)
        .flat_map(|n| {
            let node = 8 * n;
            let vec = [(node + 2, 0, 8), (node + 3, 0, 0), (node + 4, 0, 0)];
            [(node, 1, u64::from(n) + 1), (node + 1, 0, 8)].into_iter().chain(vec)
        })
        .collect();
    let map = [(0, 1, 2), (1, 0, 3), (2, 0, 1)];
    let within_itself = {
        /// The kind of a way back; see `docs/format.md`.
        const RECURSIVE: u8 = 6;
        let mut form = SELF_FORM;
        // The last node: kind, alignment, size, length of the name, name.
        form[SELF_FORM.len() - (1 + 1 + 8 + 1 + 1)] = RECURSIVE;
        seed(&form, &[])
    };
    vec![
        seed(&NODE_FORM, &list),
        seed(&MAP_FORM, &map),
        seed(&TREE_FORM, &[(0, 1, 3), (25, 0, 1 << 16)]),
        seed(&SELF_IN_OPTION_FORM, &[(0, 0, 1)]),
        within_itself,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_within_itself_comes_to_an_end() {
        for seed in &seeds()[3..] {
            run(seed);
        }
    }

    #[test]
    fn the_first_seed_leads_along_its_list() {
        let seed = &seeds()[0];
        let memory = {
            // As `run` does, and no more.
            let mut memory = build(&[0, 0, 8, 1, 16, 1, 0, 0]);
            let (first, _) = objects(&memory);
            for word in seed[2 + NODE_FORM.len()..].chunks_exact(11) {
                let at = u64::from(u16::from_le_bytes([word[0], word[1]]));
                let value = u64::from(word[3]);
                let value = if word[2] == 1 { BASE + first + value * SLOT } else { value };
                memory.put(first + at * 8, &value.to_le_bytes());
            }
            memory
        };
        let (first, nr) = objects(&memory);
        let reader = PoolReader::open(&memory, 0).expect("the pool is whole");
        let start = Start { name: "root", form: &NODE_FORM, offset: first };
        let leaks =
            trace(&memory, &reader, BASE, BYTES as u64, &[start], &[]).expect("traced").leaks(&reader);
        // The last object of the list is all zeros: its vector and its shared pointer have no address.
        assert_eq!((leaks.reached, leaks.objects, leaks.doubts.len()), (10, nr - 10, 2), "{leaks:?}");
        run(seed);
    }
}
