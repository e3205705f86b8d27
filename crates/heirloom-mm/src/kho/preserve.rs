//! Preserve and unpreserve: folios, ranges of pages, blocks of a pool.
//!
//! A range is marked as the largest aligned frames that it consists of, so its marks follow from the range alone, and unpreserve is the exact
//! inverse. Everything that can be refused is asked first; what can still fail then (a page for a node) is rolled back.

use core::ops::Range;

use heirloom_abi::kho::radix::{Frame, MarkError, Order};

use super::nodes::OwnNodes;
use super::outgoing::Outgoing;
use crate::buddy::{Buddy, MAX_ORDER, Owner, State};
use crate::ground::{Ground, UnsafeGround, What};
use crate::phys::{PAGE_BYTES, PAGE_SHIFT};
use crate::platform::Platform;

/// Pages were not preserved. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreserveError {
    /// The address, or the end of the range, is no page boundary, or the range is empty.
    #[error("{start:#x}..{end:#x} is no range of pages")]
    NoPages {
        /// Its start.
        start: u64,
        /// Its end.
        end: u64,
    },
    /// A page is no memory, or nobody has it in use.
    #[error("the page at {phys:#x} is not in use")]
    NotInUse {
        /// The first such page.
        phys: u64,
    },
    /// No folio starts at the address.
    #[error("{phys:#x} is inside a folio, not its start")]
    NoFolio {
        /// The address.
        phys: u64,
    },
    /// The range has pages of two nodes.
    #[error("the range goes across two nodes at {at:#x}: preserve each part")]
    AcrossNodes {
        /// Where the second begins.
        at: u64,
    },
    /// The page is one of the ordinary slab: its objects were allocated without the flag.
    #[error("the object at {phys:#x} was allocated without Gfp::PRESERVE: allocate it with the flag")]
    AllocatedWithoutFlag {
        /// The address.
        phys: u64,
    },
    /// A page is preserved already.
    #[error("the page at {phys:#x} is preserved already")]
    Already {
        /// The first such page.
        phys: u64,
    },
    /// It lies where the successor writes first.
    #[error(transparent)]
    UnsafeGround(#[from] UnsafeGround),
    /// No page is left for a node of the map.
    #[error("no page is left for a node of the map")]
    OutOfPages,
    /// The map is broken, or disagrees with the records of pages.
    #[error(transparent)]
    Map(MarkError),
    /// The machine is frozen.
    #[error("the machine is frozen")]
    Frozen,
}

/// Pages were not unpreserved. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnpreserveError {
    /// The range was not preserved, or not as this range.
    #[error("{start:#x}..{end:#x} was not preserved as such")]
    NotPreserved {
        /// Its start.
        start: u64,
        /// Its end.
        end: u64,
    },
    /// A subtree's blob lies there: remove the subtree first.
    #[error("a subtree's blob lies in {start:#x}..{end:#x}: remove the subtree first")]
    InUse {
        /// Its start.
        start: u64,
        /// Its end.
        end: u64,
    },
    /// The map is broken, or disagrees with the records of pages.
    #[error(transparent)]
    Map(MarkError),
    /// The machine is frozen.
    #[error("the machine is frozen")]
    Frozen,
}

impl Outgoing {
    /// Preserves the folio that starts at `phys`: its order.
    pub(crate) fn preserve_folio<'m, P: Platform>(
        &mut self,
        ground: &Ground<'m, P>,
        buddy: &mut Buddy<'m>,
        phys: u64,
    ) -> Result<u32, PreserveError> {
        ground.check_safe(What::Pages, &(phys..phys.saturating_add(1)))?;
        let (head, page) = buddy.find_block(phys).ok_or(PreserveError::NotInUse { phys })?;
        check_owner(page.owner, page.state, phys)?;
        if head != phys {
            return Err(PreserveError::NoFolio { phys });
        }
        self.preserve_range(ground, buddy, &(phys..phys + (PAGE_BYTES << page.order)), Owner::Pages)?;
        Ok(page.order.into())
    }

    /// Preserves a range of pages in use, which are `owner`'s.
    pub(crate) fn preserve_range<'m, P: Platform>(
        &mut self,
        ground: &Ground<'m, P>,
        buddy: &mut Buddy<'m>,
        range: &Range<u64>,
        owner: Owner,
    ) -> Result<(), PreserveError> {
        let Range { start, end } = *range;
        if start >= end || (start | end) % PAGE_BYTES != 0 {
            return Err(PreserveError::NoPages { start, end });
        }
        check_one_zone(buddy, range)?;
        ground.check_safe(What::Pages, range)?;
        let pfns = start >> PAGE_SHIFT..end >> PAGE_SHIFT;
        let mut phys = start;
        while phys < end {
            let (head, page) = buddy.find_block(phys).ok_or(PreserveError::NotInUse { phys })?;
            if page.owner != owner {
                check_owner(page.owner, page.state, phys)?;
            }
            if page.state != State::Used {
                return Err(PreserveError::NotInUse { phys });
            }
            phys = head + (PAGE_BYTES << page.order);
        }
        let Some(zone) = buddy.zone(pfns.start) else { return Err(PreserveError::NotInUse { phys: start }) };
        if let Some(pfn) = zone.find_preserved(pfns.clone(), true) {
            return Err(PreserveError::Already { phys: pfn << PAGE_SHIFT });
        }
        let mut nodes = OwnNodes::new(ground, buddy);
        let mut done = start;
        for frame in frames(range) {
            match self.map.mark(&mut nodes, frame) {
                Ok(()) => done = frame.end(),
                Err(error) => {
                    let refused = nodes.refused;
                    for frame in frames(&(start..end)).take_while(|frame| frame.end() <= done) {
                        // It was marked just now.
                        let _ = self.map.unmark(&mut nodes, frame);
                    }
                    return Err(match (refused, error) {
                        (Some(refused), _) => PreserveError::UnsafeGround(refused),
                        (None, MarkError::OutOfPages { .. }) => PreserveError::OutOfPages,
                        (None, MarkError::AlreadyMarked { frame }) => {
                            PreserveError::Already { phys: frame.phys() }
                        }
                        (None, error) => PreserveError::Map(error),
                    });
                }
            }
        }
        self.nr_preserved += pfns.end - pfns.start;
        if let Some(zone) = buddy.zone_mut(pfns.start) {
            zone.set_preserved(pfns, true);
        }
        Ok(())
    }

    /// Whether the marks of a range can be taken back: each of its frames is marked, and no blob lies there.
    pub(super) fn check_preserved<'m, P: Platform>(
        &self,
        ground: &Ground<'m, P>,
        buddy: &mut Buddy<'m>,
        range: &Range<u64>,
    ) -> Result<(), UnpreserveError> {
        let Range { start, end } = *range;
        let not = UnpreserveError::NotPreserved { start, end };
        let is_range = start < end && (start | end) % PAGE_BYTES == 0 && buddy.is_memory(range);
        if !is_range {
            return Err(not);
        }
        let in_use =
            |blob: &super::Subtree| blob.data < end && start < blob.data.saturating_add(blob.size_bytes);
        if self.subtrees().iter().any(in_use) {
            return Err(UnpreserveError::InUse { start, end });
        }
        let nodes = OwnNodes::new(ground, buddy);
        for frame in frames(range) {
            match self.map.contains(&nodes, frame) {
                Ok(true) => {}
                Ok(false) => return Err(not),
                Err(error) => return Err(UnpreserveError::Map(error.into())),
            }
        }
        Ok(())
    }

    /// Takes the marks of a range back.
    pub(crate) fn unpreserve_range<'m, P: Platform>(
        &mut self,
        ground: &Ground<'m, P>,
        buddy: &mut Buddy<'m>,
        range: &Range<u64>,
    ) -> Result<(), UnpreserveError> {
        self.check_preserved(ground, buddy, range)?;
        let Range { start, end } = *range;
        let mut nodes = OwnNodes::new(ground, buddy);
        for frame in frames(range) {
            self.map.unmark(&mut nodes, frame).map_err(UnpreserveError::Map)?;
        }
        let pfns = start >> PAGE_SHIFT..end >> PAGE_SHIFT;
        self.nr_preserved -= pfns.end - pfns.start;
        if let Some(zone) = buddy.zone_mut(pfns.start) {
            zone.set_preserved(pfns, false);
        }
        Ok(())
    }
}

/// The largest aligned frames that a range of pages consists of, none larger than the buddy's largest block.
pub(crate) fn frames(range: &Range<u64>) -> impl Iterator<Item = Frame> + use<> {
    let (mut at, end) = (range.start >> PAGE_SHIFT, range.end >> PAGE_SHIFT);
    core::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let fits = (end - at).ilog2();
        let aligned = if at == 0 { MAX_ORDER } else { at.trailing_zeros() };
        let order = Order::new(fits.min(aligned).min(MAX_ORDER))?;
        let frame = Frame::new(at << PAGE_SHIFT, order).ok()?;
        at += 1 << order.get();
        Some(frame)
    })
}

/// Refuses pages that are not plain ones in use.
fn check_owner(owner: Owner, state: State, phys: u64) -> Result<(), PreserveError> {
    match (state, owner) {
        (State::Used, Owner::Pages) => Ok(()),
        (State::Used, Owner::OrdinaryPool) => Err(PreserveError::AllocatedWithoutFlag { phys }),
        (State::Used, Owner::PreservePool | Owner::Handover) => Err(PreserveError::Already { phys }),
        _ => Err(PreserveError::NotInUse { phys }),
    }
}

/// Refuses a range that leaves its zone: a zone is one node's memory without a hole.
fn check_one_zone(buddy: &Buddy<'_>, range: &Range<u64>) -> Result<(), PreserveError> {
    let not = |phys| PreserveError::NotInUse { phys };
    let zone = buddy.zone(range.start >> PAGE_SHIFT).ok_or(not(range.start))?;
    let at = zone.pfns().end << PAGE_SHIFT;
    if range.end <= at {
        return Ok(());
    }
    match buddy.zone(at >> PAGE_SHIFT) {
        Some(_) => Err(PreserveError::AcrossNodes { at }),
        None => Err(not(at)),
    }
}
