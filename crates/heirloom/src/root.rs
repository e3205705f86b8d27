//! Roots: the statics by which a program names what it finds in its heap.
//!
//! ```text
//! root! { pub static SESSIONS: Mutex<Sessions> = "sessions"; }
//!
//! static SESSIONS: Root { name, ty ----+, cell }      .data: the address, once it is known
//!                                      v
//! static NOTE: | nhdr | "sessions" | byte form |      .note.heirloom: for whoever asks before starting this binary
//! ```
//!
//! The type stands in the binary once, in the note: the root borrows it from there, which also keeps the linker from
//! dropping the note of a root that is used. A root of a library that is never used is dropped with its library, as
//! the binary could not do anything with it.

use std::marker::PhantomData;
use std::sync::atomic::AtomicUsize;

use heirloom_abi::note::root_form_at;
use heirloom_abi::types::{fingerprint, flat_len};

use crate::heritable::Heritable;
use crate::note;

#[doc(hidden)]
pub mod expansion {
    pub use heirloom_abi::note::{NoteBytes, root_note, root_note_len};
    pub use heirloom_abi::types::{flat_len, flatten};
}

/// A named object of the heap, made by [`root!`](crate::root!).
///
/// It can be shared between threads exactly if `T` can: a static of a `T` that is not `Sync` does not compile.
pub struct Root<T> {
    pub(crate) name: &'static str,
    pub(crate) ty: &'static [u8],
    /// The address of the object in this process, 0 until it is known.
    pub(crate) cell: AtomicUsize,
    /// A binary that declares a root also says which formats it understands.
    _format: &'static [u8],
    object: PhantomData<T>,
}

impl<T: Heritable> Root<T> {
    /// Makes the root of the note that the macro has built.
    ///
    /// # Panics
    ///
    /// Panics, in a constant at compile time, if the note is not that of this name and type.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(name: &'static str, note: &'static [u8]) -> Self {
        let (_, rest) = note.split_at(root_form_at(name));
        let (ty, _) = rest.split_at(flat_len(T::TYPE));
        Self {
            name,
            ty,
            cell: AtomicUsize::new(0),
            _format: note::FORMAT_NOTE.as_bytes(),
            object: PhantomData,
        }
    }
}

impl<T> Root<T> {
    /// Returns the name under which the object is found.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the byte form of `T`, as it stands in the note of this binary and in the heap.
    #[must_use]
    pub const fn type_bytes(&self) -> &'static [u8] {
        self.ty
    }

    /// Computes the fingerprint of [`type_bytes`](Self::type_bytes).
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        fingerprint(self.ty)
    }
}

impl<T> std::fmt::Debug for Root<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Root").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Declares roots: statics of type [`Root`], each with the name under which its object is kept.
///
/// ```
/// use std::sync::atomic::AtomicU64;
///
/// heirloom::root! {
///     /// Counts what all generations have done.
///     pub static OPERATIONS: AtomicU64 = "operations";
///     static GENERATIONS: AtomicU64 = "generations";
/// }
/// assert_eq!(OPERATIONS.name(), "operations");
/// # let _ = &GENERATIONS;
/// ```
///
/// The name is the identity: it must be unique in the binary, and may not change while a heap holds it. The type
/// must be [`Heritable`] and `Sync`. Both stand in a note of the binary, so that a predecessor can compare them with
/// what is in its heap before it lets go.
#[macro_export]
macro_rules! root {
    ($($(#[$attribute:meta])* $visibility:vis static $root:ident: $ty:ty = $name:expr;)*) => { $(
        $(#[$attribute])*
        $visibility static $root: $crate::root::Root<$ty> = {
            const DESC: &$crate::heritable::TypeDesc = <$ty as $crate::heritable::Heritable>::TYPE;
            const FORM_BYTES: usize = $crate::root::expansion::flat_len(DESC);
            const NOTE_BYTES: usize = $crate::root::expansion::root_note_len($name, FORM_BYTES);
            #[used]
            #[unsafe(link_section = ".note.heirloom")]
            static NOTE: $crate::root::expansion::NoteBytes<NOTE_BYTES> = $crate::root::expansion::root_note(
                $name,
                &$crate::root::expansion::flatten::<FORM_BYTES>(DESC),
            );
            $crate::root::Root::new($name, NOTE.as_bytes())
        };
    )* };
}
