//! Roots while the heap is open: found by name, created on first use.
//!
//! A root's object is an ordinary object of the heap; the roots record says where it lies and of which type it is. A root is
//! added after its object is complete, by one last store, so that a kill leaves the old record or the new one.
#![expect(
    unsafe_code,
    reason = "gives references to objects of the heap, and writes the record in the mapping"
)]

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heirloom_abi::heap::Region;
use heirloom_abi::roots::{self, NewRoot, Roots, RootsError};
use heirloom_abi::types::{TypeView, TypesError};

use super::{Inside, bytes};
use crate::backing::Backing;
use crate::foreign::RootRow;
use crate::heritable::Heritable;
use crate::note::{Candidate, CandidateError, HeapFormat};
use crate::root::Root;
use crate::{alloc, generation};

/// Why the roots of a heap cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// The record is damaged.
    #[error(transparent)]
    Record(#[from] RootsError),
    /// The description of a type is damaged.
    #[error("type of root `{name}`: {error}")]
    Type {
        /// Which root.
        name: String,
        /// What is wrong.
        error: TypesError,
    },
    /// The object lies where no object can.
    #[error("root `{name}` is said to lie at {offset:#x}, outside the blocks")]
    Outside {
        /// Which root.
        name: String,
        /// Where.
        offset: u64,
    },
    /// The type in the heap is not the one of this program.
    #[error("root `{name}`: {difference}")]
    Changed {
        /// Which root.
        name: String,
        /// The first difference.
        difference: String,
    },
    /// No room for the object.
    #[error("root `{name}`: {error}")]
    NoRoom {
        /// Which root.
        name: String,
        /// How much was wanted.
        error: alloc::AllocError,
    },
    /// No heap is open.
    #[error("no heap is open")]
    Closed,
}

/// The open heap's record.
struct Table {
    instance: u64,
    backing: Arc<Backing>,
    region: Region,
    /// Roots that keep an address, to be made to forget it.
    found: Vec<&'static AtomicUsize>,
}

static TABLE: Mutex<Option<Table>> = Mutex::new(None);

/// Writes an empty record.
pub(super) fn format(backing: &Backing, region: Region) -> Result<(), RootError> {
    // SAFETY: the heap is being made: nobody else has it, and this is the only reference.
    Ok(roots::init(unsafe { record(backing, region) })?)
}

/// Checks a record, and that every object lies in the blocks.
pub(super) fn validate(backing: &Backing, region: Region, first_block: u64) -> Result<(), RootError> {
    let copy = copy_of(backing, region);
    for root in Roots::read(&copy)?.iter() {
        let end = root.object_offset.checked_add(root.object_bytes);
        if root.object_offset < first_block || end.is_none_or(|end| end > backing.len()) {
            return Err(RootError::Outside { name: root.name.to_owned(), offset: root.object_offset });
        }
    }
    Ok(())
}

/// Asks a program whether it knows every root of the heap by its name and type.
pub(super) fn check_against(
    backing: &Backing,
    region: Region,
    candidate: &Candidate,
) -> Result<(), CheckError> {
    let copy = copy_of(backing, region);
    let roots = Roots::read(&copy).map_err(RootError::from)?;
    Ok(candidate.check(roots.iter().map(|root| (root.name, root.ty)), HeapFormat::CURRENT)?)
}

/// What [`check_against`] found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// The heap's own record is damaged.
    #[error(transparent)]
    Roots(#[from] RootError),
    /// The program is not fit.
    #[error(transparent)]
    Candidate(#[from] CandidateError),
}

/// Makes the record of the heap that was just opened the one that roots are looked up in.
pub(super) fn open(instance: u64, backing: Arc<Backing>, region: Region) {
    *table() = Some(Table { instance, backing, region, found: Vec::new() });
}

/// Makes every root forget its address: the heap closes.
pub(super) fn forget_all(instance: u64) {
    let mut table = table();
    if table.as_ref().is_some_and(|table| table.instance == instance) {
        for cell in table.take().into_iter().flat_map(|table| table.found) {
            cell.store(0, Release);
        }
    }
}

/// The rows of a foreign record.
pub(crate) fn rows(record: &[u8]) -> Result<Vec<RootRow>, RootError> {
    let row = |root: roots::Root<'_>| {
        let ty = TypeView::parse(root.ty)
            .map_err(|error| RootError::Type { name: root.name.to_owned(), error })?;
        Ok(RootRow {
            name: root.name.to_owned(),
            type_text: ty.to_string(),
            size: root.object_bytes,
            offset: root.object_offset,
        })
    };
    Roots::read(record)?.iter().map(row).collect()
}

impl<T: Heritable + Default> Root<T> {
    /// The root's object: inherited, or made by `T::default()` now.
    ///
    /// # Panics
    ///
    /// Where the heap has no room for it, or [`Root::try_get`] fails for another reason.
    #[inline]
    pub fn get<'inside>(&'static self, inside: &'inside Inside<'_>) -> &'inside T {
        match self.try_get(inside) {
            Ok(object) => object,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`Root::get`].
    ///
    /// # Errors
    ///
    /// [`RootError::NoRoom`], [`RootError::Record`] where the record is full or damaged.
    #[inline]
    pub fn try_get<'inside>(&'static self, _inside: &'inside Inside<'_>) -> Result<&'inside T, RootError> {
        let address = match self.cell.load(Acquire) {
            0 => self.find_or_create()?,
            address => address,
        };
        // SAFETY: the record's type description is that of `T`, so an object of `T` lies here; it lives as long as
        // the heap, which does not close while the guard lives.
        Ok(unsafe { &*std::ptr::with_exposed_provenance::<T>(address) })
    }

    #[cold]
    fn find_or_create(&'static self) -> Result<usize, RootError> {
        let mut guard = table();
        let table = guard.as_mut().ok_or(RootError::Closed)?;
        let copy = copy_of(&table.backing, table.region);
        let base = table.backing.base().as_ptr().expose_provenance();
        let address = match Roots::read(&copy)?.find(self.name()) {
            Some(root) => {
                self.check_type(root.ty)?;
                base + root.object_offset as usize
            }
            None => {
                // `T::default()` may allocate, but not use this root or another that does not exist yet.
                let object = self.create(table)?;
                object.as_ptr().expose_provenance()
            }
        };
        self.cell.store(address, Release);
        table.found.push(&self.cell);
        Ok(address)
    }

    fn check_type(&self, inherited: &[u8]) -> Result<(), RootError> {
        if inherited == self.type_bytes() {
            return Ok(());
        }
        let difference = match heirloom_abi::types::first_difference(inherited, self.type_bytes()) {
            Ok(Some(difference)) => difference.to_string(),
            Ok(None) => return Ok(()),
            Err(error) => return Err(RootError::Type { name: self.name().to_owned(), error }),
        };
        Err(RootError::Changed { name: self.name().to_owned(), difference })
    }

    fn create(&self, table: &Table) -> Result<NonNull<T>, RootError> {
        let layout = Layout::new::<T>();
        let room = Layout::from_size_align(layout.size().max(1), layout.align()).unwrap_or(layout);
        let object = T::default();
        let place = alloc::allocate(room)
            .map_err(|error| RootError::NoRoom { name: self.name().to_owned(), error })?
            .cast::<T>();
        // SAFETY: the block is ours, large enough and aligned for a `T`.
        unsafe { place.write(object) };
        let offset = place.addr().get() - table.backing.base().addr().get();
        let root = NewRoot {
            name: self.name(),
            object_offset: offset as u64,
            ty: self.type_bytes(),
            generation: generation::current(),
        };
        // SAFETY: the table's lock is held, and this is the only reference to the record.
        if let Err(error) = roots::add(unsafe { record(&table.backing, table.region) }, &root) {
            // SAFETY: allocated and written above, and known to nobody.
            unsafe {
                place.drop_in_place();
                alloc::deallocate(place.cast(), room);
            }
            return Err(error.into());
        }
        Ok(place)
    }
}

fn table() -> MutexGuard<'static, Option<Table>> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn copy_of(backing: &Backing, region: Region) -> Vec<u8> {
    let mut copy = vec![0; region.bytes as usize];
    bytes::copy_out(backing, region.offset, &mut copy);
    copy
}

/// # Safety
///
/// Nobody else refers to the record while the slice lives.
#[expect(clippy::mut_from_ref, reason = "the bytes are the file's, not the backing's")]
unsafe fn record(backing: &Backing, region: Region) -> &mut [u8] {
    assert!(region.offset + region.bytes <= backing.len(), "the roots record lies outside the heap's file");
    // SAFETY: inside the file, so mapped and backed; exclusive by the caller's promise.
    unsafe {
        std::slice::from_raw_parts_mut(
            backing.base().as_ptr().add(region.offset as usize),
            region.bytes as usize,
        )
    }
}
