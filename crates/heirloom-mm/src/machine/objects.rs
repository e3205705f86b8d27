//! `alloc`, `free`, named caches.
#![expect(unsafe_code, reason = "a freed object is the caller's until then")]

use core::panic::Location;
use core::ptr::NonNull;

use heirloom_slab::{Contents, Pool};

use super::Machine;
use crate::buddy::{Owner, State};
use crate::gfp::Gfp;
use crate::kfence::GuardFree;
use crate::platform::Platform;
use crate::slab::{BlockHost, Cache, CacheError, CacheFlags, kmalloc_bytes};

/// No object was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocError {
    /// There is no memory.
    #[error("out of memory: no room for {bytes} bytes")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// Somebody has the machine's lock, and the request may not wait.
    #[error("the request may not wait, and the machine is in use")]
    WouldWait,
    /// The machine is frozen: what is preserved must not change any more.
    #[error("the machine is frozen")]
    Frozen,
    /// There is no preserve pool, or the cache was made without [`CacheFlags::PRESERVE`].
    #[error("nothing here serves Gfp::PRESERVE")]
    NoPreservePool,
    /// Objects do not move: [`Gfp::MOVABLE`] is for whole pages.
    #[error("Gfp::MOVABLE is for whole pages")]
    Movable,
    /// There is no such cache.
    #[error("there is no such cache")]
    NoCache,
}

/// An object was not freed; nothing changed but what [`GuardFree::Damaged`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FreeError {
    /// The address is in no block of a pool.
    #[error("{phys:#x} is no object's address")]
    NoObject {
        /// The physical address.
        phys: u64,
    },
    /// The address is inside an object, not its start.
    #[error("{phys:#x} is inside the object at {start:#x}")]
    Inside {
        /// The physical address.
        phys: u64,
        /// Where the object starts.
        start: u64,
    },
    /// The object is free already.
    #[error("the object at {phys:#x} is free already")]
    Twice {
        /// The physical address.
        phys: u64,
    },
    /// A subtree's blob: remove the subtree first.
    #[error("the object at {phys:#x} is the blob of a subtree: remove that first")]
    InUse {
        /// The physical address.
        phys: u64,
    },
    /// The object was freed, but the bytes around it had been changed; the guard pool's report says more.
    #[error("the object at {phys:#x} was freed, and the bytes around it had been changed")]
    Damaged {
        /// The physical address.
        phys: u64,
    },
    /// The machine is frozen: what is preserved must not change any more.
    #[error("the machine is frozen")]
    Frozen,
}

impl<'m, P: Platform> Machine<'m, P> {
    /// Allocates `size` bytes (0 is served as 1), aligned to 16. With [`Gfp::PRESERVE`] from the preserve pool, never sampled; without,
    /// from the ordinary pool, or from the guard pool now and then. [`Gfp::ATOMIC`] waits for nobody and has nothing reclaimed.
    ///
    /// An object of the guard pool is aligned to what its size asks for: a power of two up to 16 that divides it.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing changed.
    #[track_caller]
    pub fn alloc(&self, size: usize, gfp: Gfp) -> Result<NonNull<u8>, AllocError> {
        let location = Location::caller();
        let _guard = self.enter_for(gfp)?;
        let bytes = kmalloc_bytes(size, gfp.contains(Gfp::PRESERVE));
        let cache = |pool: &Pool<BlockHost<'m, P>>| pool.cache_for(bytes, 16);
        self.alloc_inside(size, bytes, natural_align(size), gfp, location, cache)
    }

    /// Allocates an object of a named cache, in either pool.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing changed.
    #[track_caller]
    pub fn alloc_from(&self, cache: Cache, gfp: Gfp) -> Result<NonNull<u8>, AllocError> {
        let location = Location::caller();
        let _guard = self.enter_for(gfp)?;
        let named = *self.caches.borrow().get(cache).ok_or(AllocError::NoCache)?;
        let is_preserved = gfp.contains(Gfp::PRESERVE);
        let index = if is_preserved { named.preserved } else { Some(named.ordinary) };
        let index = index.ok_or(AllocError::NoPreservePool)?;
        let align = named.align().max(natural_align(named.size()));
        self.alloc_inside(named.size(), named.size(), align, gfp, location, |_| Some(index))
    }

    /// Makes a cache for objects of `size` bytes at `align`, or finds it under its name. Ordinary caches of like size and
    /// flags are one; with [`CacheFlags::PRESERVE`] it has a side in the preserve pool too, which is its own.
    ///
    /// # Errors
    ///
    /// [`CacheError`].
    pub fn create_cache(
        &self,
        name: &str,
        size: usize,
        align: usize,
        flags: CacheFlags,
    ) -> Result<Cache, CacheError> {
        use crate::slab::Choice;
        let _guard = self.enter();
        let mut caches = self.caches.borrow_mut();
        if let Some(cache) = caches.find(name, size, align, flags)? {
            return Ok(cache);
        }
        let preserved = match flags.contains(CacheFlags::PRESERVE) {
            // A successor holds the table of caches against the checksum that the freeze took.
            true if self.is_frozen.get() => return Err(CacheError::Frozen),
            true => {
                let preserve = self.preserve.as_ref().ok_or(CacheError::NoPreservePool)?;
                Some(preserve.pool.create_cache(name, size, align)?.0 as usize)
            }
            false => None,
        };
        let new = || Ok::<usize, CacheError>(self.ordinary.create_cache(name, size, align)?.0 as usize);
        let ordinary = match caches.choose(size, align, flags) {
            Choice::Merged(index) => index,
            Choice::Kmalloc(bytes) => match self.ordinary.cache_for(bytes, 16) {
                Some(index) => index,
                None => new()?,
            },
            Choice::New => new()?,
        };
        Ok(caches.add((name, size, align, flags), ordinary, preserved))
    }

    /// True if two named caches are one in the ordinary pool.
    pub fn is_merged(&self, one: Cache, other: Cache) -> bool {
        let _guard = self.enter();
        let caches = self.caches.borrow();
        match (caches.get(one), caches.get(other)) {
            (Some(one), Some(other)) => one.ordinary == other.ordinary,
            _ => false,
        }
    }

    /// Frees an object, whichever pool it came from, in this generation or an earlier one.
    ///
    /// # Errors
    ///
    /// [`FreeError`]: where the address is no allocated object's; nothing is freed then.
    ///
    /// # Safety
    ///
    /// If an object is allocated at the address, nobody reads or writes it any more.
    #[track_caller]
    pub unsafe fn free(&self, object: NonNull<u8>) -> Result<(), FreeError> {
        let location = Location::caller();
        let phys = self.phys(object);
        let _guard = self.enter();
        self.ground.is_urgent.set(false);
        if let Some(guard) = self.ground.guard.filter(|guard| guard.contains(phys)) {
            return guard.free(self.ground.platform, phys, location).map_err(|error| match error {
                GuardFree::Twice => FreeError::Twice { phys },
                GuardFree::NoObject => FreeError::NoObject { phys },
                GuardFree::Damaged => FreeError::Damaged { phys },
            });
        }
        let owner = self.owner_of(phys);
        let pool = self.pool(owner).ok_or(FreeError::NoObject { phys })?;
        let cpu = pool.cpu(0);
        let found = pool.find(phys).ok_or(FreeError::NoObject { phys })?;
        if found.start != phys {
            return Err(FreeError::Inside { phys, start: found.start });
        }
        if pool.is_listed_free(cpu, &found) {
            return Err(FreeError::Twice { phys });
        }
        if owner == Some(Owner::PreservePool) {
            if self.is_frozen.get() {
                return Err(FreeError::Frozen);
            }
            let end = phys + found.bytes;
            let outgoing = self.ground.outgoing.borrow();
            let mut blobs = outgoing.iter().flat_map(|outgoing| outgoing.subtrees().iter());
            if blobs.any(|blob| blob.data >= phys && blob.data < end) {
                return Err(FreeError::InUse { phys });
            }
        }
        // SAFETY: an allocated object of this pool starts here, and is the caller's by its promise. All its bytes are zeroed.
        unsafe {
            match found.cache {
                Some(cache) => pool.free(cpu, cache, phys, found.bytes as usize),
                None => pool.free_large(phys),
            }
        }
        Ok(())
    }

    /// Bytes that the object at an address may use; `None` where no object is allocated that starts there.
    pub fn usable_bytes(&self, object: NonNull<u8>) -> Option<usize> {
        let phys = self.phys(object);
        let _guard = self.enter();
        if let Some(guard) = self.ground.guard.filter(|guard| guard.contains(phys)) {
            return guard
                .find_object(phys)
                .filter(|object| object.start == phys)
                .map(|object| object.size as usize);
        }
        let (_, start, bytes) = self.find_object(phys)?;
        (start == phys).then_some(bytes as usize)
    }

    /// True for an allocated object of the preserve pool that starts at this physical address, which may come from anywhere.
    pub fn is_preserved_object(&self, phys: u64) -> bool {
        let _guard = self.enter();
        let found = self.find_object(phys);
        found.is_some_and(|(owner, start, _)| owner == Owner::PreservePool && start == phys)
    }

    /// The allocated object around a physical address: in which pool, where it starts, its bytes.
    pub(super) fn find_object(&self, phys: u64) -> Option<(Owner, u64, u64)> {
        let owner = self.owner_of(phys);
        let pool = self.pool(owner)?;
        let found = pool.find(phys)?;
        (!pool.is_listed_free(pool.cpu(0), &found)).then_some((owner?, found.start, found.bytes))
    }

    /// Whose the pages at a physical address are.
    pub(super) fn owner_of(&self, phys: u64) -> Option<Owner> {
        let buddy = self.ground.buddy.borrow();
        let (_, page) = buddy.find_block(phys)?;
        (page.state == State::Used).then_some(page.owner)
    }

    fn pool(&self, owner: Option<Owner>) -> Option<&Pool<BlockHost<'m, P>>> {
        match owner? {
            Owner::OrdinaryPool => Some(&self.ordinary),
            Owner::PreservePool => self.preserve.as_ref().map(|preserve| &preserve.pool),
            Owner::Pages | Owner::Handover => None,
        }
    }

    /// Takes the lock as the flags allow.
    pub(super) fn enter_for(&self, gfp: Gfp) -> Result<super::lock::Guard<'_, 'm, P>, AllocError> {
        let guard = match gfp.contains(Gfp::ATOMIC) {
            true => self.try_enter().ok_or(AllocError::WouldWait)?,
            false => self.enter(),
        };
        self.ground.is_urgent.set(gfp.contains(Gfp::ATOMIC));
        Ok(guard)
    }

    fn alloc_inside(
        &self,
        size: usize,
        bytes: usize,
        align: usize,
        gfp: Gfp,
        location: &'static Location<'static>,
        cache: impl Fn(&Pool<BlockHost<'m, P>>) -> Option<usize>,
    ) -> Result<NonNull<u8>, AllocError> {
        if gfp.contains(Gfp::MOVABLE) {
            return Err(AllocError::Movable);
        }
        let is_preserved = gfp.contains(Gfp::PRESERVE);
        let pool = match is_preserved {
            true if self.is_frozen.get() => return Err(AllocError::Frozen),
            true => &self.preserve.as_ref().ok_or(AllocError::NoPreservePool)?.pool,
            false => {
                if let Some(phys) = self.sample(size, align, gfp, location) {
                    return Ok(self.pointer(phys));
                }
                &self.ordinary
            }
        };
        let take = || match cache(pool) {
            Some(cache) => pool.alloc(pool.cpu(0), cache),
            None => pool.alloc_large(bytes as u64, Contents::Zeroed),
        };
        // Free slots are zeros always, so `Gfp::ZERO` has nothing left to do.
        let taken = take().or_else(|error| {
            if gfp.contains(Gfp::ATOMIC) {
                return Err(error);
            }
            self.reclaim();
            take()
        });
        taken.map(|phys| self.pointer(phys)).map_err(|_| AllocError::OutOfMemory { bytes: size })
    }

    /// Serves from the guard pool, if it is this allocation's turn.
    fn sample(
        &self,
        size: usize,
        align: usize,
        gfp: Gfp,
        location: &'static Location<'static>,
    ) -> Option<u64> {
        let (guard, platform) = (self.ground.guard?, self.ground.platform);
        if !guard.wants(platform, size) {
            return None;
        }
        guard.alloc(platform, size, align as u64, gfp.contains(Gfp::ZERO), location)
    }

    /// Gives what the ordinary pool has empty back to the buddy allocator: all that there is to wait for.
    fn reclaim(&self) {
        self.ordinary.freeze(false);
        self.ordinary.thaw();
    }

    fn pointer(&self, phys: u64) -> NonNull<u8> {
        // SAFETY: the direct map starts at an address that is not null, and does not wrap.
        unsafe { NonNull::new_unchecked(self.ground.map.address(phys)) }
    }
}

/// The alignment that a size asks for: an object whose size is no multiple of 16 holds nothing that is aligned to it.
fn natural_align(size: usize) -> usize {
    1 << size.trailing_zeros().min(4)
}
