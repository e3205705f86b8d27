//! The `heirloom-roots` record: the named, typed objects from which everything else in a heap is reached.
//!
//! It stands in the heap itself and is added to while the program runs; the caller gives it a region of fixed size.
//!
//! ```text
//! 0         RootsHeader        identity: written once, with its own checksum
//! 64        RootEntry x n      one for each root, in the order of their creation; the first empty one ends the list
//! 64+128n   descriptions       the byte forms of their types (`types`), one after the other
//! ```
//!
//! # The order of writing
//!
//! A process can be killed at any instruction. [`add`] therefore writes, with a release fence between the steps:
//!
//! 1. the description, behind the last one: no entry refers to it yet,
//! 2. the entry, checksum and all, but with its state still [`EMPTY`]: a reader stops in front of it,
//! 3. the state, **one byte**: before it, a reader sees the old record, after it, the new one.
//!
//! No count and no length is stored, as each would be a second thing to keep true: both follow from the entries. What an
//! interrupted call leaves lies in an empty or retired entry and where no description is, and the next call
//! writes over it. A state can change later, again by one byte, so the checksum leaves it out.
//!
//! # A root that changes its type
//!
//! ```text
//! [sessions, serial 0]                              the old object, of the old type
//! [sessions, serial 0] [sessions, serial 1]         supersede: one store, and the new object is the root's
//! [retired           ] [sessions, serial 1]         retire: when nobody can want the old one back
//! ```
//!
//! Of the entries of one name the one with the highest serial counts. To retire that one instead takes the change back. A retired
//! entry is room for another; nothing in it is read.
//!
//! # Invariants (tested by [`Roots::read`])
//!
//! - *dense*: behind the first empty entry all are empty.
//! - *whole*: every entry agrees with its checksum, every description with its fingerprint and with the object's size.
//! - *apart*: no two entries have one name and one serial, and descriptions do not overlap.

use core::mem::offset_of;
use core::ops::Range;
use core::sync::atomic::{Ordering, fence};

use crate::note::{MAX_ROOT_NAME_BYTES, check_root_name};
use crate::types::{TypeView, TypesError, fingerprint};
use crate::{checksum, le};

/// The first bytes of the record: what it is, and its version.
pub const COMPATIBLE: [u8; 24] = *b"heirloom-roots-v1\0\0\0\0\0\0\0";

/// The smallest region that a record fits in.
pub const MIN_BYTES: usize = 4 * 1024;

/// The largest region that a record may have: names are compared pair by pair.
pub const MAX_BYTES: usize = 1024 * 1024;

/// The state of an entry that holds no root.
pub const EMPTY: u8 = 0;

/// The state of an entry that held a root.
pub const RETIRED: u8 = 0x72;

/// The head of the record.
#[repr(C)]
pub struct RootsHeader {
    /// [`COMPATIBLE`].
    pub compatible: [u8; 24],
    /// The bytes of the whole record.
    pub region_bytes: u64,
    /// How many entries there is room for.
    pub nr_entries: u32,
    /// The bytes of one entry.
    pub entry_bytes: u32,
    /// Where the descriptions start.
    pub descriptions_offset: u32,
    /// The room for them, in bytes.
    pub descriptions_bytes: u32,
    /// Zero.
    pub reserved: u64,
    /// Of the bytes before it, with seed 0.
    pub checksum: u64,
}

/// One root.
#[repr(C)]
pub struct RootEntry {
    /// A [`RootState`], or [`EMPTY`]: the byte that commits the entry.
    pub state: u8,
    /// The bytes of the name.
    pub name_bytes: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// The generation that created the root.
    pub generation: u32,
    /// The name, filled up with zeroes.
    pub name: [u8; 64],
    /// Where the object lies, from the start of the heap.
    pub object_offset: u64,
    /// The bytes of the object.
    pub object_bytes: u64,
    /// Of the description.
    pub fingerprint: u64,
    /// Where the description starts, from the start of the record.
    pub description_offset: u32,
    /// The bytes of the description.
    pub description_bytes: u32,
    /// How often the root has changed its type.
    pub serial: u64,
    /// Zero.
    pub reserved_tail: u64,
    /// Of the bytes between `state` and here, with the offset of the entry as seed: an entry cannot be moved.
    pub checksum: u64,
}

const _: () = assert!(size_of::<RootsHeader>() == 64);
const _: () = assert!(offset_of!(RootsHeader, region_bytes) == 24);
const _: () = assert!(offset_of!(RootsHeader, nr_entries) == 32);
const _: () = assert!(offset_of!(RootsHeader, descriptions_offset) == 40);
const _: () = assert!(offset_of!(RootsHeader, checksum) == 56);
const _: () = assert!(size_of::<RootEntry>() == 128);
const _: () = assert!(offset_of!(RootEntry, state) == 0);
const _: () = assert!(offset_of!(RootEntry, generation) == 4);
const _: () = assert!(offset_of!(RootEntry, name) == 8);
const _: () = assert!(offset_of!(RootEntry, object_offset) == 72);
const _: () = assert!(offset_of!(RootEntry, fingerprint) == 88);
const _: () = assert!(offset_of!(RootEntry, description_offset) == 96);
const _: () = assert!(offset_of!(RootEntry, serial) == 104);
const _: () = assert!(offset_of!(RootEntry, checksum) == 120);
const _: () = assert!(MAX_ROOT_NAME_BYTES < 64 && MAX_BYTES <= u32::MAX as usize);

const ENTRIES_AT: usize = size_of::<RootsHeader>();
const ENTRY_BYTES: usize = size_of::<RootEntry>();

/// What is known of a root's object.
///
/// The bytes are far apart, so that a flipped bit makes an unknown state and not another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RootState {
    /// It is whole.
    Live = 0x4c,
    /// A generation died while it changed what this root reaches.
    Poisoned = 0xb1,
}

/// A root to be added.
#[derive(Clone, Copy, Debug)]
pub struct NewRoot<'a> {
    /// Its name: 1 to 63 bytes, no control characters.
    pub name: &'a str,
    /// Where the object lies, from the start of the heap.
    pub object_offset: u64,
    /// The byte form of its type, which also says the size.
    pub ty: &'a [u8],
    /// The generation that creates it.
    pub generation: u32,
}

/// A root as it stands in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root<'a> {
    /// Its index, for [`set_state`].
    pub index: usize,
    /// What is known of the object.
    pub state: RootState,
    /// Its name.
    pub name: &'a str,
    /// Where the object lies, from the start of the heap.
    pub object_offset: u64,
    /// The bytes of the object.
    pub object_bytes: u64,
    /// The fingerprint of its type.
    pub fingerprint: u64,
    /// The byte form of its type, validated.
    pub ty: &'a [u8],
    /// The generation that created it.
    pub generation: u32,
    /// How often it has changed its type.
    pub serial: u64,
}

/// Why a record cannot be read, or not be added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// The region is too small or too large.
    #[error("roots record of {found} bytes, expected {MIN_BYTES} to {MAX_BYTES}")]
    Region {
        /// The bytes of the region.
        found: usize,
    },
    /// The record does not start like one, or is of another version.
    #[error("roots record is not \"heirloom-roots-v1\", or of another version")]
    Compatible,
    /// The header does not agree with its checksum.
    #[error("roots header has checksum {recorded:#018x}, its bytes make {found:#018x}")]
    HeaderChecksum {
        /// What the header says.
        recorded: u64,
        /// What its bytes make.
        found: u64,
    },
    /// The header describes another layout than that of a region of this size.
    #[error("roots header does not describe a region of {region} bytes")]
    Layout {
        /// The bytes of the region.
        region: usize,
    },
    /// An entry has an unknown state.
    #[error("root {index} has unknown state {found:#04x}")]
    State {
        /// Which entry.
        index: usize,
        /// What stands there.
        found: u8,
    },
    /// An entry stands behind an empty one.
    #[error("root {index} stands behind an empty entry")]
    Gap {
        /// Which entry.
        index: usize,
    },
    /// An entry does not agree with its checksum.
    #[error("root {index} has checksum {recorded:#018x}, its bytes make {found:#018x}")]
    EntryChecksum {
        /// Which entry.
        index: usize,
        /// What the entry says.
        recorded: u64,
        /// What its bytes make.
        found: u64,
    },
    /// A name is empty, too long, or unprintable.
    #[error("root {index} has a name that is empty, longer than {MAX_ROOT_NAME_BYTES} bytes or unprintable")]
    Name {
        /// Which entry.
        index: usize,
    },
    /// Two entries have one name.
    #[error("roots {first} and {second} have the same name and serial")]
    Duplicate {
        /// The earlier entry.
        first: usize,
        /// The later entry.
        second: usize,
    },
    /// A description lies outside its area, or overlaps the one before.
    #[error("root {index} has its description at {offset} with {len} bytes, which is out of place")]
    Description {
        /// Which entry.
        index: usize,
        /// Where it starts.
        offset: u32,
        /// Its bytes.
        len: u32,
    },
    /// A description does not agree with its fingerprint.
    #[error("root {index} has fingerprint {recorded:#018x}, its description makes {found:#018x}")]
    Fingerprint {
        /// Which entry.
        index: usize,
        /// What the entry says.
        recorded: u64,
        /// What the description makes.
        found: u64,
    },
    /// A description is malformed.
    #[error("root {index}: {error}")]
    Type {
        /// Which entry.
        index: usize,
        /// How it is malformed.
        error: TypesError,
    },
    /// The object is not where, or not as large as, its type demands.
    #[error("root {index} has {bytes} bytes at {offset:#x}, its type has {size} aligned to {align}")]
    Object {
        /// Which entry.
        index: usize,
        /// Where the object lies.
        offset: u64,
        /// The bytes of the object.
        bytes: u64,
        /// The size of its type.
        size: u64,
        /// The alignment of its type.
        align: u64,
    },
    /// All entries are taken.
    #[error("all {nr} entries of the roots record are taken")]
    Full {
        /// How many there are.
        nr: usize,
    },
    /// There is no room for the description.
    #[error(
        "a type description of {wanted} bytes does not fit in the {left} that are left in the roots record"
    )]
    NoRoom {
        /// The bytes of the description.
        wanted: usize,
        /// What is left.
        left: usize,
    },
    /// There is no root of this index.
    #[error("there is no root {index}, only {nr}")]
    NoSuchRoot {
        /// Which was asked for.
        index: usize,
        /// How many there are.
        nr: usize,
    },
}

/// The bytes at the start of a region of this size that say how much of the rest is in use.
///
/// # Errors
///
/// [`RootsError::Region`].
pub fn head_bytes(region: usize) -> Result<usize, RootsError> {
    Ok(Layout::new(region)?.descriptions_at)
}

/// The bytes of a region that its roots take up, by its first [`head_bytes`]. What lies behind them, no root refers to: a reader that
/// copies a record need not copy it. Nothing is believed of the bytes; the answer is at most `region`.
///
/// # Errors
///
/// [`RootsError::Region`] where the region, or `head`, has no such size.
pub fn used_bytes(head: &[u8], region: usize) -> Result<usize, RootsError> {
    let layout = Layout::new(region)?;
    if head.len() < layout.descriptions_at {
        return Err(RootsError::Region { found: head.len() });
    }
    let end = |entry: &[u8]| {
        let field = |at| get_u32(entry, at) as usize;
        let start = field(offset_of!(RootEntry, description_offset));
        start.saturating_add(field(offset_of!(RootEntry, description_bytes))).min(region)
    };
    let entries = head[ENTRIES_AT..layout.descriptions_at].chunks_exact(ENTRY_BYTES);
    let used =
        entries.filter(|entry| !matches!(entry[offset_of!(RootEntry, state)], EMPTY | RETIRED)).map(end);
    Ok(used.max().unwrap_or(0).max(layout.descriptions_at))
}

/// Where everything lies in a region: a function of its size alone, so that a reader can compare.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Layout {
    nr_entries: usize,
    descriptions_at: usize,
}

impl Layout {
    /// A quarter of the region for entries: descriptions are a few hundred bytes each, entries 128.
    fn new(region: usize) -> Result<Self, RootsError> {
        if !(MIN_BYTES..=MAX_BYTES).contains(&region) || region % 8 != 0 {
            return Err(RootsError::Region { found: region });
        }
        let nr_entries = region / 4 / ENTRY_BYTES;
        Ok(Self { nr_entries, descriptions_at: ENTRIES_AT + nr_entries * ENTRY_BYTES })
    }

    const fn entry_at(index: usize) -> usize {
        ENTRIES_AT + index * ENTRY_BYTES
    }

    fn write_header(self, region: usize) -> [u8; ENTRIES_AT] {
        let mut header = [0; ENTRIES_AT];
        header[..24].copy_from_slice(&COMPATIBLE);
        // The region was checked to be small enough for `u32`, and the header has room for each field.
        put_u64(&mut header, offset_of!(RootsHeader, region_bytes), region as u64);
        put_u32(&mut header, offset_of!(RootsHeader, nr_entries), self.nr_entries as u32);
        put_u32(&mut header, offset_of!(RootsHeader, entry_bytes), ENTRY_BYTES as u32);
        put_u32(&mut header, offset_of!(RootsHeader, descriptions_offset), self.descriptions_at as u32);
        let descriptions_bytes = (region - self.descriptions_at) as u32;
        put_u32(&mut header, offset_of!(RootsHeader, descriptions_bytes), descriptions_bytes);
        let sum = checksum(&header[..offset_of!(RootsHeader, checksum)], 0);
        put_u64(&mut header, offset_of!(RootsHeader, checksum), sum);
        header
    }
}

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
        None => insert(region, root, 0),
    }
}

/// Gives a root another object, of another type: as [`add`], but there is one of this name. The old one stays in the record until
/// it is retired.
pub fn supersede(region: &mut [u8], root: &NewRoot<'_>) -> Result<usize, RootsError> {
    let roots = Roots::read(region)?;
    let missing = RootsError::NoSuchRoot { index: roots.nr, nr: roots.nr };
    let serial = roots.find(root.name).ok_or(missing)?.serial.checked_add(1).ok_or(missing)?;
    insert(region, root, serial)
}

/// Forgets an entry: one byte. Another of the same name counts then, if there is one.
pub fn retire(region: &mut [u8], index: usize) -> Result<(), RootsError> {
    change_state(region, index, RETIRED)
}

fn insert(region: &mut [u8], root: &NewRoot<'_>, serial: u64) -> Result<usize, RootsError> {
    let layout = Layout::new(region.len())?;
    let roots = Roots::read(region)?;
    let index = (0..roots.nr).find(|&index| region[Layout::entry_at(index)] == RETIRED).unwrap_or(roots.nr);
    check_root_name(root.name.as_bytes()).ok_or(RootsError::Name { index })?;
    if index == layout.nr_entries {
        return Err(RootsError::Full { nr: index });
    }
    let description_at = roots.find_room(layout.descriptions_at, root.ty.len())?;
    let entry = build_entry(index, description_at, root, serial)?;

    // 1. No entry refers to these bytes yet.
    region[description_at..description_at + root.ty.len()].copy_from_slice(root.ty);
    fence(Ordering::Release);
    // 2. All but the state, which stays empty or retired.
    let at = Layout::entry_at(index);
    region[at + 1..at + ENTRY_BYTES].copy_from_slice(&entry[1..]);
    fence(Ordering::Release);
    // 3. The commit.
    region[at] = RootState::Live as u8;
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
    let sum = entry_checksum(index, &entry);
    put_u64(&mut entry, offset_of!(RootEntry, checksum), sum);
    Ok(entry)
}

fn entry_checksum(index: usize, entry: &[u8]) -> u64 {
    checksum(&entry[1..offset_of!(RootEntry, checksum)], Layout::entry_at(index) as u64)
}

fn check_object(index: usize, offset: u64, bytes: u64, ty: &TypeView<'_>) -> Result<(), RootsError> {
    let (size, align) = (ty.size, ty.align);
    let holds = bytes == size && offset % align == 0 && offset.checked_add(bytes).is_some();
    if holds { Ok(()) } else { Err(RootsError::Object { index, offset, bytes, size, align }) }
}

/// A validated record.
#[derive(Clone, Copy, Debug)]
pub struct Roots<'a> {
    region: &'a [u8],
    nr: usize,
    descriptions_end: usize,
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
        self.iter_all().filter(|root| root.name == name).max_by_key(|root| root.serial)
    }

    /// True if another entry of its name counts.
    #[must_use]
    pub fn is_superseded(&self, root: &Root<'_>) -> bool {
        root.serial < u64::MAX
            && self.iter_all().any(|other| other.name == root.name && other.serial > root.serial)
    }

    /// Finds a place among the descriptions for one of `len` bytes.
    fn find_room(&self, start: usize, len: usize) -> Result<usize, RootsError> {
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
    })
}

/// These work on slices of a size that this module has checked, at constant offsets: there is nothing to refuse.
fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    le::put_u32(bytes, at, value).expect("fields lie within their record");
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    le::put_u64(bytes, at, value).expect("fields lie within their record");
}

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    le::get_u32(bytes, at).expect("fields lie within their record")
}

fn get_u64(bytes: &[u8], at: usize) -> u64 {
    le::get_u64(bytes, at).expect("fields lie within their record")
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;
    use std::{format, vec};

    use super::*;
    use crate::types::{TypeDesc, flat_len, flatten};

    const U64: &TypeDesc = &TypeDesc::primitive("u64", 8, 8);
    static FORM: [u8; flat_len(U64)] = flatten(U64);

    fn root(name: &str) -> NewRoot<'_> {
        NewRoot { name, object_offset: 0x20_0000, ty: &FORM, generation: 3 }
    }

    fn with_roots(names: &[&str]) -> Vec<u8> {
        let mut region = vec![0xaa; MIN_BYTES];
        init(&mut region).unwrap();
        for name in names {
            add(&mut region, &root(name)).unwrap();
        }
        region
    }

    #[test]
    fn roots_are_found_by_name() {
        let region = with_roots(&["sessions", "counters"]);
        let roots = Roots::read(&region).unwrap();
        assert_eq!(roots.len(), 2);
        let found = roots.find("counters").unwrap();
        assert_eq!((found.index, found.object_offset, found.object_bytes), (1, 0x20_0000, 8));
        assert_eq!((found.state, found.ty, found.generation), (RootState::Live, &FORM[..], 3));
        assert_eq!(roots.find("others"), None);
    }

    #[test]
    fn the_head_says_how_much_is_used() {
        let head = head_bytes(MIN_BYTES).unwrap();
        let used = |names: &[&str]| used_bytes(&with_roots(names)[..head], MIN_BYTES).unwrap();
        assert_eq!((used(&[]), used(&["a"])), (head, head + FORM.len()));
        let two = with_roots(&["a", "b"]);
        assert_eq!(used(&["a", "b"]), Roots::read(&two).unwrap().descriptions_end);
        assert_eq!(used_bytes(&two[..head - 1], MIN_BYTES), Err(RootsError::Region { found: head - 1 }));
    }

    #[test]
    fn a_poisoned_root_stays_readable() {
        let mut region = with_roots(&["a", "b"]);
        set_state(&mut region, 1, RootState::Poisoned).unwrap();
        assert_eq!(Roots::read(&region).unwrap().find("b").unwrap().state, RootState::Poisoned);
        let missing = set_state(&mut region, 2, RootState::Live);
        assert_eq!(missing, Err(RootsError::NoSuchRoot { index: 2, nr: 2 }));
    }

    /// ```text
    /// before  |header|a|         |form of a|
    /// after   |header|a|b|       |form of a|form of b|    any mixture of steps 1 and 2 may have been written
    /// ```
    #[test]
    fn a_kill_between_any_two_bytes_leaves_the_old_record_or_the_new() {
        let before = with_roots(&["a"]);
        let after = with_roots(&["a", "b"]);
        let entry_at = Layout::entry_at(1);
        let description_at = Roots::read(&before).unwrap().descriptions_end;
        let mut torn = before.clone();
        let order = (description_at..description_at + FORM.len())
            .chain(entry_at + 1..entry_at + ENTRY_BYTES)
            .chain([entry_at]);
        for at in order {
            assert_eq!(Roots::read(&torn).unwrap().len(), 1, "before byte {at}");
            let mut next = torn.clone();
            add(&mut next, &root("b")).unwrap();
            assert_eq!(next, after, "the next call writes over what was left");
            torn[at] = after[at];
        }
        assert_eq!(torn, after);
        assert_eq!(Roots::read(&torn).unwrap().len(), 2);
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut region = with_roots(&["a"]);
        let before = region.clone();
        let mut refused = |root| {
            let error = add(&mut region, &root).unwrap_err();
            assert_eq!(region, before);
            error
        };
        assert_eq!(refused(root("a")), RootsError::Duplicate { first: 0, second: 1 });
        assert_eq!(refused(root("")), RootsError::Name { index: 1 });
        assert_eq!(refused(root("a\nb")), RootsError::Name { index: 1 });
        let odd = NewRoot { object_offset: 3, ..root("b") };
        let object = RootsError::Object { index: 1, offset: 3, bytes: 8, size: 8, align: 8 };
        assert_eq!(refused(odd), object);
        let large = [0; MIN_BYTES];
        assert!(matches!(
            refused(NewRoot { ty: &large, ..root("b") }),
            RootsError::NoRoom { wanted: 4096, .. }
        ));
        let malformed = NewRoot { ty: &FORM[1..], ..root("b") };
        assert!(matches!(refused(malformed), RootsError::Type { index: 1, .. }));
    }

    /// ```text
    /// |a0|        |a0|a1|        a1 counts          |a0|a1|     retire a1: a0 counts again
    ///                            retire a0: its entry and its description are room
    /// ```
    #[test]
    fn a_root_changes_its_object_and_back() {
        let mut region = with_roots(&["a", "b"]);
        let moved = NewRoot { object_offset: 0x40_0000, ..root("a") };
        assert_eq!(supersede(&mut region, &moved), Ok(2));
        let read = |region: &[u8]| {
            let roots = Roots::read(region).unwrap();
            let found = roots.find("a").unwrap();
            (roots.len(), roots.iter_all().count(), found.object_offset, found.serial)
        };
        assert_eq!(read(&region), (2, 3, 0x40_0000, 1));
        let mut back = region.clone();
        retire(&mut back, 2).unwrap();
        assert_eq!(read(&back), (2, 2, 0x20_0000, 0));
        retire(&mut region, 0).unwrap();
        assert_eq!(read(&region), (2, 2, 0x40_0000, 1));
        assert_eq!(retire(&mut region, 0), Err(RootsError::NoSuchRoot { index: 0, nr: 3 }));
        assert_eq!(add(&mut region, &root("c")), Ok(0), "a retired entry is room");
        let missing = RootsError::NoSuchRoot { index: 3, nr: 3 };
        assert_eq!(supersede(&mut region, &root("z")), Err(missing));
    }

    #[test]
    fn a_root_can_change_for_ever() {
        let mut region = with_roots(&["a", "b"]);
        for nr in 0..1000 {
            let old = Roots::read(&region).unwrap().find("a").unwrap().index;
            let next = NewRoot { object_offset: 0x20_0000 + nr * 8, ..root("a") };
            supersede(&mut region, &next).unwrap();
            retire(&mut region, old).unwrap();
        }
        assert_eq!(Roots::read(&region).unwrap().find("a").unwrap().serial, 1000);
    }

    /// As for `add`, where the entry and the description are written over those of a retired root.
    #[test]
    fn a_kill_while_a_retired_entry_is_used_again_leaves_the_old_record_or_the_new() {
        let mut before = with_roots(&["x", "a"]);
        retire(&mut before, 0).unwrap();
        let mut after = before.clone();
        let next = NewRoot { object_offset: 0x40_0000, ..root("a") };
        assert_eq!(supersede(&mut after, &next), Ok(0));
        let mut torn = before.clone();
        let descriptions_at = Layout::new(MIN_BYTES).unwrap().descriptions_at;
        let entry_at = Layout::entry_at(0);
        let order =
            (descriptions_at..descriptions_at + FORM.len()).chain(entry_at + 1..entry_at + ENTRY_BYTES);
        for at in order {
            assert_eq!(Roots::read(&torn).unwrap().find("a").unwrap().object_offset, 0x20_0000);
            torn[at] = after[at];
        }
        torn[entry_at] = after[entry_at];
        assert_eq!(torn, after);
        assert_eq!(Roots::read(&torn).unwrap().find("a").unwrap().object_offset, 0x40_0000);
    }

    #[test]
    fn a_full_record_says_so() {
        let mut region = with_roots(&[]);
        let error = (0..).find_map(|nr| add(&mut region, &root(&format!("root {nr}"))).err());
        assert_eq!(error, Some(RootsError::Full { nr: 8 }));
        assert_eq!(Roots::read(&region).unwrap().len(), 8);
    }

    #[test]
    fn every_flipped_bit_of_the_used_part_is_refused() {
        let region = with_roots(&["a", "b"]);
        let end = Roots::read(&region).unwrap().descriptions_end;
        let entries = 0..Layout::entry_at(2);
        let descriptions = Layout::new(MIN_BYTES).unwrap().descriptions_at..end;
        for (at, bit) in entries.chain(descriptions).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut flipped = region.clone();
            flipped[at] ^= 1 << bit;
            assert!(Roots::read(&flipped).is_err(), "byte {at}, bit {bit}");
        }
    }

    #[test]
    fn a_root_behind_an_empty_entry_is_refused() {
        let mut region = with_roots(&["a", "b"]);
        region[Layout::entry_at(0)] = EMPTY;
        assert_eq!(Roots::read(&region).unwrap_err(), RootsError::Gap { index: 1 });
    }
}
