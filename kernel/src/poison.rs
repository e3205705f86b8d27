//! Spoils scratch before the jump.
//!
//! ```text
//! scratch   |xxxxxx[ this image ]xxxxxxxxxx[ successor ]xxxxxxx|      x: 0xa5
//! ```
//!
//! Scratch is what a successor may overwrite before it has read the map. Whether it does so at once, later, or never is a matter of luck: a
//! handover that leans on scratch could pass run after run. So each generation leaves nothing there.
#![expect(unsafe_code, reason = "physical memory is overwritten")]

use boot_protocol::range::PhysRange;

use crate::physical;

const PAGE_BYTES: u64 = 4096;

/// No pointer that is mapped, no size that is sensible, no zero.
const POISON: u8 = 0xa5;

/// Overwrites every page of the scratch ranges in `list` (pairs of address and size) that is not in a range of `kept`.
///
/// # Safety
///
/// - Nobody needs those pages any more.
pub(crate) unsafe fn scratch(list: PhysRange, kept: &[PhysRange]) {
    // SAFETY: the machine has written the list and writes it no more; it lies outside scratch.
    let list = unsafe { physical::bytes(list) }.unwrap_or_default();
    for entry in list.as_chunks::<16>().0 {
        let word = |at: usize| u64::from_le_bytes(core::array::from_fn(|byte| entry[at + byte]));
        for start in (word(0)..word(0).saturating_add(word(8))).step_by(PAGE_BYTES as usize) {
            let page = PhysRange { start, end: start + PAGE_BYTES };
            if kept.iter().any(|kept| kept.overlaps(page)) {
                continue;
            }
            // SAFETY: the caller says that the page is nobody's; this image, which we run in, is kept.
            if let Some(page) = unsafe { physical::bytes_mut(page) } {
                page.fill(POISON);
            }
        }
    }
}
