//! Fields, of a struct or of a variant: name, offset, type and rules of each.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{DeriveInput, Fields, Index, Member, Result};

use crate::attributes::{Default, Field};
use crate::recursion;

/// Describes each field, and adds to `checks` what must compile before.
pub(crate) fn describe(
    input: &DeriveInput,
    fields: &Fields,
    checks: &mut TokenStream,
    offset: impl Fn(usize, &Member) -> TokenStream,
) -> Result<TokenStream> {
    let mut described = TokenStream::new();
    for (index, field) in fields.iter().enumerate() {
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
        let stands_for = match &attributes.recursive {
            None => ty.clone(),
            Some(way) => {
                checks.extend(quote_spanned!(ty.span()=> ::heirloom::heritable::assert_heritable::<#ty>();));
                recursion::replace(input, ty, way)?
            }
        };
        let type_desc = quote_spanned!(ty.span()=> <#stands_for as ::heirloom::Heritable>::TYPE);
        let offset = offset(index, &member);
        let rules = rules(ty, &attributes);
        described.extend(quote! {
            ::heirloom::heritable::FieldDesc { name: #name, offset: #offset, ty: #type_desc, rules: #rules },
        });
    }
    Ok(described)
}

fn rules(ty: &syn::Type, attributes: &Field) -> TokenStream {
    let (was, secret) = (&attributes.was, attributes.secret);
    if was.is_empty() && attributes.default.is_none() && !secret {
        return quote!(::heirloom::heritable::FieldRules::NONE);
    }
    let default = match &attributes.default {
        None if !secret => quote!(::core::option::Option::None),
        None | Some(Default::OfType) => {
            quote_spanned!(ty.span()=> ::core::option::Option::Some((
                ::heirloom::heritable::write_default::<#ty>,
                ::heirloom::heritable::drop_value::<#ty>,
            )))
        }
        Some(Default::Value(value)) => quote! {
            ::core::option::Option::Some({
                let write: ::heirloom::heritable::DefaultFn = |at: *mut u8| {
                    let value: #ty = #value;
                    // SAFETY: whoever calls a default has made room for a value of the field's type.
                    unsafe { ::core::ptr::write(at.cast::<#ty>(), value) }
                };
                (write, ::heirloom::heritable::drop_value::<#ty>)
            })
        },
    };
    quote!(::heirloom::heritable::FieldRules { was: &[#(#was),*], default: #default, secret: #secret })
}
