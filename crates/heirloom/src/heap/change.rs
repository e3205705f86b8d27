//! Roots change their objects and types: some together, by one last store, or none of them.
//!
//! ```text
//! old objects --Conversion--> new objects beside them --counts of what both share--> entries, the last of which commits --> done
//!                                                      cut before: the old ones are the roots', the new ones are left over
//! ```
//!
//! They change together since they may share values: an `Arc` in two roots leads to one value before and behind, or the change has
//! not happened.
#![expect(
    unsafe_code,
    reason = "has objects converted and given back, whose types are known by their description"
)]

use std::alloc::Layout;
use std::cell::OnceCell;
use std::ptr::NonNull;

use heirloom_abi::roots::NewRoot;
use heirloom_abi::types::TypeView;

use super::roots::{self, Entry, RootError};
use crate::evolve::convert::{Conversion, ConvertError, Ground};
use crate::evolve::plan::Plan;
use crate::evolve::release::release;
use crate::evolve::shape::Shapes;
use crate::evolve::{self, Listener, NoWay, Progress, Way};
use crate::root::Declared;
use crate::{alloc, generation};

/// A root that is to be of another type.
pub(super) struct Change<'c> {
    pub(super) root: &'static Declared,
    pub(super) entry: &'c Entry,
    pub(super) plan: Plan,
    /// The description of that type.
    pub(super) wanted: &'c [u8],
}

/// Makes a root's object one of this program's type. This thread may allocate, and nobody uses the object.
pub(super) fn migrate(
    root: &'static Declared,
    entry: &Entry,
    listener: Option<&Listener>,
) -> Result<(), RootError> {
    match evolve::find_way(&entry.ty, root.ty, Some(root.rules)) {
        Ok(Way::Taken) => Ok(()),
        Ok(Way::Planned(plan)) => change(&[Change { root, entry, plan, wanted: root.ty }], listener),
        Err(no) => Err(refused(root.name, no)),
    }
}

/// Gives roots objects of other types. The old ones stay as they are. This thread may allocate, and nobody uses the objects.
pub(super) fn change(changes: &[Change<'_>], listener: Option<&Listener>) -> Result<(), RootError> {
    if changes.is_empty() {
        return Ok(());
    }
    let addresses = roots::addresses()?;
    let mut conversion = Conversion::new(Ground::new(addresses.clone()));
    let mut new = Vec::new();
    for change in changes {
        let object_offset = match change.plan.is_same_layout {
            true => change.entry.offset,
            false => convert(&mut conversion, change, addresses.start, listener)?,
        };
        let Change { root, wanted: ty, .. } = change;
        new.push(NewRoot { name: root.name, object_offset, ty, generation: generation::current() });
    }
    // SAFETY: nobody uses the objects, so nobody changes what they share.
    unsafe { conversion.count_kept() };
    roots::supersede(&new)?;
    conversion.keep();
    Ok(())
}

/// Makes the new object of a root, and returns where it lies.
fn convert(
    conversion: &mut Conversion,
    change: &Change<'_>,
    base: usize,
    listener: Option<&Listener>,
) -> Result<u64, RootError> {
    let Change { root, entry, plan, wanted } = change;
    let failed = |error: ConvertError| RootError::Convert { name: root.name.to_owned(), error };
    let damaged = |error| RootError::Type { name: root.name.to_owned(), error };
    let (old, new) =
        (TypeView::parse(&entry.ty).map_err(damaged)?, TypeView::parse(wanted).map_err(damaged)?);
    let layout = room(&new).ok_or_else(|| failed(ConvertError::Shape))?;
    let place = conversion.block(layout).map_err(failed)?.as_ptr();

    let object = std::ptr::with_exposed_provenance(base + entry.offset as usize);
    let total = OnceCell::new();
    let mut progress = |done| {
        if let Some(Listener(listener)) = listener {
            let total = *total.get_or_init(|| roots::count_values(entry, &old));
            listener(Progress { root: root.name, done, total });
        }
    };
    // SAFETY: the entry says that an object of the old type lies there, which nobody changes; the place is as large as the new type
    // and zeroed, and the hooks are those of the rules.
    let nr = unsafe { conversion.run(plan, root.hooks, &mut progress, object, place) }.map_err(failed)?;
    progress(nr);
    Ok((place.expose_provenance() - base) as u64)
}

/// Gives an object back with all that it owns.
///
/// # Safety
///
/// An object of the entry's type lies at `at`, and nobody uses it or what it owns any more.
pub(super) unsafe fn give_back(at: *mut u8, entry: &Entry) {
    let Ok(ty) = TypeView::parse(&entry.ty) else { return };
    let Some(layout) = room(&ty) else { return };
    let Some(place) = NonNull::new(at) else { return };
    // SAFETY: by the caller; a root's object has a block of its own.
    unsafe {
        release(&Shapes::of(&ty), at);
        alloc::deallocate(place, layout);
    }
}

pub(super) fn refused(name: &str, no: NoWay) -> RootError {
    let name = name.to_owned();
    match no {
        NoWay::Refused(difference) => RootError::Changed { name, difference },
        NoWay::Damaged(error) => RootError::Type { name, error },
    }
}

/// The layout of the block of a root's object.
fn room(ty: &TypeView<'_>) -> Option<Layout> {
    let (size, align) = (usize::try_from(ty.size).ok()?, usize::try_from(ty.align).ok()?);
    Layout::from_size_align(size.max(1), align).ok()
}
