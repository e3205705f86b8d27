//! What an object that nothing reaches most likely is.
//!
//! A heap records the type of its roots, and none for each object. So the types of the roots are tried on the bytes:
//!
//! ```text
//! size class fits? -> bytes behind it zero? -> every part of it possible? -> how much speaks for it
//!                                               bool 0 or 1, a variant that exists, a Vec that points to an allocated
//!                                               slot of its size, control bytes that are some, text that is UTF-8
//! ```
//!
//! What fits best gives the name, what an object with a name owns is then known too. It is an inference, and is shown as
//! one: `likely`. Two types with the same parts cannot be told apart, and both are named. What is given back does not
//! depend on any of this.

use std::collections::HashMap;
use std::string::String;
use std::vec::Vec;

use heirloom_abi::pool::Memory;
use heirloom_slab::size_class::{class_bytes, class_of};

use super::collections::{Holding, Table, lay_out};
use super::ground::Slot;
use super::shapes::{Node, Parts, Shapes, is_value};
use super::walk::Walk;

/// So many objects are looked at; a heap that lost more has one reason for them.
const LOOKED_AT: usize = 1 << 20;

/// A reference that leads to an object of the right size is no accident.
const OWNS: u32 = 8;

/// Something that a block may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guess {
    Value(Node),
    Values(Node),
    Text,
    Bytes,
    Table(Node, Option<Node>),
}

/// Names slots: for the number of a slot, the name of what it likely holds.
pub(super) fn name<M: Memory + ?Sized>(walk: &mut Walk<'_, M>, slots: &[Slot]) -> HashMap<usize, String> {
    let guesses = collect_guesses(walk.shapes);
    let mut found = Vec::new();
    for slot in slots.iter().take(LOOKED_AT) {
        let mut best: (u32, Vec<usize>) = (0, Vec::new());
        for (index, (guess, _)) in guesses.iter().enumerate() {
            match evidence(walk, *guess, slot) {
                Some(more) if more > best.0 || best.1.is_empty() => best = (more, vec![index]),
                Some(same) if same == best.0 => best.1.push(index),
                _ => {}
            }
        }
        found.push((*slot, best.0, best.1));
    }
    // Who owns something is asked first: what it owns is then not guessed at.
    found.sort_by_key(|(slot, evidence, _)| (std::cmp::Reverse(*evidence), slot.start));
    let mut names = HashMap::new();
    for (slot, evidence, best) in found {
        if names.contains_key(&slot.number()) {
            continue;
        }
        // A vector with room for one value is rare.
        let is_value = |&index: &usize| matches!(guesses[index].0, Guess::Value(_));
        let best = if best.iter().any(is_value) { best.into_iter().filter(is_value).collect() } else { best };
        let [only] = best[..] else {
            let joined = match best.len() {
                0 => continue,
                2 | 3 => best.iter().map(|&index| guesses[index].1.as_str()).collect::<Vec<_>>().join(" or "),
                nr => format!("one of {nr} types"),
            };
            names.insert(slot.number(), joined);
            continue;
        };
        names.insert(slot.number(), guesses[only].1.clone());
        if evidence < OWNS {
            continue;
        }
        walk.log = Some(Vec::new());
        walk.ground.reach(&slot);
        follow(walk, guesses[only].0, &slot);
        for (owned, node) in walk.log.take().unwrap_or_default() {
            let text = &walk.shapes.get(node).text;
            names.entry(owned.number()).or_insert_with(|| block_of(walk.shapes, node, text));
        }
    }
    names
}

/// All that the blocks of collections in these types may hold, with its name.
fn collect_guesses(shapes: &Shapes) -> Vec<(Guess, String)> {
    let mut guesses: Vec<(Guess, String)> = Vec::new();
    let mut add = |guess: Guess, text: String| {
        if !guesses.iter().any(|(_, known)| *known == text) {
            guesses.push((guess, text));
        }
    };
    for (node, ty) in shapes.iter() {
        match &ty.parts {
            Parts::Fields(_) | Parts::Cases(..) if ty.size > 0 => add(Guess::Value(node), ty.text.clone()),
            Parts::Collection(collection, args) => {
                let block = || block_of(shapes, node, &ty.text);
                match (collection.name, &args[..]) {
                    ("Box", &[arg]) if shapes.get(arg).size > 0 => add(Guess::Value(arg), block()),
                    ("Vec" | "VecDeque", &[arg]) if shapes.get(arg).size > 0 => {
                        add(Guess::Values(arg), block())
                    }
                    ("BoxSlice", &[arg]) if shapes.get(arg).size > 0 => add(Guess::Values(arg), block()),
                    ("String" | "BoxStr", _) => add(Guess::Text, block()),
                    ("ByteString", _) => add(Guess::Bytes, block()),
                    ("HashMap", &[key, value]) => add(Guess::Table(key, Some(value)), block()),
                    ("HashSet", &[key]) => add(Guess::Table(key, None), block()),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    guesses
}

/// The name of the block that a collection owns.
fn block_of(shapes: &Shapes, node: Node, text: &str) -> String {
    match &shapes.get(node).parts {
        Parts::Collection(collection, args) if collection.name == "Box" => {
            args.first().map_or_else(String::new, |&arg| shapes.get(arg).text.clone())
        }
        _ => format!("block of {text}"),
    }
}

/// How much speaks for a guess; `None` where something speaks against it.
fn evidence<M: Memory + ?Sized>(walk: &mut Walk<'_, M>, guess: Guess, slot: &Slot) -> Option<u32> {
    match guess {
        Guess::Value(node) => {
            let size = walk.shapes.get(node).size;
            (fits(slot, size) && is_zero(walk, slot.start + size, slot.bytes - size)).then_some(())?;
            of_value(walk, node, slot.start)
        }
        Guess::Values(node) => {
            let size = walk.shapes.get(node).size;
            let room = slot.bytes / size;
            (room > 0 && is_zero(walk, slot.start + room * size, slot.bytes % size)).then_some(())?;
            // What was never used is zero; what was may be of values that are gone.
            let mut sum = of_value(walk, node, slot.start)?;
            for index in 1..room.min(8) {
                sum += of_value(walk, node, slot.start + index * size).unwrap_or(0);
            }
            Some(sum)
        }
        Guess::Text => {
            let text = head(walk, slot)?;
            let len = text.iter().rposition(|&byte| byte != 0)? + 1;
            let is_cut = len == text.len() && (len as u64) < slot.bytes;
            let good = match std::str::from_utf8(&text[..len]) {
                Ok(text) => text,
                Err(error) if is_cut && error.error_len().is_none() => "",
                Err(_) => return None,
            };
            let is_text = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
            good.chars().all(is_text).then_some(3)
        }
        Guess::Bytes => head(walk, slot)?.iter().any(|&byte| byte != 0).then_some(0),
        Guess::Table(key, value) => {
            let (table, _) = table_in(walk.shapes, key, value, slot)?;
            of_table(walk, &table, slot)
        }
    }
}

/// True where an object of this size is given such a slot.
fn fits(slot: &Slot, size: u64) -> bool {
    match slot.cache {
        Some(_) => size <= slot.bytes && class_bytes(class_of(size as usize)) as u64 == slot.bytes,
        None => size == slot.bytes,
    }
}

/// The first bytes of a slot.
fn head<M: Memory + ?Sized>(walk: &mut Walk<'_, M>, slot: &Slot) -> Option<Vec<u8>> {
    let mut bytes = vec![0; slot.bytes.min(4096) as usize];
    walk.pages.read(slot.start, &mut bytes)?;
    Some(bytes)
}

fn is_zero<M: Memory + ?Sized>(walk: &mut Walk<'_, M>, at: u64, len: u64) -> bool {
    let mut bytes = vec![0; len.min(4096) as usize];
    walk.pages.read(at, &mut bytes).is_some() && bytes.iter().all(|&byte| byte == 0)
}

/// As deep as the type is nested, which is bounded.
fn of_value<M: Memory + ?Sized>(walk: &mut Walk<'_, M>, node: Node, at: u64) -> Option<u32> {
    let shapes = walk.shapes;
    let ty = shapes.get(node);
    let mut bytes = [0; 16];
    let len = (ty.size as usize).min(16);
    match &ty.parts {
        Parts::Fields(fields) => fields
            .iter()
            .try_fold(0u32, |sum, &(offset, field)| Some(sum + of_value(walk, field, at + offset)?)),
        Parts::Elements(len, elem) => {
            let size = shapes.get(*elem).size;
            // Nothing, as often as one likes, and arrays of that in arrays.
            let len = if size == 0 { 0 } else { *len };
            (0..len.min(16)).try_fold(0, |sum, index| Some(sum + of_value(walk, *elem, at + index * size)?))
        }
        Parts::Collection(..) => match walk.holding(node, at).ok()? {
            Holding::Nothing => Some(0),
            Holding::Inline(inner, place) => of_value(walk, inner, place),
            Holding::Block(block) | Holding::Shared(block) | Holding::Two(block, _) => {
                walk.slot_of(&block).ok().map(|_| OWNS)
            }
        },
        Parts::Plain | Parts::Unknown(..) => Some(0),
        _ if walk.pages.read(at, &mut bytes[..len]).is_none() => None,
        Parts::Bool => (bytes[0] <= 1).then_some(1),
        Parts::Char => {
            let [a, b, c, d, ..] = bytes;
            char::from_u32(u32::from_le_bytes([a, b, c, d])).map(|_| 1)
        }
        Parts::NonZero => bytes.iter().any(|&byte| byte != 0).then_some(1),
        Parts::Among(values) => values.iter().any(|&one| is_value(&bytes[..len], one)).then_some(1),
        Parts::Cases(tag, cases) => {
            let tag = (*tag).min(len);
            let fields = shapes.fields_of(cases, &bytes[..tag])?;
            fields
                .iter()
                .try_fold(1u32, |sum, &(offset, field)| Some(sum + of_value(walk, field, at + offset)?))
        }
    }
}

/// The largest table that such a slot holds and a smaller one does not.
fn table_in(shapes: &Shapes, key: Node, value: Option<Node>, slot: &Slot) -> Option<(Table, u64)> {
    (2..48).find_map(|shift| lay_out(shapes, key, value, 1 << shift).filter(|(_, bytes)| fits(slot, *bytes)))
}

fn of_table<M: Memory + ?Sized>(walk: &mut Walk<'_, M>, table: &Table, slot: &Slot) -> Option<u32> {
    const EMPTY: u8 = 0xff;
    let (mut sum, mut full) = (4, 0);
    for bucket in 0..table.buckets.min(256) {
        let mut control = [0];
        walk.pages.read(slot.start + table.control + bucket, &mut control)?;
        match control[0] {
            0..0x80 if full < 8 => {
                full += 1;
                let at = slot.start + table.control - (bucket + 1) * table.stride;
                sum += of_value(walk, table.key, at)?;
                if let Some(value) = table.value {
                    sum += of_value(walk, value, at + table.value_at)?;
                }
            }
            0..0x80 | 0x80 | EMPTY => {}
            _ => return None,
        }
    }
    Some(sum)
}

fn follow<M: Memory + ?Sized>(walk: &mut Walk<'_, M>, guess: Guess, slot: &Slot) {
    use super::collections::Contents;
    match guess {
        Guess::Value(node) => walk.add_value(node, slot.start),
        Guess::Table(key, value) => {
            if let Some((table, _)) = table_in(walk.shapes, key, value, slot) {
                walk.add_contents(&Contents::Table(table), slot.start);
            }
        }
        // How many values are live is not known.
        Guess::Values(_) | Guess::Text | Guess::Bytes => {}
    }
}
