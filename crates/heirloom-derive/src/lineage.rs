//! What the type says of its ancestors: what they may lack, what it is made from, and what is made from it.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::Type;
use syn::spanned::Spanned;

use crate::attributes::Lineage;

/// Returns the rules of the type.
pub(crate) fn rules(lineage: &Lineage) -> TokenStream {
    let Lineage { removed, from, back_to, rollback } = lineage;
    if removed.is_empty() && from.is_empty() && back_to.is_empty() && !rollback {
        return quote!(::heirloom::heritable::TypeRules::NONE);
    }
    let from = from.iter().map(|other| relative(other, &quote!(#other, Self), &quote!(Self)));
    let back_to = back_to.iter().map(|other| relative(other, &quote!(Self, #other), &quote!(#other)));
    quote! {
        &::heirloom::heritable::TypeRules {
            removed: &[#(#removed),*],
            from: &[#(#from),*],
            back_to: &[#(#back_to),*],
            rollback: #rollback,
        }
    }
}

fn relative(other: &Type, way: &TokenStream, made: &TokenStream) -> TokenStream {
    quote_spanned! {other.span()=>
        ::heirloom::heritable::Lineage {
            ty: <#other as ::heirloom::Heritable>::TYPE,
            convert: ::heirloom::heritable::convert::<#way>,
            drop_made: ::heirloom::heritable::drop_value::<#made>,
            drop_other: ::heirloom::heritable::drop_value::<#other>,
        }
    }
}
