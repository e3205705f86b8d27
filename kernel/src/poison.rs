//! Spoils memory before the jump: scratch always, and with `spoil=all` on the command line all else that is not handed over.
//!
//! ```text
//! scratch   |xxxxxx[ this image ]xxxxxxxxxx[ successor ]xxxxxxx|                              x: 0xa5
//! the rest  |xxxxxxx[ preserved ]xxx[ nodes of the map, tree, list ]xxxxxxxxxx[ preserved ]xxx|
//! ```
//!
//! Scratch is what a successor may overwrite before it has read the map. Whether it does so at once, later, or never is a
//! matter of luck: a handover that leans on scratch could pass run after run. So each generation leaves nothing there.
//!
//! What is neither scratch nor handed over a successor may use once it has read the map. `spoil=all` shows that it looks
//! nowhere else: what the handover tree leads to is all that is left. It takes a while.
//!
//! Neither goes further than the set of pages does, 4 GiB: above, nobody knows what is handed over.
#![expect(unsafe_code, reason = "physical memory is overwritten")]

use core::ops::ControlFlow;

use boot_protocol::page_set::{PAGE_BYTES, PageSet};
use boot_protocol::range::PhysRange;
use boot_protocol::record::Record;
use heirloom_abi::kho::fdt::FdtError;
use heirloom_abi::kho::radix::{Frame, MapError, NODE_WORDS, Pages, RadixMap};
use heirloom_abi::kho::root::RootFdt;
use spin::Mutex;

use crate::physical;

/// No pointer that is mapped, no size that is sensible, no zero.
const POISON: u8 = 0xa5;

/// In the image, for it is spoiled last of all.
static KEPT: Mutex<PageSet> = Mutex::new(PageSet::new());

/// Why it is not known what is handed over. It is our own handover: the machine has just looked through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PoisonError {
    #[error("the handover tree cannot be read: {0}")]
    Tree(#[from] FdtError),
    #[error("the preserved-memory map cannot be read: {0}")]
    Map(#[from] MapError),
}

/// Overwrites every page of scratch that is not in a range of `kept`.
///
/// # Safety
///
/// - Nobody needs those pages any more.
pub(crate) unsafe fn scratch(record: &Record, kept: &[PhysRange]) {
    let mut set = KEPT.lock();
    kept.iter().for_each(|range| set.add(*range));
    // SAFETY: the machine has written the list and writes it no more; it lies outside scratch.
    let list = unsafe { physical::bytes(record.scratch_list) }.unwrap_or_default();
    for entry in list.as_chunks::<16>().0 {
        let word = |at: usize| u64::from_le_bytes(core::array::from_fn(|byte| entry[at + byte]));
        // SAFETY: the caller says that what is not kept is nobody's.
        PhysRange::new(word(0), word(8)).into_iter().for_each(|range| unsafe { spoil(range, &set) });
    }
}

/// Overwrites every page of `ram` that is not in a range of `kept`, nor handed over.
///
/// # Errors
///
/// Says why it is not known what is handed over; nothing has been overwritten then.
///
/// # Safety
///
/// - Nobody needs those pages any more, and all of them are mapped.
pub(crate) unsafe fn all(
    record: &Record,
    ram: impl Iterator<Item = PhysRange>,
    kept: &[PhysRange],
) -> Result<(), PoisonError> {
    let mut set = KEPT.lock();
    kept.iter().chain([&record.fdt, &record.scratch_list]).for_each(|range| set.add(*range));
    // SAFETY: the machine has written the tree and writes it no more.
    let tree = unsafe { physical::bytes(record.fdt) }.unwrap_or_default();
    let map = RadixMap::at(RootFdt::read(tree)?.map());
    map.walk_nodes(&Nodes, |node| set.add(PhysRange { start: node, end: node + PAGE_BYTES }))?;
    let keep = |frame: Frame| {
        set.add(PhysRange { start: frame.phys(), end: frame.end() });
        ControlFlow::<()>::Continue(())
    };
    let _ = map.walk(&Nodes, keep)?;
    for range in ram {
        // SAFETY: the caller says that what is not kept is nobody's.
        unsafe { spoil(range, &set) };
    }
    Ok(())
}

/// # Safety
///
/// - Nobody needs the pages of `range` that are not in `kept`, and this image is kept.
unsafe fn spoil(range: PhysRange, kept: &PageSet) {
    for start in kept.pages_without(range) {
        // SAFETY: the caller says that the page is nobody's.
        let page = unsafe { physical::bytes_mut(PhysRange { start, end: start + PAGE_BYTES }) };
        if let Some(page) = page {
            page.fill(POISON);
        }
    }
}

/// The nodes of the map, in physical memory.
struct Nodes;

impl Pages for Nodes {
    fn load(&self, phys: u64, index: usize) -> Option<u64> {
        let mut word = [0; 8];
        let is_node = phys.is_multiple_of(PAGE_BYTES) && index < NODE_WORDS;
        let is_read = is_node && physical::read(phys.checked_add(8 * index as u64)?, &mut word);
        is_read.then(|| u64::from_le_bytes(word))
    }
}
