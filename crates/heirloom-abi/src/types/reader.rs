//! The reader: a byte form from another binary into a view that can be walked.
//!
//! [`TypeView::parse`] walks everything once and refuses what breaks an invariant of the module. Views are made from
//! nowhere else, so that their iterators need no errors: where validated bytes would fail, they end.

use super::{FORM_MAGIC, FORM_VERSION, MAX_BYTES, MAX_DEPTH, Within, tag};

/// Why bytes are not the byte form of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypesError {
    /// The bytes do not start like a byte form.
    #[error("type description starts with {found:02x?}, expected {FORM_MAGIC:02x?}")]
    Magic {
        /// What stands there.
        found: [u8; 2],
    },
    /// The byte form is of a version that this reader does not know.
    #[error("type description has version {found}, this binary reads {FORM_VERSION}")]
    Version {
        /// What stands there.
        found: u16,
    },
    /// The bytes end within something.
    #[error("type description ends early: {wanted} bytes wanted at offset {at} of {len}")]
    Truncated {
        /// Where in the bytes.
        at: usize,
        /// How many bytes were to be read.
        wanted: usize,
        /// How many there are in all.
        len: usize,
    },
    /// The bytes go on after the type.
    #[error("type description goes on for {nr} bytes after its end at offset {at}")]
    Trailing {
        /// Where the type ends.
        at: usize,
        /// How many bytes follow.
        nr: usize,
    },
    /// There are too many bytes.
    #[error("type description has {len} bytes, more than {MAX_BYTES}")]
    TooLong {
        /// How many there are.
        len: usize,
    },
    /// Types are nested too deeply.
    #[error("type description is nested deeper than {MAX_DEPTH} levels at offset {at}")]
    TooDeep {
        /// Where in the bytes.
        at: usize,
    },
    /// A kind is unknown.
    #[error("type description has unknown kind {found} at offset {at}")]
    Kind {
        /// Where in the bytes.
        at: usize,
        /// What stands there.
        found: u8,
    },
    /// A name is empty, not UTF-8, or has control characters.
    #[error("type description has an empty or unprintable name at offset {at}")]
    Name {
        /// Where in the bytes.
        at: usize,
    },
    /// An alignment is too large, or the size is no multiple of it.
    #[error("type description has size {size} with alignment 2^{align_log2} at offset {at}")]
    Align {
        /// Where in the bytes.
        at: usize,
        /// The size, in bytes.
        size: u64,
        /// The alignment, as a power of two.
        align_log2: u8,
    },
    /// A field or the elements of an array reach beyond the type that holds them.
    #[error("type description has {inner} bytes at {offset} inside a type of {size} bytes, at offset {at}")]
    Outside {
        /// Where in the bytes.
        at: usize,
        /// Where the inner type starts within the outer.
        offset: u64,
        /// The size of the inner type, or of all elements.
        inner: u64,
        /// The size of the outer type.
        size: u64,
    },
    /// A recursive part names no struct around it.
    #[error(
        "type description has a recursive part at offset {at} that no struct of its name and size encloses"
    )]
    Recursive {
        /// Where in the bytes.
        at: usize,
    },
}

/// The largest alignment that is believed, as a power of two: 1 GiB, the largest page.
const MAX_ALIGN_LOG2: u8 = 30;

/// A validated type within a byte form.
#[derive(Clone, Copy, Debug)]
pub struct TypeView<'a> {
    /// The identifier, or [`TUPLE`](super::TUPLE), or [`ARRAY`](super::ARRAY).
    pub name: &'a str,
    /// The size, in bytes.
    pub size: u64,
    /// The alignment, in bytes: a power of two.
    pub align: u64,
    /// What is inside.
    pub shape: Shape<'a>,
}

/// What is inside a type; compare [`TypeKind`](super::TypeKind).
#[derive(Clone, Copy, Debug)]
pub enum Shape<'a> {
    /// Nothing more to say than the name.
    Primitive,
    /// Fields.
    Struct(Fields<'a>),
    /// An integer of which only some values are allowed.
    Enum {
        /// The name of the integer.
        repr: &'a str,
        /// The variants.
        variants: Variants<'a>,
    },
    /// Elements, one after the other.
    Array {
        /// How many.
        len: u64,
        /// Their type: one child.
        elem: Children<'a>,
    },
    /// A layout that is specified elsewhere.
    Collection {
        /// The version of that layout.
        format_version: u32,
        /// The type arguments.
        args: Children<'a>,
    },
    /// The enclosing struct of the same name.
    Recursive,
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct FieldView<'a> {
    /// The identifier, or the index in a tuple.
    pub name: &'a str,
    /// Where it starts within the struct, in bytes.
    pub offset: u64,
    /// Its type.
    pub ty: TypeView<'a>,
}

/// One variant of an enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VariantView<'a> {
    /// The identifier.
    pub name: &'a str,
    /// The value that stands for it.
    pub discriminant: i128,
}

/// Iterates over the fields of a struct in the order of their declaration.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    cursor: Cursor<'a>,
    left: u16,
}

/// Iterates over the variants of an enum in the order of their declaration.
#[derive(Clone, Copy, Debug)]
pub struct Variants<'a> {
    cursor: Cursor<'a>,
    left: u16,
}

/// Iterates over the type arguments of a collection, or gives the element of an array.
#[derive(Clone, Copy, Debug)]
pub struct Children<'a> {
    cursor: Cursor<'a>,
    left: u8,
}

impl<'a> TypeView<'a> {
    /// Validates a whole byte form and gives the type that it describes.
    pub fn parse(form: &'a [u8]) -> Result<Self, TypesError> {
        if form.len() > MAX_BYTES {
            return Err(TypesError::TooLong { len: form.len() });
        }
        let mut cursor = Cursor { form, at: 0 };
        let found = cursor.array()?;
        if found != FORM_MAGIC {
            return Err(TypesError::Magic { found });
        }
        let found = u16::from_le_bytes(cursor.array()?);
        if found != FORM_VERSION {
            return Err(TypesError::Version { found });
        }
        let root = validate(&mut cursor, 1, None)?;
        match form.len() - cursor.at {
            0 => Ok(root),
            nr => Err(TypesError::Trailing { at: cursor.at, nr }),
        }
    }
}

/// Walks one node and all below it; leaves the cursor behind them.
fn validate<'a>(
    cursor: &mut Cursor<'a>,
    depth: usize,
    within: Option<&Within<'_>>,
) -> Result<TypeView<'a>, TypesError> {
    let at = cursor.at;
    if depth > MAX_DEPTH {
        return Err(TypesError::TooDeep { at });
    }
    let ty = cursor.head()?;
    match ty.shape {
        Shape::Primitive => {}
        Shape::Struct(fields) => {
            let own = Within { name: ty.name, size: ty.size, align: ty.align, outer: within };
            for _ in 0..fields.left {
                let at = cursor.at;
                cursor.name()?;
                let offset = cursor.u64()?;
                let inner = validate(cursor, depth + 1, Some(&own))?.size;
                let fits = offset.checked_add(inner).is_some_and(|end| end <= ty.size);
                ensure(fits, TypesError::Outside { at, offset, inner, size: ty.size })?;
            }
        }
        Shape::Enum { variants, .. } => {
            for _ in 0..variants.left {
                cursor.variant()?;
            }
        }
        Shape::Array { len, .. } => {
            let elem = validate(cursor, depth + 1, within)?.size;
            let inner = elem.saturating_mul(len);
            ensure(inner == ty.size, TypesError::Outside { at, offset: 0, inner, size: ty.size })?;
        }
        Shape::Collection { args, .. } => {
            for _ in 0..args.left {
                validate(cursor, depth + 1, within)?;
            }
        }
        Shape::Recursive => {
            let encloses = Within::encloses(within, ty.name, ty.size, ty.align);
            ensure(encloses, TypesError::Recursive { at })?;
        }
    }
    Ok(ty)
}

fn ensure(holds: bool, error: TypesError) -> Result<(), TypesError> {
    if holds { Ok(()) } else { Err(error) }
}

impl<'a> Iterator for Fields<'a> {
    type Item = FieldView<'a>;

    fn next(&mut self) -> Option<FieldView<'a>> {
        self.left = self.left.checked_sub(1)?;
        let name = self.cursor.name().ok()?;
        let offset = self.cursor.u64().ok()?;
        let ty = self.cursor.skip_node()?;
        Some(FieldView { name, offset, ty })
    }
}

impl<'a> Iterator for Variants<'a> {
    type Item = VariantView<'a>;

    fn next(&mut self) -> Option<VariantView<'a>> {
        self.left = self.left.checked_sub(1)?;
        self.cursor.variant().ok()
    }
}

impl<'a> Iterator for Children<'a> {
    type Item = TypeView<'a>;

    fn next(&mut self) -> Option<TypeView<'a>> {
        self.left = self.left.checked_sub(1)?;
        self.cursor.skip_node()
    }
}

/// A place in the bytes.
#[derive(Clone, Copy, Debug)]
struct Cursor<'a> {
    form: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Reads a node up to its first child, and leaves the cursor there.
    fn head(&mut self) -> Result<TypeView<'a>, TypesError> {
        let at = self.at;
        let [kind, align_log2] = self.array()?;
        let size = self.u64()?;
        let name = self.name()?;
        let shape = match kind {
            tag::PRIMITIVE => Shape::Primitive,
            tag::STRUCT => {
                let left = u16::from_le_bytes(self.array()?);
                Shape::Struct(Fields { cursor: *self, left })
            }
            tag::ENUM => {
                let repr = self.name()?;
                let left = u16::from_le_bytes(self.array()?);
                Shape::Enum { repr, variants: Variants { cursor: *self, left } }
            }
            tag::ARRAY => {
                let len = self.u64()?;
                Shape::Array { len, elem: Children { cursor: *self, left: 1 } }
            }
            tag::COLLECTION => {
                let format_version = u32::from_le_bytes(self.array()?);
                let [left] = self.array()?;
                Shape::Collection { format_version, args: Children { cursor: *self, left } }
            }
            tag::RECURSIVE => Shape::Recursive,
            found => return Err(TypesError::Kind { at, found }),
        };
        let fits = align_log2 <= MAX_ALIGN_LOG2 && size % (1 << align_log2) == 0;
        ensure(fits, TypesError::Align { at, size, align_log2 })?;
        Ok(TypeView { name, size, align: 1 << align_log2, shape })
    }

    /// Reads a node and steps over all below it, which has been validated: the depth is known to be bounded.
    fn skip_node(&mut self) -> Option<TypeView<'a>> {
        let ty = self.head().ok()?;
        match ty.shape {
            Shape::Primitive | Shape::Recursive => {}
            Shape::Struct(mut fields) => {
                while fields.next().is_some() {}
                self.at = fields.cursor.at;
            }
            Shape::Enum { mut variants, .. } => {
                while variants.next().is_some() {}
                self.at = variants.cursor.at;
            }
            Shape::Array { elem: mut below, .. } | Shape::Collection { args: mut below, .. } => {
                while below.next().is_some() {}
                self.at = below.cursor.at;
            }
        }
        Some(ty)
    }

    fn variant(&mut self) -> Result<VariantView<'a>, TypesError> {
        Ok(VariantView { name: self.name()?, discriminant: i128::from_le_bytes(self.array()?) })
    }

    fn name(&mut self) -> Result<&'a str, TypesError> {
        let at = self.at;
        let [len] = self.array()?;
        match core::str::from_utf8(self.take(usize::from(len))?) {
            Ok(name) if !name.is_empty() && !name.chars().any(char::is_control) => Ok(name),
            _ => Err(TypesError::Name { at }),
        }
    }

    fn u64(&mut self) -> Result<u64, TypesError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TypesError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn take(&mut self, wanted: usize) -> Result<&'a [u8], TypesError> {
        let rest = self.form.get(self.at..).unwrap_or_default();
        let taken =
            rest.get(..wanted).ok_or(TypesError::Truncated { at: self.at, wanted, len: self.form.len() })?;
        self.at += wanted;
        Ok(taken)
    }
}
