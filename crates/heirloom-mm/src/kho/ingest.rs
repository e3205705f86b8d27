//! Ingest: the predecessor's tree and map, read, refused or reserved, before anything outside scratch is touched.
//!
//! Two passes: the first believes nothing and changes nothing; the second tells memblock what is taken.

use core::ops::{ControlFlow, Range};

use heirloom_abi::kho::fdt::FdtError;
use heirloom_abi::kho::radix::{Emptiness, Frame, Limits, MapError, RadixMap, Summary};
use heirloom_abi::kho::root::RootFdt;

use super::nodes::{ForeignNodes, KnownNodes};
use super::subtree::Subtrees;
use crate::boot_info::Policy;
use crate::memblock::{Memblock, MemblockError, Place};
use crate::phys::{Memory, PAGE_BYTES, PAGE_SHIFT};
use crate::platform::Handover;
use crate::scratch::{ScratchAreas, ScratchError};

/// Why a handover was not taken over. Nothing outside scratch was changed: another successor may try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// The list of scratch areas is wrong.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    /// The tree is no page of memory, or lies in scratch.
    #[error("the handover tree at {fdt:#x}, {size} bytes, is not a page of memory outside scratch")]
    NoTree {
        /// Its address.
        fdt: u64,
        /// Its size.
        size: u64,
    },
    /// The tree is not one that is understood.
    #[error("the handover tree: {0}")]
    Tree(#[from] FdtError),
    /// The tree has more subtrees than are kept.
    #[error(
        "the handover tree has more than {} subtrees, or a name longer than {}",
        super::subtree::MAX_SUBTREES,
        super::MAX_NAME_BYTES
    )]
    Subtrees,
    /// The map is wrong.
    #[error("the preserved-memory map: {0}")]
    Map(#[from] MapError),
    /// A marked frame is no memory in one piece.
    #[error("the preserved frame {frame} lies in a hole of memory, or across two nodes")]
    Hole {
        /// The frame.
        frame: Frame,
    },
    /// A marked frame lies in scratch.
    #[error("the preserved frame {frame} lies in scratch")]
    InScratch {
        /// The frame.
        frame: Frame,
    },
    /// A marked frame lies where this boot's own image or tables stand.
    #[error("the preserved frame {frame} lies where this machine stands")]
    Taken {
        /// The frame.
        frame: Frame,
    },
    /// A marked frame covers a node of the map, the tree or the list of scratch areas.
    #[error("the preserved frame {frame} covers a page of the handover itself")]
    OverMetadata {
        /// The frame.
        frame: Frame,
    },
    /// Scratch has no room for what the boot needs.
    #[error(transparent)]
    Memblock(#[from] MemblockError),
}

/// What came from the predecessor.
pub(crate) struct Ingested {
    pub(crate) map: RadixMap,
    pub(crate) summary: Summary,
    pub(crate) subtrees: Subtrees,
    pub(crate) handover: Handover,
}

/// Reads the handover and reserves all that it names.
///
/// memblock is in its scratch-only phase.
pub(crate) fn ingest(
    memblock: &mut Memblock,
    map: Memory,
    handover: Handover,
    scratch: &ScratchAreas,
    policy: &Policy,
) -> Result<Ingested, IngestError> {
    let Handover { fdt, fdt_size: size, .. } = handover;
    let tree = fdt..fdt.saturating_add(PAGE_BYTES);
    let list = handover.scratch..handover.scratch.saturating_add(PAGE_BYTES);
    let is_page = fdt % PAGE_BYTES == 0 && size <= PAGE_BYTES && tree != list && memblock.is_memory(&tree);
    if !is_page || scratch.overlaps(&tree) || memblock.is_reserved(&tree) {
        return Err(IngestError::NoTree { fdt, size });
    }
    let mut bytes = [0; PAGE_BYTES as usize];
    map.read(fdt, &mut bytes);
    let root = RootFdt::read(&bytes)?;
    let subtrees = Subtrees::read(&root).ok_or(IngestError::Subtrees)?;

    // One bit for each page: pages of the handover itself.
    let end = memblock.end();
    let bitmap_bytes = (end >> PAGE_SHIFT).div_ceil(8).next_multiple_of(PAGE_BYTES);
    let bitmap = PageBits { map, at: memblock.alloc(bitmap_bytes, PAGE_BYTES, &Place::default())? };
    map.zero(bitmap.at, bitmap_bytes);
    for page in [&tree, &list] {
        bitmap.set(page.start);
    }
    let limits = Limits {
        emptiness: if policy.unchecked { Emptiness::Expected } else { Emptiness::Refused },
        ..Limits::within(0..end)
    };
    let foreign = ForeignNodes::new(memblock, map, *scratch, policy.unchecked);
    let (inherited, summary) = RadixMap::open(&foreign, root.map(), &limits, |node| {
        let inside = node < end;
        !inside || !bitmap.set(node)
    })?;
    let judged =
        inherited.walk(&foreign, |frame| match judge(memblock, scratch, &bitmap, frame, policy) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        })?;
    if let ControlFlow::Break(error) = judged {
        return Err(error);
    }

    // All of it is sound: from here on it is taken.
    memblock.reserve(&tree)?;
    memblock.reserve(&list)?;
    let known = KnownNodes(map);
    let mut failed = None;
    inherited.walk_nodes(&known, |node| {
        failed = failed.or(memblock.reserve(&(node..node + PAGE_BYTES)).err());
    })?;
    let _ = inherited.walk(&known, |frame| -> ControlFlow<()> {
        failed = failed.or(memblock.reserve(&(frame.phys()..frame.end())).err());
        ControlFlow::Continue(())
    })?;
    memblock.free(&(bitmap.at..bitmap.at + bitmap_bytes))?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Ingested { map: inherited, summary, subtrees, handover }),
    }
}

/// Holds one frame against the memory there is.
fn judge(
    memblock: &Memblock,
    scratch: &ScratchAreas,
    bitmap: &PageBits,
    frame: Frame,
    policy: &Policy,
) -> Result<(), IngestError> {
    let range = frame.phys()..frame.end();
    if !memblock.is_memory(&range) {
        return Err(IngestError::Hole { frame });
    }
    if policy.unchecked {
        return Ok(());
    }
    if scratch.overlaps(&range) {
        return Err(IngestError::InScratch { frame });
    }
    if memblock.is_reserved(&range) {
        return Err(IngestError::Taken { frame });
    }
    if bitmap.has_any(&range) {
        return Err(IngestError::OverMetadata { frame });
    }
    Ok(())
}

/// A bitmap over pages, in scratch.
struct PageBits {
    map: Memory,
    at: u64,
}

impl PageBits {
    /// Sets the bit of a page: whether it was set before.
    fn set(&self, phys: u64) -> bool {
        let page = phys >> PAGE_SHIFT;
        let (word, bit) = (self.at + page / 64 * 8, 1 << (page % 64));
        let old = self.map.load(word);
        self.map.store(word, old | bit);
        old & bit != 0
    }

    fn has_any(&self, range: &Range<u64>) -> bool {
        let pages = range.start >> PAGE_SHIFT..range.end >> PAGE_SHIFT;
        let mut page = pages.start;
        while page < pages.end {
            let upto = ((page / 64 + 1) * 64).min(pages.end);
            let nr = upto - page;
            let mask = (u64::MAX >> (64 - nr)) << (page % 64);
            if self.map.load(self.at + page / 64 * 8) & mask != 0 {
                return true;
            }
            page = upto;
        }
        false
    }
}
