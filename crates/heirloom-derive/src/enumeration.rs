//! Enums without fields: the integer, and the name and value of each variant.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DataEnum, DeriveInput, Error, Result};

use crate::Repr;
use crate::attributes::variant_name;

/// Returns the description of what is inside.
pub(crate) fn kind(input: &DeriveInput, data: &DataEnum, repr: &Repr) -> Result<TokenStream> {
    if let Some(variant) = data.variants.iter().find(|variant| !variant.fields.is_empty()) {
        let why = "an enum that lives in a heap has no fields in its variants; write an enum without fields beside a \
                   struct that holds what the variants would";
        return Err(Error::new_spanned(&variant.fields, why));
    }
    let Some(integer) = &repr.integer else {
        let why = format!(
            "`{0}` needs `#[repr(u8)]` (or u16, u32, ..) to live in a heap: without it each compiler may choose another \
             integer for it",
            input.ident
        );
        return Err(Error::new_spanned(&input.ident, why));
    };
    let integer = integer.to_string();
    let mut variants = TokenStream::new();
    for variant in &data.variants {
        let ident = &variant.ident;
        let name = variant_name(&variant.attrs, ident)?;
        variants.extend(quote! {
            ::heirloom::heritable::VariantDesc { name: #name, discriminant: Self::#ident as i128 },
        });
    }
    Ok(quote!(::heirloom::heritable::TypeKind::FieldlessEnum { repr: #integer, variants: &[#variants] }))
}
