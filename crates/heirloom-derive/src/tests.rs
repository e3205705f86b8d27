use quote::quote;
use syn::DeriveInput;

use super::expand;

fn refusal(input: proc_macro2::TokenStream) -> String {
    let input: DeriveInput = syn::parse2(input).unwrap();
    expand(&input).map_or_else(|error| error.to_string(), |tokens| format!("accepted: {tokens}"))
}

#[track_caller]
fn refused(input: proc_macro2::TokenStream, expected: &[&str]) {
    let text = refusal(input);
    for part in expected {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}

#[test]
fn a_struct_without_a_layout_is_told_what_to_write() {
    refused(
        quote!(
            struct Session {
                id: u64,
            }
        ),
        &[
            "`Session` needs `#[repr(C)]`",
            "write `#[repr(C)]` above `struct Session`",
            "`#[repr(transparent)]`",
        ],
    );
    refused(
        quote!(
            #[repr(C, packed)]
            struct Session {
                id: u64,
            }
        ),
        &["fields of a packed struct cannot be borrowed", "write `#[repr(C)]`"],
    );
}

#[test]
fn enums_have_an_integer() {
    refused(
        quote!(
            enum Level {
                Low,
            }
        ),
        &["`Level` needs `#[repr(u8)]`"],
    );
    refused(
        quote!(
            #[repr(C)]
            enum Level {
                Low,
            }
        ),
        &["`Level` needs `#[repr(u8)]`"],
    );
    refused(
        quote!(
            #[repr(C)]
            enum Level {
                Low(u64),
            }
        ),
        &["`Level` needs `#[repr(C, u8)]`", "`#[repr(C)]` alone leaves the integer"],
    );
}

#[test]
fn what_borrows_or_overlaps_is_refused() {
    refused(
        quote!(
            #[repr(C)]
            struct View<'a> {
                bytes: &'a [u8],
            }
        ),
        &["cannot borrow"],
    );
    refused(
        quote!(
            #[repr(C)]
            union Either {
                a: u64,
                b: f64,
            }
        ),
        &["a union does not say"],
    );
}

#[test]
fn a_way_back_must_lead_back() {
    refused(
        quote!(
            #[repr(C)]
            struct Node {
                #[heritable(recursive)]
                next: Vec<Other>,
            }
        ),
        &["does not mention `Node`"],
    );
    refused(
        quote!(
            #[repr(C)]
            struct Node<T> {
                #[heritable(recursive)]
                next: Vec<Node<(T, T)>>,
            }
        ),
        &["with the same parameters"],
    );
}

#[test]
fn unknown_and_misplaced_attributes_are_refused() {
    refused(
        quote!(
            #[repr(C)]
            #[heritable(recursive)]
            struct Unit;
        ),
        &["unknown attribute; heritable knows"],
    );
    refused(
        quote!(
            #[repr(C)]
            #[heritable(name = "")]
            struct Unit;
        ),
        &["1 to 255 bytes"],
    );
}
