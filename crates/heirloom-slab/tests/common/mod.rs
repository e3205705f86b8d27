//! A host over ordinary memory: one aligned region, control area first, blocks behind it.
//!
//! ```text
//! 0            control area (rounded up to blocks) | block | block | block ...
//! ```
#![allow(dead_code, reason = "each test uses its part")]
#![allow(unsafe_code, reason = "a host is a promise about memory")]

pub(crate) mod cut;

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use heirloom_abi::pool::Geometry;
use heirloom_slab::{Config, Contents, Cpu, Fault, Host, Pool, Scrub};

/// Looks at each byte; Miri, which is slow, at some.
const STRIDE: usize = if cfg!(miri) { 509 } else { 1 };

pub(crate) struct Region {
    base: NonNull<u8>,
    layout: Layout,
    geometry: Geometry,
    first: usize,
    taken: Mutex<Vec<bool>>,
    pub(crate) faults: Mutex<Vec<Fault>>,
    pub(crate) limit: Mutex<usize>,
}

// SAFETY: the memory is the region's own and is handed out by blocks.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

#[derive(Clone)]
pub(crate) struct TestHost(pub(crate) Arc<Region>);

impl TestHost {
    pub(crate) fn new(geometry: Geometry, nr_blocks: usize) -> Self {
        let block = geometry.block_bytes() as usize;
        let first = (geometry.control_bytes() as usize).div_ceil(block);
        let layout = Layout::from_size_align((first + nr_blocks) * block, block).unwrap();
        // SAFETY: the size is not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap();
        Self(Arc::new(Region {
            base,
            layout,
            geometry,
            first,
            taken: Mutex::new(vec![false; nr_blocks]),
            faults: Mutex::new(Vec::new()),
            limit: Mutex::new(nr_blocks),
        }))
    }

    /// The same memory seen by a successor, which knows of no block yet.
    pub(crate) fn successor(&self) -> Self {
        self.0.taken.lock().unwrap().fill(false);
        self.clone()
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.0.geometry
    }

    pub(crate) fn nr_blocks(&self) -> usize {
        self.0.taken.lock().unwrap().len()
    }

    pub(crate) fn nr_taken(&self) -> usize {
        self.0.taken.lock().unwrap().iter().filter(|&&taken| taken).count()
    }

    pub(crate) fn control_bytes(&self) -> u64 {
        self.0.first as u64 * self.0.geometry.block_bytes()
    }

    /// A copy of all bytes.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let mut copy = vec![0; self.0.layout.size()];
        // SAFETY: the region is initialised, and the copy is as long. No reference to the region is made, for a pool may
        // hold some of its own.
        unsafe { copy.as_mut_ptr().copy_from_nonoverlapping(self.0.base.as_ptr(), copy.len()) };
        copy
    }

    /// Writes bytes over what is there, as damage does or a repair.
    pub(crate) fn overwrite(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.0.layout.size());
        // SAFETY: it is within the region; as above.
        unsafe { self.0.base.as_ptr().add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// All bytes, for a test that damages them.
    ///
    /// # Safety
    ///
    /// No pool works on the memory meanwhile.
    #[expect(clippy::mut_from_ref, reason = "raw memory")]
    pub(crate) unsafe fn bytes(&self) -> &mut [u8] {
        // SAFETY: the region is initialised, and by the caller's promise ours alone.
        unsafe { std::slice::from_raw_parts_mut(self.0.base.as_ptr(), self.0.layout.size()) }
    }
}

// SAFETY: the region lives as long as any clone; blocks are marked as taken under the lock, and zeroed when given back.
unsafe impl Host for TestHost {
    fn base(&self) -> NonNull<u8> {
        self.0.base
    }

    fn take(&self, nr: u32) -> Option<u64> {
        self.take_with(nr, 0..0)
    }

    fn take_with(&self, nr: u32, any: Range<u64>) -> Option<u64> {
        let mut taken = self.0.taken.lock().unwrap();
        if taken.iter().filter(|&&taken| taken).count() + nr as usize > *self.0.limit.lock().unwrap() {
            return None;
        }
        let at = (0..=taken.len().checked_sub(nr as usize)?)
            .find(|&at| !taken[at..at + nr as usize].contains(&true))?;
        taken[at..at + nr as usize].fill(true);
        let block = self.0.geometry.block_bytes();
        let offset = (self.0.first + at) as u64 * block;
        // A pool that died, or whose table was damaged, may have left something here.
        // SAFETY: the blocks are in the region and nobody's.
        unsafe { hand_out(self.0.base, offset, u64::from(nr) * block, &any) };
        Some(offset)
    }

    fn extend(&self, offset: u64, nr: u32, more: u32) -> bool {
        let block = self.0.geometry.block_bytes();
        let at = (offset / block) as usize - self.0.first + nr as usize;
        let mut taken = self.0.taken.lock().unwrap();
        let nr_taken = taken.iter().filter(|&&taken| taken).count();
        let range = at..at + more as usize;
        let Some(next) = taken.get_mut(range.clone()) else { return false };
        if next.contains(&true) || nr_taken + more as usize > *self.0.limit.lock().unwrap() {
            return false;
        }
        next.fill(true);
        let from = (self.0.first + at) as u64 * block;
        // SAFETY: the blocks are in the region and nobody's.
        unsafe { self.0.base.as_ptr().add(from as usize).write_bytes(0, more as usize * block as usize) };
        true
    }

    fn give_back(&self, offset: u64, nr: u32) {
        let block = self.0.geometry.block_bytes();
        let at = (offset / block) as usize - self.0.first;
        // SAFETY: the blocks are in the region and nobody's.
        unsafe { self.0.base.as_ptr().add(offset as usize).write_bytes(0, nr as usize * block as usize) };
        let mut taken = self.0.taken.lock().unwrap();
        assert!(taken[at..at + nr as usize].iter().all(|&taken| taken));
        taken[at..at + nr as usize].fill(false);
    }

    fn give_back_dirty(&self, offset: u64, nr: u32, used: u64) {
        let block = self.0.geometry.block_bytes();
        let at = (offset / block) as usize - self.0.first;
        // SAFETY: the blocks are in the region and nobody's.
        let bytes = unsafe {
            let start = self.0.base.as_ptr().add(offset as usize);
            std::slice::from_raw_parts(start, nr as usize * block as usize)
        };
        let used = usize::try_from(used).unwrap().min(bytes.len());
        assert!(bytes[used..].iter().all(|&byte| byte == 0), "what is said to be zero is zero");
        // The bytes stay as they are.
        let mut taken = self.0.taken.lock().unwrap();
        assert!(taken[at..at + nr as usize].iter().all(|&taken| taken));
        taken[at..at + nr as usize].fill(false);
    }

    fn adopt(&self, offset: u64, nr: u32) -> bool {
        let at = (offset / self.0.geometry.block_bytes()) as usize;
        let mut taken = self.0.taken.lock().unwrap();
        let Some(at) = at.checked_sub(self.0.first) else { return false };
        let Some(range) = taken.get_mut(at..at.saturating_add(nr as usize)) else { return false };
        let free = !range.contains(&true);
        range.fill(true);
        free
    }

    fn pause(&self) {
        std::thread::yield_now();
    }

    fn report(&self, fault: Fault) {
        self.0.faults.lock().unwrap().push(fault);
    }
}

/// What a host hands out where a pool wants zeros but in `any`: there it gets what nobody would take for zeros.
///
/// # Safety
///
/// So many bytes from `offset` on are nobody's.
unsafe fn hand_out(base: NonNull<u8>, offset: u64, bytes: u64, any: &Range<u64>) {
    let (start, end) = (any.start.min(bytes), any.end.min(bytes));
    // SAFETY: by the caller.
    unsafe {
        let at = base.as_ptr().add(offset as usize);
        at.write_bytes(0, bytes as usize);
        at.add(start as usize).write_bytes(0xdb, end.saturating_sub(start) as usize);
    }
}

pub(crate) fn geometry() -> Geometry {
    Geometry::new(16, 32, 4, 64).unwrap()
}

pub(crate) fn new_pool(geometry: Geometry, nr_blocks: usize, scrub: Scrub) -> (TestHost, Pool<TestHost>) {
    let host = TestHost::new(geometry, nr_blocks);
    // SAFETY: the region starts with a zeroed control area.
    let pool = unsafe { Pool::format(host.clone(), 0, Config { geometry, scrub, pool_id: 7 }) }.unwrap();
    (host, pool)
}

pub(crate) fn restore(host: &TestHost) -> Pool<TestHost> {
    // SAFETY: the former pool is not used any more.
    unsafe { Pool::restore(host.successor(), 0, host.control_bytes()) }.unwrap()
}

/// An object of the model: where it is, how large, and what it is filled with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Object {
    pub(crate) offset: u64,
    pub(crate) size: usize,
    pub(crate) mark: u8,
}

pub(crate) fn alloc(pool: &Pool<TestHost>, cpu: Cpu<'_>, size: usize, mark: u8) -> Option<Object> {
    let (cache, contents) = (pool.cache_for(size, 16), contents(mark));
    let offset = match cache {
        Some(cache) => pool.alloc(cpu, cache).ok()?,
        None => pool.alloc_large(size as u64, contents).ok()?,
    };
    let at = pool.address(offset);
    // SAFETY: the object is ours, `size` bytes long.
    unsafe {
        let is_zeroed = cache.is_none() && contents == Contents::Zeroed;
        if pool.scrub() == Scrub::OnFree || is_zeroed || cache.is_none() {
            let room = pool.usable_bytes(size, 16);
            // Whatever a large object holds, what lies behind it is zero.
            let from = if pool.scrub() == Scrub::OnFree || is_zeroed { 0 } else { size };
            assert!(
                (from..room).step_by(STRIDE).all(|i| at.add(i).read() == 0),
                "a fresh object is all zeros"
            );
        }
        at.write_bytes(mark, size);
    }
    Some(Object { offset, size, mark })
}

/// What is asked for with an object that will be filled with `mark`: both kinds in turn.
pub(crate) fn contents(mark: u8) -> Contents {
    if mark & 1 == 0 { Contents::Zeroed } else { Contents::Any }
}

pub(crate) fn verify(pool: &Pool<TestHost>, object: Object) {
    let at = pool.address(object.offset);
    // SAFETY: the object is ours.
    let whole = unsafe { (0..object.size).step_by(STRIDE).all(|i| at.add(i).read() == object.mark) };
    assert!(whole, "an object keeps its bytes: {object:?}");
}

pub(crate) fn free(pool: &Pool<TestHost>, cpu: Cpu<'_>, object: Object) {
    verify(pool, object);
    // SAFETY: the object is ours, and nothing was written beyond its size.
    unsafe {
        match pool.cache_for(object.size, 16) {
            Some(cache) => pool.free(cpu, cache, object.offset, object.size),
            None => pool.free_large(object.offset),
        }
    }
}

/// Resizes a large object where it is, and marks the bytes that it gained; false where it must have moved.
pub(crate) fn resize(pool: &Pool<TestHost>, object: &mut Object, size: usize) -> bool {
    verify(pool, *object);
    let at = pool.address(object.offset);
    // SAFETY: the object is ours; what a shrink drops is zeroed, as the caller owes.
    unsafe {
        if size < object.size {
            at.add(size).write_bytes(0, object.size - size);
        }
        let contents = contents(object.mark);
        if !pool.resize_large(object.offset, size as u64, contents) {
            if size < object.size {
                at.add(size).write_bytes(object.mark, object.size - size);
            }
            return false;
        }
        if size > object.size {
            let is_zeroed = pool.scrub() == Scrub::OnFree || contents == Contents::Zeroed;
            let fresh = (object.size..size).step_by(STRIDE).all(|i| at.add(i).read() == 0);
            assert!(fresh || !is_zeroed, "what an object gains is all zeros: {object:?} to {size}");
            at.add(object.size).write_bytes(object.mark, size - object.size);
        }
    }
    object.size = size;
    true
}

/// Runs every check; nothing may be broken.
pub(crate) fn check(pool: &Pool<TestHost>, scan: bool) -> heirloom_abi::pool::Tally {
    pool.check(scan && !cfg!(miri), |broken| panic!("{broken}"))
}

/// Numbers that are the same for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
