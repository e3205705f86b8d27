//! What may live in a heap: types whose bytes mean the same to the next binary.
//!
//! ```text
//! #[derive(Heritable)]  ->  Heritable::TYPE  --flatten-->  the roots record, and the ELF note of the binary
//!        (safe)              (constant tree)                compared before a heap changes hands
//! ```
//!
//! `primitive` has the types of the language, the collections have theirs beside them, and the derive makes all
//! others from these two.

#![expect(unsafe_code, reason = "Heritable is an unsafe trait: the next binary believes what it says")]

mod cases;
mod hooks;
mod maybe;
mod primitive;
mod recursive;

#[doc(hidden)]
pub use cases::CaseLayout;
pub use heirloom_abi::types::{
    CaseDesc, DefaultFn, FieldDesc, FieldRules, Lineage, TypeDesc, TypeKind, TypeRules, VariantDesc,
};
#[doc(hidden)]
pub use hooks::{convert, drop_value, write_default};
pub use maybe::{Maybe, Outcome};
pub use primitive::ZeroNiche;
#[doc(hidden)]
pub use recursive::{Again, Named, assert_heritable};

/// A type that may live in a heap, and be read there by another binary.
///
/// Derive it. The derive asks for `#[repr(C)]`, `#[repr(transparent)]` or, on an enum, `#[repr(u8)]` or `#[repr(C, u8)]`
/// and the like, because the order of fields in any other type may change with the compiler.
///
/// ```
/// use heirloom::Heritable;
///
/// #[derive(Heritable)]
/// #[repr(C)]
/// struct Session {
///     id: u64,
///     hits: u64,
///     level: Level,
/// }
///
/// #[derive(Heritable)]
/// #[repr(u8)]
/// enum Level {
///     Guest = 1,
///     Member = 2,
/// }
///
/// assert_eq!(Session::TYPE.name, "Session");
/// ```
///
/// - `#[heritable(name = "..")]` on a type, field or variant keeps a name that the code has changed.
/// - `#[heritable(recursive)]` marks a field through which a type reaches itself, as `children: Vec<Node>` in
///   `Node`; `#[heritable(recursive = Outer)]` one that leads back to another type, which must enclose it.
///
/// # Safety
///
/// Another binary, of another compiler and at other addresses, takes the bytes of such a value for a value. The
/// implementor owes that
///
/// - no value holds a pointer, reference or handle to anything outside the heap: no `&'static str` or other
///   reference to a static, no function pointer, no vtable, no pointer to a stack, no file descriptor whose meaning is
///   its number,
/// - what it points to in the heap was allocated by [`alloc`](crate::alloc), is owned through it, and is described by
///   its `TYPE` or by the format version in it,
/// - every bit pattern that one binary's type wrote is valid in every other binary whose [`TYPE`](Self::TYPE) is equal,
///   which is why `TYPE` must tell all that the layout and the valid values depend on,
/// - `TYPE` states the size and alignment that `Self` has, and no two types with different bytes have an equal one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot live in a heap",
    label = "not `Heritable`: the next binary could not read it",
    note = "your own types: `#[derive(Heritable)]` with `#[repr(C)]`, or `#[repr(C, u8)]` on an enum",
    note = "`Result` has no fixed layout: use `heirloom::Outcome`",
    note = "`std`'s `String`, `Vec`, `Box`, `HashMap`, `Mutex` and `RwLock` keep their data outside the heap: use \
            `heirloom::{{String, Vec, Box, HashMap}}` and `heirloom::sync::{{Mutex, RwLock}}`",
    note = "`Cell`, `RefCell` and `Once` know nothing of a dead generation: use an atomic of `std::sync::atomic`, or \
            `heirloom::sync`",
    note = "`std`'s `Rc` and `Arc` count in this program's memory: use `heirloom::arc::Arc`, `heirloom::Box`, or store an index",
    note = "`*mut T` and `*const T` own nothing: use `heirloom::Box`, or store an index",
    note = "threads, files and sockets are a number of this process: what it stands for ends with this process",
    note = "`&'static str`, other references, function pointers and `Box<dyn Trait>` point into one binary: store a \
            `heirloom::String`, an index, or an enum instead"
)]
pub unsafe trait Heritable: 'static {
    /// Describes the type.
    const TYPE: &'static TypeDesc;
}

#[cfg(test)]
mod tests;
