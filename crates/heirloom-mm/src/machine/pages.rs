//! Whole pages: blocks of an order (folios), ranges of pages, areas of pages that need not be neighbours.

use core::ops::Range;

use super::{AllocError, Machine};
use crate::buddy::{BlockType, FreePagesError, NotFree, Request, order_for};
use crate::gfp::Gfp;
use crate::kho::{VmallocArea, alloc_area, free_area};
use crate::phys::PAGE_BYTES;
use crate::platform::Platform;

/// Pages were not given back, or not taken. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PagesError {
    /// They cannot be given back.
    #[error(transparent)]
    Free(#[from] FreePagesError),
    /// They are not free.
    #[error(transparent)]
    NotFree(#[from] NotFree),
    /// The range is no range of pages.
    #[error("{start:#x}..{end:#x} is no range of pages")]
    NoPages {
        /// Its start.
        start: u64,
        /// Its end.
        end: u64,
    },
    /// They are an object's or the handover's own, not plain pages.
    #[error("the pages at {phys:#x} are not plain pages")]
    Owned {
        /// Where.
        phys: u64,
    },
}

impl<P: Platform> Machine<'_, P> {
    /// Takes `2^order` pages in a row, a folio: their physical address, aligned to their size. With [`Gfp::ZERO`] all their bytes are zero. Such pages
    /// are not preserved by the flag alone, but [`Gfp::PRESERVE`] takes them from where preserved pages lie.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn alloc_pages(&self, order: u32, gfp: Gfp) -> Result<u64, AllocError> {
        self.alloc_pages_on(None, order, gfp)
    }

    /// The same, from this node while it has room.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn alloc_pages_on(&self, node: Option<u32>, order: u32, gfp: Gfp) -> Result<u64, AllocError> {
        let _guard = self.enter_for(gfp)?;
        let none = AllocError::OutOfMemory { bytes: (PAGE_BYTES as usize) << order.min(40) };
        let request = Request { order, kind: kind_of(gfp)?, node, urgent: gfp.contains(Gfp::ATOMIC) };
        let phys = self.ground.buddy.borrow_mut().alloc(request).ok_or(none)?;
        if gfp.contains(Gfp::ZERO) {
            self.ground.map.zero(phys, PAGE_BYTES << order);
        }
        Ok(phys)
    }

    /// Gives a folio back.
    ///
    /// # Errors
    ///
    /// [`PagesError`]: not a folio of this order, or still preserved.
    pub fn free_pages(&self, phys: u64, order: u32) -> Result<(), PagesError> {
        let _guard = self.enter();
        self.check_plain(phys)?;
        Ok(self.ground.buddy.borrow_mut().free(phys, order)?)
    }

    /// Takes `nr_pages` in a row, each a page of its own: their physical addresses. At most 1024.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn alloc_page_range(&self, nr_pages: u64, gfp: Gfp) -> Result<Range<u64>, AllocError> {
        let _guard = self.enter_for(gfp)?;
        let bytes = nr_pages.max(1).saturating_mul(PAGE_BYTES);
        let none = AllocError::OutOfMemory { bytes: bytes as usize };
        let order = order_for(bytes).ok_or(none)?;
        let request = Request { order, kind: kind_of(gfp)?, node: None, urgent: gfp.contains(Gfp::ATOMIC) };
        let mut buddy = self.ground.buddy.borrow_mut();
        let phys = buddy.alloc(request).ok_or(none)?;
        buddy.split(phys, 0);
        // Pages of the block that was taken just now.
        let _ = buddy.free_range(&(phys + bytes..phys + (PAGE_BYTES << order)));
        if gfp.contains(Gfp::ZERO) {
            self.ground.map.zero(phys, bytes);
        }
        Ok(phys..phys + bytes)
    }

    /// Takes exactly these pages, each a page of its own, if all of them are free.
    ///
    /// # Errors
    ///
    /// [`PagesError::NotFree`], [`PagesError::NoPages`].
    pub fn take_page_range(&self, range: &Range<u64>) -> Result<(), PagesError> {
        let _guard = self.enter();
        check_range(range)?;
        Ok(self.ground.buddy.borrow_mut().take_range(range)?)
    }

    /// Gives a range of single pages back, or a part of one.
    ///
    /// # Errors
    ///
    /// [`PagesError`]; none was given back then.
    pub fn free_page_range(&self, range: &Range<u64>) -> Result<(), PagesError> {
        let _guard = self.enter();
        check_range(range)?;
        for phys in range.clone().step_by(PAGE_BYTES as usize) {
            self.check_plain(phys)?;
        }
        Ok(self.ground.buddy.borrow_mut().free_range(range)?)
    }

    /// Takes an area of `nr_pages` zeroed pages in frames of `order`, which need not be neighbours.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn alloc_area(&self, nr_pages: u32, order: u32, gfp: Gfp) -> Result<VmallocArea, AllocError> {
        let _guard = self.enter_for(gfp)?;
        let kind = kind_of(gfp)?;
        let mut buddy = self.ground.buddy.borrow_mut();
        let bytes = (nr_pages as usize).saturating_mul(PAGE_BYTES as usize);
        alloc_area(self.ground, &mut buddy, nr_pages, order, kind).ok_or(AllocError::OutOfMemory { bytes })
    }

    /// Gives an area back.
    ///
    /// # Errors
    ///
    /// [`PagesError`]; none of its pages was given back then.
    pub fn free_area(&self, area: &VmallocArea) -> Result<(), PagesError> {
        let _guard = self.enter();
        Ok(free_area(self.ground, &mut self.ground.buddy.borrow_mut(), area)?)
    }

    /// Calls `visit` with the physical address of each frame of an area, in order.
    pub fn for_each_frame(&self, area: &VmallocArea, mut visit: impl FnMut(u64)) {
        let memory = {
            let _guard = self.enter();
            self.ground.buddy.borrow().extents()
        };
        let mut left = area.nr_pages() >> area.order();
        let mut in_chunk = 0;
        // Behind each chunk's frames comes the chunk page itself, which is not part of the area.
        let _ = area.visit(self.ground.map, &memory, drop, |phys, _| {
            let is_chunk = in_chunk == heirloom_abi::kho::metadata::VMALLOC_CHUNK_ENTRIES || left == 0;
            if is_chunk {
                in_chunk = 0;
            } else {
                in_chunk += 1;
                left -= 1;
                visit(phys);
            }
            Ok(())
        });
    }

    /// Plain pages are nobody's objects.
    fn check_plain(&self, phys: u64) -> Result<(), PagesError> {
        match self.owner_of(phys) {
            None | Some(crate::buddy::Owner::Pages) => Ok(()),
            Some(_) => Err(PagesError::Owned { phys }),
        }
    }
}

fn kind_of(gfp: Gfp) -> Result<BlockType, AllocError> {
    match (gfp.contains(Gfp::PRESERVE), gfp.contains(Gfp::MOVABLE)) {
        (true, true) => Err(AllocError::Movable),
        (true, false) => Ok(BlockType::Preserved),
        (false, true) => Ok(BlockType::Movable),
        (false, false) => Ok(BlockType::Kernel),
    }
}

fn check_range(range: &Range<u64>) -> Result<(), PagesError> {
    let Range { start, end } = *range;
    let is_range = start < end && (start | end) % PAGE_BYTES == 0;
    if is_range { Ok(()) } else { Err(PagesError::NoPages { start, end }) }
}
