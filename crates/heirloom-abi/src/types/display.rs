//! Types as text that reads like Rust.
//!
//! `{}` is one line with names only, for the ends of an arrow; `{:#}` opens every struct and enum, with offsets and
//! sizes, for a person who looks into a heap.

use core::fmt::{Display, Formatter, Result};

use super::{Shape, TUPLE, TypeView};

impl Display for TypeView<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write_type(f, self, 0)
    }
}

fn write_type(f: &mut Formatter<'_>, ty: &TypeView<'_>, indent: usize) -> Result {
    match ty.shape {
        Shape::Struct(fields) if ty.name == TUPLE => {
            f.write_str("(")?;
            for (i, field) in fields.enumerate() {
                f.write_str(if i == 0 { "" } else { ", " })?;
                write_type(f, &field.ty, indent)?;
                if i == 0 && fields.count() == 1 {
                    f.write_str(",")?;
                }
            }
            f.write_str(")")
        }
        Shape::Struct(fields) if f.alternate() => {
            write!(f, "struct {} {{ // {} bytes", ty.name, ty.size)?;
            for field in fields {
                new_line(f, indent + 1)?;
                write!(f, "{}: ", field.name)?;
                write_type(f, &field.ty, indent + 1)?;
                write!(f, ", // at {}", field.offset)?;
            }
            new_line(f, indent)?;
            f.write_str("}")
        }
        Shape::Enum { repr, variants } if f.alternate() => {
            write!(f, "enum {}: {repr} {{", ty.name)?;
            for variant in variants {
                new_line(f, indent + 1)?;
                write!(f, "{} = {},", variant.name, variant.discriminant)?;
            }
            new_line(f, indent)?;
            f.write_str("}")
        }
        Shape::DataEnum { repr, cases } if f.alternate() => {
            write!(f, "enum {}: {repr} {{ // {} bytes", ty.name, ty.size)?;
            for case in cases {
                new_line(f, indent + 1)?;
                write!(f, "{} = {}", case.variant.name, case.variant.discriminant)?;
                for (i, field) in case.fields.enumerate() {
                    f.write_str(if i == 0 { " { " } else { ", " })?;
                    write!(f, "{}: ", field.name)?;
                    write_type(f, &field.ty, indent + 1)?;
                    write!(f, " at {}", field.offset)?;
                }
                f.write_str(if case.fields.count() == 0 { "," } else { " }," })?;
            }
            new_line(f, indent)?;
            f.write_str("}")
        }
        Shape::Array { len, mut elem } => {
            f.write_str("[")?;
            if let Some(elem) = elem.next() {
                write_type(f, &elem, indent)?;
            }
            write!(f, "; {len}]")
        }
        Shape::Collection { args, .. } => {
            f.write_str(ty.name)?;
            for (i, arg) in args.enumerate() {
                f.write_str(if i == 0 { "<" } else { ", " })?;
                write_type(f, &arg, indent)?;
            }
            f.write_str(if args.count() == 0 { "" } else { ">" })
        }
        Shape::Primitive
        | Shape::Recursive
        | Shape::Struct(_)
        | Shape::Enum { .. }
        | Shape::DataEnum { .. } => f.write_str(ty.name),
    }
}

fn new_line(f: &mut Formatter<'_>, indent: usize) -> Result {
    f.write_str("\n")?;
    (0..indent).try_for_each(|_| f.write_str("    "))
}
