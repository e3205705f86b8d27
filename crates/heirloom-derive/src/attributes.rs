//! What the attributes say.

use proc_macro2::Ident;
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::punctuated::Punctuated;
use syn::{Attribute, DeriveInput, Expr, LitStr, Meta, Path, Result, Token, Type, parenthesized};

/// The attributes of the type.
pub(crate) struct Container {
    pub(crate) repr: Repr,
    name: Option<String>,
    pub(crate) lineage: Lineage,
}

/// What the type says of its ancestors.
#[derive(Default)]
pub(crate) struct Lineage {
    pub(crate) removed: Vec<String>,
    pub(crate) from: Vec<Type>,
    pub(crate) back_to: Vec<Type>,
    pub(crate) rollback: bool,
}

/// What `#[repr]` says about the layout.
#[derive(Default)]
pub(crate) struct Repr {
    pub(crate) c: bool,
    pub(crate) transparent: bool,
    pub(crate) packed: Option<Path>,
    pub(crate) integer: Option<Ident>,
}

/// The attributes of a field.
#[derive(Default)]
pub(crate) struct Field {
    name: Option<String>,
    pub(crate) recursive: Option<Recursive>,
    pub(crate) was: Vec<String>,
    pub(crate) default: Option<Default>,
    pub(crate) secret: bool,
}

/// What stands in a field that an ancestor does not have.
pub(crate) enum Default {
    /// The default of its type.
    OfType,
    /// The value of an expression.
    Value(Box<Expr>),
}

/// The way back from a field.
pub(crate) enum Recursive {
    /// To the type that declares it.
    Own,
    /// To the type of this name.
    To(Path),
}

/// The attributes of a variant.
#[derive(Default)]
pub(crate) struct Variant {
    name: Option<String>,
    pub(crate) was: Vec<String>,
}

impl Container {
    pub(crate) fn read(input: &DeriveInput) -> Result<Self> {
        let (mut name, mut lineage) = (None, Lineage::default());
        let known =
            "on a type `name = \"..\"`, `removed = \"..\"`, `from = Type`, `back_to = Type` and `rollback`";
        read(&input.attrs, known, |meta| {
            match word(meta).as_str() {
                "name" => name = Some(read_name(meta)?),
                "removed" => lineage.removed.push(read_name(meta)?),
                "from" => lineage.from.push(meta.value()?.parse()?),
                "back_to" => lineage.back_to.push(meta.value()?.parse()?),
                "rollback" => lineage.rollback = true,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self { repr: Repr::read(&input.attrs)?, name, lineage })
    }

    pub(crate) fn name(&self, ident: &Ident) -> String {
        self.name.clone().unwrap_or_else(|| ident.unraw().to_string())
    }
}

impl Repr {
    fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut repr = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("repr")) {
            for meta in attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)? {
                let path = meta.path();
                let Some(ident) = path.get_ident() else { continue };
                match ident.to_string().as_str() {
                    "C" => repr.c = true,
                    "transparent" => repr.transparent = true,
                    "packed" => repr.packed = Some(path.clone()),
                    "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i8" | "i16" | "i32" | "i64"
                    | "i128" | "isize" => repr.integer = Some(ident.clone()),
                    _ => {}
                }
            }
        }
        Ok(repr)
    }
}

impl Field {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut field = Self::default();
        let known = "on a field `name = \"..\"`, `was = \"..\"`, `default`, `default = value`, `secret`, `recursive` and \
                     `recursive = Type`";
        read(attributes, known, |meta| {
            match word(meta).as_str() {
                "name" => field.name = Some(read_name(meta)?),
                "was" => field.was.push(read_name(meta)?),
                "default" if meta.input.peek(Token![=]) => {
                    field.default = Some(Default::Value(Box::new(meta.value()?.parse()?)));
                }
                "default" => field.default = Some(Default::OfType),
                "secret" => field.secret = true,
                "recursive" if meta.input.peek(Token![=]) => {
                    field.recursive = Some(Recursive::To(meta.value()?.parse()?));
                }
                "recursive" => field.recursive = Some(Recursive::Own),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(field)
    }

    pub(crate) fn name(&self, otherwise: impl FnOnce() -> String) -> String {
        self.name.clone().unwrap_or_else(otherwise)
    }
}

impl Variant {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut variant = Self::default();
        read(attributes, "on a variant `name = \"..\"` and `was = \"..\"`", |meta| {
            match word(meta).as_str() {
                "name" => variant.name = Some(read_name(meta)?),
                "was" => variant.was.push(read_name(meta)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(variant)
    }

    pub(crate) fn name(&self, ident: &Ident) -> String {
        self.name.clone().unwrap_or_else(|| ident.unraw().to_string())
    }
}

fn word(meta: &ParseNestedMeta<'_>) -> String {
    meta.path.get_ident().map(Ident::to_string).unwrap_or_default()
}

fn read_name(meta: &ParseNestedMeta<'_>) -> Result<String> {
    let name: LitStr = meta.value()?.parse()?;
    let text = name.value();
    if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        let why = "a name has 1 to 255 bytes, none of them control characters";
        return Err(syn::Error::new(name.span(), why));
    }
    Ok(text)
}

/// Calls `take` for each attribute of ours; it returns false for one that it does not know.
fn read(
    attributes: &[Attribute],
    known: &str,
    mut take: impl FnMut(&ParseNestedMeta<'_>) -> Result<bool>,
) -> Result<()> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("heritable")) {
        attribute.parse_nested_meta(|meta| {
            if take(&meta)? {
                return Ok(());
            }
            if meta.input.peek(syn::token::Paren) {
                let content;
                parenthesized!(content in meta.input);
                let _: proc_macro2::TokenStream = content.parse()?;
            }
            Err(meta.error(format!("unknown attribute; heritable knows {known}")))
        })?;
    }
    Ok(())
}
