//! The writer: every change ends in the store of one byte; see the module for the order.

use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};

use super::layout::{
    ENTRIES_AT, ENTRY_BYTES, Layout, RootEntry, check_object, entry_checksum, put_u32, put_u64,
};
use super::{Batch, NewRoot, RETIRED, RootState, Roots, RootsError};
use crate::note::check_root_name;
use crate::types::{TypeView, fingerprint};
/// Writes an empty record over a whole region.
pub fn init(region: &mut [u8]) -> Result<(), RootsError> {
    let header = Layout::new(region.len())?.write_header(region.len());
    let (head, rest) = region.split_at_mut(ENTRIES_AT);
    rest.fill(0);
    fence(Ordering::Release);
    head.copy_from_slice(&header);
    Ok(())
}

/// Adds a root, and returns its index; see the module for the order of writing.
///
/// The object must be complete before: once this returns, or is interrupted in its last instruction, a successor
/// finds it. Nothing is changed if it fails.
pub fn add(region: &mut [u8], root: &NewRoot<'_>) -> Result<usize, RootsError> {
    let roots = Roots::read(region)?;
    match roots.find(root.name) {
        Some(first) => Err(RootsError::Duplicate { first: first.index, second: roots.nr }),
        None => insert(region, root, RootState::Live, 0, Batch::ALONE),
    }
}

/// Gives a root another object, of another type: as [`add`], but there is one of this name. The old one stays in the record until
/// it is retired, and counts until all of the batch are there. What is poisoned stays so.
pub fn supersede(region: &mut [u8], root: &NewRoot<'_>, batch: Batch) -> Result<usize, RootsError> {
    let roots = Roots::read(region)?;
    let missing = RootsError::NoSuchRoot { index: roots.nr, nr: roots.nr };
    // What was half changed is so in its new form.
    let state = roots.find(root.name).ok_or(missing)?.state;
    let serials = roots.iter_all().filter(|other| other.name == root.name).map(|other| other.serial);
    let serial = serials.max().and_then(|serial| serial.checked_add(1)).ok_or(missing)?;
    insert(region, root, state, serial, batch)
}

/// Makes up a batch of so many roots, for [`supersede`].
pub fn new_batch(region: &[u8], nr_roots: u32) -> Result<Batch, RootsError> {
    let highest = Roots::read(region)?.iter_all().map(|root| root.batch.id).max().unwrap_or(0);
    // A heap that has seen so many changes starts over: of old batches nothing is left but entries that count anyway.
    Ok(Batch { id: highest.checked_add(1).unwrap_or(1), nr_roots })
}

/// Forgets an entry: one byte. Another of the same name counts then, if there is one.
pub fn retire(region: &mut [u8], index: usize) -> Result<(), RootsError> {
    change_state(region, index, RETIRED)
}

fn insert(
    region: &mut [u8],
    root: &NewRoot<'_>,
    state: RootState,
    serial: u64,
    batch: Batch,
) -> Result<usize, RootsError> {
    let layout = Layout::new(region.len())?;
    let roots = Roots::read(region)?;
    let index = (0..roots.nr).find(|&index| region[Layout::entry_at(index)] == RETIRED).unwrap_or(roots.nr);
    check_root_name(root.name.as_bytes()).ok_or(RootsError::Name { index })?;
    if index == layout.nr_entries {
        return Err(RootsError::Full { nr: index });
    }
    let description_at = roots.find_room(layout.descriptions_at, root.ty.len())?;
    let entry = build_entry(index, description_at, root, serial, batch)?;

    // 1. No entry refers to these bytes yet.
    region[description_at..description_at + root.ty.len()].copy_from_slice(root.ty);
    fence(Ordering::Release);
    // 2. All but the state, which stays empty or retired.
    let at = Layout::entry_at(index);
    region[at + 1..at + ENTRY_BYTES].copy_from_slice(&entry[1..]);
    fence(Ordering::Release);
    // 3. The commit.
    region[at] = state as u8;
    Ok(index)
}

/// Changes what is known of a root's object: one byte, so that it is never half done.
pub fn set_state(region: &mut [u8], index: usize, state: RootState) -> Result<(), RootsError> {
    change_state(region, index, state as u8)
}

fn change_state(region: &mut [u8], index: usize, state: u8) -> Result<(), RootsError> {
    let nr = Roots::read(region)?.nr;
    if index >= nr || region[Layout::entry_at(index)] == RETIRED {
        return Err(RootsError::NoSuchRoot { index, nr });
    }
    fence(Ordering::Release);
    region[Layout::entry_at(index)] = state;
    Ok(())
}

fn build_entry(
    index: usize,
    description_at: usize,
    root: &NewRoot<'_>,
    serial: u64,
    batch: Batch,
) -> Result<[u8; ENTRY_BYTES], RootsError> {
    let ty = TypeView::parse(root.ty).map_err(|error| RootsError::Type { index, error })?;
    check_object(index, root.object_offset, ty.size, &ty)?;
    let mut entry = [0; ENTRY_BYTES];
    let name_at = offset_of!(RootEntry, name);
    entry[offset_of!(RootEntry, name_bytes)] = root.name.len() as u8;
    entry[name_at..name_at + root.name.len()].copy_from_slice(root.name.as_bytes());
    put_u32(&mut entry, offset_of!(RootEntry, generation), root.generation);
    put_u64(&mut entry, offset_of!(RootEntry, object_offset), root.object_offset);
    put_u64(&mut entry, offset_of!(RootEntry, object_bytes), ty.size);
    put_u64(&mut entry, offset_of!(RootEntry, fingerprint), fingerprint(root.ty));
    put_u32(&mut entry, offset_of!(RootEntry, description_offset), description_at as u32);
    put_u32(&mut entry, offset_of!(RootEntry, description_bytes), root.ty.len() as u32);
    put_u64(&mut entry, offset_of!(RootEntry, serial), serial);
    put_u64(&mut entry, offset_of!(RootEntry, batch), u64::from(batch.id) << 32 | u64::from(batch.nr_roots));
    let sum = entry_checksum(index, &entry);
    put_u64(&mut entry, offset_of!(RootEntry, checksum), sum);
    Ok(entry)
}
