//! The original bug: the root of the preserved-memory map comes from `kzalloc`, and the guard pool serves it now and then.
//!
//! Otherwise a page for each object, as Linux had it then. On a kernel that was itself started by a handover the guard pool lies in scratch, and
//! the next kernel zeroes it for a guard pool of its own before it reads the map: an all-zero root reads as "nothing was
//! preserved".

use heirloom_mm::{GuardOptions, Options, Policy};

use super::page_each::PageEach;
use super::{Awake, Design, Object};
use crate::kernel::Kernel;
use crate::{LabError, Workload};

/// The design.
pub struct KzallocMetadata;

impl Design for KzallocMetadata {
    fn name(&self) -> &'static str {
        "kzalloc-metadata"
    }

    fn title(&self) -> &'static str {
        "the bug: kzalloc metadata"
    }

    fn options(&self, base: Options, is_root_sampled: bool) -> Options {
        let policy = Policy { root_from_slab: true, guard_in_scratch: true, unchecked: true };
        let guard = GuardOptions { every: u32::from(is_root_sampled), ..base.guard };
        Options { policy, guard, preserve_blocks: 0, ..base }
    }

    fn wake(
        &self,
        kernel: &mut Kernel<'_, '_>,
        workload: &Workload,
        inherited: &[Object],
    ) -> Result<Awake, LabError> {
        PageEach.wake(kernel, workload, inherited)
    }
}
