//! Making the store whole after its last owner was killed.
//!
//! ```text
//! every shard whose lock was held:   tables mended, then the inside that was being changed, then counted
//! then, with all of them whole:      names that were being changed: the new one is there -> the old one goes, or it never was
//! then:                              locks are whole again
//! ```
//!
//! # Invariants
//!
//! - *again*: a kill at any point of this is followed by all of it once more. A shard's lock is let go when nothing is left to be done.

use heirloom::sync::{Mutex, MutexGuard};

use super::shard::{NOTHING, RENAMING, Shard};
use super::table::Table;

/// What a kill of the last owner cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repair {
    /// Shards that were being used.
    pub(crate) shards: u64,
    /// Keys, fields and members for which there was no memory.
    pub(crate) keys_lost: u64,
}

/// Repairs what a kill has left; there is a power of two of shards.
pub(super) fn repair(shards: &[Mutex<Shard>]) -> Repair {
    let mut repair = Repair::default();
    let mut held: Vec<(usize, MutexGuard<'_, Shard>)> = Vec::new();
    for (index, shard) in shards.iter().enumerate() {
        if shard.is_poisoned() {
            let mut guard = shard.lock();
            repair.shards += 1;
            repair.keys_lost += guard.repair();
            held.push((index, guard));
        }
    }
    for at in 0..held.len() {
        if held[at].1.touching == RENAMING {
            finish_rename(&mut held, at, shards.len());
        }
        held[at].1.recount();
        held[at].1.touching = NOTHING;
    }
    for (index, guard) in held {
        shards[index].clear_poison();
        drop(guard);
    }
    repair
}

/// Decides about a key that was getting another name. Who held its shard held that of the new name too.
fn finish_rename(held: &mut [(usize, MutexGuard<'_, Shard>)], source: usize, nr_shards: usize) {
    let Shard { touching_database, touching_hash, renamed_block, renamed_hash, .. } = *held[source].1;
    let (database, block) = (touching_database as usize % super::NR_DATABASES, renamed_block as usize);
    let target = super::index_of(renamed_hash, nr_shards);
    let arrived = held.iter().find(|(index, _)| *index == target).is_some_and(|(_, shard)| {
        let table = shard.table(database);
        let places = table.collect_places(renamed_hash);
        places.into_iter().any(|place| table.item(place).address() == block)
    });
    if !arrived {
        // It has its old name alone. The block under the new one stays taken.
        return;
    }
    let table = &mut held[source].1.databases[database];
    for place in table.collect_places(touching_hash) {
        if table.item(place).address() != block
            && let Some(old) = table.take_out(place)
        {
            old.give_up_shell();
        }
    }
}

impl Shard {
    /// Makes all tables whole, but for their counts. Returns how many keys are lost.
    pub(crate) fn repair(&mut self) -> u64 {
        let mut lost = 0;
        for table in self.databases.iter_mut() {
            match table.mend() {
                Ok(given_up) => lost += given_up,
                Err(_) => {
                    lost += table.len() as u64;
                    table.abandon();
                }
            }
        }
        let database = self.touching_database as usize % super::NR_DATABASES;
        if self.touching == super::shard::INSIDE {
            lost += mend_touched(&mut self.databases[database], self.touching_hash);
        }
        for table in self.databases.iter_mut() {
            for place in table.collect_hollow() {
                drop(table.take_out(place));
            }
        }
        self.counters.lost += lost;
        lost
    }

    /// Counts all that is there.
    pub(crate) fn recount(&mut self) {
        self.databases.iter_mut().for_each(Table::recount);
        self.bytes = self.databases.iter().map(Table::bytes).sum();
    }
}

/// Makes whole what is inside the hash, list or set that was being changed. Returns what was lost.
fn mend_touched(table: &mut Table, hash: u64) -> u64 {
    let mut lost = 0;
    for place in table.collect_places(hash) {
        match table.item_mut(place).map(super::item::Item::mend_inside) {
            Some(Ok(given_up)) => lost += given_up,
            Some(Err(_)) => {
                // Nothing in it can be given back safely.
                std::mem::forget(table.take_out(place));
                lost += 1;
            }
            None => {}
        }
    }
    lost
}
