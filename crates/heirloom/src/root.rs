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
//!
//! A second note has the type's history (`evolve`). And each root is registered before `main`, so that it can be migrated, or its
//! secrets be kept back, though no code of the program has come by it yet.
#![expect(unsafe_code, reason = "reads the list of registered statics")]

use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::*};

use heirloom_abi::note::root_form_at;
use heirloom_abi::types::{Hook, fingerprint, flat_len, rules_len};

use crate::heritable::Heritable;
use crate::note;

#[doc(hidden)]
pub mod expansion {
    pub use heirloom_abi::note::{NoteBytes, root_note, root_note_len, rules_note};
    pub use heirloom_abi::types::{Hook, flat_len, flatten, hooks, nr_hooks, rules_form, rules_len};

    pub use super::{Declared, register};
}

/// A named object of the heap, made by [`root!`](crate::root!).
///
/// It can be shared between threads exactly if `T` can: a static of a `T` that is not `Sync` does not compile.
pub struct Root<T> {
    declared: Declared,
    object: PhantomData<T>,
}

/// What the library knows of a root without its type.
#[doc(hidden)]
pub struct Declared {
    pub(crate) name: &'static str,
    pub(crate) ty: &'static [u8],
    /// What the type says of its ancestors.
    pub(crate) rules: &'static [u8],
    /// The code that the rules refer to.
    pub(crate) hooks: &'static [Option<Hook>],
    /// The address of the object in this process, 0 until it is known.
    pub(crate) cell: AtomicUsize,
    /// The root that was registered before this one.
    next: AtomicPtr<Declared>,
    /// A binary that declares a root also says which formats it understands.
    _format: &'static [u8],
}

impl<T: Heritable> Root<T> {
    /// Makes the root of the notes that the macro has built.
    ///
    /// # Panics
    ///
    /// Panics, in a constant at compile time, if the notes are not those of this name and type.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(
        name: &'static str,
        note: &'static [u8],
        rules_note: &'static [u8],
        hooks: &'static [Option<Hook>],
    ) -> Self {
        let (_, rest) = note.split_at(root_form_at(name));
        let (ty, _) = rest.split_at(flat_len(T::TYPE));
        let (_, rest) = rules_note.split_at(root_form_at(name));
        let (rules, _) = rest.split_at(rules_len(T::TYPE));
        let declared = Declared {
            name,
            ty,
            rules,
            hooks,
            cell: AtomicUsize::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
            _format: note::FORMAT_NOTE.as_bytes(),
        };
        Self { declared, object: PhantomData }
    }
}

impl<T> Root<T> {
    /// Returns the name under which the object is found.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.declared.name
    }

    /// Returns the byte form of `T`, as it stands in the note of this binary and in the heap.
    #[must_use]
    pub const fn type_bytes(&self) -> &'static [u8] {
        self.declared.ty
    }

    /// Computes the fingerprint of [`type_bytes`](Self::type_bytes).
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        fingerprint(self.declared.ty)
    }

    #[doc(hidden)]
    pub const fn declared(&self) -> &Declared {
        &self.declared
    }
}

impl<T> std::fmt::Debug for Root<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Root").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// The root that was registered last.
static REGISTERED: AtomicPtr<Declared> = AtomicPtr::new(ptr::null_mut());

/// Makes a root known to the library. Called once for each, by the loader, before `main` and before there are threads.
#[doc(hidden)]
pub fn register(root: &'static Declared) {
    root.next.store(REGISTERED.load(Acquire), Release);
    REGISTERED.store(ptr::from_ref(root).cast_mut(), Release);
}

/// Iterates over all roots that this program declares, in no order.
pub(crate) fn declared() -> impl Iterator<Item = &'static Declared> {
    // SAFETY: only statics are registered, and they are only read.
    let at = |root: &AtomicPtr<Declared>| unsafe { root.load(Acquire).as_ref() };
    std::iter::successors(at(&REGISTERED), move |root| at(&root.next))
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
            const HEIRLOOM_DESC: &$crate::heritable::TypeDesc = <$ty as $crate::heritable::Heritable>::TYPE;
            const HEIRLOOM_FORM_BYTES: usize = $crate::root::expansion::flat_len(HEIRLOOM_DESC);
            const HEIRLOOM_NOTE_BYTES: usize = $crate::root::expansion::root_note_len($name, HEIRLOOM_FORM_BYTES);
            #[used]
            #[unsafe(link_section = ".note.heirloom")]
            static HEIRLOOM_NOTE: $crate::root::expansion::NoteBytes<HEIRLOOM_NOTE_BYTES> = $crate::root::expansion::root_note(
                $name,
                &$crate::root::expansion::flatten::<HEIRLOOM_FORM_BYTES>(HEIRLOOM_DESC),
            );
            const HEIRLOOM_RULES_BYTES: usize = $crate::root::expansion::rules_len(HEIRLOOM_DESC);
            const HEIRLOOM_RULES_NOTE_BYTES: usize = $crate::root::expansion::root_note_len($name, HEIRLOOM_RULES_BYTES);
            #[used]
            #[unsafe(link_section = ".note.heirloom")]
            static HEIRLOOM_RULES: $crate::root::expansion::NoteBytes<HEIRLOOM_RULES_NOTE_BYTES> =
                $crate::root::expansion::rules_note(
                    $name,
                    &$crate::root::expansion::rules_form::<HEIRLOOM_RULES_BYTES>(HEIRLOOM_DESC),
                );
            static HEIRLOOM_HOOKS: [::core::option::Option<$crate::root::expansion::Hook>;
                $crate::root::expansion::nr_hooks(HEIRLOOM_DESC)] = $crate::root::expansion::hooks(HEIRLOOM_DESC);
            // The loader calls what stands here before `main`: so a root is known though nobody has used it yet.
            #[used]
            #[unsafe(link_section = ".init_array")]
            static HEIRLOOM_REGISTER: extern "C" fn() = {
                extern "C" fn heirloom_register() {
                    $crate::root::expansion::register($root.declared());
                }
                heirloom_register
            };
            $crate::root::Root::new($name, HEIRLOOM_NOTE.as_bytes(), HEIRLOOM_RULES.as_bytes(), &HEIRLOOM_HOOKS)
        };
    )* };
}
