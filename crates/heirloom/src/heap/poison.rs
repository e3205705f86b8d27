//! Poisoned roots: a generation died, or a thread panicked, while it changed what they reach.
//!
//! ```text
//! how it is known          lock in the root's object held by a dead writer, or a note of `Root::change`     `aftermath`
//! where it stands          the state of the root in the roots record: one byte, until somebody clears it
//! what becomes of it       `Options::on_poison`, at the next opening, before anybody is inside
//!                          replace | repair | keep
//! ```
//!
//! What is replaced is not dropped: it may be half changed, and a destructor would follow whatever it finds. Its memory is
//! what [`reclaim_leaks`](crate::Options::reclaim_leaks) gives back, between what is replaced and what is repaired (`reclaim`).
//!
//! An object of an older type is made one of this program's before it is repaired or kept, since who declares one of these says that
//! it can be looked at. It is not before it is replaced, nor without a word: then the heap is not opened.
#![expect(unsafe_code, reason = "replaces and repairs objects that nobody refers to yet")]

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

use super::diary::Diary;
use super::roots::{self, RootError};
use super::{Heap, Inside, door};
use crate::heritable::Heritable;
use crate::root::Root;

/// What becomes of a poisoned root when its heap is opened; see [`crate::Options::on_poison`].
pub struct OnPoison<T>(Way<T>);

enum Way<T> {
    Replace(fn() -> T),
    Repair(Arc<dyn Fn(&mut T) + Send + Sync>),
    Keep,
}

impl<T> OnPoison<T> {
    /// Puts `T::default()` in its place. The old object is not dropped, as a destructor would follow what may be half changed.
    pub fn replace() -> Self
    where
        T: Default,
    {
        Self(Way::Replace(T::default))
    }

    /// Hands it to a function, which sees that it is whole again. One of an older type is migrated before. Locks in it are free by then, and poisoned still. Where the
    /// function panics, opening the heap does, and the root stays poisoned.
    pub fn repair(repair: impl Fn(&mut T) + Send + Sync + 'static) -> Self {
        Self(Way::Repair(Arc::new(repair)))
    }

    /// Takes it as it is (or migrated, where it is of an older type), and clears the poison of the root. That of locks in it stays, as theirs says which.
    pub fn keep() -> Self {
        Self(Way::Keep)
    }
}

/// What became of a poisoned root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing: the options do not say what should. It stays poisoned.
    None,
    /// It was replaced by its default.
    Replaced,
    /// A function repaired it.
    Repaired,
    /// It was taken as it is.
    Kept,
    /// Nothing: the object is not of the type that this program has for it, or there was no room.
    Failed,
}

/// A root that was poisoned when the heap was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poisoned {
    /// Its name.
    pub root: String,
    /// What became of it.
    pub remedy: Remedy,
}

/// What the options say of one root.
#[derive(Clone)]
pub(crate) struct Policy {
    root: &'static str,
    /// The object is looked at; so it may be migrated.
    pub(super) looks: bool,
    apply: Arc<dyn Fn(&Inside<'_>) -> Remedy + Send + Sync>,
}

// What a policy was doing when it panicked is done again by the next opening.
impl std::panic::UnwindSafe for Policy {}
impl std::panic::RefUnwindSafe for Policy {}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Policy {
    pub(crate) fn new<T: Heritable + Default + Sync>(root: &'static Root<T>, on_poison: OnPoison<T>) -> Self {
        let looks = !matches!(on_poison.0, Way::Replace(_));
        let apply = move |inside: &Inside<'_>| {
            if let Way::Replace(make) = &on_poison.0 {
                return if root.replace(make()).is_ok() { Remedy::Replaced } else { Remedy::Failed };
            }
            if root.try_get(inside).is_err() {
                return Remedy::Failed;
            }
            let object = std::ptr::with_exposed_provenance_mut::<T>(root.declared().cell.load(Acquire));
            match &on_poison.0 {
                Way::Repair(repair) => {
                    // SAFETY: the object is the root's, and nobody has been inside to refer to it or to anything in it: the
                    // door has not been opened.
                    repair(unsafe { &mut *object });
                    Remedy::Repaired
                }
                Way::Keep | Way::Replace(_) => Remedy::Kept,
            }
        };
        Self { root: root.name(), looks, apply: Arc::new(apply) }
    }
}

impl Heap {
    /// What the options say of a root, if it is poisoned.
    pub(super) fn policy(&self, root: &str) -> Option<&Policy> {
        self.options.on_poison.iter().find(|policy| policy.root == root)
    }

    /// Roots that were poisoned when the heap was opened, and what became of them.
    pub fn poisoned(&self) -> &[Poisoned] {
        &self.poisoned
    }

    /// The roots that are going to be replaced, for being poisoned. Nobody looks at what they have before that.
    pub(super) fn find_to_be_replaced(&self) -> Vec<String> {
        roots::poisoned().into_iter().filter(|name| self.is_replaced(name)).collect()
    }

    fn is_replaced(&self, name: &str) -> bool {
        self.policy(name).is_some_and(|policy| !policy.looks)
    }

    /// Applies what the options say to each poisoned root, all that are to be replaced (`replaces`) or all others. The door has not
    /// been opened yet.
    pub(super) fn remedy_poison(&self, replaces: bool) -> Vec<Poisoned> {
        let is_due = |name: &String| self.is_replaced(name) == replaces;
        let names: Vec<String> = roots::poisoned().into_iter().filter(is_due).collect();
        let remedy = |inside: &Inside<'_>, name: &str| {
            let remedy = self.policy(name).map_or(Remedy::None, |policy| (policy.apply)(inside));
            // Killed before this, the next opening does it again.
            if !matches!(remedy, Remedy::None | Remedy::Failed) {
                let _damaged_is_seen_elsewhere = roots::set_poisoned(name, false);
            }
            Poisoned { root: name.to_owned(), remedy }
        };
        let all = |inside: &Inside<'_>| names.iter().map(|name| remedy(inside, name)).collect();
        if names.is_empty() {
            return Vec::new();
        }
        door::enter_with_key(self.hall, all).unwrap_or_else(|| {
            let failed = |name: &String| Poisoned { root: name.clone(), remedy: Remedy::Failed };
            names.iter().map(failed).collect()
        })
    }
}

/// A root that this thread changes; see [`Root::change`].
#[must_use = "the change ends when this is dropped"]
pub struct Changing<'inside, T> {
    object: &'inside T,
    name: &'static str,
    index: u32,
    was_panicking: bool,
    thread: PhantomData<*const ()>,
}

impl<T> Deref for Changing<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.object
    }
}

impl<T> Drop for Changing<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.was_panicking {
            // As a lock: whoever comes next is to know. A damaged record is seen elsewhere.
            let _damaged_is_seen_elsewhere = roots::set_poisoned(self.name, true);
        }
        // SAFETY: the guard is dropped before its thread leaves the heap, and goes no further.
        if let Some(seat) = unsafe { door::seat() }
            && let Ok(diary) = Diary::open(seat)
        {
            diary.end_change(self.index);
        }
    }
}

impl<T: Heritable + Default + Sync> Root<T> {
    /// As [`Root::get`], and notes that this thread changes what the root reaches, until the guard is dropped: should the process die
    /// meanwhile, the root is poisoned for the next one. For roots that are changed without a lock of their own, as a group of
    /// atomics; a [`Mutex`](crate::sync::Mutex) or [`RwLock`](crate::sync::RwLock) in the root says so by itself.
    ///
    /// # Errors
    ///
    /// [`RootError::NoRoom`], also where this thread changes more than 56 roots at once; [`RootError::Record`].
    pub fn change<'inside>(
        &'static self,
        inside: &'inside Inside<'_>,
    ) -> Result<Changing<'inside, T>, RootError> {
        let object = self.try_get(inside)?;
        let no_room = |error| RootError::NoRoom { name: self.name().to_owned(), error };
        // SAFETY: the reference goes no further.
        let seat = unsafe { door::seat() }.ok_or(RootError::Closed)?;
        let index = roots::index_of(self.name())?;
        let diary = Diary::open(seat).map_err(no_room)?;
        if !diary.note_change(index) {
            return Err(no_room(crate::AllocError::TOO_LARGE));
        }
        let was_panicking = std::thread::panicking();
        Ok(Changing { object, name: self.name(), index, was_panicking, thread: PhantomData })
    }

    /// True where a generation died, or a thread panicked, while it changed what the root reaches, and nobody has said since that it
    /// was looked after.
    pub fn is_poisoned(&'static self, _inside: &Inside<'_>) -> bool {
        roots::poisoned().iter().any(|name| name == self.name())
    }

    /// Declares that what the root reaches has been looked after.
    ///
    /// # Errors
    ///
    /// [`RootError::Record`] where the record is damaged.
    pub fn clear_poison(&'static self, _inside: &Inside<'_>) -> Result<(), RootError> {
        roots::set_poisoned(self.name(), false)
    }
}
