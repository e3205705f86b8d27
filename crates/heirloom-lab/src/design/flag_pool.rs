//! A flag and a pool: `Gfp::PRESERVE`, Heirloom's.
//!
//! ```text
//!  alloc(size, PRESERVE) -> preserve pool: blocks of 64 KiB, each preserved from the moment it is taken, with its own records
//!  | records | kept | kept | zeros | kept | ... |            no ordinary object, no guard pool, free slots all zeros
//! ```
//!
//! The machine's own: it restores the pool while it boots. The record *is* the running state, so a freeze writes no list.

use heirloom_abi::pool::PoolReader;
use heirloom_mm::kho::POOL_NODE;
use heirloom_mm::slab::{Cache, CacheFlags};
use heirloom_mm::{Gfp, Options};

use super::{Awake, Design, Life, Object};
use crate::kernel::Kernel;
use crate::survey::{Region, RegionKind, Survey};
use crate::{LabError, Workload};

/// Bytes of a name that a cache of the machine may have.
const NAME_BYTES: usize = 31;

/// The design.
pub struct FlagPool;

impl Design for FlagPool {
    fn name(&self) -> &'static str {
        "flag-and-pool"
    }

    fn title(&self) -> &'static str {
        "flag and pool"
    }

    fn options(&self, base: Options, _is_root_sampled: bool) -> Options {
        base
    }

    fn wake(
        &self,
        kernel: &mut Kernel<'_, '_>,
        workload: &Workload,
        inherited: &[Object],
    ) -> Result<Awake, LabError> {
        let sources =
            workload.kinds.iter().map(|kind| source_of(kernel, &kind.cache.name, kind.cache.slot_bytes));
        let pool = Pool { sources: sources.collect() };
        // The boot has taken the pool over, or the machine would not run: what is looked at is whether each object is one.
        let is_lost = |object: &&Object| !kernel.machine.is_preserved_object(object.phys);
        let lost = inherited.iter().filter(is_lost).map(|object| object.id).collect();
        Ok(Awake { life: Box::new(pool), lost })
    }
}

/// Where objects of a kind come from.
enum Source {
    /// `kmalloc(size, GFP_PRESERVE)`.
    Kmalloc(usize),
    /// A named cache.
    Named(Cache),
}

/// A named cache for each kind that has one in the real kernel. Objects too large for a slab of the pool are runs of pages.
fn source_of(kernel: &Kernel<'_, '_>, name: &str, bytes: u64) -> Source {
    let kmalloc = Source::Kmalloc(bytes as usize);
    if name.starts_with("kmalloc") {
        return kmalloc;
    }
    let name = &name[..name.len().min(NAME_BYTES)];
    kernel.machine.create_cache(name, bytes as usize, 8, CacheFlags::PRESERVE).map_or(kmalloc, Source::Named)
}

struct Pool {
    sources: Vec<Source>,
}

impl Life for Pool {
    fn keep(&mut self, kernel: &mut Kernel<'_, '_>, kind: u16) -> Result<u64, LabError> {
        let machine = kernel.machine;
        let object = match self.sources[usize::from(kind)] {
            Source::Kmalloc(bytes) => machine.alloc(bytes, Gfp::PRESERVE)?,
            Source::Named(cache) => machine.alloc_from(cache, Gfp::PRESERVE)?,
        };
        Ok(machine.phys(object))
    }

    fn release(&mut self, kernel: &mut Kernel<'_, '_>, object: &Object) -> Result<(), LabError> {
        kernel.free_of_machine(object.phys)
    }

    fn survey(&self, kernel: &Kernel<'_, '_>) -> Survey {
        let mut survey = Survey::default();
        // Read from outside, as any tool would: by the records in the memory itself.
        let Ok(control) = kernel.machine.retrieve(POOL_NODE) else { return survey };
        let Ok(reader) = PoolReader::open(&kernel.ram, control.data) else { return survey };
        survey.regions.push(Region {
            phys: control.data,
            bytes: control.size_bytes,
            kind: RegionKind::Records,
        });
        let geometry = reader.geometry();
        let header = u64::from(geometry.header_units()) << geometry.unit_shift;
        for block in (0..reader.nr_blocks()).filter_map(|index| reader.block(index).ok().flatten()) {
            let bytes = u64::from(block.run) * geometry.block_bytes();
            survey.regions.push(Region { phys: block.offset, bytes: header, kind: RegionKind::Records });
            let rest = Region { phys: block.offset + header, bytes: bytes - header, kind: RegionKind::Apart };
            survey.regions.push(rest);
        }
        let tally = reader.check(false, |_| {});
        // Free slots and free units: what is neither a header, nor live, nor left over.
        survey.allocatable_bytes =
            tally.pool_bytes - tally.metadata_bytes - tally.live_bytes - tally.stranded_bytes;
        survey
    }
}
