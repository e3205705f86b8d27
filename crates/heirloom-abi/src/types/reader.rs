//! The reader: a byte form from another binary into a view that can be walked.
//!
//! [`TypeView::parse`] walks everything once and refuses what breaks an invariant of the module. Views are made from
//! nowhere else, so that their iterators need no errors: where validated bytes would fail, they end.

use super::rules::{HAS_DEFAULT, ROLLBACK, SECRET};
use super::{
    FORM_MAGIC, FORM_VERSION, FieldRulesView, History, MAX_BYTES, MAX_DEPTH, RULES_MAGIC, RULES_VERSION,
    Relatives, TypesError, Within, tag,
};

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
    /// The enclosing struct or enum of the same name.
    Recursive,
    /// An integer that says which fields are there.
    DataEnum {
        /// The name of the integer.
        repr: &'a str,
        /// The variants.
        cases: Cases<'a>,
    },
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
    /// What it says beside its layout.
    pub rules: FieldRulesView<'a>,
}

/// One variant of an enum.
#[derive(Clone, Copy, Debug)]
pub struct VariantView<'a> {
    /// The identifier.
    pub name: &'a str,
    /// The value that stands for it.
    pub discriminant: i128,
    /// Names that it had before.
    pub was: Names<'a>,
}

/// One variant of an enum with data.
#[derive(Clone, Copy, Debug)]
pub struct CaseView<'a> {
    /// Its name and value.
    pub variant: VariantView<'a>,
    /// Its fields, each at its offset in the whole enum.
    pub fields: Fields<'a>,
}

/// Iterates over names.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    cursor: Cursor<'a>,
    left: u8,
}

/// Iterates over the variants of an enum with data in the order of their declaration.
#[derive(Clone, Copy, Debug)]
pub struct Cases<'a> {
    cursor: Cursor<'a>,
    left: u16,
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
        let (root, cursor) = Self::parse_as(form, FORM_MAGIC, FORM_VERSION, false)?;
        let found = u16::from_le_bytes([form[2], form[3]]);
        // One type has one form: the lowest version that knows it.
        ensure(found == cursor.version, TypesError::Version { found })?;
        Ok(root)
    }

    /// Validates a whole form with rules and gives the type that it describes.
    pub fn parse_rules(form: &'a [u8]) -> Result<Self, TypesError> {
        Ok(Self::parse_as(form, RULES_MAGIC, RULES_VERSION, true)?.0)
    }

    fn parse_as(
        form: &'a [u8],
        magic: [u8; 2],
        newest: u16,
        with_rules: bool,
    ) -> Result<(Self, Cursor<'a>), TypesError> {
        if form.len() > MAX_BYTES {
            return Err(TypesError::TooLong { len: form.len() });
        }
        let mut cursor = Cursor { form, at: 0, version: 1, with_rules };
        let found = cursor.array()?;
        if found != magic {
            return Err(TypesError::Magic { found });
        }
        let found = u16::from_le_bytes(cursor.array()?);
        ensure((1..=newest).contains(&found), TypesError::Version { found })?;
        let root = validate(&mut cursor, 1, None)?;
        match form.len() - cursor.at {
            0 => Ok((root, cursor)),
            nr => Err(TypesError::Trailing { at: cursor.at, nr }),
        }
    }

    /// Returns what the type says of its ancestors: nothing, in a form without rules.
    #[must_use]
    pub fn history(&self) -> History<'a> {
        let mut cursor = match self.shape {
            Shape::Struct(mut fields) => {
                while fields.next().is_some() {}
                fields.cursor
            }
            Shape::Enum { mut variants, .. } => {
                while variants.next().is_some() {}
                variants.cursor
            }
            Shape::DataEnum { mut cases, .. } => {
                while cases.next().is_some() {}
                cases.cursor
            }
            _ => return History::NONE,
        };
        cursor.history().unwrap_or(History::NONE)
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
            validate_fields(cursor, depth, within, &ty, fields.left)?;
            validate_lineage(cursor, depth, within)?;
        }
        Shape::Enum { variants, .. } => {
            for _ in 0..variants.left {
                cursor.variant()?;
            }
            validate_lineage(cursor, depth, within)?;
        }
        Shape::DataEnum { cases, .. } => {
            for _ in 0..cases.left {
                cursor.variant()?;
                let nr = u16::from_le_bytes(cursor.array()?);
                validate_fields(cursor, depth, within, &ty, nr)?;
            }
            validate_lineage(cursor, depth, within)?;
        }
        Shape::Array { len, .. } => {
            let elem = validate(cursor, depth + 1, within)?.size;
            let inner = elem.saturating_mul(len);
            ensure(inner == ty.size, TypesError::Outside { at, offset: 0, inner, size: ty.size })?;
        }
        Shape::Collection { args, .. } => {
            let own = Within::collection(within);
            for _ in 0..args.left {
                validate(cursor, depth + 1, Some(&own))?;
            }
        }
        Shape::Recursive => {
            let encloses = Within::encloses(within, ty.name, ty.size, ty.align);
            ensure(encloses, TypesError::Recursive { at })?;
        }
    }
    Ok(ty)
}

fn validate_fields<'a>(
    cursor: &mut Cursor<'a>,
    depth: usize,
    within: Option<&Within<'_>>,
    ty: &TypeView<'a>,
    nr: u16,
) -> Result<(), TypesError> {
    let own = Within { name: ty.name, size: ty.size, align: ty.align, outer: within };
    for _ in 0..nr {
        let at = cursor.at;
        cursor.name()?;
        let offset = cursor.u64()?;
        cursor.field_rules()?;
        let inner = validate(cursor, depth + 1, Some(&own))?.size;
        let fits = offset.checked_add(inner).is_some_and(|end| end <= ty.size);
        ensure(fits, TypesError::Outside { at, offset, inner, size: ty.size })?;
    }
    Ok(())
}

/// Walks what stands behind a struct or enum in a form with rules.
fn validate_lineage(
    cursor: &mut Cursor<'_>,
    depth: usize,
    within: Option<&Within<'_>>,
) -> Result<(), TypesError> {
    if !cursor.with_rules {
        return Ok(());
    }
    let [_flags] = cursor.array()?;
    cursor.names()?;
    for _ in 0..2 {
        let [nr] = cursor.array()?;
        for _ in 0..nr {
            let _hook: [u8; 2] = cursor.array()?;
            validate(cursor, depth + 1, within)?;
        }
    }
    Ok(())
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
        let rules = self.cursor.field_rules().ok()?;
        let ty = self.cursor.skip_node()?;
        Some(FieldView { name, offset, ty, rules })
    }
}

impl<'a> Iterator for Cases<'a> {
    type Item = CaseView<'a>;

    fn next(&mut self) -> Option<CaseView<'a>> {
        self.left = self.left.checked_sub(1)?;
        let variant = self.cursor.variant().ok()?;
        let left = u16::from_le_bytes(self.cursor.array().ok()?);
        let fields = Fields { cursor: self.cursor, left };
        let mut behind = fields;
        while behind.next().is_some() {}
        self.cursor.at = behind.cursor.at;
        Some(CaseView { variant, fields })
    }
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        self.cursor.name().ok()
    }
}

impl Fields<'_> {
    /// No fields: those of a variant that has none.
    #[must_use]
    pub const fn none() -> Self {
        Self { cursor: Cursor::NONE, left: 0 }
    }
}

impl Names<'_> {
    pub(super) const NONE: Self = Self { cursor: Cursor::NONE, left: 0 };
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
pub(super) struct Cursor<'a> {
    form: &'a [u8],
    at: usize,
    /// The lowest version that knows all that was read.
    version: u16,
    with_rules: bool,
}

impl<'a> Cursor<'a> {
    pub(super) const NONE: Self = Self { form: &[], at: 0, version: 1, with_rules: false };

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
            tag::DATA_ENUM => {
                self.version = 2;
                let repr = self.name()?;
                let left = u16::from_le_bytes(self.array()?);
                Shape::DataEnum { repr, cases: Cases { cursor: *self, left } }
            }
            found => return Err(TypesError::Kind { at, found }),
        };
        let fits = align_log2 <= MAX_ALIGN_LOG2 && size % (1 << align_log2) == 0;
        ensure(fits, TypesError::Align { at, size, align_log2 })?;
        Ok(TypeView { name, size, align: 1 << align_log2, shape })
    }

    /// Reads a node and steps over all below it, which has been validated: the depth is known to be bounded.
    pub(super) fn skip_node(&mut self) -> Option<TypeView<'a>> {
        let ty = self.head().ok()?;
        match ty.shape {
            Shape::Primitive | Shape::Recursive => {}
            Shape::Struct(mut fields) => {
                while fields.next().is_some() {}
                self.at = fields.cursor.at;
                self.history()?;
            }
            Shape::Enum { mut variants, .. } => {
                while variants.next().is_some() {}
                self.at = variants.cursor.at;
                self.history()?;
            }
            Shape::DataEnum { mut cases, .. } => {
                while cases.next().is_some() {}
                self.at = cases.cursor.at;
                self.history()?;
            }
            Shape::Array { elem: mut below, .. } | Shape::Collection { args: mut below, .. } => {
                while below.next().is_some() {}
                self.at = below.cursor.at;
            }
        }
        Some(ty)
    }

    fn variant(&mut self) -> Result<VariantView<'a>, TypesError> {
        let (name, discriminant) = (self.name()?, i128::from_le_bytes(self.array()?));
        let was = if self.with_rules { self.names()? } else { Names::NONE };
        Ok(VariantView { name, discriminant, was })
    }

    fn field_rules(&mut self) -> Result<FieldRulesView<'a>, TypesError> {
        if !self.with_rules {
            return Ok(FieldRulesView { was: Names::NONE, default: None, secret: false });
        }
        let [flags] = self.array()?;
        let default = if flags & HAS_DEFAULT == 0 { None } else { Some(u16::from_le_bytes(self.array()?)) };
        Ok(FieldRulesView { was: self.names()?, default, secret: flags & SECRET != 0 })
    }

    fn names(&mut self) -> Result<Names<'a>, TypesError> {
        let [left] = self.array()?;
        let names = Names { cursor: *self, left };
        for _ in 0..left {
            self.name()?;
        }
        Ok(names)
    }

    /// Steps over what stands behind a struct or enum; nothing, in a form without rules.
    fn history(&mut self) -> Option<History<'a>> {
        if !self.with_rules {
            return Some(History::NONE);
        }
        let [flags] = self.array().ok()?;
        let removed = self.names().ok()?;
        let from = self.relatives()?;
        let back_to = self.relatives()?;
        Some(History { rollback: flags & ROLLBACK != 0, removed, from, back_to })
    }

    fn relatives(&mut self) -> Option<Relatives<'a>> {
        let [left] = self.array().ok()?;
        let relatives = Relatives { cursor: *self, left };
        let mut behind = relatives;
        while behind.next().is_some() {}
        self.at = behind.cursor.at;
        Some(relatives)
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

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], TypesError> {
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
