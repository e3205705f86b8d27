//! SLUB, as far as it decides which object lies on which page: what the thread's designs build on.
//!
//! ```text
//!  cache     active slab  --dry-->  first partial slab  --none-->  a new slab: 2^order pages of the machine
//!              | last freed slot first, then ascending          a full slab that gets a free slot: last partial
//!              v                                                an empty one beyond min_partial: back to the machine
//!            object
//! ```
//!
//! Order and objects per slab are those of the real kernel's `/proc/slabinfo`; caches merge as SLUB merges them ([`merge`]). One
//! processor, no per-processor partial slabs, no sheaves: they change speed, not what shares a page. Free lists are kept beside the slabs:
//! a freed object's bytes stay as they were, as they do without `init_on_free`, but for the one word in which SLUB keeps its link.
//!
//! # Invariants (tested by [`Slub::check`])
//!
//! - *counted*: the slots of a slab are its free ones and those in use, and no slot is free twice.
//! - *listed*: a slab is active, partial (in its cache's list, with free slots), or full.
//! - *kept*: an object that is to survive is in use, and their number is that of the bits.

mod cache;
mod list;
pub mod merge;

use heirloom_mm::PAGE_BYTES;

use cache::{Cache, min_partial};
pub use cache::{CacheId, Layout};
use list::NONE;

use crate::LabError;
use merge::Flags;

/// Where slabs' pages come from.
pub trait Pages {
    /// Takes `2^order` pages in a row.
    ///
    /// # Errors
    ///
    /// There are none.
    fn take(&mut self, order: u32) -> Result<u64, LabError>;

    /// Gives them back.
    ///
    /// # Errors
    ///
    /// They were not taken, or are preserved.
    fn give_back(&mut self, phys: u64, order: u32) -> Result<(), LabError>;
}

/// A slab.
#[derive(Debug)]
pub struct Slab {
    /// Physical address of its first page.
    pub phys: u64,
    /// Its cache.
    pub cache: CacheId,
    /// Objects in use.
    pub in_use: u32,
    free: Vec<u16>,
    /// Slots with an object that is to survive, as a bitmap; empty where there never was one.
    kept: Vec<u64>,
    nr_kept: u32,
    place: Place,
    prev: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active,
    Partial,
    Full,
    /// An entry that is no slab.
    Gone,
}

/// All caches of a kernel, and their slabs.
#[derive(Debug, Default)]
pub struct Slub {
    caches: Vec<Cache>,
    slabs: Vec<Slab>,
    spare: Vec<u32>,
    /// The slab of each page, by page number.
    by_pfn: Vec<u32>,
}

impl Slub {
    /// Makes a cache, or finds the one that it merges with.
    pub fn create(&mut self, layout: Layout, flags: Flags) -> CacheId {
        let mergeable =
            self.caches.iter().position(|cache| merge::is_one(cache.layout, cache.flags, layout, flags));
        mergeable.map_or_else(|| self.create_apart(layout, flags), |index| CacheId(index as u16))
    }

    /// Makes a cache, whatever it could merge with: two lines of a real table are two caches.
    pub fn create_apart(&mut self, layout: Layout, flags: Flags) -> CacheId {
        self.caches.push(Cache::new(layout, flags));
        CacheId((self.caches.len() - 1) as u16)
    }

    /// How a cache's slabs are laid out; `None` where there is no such cache.
    pub fn layout(&self, cache: CacheId) -> Option<Layout> {
        self.caches.get(usize::from(cache.0)).map(|cache| cache.layout)
    }

    /// Allocates an object: its physical address.
    ///
    /// # Errors
    ///
    /// There are no pages for a new slab.
    pub fn alloc(&mut self, cache: CacheId, pages: &mut impl Pages) -> Result<u64, LabError> {
        let index = usize::from(cache.0);
        loop {
            let active = self.caches[index].active;
            if let Some(slab) = self.slabs.get_mut(active as usize)
                && let Some(slot) = slab.free.pop()
            {
                slab.in_use += 1;
                return Ok(slab.phys + u64::from(slot) * self.caches[index].layout.slot_bytes);
            }
            self.refill(cache, pages)?;
        }
    }

    /// Frees the object at `phys`.
    ///
    /// # Errors
    ///
    /// [`LabError::Broken`] where no slot in use starts there.
    pub fn free(&mut self, phys: u64, pages: &mut impl Pages) -> Result<(), LabError> {
        let id = self.find(phys).ok_or(LabError::Broken("what is freed is on no slab"))?;
        let slab = &mut self.slabs[id as usize];
        let cache = &mut self.caches[usize::from(slab.cache.0)];
        let (slot, rest) =
            ((phys - slab.phys) / cache.layout.slot_bytes, (phys - slab.phys) % cache.layout.slot_bytes);
        if rest != 0 || slab.in_use == 0 {
            return Err(LabError::Broken("what is freed is no object"));
        }
        if slab.is_kept(slot as u32) {
            return Err(LabError::Broken("what is freed is to survive"));
        }
        slab.free.push(slot as u16);
        slab.in_use -= 1;
        let is_empty = slab.in_use == 0;
        match slab.place {
            Place::Full => {
                slab.place = Place::Partial;
                cache.partial.push_back(&mut self.slabs, id);
            }
            Place::Partial if is_empty && cache.partial.len > min_partial(cache.layout.slot_bytes) => {
                cache.partial.unlink(&mut self.slabs, id);
                self.discard(id, pages)?;
            }
            Place::Partial | Place::Active => {}
            Place::Gone => return Err(LabError::Broken("a slab that is gone has an object")),
        }
        Ok(())
    }

    /// The slab that an address lies on.
    pub fn slab_of(&self, phys: u64) -> Option<&Slab> {
        let id = self.find(phys)?;
        self.slabs.get(id as usize)
    }

    /// Notes that the object at `phys` is to survive: the slab's address, if it is the first one there.
    ///
    /// # Errors
    ///
    /// [`LabError::Broken`] where the object is on no slab, or is kept already.
    pub fn keep(&mut self, phys: u64) -> Result<Option<u64>, LabError> {
        let (id, slot) = self.slot_of(phys)?;
        let slab = &mut self.slabs[id as usize];
        let nr_words = (slab.free.len() + slab.in_use as usize).div_ceil(64);
        slab.kept.resize(nr_words, 0);
        ensure(!slab.is_kept(slot), "an object that is kept already")?;
        slab.kept[slot as usize / 64] |= 1 << (slot % 64);
        slab.nr_kept += 1;
        Ok((slab.nr_kept == 1).then_some(slab.phys))
    }

    /// The opposite of [`Slub::keep`]: the slab's address, if it was the last one there.
    ///
    /// # Errors
    ///
    /// [`LabError::Broken`] where the object is on no slab, or not kept.
    pub fn unkeep(&mut self, phys: u64) -> Result<Option<u64>, LabError> {
        let (id, slot) = self.slot_of(phys)?;
        let slab = &mut self.slabs[id as usize];
        ensure(slab.is_kept(slot), "an object that is not kept")?;
        slab.kept[slot as usize / 64] &= !(1 << (slot % 64));
        slab.nr_kept -= 1;
        Ok((slab.nr_kept == 0).then_some(slab.phys))
    }

    fn slot_of(&self, phys: u64) -> Result<(u32, u32), LabError> {
        let id = self.find(phys).ok_or(LabError::Broken("an object on no slab"))?;
        let slab = &self.slabs[id as usize];
        let bytes = self.caches[usize::from(slab.cache.0)].layout.slot_bytes;
        Ok((id, ((phys - slab.phys) / bytes) as u32))
    }

    /// Takes a slab over whose pages came from a predecessor: slots whose bit in `used` is set are in use and kept, all others free.
    ///
    /// # Errors
    ///
    /// [`LabError::Record`] where the cache has no such slabs.
    pub fn adopt(&mut self, cache: CacheId, phys: u64, order: u32, used: &[u64]) -> Result<(), LabError> {
        let layout = self.layout(cache).ok_or(LabError::Record("a slab of a cache that is not"))?;
        if order != layout.order || used.len() != (layout.slots as usize).div_ceil(64) {
            return Err(LabError::Record("a slab that is not laid out as its cache's"));
        }
        let beyond = layout.slots % 64;
        if beyond != 0 && used.last().is_some_and(|word| word >> beyond != 0) {
            return Err(LabError::Record("a bitmap with more bits than its slab has slots"));
        }
        let is_used = |slot: u32| used[slot as usize / 64] >> (slot % 64) & 1 == 1;
        let free: Vec<u16> =
            (0..layout.slots).rev().filter(|&slot| !is_used(slot)).map(|slot| slot as u16).collect();
        let in_use = layout.slots - free.len() as u32;
        let place = if free.is_empty() { Place::Full } else { Place::Partial };
        let slab =
            Slab { kept: used.to_vec(), nr_kept: in_use, ..Slab::new(phys, cache, in_use, free, place) };
        let id = self.add(slab, order);
        if place == Place::Partial {
            self.caches[usize::from(cache.0)].partial.push_back(&mut self.slabs, id);
        }
        Ok(())
    }

    /// All slabs, with their layouts.
    pub fn slabs(&self) -> impl Iterator<Item = (&Slab, Layout)> {
        let is_there = |slab: &&Slab| slab.place != Place::Gone;
        self.slabs.iter().filter(is_there).map(|slab| (slab, self.caches[usize::from(slab.cache.0)].layout))
    }

    /// Tests the invariants.
    ///
    /// # Errors
    ///
    /// [`LabError::Broken`]: the first that does not hold.
    pub fn check(&self) -> Result<(), LabError> {
        let mut listed = 0;
        for cache in &self.caches {
            for id in cache.partial.iter(&self.slabs) {
                let is_partial = self.slabs[id as usize].place == Place::Partial;
                ensure(
                    is_partial && !self.slabs[id as usize].free.is_empty(),
                    "listed: a slab that is not partial",
                )?;
                listed += 1;
            }
        }
        for (slab, layout) in self.slabs() {
            let mut slots = slab.free.clone();
            slots.sort_unstable();
            slots.dedup();
            let in_range = slots.last().is_none_or(|&slot| u32::from(slot) < layout.slots);
            let is_counted = slots.len() == slab.free.len() && in_range;
            ensure(
                is_counted && slab.in_use + slots.len() as u32 == layout.slots,
                "counted: slots of a slab",
            )?;
            let nr_kept: u32 = slab.kept.iter().map(|word| word.count_ones()).sum();
            let is_free_and_kept = slots.iter().any(|&slot| slab.is_kept(slot.into()));
            ensure(
                nr_kept == slab.nr_kept && !is_free_and_kept,
                "kept: a slot that is free, or a wrong number",
            )?;
            ensure(slab.place != Place::Full || slab.free.is_empty(), "listed: a full slab has room")?;
            listed -= i64::from(slab.place == Place::Partial);
        }
        ensure(listed == 0, "listed: a partial slab is in no list")
    }

    fn find(&self, phys: u64) -> Option<u32> {
        self.by_pfn.get((phys / PAGE_BYTES) as usize).copied().filter(|&id| id != NONE)
    }

    /// Makes another slab active.
    fn refill(&mut self, cache: CacheId, pages: &mut impl Pages) -> Result<(), LabError> {
        let index = usize::from(cache.0);
        if let Some(active) = self.slabs.get_mut(self.caches[index].active as usize) {
            active.place = Place::Full;
            self.caches[index].active = NONE;
        }
        let id = match self.caches[index].partial.first() {
            Some(id) => {
                self.caches[index].partial.unlink(&mut self.slabs, id);
                id
            }
            None => {
                let Layout { slots, order, .. } = self.caches[index].layout;
                let phys = pages.take(order)?;
                let free = (0..slots as u16).rev().collect();
                self.add(Slab::new(phys, cache, 0, free, Place::Active), order)
            }
        };
        self.slabs[id as usize].place = Place::Active;
        self.caches[index].active = id;
        Ok(())
    }

    fn add(&mut self, slab: Slab, order: u32) -> u32 {
        let first = (slab.phys / PAGE_BYTES) as usize;
        let id = match self.spare.pop() {
            Some(id) => {
                self.slabs[id as usize] = slab;
                id
            }
            None => {
                self.slabs.push(slab);
                (self.slabs.len() - 1) as u32
            }
        };
        let end = first + (1 << order);
        if self.by_pfn.len() < end {
            self.by_pfn.resize(end.next_power_of_two(), NONE);
        }
        self.by_pfn[first..end].fill(id);
        id
    }

    fn discard(&mut self, id: u32, pages: &mut impl Pages) -> Result<(), LabError> {
        let slab = &mut self.slabs[id as usize];
        let (phys, order) = (slab.phys, self.caches[usize::from(slab.cache.0)].layout.order);
        slab.place = Place::Gone;
        slab.free = Vec::new();
        let first = (phys / PAGE_BYTES) as usize;
        self.by_pfn[first..first + (1 << order)].fill(NONE);
        self.spare.push(id);
        pages.give_back(phys, order)
    }
}

impl Slab {
    fn new(phys: u64, cache: CacheId, in_use: u32, free: Vec<u16>, place: Place) -> Self {
        Self { phys, cache, in_use, free, kept: Vec::new(), nr_kept: 0, place, prev: NONE, next: NONE }
    }

    /// Objects that are to survive. The slab's pages are preserved while there are any.
    pub fn nr_kept(&self) -> u32 {
        self.nr_kept
    }

    /// Their slots, as a bitmap.
    pub fn kept(&self) -> &[u64] {
        &self.kept
    }

    fn is_kept(&self, slot: u32) -> bool {
        self.kept.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    /// Free slots.
    pub fn nr_free(&self) -> u32 {
        self.free.len() as u32
    }
}

fn ensure(holds: bool, what: &'static str) -> Result<(), LabError> {
    if holds { Ok(()) } else { Err(LabError::Broken(what)) }
}

#[cfg(test)]
mod tests;
