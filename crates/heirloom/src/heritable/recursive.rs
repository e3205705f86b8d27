//! The way back: how a type that reaches itself is described without an end.
//!
//! ```text
//! struct Node { value: u64, #[heritable(recursive)] children: Vec<(u64, Node)> }
//!
//! described as          Vec<(u64, Node)>      would need Node::TYPE to make Node::TYPE
//! so the derive says    Vec<(u64, Again<Node>)>
//! ```
//!
//! `Again<T>` has the layout of `T` and stands only in descriptions, so that everything between the field and the way
//! back is described like everything else. `flatten` checks that the way back leads to a type that encloses it.

use super::{Heritable, TypeDesc};

/// The name of a type by itself, which does not depend on what is inside.
pub trait Named: 'static {
    /// The same name as in `Heritable::TYPE`.
    const NAME: &'static str;
}

/// Stands for `T` within the description of `T`.
#[repr(transparent)]
pub struct Again<T>(T);

// SAFETY: a value is a `T`, which the derive demands to be heritable, and its name leads to the description of `T`.
unsafe impl<T: Named> Heritable for Again<T> {
    const TYPE: &'static TypeDesc = &TypeDesc::recursive(T::NAME, size_of::<T>(), align_of::<T>());
}

/// Compiles for heritable types only: a field that is described as another type is still itself heritable.
pub const fn assert_heritable<T: Heritable>() {}
