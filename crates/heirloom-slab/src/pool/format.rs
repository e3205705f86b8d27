//! Laying out a new pool in zeroed memory.

use heirloom_abi::pool::{
    CACHE_MERGEABLE, COMPATIBLE, Geometry, GeometryError, MAGAZINE_SLOTS, MIN_MAGAZINE,
};
use xxhash_rust::xxh64::xxh64;

use super::{CacheId, Pool};
use crate::host::Host;
use crate::memory::Arena;
use crate::size_class::{MAX_CLASSES, class_bytes};
use crate::sync::{AtomicU32, Ordering::*};

/// When free slots are zeroed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Scrub {
    /// On each free: free slots are all zeros always, and zeroed allocation costs nothing.
    #[default]
    OnFree,
    /// At the freeze: frees are faster, the freeze is longer.
    AtFreeze,
}

/// What a new pool is to be.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Its layout.
    pub geometry: Geometry,
    /// When free slots are zeroed.
    pub scrub: Scrub,
    /// A random number that every block will carry.
    pub pool_id: u64,
}

/// Why a pool was not laid out, or a cache not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The geometry is out of range.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// There are too few caches for the size classes.
    #[error("{0} caches are too few: the size classes alone need {1}")]
    TooFewCaches(u32, u32),
    /// The table of caches is full.
    #[error("the pool's {0} caches are all in use")]
    CachesFull(u32),
    /// A slot size or alignment that no slab can serve.
    #[error("a slot of {size} bytes aligned to {align} does not fit a slab")]
    Slot {
        /// Bytes asked for.
        size: usize,
        /// Alignment asked for.
        align: usize,
    },
}

impl<H: Host> Pool<H> {
    /// Lays out a new pool: its control area lies at `control`, its blocks come from the host.
    ///
    /// # Errors
    ///
    /// [`FormatError::Geometry`], [`FormatError::TooFewCaches`].
    ///
    /// # Safety
    ///
    /// `host.base() + control` starts `config.geometry.control_bytes()` bytes, aligned to a page, all zeros, that are
    /// the pool's alone for as long as it lives.
    #[expect(unsafe_code, reason = "the control area is the caller's promise")]
    pub unsafe fn format(host: H, control: u64, config: Config) -> Result<Self, FormatError> {
        config.geometry.check()?;
        let nr_classes = classes(&config.geometry);
        if config.geometry.max_caches < nr_classes as u32 {
            return Err(FormatError::TooFewCaches(config.geometry.max_caches, nr_classes as u32));
        }
        // SAFETY: by the caller's promise and the check above.
        let arena = unsafe { Arena::new(host.base(), control, config.geometry) };
        let pool = Self::assemble(host, arena, config.geometry, config.scrub);
        pool.write_identity(control, &config);
        for class in 0..nr_classes {
            let mut name = [0; 32];
            write_class_name(&mut name, class_bytes(class));
            pool.write_cache(class, &name, class_bytes(class), 16, CACHE_MERGEABLE);
        }
        let record = pool.arena.record();
        record.next_tenure.store(1, Relaxed);
        record.nr_caches.store(nr_classes as u32, Release);
        Ok(pool)
    }

    pub(super) fn assemble(host: H, arena: Arena, geometry: Geometry, scrub: Scrub) -> Self {
        Self {
            host,
            arena,
            geometry,
            scrub,
            nr_classes: classes(&geometry),
            lock: AtomicU32::new(0),
            room: core::array::from_fn(|_| AtomicU32::new(0)),
            vacant: core::sync::atomic::AtomicU32::new(0),
            nr_empty: AtomicU32::new(0),
            spare_blocks: AtomicU32::new(0),
            wider_bytes: core::sync::atomic::AtomicU64::new(0),
            idle_units: core::sync::atomic::AtomicU64::new(0),
            may_have_ownerless: core::sync::atomic::AtomicBool::new(false),
        }
    }

    fn write_identity(&self, control: u64, config: &Config) {
        let mut bytes = [0u8; 64];
        bytes[..16].copy_from_slice(&COMPATIBLE);
        let geometry = config.geometry;
        let scrub = (config.scrub == Scrub::AtFreeze) as u32;
        let small = [
            geometry.block_shift,
            geometry.unit_shift,
            geometry.max_caches,
            geometry.max_cpus,
            geometry.max_blocks,
            scrub,
        ];
        for (i, value) in small.into_iter().enumerate() {
            bytes[16 + 4 * i..][..4].copy_from_slice(&value.to_le_bytes());
        }
        bytes[40..48].copy_from_slice(&config.pool_id.to_le_bytes());
        bytes[48..56].copy_from_slice(&control.to_le_bytes());
        let checksum = xxh64(&bytes[..56], 0);
        bytes[56..].copy_from_slice(&checksum.to_le_bytes());
        for (word, chunk) in self.arena.record().identity.iter().zip(bytes.chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(chunk);
            word.store(u64::from_le_bytes(eight), Relaxed);
        }
    }

    /// Makes a cache of its own for objects of one kind. It never merges with another. Made again under the same
    /// name, size and alignment, it is the same cache: that is how a successor finds it.
    ///
    /// # Errors
    ///
    /// [`FormatError::Slot`], [`FormatError::CachesFull`].
    pub fn create_cache(&self, name: &str, size: usize, align: usize) -> Result<CacheId, FormatError> {
        let align = align.max(16);
        let slot = size.max(1).checked_next_multiple_of(align).unwrap_or(usize::MAX);
        if !align.is_power_of_two() || slot as u64 > self.geometry.max_slot_bytes() {
            return Err(FormatError::Slot { size, align });
        }
        let mut padded = [0; 32];
        let len = name.len().min(31);
        padded[..len].copy_from_slice(&name.as_bytes()[..len]);
        let _guard = self.lock();
        let nr = self.nr_caches();
        for index in self.nr_classes..nr {
            let view = self.with_reader(|reader| reader.and_then(|reader| reader.cache(index as u32)));
            if view.is_ok_and(|view| view.name == padded && view.slot_bytes as usize == slot) {
                return Ok(CacheId(index as u32));
            }
        }
        if nr >= self.geometry.max_caches as usize {
            return Err(FormatError::CachesFull(self.geometry.max_caches));
        }
        self.write_cache(nr, &padded, slot, align, 0);
        // CPUs that are at work get its magazine here, later ones when they come.
        for index in 0..self.nr_cpus() {
            let mine = &self.arena.cpu(index).caches[nr];
            mine.reset();
            mine.open(self.arena.caches()[nr].magazine.load(Relaxed));
        }
        self.arena.record().nr_caches.store(nr as u32 + 1, Release);
        Ok(CacheId(nr as u32))
    }

    fn write_cache(&self, index: usize, name: &[u8; 32], slot: usize, align: usize, flags: u32) {
        let cache = &self.arena.caches()[index];
        for (word, chunk) in cache.name.iter().zip(name.chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(chunk);
            word.store(u64::from_le_bytes(eight), Relaxed);
        }
        let order = self.geometry.slab_order(slot as u64);
        cache.slot_bytes.store(slot as u32, Relaxed);
        cache.align.store(align as u32, Relaxed);
        cache.slab_order.store(order, Relaxed);
        cache.nr_slots.store(self.geometry.slab_slots(slot as u64, order), Relaxed);
        cache.magazine.store(magazine_capacity(slot, self.geometry.block_bytes()), Relaxed);
        cache.flags.store(flags, Relaxed);
        cache.orphan_stamp.store(1, Release);
    }
}

/// Slots that a magazine holds: a quarter of a block, so that what it holds back stays small, but no fewer than eight.
fn magazine_capacity(slot: usize, block_bytes: u64) -> u32 {
    (block_bytes / 4 / slot as u64).clamp(MIN_MAGAZINE.into(), MAGAZINE_SLOTS as u64) as u32
}

pub(super) fn classes(geometry: &Geometry) -> usize {
    (0..MAX_CLASSES).take_while(|&class| class_bytes(class) as u64 <= geometry.max_slot_bytes()).count()
}

fn write_class_name(name: &mut [u8; 32], size: usize) {
    let mut digits = [0; 20];
    let mut len = 0;
    let mut rest = size;
    while rest > 0 {
        digits[len] = b'0' + (rest % 10) as u8;
        rest /= 10;
        len += 1;
    }
    name[..5].copy_from_slice(b"slot-");
    for (to, from) in name[5..].iter_mut().zip(digits[..len].iter().rev()) {
        *to = *from;
    }
}
