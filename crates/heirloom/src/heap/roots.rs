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

use super::{Inside, bytes, change};
use crate::backing::Backing;
use crate::evolve::ConvertError;
use crate::evolve::Listener;
use crate::evolve::count::{HeapMemory, count};
use crate::evolve::shape::Shapes;
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
    /// The object may be half changed, so it was not made one of this program's type: nobody has asked for that.
    #[error(
        "root `{name}` is poisoned (a thread died, or panicked, while it changed it) and of an older type; say what becomes of it: \
         `Options::on_poison`"
    )]
    Poisoned {
        /// Which root.
        name: String,
    },
    /// The object could not be made one of this program's type.
    #[error("root `{name}` cannot be migrated: {error}")]
    Convert {
        /// Which root.
        name: String,
        /// Why.
        error: ConvertError,
    },
    /// A field is marked as a secret that cannot be one.
    #[error("root `{name}`: {reason}")]
    Secret {
        /// Which root.
        name: String,
        /// Which type, and what can be one.
        reason: String,
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
    /// Told how far a migration at the first use is.
    listener: Option<Listener>,
    /// Roots that keep an address, to be made to forget it.
    found: Vec<&'static AtomicUsize>,
}

static TABLE: Mutex<Option<Table>> = Mutex::new(None);

/// An entry of the record, copied out.
pub(crate) struct Entry {
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) ty: Vec<u8>,
    pub(crate) offset: u64,
    pub(crate) serial: u64,
    /// The generation that made it.
    pub(crate) generation: u32,
    /// The number of the batch with which it came.
    pub(crate) batch: u32,
    /// What it reaches may be half changed.
    pub(crate) is_poisoned: bool,
    /// No other entry of its name counts.
    pub(crate) is_current: bool,
}

/// Copies all entries out of a record.
pub(super) fn entries(backing: &Backing, region: Region) -> Result<Vec<Entry>, RootError> {
    let _one = table();
    Ok(entries_of(&Roots::read(&copy_of(backing, region)?)?))
}

/// Copies all entries out of a record that was read.
pub(crate) fn entries_of(roots: &Roots<'_>) -> Vec<Entry> {
    let entry = |root: roots::Root<'_>| Entry {
        index: root.index,
        name: root.name.to_owned(),
        ty: root.ty.to_owned(),
        offset: root.object_offset,
        serial: root.serial,
        generation: root.generation,
        is_poisoned: root.state == roots::RootState::Poisoned,
        batch: root.batch.id,
        is_current: !roots.is_superseded(&root),
    };
    roots.iter_all().map(entry).collect()
}

/// Gives some roots of the open heap other objects, all of them by one last store, or none.
pub(super) fn supersede(changed: &[NewRoot<'_>]) -> Result<(), RootError> {
    with_record(|record| {
        let batch = roots::new_batch(record, u32::try_from(changed.len()).unwrap_or(u32::MAX))?;
        let mut entered = Vec::new();
        for root in changed {
            match roots::supersede(record, root, batch) {
                Ok(index) => entered.push(index),
                Err(error) => {
                    entered.into_iter().try_for_each(|index| roots::retire(record, index))?;
                    return Err(error);
                }
            }
        }
        Ok(())
    })
}

/// Forgets an entry of the open heap.
pub(super) fn retire(index: usize) -> Result<(), RootError> {
    with_record(|record| roots::retire(record, index))
}

/// The addresses of the open heap, as far as its file reaches.
pub(super) fn addresses() -> Result<std::ops::Range<usize>, RootError> {
    let table = table_or_closed()?;
    let base = table.backing.base().as_ptr().expose_provenance();
    Ok(base..base + table.backing.len() as usize)
}

/// Counts the values that an entry's object reaches.
pub(super) fn count_values(entry: &Entry, ty: &TypeView<'_>) -> u64 {
    let Ok(table) = table_or_closed() else { return 0 };
    let (memory, base) = (bytes::Mapped(&table.backing), table.backing.base().addr().get() as u64);
    count(&Shapes::of(ty), &HeapMemory { file: &memory, base }, base + entry.offset)
}

/// What is known of the open heap. A conversion runs while the table is locked, or before anybody else can lock it: what it needs
/// of it is a copy.
struct Known {
    backing: Arc<Backing>,
    region: Region,
}

static OPEN: Mutex<Option<Known>> = Mutex::new(None);

fn table_or_closed() -> Result<Known, RootError> {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = open.as_ref().ok_or(RootError::Closed)?;
    Ok(Known { backing: known.backing.clone(), region: known.region })
}

fn with_record(change: impl FnOnce(&mut [u8]) -> Result<(), RootsError>) -> Result<(), RootError> {
    let known = table_or_closed()?;
    // SAFETY: whoever changes the record has the table's lock, or the heap to itself: the door is closed.
    Ok(change(unsafe { record(&known.backing, known.region) })?)
}

/// Writes an empty record.
pub(super) fn format(backing: &Backing, region: Region) -> Result<(), RootError> {
    // SAFETY: the heap is being made: nobody else has it, and this is the only reference.
    Ok(roots::init(unsafe { record(backing, region) })?)
}

/// Checks a record: every object of every entry lies in the blocks and apart from the others, and `candidate` knows the types of those
/// that count. Returns what was found to be sound.
pub(super) fn validate(
    backing: &Backing,
    region: Region,
    first_block: u64,
    candidate: &Candidate,
) -> Result<Sound, CheckError> {
    let copy = copy_of(backing, region)?;
    let roots = Roots::read(&copy).map_err(RootError::from)?;
    // Those that were superseded too: their objects are still to be given back.
    let mut objects = Vec::new();
    for root in roots.iter_all() {
        let end = root.object_offset.checked_add(root.object_bytes.max(1));
        let Some(end) = end.filter(|&end| root.object_offset >= first_block && end <= backing.len()) else {
            let (name, offset) = (root.name.to_owned(), root.object_offset);
            return Err(RootError::Outside { name, offset }.into());
        };
        objects.push((root.object_offset, end, root.name));
    }
    objects.sort_unstable();
    for pair in objects.windows(2) {
        let ((start, end, first), (offset, other_end, second)) = (pair[0], pair[1]);
        // A root whose description changed, and nothing else, has two entries for one object.
        let is_one = start == offset && end == other_end && first == second;
        if offset < end && !is_one {
            let (first, second) = (first.to_owned(), second.to_owned());
            return Err(RootError::Overlap { first, second, offset }.into());
        }
    }
    check_candidate(&roots, candidate)?;
    let used = roots::used_bytes(&copy, copy.len()).map_err(RootError::from)?.next_multiple_of(8);
    Ok(Sound { used: copy[..used].to_vec(), region, first_block })
}

/// The bytes in use of a record that passed [`validate`].
pub(super) struct Sound {
    used: Vec<u8>,
    region: Region,
    first_block: u64,
}

impl Sound {
    /// True where it is the same record, of the same blocks, with these very bytes: it would pass again, as a file of a heap does not
    /// become shorter.
    pub(super) fn is_still(&self, backing: &Backing, region: Region, first_block: u64) -> bool {
        let mut now = [0; 512];
        (region, first_block) == (self.region, self.first_block)
            && record_bytes(region).is_ok_and(|most| self.used.len() <= most)
            && self.used.chunks(now.len()).zip(0..).all(|(then, nth)| {
                let (offset, now) = (region.offset + 512 * nth, &mut now[..then.len()]);
                bytes::copy_out(backing, offset, now);
                now == then
            })
    }
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
pub(super) fn open(instance: u64, backing: Arc<Backing>, region: Region, listener: Option<Listener>) {
    *OPEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(Known { backing: backing.clone(), region });
    *table() = Some(Table { instance, backing, region, listener, found: Vec::new() });
}

/// Makes every root forget its address: the heap closes.
pub(super) fn forget_all(instance: u64) {
    let mut table = table();
    if table.as_ref().is_some_and(|table| table.instance == instance) {
        for cell in table.take().into_iter().flat_map(|table| table.found) {
            cell.store(0, Release);
        }
        *OPEN.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The rows of this heap's record.
pub(super) fn rows_of(backing: &Backing, region: Region) -> Result<Vec<RootRow>, RootError> {
    rows(&copy_of(backing, region)?)
}

/// The names of poisoned roots.
pub(super) fn poisoned() -> Vec<String> {
    let table = table();
    let copy = table.as_ref().and_then(|table| copy_of(&table.backing, table.region).ok());
    let roots = copy.as_ref().and_then(|copy| Roots::read(copy).ok());
    let is_poisoned = |root: &roots::Root<'_>| root.state == roots::RootState::Poisoned;
    roots.map_or_else(Vec::new, |roots| {
        roots.iter().filter(is_poisoned).map(|root| root.name.to_owned()).collect()
    })
}

/// Says whether a root is poisoned. Does nothing where there is no such root.
pub(super) fn set_poisoned(name: &str, is_poisoned: bool) -> Result<(), RootError> {
    let mut table = table();
    let table = table.as_mut().ok_or(RootError::Closed)?;
    // SAFETY: the table's lock is held, and this is the only reference to the record.
    let record = unsafe { record(&table.backing, table.region) };
    let Some(index) = Roots::read(record)?.find(name).map(|root| root.index) else { return Ok(()) };
    let state = if is_poisoned { roots::RootState::Poisoned } else { roots::RootState::Live };
    Ok(roots::set_state(record, index, state)?)
}

/// The index of a root that is there.
pub(super) fn index_of(name: &str) -> Result<u32, RootError> {
    let table = table();
    let table = table.as_ref().ok_or(RootError::Closed)?;
    let copy = copy_of(&table.backing, table.region)?;
    let found = Roots::read(&copy)?.find(name).map(|root| root.index as u32);
    found.ok_or(RootError::Closed)
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

    /// Puts `object` in the place of the root's object, which is forgotten. That may be of another type; it is not looked at.
    pub(super) fn replace(&'static self, object: T) -> Result<(), RootError> {
        let made =
            Made::new(object).map_err(|error| RootError::NoRoom { name: self.name().to_owned(), error })?;
        let mut table = table();
        let table = table.as_mut().ok_or(RootError::Closed)?;
        let copy = copy_of(&table.backing, table.region)?;
        let Some(old) = Roots::read(&copy)?.find(self.name()).map(|root| root.index) else { return Ok(()) };
        let offset = made.place.addr().get() - table.backing.base().addr().get();
        let (ty, generation) = (self.type_bytes(), generation::current());
        let new = NewRoot { name: self.name(), object_offset: offset as u64, ty, generation };
        supersede(std::slice::from_ref(&new))?;
        self.keep(table, made.into_place().as_ptr().expose_provenance());
        // SAFETY: the table's lock is held, and this is the only reference to the record.
        Ok(roots::retire(unsafe { record(&table.backing, table.region) }, old)?)
    }

    /// The root's address, if there is an object.
    fn find(&'static self, table: &mut Option<Table>) -> Result<Option<usize>, RootError> {
        let table = table.as_mut().ok_or(RootError::Closed)?;
        let copy = copy_of(&table.backing, table.region)?;
        let roots = Roots::read(&copy)?;
        let Some(mut root) = roots.find(self.name()) else { return Ok(None) };
        let base = table.backing.base().as_ptr().expose_provenance();
        let (changed, old);
        if root.ty != self.type_bytes() {
            let entries = entries_of(&roots);
            old = entries.into_iter().find(|entry| entry.index == root.index).ok_or(RootError::Closed)?;
            // The old type is still to be had from nowhere else: the table is locked, and every thread asks here first.
            change::migrate(self.declared(), &old, table.listener.as_ref())?;
            changed = copy_of(&table.backing, table.region)?;
            root = Roots::read(&changed)?.find(self.name()).ok_or(RootError::Closed)?;
            // SAFETY: the table's lock is held, and this is the only reference to the record.
            roots::retire(unsafe { record(&table.backing, table.region) }, old.index)?;
            // What may be half changed is not followed: it is left over.
            if root.object_offset != old.offset && !old.is_poisoned {
                let at = std::ptr::with_exposed_provenance_mut(base + old.offset as usize);
                // SAFETY: no entry names it any more, and nothing new refers to it: it was only read.
                unsafe { change::give_back(at, &old) };
            }
        }
        Ok(Some(self.keep(table, base + root.object_offset as usize)))
    }

    fn keep(&'static self, table: &mut Table, address: usize) -> usize {
        if self.declared().cell.swap(address, AcqRel) == 0 {
            table.found.push(&self.declared().cell);
        }
        address
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
pub(super) unsafe fn record(backing: &Backing, region: Region) -> &mut [u8] {
    assert!(region.offset + region.bytes <= backing.len(), "the roots record lies outside the heap's file");
    // SAFETY: inside the file, so mapped and backed; exclusive by the caller's promise.
    unsafe {
        std::slice::from_raw_parts_mut(
            backing.base().as_ptr().add(region.offset as usize),
            region.bytes as usize,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::turn;
    use crate::{Heap, Options, note};

    #[test]
    fn a_record_is_sound_still_until_a_byte_of_what_is_in_use_changes() {
        let _turn = turn();
        let heap = Heap::inherit_or_create("sound", Options::new().size_limit(64 << 20)).unwrap();
        let (backing, region, first_block) = (&heap.backing, heap.layout.roots, heap.layout.first_block);
        let sound = validate(backing, region, first_block, &note::read_own().unwrap()).unwrap();
        assert!(sound.is_still(backing, region, first_block));
        // SAFETY: no other thread has the heap, and no other reference to the record lives across a use of this one.
        let flip = |at: usize| unsafe { record(backing, region) }[at] ^= 0x10;
        for at in 0..sound.used.len() {
            flip(at);
            assert!(!sound.is_still(backing, region, first_block), "byte {at}");
            flip(at);
        }
        flip(sound.used.len());
        assert!(sound.is_still(backing, region, first_block));
        flip(sound.used.len());
        let short = Region { bytes: sound.used.len() as u64 - 8, ..region };
        assert!(!sound.is_still(backing, short, first_block));
        assert!(!sound.is_still(backing, region, first_block + 4096), "other blocks");
    }
}
