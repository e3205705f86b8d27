//! Runs of pages that are no single block: taken at an address, split, and given back page by page.

use core::ops::Range;

use super::order::largest_at;
use super::{Buddy, FreePagesError, MAX_ORDER, Owner, State};
use crate::phys::PAGE_SHIFT;

/// A range of pages is not free. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the page at {phys:#x} is not free")]
pub struct NotFree {
    /// The first page that is not.
    pub phys: u64,
}

impl Buddy<'_> {
    /// Takes exactly these pages, each as a block of order 0.
    ///
    /// # Errors
    ///
    /// [`NotFree`].
    pub(crate) fn take_range(&mut self, range: &Range<u64>) -> Result<(), NotFree> {
        let pfns = range.start >> PAGE_SHIFT..range.end >> PAGE_SHIFT;
        if let Some(pfn) = self.find_not_free(&pfns) {
            return Err(NotFree { phys: pfn << PAGE_SHIFT });
        }
        let Some(zone) = self.zone_mut(pfns.start) else { return Err(NotFree { phys: range.start }) };
        let mut pfn = pfns.start;
        while pfn < pfns.end {
            let Some(head) = zone.head_of(pfn) else { break };
            let end = head + (1 << zone.page(head).order);
            zone.unlink(head, end.wrapping_sub(head).ilog2());
            for taken in pfn..end.min(pfns.end) {
                zone.make_block(taken, 0, State::Used);
            }
            zone.relink(head..pfn);
            zone.relink(pfns.end.min(end)..end);
            pfn = end;
        }
        Ok(())
    }

    /// The first page that is not free.
    fn find_not_free(&self, pfns: &Range<u64>) -> Option<u64> {
        let mut pfn = pfns.start;
        while pfn < pfns.end {
            let Some(zone) = self.zone(pfn).filter(|zone| zone.pfns().end >= pfns.end) else {
                return Some(pfn);
            };
            let Some(head) = zone.head_of(pfn).filter(|&head| zone.page(head).state == State::Free) else {
                return Some(pfn);
            };
            pfn = head + (1 << zone.page(head).order);
        }
        None
    }

    /// Takes a run of free pages inside `area`, lowest first, at a multiple of `align` bytes: its address.
    pub(crate) fn take_run(&mut self, area: &Range<u64>, bytes: u64, align: u64) -> Option<u64> {
        let page = 1 << PAGE_SHIFT;
        let (bytes, align) = (bytes.max(1).checked_next_multiple_of(page)?, align.max(page));
        let mut start = area.start.checked_next_multiple_of(align)?;
        while start.checked_add(bytes)? <= area.end {
            match self.take_range(&(start..start + bytes)) {
                Ok(()) => return Some(start),
                Err(NotFree { phys }) => start = (phys + 1).checked_next_multiple_of(align)?,
            }
        }
        None
    }

    /// Splits a block in use into blocks of `to`, each in use.
    pub(crate) fn split(&mut self, phys: u64, to: u32) {
        let pfn = phys >> PAGE_SHIFT;
        let Some(zone) = self.zone_mut(pfn) else { return };
        let from = u32::from(zone.page(pfn).order);
        let owner = zone.page(pfn).owner;
        for part in (pfn..pfn + (1 << from)).step_by(1 << to) {
            zone.page_mut(part).state = State::Used;
            zone.page_mut(part).order = to as u8;
            zone.page_mut(part).owner = owner;
        }
    }

    /// Gives pages of order 0 back, those of the range.
    ///
    /// # Errors
    ///
    /// [`FreePagesError`]: of the first page that cannot be; none was given back then.
    pub(crate) fn free_range(&mut self, range: &Range<u64>) -> Result<(), FreePagesError> {
        let pfns = range.start >> PAGE_SHIFT..range.end >> PAGE_SHIFT;
        for pfn in pfns.clone() {
            let phys = pfn << PAGE_SHIFT;
            let wrong = FreePagesError::NotInUse { phys, order: 0 };
            let page = self.zone(pfn).ok_or(wrong)?.page(pfn);
            if page.state != State::Used || page.order != 0 {
                return Err(wrong);
            }
            if page.is_preserved {
                return Err(FreePagesError::Preserved { phys });
            }
        }
        for pfn in pfns {
            if let Some(zone) = self.zone_mut(pfn) {
                zone.free(pfn, 0);
            }
        }
        Ok(())
    }

    /// Notes whose a block in use is.
    pub(crate) fn set_owner(&mut self, phys: u64, owner: Owner) {
        let pfn = phys >> PAGE_SHIFT;
        if let Some(zone) = self.zone_mut(pfn) {
            zone.page_mut(pfn).owner = owner;
        }
    }

    /// Notes a frame that a predecessor preserved, in blocks of at most the largest order.
    pub(crate) fn inherit(&mut self, range: &Range<u64>) {
        let pfns = range.start >> PAGE_SHIFT..range.end >> PAGE_SHIFT;
        let Some(zone) = self.zone_mut(pfns.start) else { return };
        let mut pfn = pfns.start;
        while pfn < pfns.end {
            let order = largest_at(pfn, pfns.end, MAX_ORDER);
            zone.make_block(pfn, order, State::Inherited);
            pfn += 1 << order;
        }
    }

    /// Takes a page over that was absent so far; any other stays as it is.
    pub(crate) fn release_absent(&mut self, phys: u64) {
        let pfn = phys >> PAGE_SHIFT;
        if let Some(zone) = self.zone_mut(pfn).filter(|zone| zone.page(pfn).state == State::Absent) {
            zone.give(pfn..pfn + 1);
        }
    }

    /// Frees what was inherited and nobody claimed: its pages.
    pub(crate) fn free_unclaimed(&mut self) -> u64 {
        let mut nr_pages = 0;
        for at in 0..self.nr_zones {
            let Some(zone) = &mut self.zones[at] else { continue };
            let mut pfn = zone.pfns().start;
            while pfn < zone.pfns().end {
                let page = zone.page(pfn);
                if page.state == State::Inherited {
                    nr_pages += 1 << page.order;
                    zone.free(pfn, page.order.into());
                }
                pfn += match page.state {
                    State::Absent | State::Body => 1,
                    // What was just freed may have merged; its own pages are behind us all the same.
                    _ => 1 << page.order,
                };
            }
        }
        nr_pages
    }
}
