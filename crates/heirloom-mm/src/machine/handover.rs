//! Preserve and unpreserve, subtrees; retrieve, restore, finish.

use core::ops::Range;
use core::ptr::NonNull;

use super::Machine;
use crate::buddy::{Buddy, Owner};
use crate::kho::{
    Outgoing, PreserveError, RestorePagesError, RetrieveError, Subtree, SubtreeError, UnpreserveError,
    VmallocArea, VmallocError, claim_area, claim_folio, claim_range,
};
use crate::phys::{PAGE_BYTES, PAGE_SHIFT};
use crate::platform::Platform;

impl<'m, P: Platform> Machine<'m, P> {
    /// Preserves the folio that starts at `phys`: its order.
    ///
    /// # Errors
    ///
    /// [`PreserveError`]; nothing changed.
    pub fn preserve_folio(&self, phys: u64) -> Result<u32, PreserveError> {
        self.preserve_with(|outgoing, buddy| outgoing.preserve_folio(self.ground, buddy, phys))
    }

    /// Preserves a range of pages in use, of one node.
    ///
    /// # Errors
    ///
    /// [`PreserveError`]; nothing changed.
    pub fn preserve_pages(&self, range: &Range<u64>) -> Result<(), PreserveError> {
        self.preserve_with(|outgoing, buddy| outgoing.preserve_range(self.ground, buddy, range, Owner::Pages))
    }

    /// Preserves an area, its list of pages included. Its record goes to the successor by the caller.
    ///
    /// # Errors
    ///
    /// [`PreserveError`]; nothing changed.
    pub fn preserve_area(&self, area: &VmallocArea) -> Result<(), PreserveError> {
        self.preserve_with(|outgoing, buddy| outgoing.preserve_area(self.ground, buddy, area))
    }

    /// Says whether an object is handed over: that is decided when it is allocated, and cannot be changed later.
    ///
    /// # Errors
    ///
    /// [`PreserveError::AllocatedWithoutFlag`] for an object of the ordinary pool or the guard pool,
    /// [`PreserveError::NotInUse`] where no object is.
    pub fn preserve_object(&self, object: NonNull<u8>) -> Result<(), PreserveError> {
        let phys = self.phys(object);
        let _guard = self.enter();
        if self.is_sampled(phys) {
            return Err(PreserveError::AllocatedWithoutFlag { phys });
        }
        match self.find_object(phys) {
            Some((Owner::PreservePool, start, _)) if start == phys => Ok(()),
            Some((Owner::OrdinaryPool, ..)) => Err(PreserveError::AllocatedWithoutFlag { phys }),
            _ => Err(PreserveError::NotInUse { phys }),
        }
    }

    /// Takes the mark of a folio back; it is its owner's as before.
    ///
    /// # Errors
    ///
    /// [`UnpreserveError`]; nothing changed.
    pub fn unpreserve_folio(&self, phys: u64) -> Result<(), UnpreserveError> {
        self.unpreserve_with(|outgoing, buddy| {
            let not = UnpreserveError::NotPreserved { start: phys, end: phys.saturating_add(PAGE_BYTES) };
            let (head, page) = buddy.find_block(phys).ok_or(not)?;
            if head != phys || page.owner != Owner::Pages {
                return Err(not);
            }
            outgoing.unpreserve_range(self.ground, buddy, &(phys..phys + (PAGE_BYTES << page.order)))
        })
    }

    /// Takes the marks of a range back, which was preserved as this range.
    ///
    /// # Errors
    ///
    /// [`UnpreserveError`]; nothing changed.
    pub fn unpreserve_pages(&self, range: &Range<u64>) -> Result<(), UnpreserveError> {
        self.unpreserve_with(|outgoing, buddy| {
            let (start, end) = (range.start, range.end);
            // A pool's blocks are its own affair.
            let is_plain = |phys| buddy.find_block(phys).is_some_and(|(_, page)| page.owner == Owner::Pages);
            if !range.clone().step_by(PAGE_BYTES as usize).all(is_plain) {
                return Err(UnpreserveError::NotPreserved { start, end });
            }
            outgoing.unpreserve_range(self.ground, buddy, range)
        })
    }

    /// Takes the marks of an area back.
    ///
    /// # Errors
    ///
    /// [`UnpreserveError`]; nothing changed.
    pub fn unpreserve_area(&self, area: &VmallocArea) -> Result<(), UnpreserveError> {
        self.unpreserve_with(|outgoing, buddy| outgoing.unpreserve_area(self.ground, buddy, area))
    }

    /// Lists a blob for the successor to find by name: an object of the preserve pool, or bytes of preserved pages.
    ///
    /// # Errors
    ///
    /// [`SubtreeError`]; the tree is as it was.
    pub fn add_subtree(&self, name: &str, data: u64, size_bytes: u64) -> Result<(), SubtreeError> {
        let _guard = self.enter();
        if self.is_frozen.get() {
            return Err(SubtreeError::Frozen);
        }
        if self.is_sampled(data) {
            return Err(SubtreeError::AllocatedWithoutFlag { phys: data });
        }
        let end = data.checked_add(size_bytes.max(1)).ok_or(SubtreeError::NotPreserved { phys: data })?;
        match self.owner_of(data) {
            Some(Owner::OrdinaryPool) => return Err(SubtreeError::AllocatedWithoutFlag { phys: data }),
            Some(Owner::PreservePool) => {
                let found = self.find_object(data);
                let inside = found.is_some_and(|(_, start, bytes)| start <= data && end <= start + bytes);
                if !inside {
                    return Err(SubtreeError::NotPreserved { phys: data });
                }
            }
            _ => {
                let buddy = self.ground.buddy.borrow();
                let mut pfns = data >> PAGE_SHIFT..end.div_ceil(PAGE_BYTES);
                let is_marked = |pfn| buddy.zone(pfn).is_some_and(|zone| zone.page(pfn).is_preserved);
                if let Some(pfn) = pfns.find(|&pfn| !is_marked(pfn)) {
                    return Err(SubtreeError::NotPreserved { phys: pfn << PAGE_SHIFT });
                }
            }
        }
        let mut outgoing = self.ground.outgoing.borrow_mut();
        let outgoing = outgoing.as_mut().ok_or(SubtreeError::NotFound)?;
        outgoing.add_subtree(self.ground, (name, data, size_bytes))
    }

    /// Takes a blob off the list. The pool's own node stays.
    ///
    /// # Errors
    ///
    /// [`SubtreeError::NotFound`], [`SubtreeError::Frozen`].
    pub fn remove_subtree(&self, name: &str) -> Result<(), SubtreeError> {
        let _guard = self.enter();
        if self.is_frozen.get() {
            return Err(SubtreeError::Frozen);
        }
        let mut outgoing = self.ground.outgoing.borrow_mut();
        let outgoing = outgoing.as_mut().filter(|_| name != crate::kho::POOL_NODE);
        outgoing.ok_or(SubtreeError::NotFound)?.remove_subtree(self.ground, name)
    }

    /// Finds a blob that the predecessor listed. Its bytes are foreign.
    ///
    /// # Errors
    ///
    /// [`RetrieveError`]; its `NotPreserved` says that the tree names what was not preserved.
    pub fn retrieve(&self, name: &str) -> Result<Subtree, RetrieveError> {
        let _guard = self.enter();
        self.incoming.borrow().retrieve(&self.ground.buddy.borrow(), name)
    }

    /// Claims a folio that the predecessor preserved: its order. It is a folio in use from now on.
    ///
    /// # Errors
    ///
    /// [`RestorePagesError`]; nothing changed.
    pub fn restore_folio(&self, phys: u64) -> Result<u32, RestorePagesError> {
        let _guard = self.enter();
        claim_folio(&mut self.ground.buddy.borrow_mut(), phys)
    }

    /// Claims a range that the predecessor preserved: each of its pages is a page of its own from now on.
    ///
    /// # Errors
    ///
    /// [`RestorePagesError`]; nothing changed.
    pub fn restore_pages(&self, range: &Range<u64>) -> Result<(), RestorePagesError> {
        let _guard = self.enter();
        claim_range(&mut self.ground.buddy.borrow_mut(), range, Owner::Pages)
    }

    /// Claims an area by the record that the predecessor made of it.
    ///
    /// # Errors
    ///
    /// [`VmallocError`]; nothing changed.
    pub fn restore_area(&self, record: &[u8]) -> Result<VmallocArea, VmallocError> {
        let _guard = self.enter();
        claim_area(self.ground.map, &mut self.ground.buddy.borrow_mut(), record)
    }

    /// Frees what was handed over and nobody claimed: its pages. Again, it frees nothing.
    pub fn finish(&self) -> u64 {
        let _guard = self.enter();
        let nr_pages = self.ground.buddy.borrow_mut().free_unclaimed();
        let mut incoming = self.incoming.borrow_mut();
        incoming.nr_unclaimed = Some(incoming.nr_unclaimed.unwrap_or(0) + nr_pages);
        nr_pages
    }

    fn is_sampled(&self, phys: u64) -> bool {
        self.ground.guard.is_some_and(|guard| guard.contains(phys))
    }

    fn preserve_with<T>(
        &self,
        preserve: impl FnOnce(&mut Outgoing, &mut Buddy<'m>) -> Result<T, PreserveError>,
    ) -> Result<T, PreserveError> {
        let _guard = self.enter();
        if self.is_frozen.get() {
            return Err(PreserveError::Frozen);
        }
        self.ground.is_urgent.set(false);
        let mut outgoing = self.ground.outgoing.borrow_mut();
        let outgoing = outgoing.as_mut().ok_or(PreserveError::OutOfPages)?;
        preserve(outgoing, &mut self.ground.buddy.borrow_mut())
    }

    fn unpreserve_with(
        &self,
        unpreserve: impl FnOnce(&mut Outgoing, &mut Buddy<'m>) -> Result<(), UnpreserveError>,
    ) -> Result<(), UnpreserveError> {
        let _guard = self.enter();
        if self.is_frozen.get() {
            return Err(UnpreserveError::Frozen);
        }
        let mut outgoing = self.ground.outgoing.borrow_mut();
        let outgoing = outgoing.as_mut().ok_or(UnpreserveError::NotPreserved { start: 0, end: 0 })?;
        unpreserve(outgoing, &mut self.ground.buddy.borrow_mut())
    }
}
