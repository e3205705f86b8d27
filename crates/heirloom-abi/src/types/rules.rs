//! Rules: what a type says of its ancestors, beside its layout.
//!
//! ```text
//! form with rules := "HR" version:u16 node, with these additions to the form of a layout:
//! field    := name offset:u64 flags:u8 [hook:u16] names node      flags: 1 has a default, and a hook; 2 secret
//! variant  := name discriminant:i128 names                        names: nr:u8 name*, what it was called before
//! lineage  := flags:u8 names relatives relatives                  behind the payload of a struct or enum
//!             1 rollback | removed  | from      | back to         relatives: nr:u8 (hook:u16 node)*
//! ```
//!
//! A hook is code: it cannot stand in bytes, so the form has its number, and the binary a table of all (`hooks`), made by the
//! same walk. Another binary reads that there is one, which is what it wants to know before a jump.

use super::reader::{Cursor, Names, TypeView};

/// Writes a field's default value.
///
/// # Safety
///
/// The pointer is valid for writing a value of the field's type, and aligned.
pub type DefaultFn = unsafe fn(*mut u8);

/// Makes a value of one type from one of another, which it only reads.
///
/// # Safety
///
/// The first points to a value of the type that it reads, the second to room for one of the type that it writes.
pub type ConvertFn = unsafe fn(*const u8, *mut u8);

/// Drops a value.
///
/// # Safety
///
/// The pointer is to a value of the type, which is not used afterwards.
pub type DropFn = unsafe fn(*mut u8);

/// What a field says beside its layout.
#[derive(Clone, Copy, Debug)]
pub struct FieldRules {
    /// Names that it had before.
    pub was: &'static [&'static str],
    /// Makes a value where an ancestor has none.
    pub default: Option<(DefaultFn, DropFn)>,
    /// It does not survive a hand-over: its default does.
    pub secret: bool,
}

/// What a type says beside its layout.
#[derive(Clone, Copy, Debug)]
pub struct TypeRules {
    /// Names of fields or variants of ancestors that are not to be missed.
    pub removed: &'static [&'static str],
    /// Types that a value can be made from.
    pub from: &'static [Lineage],
    /// Types that can be made from a value.
    pub back_to: &'static [Lineage],
    /// Ancestors may be written field by field, at the loss of what they have no field for.
    pub rollback: bool,
}

/// Another form of a type, and the way there.
#[derive(Clone, Copy, Debug)]
pub struct Lineage {
    /// The other type.
    pub ty: &'static super::TypeDesc,
    /// The way: from it, or to it.
    pub convert: ConvertFn,
    /// Drops a value that was made.
    pub drop_made: DropFn,
    /// Drops a value of the other type.
    pub drop_other: DropFn,
}

/// Code that a form with rules refers to by its number.
#[derive(Clone, Copy, Debug)]
pub enum Hook {
    /// Writes a default; drops one.
    Default(DefaultFn, DropFn),
    /// Converts.
    Convert {
        /// Makes the one from the other.
        convert: ConvertFn,
        /// Drops what was made.
        drop_made: DropFn,
        /// Drops a value of the type that is not the one which declares the way.
        drop_other: DropFn,
    },
}

impl FieldRules {
    /// Nothing to say.
    pub const NONE: Self = Self { was: &[], default: None, secret: false };
}

impl TypeRules {
    /// Nothing to say.
    pub const NONE: &'static Self = &Self { removed: &[], from: &[], back_to: &[], rollback: false };
}

pub(super) const HAS_DEFAULT: u8 = 1;
pub(super) const SECRET: u8 = 2;
pub(super) const ROLLBACK: u8 = 1;

/// What a field says beside its layout, as it stands in a form.
#[derive(Clone, Copy, Debug)]
pub struct FieldRulesView<'a> {
    /// Names that it had before.
    pub was: Names<'a>,
    /// The number of the hook that makes a value where an ancestor has none.
    pub default: Option<u16>,
    /// It does not survive a hand-over: its default does.
    pub secret: bool,
}

/// What a type says beside its layout, as it stands in a form.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    /// Ancestors may be written field by field.
    pub rollback: bool,
    /// Names that are not to be missed.
    pub removed: Names<'a>,
    /// Types that a value can be made from.
    pub from: Relatives<'a>,
    /// Types that can be made from a value.
    pub back_to: Relatives<'a>,
}

/// Another form of a type.
#[derive(Clone, Copy, Debug)]
pub struct Relative<'a> {
    /// The number of the hook that leads from it, or to it.
    pub hook: u16,
    /// The type.
    pub ty: TypeView<'a>,
}

/// Iterates over other forms of a type.
#[derive(Clone, Copy, Debug)]
pub struct Relatives<'a> {
    pub(super) cursor: Cursor<'a>,
    pub(super) left: u8,
}

impl History<'_> {
    /// What a form without rules says.
    pub const NONE: Self = Self {
        rollback: false,
        removed: Names::NONE,
        from: Relatives { cursor: Cursor::NONE, left: 0 },
        back_to: Relatives { cursor: Cursor::NONE, left: 0 },
    };
}

impl<'a> Iterator for Relatives<'a> {
    type Item = Relative<'a>;

    fn next(&mut self) -> Option<Relative<'a>> {
        self.left = self.left.checked_sub(1)?;
        let hook = u16::from_le_bytes(self.cursor.array().ok()?);
        Some(Relative { hook, ty: self.cursor.skip_node()? })
    }
}
