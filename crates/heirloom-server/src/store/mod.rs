//! The store: all keys and values, in the heap.
//!
//! ```text
//! Store --> Shards, a root: seed, shards --> Shard, behind a lock --> Table --> Bucket --> Item: key and value
//!                                                                                            '-- Table | List of items
//! ```
//!
//! - `item`: a key and its value in one block. `bucket`, `table`, `scan`: items by key. `list`: items in order.
//! - `hash`: where a key belongs. `shard`: one lock's share; expiry, eviction. `rename`: from name to name. `repair`, `mend`, `words`: after a kill.
//!
//! # Invariants
//!
//! - *ordered*: who locks more than one shard locks them in the order of their numbers.
//! - *whole*: a kill at any instruction leaves every key, field, member and element that was there, and the one being changed as it was
//!   or as it becomes; what is given up is what there is no memory to mend.

mod bucket;
pub(crate) mod hash;
pub(crate) mod item;
pub(crate) mod list;
mod mend;
pub(crate) mod rename;
mod repair;
pub(crate) mod scan;
pub(crate) mod shard;
#[cfg(test)]
mod stops;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod words;

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

use heirloom::sync::{Mutex, MutexGuard};
use heirloom::{Heritable, Inside, OnPoison, Options, Vec};

pub(crate) use self::repair::Repair;
use self::scan::Random;
use self::shard::{Counters, NR_DATABASES, Shard};
use crate::config::Policy;

/// The most shards a store may have.
pub(crate) const MAX_SHARDS: usize = 64;

heirloom::root! {
    static SHARDS: Shards = "server-shards";
}

/// How many shards a new heap gets.
static NR_NEW_SHARDS: AtomicUsize = AtomicUsize::new(16);

/// All shards of a heap, and the seed by which keys are dealt to them.
#[derive(Heritable)]
#[repr(C)]
pub(crate) struct Shards {
    seed: [u64; 2],
    list: Vec<Mutex<Shard>>,
}

impl Default for Shards {
    fn default() -> Self {
        let nr = NR_NEW_SHARDS.load(Relaxed);
        Self { seed: hash::draw_seed(), list: (0..nr).map(|_| Mutex::new(Shard::default())).collect() }
    }
}

/// Says what becomes of the shards after a kill: they are kept, as each has a lock that tells whether it is whole.
pub(crate) fn keep_shards(options: Options) -> Options {
    options.on_poison(&SHARDS, OnPoison::keep())
}

/// The store of this process.
#[derive(Debug)]
pub(crate) struct Store {
    shift: u32,
    nr: usize,
    /// Bytes of all shards.
    used: AtomicI64,
}

/// The shard of a hash: its top bits.
#[inline]
fn index_of(hash: u64, nr_shards: usize) -> usize {
    // With one shard the shift would be that of all bits.
    (u128::from(hash) >> (64 - nr_shards.ilog2())) as usize
}

impl Store {
    /// Takes the heap's shards, or makes `nr_shards`, and repairs those that a kill left half changed.
    pub(crate) fn open(inside: &Inside<'_>, nr_shards: usize) -> (Self, Repair) {
        NR_NEW_SHARDS.store(nr_shards.clamp(1, MAX_SHARDS).next_power_of_two(), Relaxed);
        let shards = SHARDS.get(inside);
        hash::set_seed(shards.seed);
        let repair = repair::repair(&shards.list);
        let used = shards.list.iter().map(|shard| shard.lock().bytes() as i64).sum();
        let nr = shards.list.len();
        (Self { shift: 64 - nr.ilog2(), nr, used: AtomicI64::new(used) }, repair)
    }

    /// How many shards there are.
    pub(crate) fn nr_shards(&self) -> usize {
        self.nr
    }

    /// The shard of a hash.
    #[inline]
    pub(crate) fn index_of(&self, hash: u64) -> usize {
        // With one shard the shift would be that of all bits.
        (u128::from(hash) >> self.shift) as usize
    }

    /// Locks a shard by its number.
    #[inline]
    pub(crate) fn lock<'a>(&'a self, inside: &'a Inside<'_>, index: usize) -> Locked<'a> {
        let guard = SHARDS.get(inside).list[index].lock();
        Locked { before: guard.bytes(), guard, used: &self.used }
    }

    /// Bytes of all that is stored.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used.load(Relaxed).max(0) as u64
    }

    /// Keys of a database, and those of them that have a deadline.
    pub(crate) fn count(&self, inside: &Inside<'_>, database: usize) -> (u64, u64) {
        (0..self.nr).map(|index| self.lock(inside, index)).fold((0, 0), |(keys, expiring), shard| {
            let table = shard.table(database);
            (keys + table.len() as u64, expiring + table.nr_expiring())
        })
    }

    /// Sums up what the shards have counted.
    pub(crate) fn counters(&self, inside: &Inside<'_>) -> Counters {
        (0..self.nr).map(|index| self.lock(inside, index).counters).fold(Counters::default(), |sum, each| {
            Counters {
                hits: sum.hits + each.hits,
                misses: sum.misses + each.misses,
                expired: sum.expired + each.expired,
                evicted: sum.evicted + each.evicted,
                lost: sum.lost + each.lost,
            }
        })
    }

    /// Removes all keys of one database, or of all.
    pub(crate) fn clear(&self, inside: &Inside<'_>, database: Option<usize>) {
        for index in 0..self.nr {
            let mut shard = self.lock(inside, index);
            match database {
                Some(database) => shard.clear(database),
                None => (0..NR_DATABASES).for_each(|database| shard.clear(database)),
            }
        }
    }

    /// Gives up one item somewhere. False where the policy allows none.
    pub(crate) fn evict_one(
        &self,
        inside: &Inside<'_>,
        policy: Policy,
        random: &mut Random,
        clock: u32,
    ) -> bool {
        let first = random.below(self.nr);
        (0..self.nr).any(|step| self.lock(inside, (first + step) % self.nr).evict(policy, random, clock))
    }
}

/// A locked shard, which notes what its bytes have become when it is let go.
pub(crate) struct Locked<'a> {
    guard: MutexGuard<'a, Shard>,
    before: u64,
    used: &'a AtomicI64,
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        let difference = self.guard.bytes().wrapping_sub(self.before) as i64;
        if difference != 0 {
            self.used.fetch_add(difference, Relaxed);
        }
    }
}

impl std::ops::Deref for Locked<'_> {
    type Target = Shard;

    #[inline]
    fn deref(&self) -> &Shard {
        &self.guard
    }
}

impl std::ops::DerefMut for Locked<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Shard {
        &mut self.guard
    }
}
