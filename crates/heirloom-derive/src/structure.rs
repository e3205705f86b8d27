//! Structs: their fields, whose offsets the compiler tells.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DataStruct, DeriveInput, Error, Result};

use crate::{Repr, fields};

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
    let fields = fields::describe(input, &data.fields, &mut checks, |_, member| {
        quote!(::core::mem::offset_of!(Self, #member) as u64)
    })?;
    Ok((checks, quote!(::heirloom::heritable::TypeKind::Struct { fields: &[#fields] })))
}
