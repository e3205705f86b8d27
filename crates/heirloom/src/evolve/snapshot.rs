//! What was allocated when the heap was frozen: one bit a slot, in this process's own memory.
//!
//! A successor that dies while it migrates leaves new objects that nothing refers to. The predecessor, which takes the heap back,
//! knows by this what was there before, and gives the rest back. It is taken only where a migration was foreseen.

use std::collections::HashMap;

use heirloom_slab::{Found, Host, Pool};

/// Allocated slots, by the start of their slab.
#[derive(Debug, Default)]
pub(crate) struct Snapshot(HashMap<u64, Vec<u64>>);

impl Snapshot {
    /// Notes what is allocated. The pool is settled: its bitmaps say all.
    pub(crate) fn take<H: Host>(pool: &Pool<H>) -> Self {
        let mut slabs: HashMap<u64, Vec<u64>> = HashMap::new();
        pool.for_each_allocated(|found| {
            let words = slabs.entry(found.slab_key()).or_default();
            let (word, bit) = ((found.index() / 64) as usize, found.index() % 64);
            if words.len() <= word {
                words.resize(word + 1, 0);
            }
            words[word] |= 1 << bit;
        });
        Self(slabs)
    }

    /// Lists what is allocated now and was not then. The pool is settled.
    pub(crate) fn list_new<H: Host>(&self, pool: &Pool<H>) -> Vec<Found> {
        let mut new = Vec::new();
        pool.for_each_allocated(|found| {
            let words = self.0.get(&found.slab_key());
            let word = words.and_then(|words| words.get((found.index() / 64) as usize)).copied().unwrap_or(0);
            if word >> (found.index() % 64) & 1 == 0 {
                new.push(found);
            }
        });
        new
    }
}
