//! Structs: name, offset and type of each field.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{DataStruct, DeriveInput, Error, Index, Member, Result};

use crate::Repr;
use crate::attributes::Field;
use crate::recursion;

/// Refuses a struct whose layout is the compiler's to choose.
pub(crate) fn demand_layout(input: &DeriveInput, repr: &Repr) -> Result<()> {
    if let Some(packed) = &repr.packed {
        let why = "fields of a packed struct cannot be borrowed, and a heap is used by borrowing from it; write \
                   `#[repr(C)]`, with the fields ordered from large to small alignment";
        return Err(Error::new_spanned(packed, why));
    }
    if repr.c || repr.transparent {
        return Ok(());
    }
    let why = format!(
        "`{0}` needs `#[repr(C)]` to live in a heap: without it each compiler may order the fields as it likes, and the \
         next binary would read them in another order; write `#[repr(C)]` above `struct {0}` (or \
         `#[repr(transparent)]`, if it wraps a single field)",
        input.ident
    );
    Err(Error::new_spanned(&input.ident, why))
}

/// Returns what must compile before the description is made, and the description of what is inside.
pub(crate) fn kind(input: &DeriveInput, data: &DataStruct) -> Result<(TokenStream, TokenStream)> {
    let mut checks = TokenStream::new();
    let mut fields = TokenStream::new();
    for (index, field) in data.fields.iter().enumerate() {
        let attributes = Field::read(&field.attrs)?;
        let member = match &field.ident {
            Some(ident) => Member::Named(ident.clone()),
            None => Member::Unnamed(Index { index: index as u32, span: field.ty.span() }),
        };
        let name = attributes.name(|| match &member {
            Member::Named(ident) => ident.unraw().to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        });
        let ty = &field.ty;
        let described = match &attributes.recursive {
            None => ty.clone(),
            Some(way) => {
                checks.extend(quote_spanned!(ty.span()=> ::heirloom::heritable::assert_heritable::<#ty>();));
                recursion::replace(input, ty, way)?
            }
        };
        let ty = quote_spanned!(ty.span()=> <#described as ::heirloom::Heritable>::TYPE);
        fields.extend(quote! {
            ::heirloom::heritable::FieldDesc {
                name: #name,
                offset: ::core::mem::offset_of!(Self, #member) as u64,
                ty: #ty,
            },
        });
    }
    Ok((checks, quote!(::heirloom::heritable::TypeKind::Struct { fields: &[#fields] })))
}
