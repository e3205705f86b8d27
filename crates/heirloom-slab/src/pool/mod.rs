//! The preserve pool: blocks from the host, slabs cut from them, caches over the slabs.
//!
//! ```text
//! alloc ---> magazine of this CPU --empty--> refill: slab with room that this CPU owns
//!               |                                    else slabs that others freed into
//!               v                                    else a slab without an owner (inherited, or its thread ended)
//!             slot                                   else a new slab from a block with room
//!                                                    else slabs that another CPU owns (before the pool grows)
//! free ----> magazine of this CPU --full---> flush   else a new block from the host
//! ```
//!
//! Locks are taken in one order: a CPU's, then the pool's; another CPU's only by trying.

mod blocks;
mod cpus;
mod flush;
mod format;
mod freeze;
mod held;
mod idle;
mod large;
mod lookup;
pub(crate) mod records;
mod recover;
mod refill;
mod restore;
mod slabs;
mod width;

pub use format::{Config, FormatError, Scrub};
pub use large::Contents;
pub use lookup::Found;
pub use recover::Recovered;
pub use restore::RestoreError;

use core::ptr::NonNull;

use heirloom_abi::pool::{Geometry, PoolError, PoolReader, Tally};

use crate::cpu::{Cpu, Magazines};
use crate::host::Host;
use crate::memory::{Arena, Reader};
use crate::size_class::{class_bytes, class_of};
use crate::sync::{self, AtomicU32, Ordering::*};

/// The pool has no memory left for this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory: no room for {bytes} bytes")]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub bytes: u64,
}

/// A cache of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheId(pub u32);

/// A pool of preserved blocks over a host.
pub struct Pool<H: Host> {
    pub(crate) host: H,
    pub(crate) arena: Arena,
    pub(crate) geometry: Geometry,
    pub(crate) scrub: Scrub,
    /// Size classes of this pool: the first caches.
    nr_classes: usize,
    /// Taken for the block table, units of blocks, CPU slots and new caches.
    pub(crate) lock: AtomicU32,
    /// For each kind of run, entries below this have no room (see `blocks`).
    pub(crate) room: [AtomicU32; blocks::NR_HINTS],
    /// No entry of the block table below this is vacant.
    pub(crate) vacant: core::sync::atomic::AtomicU32,
    /// Blocks without any slab or object.
    pub(crate) nr_empty: AtomicU32,
    /// How many of them are kept, beside one.
    pub(crate) spare_blocks: AtomicU32,
    /// What all magazines may hold beyond what they did at first (see `width`).
    pub(crate) wider_bytes: core::sync::atomic::AtomicU64,
    /// Units of the slabs that stand on a CPU's list and have all their slots.
    pub(crate) idle_units: core::sync::atomic::AtomicU64,
    /// Whether the block table may have idle slabs that nobody owns (see `idle`).
    pub(crate) may_have_ownerless: core::sync::atomic::AtomicBool,
}

impl<H: Host> Pool<H> {
    /// The numbers that the pool is laid out by.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// When free slots are zeroed.
    pub fn scrub(&self) -> Scrub {
        self.scrub
    }

    /// The host.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// The cache that serves `size` bytes at `align`; `None` where such an object gets a run of units.
    #[inline(always)]
    pub fn cache_for(&self, size: usize, align: usize) -> Option<usize> {
        if align > 16 {
            return self.cache_for_aligned(size, align);
        }
        let class = class_of(size);
        if class < self.nr_classes { Some(class) } else { None }
    }

    #[cold]
    fn cache_for_aligned(&self, size: usize, align: usize) -> Option<usize> {
        let mut class = class_of(size.max(align));
        // The next power of two is a class, so this ends within four steps.
        while class < self.nr_classes && class_bytes(class) % align != 0 {
            class += 1;
        }
        (class < self.nr_classes).then_some(class)
    }

    /// Bytes that an object of this size and alignment may use in place: its slot, its run of units, or its run of
    /// blocks without their one header.
    #[inline]
    pub fn usable_bytes(&self, size: usize, align: usize) -> usize {
        match self.cache_for(size, align) {
            Some(class) => class_bytes(class),
            None => self.usable_large_bytes(size),
        }
    }

    #[cold]
    fn usable_large_bytes(&self, size: usize) -> usize {
        let (unit, block) = (self.geometry.unit_bytes(), self.geometry.block_bytes());
        let header = u64::from(self.geometry.header_units()) * unit;
        let size = size as u64;
        let usable = if size <= block - header {
            size.checked_next_multiple_of(unit)
        } else {
            size.checked_add(header)
                .and_then(|all| all.checked_next_multiple_of(block))
                .map(|all| all - header)
        };
        usable.unwrap_or(size) as usize
    }

    /// The magazines of `cpu`'s size classes.
    pub fn magazines<'a>(&self, cpu: Cpu<'a>) -> Magazines<'a> {
        cpu.magazines(self.nr_classes)
    }

    /// Allocates a slot of `cache`: its offset. Under [`Scrub::OnFree`] all its bytes are zero.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`]; nothing changed, and it may work after a free.
    #[inline(always)]
    pub fn alloc(&self, cpu: Cpu<'_>, cache: usize) -> Result<u64, OutOfMemory> {
        match cpu.caches[cache].pop() {
            Some(slot) => Ok(slot),
            None => self.refill(cpu, cache),
        }
    }

    /// Gives a slot back.
    ///
    /// # Safety
    ///
    /// - `offset` came from [`Pool::alloc`] with this cache, of this pool in this or an earlier generation, and was
    ///   not given back since.
    /// - Nobody reads or writes the slot any more, and all its bytes from `used` on are zero.
    /// - `cpu` is the calling thread's.
    #[inline(always)]
    #[expect(unsafe_code, reason = "the slot is the caller's until now")]
    pub unsafe fn free(&self, cpu: Cpu<'_>, cache: usize, offset: u64, used: usize) {
        if self.scrub == Scrub::OnFree {
            // SAFETY: the slot is the caller's alone, and `used` is within it.
            unsafe { self.arena.zero(offset, used as u64) };
        }
        if !cpu.caches[cache].push(offset) {
            self.flush(cpu, cache, offset);
        }
    }

    /// Address of an offset of this pool.
    #[inline(always)]
    pub fn address(&self, offset: u64) -> *mut u8 {
        self.arena.address(offset)
    }

    /// Offset of an address in this pool.
    #[inline(always)]
    pub fn offset(&self, address: NonNull<u8>) -> u64 {
        (address.as_ptr().addr() - self.host.base().as_ptr().addr()) as u64
    }

    /// Checks every invariant of the pool as it lies in memory, and sums it up; `scan` reads every free byte too.
    ///
    /// # Panics
    ///
    /// Never; what is wrong goes to `broken`.
    pub fn check(&self, scan: bool, broken: impl FnMut(PoolError)) -> Tally {
        self.with_reader(|reader| reader.map(|reader| reader.check(scan, broken)).unwrap_or_default())
    }

    /// Runs `read` on a reader of this pool's records.
    pub(crate) fn with_reader<T>(
        &self,
        read: impl FnOnce(Result<PoolReader<'_, Reader<'_>>, PoolError>) -> T,
    ) -> T {
        // Everything that the records of a running pool name is memory: they were checked when it was restored.
        let memory = Reader { arena: &self.arena, within: 0..u64::MAX };
        let control = self.arena.control();
        read(PoolReader::open(&memory, control))
    }

    /// Entries of the block table that were ever in use.
    pub fn nr_block_entries(&self) -> u32 {
        self.nr_blocks() as u32
    }

    /// CPU slots that were ever in use.
    pub fn nr_cpu_slots(&self) -> u32 {
        self.nr_cpus()
    }

    pub(crate) fn nr_blocks(&self) -> usize {
        (self.arena.record().nr_blocks.load(Acquire) as usize).min(self.arena.blocks().len())
    }

    pub(crate) fn nr_cpus(&self) -> u32 {
        self.arena.record().nr_cpus.load(Acquire).min(self.geometry.max_cpus)
    }

    pub(crate) fn nr_caches(&self) -> usize {
        (self.arena.record().nr_caches.load(Acquire) as usize).min(self.arena.caches().len())
    }

    pub(crate) fn lock(&self) -> PoolLock<'_> {
        sync::lock(&self.lock, || self.host.pause());
        PoolLock(&self.lock)
    }
}

/// The pool's lock, held.
pub(crate) struct PoolLock<'a>(&'a AtomicU32);

impl Drop for PoolLock<'_> {
    fn drop(&mut self) {
        self.0.store(0, Release);
    }
}
