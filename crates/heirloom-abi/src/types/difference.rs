//! The first difference between two types, named so that a person can find the line to change.
//!
//! Fields are matched by name, because a name is what a person changes: a field that moved because another was put
//! before it is a consequence, and the cause is what should be told. Within one struct the order is therefore:
//! fields that are gone, fields that are new, types, offsets, order, and the size of the whole.

use core::fmt::{self, Display, Formatter};

use super::{ARRAY, Cases, Fields, MAX_DEPTH, Shape, TypeView, TypesError, VariantView};

/// Finds the first difference between two byte forms; there is none exactly if the bytes are equal.
pub fn first_difference<'a>(old: &'a [u8], new: &'a [u8]) -> Result<Option<Difference<'a>>, TypesError> {
    let (old_type, new_type) = (TypeView::parse(old)?, TypeView::parse(new)?);
    if old == new {
        return Ok(None);
    }
    let mut path = Path { steps: [None; MAX_DEPTH], len: 0 };
    let change = compare(&mut path, &old_type, &new_type);
    // Every part of the form is compared, so that this never stands in; if it did, it would still refuse.
    let change = change.unwrap_or(Change::Type { old: old_type, new: new_type });
    Ok(Some(Difference { path, change }))
}

/// A difference: where, and what.
#[derive(Clone, Copy, Debug)]
pub struct Difference<'a> {
    /// The way from the root to the type that differs.
    pub path: Path<'a>,
    /// What differs there.
    pub change: Change<'a>,
}

/// The way from the root into a type.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    steps: [Option<Step<'a>>; MAX_DEPTH],
    len: usize,
}

/// One step of a [`Path`].
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The name of the type that is stepped into.
    pub of: &'a str,
    /// The part of it.
    pub part: Part<'a>,
}

/// The part of a type that a [`Step`] leads to.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// A field, and its offsets.
    Field {
        /// The identifier.
        name: &'a str,
        /// The offset in the old type.
        old_at: u64,
        /// The offset in the new type.
        new_at: u64,
    },
    /// The type argument of this name, for collections with one or two of them: `key`, `value`.
    Named(&'static str),
    /// The type argument of this index.
    Index(usize),
    /// The element of an array.
    Element,
}

/// What differs.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Change<'a> {
    /// Another type.
    Type {
        /// What it was.
        old: TypeView<'a>,
        /// What it is.
        new: TypeView<'a>,
    },
    /// A field is gone.
    Missing {
        /// The struct.
        of: &'a str,
        /// The field.
        field: &'a str,
    },
    /// A field is new.
    Added {
        /// The struct.
        of: &'a str,
        /// The field.
        field: &'a str,
    },
    /// A field of the same type and place has another name.
    Renamed {
        /// The struct.
        of: &'a str,
        /// The old name.
        old: &'a str,
        /// The new name.
        new: &'a str,
    },
    /// A field of the same name and type lies elsewhere.
    Moved {
        /// The struct.
        of: &'a str,
        /// The field.
        field: &'a str,
        /// The offset in the old type.
        old_at: u64,
        /// The offset in the new type.
        new_at: u64,
    },
    /// The same fields or variants at the same places are declared in another order.
    Reordered {
        /// The struct or enum.
        of: &'a str,
    },
    /// The same parts make another size.
    Size {
        /// The type.
        of: &'a str,
        /// The old size, in bytes.
        old: u64,
        /// The new size, in bytes.
        new: u64,
    },
    /// The same parts have another alignment.
    Align {
        /// The type.
        of: &'a str,
        /// The old alignment, in bytes.
        old: u64,
        /// The new alignment, in bytes.
        new: u64,
    },
    /// A variant is gone.
    VariantMissing {
        /// The enum.
        of: &'a str,
        /// The variant.
        variant: &'a str,
    },
    /// A variant is new.
    VariantAdded {
        /// The enum.
        of: &'a str,
        /// The variant.
        variant: &'a str,
    },
    /// A variant has another value.
    Discriminant {
        /// The enum.
        of: &'a str,
        /// The variant.
        variant: &'a str,
        /// The old value.
        old: i128,
        /// The new value.
        new: i128,
    },
    /// An enum has another integer.
    Repr {
        /// The enum.
        of: &'a str,
        /// The old integer.
        old: &'a str,
        /// The new integer.
        new: &'a str,
    },
    /// A collection is laid out by another version.
    FormatVersion {
        /// The collection.
        of: &'a str,
        /// The old version.
        old: u32,
        /// The new version.
        new: u32,
    },
}

impl<'a> Path<'a> {
    /// Iterates over the steps, the root first.
    pub fn steps(&self) -> impl Iterator<Item = Step<'a>> + '_ {
        self.steps.iter().take(self.len).flatten().copied()
    }

    /// Compares one level deeper, and keeps the step if a difference is found there.
    fn descend(&mut self, step: Step<'a>, old: &TypeView<'a>, new: &TypeView<'a>) -> Option<Change<'a>> {
        // Both forms have been validated to be no deeper than there are steps.
        let slot = self.steps.get_mut(self.len)?;
        *slot = Some(step);
        self.len += 1;
        let change = compare(self, old, new);
        if change.is_none() {
            self.len -= 1;
        }
        change
    }
}

fn compare<'a>(path: &mut Path<'a>, old: &TypeView<'a>, new: &TypeView<'a>) -> Option<Change<'a>> {
    let other = Some(Change::Type { old: *old, new: *new });
    if old.name != new.name {
        return other;
    }
    let of = old.name;
    let inside = match (old.shape, new.shape) {
        (Shape::Primitive, Shape::Primitive) | (Shape::Recursive, Shape::Recursive) => None,
        (Shape::Struct(old), Shape::Struct(new)) => compare_fields(path, of, old, new),
        (Shape::Enum { repr: a, variants: old }, Shape::Enum { repr: b, variants: new }) => {
            if a == b {
                compare_variants(of, old, new)
            } else {
                Some(Change::Repr { of, old: a, new: b })
            }
        }
        (Shape::DataEnum { repr: a, cases: old }, Shape::DataEnum { repr: b, cases: new }) => {
            if a == b {
                compare_cases(path, of, old, new)
            } else {
                Some(Change::Repr { of, old: a, new: b })
            }
        }
        (Shape::Array { len: a, elem: mut old }, Shape::Array { len: b, elem: mut new }) => {
            if a != b {
                return other;
            }
            path.descend(Step { of, part: Part::Element }, &old.next()?, &new.next()?)
        }
        (
            Shape::Collection { format_version: a, args: old },
            Shape::Collection { format_version: b, args: new },
        ) => {
            if a != b {
                return Some(Change::FormatVersion { of, old: a, new: b });
            }
            let nr = old.count();
            if nr != new.count() {
                return other;
            }
            old.zip(new).enumerate().find_map(|(i, (old, new))| {
                let part = match (nr, i) {
                    (1, _) | (2, 1) => Part::Named("value"),
                    (2, _) => Part::Named("key"),
                    _ => Part::Index(i),
                };
                path.descend(Step { of, part }, &old, &new)
            })
        }
        _ => return other,
    };
    let size = || (old.size != new.size).then_some(Change::Size { of, old: old.size, new: new.size });
    let align = || (old.align != new.align).then_some(Change::Align { of, old: old.align, new: new.align });
    inside.or_else(size).or_else(align)
}

fn compare_fields<'a>(
    path: &mut Path<'a>,
    of: &'a str,
    old: Fields<'a>,
    new: Fields<'a>,
) -> Option<Change<'a>> {
    let in_old = |name| old.into_iter().find(|field| field.name == name);
    let in_new = |name| new.into_iter().find(|field| field.name == name);

    if let Some(gone) = old.into_iter().find(|field| in_new(field.name).is_none()) {
        let renamed = new.into_iter().find(|field| {
            let mut aside = Path { steps: [None; MAX_DEPTH], len: path.len };
            let stands_there = field.offset == gone.offset && in_old(field.name).is_none();
            stands_there && compare(&mut aside, &gone.ty, &field.ty).is_none()
        });
        return Some(match renamed {
            Some(field) => Change::Renamed { of, old: gone.name, new: field.name },
            None => Change::Missing { of, field: gone.name },
        });
    }
    if let Some(field) = new.into_iter().find(|field| in_old(field.name).is_none()) {
        return Some(Change::Added { of, field: field.name });
    }
    let pairs = || old.into_iter().filter_map(|field| Some((field, in_new(field.name)?)));
    pairs()
        .find_map(|(old, new)| {
            let part = Part::Field { name: old.name, old_at: old.offset, new_at: new.offset };
            path.descend(Step { of, part }, &old.ty, &new.ty)
        })
        .or_else(|| {
            let (old, new) = pairs().find(|(old, new)| old.offset != new.offset)?;
            Some(Change::Moved { of, field: old.name, old_at: old.offset, new_at: new.offset })
        })
        .or_else(|| (!old.map(|f| f.name).eq(new.map(|f| f.name))).then_some(Change::Reordered { of }))
}

/// Compares variants, then the fields of each.
fn compare_cases<'a>(path: &mut Path<'a>, of: &'a str, old: Cases<'a>, new: Cases<'a>) -> Option<Change<'a>> {
    compare_variants(of, old.map(|case| case.variant), new.map(|case| case.variant)).or_else(|| {
        // The names are the same and in the same order.
        old.zip(new).find_map(|(old, new)| compare_fields(path, old.variant.name, old.fields, new.fields))
    })
}

fn compare_variants<'a>(
    of: &'a str,
    old: impl Iterator<Item = VariantView<'a>> + Clone,
    new: impl Iterator<Item = VariantView<'a>> + Clone,
) -> Option<Change<'a>> {
    fn value_in<'a>(mut variants: impl Iterator<Item = VariantView<'a>>, name: &str) -> Option<i128> {
        variants.find(|variant| variant.name == name).map(|variant| variant.discriminant)
    }
    let gone = old.clone().find_map(|variant| match value_in(new.clone(), variant.name) {
        None => Some(Change::VariantMissing { of, variant: variant.name }),
        Some(value) if value == variant.discriminant => None,
        Some(value) => {
            Some(Change::Discriminant { of, variant: variant.name, old: variant.discriminant, new: value })
        }
    });
    gone.or_else(|| {
        let added = new.clone().find(|variant| value_in(old.clone(), variant.name).is_none())?;
        Some(Change::VariantAdded { of, variant: added.name })
    })
    .or_else(|| {
        let same = old.map(|variant| variant.name).eq(new.map(|variant| variant.name));
        (!same).then_some(Change::Reordered { of })
    })
}

/// Finds the first difference between two types, whatever their rules.
pub fn first_change<'a>(old: &TypeView<'a>, new: &TypeView<'a>) -> Option<Difference<'a>> {
    let mut path = Path { steps: [None; MAX_DEPTH], len: 0 };
    compare(&mut path, old, new).map(|change| Difference { path, change })
}

impl Display for Difference<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        let Change::Type { old, new } = &self.change else {
            return write!(f, "{}", self.change);
        };
        match self.path.steps().last() {
            Some(Step { part: Part::Field { old_at, new_at, .. }, .. }) => {
                write!(f, "{old} at {old_at} -> {new} at {new_at}")
            }
            _ => write!(f, "{old} -> {new}"),
        }
    }
}

impl Display for Path<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for Step { of, part } in self.steps() {
            f.write_str(if of == ARRAY { "array" } else { of })?;
            match part {
                Part::Field { name, .. } => write!(f, ".{name}: ")?,
                Part::Named(name) => write!(f, ".{name}: ")?,
                Part::Index(index) => write!(f, ".{index}: ")?,
                Part::Element => f.write_str(".element: ")?,
            }
        }
        Ok(())
    }
}

impl Display for Change<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type { old, new } => write!(f, "{old} -> {new}"),
            Self::Missing { of, field } => write!(f, "{of}: field `{field}` is missing"),
            Self::Added { of, field } => write!(f, "{of}: field `{field}` was added"),
            Self::Renamed { of, old, new } => write!(f, "{of}: field `{old}` was renamed to `{new}`"),
            Self::Moved { of, field, old_at, new_at } => {
                write!(f, "{of}: field `{field}` moved, offset {old_at} -> {new_at}")
            }
            Self::Reordered { of } => write!(f, "{of}: the same parts are declared in another order"),
            Self::Size { of, old, new } => write!(f, "{of}: size {old} -> {new} bytes"),
            Self::Align { of, old, new } => write!(f, "{of}: alignment {old} -> {new} bytes"),
            Self::VariantMissing { of, variant } => write!(f, "{of}: variant `{variant}` is missing"),
            Self::VariantAdded { of, variant } => write!(f, "{of}: variant `{variant}` was added"),
            Self::Discriminant { of, variant, old, new } => {
                write!(f, "{of}: variant `{variant}` has another value, {old} -> {new}")
            }
            Self::Repr { of, old, new } => write!(f, "{of}: representation {old} -> {new}"),
            Self::FormatVersion { of, old, new } => {
                write!(f, "{of}: version of its layout {old} -> {new}")
            }
        }
    }
}
