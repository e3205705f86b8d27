// SPDX-License-Identifier: GPL-2.0

//! Names: what the next kernel starts from.
//!
//! They are `heirloom-roots`, the record that a heap of a process has too, in front of the control area of the pool. A kernel
//! knows nothing of its objects but their size, so each is described as an array of bytes.

use heirloom_abi::roots::{self, NewRoot, Root, Roots, RootsError};
use heirloom_abi::types::{flat_len, flatten, TypeDesc, TypeKind, TypeRules, ARRAY};
use kernel::prelude::*;

use crate::linux::{self, Locked, Scratchpad};
use crate::pool::Heirloom;

/// Bytes of the record: 127 names.
pub(crate) const NAMES_BYTES: u64 = 64 * 1024;

/// Bytes of the description of an object, however long that is.
const FORM_BYTES: usize = flat_len(&bytes_type(0));

/// Writes an empty record.
pub(crate) fn lay_out(at: u64) -> Result<(), RootsError> {
    // SAFETY: the caller's own pages, which nobody else knows of yet.
    roots::init(unsafe { record_mut(at) })
}

/// Checks a record that was handed over.
pub(crate) fn check(at: u64) -> Result<usize, RootsError> {
    // SAFETY: pages that were handed over and that nobody writes.
    Roots::read(unsafe { record(at) }).map(|roots| roots.len())
}

/// # Safety
///
/// [`NAMES_BYTES`] bytes at `at` are memory that nobody writes while the result is in use.
unsafe fn record<'a>(at: u64) -> &'a [u8] {
    // SAFETY: by the caller's promise.
    unsafe { core::slice::from_raw_parts(linux::address(at), NAMES_BYTES as usize) }
}

/// # Safety
///
/// [`NAMES_BYTES`] bytes at `at` are memory that nobody else uses while the result is in use.
unsafe fn record_mut<'a>(at: u64) -> &'a mut [u8] {
    // SAFETY: by the caller's promise.
    unsafe { core::slice::from_raw_parts_mut(linux::address(at), NAMES_BYTES as usize) }
}

impl Heirloom {
    fn names_phys(&self) -> u64 {
        self.blob.0
    }

    /// Where the control area of the pool lies.
    pub(crate) fn control(&self) -> u64 {
        self.blob.0 + NAMES_BYTES
    }

    /// Calls `each` with all names.
    pub(crate) fn for_each_name(
        &self,
        _locked: &Locked,
        mut each: impl FnMut(&Root<'_>),
    ) -> Result<(), RootsError> {
        // SAFETY: the record is ours, and written under the lock alone.
        let roots = Roots::read(unsafe { record(self.names_phys()) })?;
        roots.iter().for_each(|root| each(&root));
        Ok(())
    }

    /// The handle of the object of a name.
    pub(crate) fn named(&self, name: &str) -> Option<u64> {
        let _locked = Locked::take();
        // SAFETY: as above.
        let roots = Roots::read(unsafe { record(self.names_phys()) }).ok()?;
        Some(roots.find(name)?.object_offset)
    }

    /// Gives an object a name.
    pub(crate) fn publish(&self, name: &str, object: *const u8) -> Result {
        let _locked = Locked::take();
        if self.is_frozen() {
            return Err(EBUSY);
        }
        let found = self.find(object).ok_or(EINVAL)?;
        let root = NewRoot {
            name,
            object_offset: found.start,
            ty: &flatten::<FORM_BYTES>(&bytes_type(found.bytes)),
            generation: self.generation,
        };
        // SAFETY: the record is ours, and we hold the lock.
        let added = roots::add(unsafe { record_mut(self.names_phys()) }, &root);
        added.map(drop).map_err(|error| match error {
            RootsError::Duplicate { .. } => EEXIST,
            RootsError::Full { .. } | RootsError::NoRoom { .. } => ENOSPC,
            RootsError::Name { .. } => EINVAL,
            other => {
                pr_err!("the names are damaged: {}\n", core::format_args!("{other}"));
                EIO
            }
        })
    }

    /// Takes a name back: all others are written anew. A kernel is not killed in the middle and then handed over, so that may
    /// take more than one store.
    ///
    /// Returns the handle of its object.
    pub(crate) fn unpublish(&self, name: &str) -> Result<u64> {
        let _locked = Locked::take();
        if self.is_frozen() {
            return Err(EBUSY);
        }
        let mut pad = Scratchpad::take(NAMES_BYTES as usize)?;
        // SAFETY: the record is ours, and we hold the lock; this borrow ends before the next begins, for the copy is what is read.
        let copy = pad.fill_from(unsafe { record(self.names_phys()) });
        let roots = Roots::read(copy).map_err(|_| EIO)?;
        let gone = roots.find(name).ok_or(ENOENT)?;
        // SAFETY: as above.
        let region = unsafe { record_mut(self.names_phys()) };
        roots::init(region).map_err(|_| EIO)?;
        for root in roots.iter().filter(|root| root.index != gone.index) {
            let again = NewRoot {
                name: root.name,
                object_offset: root.object_offset,
                ty: root.ty,
                generation: root.generation,
            };
            roots::add(region, &again).map_err(|_| EIO)?;
        }
        Ok(gone.object_offset)
    }
}

/// The type of an object of `bytes` bytes: `[u8; bytes]`.
const fn bytes_type(bytes: u64) -> TypeDesc {
    const U8: &TypeDesc = &TypeDesc::primitive("u8", 1, 1);
    let kind = TypeKind::Array { elem: U8, len: bytes };
    TypeDesc { name: ARRAY, size: bytes, align: 1, kind, rules: TypeRules::NONE }
}
