//! A cache of their own for preserved objects.
//!
//! ```text
//!  not merged   | kept | kept | free | kept |         ordinary objects lie elsewhere
//!  merged       | kept | other | free | kept |        SLUB found a cache of like size and flags, and made them one
//! ```
//!
//! Who preserves objects makes a cache for them, `kmem_cache_create("preserved-...", size, 0, 0)`, whose slabs are preserved and come back with
//! the record of [`order_bitmap`](super::order_bitmap). It keeps ordinary objects off those pages as long as it is a cache of its own. SLUB
//! merges unless told not to, and says nothing.

use super::order_bitmap::{Recorded, find_lost, read_record};
use super::{Awake, Design, Object};
use crate::kernel::{Kernel, layout_of};
use crate::slub::merge::Flags;
use crate::survey::RegionKind;
use crate::{LabError, Workload};

/// The design.
pub struct SpecialCache {
    /// SLUB may merge it; otherwise the cache is made with `SLAB_NO_MERGE`.
    pub is_merged: bool,
}

impl Design for SpecialCache {
    fn name(&self) -> &'static str {
        if self.is_merged { "special-cache-merged" } else { "special-cache" }
    }

    fn title(&self) -> &'static str {
        if self.is_merged { "special cache, merged" } else { "special cache, not merged" }
    }

    fn wake(
        &self,
        kernel: &mut Kernel<'_, '_>,
        workload: &Workload,
        inherited: &[Object],
    ) -> Result<Awake, LabError> {
        let flags = if self.is_merged { Flags::default() } else { Flags::NO_MERGE };
        let caches = workload.kinds.iter().map(|kind| kernel.slub.create(layout_of(kind), flags)).collect();
        let records = read_record(kernel, false)?;
        let lost = find_lost(kernel, inherited);
        let kind = if self.is_merged { RegionKind::Shared } else { RegionKind::Apart };
        Ok(Awake { life: Box::new(Recorded { caches, records, kind }), lost })
    }
}
