//! Enums: the integer, and the name, value and fields of each variant.
//!
//! ```text
//! #[repr(u8)]      a union of  #[repr(C)] struct { tag: u8, fields of the variant }
//! #[repr(C, u8)]   #[repr(C)] struct { tag: u8, a union of  #[repr(C)] struct { fields of the variant } }
//! ```
//!
//! That is what the language promises for an enum with fields, so their offsets follow from sizes and alignments alone;
//! no stable way leads to them through the compiler. That the whole has the size which follows is checked.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::{DataEnum, DeriveInput, Error, Expr, Result};

use crate::attributes::Variant;
use crate::{Repr, fields};

/// Returns what must compile before the description is made, and the description of what is inside.
pub(crate) fn kind(input: &DeriveInput, data: &DataEnum, repr: &Repr) -> Result<(TokenStream, TokenStream)> {
    let has_fields = data.variants.iter().any(|variant| !variant.fields.is_empty());
    let Some(integer) = &repr.integer else {
        return Err(Error::new_spanned(&input.ident, demand(&input.ident, has_fields)));
    };
    let integer_name = integer.to_string();
    let mut checks = TokenStream::new();
    if !has_fields {
        let mut variants = TokenStream::new();
        for variant in &data.variants {
            let ident = &variant.ident;
            variants.extend(describe(&Variant::read(&variant.attrs)?, ident, &quote!(Self::#ident as i128)));
        }
        let kind = quote! {
            ::heirloom::heritable::TypeKind::FieldlessEnum { repr: #integer_name, variants: &[#variants] }
        };
        return Ok((checks, kind));
    }

    // Sizes and alignments of each variant's fields, for the arithmetic.
    let shapes: Vec<TokenStream> = data
        .variants
        .iter()
        .map(|variant| {
            let types: Vec<_> = variant.fields.iter().map(|field| &field.ty).collect();
            quote!(&[#((::core::mem::size_of::<#types>(), ::core::mem::align_of::<#types>())),*])
        })
        .collect();
    let is_c = repr.c;
    let layout = quote!(::heirloom::heritable::CaseLayout::new(
        #is_c, ::core::mem::size_of::<#integer>(), ::core::mem::align_of::<#integer>(), &[#(#shapes),*]
    ));
    checks.extend(quote! {
        assert!(
            #layout.size() == ::core::mem::size_of::<Self>() && #layout.align() == ::core::mem::align_of::<Self>(),
            "this compiler lays an enum out otherwise than the language says"
        );
    });
    let mut cases = TokenStream::new();
    let mut last: Option<(&Expr, i128)> = None;
    for (nth, variant) in data.variants.iter().enumerate() {
        last = match (&variant.discriminant, last) {
            (Some((_, value)), _) => Some((value, 0)),
            (None, Some((value, steps))) => Some((value, steps + 1)),
            (None, None) => None,
        };
        let value = match last {
            Some((value, steps)) => quote!({ const BASE: #integer = #value; BASE as i128 + #steps }),
            None => {
                let steps = nth as i128;
                quote!(#steps)
            }
        };
        let described = describe(&Variant::read(&variant.attrs)?, &variant.ident, &value);
        let fields = fields::describe(
            input,
            &variant.fields,
            &mut checks,
            |index, _| quote!(#layout.offset(#nth, #index) as u64),
        )?;
        cases.extend(quote! {
            ::heirloom::heritable::CaseDesc { variant: #described fields: &[#fields] },
        });
    }
    let kind = quote!(::heirloom::heritable::TypeKind::DataEnum { repr: #integer_name, cases: &[#cases] });
    Ok((checks, kind))
}

fn describe(variant: &Variant, ident: &Ident, value: &TokenStream) -> TokenStream {
    let (name, was) = (variant.name(ident), &variant.was);
    quote!(::heirloom::heritable::VariantDesc { name: #name, discriminant: #value, was: &[#(#was),*] },)
}

fn demand(ident: &Ident, has_fields: bool) -> String {
    if has_fields {
        format!(
            "`{ident}` needs `#[repr(C, u8)]` (or `#[repr(u8)]`, or another integer) to live in a heap: without it each \
             compiler may choose where the fields of a variant lie, and which bits say which variant it is; `#[repr(C)]` \
             alone leaves the integer to the machine. `repr(u8)` packs fields into the space behind the tag, \
             `repr(C, u8)` keeps them together as C code would"
        )
    } else {
        format!(
            "`{ident}` needs `#[repr(u8)]` (or u16, u32, ..) to live in a heap: without it each compiler may choose another \
             integer for it"
        )
    }
}
