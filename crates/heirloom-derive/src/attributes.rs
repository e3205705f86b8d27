//! What the attributes say.

use proc_macro2::Ident;
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::{Attribute, DeriveInput, LitStr, Meta, Path, Result, Token, parenthesized};

/// The attributes of the type.
pub(crate) struct Container {
    pub(crate) repr: Repr,
    name: Option<String>,
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
}

/// The way back from a field.
pub(crate) enum Recursive {
    /// To the type that declares it.
    Own,
    /// To the type of this name.
    To(Path),
}

impl Container {
    pub(crate) fn read(input: &DeriveInput) -> Result<Self> {
        let attributes = read_heritable(&input.attrs, false)?;
        Ok(Self { repr: Repr::read(&input.attrs)?, name: attributes.name })
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
        read_heritable(attributes, true)
    }

    pub(crate) fn name(&self, otherwise: impl FnOnce() -> String) -> String {
        self.name.clone().unwrap_or_else(otherwise)
    }
}

/// Reads the name of a variant.
pub(crate) fn variant_name(attributes: &[Attribute], ident: &Ident) -> Result<String> {
    Ok(read_heritable(attributes, false)?.name(|| ident.unraw().to_string()))
}

fn read_heritable(attributes: &[Attribute], is_field: bool) -> Result<Field> {
    let mut field = Field::default();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("heritable")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") {
                let name: LitStr = meta.value()?.parse()?;
                let bytes = name.value();
                if bytes.is_empty() || bytes.len() > 255 || bytes.chars().any(char::is_control) {
                    return Err(syn::Error::new(
                        name.span(),
                        "a name has 1 to 255 bytes, none of them control characters",
                    ));
                }
                field.name = Some(bytes);
            } else if is_field && meta.path.is_ident("recursive") {
                let to = if meta.input.peek(Token![=]) {
                    Recursive::To(meta.value()?.parse()?)
                } else {
                    Recursive::Own
                };
                field.recursive = Some(to);
            } else {
                if meta.input.peek(syn::token::Paren) {
                    let content;
                    parenthesized!(content in meta.input);
                    let _: proc_macro2::TokenStream = content.parse()?;
                }
                let known = "`name = \"..\"`, and on a field `recursive` or `recursive = Type`";
                return Err(meta.error(format!("unknown attribute; heritable knows {known}")));
            }
            Ok(())
        })?;
    }
    Ok(field)
}
