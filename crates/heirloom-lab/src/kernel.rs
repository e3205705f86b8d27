//! A kernel: the hosted machine with the lab's SLUB on top, and the guard pool's turn now and then.
#![expect(unsafe_code, reason = "gives an object of the guard pool back")]

use heirloom_mm::hosted::Hardware;
use heirloom_mm::{Gfp, Machine};

use crate::LabError;
use crate::ram::Ram;
use crate::slub::merge::Flags;
use crate::slub::{CacheId, Layout, Pages, Slub};
use crate::workload::Workload;

/// How often the guard pool served what it must not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardHits {
    /// Objects that were to be preserved: refused when that was asked, and allocated again.
    pub data: u64,
    /// The root of the preserved-memory map.
    pub metadata: u64,
}

/// One generation's kernel.
pub struct Kernel<'k, 'm> {
    /// Its machine.
    pub machine: &'k Machine<'m, Hardware>,
    /// Its caches.
    pub slub: Slub,
    /// The cache of each kind of the workload.
    pub caches: Vec<CacheId>,
    /// What the guard pool served.
    pub hits: GuardHits,
    pub(crate) ram: Ram<'m>,
    /// The guard pool serves each so many-th allocation; 0: none.
    guard_every: u64,
    nr_asked: u64,
}

/// The machine's pages.
struct MachinePages<'k, 'm>(&'k Machine<'m, Hardware>);

impl Pages for MachinePages<'_, '_> {
    fn take(&mut self, order: u32) -> Result<u64, LabError> {
        Ok(self.0.alloc_pages(order, Gfp::empty())?)
    }

    fn give_back(&mut self, phys: u64, order: u32) -> Result<(), LabError> {
        Ok(self.0.free_pages(phys, order)?)
    }
}

impl<'k, 'm> Kernel<'k, 'm> {
    /// Sets up the caches of a kernel: those of the workload, in its order.
    pub(crate) fn new(
        machine: &'k Machine<'m, Hardware>,
        ram: Ram<'m>,
        workload: &Workload,
        guard_every: u32,
    ) -> Self {
        let mut slub = Slub::default();
        // What merged among them is one line of the table already.
        let caches = workload.kinds.iter().map(|kind| {
            let flags = Flags::of_name(&kind.cache.name);
            slub.create_apart(layout_of(kind), flags)
        });
        let caches = caches.collect();
        Self {
            machine,
            slub,
            caches,
            hits: GuardHits::default(),
            ram,
            guard_every: guard_every.into(),
            nr_asked: 0,
        }
    }

    /// Allocates an object of a cache as `kmem_cache_alloc` does: from the guard pool if it is its turn.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub fn alloc(&mut self, cache: CacheId) -> Result<u64, LabError> {
        self.nr_asked += 1;
        if self.guard_every != 0
            && self.nr_asked.is_multiple_of(self.guard_every)
            && let Some(phys) = self.sample(cache)
        {
            return Ok(phys);
        }
        self.alloc_unsampled(cache)
    }

    /// The same, never from the guard pool.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub fn alloc_unsampled(&mut self, cache: CacheId) -> Result<u64, LabError> {
        self.slub.alloc(cache, &mut MachinePages(self.machine))
    }

    /// Frees an object, wherever it came from.
    ///
    /// # Errors
    ///
    /// No object is there.
    pub fn free(&mut self, phys: u64) -> Result<(), LabError> {
        if self.is_guarded(phys) {
            return self.free_of_machine(phys);
        }
        self.slub.free(phys, &mut MachinePages(self.machine))
    }

    /// True for an address in the guard pool.
    pub fn is_guarded(&self, phys: u64) -> bool {
        self.machine.guard().is_some_and(|guard| guard.contains(phys))
    }

    /// Frees an object of the machine's own: of its guard pool or its preserve pool.
    ///
    /// # Errors
    ///
    /// No object is there.
    pub(crate) fn free_of_machine(&self, phys: u64) -> Result<(), LabError> {
        let object =
            std::ptr::NonNull::new(self.machine.address(phys)).ok_or(LabError::Broken("a null object"))?;
        // SAFETY: objects are known to the lab by their addresses alone; this one is taken off its books with the call.
        Ok(unsafe { self.machine.free(object) }?)
    }

    /// Has the guard pool serve an object. The machine's own sampling is set to every allocation, and the lab asks it only now.
    fn sample(&mut self, cache: CacheId) -> Option<u64> {
        let bytes = self.slub.layout(cache)?.slot_bytes;
        if bytes > heirloom_mm::PAGE_BYTES {
            return None;
        }
        let phys = self.machine.phys(self.machine.alloc(bytes as usize, Gfp::empty()).ok()?);
        if self.is_guarded(phys) {
            return Some(phys);
        }
        // All its pages are in use.
        self.free_of_machine(phys).ok()?;
        None
    }
}

/// How the slabs of a kind are laid out.
pub(crate) fn layout_of(kind: &crate::workload::Kind) -> Layout {
    let cache = &kind.cache;
    Layout { slot_bytes: cache.slot_bytes, slots: cache.slots, order: cache.order }
}
