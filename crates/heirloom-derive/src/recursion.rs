//! A field's type with the way back replaced: `Vec<(u64, Node)>` in `Node` becomes `Vec<(u64, Again<Node>)>`.
//!
//! Only a plain mention of the type is replaced. `Node<(T, T)>` within `Node<T>` is another type at every level, has
//! no finite description, and is refused.

use quote::ToTokens;
use syn::visit_mut::{VisitMut, visit_type_mut};
use syn::{DeriveInput, Error, PathArguments, Result, Type, parse_quote};

use crate::attributes::Recursive;

/// Returns `ty` as it is described.
pub(crate) fn replace(input: &DeriveInput, ty: &Type, way: &Recursive) -> Result<Type> {
    let mut mentions = match way {
        Recursive::Own => {
            let (ident, (_, generics, _)) = (&input.ident, input.generics.split_for_impl());
            vec![parse_quote!(Self), parse_quote!(#ident #generics)]
        }
        Recursive::To(path) => vec![parse_quote!(#path)],
    };
    let mut replacer = Replacer { mentions: &mut mentions, nr_replaced: 0, error: None };
    let mut described = ty.clone();
    replacer.visit_type_mut(&mut described);
    if let Some(error) = replacer.error {
        return Err(error);
    }
    if replacer.nr_replaced == 0 {
        let target = mentions.pop().map(|ty| ty.into_token_stream().to_string()).unwrap_or_default();
        let why = format!(
            "this field is marked recursive, but its type does not mention `{target}`; remove the mark, or name the \
             type that it leads back to: `#[heritable(recursive = Outer)]`"
        );
        return Err(Error::new_spanned(ty, why));
    }
    Ok(described)
}

struct Replacer<'a> {
    mentions: &'a mut Vec<Type>,
    nr_replaced: usize,
    error: Option<Error>,
}

impl VisitMut for Replacer<'_> {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        if self.mentions.contains(ty) {
            *ty = parse_quote!(::heirloom::heritable::Again<#ty>);
            self.nr_replaced += 1;
            return;
        }
        if self.is_other_instance(ty) {
            let why = "a recursive type must lead back to itself with the same parameters: with others it is another \
                       type at every level, and has no finite description";
            self.error.get_or_insert_with(|| Error::new_spanned(&*ty, why));
        }
        visit_type_mut(self, ty);
    }
}

impl Replacer<'_> {
    /// True for `Node<..>` with other arguments than the mention has.
    fn is_other_instance(&self, ty: &Type) -> bool {
        let Type::Path(path) = ty else { return false };
        let Some(last) = path.path.segments.last() else { return false };
        path.path.segments.len() == 1
            && matches!(last.arguments, PathArguments::AngleBracketed(_))
            && self.mentions.iter().any(|mention| match mention {
                Type::Path(mention) => {
                    mention.path.segments.last().is_some_and(|own| own.ident == last.ident)
                }
                _ => false,
            })
    }
}
