//! The invariants, asked of every list and every page.

use super::{BlockType, Buddy, MAX_ORDER, State};
use crate::buddy::order::buddy;

/// An invariant that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A free block is not aligned to its size.
    #[error("the free block of order {order} at pfn {pfn:#x} is misaligned")]
    Misaligned {
        /// Its first page.
        pfn: u64,
        /// Its order.
        order: u32,
    },
    /// Two free buddies were not merged.
    #[error("the free block of order {order} at pfn {pfn:#x} was not merged with its buddy")]
    Unmerged {
        /// Its first page.
        pfn: u64,
        /// Its order.
        order: u32,
    },
    /// A block on a list is not a free block of that list.
    #[error("the block at pfn {pfn:#x} is on the list of order {order}, where it does not belong")]
    Listed {
        /// Its first page.
        pfn: u64,
        /// Order of the list.
        order: u32,
    },
    /// The records of the pages of a block do not fit each other.
    #[error("page {pfn:#x} contradicts its block")]
    Body {
        /// The page.
        pfn: u64,
    },
    /// A count does not agree with what was counted.
    #[error("{counted} pages are free, {recorded} are recorded")]
    Count {
        /// What the lists have.
        counted: u64,
        /// What the count says.
        recorded: u64,
    },
}

impl Buddy<'_> {
    /// Tests the invariants of [the module](super).
    ///
    /// # Errors
    ///
    /// The first [`Broken`] found.
    pub fn check(&self) -> Result<(), Broken> {
        for zone in self.zones() {
            let mut counted = 0;
            for kind in BlockType::ALL {
                let mut of_kind = 0;
                for order in 0..=MAX_ORDER {
                    for pfn in zone.list(kind, order) {
                        let page = zone.page(pfn);
                        let listed = page.state == State::Free
                            && u32::from(page.order) == order
                            && zone.type_of(pfn) == kind
                            && !page.is_preserved;
                        ensure(listed, Broken::Listed { pfn, order })?;
                        ensure(pfn % (1 << order) == 0, Broken::Misaligned { pfn, order })?;
                        ensure(pfn + (1 << order) <= zone.pfns().end, Broken::Misaligned { pfn, order })?;
                        let other = buddy(pfn, order);
                        if order < MAX_ORDER && zone.pfns().contains(&other) {
                            let other = zone.page(other);
                            let free = other.state == State::Free && u32::from(other.order) == order;
                            ensure(!free, Broken::Unmerged { pfn, order })?;
                        }
                        of_kind += 1 << order;
                    }
                }
                ensure(
                    of_kind == zone.nr_free(kind),
                    Broken::Count { counted: of_kind, recorded: zone.nr_free(kind) },
                )?;
                counted += of_kind;
            }
            self.check_pages(zone, counted)?;
        }
        Ok(())
    }

    /// Each page is absent, a first page, or one of the body of the block before it; all free blocks are on the lists.
    fn check_pages(&self, zone: &super::Zone<'_>, listed: u64) -> Result<(), Broken> {
        let (mut pfn, mut free) = (zone.pfns().start, 0);
        while pfn < zone.pfns().end {
            let page = zone.page(pfn);
            match page.state {
                State::Absent => {
                    pfn += 1;
                    continue;
                }
                State::Body => return Err(Broken::Body { pfn }),
                State::Free => free += 1 << page.order,
                State::Used | State::Inherited => {}
            }
            let end = pfn + (1 << page.order);
            ensure(end <= zone.pfns().end, Broken::Body { pfn })?;
            for body in pfn + 1..end {
                ensure(zone.page(body).state == State::Body, Broken::Body { pfn: body })?;
                // A preserved frame is never larger than its block, and may be smaller.
                ensure(
                    page.state == State::Used || !zone.page(body).is_preserved,
                    Broken::Body { pfn: body },
                )?;
            }
            pfn = end;
        }
        ensure(free == listed, Broken::Count { counted: free, recorded: listed })
    }
}

fn ensure(holds: bool, broken: Broken) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(broken) }
}
