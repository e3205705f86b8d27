//! Shapes: the types of a heap's roots, made ready for walking.
//!
//! ```text
//! byte form (a tree, with ways back)  --add-->  nodes by number (a graph): a way back is the number of its struct
//! ```
//!
//! A node says what a value of its type may point to, and what its own bytes must be, which `likely` asks of bytes that
//! no root vouches for. Types without any pointer are marked, so that a vector of a million numbers costs nothing.
//!
//! # Invariants
//!
//! - *no value within itself*: a way back leads through a block. One through nothing but what lies inline (a field, an `Option`, a lock), which
//!   no program's types have, is a type that is not known. So whoever goes into what lies inline comes to an end.

use std::string::{String, ToString};
use std::vec::Vec;

use heirloom_abi::types::{Fields, Shape, TypeView, TypesError};

use super::collections::{Collection, find};

/// The number of a type.
pub(crate) type Node = u32;

/// The value of a tag, and the fields that are then there.
pub(crate) type Case = (i128, Vec<(u64, Node)>);

/// All types of the roots.
#[derive(Default)]
pub(crate) struct Shapes {
    types: Vec<Type>,
}

/// One type.
pub(crate) struct Type {
    /// As Rust writes it.
    pub(crate) text: String,
    pub(crate) size: u64,
    pub(crate) align: u64,
    pub(crate) parts: Parts,
    /// False where no value of it leads anywhere.
    pub(crate) points: bool,
}

/// What is inside a type.
pub(crate) enum Parts {
    /// Any bytes.
    Plain,
    /// 0 or 1.
    Bool,
    /// A Unicode scalar value.
    Char,
    /// Not zero.
    NonZero,
    /// One of these.
    Among(Vec<i128>),
    /// Fields: where, and what.
    Fields(Vec<(u64, Node)>),
    /// An integer of so many bytes, and for each of its values the fields that are then there.
    Cases(usize, Vec<Case>),
    /// Elements: how many, and what.
    Elements(u64, Node),
    /// A collection that this program knows.
    Collection(&'static Collection, Vec<Node>),
    /// A type that it does not know: its name, and its version if it is a collection.
    Unknown(String, u32),
}

/// A struct, an enum or a block around the type at hand.
struct Around<'a> {
    /// `None` for a block: what is further out does not lie in the same bytes.
    view: Option<&'a TypeView<'a>>,
    node: Node,
    outer: Option<&'a Around<'a>>,
}

impl Shapes {
    /// Adds a type from its byte form.
    pub(crate) fn add(&mut self, form: &[u8]) -> Result<Node, TypesError> {
        Ok(self.node(&TypeView::parse(form)?, None))
    }

    pub(crate) fn get(&self, node: Node) -> &Type {
        &self.types[node as usize]
    }

    /// All types, with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Node, &Type)> {
        (0..).zip(&self.types)
    }

    /// The depth of this is that of the byte form, which its reader has bounded.
    fn node(&mut self, view: &TypeView<'_>, around: Option<&Around<'_>>) -> Node {
        let within_itself = match view.shape {
            Shape::Recursive => match find_around(around, view) {
                Some((node, true)) => return node,
                found => found.is_some(),
            },
            _ => false,
        };
        let node = self.types.len() as Node;
        // A way back from inside leads through a collection, so it points.
        self.types.push(Type {
            text: view.to_string(),
            size: view.size,
            align: view.align,
            parts: Parts::Plain,
            points: true,
        });
        let parts = match view.shape {
            Shape::Primitive => match view.name {
                "bool" | "AtomicBool" => Parts::Bool,
                "char" => Parts::Char,
                name if is_number(name) => Parts::Plain,
                // A name that somebody wrote by hand: it may stand for a pointer.
                name => Parts::Unknown(name.to_owned(), 0),
            },
            Shape::Recursive if within_itself => Parts::Unknown(view.name.to_owned(), 0),
            // The reader refuses a way back that leads nowhere.
            Shape::Recursive => Parts::Plain,
            Shape::Enum { variants, .. } => {
                Parts::Among(variants.map(|variant| variant.discriminant).collect())
            }
            Shape::Struct(fields) => {
                let own = Around { view: Some(view), node, outer: around };
                Parts::Fields(self.fields(fields, &own))
            }
            Shape::DataEnum { repr, cases } => {
                let own = Around { view: Some(view), node, outer: around };
                let cases = cases.map(|case| (case.variant.discriminant, self.fields(case.fields, &own)));
                Parts::Cases(integer_bytes(repr), cases.collect())
            }
            Shape::Array { len, elem } => {
                let elem = elem.map(|elem| self.node(&elem, around)).last();
                elem.map_or(Parts::Plain, |elem| Parts::Elements(len, elem))
            }
            Shape::Collection { format_version, args } => {
                let known = find(view.name, format_version);
                let block = Around { view: None, node, outer: around };
                let within = if known.is_some_and(|known| known.is_inline) { around } else { Some(&block) };
                let args: Vec<Node> = args.map(|arg| self.node(&arg, within)).collect();
                match (view.name, format_version) {
                    ("PhantomData", 1) => Parts::Plain,
                    ("NonZero", 1) => Parts::NonZero,
                    (name, version) => match known {
                        // One that is smaller than its own layout is none.
                        Some(collection)
                            if collection.args == args.len()
                                && (collection.is_inline || view.size >= collection.head_bytes as u64) =>
                        {
                            Parts::Collection(collection, args)
                        }
                        _ => Parts::Unknown(name.to_owned(), version),
                    },
                }
            }
        };
        let points = match &parts {
            Parts::Fields(fields) => fields.iter().any(|&(_, ty)| self.get(ty).points),
            Parts::Cases(_, cases) => {
                cases.iter().flat_map(|(_, fields)| fields).any(|&(_, ty)| self.get(ty).points)
            }
            Parts::Elements(len, elem) => *len > 0 && self.get(*elem).points,
            Parts::Collection(collection, args) => {
                !collection.is_inline || args.iter().any(|&arg| self.get(arg).points)
            }
            Parts::Unknown(..) => true,
            _ => false,
        };
        let ty = &mut self.types[node as usize];
        (ty.parts, ty.points) = (parts, points);
        node
    }

    /// The fields of the variant that a tag of these bytes stands for.
    pub(crate) fn fields_of<'a>(&self, cases: &'a [Case], tag: &[u8]) -> Option<&'a [(u64, Node)]> {
        cases.iter().find(|&&(value, _)| is_value(tag, value)).map(|(_, fields)| fields.as_slice())
    }

    fn fields(&mut self, fields: Fields<'_>, own: &Around<'_>) -> Vec<(u64, Node)> {
        fields.map(|field| (field.offset, self.node(&field.ty, Some(own)))).collect()
    }
}

/// The nearest struct or enum around that a way back names, and whether a block lies between.
fn find_around(mut around: Option<&Around<'_>>, back: &TypeView<'_>) -> Option<(Node, bool)> {
    let mut is_apart = false;
    while let Some(one) = around {
        match one.view {
            None => is_apart = true,
            Some(view) if view.name == back.name => {
                return (view.size == back.size).then_some((one.node, is_apart));
            }
            Some(_) => {}
        }
        around = one.outer;
    }
    None
}

/// True for the types of the language of which any bytes are a value that leads nowhere.
fn is_number(name: &str) -> bool {
    match name.strip_prefix("Atomic") {
        Some(of) => {
            matches!(of, "U8" | "U16" | "U32" | "U64" | "Usize" | "I8" | "I16" | "I32" | "I64" | "Isize")
        }
        None => matches!(
            name,
            "()" | "u8"
                | "u16"
                | "u32"
                | "u64"
                | "u128"
                | "usize"
                | "i8"
                | "i16"
                | "i32"
                | "i64"
                | "i128"
                | "isize"
                | "f32"
                | "f64"
        ),
    }
}

/// The bytes of an integer type; 16 for what is none, which no tag has.
fn integer_bytes(repr: &str) -> usize {
    match repr {
        "u8" | "i8" => 1,
        "u16" | "i16" => 2,
        "u32" | "i32" => 4,
        "u64" | "i64" | "usize" | "isize" => 8,
        _ => 16,
    }
}

/// True where an integer of these bytes, signed or not, is `value`.
pub(crate) fn is_value(bytes: &[u8], value: i128) -> bool {
    let mut all = [0; 16];
    let len = bytes.len().min(16);
    all[..len].copy_from_slice(&bytes[..len]);
    let unsigned = i128::from_le_bytes(all);
    // The repr may be signed: then the upper bytes are copies of the sign.
    let shift = 8 * (16 - len as u32) % 128;
    unsigned == value || unsigned << shift >> shift == value
}
