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
    /// Two objects share bytes.
    #[error("roots `{first}` and `{second}` overlap at {offset:#x}")]
    Overlap {
        /// The one that lies lower.
        first: String,
        /// The other.
        second: String,
        /// Where the other lies.
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

/// Checks a record: every object lies in the blocks and apart from the others, and `candidate` knows its type.
pub(super) fn validate(
    backing: &Backing,
    region: Region,
    first_block: u64,
    candidate: &Candidate,
) -> Result<(), CheckError> {
    let copy = copy_of(backing, region)?;
    let roots = Roots::read(&copy).map_err(RootError::from)?;
    let mut objects = Vec::new();
    for root in roots.iter() {
        let end = root.object_offset.checked_add(root.object_bytes.max(1));
        let Some(end) = end.filter(|&end| root.object_offset >= first_block && end <= backing.len()) else {
            let (name, offset) = (root.name.to_owned(), root.object_offset);
            return Err(RootError::Outside { name, offset }.into());
        };
        objects.push((root.object_offset, end, root.name));
    }
    objects.sort_unstable();
    for pair in objects.windows(2) {
        let ((_, end, first), (offset, _, second)) = (pair[0], pair[1]);
        if offset < end {
            let (first, second) = (first.to_owned(), second.to_owned());
            return Err(RootError::Overlap { first, second, offset }.into());
        }
    }
    check_candidate(&roots, candidate)
}

/// Asks a program whether it knows every root of the heap by its name and type. The heap may be open.
pub(super) fn check_against(
    backing: &Backing,
    region: Region,
    candidate: &Candidate,
) -> Result<(), CheckError> {
    let copy = {
        // A root that is being added is there afterwards, or not yet.
        let _one = table();
        copy_of(backing, region)?
    };
    check_candidate(&Roots::read(&copy).map_err(RootError::from)?, candidate)
}

fn check_candidate(roots: &Roots<'_>, candidate: &Candidate) -> Result<(), CheckError> {
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

impl<T: Heritable + Default + Sync> Root<T> {
    /// The root's object: inherited, or made by `T::default()` now, which may use other roots. Where two threads are the first
    /// at once, both make one, and one of the two is dropped.
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
        let address = match self.declared().cell.load(Acquire) {
            0 => self.find_or_create()?,
            address => address,
        };
        // SAFETY: the record's type description is that of `T`, so an object of `T` lies here; it lives as long as
        // the heap, which does not close while the guard lives.
        Ok(unsafe { &*std::ptr::with_exposed_provenance::<T>(address) })
    }

    #[cold]
    fn find_or_create(&'static self) -> Result<usize, RootError> {
        if let Some(address) = self.find(&mut table())? {
            return Ok(address);
        }
        // Not under the lock: `T::default()` may look for other roots.
        let made = Made::new(T::default())
            .map_err(|error| RootError::NoRoom { name: self.name().to_owned(), error })?;
        // Dropped before `made`, whose drop is the user's code too.
        let mut table = table();
        if let Some(address) = self.find(&mut table)? {
            return Ok(address);
        }
        let table = table.as_mut().ok_or(RootError::Closed)?;
        let offset = made.place.addr().get() - table.backing.base().addr().get();
        let root = NewRoot {
            name: self.name(),
            object_offset: offset as u64,
            ty: self.type_bytes(),
            generation: generation::current(),
        };
        // SAFETY: the table's lock is held, and this is the only reference to the record.
        roots::add(unsafe { record(&table.backing, table.region) }, &root)?;
        Ok(self.keep(table, made.into_place().as_ptr().expose_provenance()))
    }

    /// The root's address, if there is an object.
    fn find(&'static self, table: &mut Option<Table>) -> Result<Option<usize>, RootError> {
        let table = table.as_mut().ok_or(RootError::Closed)?;
        let copy = copy_of(&table.backing, table.region)?;
        let Some(root) = Roots::read(&copy)?.find(self.name()) else { return Ok(None) };
        self.check_type(root.ty)?;
        let base = table.backing.base().as_ptr().expose_provenance();
        Ok(Some(self.keep(table, base + root.object_offset as usize)))
    }

    fn keep(&'static self, table: &mut Table, address: usize) -> usize {
        if self.declared().cell.swap(address, AcqRel) == 0 {
            table.found.push(&self.declared().cell);
        }
        address
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
}

/// An object in the heap that no record names yet: dropped and given back, unless it is kept.
struct Made<T> {
    place: NonNull<T>,
}

impl<T> Made<T> {
    fn room() -> Layout {
        let layout = Layout::new::<T>();
        Layout::from_size_align(layout.size().max(1), layout.align()).unwrap_or(layout)
    }

    fn new(object: T) -> Result<Self, alloc::AllocError> {
        let place = alloc::allocate(Self::room())?.cast::<T>();
        // SAFETY: the block is ours, large enough and aligned for a `T`.
        unsafe { place.write(object) };
        Ok(Self { place })
    }

    fn into_place(self) -> NonNull<T> {
        std::mem::ManuallyDrop::new(self).place
    }
}

impl<T> Drop for Made<T> {
    fn drop(&mut self) {
        // SAFETY: allocated and written by `new`, and known to nobody.
        unsafe {
            self.place.drop_in_place();
            alloc::deallocate(self.place.cast(), Self::room());
        }
    }
}

fn table() -> MutexGuard<'static, Option<Table>> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn copy_of(backing: &Backing, region: Region) -> Result<Vec<u8>, RootError> {
    let len = record_bytes(region)?;
    let mut copy = vec![0; len];
    // What no root refers to stays zero: nobody reads it, and most of a record is that.
    let head = roots::head_bytes(len)?;
    bytes::copy_out(backing, region.offset, &mut copy[..head]);
    let used = roots::used_bytes(&copy[..head], len)?.next_multiple_of(8);
    bytes::copy_out(backing, region.offset + head as u64, &mut copy[head..used]);
    Ok(copy)
}

/// The bytes of a record, if one can be so long: the header says any number.
pub(crate) fn record_bytes(region: Region) -> Result<usize, RootsError> {
    let found = usize::try_from(region.bytes).unwrap_or(usize::MAX);
    if found > roots::MAX_BYTES || !found.is_multiple_of(8) {
        return Err(RootsError::Region { found });
    }
    Ok(found)
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
