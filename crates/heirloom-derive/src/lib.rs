//! `#[derive(Heritable)]`: a description of a type, made from its declaration.
//!
//! ```text
//! attributes   what `#[repr]` and `#[heritable]` say, with errors at the attribute
//! recursion    a field's type with the way back to its own type replaced
//! fields       name, offset, type and rules of each field
//! structure    structs
//! enumeration  enums: the integer, name, value and fields of each variant
//! lineage      what the type can be made from, and what from it
//! ```
//!
//! The output names everything by `::heirloom`, and contains one `unsafe impl`: what it promises is checked here (the
//! layout is fixed) or by the compiler (each field is itself `Heritable`).

mod attributes;
mod enumeration;
mod fields;
mod lineage;
mod recursion;
mod structure;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, GenericParam, Result, parse_macro_input, parse_quote};

use attributes::{Container, Repr};

/// Implements `heirloom::Heritable`; see there for what it demands.
#[proc_macro_derive(Heritable, attributes(heritable))]
pub fn derive_heritable(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let container = Container::read(input)?;
    let name = container.name(&input.ident);
    let type_name = &input.ident;

    let mut generics = input.generics.clone();
    for param in &input.generics.params {
        match param {
            GenericParam::Lifetime(lifetime) => {
                let why =
                    "a type that lives in a heap cannot borrow: what it borrows from ends with this program";
                return Err(Error::new_spanned(lifetime, why));
            }
            GenericParam::Type(param) => {
                let ident = &param.ident;
                generics.make_where_clause().predicates.push(parse_quote!(#ident: ::heirloom::Heritable));
            }
            GenericParam::Const(_) => {}
        }
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();

    let (checks, kind) = match &input.data {
        Data::Struct(data) => {
            structure::demand_layout(input, &container.repr)?;
            structure::kind(input, data)?
        }
        Data::Enum(data) => enumeration::kind(input, data, &container.repr)?,
        Data::Union(data) => {
            let why = "a union does not say which of its fields is there, so the next binary could not read it; \
                       use an enum with `#[repr(C, u8)]`";
            return Err(Error::new_spanned(data.union_token, why));
        }
    };

    let rules = lineage::rules(&container.lineage);

    Ok(quote! {
        // SAFETY: the layout is fixed by the `repr`, and each field is itself heritable and described.
        #[automatically_derived]
        unsafe impl #impl_generics ::heirloom::Heritable for #type_name #type_generics #where_clause {
            const TYPE: &'static ::heirloom::heritable::TypeDesc = {
                #checks
                &::heirloom::heritable::TypeDesc {
                    name: #name,
                    size: ::core::mem::size_of::<Self>() as u64,
                    align: ::core::mem::align_of::<Self>() as u64,
                    kind: #kind,
                    rules: #rules,
                }
            };
        }

        #[automatically_derived]
        impl #impl_generics ::heirloom::heritable::Named for #type_name #type_generics #where_clause {
            const NAME: &'static str = #name;
        }
    })
}

#[cfg(test)]
mod tests;
