//! The blocks that a value owns, found by the description of its type.
//!
//! The same decoding as of a foreign heap (`foreign::trace`), over a value of our own: what its bytes say is true. Values that others
//! own too are left out: undoing a change leaves them one owner too many, which is a leak at most.
#![expect(unsafe_code, reason = "reads a value by the description of its type")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::ptr::NonNull;
use std::rc::Rc;

use heirloom_abi::types::{TypeDesc, flat_len, flatten_into};

use crate::foreign::trace::{Block, Contents, Holding, Node, Parts, Shapes};
use crate::heritable::Heritable;

/// A type, ready for walking.
type Described = Rc<(Shapes, Node)>;

thread_local! {
    /// By the address of the description, which a type has one of, or a few.
    static KNOWN: RefCell<HashMap<usize, Option<Described>>> = RefCell::new(HashMap::new());
}

/// Hands each block that `value` owns, and nobody else, to `each`.
pub(super) fn for_each_owned<T: Heritable>(value: &T, mut each: impl FnMut(NonNull<u8>)) {
    let Some(described) = describe(T::TYPE) else { return };
    let (shapes, node) = &*described;
    let mut stack = vec![(*node, std::ptr::from_ref(value).expose_provenance() as u64)];
    while let Some((node, at)) = stack.pop() {
        let ty = shapes.get(node);
        if !ty.points {
            continue;
        }
        match &ty.parts {
            Parts::Fields(fields) => stack.extend(fields.iter().map(|&(offset, field)| (field, at + offset))),
            Parts::Cases(tag, cases) => {
                // SAFETY: the value has a tag.
                let bytes = unsafe { bytes(at, *tag) };
                if let Some(fields) = shapes.fields_of(cases, bytes) {
                    stack.extend(fields.iter().map(|&(offset, field)| (field, at + offset)));
                }
            }
            Parts::Elements(len, elem) => {
                let size = shapes.get(*elem).size;
                stack.extend((0..*len).map(|index| (*elem, at + index * size)));
            }
            Parts::Collection(collection, args) => {
                // SAFETY: the value has so many bytes.
                let head = unsafe { bytes(at, collection.head_bytes.min(ty.size as usize)) };
                match collection.decode(shapes, args, head, ty.size, at) {
                    Ok(Holding::Inline(inner, place)) => stack.push((inner, place)),
                    Ok(Holding::Block(block)) => own(shapes, &block, &mut each, &mut stack),
                    Ok(Holding::Two(one, other)) => {
                        own(shapes, &one, &mut each, &mut stack);
                        own(shapes, &other, &mut each, &mut stack);
                    }
                    Ok(Holding::Nothing | Holding::Shared(_)) | Err(_) => {}
                }
            }
            Parts::Plain
            | Parts::Bool
            | Parts::Char
            | Parts::NonZero
            | Parts::Among(_)
            | Parts::Unknown(..) => {}
        }
    }
}

fn own(shapes: &Shapes, block: &Block, each: &mut impl FnMut(NonNull<u8>), stack: &mut Vec<(Node, u64)>) {
    if let Some(start) = NonNull::new(std::ptr::with_exposed_provenance_mut(block.address as usize)) {
        each(start);
    }
    push(shapes, &block.contents, block.address, stack);
}

fn push(shapes: &Shapes, contents: &Contents, block: u64, stack: &mut Vec<(Node, u64)>) {
    let mut values = |node: Node, from: u64, len: u64| {
        if shapes.get(node).points {
            let size = shapes.get(node).size;
            stack.extend((0..len).map(|index| (node, from + index * size)));
        }
    };
    match *contents {
        Contents::Bytes | Contents::Text => {}
        Contents::Values { node, skip, len } => values(node, block + skip, len),
        Contents::Ring(node, capacity, first, len) => {
            let until_end = len.min(capacity - first);
            values(node, block + first * shapes.get(node).size, until_end);
            values(node, block, len - until_end);
        }
        Contents::Table(table) => {
            // SAFETY: the table has so many control bytes.
            let control = unsafe { bytes(block + table.control, table.buckets as usize) };
            for (bucket, _) in (0..).zip(control).filter(|&(_, &control)| control < 0x80) {
                let at = block + table.control - (bucket + 1) * table.stride;
                values(table.key, at, 1);
                if let Some(value) = table.value {
                    values(value, at + table.value_at, 1);
                }
            }
        }
        // What lies below the root of a tree, or in the strings of a pool, is a leak if a recovery undoes the change.
        Contents::Tree(_) | Contents::Texts(_) | Contents::Item(_) => {}
    }
}

fn describe(ty: &'static TypeDesc) -> Option<Described> {
    let key = std::ptr::from_ref(ty).addr();
    KNOWN.with_borrow_mut(|known| {
        let make = || {
            let mut form = vec![0; flat_len(ty)];
            flatten_into(ty, &mut form);
            let mut shapes = Shapes::default();
            let node = shapes.add(&form).ok()?;
            Some(Rc::new((shapes, node)))
        };
        known.entry(key).or_insert_with(make).clone()
    })
}

/// # Safety
///
/// So many bytes can be read at this address for as long as the caller keeps the slice.
unsafe fn bytes<'a>(at: u64, len: usize) -> &'a [u8] {
    // SAFETY: the caller's duty.
    unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(at as usize), len) }
}
