//! Objects that stay where SLUB put them: the slab's pages are preserved while any object on it is.

use heirloom_mm::PAGE_BYTES;

use super::Object;
use crate::LabError;
use crate::kernel::Kernel;
use crate::slub::CacheId;
use crate::survey::{Region, RegionKind, Survey};

/// An allocation that the guard pool served is made again, and it has a turn only now and then.
const MAX_TRIES: u32 = 64;

/// Allocates an object and preserves its slab.
///
/// Where the guard pool served it, preserving is refused, for that page may be the successor's to overwrite: the caller has to allocate
/// another, and copy.
pub(super) fn keep(kernel: &mut Kernel<'_, '_>, cache: CacheId) -> Result<u64, LabError> {
    for _ in 0..MAX_TRIES {
        let phys = kernel.alloc(cache)?;
        if kernel.is_guarded(phys) {
            let page = phys & !(PAGE_BYTES - 1);
            if kernel.machine.preserve_pages(&(page..page + PAGE_BYTES)).is_ok() {
                return Err(LabError::Broken("a page of the guard pool was preserved"));
            }
            kernel.hits.data += 1;
            kernel.free(phys)?;
            continue;
        }
        if let Some(head) = kernel.slub.keep(phys)? {
            kernel.machine.preserve_folio(head)?;
        }
        return Ok(phys);
    }
    Err(LabError::Broken("the guard pool served every allocation"))
}

/// Frees an object, and unpreserves its slab if it was the last one.
pub(super) fn release(kernel: &mut Kernel<'_, '_>, object: &Object) -> Result<(), LabError> {
    if let Some(head) = kernel.slub.unkeep(object.phys)? {
        kernel.machine.unpreserve_folio(head)?;
    }
    kernel.free(object.phys)
}

/// Sums the preserved slabs up.
pub(super) fn survey(kernel: &Kernel<'_, '_>, kind: RegionKind) -> Survey {
    let mut survey = Survey::default();
    for (slab, layout) in kernel.slub.slabs().filter(|(slab, _)| slab.nr_kept() > 0) {
        survey.regions.push(Region { phys: slab.phys, bytes: PAGE_BYTES << layout.order, kind });
        survey.allocatable_bytes += u64::from(slab.nr_free()) * layout.slot_bytes;
    }
    survey
}
