//! Physical memory through the direct map.
//!
//! ```text
//! physical    0 ....... RAM ........ hole ... RAM ....
//! virtual     DIRECT_MAP + the same
//! ```
//!
//! # Invariants
//!
//! - *bounded*: only what [`set_ram`] named is looked at or written through here; before it, only what the early page tables map.
#![expect(unsafe_code, reason = "an address becomes memory")]

use arrayvec::ArrayVec;
use boot_protocol::range::PhysRange;
use boot_protocol::start_info::MAX_ENTRIES;
use spin::Mutex;

use crate::paging::DIRECT_MAP;

/// What the early page tables map.
const EARLY: PhysRange = PhysRange { start: 0, end: 1 << 32 };

/// The ranges of RAM, once they are known.
static RAM: Mutex<ArrayVec<PhysRange, MAX_ENTRIES>> = Mutex::new(ArrayVec::new_const());

/// Names the RAM there is: from now on, only that is mapped.
pub(crate) fn set_ram(ranges: impl Iterator<Item = PhysRange>) {
    let mut ram = RAM.lock();
    ram.clear();
    ram.extend(ranges);
}

/// Returns the virtual address of a physical one.
pub(crate) const fn virtual_address(physical: u64) -> u64 {
    DIRECT_MAP + physical
}

/// Copies from physical memory; says whether there is memory.
pub(crate) fn read(at: u64, into: &mut [u8]) -> bool {
    let Some(range) = mapped(at, into.len()) else { return false };
    let from = virtual_address(range.start) as *const u8;
    // SAFETY: the range is mapped, and `into` is somewhere else or is not: `copy` minds neither.
    unsafe { core::ptr::copy(from, into.as_mut_ptr(), into.len()) };
    true
}

/// Borrows physical memory.
///
/// # Safety
///
/// - Nobody writes to the range while the borrow lasts.
pub(crate) unsafe fn bytes(range: PhysRange) -> Option<&'static [u8]> {
    let range = mapped(range.start, usize::try_from(range.size_bytes()).ok()?)?;
    let start = virtual_address(range.start) as *const u8;
    // SAFETY: the range is mapped readable; the caller answers for writers.
    Some(unsafe { core::slice::from_raw_parts(start, range.size_bytes() as usize) })
}

/// Borrows physical memory for writing.
///
/// # Safety
///
/// - Nobody else reads or writes the range while the borrow lasts.
pub(crate) unsafe fn bytes_mut(range: PhysRange) -> Option<&'static mut [u8]> {
    let range = mapped(range.start, usize::try_from(range.size_bytes()).ok()?)?;
    let start = virtual_address(range.start) as *mut u8;
    // SAFETY: the range is mapped writable; the caller answers for it being nobody else's.
    Some(unsafe { core::slice::from_raw_parts_mut(start, range.size_bytes() as usize) })
}

fn mapped(at: u64, len: usize) -> Option<PhysRange> {
    let range = PhysRange::new(at, len as u64)?;
    let ram = RAM.lock();
    let is_mapped = match ram.is_empty() {
        true => EARLY.contains(range),
        false => ram.iter().any(|ram| ram.contains(range)),
    };
    is_mapped.then_some(range)
}
