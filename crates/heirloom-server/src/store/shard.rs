//! A shard: the keys whose hashes start alike, in all databases, behind one lock.
//!
//! ```text
//! hash of the key --top bits--> shard --+-- databases 0..16: tables of items
//!                                       +-- what is being changed, for whoever finds the shard after a kill
//!                                       '-- counters
//! ```
//!
//! # Invariants
//!
//! - *weighed*: `bytes` is the sum of the tables' bytes.
//! - *marked*: while the inside of a hash, list or set changes, `touching` says whose; while a key gets another name, which it is and where
//!   it goes. All other changes are whole after each store.

use heirloom::{AllocError, Heritable, Vec};

#[cfg(test)]
use super::hash::hash;
use super::item::Item;
use super::scan::Random;
use super::table::{Place, Table};
use super::words::fence;
use crate::config::Policy;

/// Databases, chosen by SELECT.
pub(crate) const NR_DATABASES: usize = 16;

/// Items looked at to find one to evict.
const SAMPLES: usize = 8;

/// Picks until one with a deadline must have come up.
const TRIES: usize = 64;

/// Nothing but what is whole after each store.
pub(super) const NOTHING: u64 = 0;

/// The inside of a hash, list or set is being changed.
pub(super) const INSIDE: u64 = 1;

/// A key is getting another name.
pub(super) const RENAMING: u64 = 2;

/// A part of the keys.
#[derive(Heritable)]
#[repr(C)]
pub(crate) struct Shard {
    pub(super) databases: Vec<Table>,
    pub(super) bytes: u64,
    /// [`NOTHING`], [`INSIDE`] or [`RENAMING`].
    pub(super) touching: u64,
    pub(super) touching_database: u64,
    pub(super) touching_hash: u64,
    /// While a key gets another name: the block of the item under the new one, and that name's hash.
    pub(super) renamed_block: u64,
    pub(super) renamed_hash: u64,
    sweep_database: u64,
    sweep_bucket: u64,
    pub(crate) counters: Counters,
    spare: [u64; 6],
}

/// What a shard has counted since the heap was made.
#[derive(Clone, Copy, Debug, Default, Heritable)]
#[repr(C)]
pub(crate) struct Counters {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) expired: u64,
    pub(crate) evicted: u64,
    /// Keys given up because a kill found them half changed.
    pub(crate) lost: u64,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            databases: (0..NR_DATABASES).map(|_| Table::new()).collect(),
            bytes: 0,
            touching: 0,
            touching_database: 0,
            touching_hash: 0,
            renamed_block: 0,
            renamed_hash: 0,
            sweep_database: 0,
            sweep_bucket: 0,
            counters: Counters::default(),
            spare: [0; 6],
        }
    }
}

impl Shard {
    /// The keys of a database.
    #[inline]
    pub(crate) fn table(&self, database: usize) -> &Table {
        &self.databases[database]
    }

    /// Bytes of all tables and what is in them.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Finds a key; one that has expired is removed instead.
    #[inline]
    pub(crate) fn find(&mut self, database: usize, hash: u64, key: &[u8], now: u64) -> Option<Place> {
        let place = self.databases[database].find(hash, key)?;
        if self.databases[database].item(place).deadline().is_some_and(|deadline| deadline <= now) {
            self.counters.expired += 1;
            drop(self.remove(database, place));
            return None;
        }
        Some(place)
    }

    /// The item at a place.
    #[inline]
    pub(crate) fn item(&self, database: usize, place: Place) -> &Item {
        self.databases[database].item(place)
    }

    /// Notes that the item at a place was used.
    #[inline]
    pub(crate) fn touch(&mut self, database: usize, place: Place, clock: u32) {
        self.databases[database].touch(place, clock);
    }

    /// Puts an item in the place of the one that was found there, or adds it.
    #[inline]
    pub(crate) fn put(
        &mut self,
        database: usize,
        place: Option<Place>,
        hash: u64,
        item: Item,
    ) -> Result<Option<Item>, AllocError> {
        self.weighing(database, |table| match place {
            Some(place) => Ok(Some(table.replace(place, item))),
            None => table.insert(hash, item).map(|()| None),
        })
    }

    /// Takes the item at a place.
    pub(crate) fn remove(&mut self, database: usize, place: Place) -> Item {
        self.weighing(database, |table| table.remove(place))
    }

    /// Changes an item as a whole: its text or its deadline.
    pub(crate) fn change<T>(
        &mut self,
        database: usize,
        place: Place,
        change: impl FnOnce(&mut Item) -> T,
    ) -> T {
        self.weighing(database, |table| table.change(place, change))
    }

    /// Changes the inside of a hash, list or set; removes the key if nothing is left in it.
    pub(crate) fn change_inside<T>(
        &mut self,
        database: usize,
        place: Place,
        hash: u64,
        change: impl FnOnce(&mut Item) -> T,
    ) -> T {
        self.begin(INSIDE, database, hash);
        let outcome = self.change(database, place, change);
        self.end();
        if self.item(database, place).is_hollow() {
            drop(self.remove(database, place));
        }
        outcome
    }

    /// Makes room for a key that is not there yet.
    pub(super) fn make_room(&mut self, database: usize, hash: u64) -> Result<(), AllocError> {
        self.weighing(database, |table| table.make_room(hash))
    }

    /// As [`Shard::put`], with the room that was made for a new key.
    pub(super) fn put_in_room(
        &mut self,
        database: usize,
        place: Option<Place>,
        hash: u64,
        item: Item,
    ) -> Option<Item> {
        self.weighing(database, |table| match place {
            Some(place) => Some(table.replace(place, item)),
            None => {
                table.insert_in_room(hash, item);
                None
            }
        })
    }

    /// Removes all keys of a database.
    pub(crate) fn clear(&mut self, database: usize) {
        self.weighing(database, Table::clear);
    }

    /// Removes keys that have expired, from so many buckets of where it left off. Returns how many keys went.
    pub(crate) fn sweep(&mut self, now: u64, nr_buckets: usize) -> u64 {
        let mut gone = 0;
        for _ in 0..nr_buckets {
            let database = self.sweep_database as usize % NR_DATABASES;
            let table = &self.databases[database];
            let bucket = self.sweep_bucket as usize;
            if table.nr_expiring() == 0 || bucket >= table.nr_buckets() {
                self.sweep_bucket = 0;
                let others = (1..=NR_DATABASES).map(|step| (database + step) % NR_DATABASES);
                let Some(next) = others.into_iter().find(|&next| self.databases[next].nr_expiring() > 0)
                else {
                    break;
                };
                self.sweep_database = next as u64;
                continue;
            }
            match table.expired_in(bucket, now) {
                Some(place) => {
                    drop(self.remove(database, place));
                    gone += 1;
                }
                None => self.sweep_bucket += 1,
            }
        }
        self.counters.expired += gone;
        gone
    }

    /// Gives up one item of those that the policy allows, the one that is missed least among a few.
    pub(crate) fn evict(&mut self, policy: Policy, random: &mut Random, clock: u32) -> bool {
        let first = random.below(NR_DATABASES);
        for step in 0..NR_DATABASES {
            let database = (first + step) % NR_DATABASES;
            if let Some(place) = self.worst(database, policy, random, clock) {
                drop(self.remove(database, place));
                self.counters.evicted += 1;
                return true;
            }
        }
        false
    }

    fn worst(&self, database: usize, policy: Policy, random: &mut Random, clock: u32) -> Option<Place> {
        let table = &self.databases[database];
        let only_expiring = policy.only_expiring();
        if policy == Policy::NoEviction || only_expiring && table.nr_expiring() == 0 {
            return None;
        }
        let (mut best, mut samples): (Option<(u64, Place)>, usize) = (None, 0);
        for _ in 0..TRIES {
            let place = table.pick(random)?;
            let item = table.item(place);
            if only_expiring && item.deadline().is_none() {
                continue;
            }
            let cost = match policy {
                Policy::VolatileTtl => item.deadline().unwrap_or(u64::MAX),
                Policy::AllKeysRandom | Policy::VolatileRandom | Policy::NoEviction => random.next(),
                // The longer ago, the less it is missed.
                Policy::AllKeysLru | Policy::VolatileLru => {
                    u64::MAX - u64::from(clock.wrapping_sub(item.clock()) & 0xff_ffff)
                }
            };
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, place));
            }
            samples += 1;
            if samples == SAMPLES {
                break;
            }
        }
        // Few have a deadline, and chance found none of them.
        let any = || (0..table.nr_buckets()).find_map(|bucket| table.expired_in(bucket, u64::MAX));
        best.map(|(_, place)| place).or_else(any)
    }

    /// Leaves the shard as a kill might: an item in two places, the inside of another being changed.
    #[cfg(test)]
    pub(crate) fn tear(&mut self, twice: &[u8], touched: u64) {
        self.databases[0].put_twice(hash(twice), twice);
        (self.touching, self.touching_database, self.touching_hash) = (INSIDE, 0, touched);
    }

    /// Notes what is being changed, and whose.
    pub(super) fn begin(&mut self, what: u64, database: usize, hash: u64) {
        (self.touching_database, self.touching_hash) = (database as u64, hash);
        fence();
        self.touching = what;
        fence();
    }

    /// Notes that it is whole.
    pub(super) fn end(&mut self) {
        fence();
        self.touching = NOTHING;
    }

    #[inline]
    fn weighing<T>(&mut self, database: usize, change: impl FnOnce(&mut Table) -> T) -> T {
        let table = &mut self.databases[database];
        let before = table.bytes();
        let outcome = change(table);
        self.bytes = self.bytes + table.bytes() - before;
        outcome
    }
}
