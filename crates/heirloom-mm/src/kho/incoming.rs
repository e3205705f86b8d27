//! What came from the predecessor: found by name, claimed page by page, and what nobody claims freed at the end.
//!
//! A frame is *inherited* (its record says so, and nobody can allocate it) until it is claimed; a claim makes it a block in use, like any
//! other. Claiming twice is refused, as is claiming what was not handed over.

use core::ops::Range;

use super::subtree::{Subtree, Subtrees};
use crate::buddy::{Buddy, Owner, State};
use crate::phys::{PAGE_BYTES, PAGE_SHIFT};

/// A subtree was not retrieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetrieveError {
    /// Nothing of this name was handed over.
    #[error("nothing of this name was handed over")]
    NotFound,
    /// The tree names it, but its bytes were not preserved: they are lost.
    #[error(
        "the blob at {data:#x}, {size_bytes} bytes, lies in memory that was not preserved (page {phys:#x})"
    )]
    NotPreserved {
        /// Where it should be.
        data: u64,
        /// How long.
        size_bytes: u64,
        /// The first page that was not.
        phys: u64,
    },
}

/// Pages were not restored. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestorePagesError {
    /// The page was not handed over, or was claimed before.
    #[error("the page at {phys:#x} was not handed over, or was claimed before")]
    NotInherited {
        /// The page.
        phys: u64,
    },
    /// The range is empty, or reversed.
    #[error("{start:#x}..{end:#x} has no pages")]
    NoPages {
        /// Its start.
        start: u64,
        /// Its end.
        end: u64,
    },
    /// The range cuts a frame in two.
    #[error("the range cuts the preserved frame at {phys:#x} in two")]
    Cut {
        /// The frame.
        phys: u64,
    },
}

/// The predecessor's side of the handover.
pub(crate) struct Incoming {
    pub(crate) subtrees: Subtrees,
    /// Frames and pages that were handed over.
    pub(crate) nr_frames: u64,
    pub(crate) nr_pages: u64,
    /// Pages that nobody claimed; known once finished.
    pub(crate) nr_unclaimed: Option<u64>,
}

impl Incoming {
    pub(crate) fn none() -> Self {
        Self { subtrees: Subtrees::new(), nr_frames: 0, nr_pages: 0, nr_unclaimed: None }
    }

    /// Finds a blob by its name.
    pub(crate) fn retrieve(&self, buddy: &Buddy<'_>, name: &str) -> Result<Subtree, RetrieveError> {
        let found = self.subtrees.find(name).ok_or(RetrieveError::NotFound)?;
        let Subtree { data, size_bytes, .. } = found;
        let end = data.saturating_add(size_bytes.max(1));
        let mut phys = data & !(PAGE_BYTES - 1);
        while phys < end {
            let block = buddy.find_block(phys);
            let is_kept = block.is_some_and(|(_, page)| page.state == State::Inherited)
                || buddy
                    .zone(phys >> PAGE_SHIFT)
                    .is_some_and(|zone| zone.page(phys >> PAGE_SHIFT).is_preserved);
            if !is_kept {
                return Err(RetrieveError::NotPreserved { data, size_bytes, phys });
            }
            phys += PAGE_BYTES;
        }
        Ok(found)
    }
}

/// Claims the folio that starts at `phys`: its order.
pub(crate) fn claim_folio(buddy: &mut Buddy<'_>, phys: u64) -> Result<u32, RestorePagesError> {
    let wrong = RestorePagesError::NotInherited { phys };
    let (head, page) = buddy.find_block(phys).ok_or(wrong)?;
    if page.state != State::Inherited {
        return Err(wrong);
    }
    if head != phys {
        return Err(RestorePagesError::Cut { phys: head });
    }
    set_state(buddy, phys, State::Used);
    Ok(page.order.into())
}

/// Takes a claim back.
pub(super) fn unclaim_folio(buddy: &mut Buddy<'_>, phys: u64) {
    set_state(buddy, phys, State::Inherited);
}

/// Claims all frames of a range, as pages of order 0 that are `owner`'s.
pub(crate) fn claim_range(
    buddy: &mut Buddy<'_>,
    range: &Range<u64>,
    owner: Owner,
) -> Result<(), RestorePagesError> {
    let Range { start, end } = *range;
    if start >= end {
        return Err(RestorePagesError::NoPages { start, end });
    }
    let mut phys = start;
    while phys < end {
        let wrong = RestorePagesError::NotInherited { phys };
        let (head, page) = buddy.find_block(phys).ok_or(wrong)?;
        if page.state != State::Inherited {
            return Err(wrong);
        }
        let next = head + (PAGE_BYTES << page.order);
        if head != phys || next > end {
            return Err(RestorePagesError::Cut { phys: head });
        }
        phys = next;
    }
    let mut phys = start;
    while phys < end {
        let Some((head, page)) = buddy.find_block(phys) else { break };
        buddy.split(head, 0);
        for part in (head..head + (PAGE_BYTES << page.order)).step_by(PAGE_BYTES as usize) {
            buddy.set_owner(part, owner);
        }
        phys = head + (PAGE_BYTES << page.order);
    }
    Ok(())
}

fn set_state(buddy: &mut Buddy<'_>, phys: u64, state: State) {
    if let Some(zone) = buddy.zone_mut(phys >> PAGE_SHIFT) {
        zone.page_mut(phys >> PAGE_SHIFT).state = state;
    }
}
