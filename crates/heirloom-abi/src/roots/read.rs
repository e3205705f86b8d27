//! The reader: a record that may be anything, validated whole before any of it is believed.

use core::mem::offset_of;
use core::ops::Range;

use super::layout::{
    ENTRIES_AT, ENTRY_BYTES, Layout, RootEntry, RootsHeader, check_object, entry_checksum, get_u32, get_u64,
};
use super::{Batch, COMPATIBLE, EMPTY, RETIRED, Root, RootState, RootsError};
use crate::checksum;
use crate::note::check_root_name;
use crate::types::{TypeView, fingerprint};
/// A validated record.
#[derive(Clone, Copy, Debug)]
pub struct Roots<'a> {
    pub(super) region: &'a [u8],
    pub(super) nr: usize,
    pub(super) descriptions_end: usize,
}

impl<'a> Roots<'a> {
    /// Validates a whole record; whether its objects lie within the heap is for the caller to ask.
    pub fn read(region: &'a [u8]) -> Result<Self, RootsError> {
        let layout = Layout::new(region.len())?;
        let header = &region[..ENTRIES_AT];
        if header[..24] != COMPATIBLE {
            return Err(RootsError::Compatible);
        }
        let found = checksum(&header[..offset_of!(RootsHeader, checksum)], 0);
        let recorded = get_u64(header, offset_of!(RootsHeader, checksum));
        if recorded != found {
            return Err(RootsError::HeaderChecksum { recorded, found });
        }
        if *header != layout.write_header(region.len()) {
            return Err(RootsError::Layout { region: region.len() });
        }

        let mut roots = Self { region, nr: 0, descriptions_end: layout.descriptions_at };
        let states = (0..layout.nr_entries).map(|index| region[Layout::entry_at(index)]);
        roots.nr = states.clone().take_while(|state| *state != EMPTY).count();
        if let Some(behind) = states.skip(roots.nr).position(|state| state != EMPTY) {
            return Err(RootsError::Gap { index: roots.nr + behind });
        }
        for index in 0..roots.nr {
            if region[Layout::entry_at(index)] == RETIRED {
                continue;
            }
            let (root, description) = read_entry(region, index, layout.descriptions_at)?;
            let earlier = Self { nr: index, ..roots };
            let twice = |other: &Root<'_>| other.name == root.name && other.serial == root.serial;
            if let Some(first) = earlier.iter_all().find(twice) {
                return Err(RootsError::Duplicate { first: first.index, second: index });
            }
            if earlier.find_overlap(&description).is_some() {
                let (offset, len) = (description.start as u32, description.len() as u32);
                return Err(RootsError::Description { index, offset, len });
            }
            roots.descriptions_end = roots.descriptions_end.max(description.end);
        }
        Ok(roots)
    }

    /// Returns how many roots there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// True if there are no roots.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Iterates over the roots in the order of their entries.
    pub fn iter(&self) -> impl Iterator<Item = Root<'a>> + use<'a> {
        let all = *self;
        self.iter_all().filter(move |root| !all.is_superseded(root))
    }

    /// Iterates over all entries, those that were superseded and not yet retired among them.
    pub fn iter_all(&self) -> impl Iterator<Item = Root<'a>> + use<'a> {
        let region = self.region;
        (0..self.nr).filter_map(move |index| decode_entry(region, index).ok())
    }

    /// Searches a root by its name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Root<'a>> {
        let of_that_name = self.iter_all().filter(|root| root.name == name);
        of_that_name.filter(|root| self.is_committed(root)).max_by_key(|root| root.serial)
    }

    /// True if another entry of its name counts.
    #[must_use]
    pub fn is_superseded(&self, root: &Root<'_>) -> bool {
        let counts = |other: Root<'_>| other.serial > root.serial && self.is_committed(&other);
        !self.is_committed(root) || self.iter_all().filter(|other| other.name == root.name).any(counts)
    }

    /// True if all of its batch are there, or nothing was before it.
    fn is_committed(&self, root: &Root<'_>) -> bool {
        let wanted = root.batch.nr_roots as usize;
        let is_older = |other: &Root<'_>| other.name == root.name && other.serial < root.serial;
        wanted <= 1
            || self.iter_all().filter(|other| other.batch == root.batch).count() >= wanted
            || !self.iter_all().any(|other| is_older(&other))
    }

    /// Finds a place among the descriptions for one of `len` bytes.
    pub(super) fn find_room(&self, start: usize, len: usize) -> Result<usize, RootsError> {
        let mut at = start;
        loop {
            let end = at.checked_add(len).filter(|&end| end <= self.region.len());
            let left = self.region.len().saturating_sub(at);
            let end = end.ok_or(RootsError::NoRoom { wanted: len, left })?;
            match self.find_overlap(&(at..end)) {
                None => return Ok(at),
                // Each step goes forward: no description is empty.
                Some(behind) => at = behind,
            }
        }
    }

    /// Returns the end of a description that shares bytes with `range`.
    fn find_overlap(&self, range: &Range<usize>) -> Option<usize> {
        (0..self.nr)
            .filter(|&index| region_state(self.region, index) != RETIRED)
            .map(|index| description_of(self.region, index))
            .find(|other| other.start < range.end && range.start < other.end)
            .map(|other| other.end)
    }
}

fn region_state(region: &[u8], index: usize) -> u8 {
    region[Layout::entry_at(index)]
}

/// Where the description of an entry lies, as it says.
fn description_of(region: &[u8], index: usize) -> Range<usize> {
    let entry = &region[Layout::entry_at(index)..];
    let start = get_u32(entry, offset_of!(RootEntry, description_offset)) as usize;
    start..start.saturating_add(get_u32(entry, offset_of!(RootEntry, description_bytes)) as usize)
}

/// Reads an entry and validates it, its description and the place of both.
fn read_entry(
    region: &[u8],
    index: usize,
    descriptions_at: usize,
) -> Result<(Root<'_>, Range<usize>), RootsError> {
    let at = Layout::entry_at(index);
    let entry = &region[at..at + ENTRY_BYTES];
    let found = entry_checksum(index, entry);
    let recorded = get_u64(entry, offset_of!(RootEntry, checksum));
    if recorded != found {
        return Err(RootsError::EntryChecksum { index, recorded, found });
    }
    let root = decode_entry(region, index)?;
    let description = description_of(region, index);
    if description.start < descriptions_at || description.is_empty() {
        let (offset, len) = (description.start as u32, root.ty.len() as u32);
        return Err(RootsError::Description { index, offset, len });
    }
    let found = fingerprint(root.ty);
    if root.fingerprint != found {
        return Err(RootsError::Fingerprint { index, recorded: root.fingerprint, found });
    }
    let ty = TypeView::parse(root.ty).map_err(|error| RootsError::Type { index, error })?;
    check_object(index, root.object_offset, root.object_bytes, &ty)?;
    Ok((root, description))
}

/// Takes an entry apart, within bounds, and believes the rest.
fn decode_entry(region: &[u8], index: usize) -> Result<Root<'_>, RootsError> {
    let at = Layout::entry_at(index);
    let entry = &region[at..at + ENTRY_BYTES];
    let state = match entry[0] {
        found if found == RootState::Live as u8 => RootState::Live,
        found if found == RootState::Poisoned as u8 => RootState::Poisoned,
        found => return Err(RootsError::State { index, found }),
    };
    let name_at = offset_of!(RootEntry, name);
    let name = &entry[name_at..offset_of!(RootEntry, object_offset)];
    let name = name.get(..usize::from(entry[offset_of!(RootEntry, name_bytes)])).unwrap_or_default();
    let name = check_root_name(name).ok_or(RootsError::Name { index })?;
    let offset = get_u32(entry, offset_of!(RootEntry, description_offset));
    let len = get_u32(entry, offset_of!(RootEntry, description_bytes));
    let ty = region.get(offset as usize..).and_then(|rest| rest.get(..len as usize));
    let ty = ty.ok_or(RootsError::Description { index, offset, len })?;
    let batch = get_u64(entry, offset_of!(RootEntry, batch));
    Ok(Root {
        index,
        state,
        name,
        object_offset: get_u64(entry, offset_of!(RootEntry, object_offset)),
        object_bytes: get_u64(entry, offset_of!(RootEntry, object_bytes)),
        fingerprint: get_u64(entry, offset_of!(RootEntry, fingerprint)),
        ty,
        generation: get_u32(entry, offset_of!(RootEntry, generation)),
        serial: get_u64(entry, offset_of!(RootEntry, serial)),
        batch: Batch { id: (batch >> 32) as u32, nr_roots: batch as u32 },
    })
}
