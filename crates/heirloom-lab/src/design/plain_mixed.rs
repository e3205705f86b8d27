//! Mixed pages, plain: the slab's pages are preserved, and nothing says what lies on them.
//!
//! ```text
//!  predecessor   | kept | other | free | other |          a slab like any other
//!  successor     | kept |  ?    |  ?   |  ?    |          pages that hold an object somewhere; a slab no more
//! ```
//!
//! The successor knows where its object is, and that the page must stay as long as the object does. What else was on it nobody can
//! tell, so nothing can be allocated there, and its bytes are as the predecessor left them.

use std::collections::HashMap;

use heirloom_mm::PAGE_BYTES;

use super::{Awake, Design, Life, Object, kept_slabs};
use crate::kernel::Kernel;
use crate::survey::{Region, RegionKind, Survey};
use crate::{LabError, Workload};

/// The design.
pub struct PlainMixed;

impl Design for PlainMixed {
    fn name(&self) -> &'static str {
        "mixed-plain"
    }

    fn title(&self) -> &'static str {
        "mixed, plain"
    }

    fn wake(
        &self,
        kernel: &mut Kernel<'_, '_>,
        workload: &Workload,
        inherited: &[Object],
    ) -> Result<Awake, LabError> {
        let orders = workload.kinds.iter().map(|kind| kind.cache.order).collect();
        let mut pages = Stranded { orders, blocks: HashMap::new() };
        let mut lost = Vec::new();
        for object in inherited {
            let head = pages.head_of(object);
            if let Some(block) = pages.blocks.get_mut(&head) {
                block.nr_objects += 1;
                continue;
            }
            match kernel.machine.restore_folio(head) {
                Ok(order) => {
                    kernel.machine.preserve_folio(head)?;
                    pages.blocks.insert(head, Block { order, nr_objects: 1 });
                }
                Err(_) => lost.push(object.id),
            }
        }
        Ok(Awake { life: Box::new(pages), lost })
    }
}

/// Pages that were inherited, and hold objects somewhere.
struct Stranded {
    /// Order of a slab, by kind.
    orders: Vec<u32>,
    blocks: HashMap<u64, Block>,
}

struct Block {
    order: u32,
    nr_objects: u32,
}

impl Stranded {
    /// A slab is aligned to its size.
    fn head_of(&self, object: &Object) -> u64 {
        object.phys & !((PAGE_BYTES << self.orders[usize::from(object.kind)]) - 1)
    }
}

impl Life for Stranded {
    fn keep(&mut self, kernel: &mut Kernel<'_, '_>, kind: u16) -> Result<u64, LabError> {
        let cache = kernel.caches[usize::from(kind)];
        kept_slabs::keep(kernel, cache)
    }

    fn release(&mut self, kernel: &mut Kernel<'_, '_>, object: &Object) -> Result<(), LabError> {
        let head = self.head_of(object);
        let Some(block) = self.blocks.get_mut(&head) else {
            return kept_slabs::release(kernel, object);
        };
        block.nr_objects -= 1;
        if block.nr_objects == 0 {
            let order = block.order;
            self.blocks.remove(&head);
            kernel.machine.unpreserve_folio(head)?;
            kernel.machine.free_pages(head, order)?;
        }
        Ok(())
    }

    fn survey(&self, kernel: &Kernel<'_, '_>) -> Survey {
        // Of this generation: slabs that are slabs still.
        let mut survey = kept_slabs::survey(kernel, RegionKind::Shared);
        let closed = self.blocks.iter().map(|(&phys, block)| Region {
            phys,
            bytes: PAGE_BYTES << block.order,
            kind: RegionKind::Closed,
        });
        survey.regions.extend(closed);
        survey
    }
}
