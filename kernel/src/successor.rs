//! Puts the successor in its place: image, start info and file, one after the other, in scratch.
//!
//! ```text
//! room                                 2 MiB aligned, below 4 GiB, in scratch; the machine says where
//! | image: text, rodata, data, zeros | start info, record | ELF file: for the successor's successor |
//!   <--- Image::size_bytes --->        <---- one page ---->   <--- as long as it was --->
//!   ^ load()                           ^ tell(): written last, when the handover is known
//! ```
//!
//! The file goes along so that a chain has no end: every generation finds in its start info what its successor is made of.
//!
//! # Invariants
//!
//! - *checked first*: nothing is written before the whole file has been found to be a kernel.
#![expect(unsafe_code, reason = "physical memory is overwritten")]

use boot_protocol::image::{Image, ImageError};
use boot_protocol::range::PhysRange;
use boot_protocol::record::{self, Record};
use boot_protocol::start_info::{StartInfo, WriteError};

use crate::jump::Successor;
use crate::physical;

const PAGE_BYTES: u64 = 4096;

/// What an image starts at a multiple of, so that pages of 2 MiB map it.
const ALIGN: u64 = 2 << 20;

/// Where a successor starts there is no paging yet, so all of it must have addresses of 32 bits.
const LIMIT: u64 = 1 << 32;

/// Where in the page of the start info the record lies.
const RECORD_AT: usize = 0xfd0;

const _: () = assert!(RECORD_AT + record::BYTES == PAGE_BYTES as usize);

/// Why a successor cannot be put in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("there is no boot module with a successor; QEMU takes its file with -initrd")]
    NoModule,
    #[error("the boot module at {0} is not in memory")]
    ModuleOutside(PhysRange),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("scratch has no room for a successor of {0} bytes")]
    NoRoom(u64),
    #[error("the room for the successor at {0} is not in memory below 4 GiB")]
    RoomOutside(PhysRange),
}

/// A successor in its place, which has not been told of the handover yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    /// Physical addresses, all below [`LIMIT`].
    entry: u64,
    page: u64,
    file: PhysRange,
    room: PhysRange,
}

impl Placed {
    /// Returns the physical address at which the successor is entered.
    pub(crate) fn entry(self) -> u64 {
        self.entry
    }

    /// Returns all that the successor lies in.
    pub(crate) fn room(self) -> PhysRange {
        self.room
    }
}

/// Puts the successor, whose file `told` names, in its place. `find_room` is asked for bytes and an alignment, and answers a
/// physical address.
///
/// # Errors
///
/// Says why it cannot be done; nothing has been written then.
///
/// # Safety
///
/// - Nobody else uses the bytes that `find_room` answers; this image and the boot modules do not lie there.
pub(crate) unsafe fn load(
    told: &StartInfo,
    find_room: &mut dyn FnMut(u64, u64) -> Option<u64>,
) -> Result<Placed, PlaceError> {
    let module = told.successor.ok_or(PlaceError::NoModule)?;
    // SAFETY: nobody writes to a boot module, neither the machine, to which it is reserved, nor we: the room is elsewhere.
    let file = unsafe { physical::bytes(module) }.ok_or(PlaceError::ModuleOutside(module))?;
    let image = Image::read(file)?;

    let image_bytes = image.size_bytes().next_multiple_of(PAGE_BYTES);
    let size_bytes = image_bytes + PAGE_BYTES + module.size_bytes();
    let start = find_room(size_bytes, ALIGN).ok_or(PlaceError::NoRoom(size_bytes))?;
    let room = PhysRange { start, end: start.saturating_add(size_bytes) };
    let outside = PlaceError::RoomOutside(room);
    if room.end > LIMIT || !room.start.is_multiple_of(ALIGN) {
        return Err(outside);
    }
    // SAFETY: the caller says that the room is ours alone.
    let into = unsafe { physical::bytes_mut(room) }.ok_or(outside)?;
    let (into_image, rest) = into.split_at_mut(image_bytes as usize);
    let (into_page, into_file) = rest.split_at_mut(PAGE_BYTES as usize);
    let (into_image, padding) = into_image.split_at_mut(image.size_bytes() as usize);
    image.load(into_image);
    padding.fill(0);
    into_page.fill(0);
    into_file.copy_from_slice(file);
    let page = room.start + image_bytes;
    let file = PhysRange { start: page + PAGE_BYTES, end: room.end };
    Ok(Placed { entry: room.start + image.entry(), page, file, room })
}

/// Tells the successor of the handover: writes its start info, which is otherwise that of this generation.
///
/// # Errors
///
/// If the start info does not fit; that of this generation did, so nothing is known that makes it.
///
/// # Safety
///
/// - The bytes that `placed` was loaded into are still nobody else's.
pub(crate) unsafe fn tell(placed: Placed, told: &StartInfo, record: Record) -> Result<Successor, WriteError> {
    let page = PhysRange { start: placed.page, end: placed.page + PAGE_BYTES };
    let outside = WriteError::Full { needed: PAGE_BYTES as usize, room: 0 };
    // SAFETY: the page is part of the room of `placed`, which the caller answers for.
    let into = unsafe { physical::bytes_mut(page) }.ok_or(outside)?;
    let (into, into_record) = into.split_at_mut(RECORD_AT);
    let at = placed.page + RECORD_AT as u64;
    let info = StartInfo {
        successor: Some(placed.file),
        record: Some(PhysRange { start: at, end: at + record::BYTES as u64 }),
        ..told.clone()
    };
    info.write(into, placed.page)?;
    into_record.copy_from_slice(&record.to_bytes());
    // Below 4 GiB: `load` has seen to it.
    Ok(Successor { entry: placed.entry as u32, start_info: placed.page as u32 })
}
