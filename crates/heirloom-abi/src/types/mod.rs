//! Types in bytes: what a root holds, said so that another binary can compare it with what it expects.
//!
//! ```text
//! TypeDesc (constant tree)  --flatten-->  bytes  --TypeView::parse-->  Display, first_difference
//!   of this binary, at compile time         |
//!                                           +-- in the roots record of the heap        (`roots`)
//!                                           +-- in the ELF note of every binary        (`note`)
//! ```
//!
//! The byte form holds no pointers, so it can stand in a `static` of a position-independent binary and in a file.
//! All integers are little-endian:
//!
//! ```text
//! form        := "HT" version:u16 node
//! node        := kind:u8 align_log2:u8 size:u64 name payload
//! name        := len:u8 utf8[len]
//! payload     := (1 primitive)   nothing
//!              | (2 struct)      fields
//!              | (3 enum)        repr:name nr:u16 (name discriminant:i128)*
//!              | (4 array)       len:u64 node
//!              | (5 collection)  format_version:u32 nr:u8 node*
//!              | (6 recursive)   nothing: the enclosing struct or enum of this name
//!              | (7 data enum)   repr:name nr:u16 (name discriminant:i128 fields)*
//! fields      := nr:u16 (name offset:u64 node)*
//! ```
//!
//! The version is the lowest that knows every kind in the form: 1, or 2 where there is an enum with data.
//!
//! A second form, "HR" instead of "HT", says of the same type how it takes what its ancestors left (`rules`). It stands in
//! the note only: what lies in a heap has a layout, and no rules.
//!
//! # Invariants (tested by `TypeView::parse`)
//!
//! - *bounded*: at most [`MAX_BYTES`] bytes and [`MAX_DEPTH`] levels.
//! - *contained*: a field lies within its struct or enum, an array is as large as its elements.
//! - *enclosed*: a recursive node names a struct or enum around it, of the same size and alignment.
//! - *printable*: names are UTF-8 without control characters.

mod difference;
mod display;
mod error;
mod flatten;
mod reader;
mod rules;
#[cfg(test)]
mod tests;

pub use difference::{Change, Difference, Part, Path, Step, first_change, first_difference};
pub use error::TypesError;
pub use flatten::{fingerprint, flat_len, flatten, flatten_into, hooks, nr_hooks, rules_form, rules_len};
pub use reader::{
    CaseView, Cases, Children, FieldView, Fields, Names, Shape, TypeView, VariantView, Variants,
};
pub use rules::{
    ConvertFn, DefaultFn, DropFn, FieldRules, FieldRulesView, History, Hook, Lineage, Relative, Relatives,
    TypeRules,
};

/// The highest version of the byte form that [`flatten()`] writes and [`TypeView::parse`] understands.
pub const FORM_VERSION: u16 = 2;

/// The version of the form with rules.
pub const RULES_VERSION: u16 = 1;

/// The first two bytes of every byte form.
pub const FORM_MAGIC: [u8; 2] = *b"HT";

/// The first two bytes of every form with rules.
pub const RULES_MAGIC: [u8; 2] = *b"HR";

/// The largest byte form that is written or read.
pub const MAX_BYTES: usize = 64 * 1024;

/// The deepest nesting of types within types that is written or read.
pub const MAX_DEPTH: usize = 32;

/// The longest name of a type, field or variant, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// The name of tuples, which no identifier can be.
pub const TUPLE: &str = "(,)";

/// The name of arrays, which no identifier can be.
pub const ARRAY: &str = "[]";

/// Describes one type: what it is called, how it is laid out, what is inside.
///
/// Build it with struct syntax in a `const`, where a reference to a temporary lives for ever.
#[derive(Clone, Copy, Debug)]
pub struct TypeDesc {
    /// The identifier alone: moving a type to another module is not a change.
    pub name: &'static str,
    /// `size_of`, in bytes.
    pub size: u64,
    /// `align_of`, in bytes.
    pub align: u64,
    /// What is inside.
    pub kind: TypeKind,
    /// How it takes what its ancestors left; no part of the layout.
    pub rules: &'static TypeRules,
}

/// What is inside a type.
#[derive(Clone, Copy, Debug)]
pub enum TypeKind {
    /// Nothing more to say than the name: integers, floats, `bool`, `char`, atomics.
    Primitive,
    /// Fields, each at its offset.
    Struct {
        /// The fields in the order of their declaration.
        fields: &'static [FieldDesc],
    },
    /// An integer of which only some values are allowed.
    FieldlessEnum {
        /// The name of the integer, such as `u8`.
        repr: &'static str,
        /// The variants in the order of their declaration.
        variants: &'static [VariantDesc],
    },
    /// `len` elements, one after the other.
    Array {
        /// The type of each element.
        elem: &'static TypeDesc,
        /// How many there are.
        len: u64,
    },
    /// A type whose own bytes are specified elsewhere, under a version: heirloom's own collections.
    Collection {
        /// The version of that layout.
        format_version: u32,
        /// The type arguments, on whose layout the contents depend.
        args: &'static [&'static TypeDesc],
    },
    /// The enclosing struct or enum of the same name, so that a linked type does not make an endless description.
    Recursive,
    /// An integer that says which of several sets of fields is there.
    DataEnum {
        /// The name of the integer, such as `u8`.
        repr: &'static str,
        /// The variants in the order of their declaration.
        cases: &'static [CaseDesc],
    },
}

/// Describes one field of a struct.
#[derive(Clone, Copy, Debug)]
pub struct FieldDesc {
    /// The identifier, or the index in a tuple.
    pub name: &'static str,
    /// `offset_of`, in bytes.
    pub offset: u64,
    /// The type of the field.
    pub ty: &'static TypeDesc,
    /// How it comes to be where an ancestor has no such field.
    pub rules: FieldRules,
}

/// Describes one variant of a fieldless enum.
#[derive(Clone, Copy, Debug)]
pub struct VariantDesc {
    /// The identifier.
    pub name: &'static str,
    /// The value that stands for it; `i128` holds every discriminant of `u64` and of `i64`.
    pub discriminant: i128,
    /// Names that it had before.
    pub was: &'static [&'static str],
}

/// Describes one variant of an enum with data.
#[derive(Clone, Copy, Debug)]
pub struct CaseDesc {
    /// Its name and value.
    pub variant: VariantDesc,
    /// Its fields, each at its offset in the whole enum.
    pub fields: &'static [FieldDesc],
}

impl TypeDesc {
    /// Describes a type that has nothing inside.
    #[must_use]
    pub const fn primitive(name: &'static str, size: usize, align: usize) -> Self {
        Self {
            name,
            size: size as u64,
            align: align as u64,
            kind: TypeKind::Primitive,
            rules: TypeRules::NONE,
        }
    }

    /// Describes a collection whose layout is heirloom's own, at version `format_version`.
    ///
    /// ```
    /// use heirloom_abi::types::TypeDesc;
    ///
    /// const U64: &TypeDesc = &TypeDesc::primitive("u64", 8, 8);
    /// const VEC: &TypeDesc = &TypeDesc::collection("Vec", 1, 24, 8, &[U64]);
    /// assert_eq!(VEC.size, 24);
    /// ```
    #[must_use]
    pub const fn collection(
        name: &'static str,
        format_version: u32,
        size: usize,
        align: usize,
        args: &'static [&'static TypeDesc],
    ) -> Self {
        Self {
            name,
            size: size as u64,
            align: align as u64,
            kind: TypeKind::Collection { format_version, args },
            rules: TypeRules::NONE,
        }
    }

    /// Describes the enclosing struct or enum called `name`.
    #[must_use]
    pub const fn recursive(name: &'static str, size: usize, align: usize) -> Self {
        Self {
            name,
            size: size as u64,
            align: align as u64,
            kind: TypeKind::Recursive,
            rules: TypeRules::NONE,
        }
    }
}

/// The kinds as they stand in the byte form.
mod tag {
    pub(super) const PRIMITIVE: u8 = 1;
    pub(super) const STRUCT: u8 = 2;
    pub(super) const ENUM: u8 = 3;
    pub(super) const ARRAY: u8 = 4;
    pub(super) const COLLECTION: u8 = 5;
    pub(super) const RECURSIVE: u8 = 6;
    pub(super) const DATA_ENUM: u8 = 7;
}

/// One struct, enum or collection around the node at hand, and those around it in turn.
///
/// A collection has no name here, which no struct has: only through one can a value lead to another of its own type.
struct Within<'a> {
    name: &'a str,
    size: u64,
    align: u64,
    outer: Option<&'a Within<'a>>,
}

impl<'a> Within<'a> {
    const fn collection(outer: Option<&'a Within<'a>>) -> Self {
        Self { name: "", size: 0, align: 1, outer }
    }

    /// True if `name` is the nearest struct of that name, with this size and alignment, and a collection lies between.
    const fn encloses(mut at: Option<&Within<'_>>, name: &str, size: u64, align: u64) -> bool {
        let mut is_apart = false;
        while let Some(within) = at {
            if within.name.is_empty() {
                is_apart = true;
            } else if same_bytes(within.name.as_bytes(), name.as_bytes()) {
                return is_apart && within.size == size && within.align == align;
            }
            at = within.outer;
        }
        false
    }
}

/// `a == b`, which `const fn` cannot say.
const fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}
