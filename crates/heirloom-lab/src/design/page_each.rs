//! A page for each object: `kho_alloc_preserve`, as Linux has it.
//!
//! ```text
//!  | object |............ the rest of its pages ............|     zeroed when taken, preserved as one frame
//! ```
//!
//! Nothing else lies on the object's pages, so nothing is exposed; the map alone says what survives; freeing gives the pages back. The price is the rest
//! of the page.

use std::collections::HashMap;

use heirloom_mm::buddy::order_for;
use heirloom_mm::{Gfp, PAGE_BYTES};

use super::{Awake, Design, Life, Object};
use crate::kernel::Kernel;
use crate::survey::{Region, RegionKind, Survey};
use crate::{LabError, Workload};

/// The design.
pub struct PageEach;

impl Design for PageEach {
    fn name(&self) -> &'static str {
        "page-each"
    }

    fn title(&self) -> &'static str {
        "page each"
    }

    fn wake(
        &self,
        kernel: &mut Kernel<'_, '_>,
        workload: &Workload,
        inherited: &[Object],
    ) -> Result<Awake, LabError> {
        let mut pages = Pages {
            bytes: workload.kinds.iter().map(|kind| kind.cache.slot_bytes).collect(),
            orders: HashMap::new(),
        };
        let mut lost = Vec::new();
        for object in inherited {
            match kernel.machine.restore_folio(object.phys) {
                Ok(order) => {
                    // For the next handover.
                    kernel.machine.preserve_folio(object.phys)?;
                    pages.orders.insert(object.phys, order);
                }
                Err(_) => lost.push(object.id),
            }
        }
        Ok(Awake { life: Box::new(pages), lost })
    }
}

/// The pages in use.
struct Pages {
    /// Bytes of an object, by kind.
    bytes: Vec<u64>,
    orders: HashMap<u64, u32>,
}

impl Life for Pages {
    fn keep(&mut self, kernel: &mut Kernel<'_, '_>, kind: u16) -> Result<u64, LabError> {
        let order =
            order_for(self.bytes[usize::from(kind)]).ok_or(LabError::Broken("an object of no order"))?;
        let phys = kernel.machine.alloc_pages(order, Gfp::ZERO)?;
        kernel.machine.preserve_folio(phys)?;
        self.orders.insert(phys, order);
        Ok(phys)
    }

    fn release(&mut self, kernel: &mut Kernel<'_, '_>, object: &Object) -> Result<(), LabError> {
        let order = self.orders.remove(&object.phys).ok_or(LabError::Broken("an object without pages"))?;
        kernel.machine.unpreserve_folio(object.phys)?;
        Ok(kernel.machine.free_pages(object.phys, order)?)
    }

    fn survey(&self, _kernel: &Kernel<'_, '_>) -> Survey {
        let region = |(&phys, &order): (&u64, &u32)| Region {
            phys,
            bytes: PAGE_BYTES << order,
            kind: RegionKind::Whole,
        };
        Survey { regions: self.orders.iter().map(region).collect(), allocatable_bytes: 0 }
    }
}
