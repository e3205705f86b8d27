//! Puts the successor in its place: image, start info and file, one after the other, in scratch.
//!
//! ```text
//! place                                        2 MiB aligned, below 4 GiB, in scratch, not where this kernel or its modules lie
//! | image: text, rodata, data, zeros | start info, record, scratch list | ELF file: for the successor's successor |
//!   <--- Image::size_bytes --->        <---- one page ---->               <--- as long as it was --->
//! ```
//!
//! The freeze comes first: from it on nothing of this generation is needed but this kernel's own image, which is why the successor
//! may be put over anything else that lies in scratch. All that can go wrong is found before the first byte is written.
#![expect(unsafe_code, reason = "physical memory is overwritten")]

use arrayvec::ArrayVec;
use boot_protocol::image::{Image, ImageError};
use boot_protocol::place::{LIMIT, find_place};
use boot_protocol::range::PhysRange;
use boot_protocol::record::{self, MAX_SCRATCH, Record};
use boot_protocol::start_info::{StartInfo, WriteError};

use crate::jump::Successor;
use crate::physical;

const PAGE_BYTES: u64 = 4096;

/// Where in the page of the start info the record and the scratch list lie.
const RECORD_AT: u64 = 0xc00;
const SCRATCH_LIST_AT: u64 = RECORD_AT + record::BYTES as u64;

const _: () = assert!(SCRATCH_LIST_AT + (MAX_SCRATCH * record::SCRATCH_ENTRY_BYTES) as u64 <= PAGE_BYTES);

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
    #[error("{0} ranges of scratch, the list has room for {MAX_SCRATCH}")]
    TooManyScratchRanges(usize),
    #[error(transparent)]
    StartInfo(#[from] WriteError),
}

/// Puts the successor in its place.
///
/// `info` is what this generation was told at its start, `own_image` where it lies. `fdt` is the handover tree and `scratch` the
/// ranges of scratch that the successor is told.
///
/// # Errors
///
/// Says why it cannot be done; nothing has been written then.
///
/// # Safety
///
/// - Nothing in scratch is needed any more, but this image and the boot modules.
pub(crate) unsafe fn place(
    info: &StartInfo,
    own_image: PhysRange,
    fdt: PhysRange,
    scratch: &[PhysRange],
) -> Result<Successor, PlaceError> {
    let module = info.successor.ok_or(PlaceError::NoModule)?;
    // SAFETY: nothing is written to the module: it is in use, and so are the places of this generation and the successor apart.
    let file = unsafe { physical::bytes(module) }.ok_or(PlaceError::ModuleOutside(module))?;
    let image = Image::read(file)?;
    if scratch.len() > MAX_SCRATCH {
        return Err(PlaceError::TooManyScratchRanges(scratch.len()));
    }

    let image_bytes = image.size_bytes().next_multiple_of(PAGE_BYTES);
    let size_bytes = image_bytes + PAGE_BYTES + module.size_bytes();
    let place = find_place(scratch, &[own_image, module], size_bytes);
    let place = place.filter(|place| place.end <= LIMIT).ok_or(PlaceError::NoRoom(size_bytes))?;
    let page = place.start + image_bytes;
    let list_bytes = (scratch.len() * record::SCRATCH_ENTRY_BYTES) as u64;
    let range = |start, size_bytes| PhysRange { start, end: start + size_bytes };
    let record = Record { fdt, scratch_list: range(page + SCRATCH_LIST_AT, list_bytes) };
    let told = StartInfo {
        memory_map: info.memory_map.clone(),
        command_line: info.command_line,
        successor: Some(range(page + PAGE_BYTES, module.size_bytes())),
        record: Some(range(page + RECORD_AT, record::BYTES as u64)),
    };
    let mut written = [0; PAGE_BYTES as usize];
    told.write(&mut written[..RECORD_AT as usize], page)?;
    written[RECORD_AT as usize..][..record::BYTES].copy_from_slice(&record.to_bytes());
    let list: ArrayVec<_, MAX_SCRATCH> = scratch.iter().map(|range| record::scratch_entry(*range)).collect();
    written[SCRATCH_LIST_AT as usize..][..list_bytes as usize].copy_from_slice(list.as_flattened());

    // SAFETY: the place lies in scratch, apart from this image and from the modules; the caller says that nothing else counts.
    let into = unsafe { physical::bytes_mut(place) }.ok_or(PlaceError::NoRoom(size_bytes))?;
    let (into_image, rest) = into.split_at_mut(image_bytes as usize);
    let (into_page, into_file) = rest.split_at_mut(PAGE_BYTES as usize);
    into_file.copy_from_slice(file);
    into_page.copy_from_slice(&written);
    let (into_image, padding) = into_image.split_at_mut(image.size_bytes() as usize);
    image.load(into_image);
    padding.fill(0);
    // Below 4 GiB, by the choice of the place.
    Ok(Successor { entry: (place.start + image.entry()) as u32, start_info: page as u32 })
}
