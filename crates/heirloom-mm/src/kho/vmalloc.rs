//! Areas of many pages that need not be neighbours: listed in chunk pages, handed over with their lists.
//!
//! ```text
//! record (16 bytes)        chunk page                       frames of one order
//! | first ---------------> | next | phys | phys | ... |---> |  |  |  |
//! | pages, flags, order |     |
//!                             v next chunk
//! ```
//!
//! A kernel maps such an area at addresses in a row; here its pages are reached through the direct map, one by one. The list is
//! kept in the handover's own form from the start, so preserving an area copies nothing.

use core::ops::Range;

use heirloom_abi::kho::metadata::{MetadataError, VMALLOC_CHUNK_ENTRIES, Vmalloc, VmallocChunk};
use heirloom_abi::kho::radix::Order;

use super::incoming::{RestorePagesError, claim_folio, unclaim_folio};
use super::outgoing::Outgoing;
use super::preserve::{PreserveError, UnpreserveError};
use crate::buddy::{BlockType, Buddy, Extents, FreePagesError, MAX_ORDER, Owner, Request, State};
use crate::ground::Ground;
use crate::phys::{Memory, PAGE_BYTES, PAGE_SHIFT};
use crate::platform::Platform;

/// An area: a copy of its record. Who has it owns its pages; a copy that outlived them leads nowhere, and is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmallocArea {
    first: u64,
    nr_pages: u32,
    order: u32,
}

/// An area was not restored. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VmallocError {
    /// The record, or a chunk page, is wrong.
    #[error(transparent)]
    Record(#[from] MetadataError),
    /// A chunk or a frame was not handed over, or is claimed already: a frame that is listed twice is.
    #[error(transparent)]
    Pages(#[from] RestorePagesError),
    /// A frame was handed over with another order.
    #[error("the frame at {phys:#x} was handed over with order {found}, the area's is {order}")]
    Order {
        /// The frame.
        phys: u64,
        /// Its order.
        found: u32,
        /// The area's.
        order: u32,
    },
    /// The chunks list more or fewer frames than the record says.
    #[error("the chunks list {listed} frames or more, the record says {recorded}")]
    Count {
        /// Frames in the chunks that were read.
        listed: u64,
        /// What the record says.
        recorded: u32,
    },
}

impl VmallocArea {
    /// The record that the successor is to get.
    pub fn to_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.first.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.nr_pages.to_le_bytes());
        bytes[12..14].copy_from_slice(&Vmalloc::ALLOC.to_le_bytes());
        bytes[14..].copy_from_slice(&(self.order as u16).to_le_bytes());
        bytes
    }

    /// Address of the first chunk page.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Its pages.
    pub fn nr_pages(&self) -> u32 {
        self.nr_pages
    }

    /// Order of its frames.
    pub fn order(&self) -> u32 {
        self.order
    }

    /// Calls `visit` with each frame, and with each chunk page behind the frames it lists, until it errs. Where the chunks end before all
    /// frames were listed, the error is `short`'s, of the address that is no chunk.
    ///
    /// The list may be stale: nothing but pages of `memory` is read, and whoever is visited asks what the pages are now.
    pub(crate) fn visit<E>(
        &self,
        map: Memory,
        memory: &Extents,
        short: impl FnOnce(u64) -> E,
        mut visit: impl FnMut(u64, u32) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut chunk, mut left) = (self.first, self.nr_pages >> self.order);
        while left > 0 {
            if !memory.is_page(chunk) {
                return Err(short(chunk));
            }
            // Read before the visit, which may free the page.
            let next = map.load(chunk);
            for entry in 1..=u64::from(left).min(VMALLOC_CHUNK_ENTRIES as u64) {
                visit(map.load(chunk + 8 * entry), self.order)?;
                left -= 1;
            }
            visit(chunk, 0)?;
            chunk = next;
        }
        Ok(())
    }
}

/// Takes an area of so many pages (rounded up to frames) of zeros; `None` where there are not so many.
pub(crate) fn alloc_area<P: Platform>(
    ground: &Ground<'_, P>,
    buddy: &mut Buddy<'_>,
    nr_pages: u32,
    order: u32,
    kind: BlockType,
) -> Option<VmallocArea> {
    if order > MAX_ORDER {
        return None;
    }
    let nr_frames = nr_pages.max(1).div_ceil(1 << order);
    let nr_pages = nr_frames.checked_mul(1 << order)?;
    let mut area = VmallocArea { first: 0, nr_pages: 0, order };
    let mut take = |order| {
        let request = Request { order, kind, node: None, urgent: ground.is_urgent.get() };
        let page = buddy.alloc(request)?;
        ground.map.zero(page, PAGE_BYTES << order);
        Some(page)
    };
    let (mut chunk, mut entry) = (0, VMALLOC_CHUNK_ENTRIES as u64);
    let whole = (0..nr_frames).all(|_| {
        if entry == VMALLOC_CHUNK_ENTRIES as u64 {
            let Some(next) = take(0) else { return false };
            match chunk {
                0 => area.first = next,
                chunk => ground.map.store(chunk, next),
            }
            (chunk, entry) = (next, 0);
        }
        let Some(frame) = take(order) else { return false };
        entry += 1;
        ground.map.store(chunk + 8 * entry, frame);
        area.nr_pages += 1 << order;
        true
    });
    if whole {
        debug_assert_eq!(area.nr_pages, nr_pages);
        return Some(area);
    }
    // An area that broke off at a fresh chunk has one chunk more than its frames need.
    if entry == 0 && chunk != 0 {
        let _ = buddy.free(chunk, 0);
    }
    let _ = free_area(ground, buddy, &area);
    None
}

/// Gives an area's pages back.
pub(crate) fn free_area<P: Platform>(
    ground: &Ground<'_, P>,
    buddy: &mut Buddy<'_>,
    area: &VmallocArea,
) -> Result<(), FreePagesError> {
    let memory = buddy.extents();
    let short = |phys| FreePagesError::NotInUse { phys, order: 0 };
    // First whether all of them can be. Each is nobody's plain page from when it is met, so none can be met twice.
    let mut nr_met = 0;
    let result = area.visit(ground.map, &memory, short, |phys, order| {
        let wrong = FreePagesError::NotInUse { phys, order };
        let (head, page) = buddy.find_block(phys).ok_or(wrong)?;
        let is_plain = page.state == State::Used && page.owner == Owner::Pages;
        if head != phys || !is_plain || u32::from(page.order) != order {
            return Err(wrong);
        }
        let pfn = phys >> PAGE_SHIFT;
        if buddy.zone(pfn).is_some_and(|zone| zone.is_preserved(pfn..pfn + (1 << order))) {
            return Err(FreePagesError::Preserved { phys });
        }
        buddy.set_owner(phys, Owner::Handover);
        nr_met += 1;
        Ok(())
    });
    if result.is_err() {
        let _ = area.visit(ground.map, &memory, drop, |phys, _| {
            if nr_met == 0 {
                return Err(());
            }
            nr_met -= 1;
            buddy.set_owner(phys, Owner::Pages);
            Ok(())
        });
        return result;
    }
    area.visit(ground.map, &memory, short, |phys, order| {
        buddy.set_owner(phys, Owner::Pages);
        buddy.free(phys, order)
    })
}

impl Outgoing {
    /// Preserves an area: its frames and its chunk pages.
    pub(crate) fn preserve_area<'m, P: Platform>(
        &mut self,
        ground: &Ground<'m, P>,
        buddy: &mut Buddy<'m>,
        area: &VmallocArea,
    ) -> Result<(), PreserveError> {
        let (memory, mut nr_done) = (buddy.extents(), 0);
        let short = |phys| PreserveError::NotInUse { phys };
        let result = area.visit(ground.map, &memory, short, |phys, order| {
            self.preserve_range(ground, buddy, &frame_range(phys, order), Owner::Pages)?;
            nr_done += 1;
            Ok(())
        });
        if result.is_err() {
            let _ = area.visit(ground.map, &memory, drop, |phys, order| {
                if nr_done == 0 {
                    return Err(());
                }
                nr_done -= 1;
                self.unpreserve_range(ground, buddy, &frame_range(phys, order)).map_err(drop)
            });
        }
        result
    }

    /// Takes the marks of an area back.
    pub(crate) fn unpreserve_area<'m, P: Platform>(
        &mut self,
        ground: &Ground<'m, P>,
        buddy: &mut Buddy<'m>,
        area: &VmallocArea,
    ) -> Result<(), UnpreserveError> {
        let (memory, mut nr_done) = (buddy.extents(), 0);
        let short = |start| UnpreserveError::NotPreserved { start, end: frame_range(start, 0).end };
        // First whether all of them can be.
        area.visit(ground.map, &memory, short, |phys, order| {
            let range = frame_range(phys, order);
            let is_plain = buddy.find_block(phys).is_some_and(|(_, page)| page.owner == Owner::Pages);
            if !is_plain {
                return Err(UnpreserveError::NotPreserved { start: range.start, end: range.end });
            }
            self.check_preserved(ground, buddy, &range)
        })?;
        let result = area.visit(ground.map, &memory, short, |phys, order| {
            self.unpreserve_range(ground, buddy, &frame_range(phys, order))?;
            nr_done += 1;
            Ok(())
        });
        if result.is_err() {
            // A stale list names a frame twice. The map keeps its nodes, so marking needs no memory.
            let _ = area.visit(ground.map, &memory, drop, |phys, order| {
                if nr_done == 0 {
                    return Err(());
                }
                nr_done -= 1;
                let range = frame_range(phys, order);
                self.preserve_range(ground, buddy, &range, Owner::Pages).map_err(drop)
            });
        }
        result
    }
}

/// The bytes of a frame, which may be none: the list that it is from may be stale.
fn frame_range(phys: u64, order: u32) -> Range<u64> {
    phys..phys.saturating_add(PAGE_BYTES << order)
}

/// Claims an area by the record that a predecessor left.
pub(crate) fn claim_area(
    map: Memory,
    buddy: &mut Buddy<'_>,
    record: &[u8],
) -> Result<VmallocArea, VmallocError> {
    let record = Vmalloc::read(record)?;
    let (nr_frames, order) = (record.nr_frames(), record.order.get());
    if Order::new(order).is_none_or(|order| order.get() > MAX_ORDER) {
        return Err(VmallocError::Order { phys: record.first, found: 0, order });
    }
    // Each page is claimed when it is met, so none can be met twice; what was claimed is given back if anything is wrong.
    let mut nr_claimed = 0;
    let result = claim_chunks(map, buddy, &record, &mut nr_claimed);
    let area = VmallocArea { first: record.first, nr_pages: nr_frames << order, order };
    if result.is_err() {
        unclaim(map, buddy, record.first, nr_claimed);
    }
    result.map(|()| area)
}

fn claim_chunks(
    map: Memory,
    buddy: &mut Buddy<'_>,
    record: &Vmalloc,
    nr_claimed: &mut u64,
) -> Result<(), VmallocError> {
    let (mut phys, mut listed) = (record.first, 0);
    let recorded = record.nr_frames();
    let mut claim = |phys, order| {
        let found = claim_folio(buddy, phys)?;
        if found != order {
            unclaim_folio(buddy, phys);
            return Err(VmallocError::Order { phys, found, order });
        }
        *nr_claimed += 1;
        Ok(())
    };
    for _ in 0..record.nr_chunks() {
        if phys == 0 {
            return Err(VmallocError::Count { listed, recorded });
        }
        claim(phys, 0)?;
        let mut bytes = [0; PAGE_BYTES as usize];
        map.read(phys, &mut bytes);
        let chunk = VmallocChunk::read(&bytes)?;
        for frame in chunk.frames() {
            listed += 1;
            if listed > u64::from(recorded) {
                return Err(VmallocError::Count { listed, recorded });
            }
            claim(frame, record.order.get())?;
        }
        phys = chunk.next();
    }
    if phys != 0 || listed != u64::from(recorded) {
        return Err(VmallocError::Count { listed, recorded });
    }
    Ok(())
}

/// Takes back what `claim_chunks` claimed, in its order: a chunk, then what it lists.
fn unclaim(map: Memory, buddy: &mut Buddy<'_>, first: u64, nr_claimed: u64) {
    let (mut chunk, mut left) = (first, nr_claimed);
    while left > 0 {
        left -= 1;
        let next = map.load(chunk);
        for entry in 1..=left.min(VMALLOC_CHUNK_ENTRIES as u64) {
            let frame = map.load(chunk + 8 * entry);
            if frame == 0 {
                break;
            }
            unclaim_folio(buddy, frame);
            left -= 1;
        }
        unclaim_folio(buddy, chunk);
        chunk = next;
    }
}
