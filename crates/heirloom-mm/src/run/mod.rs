//! The run: one generation of work that shows everything, the same on the host and on bare metal.
//!
//! ```text
//! boot -> verify each inherited object by content -> free a third -> allocate as many, of kmalloc sizes and three named caches,
//!   with and without the flag -> one overflow and one use after free, both caught -> a folio, a range of pages, an area preserved
//!   -> freeze -> count what is stale and stranded -> one line of JSON -> jump
//! ```
//!
//! What a generation knows of its predecessor is a record in the preserve pool, found by name in the handover tree, and the ledger
//! it names: a list of every object with its size and the seed of its content. Both are foreign: each address is looked up in
//! the restored pool before a byte behind it is read.

mod bytes;
mod ledger;
mod mischief;
mod report;
mod work;

pub use report::{Report, Totals};
pub use work::{Outcome, RunError, generation};

/// Name of the run's record in the handover tree.
pub const RUN_NODE: &str = "heirloom-run";

/// What a run is to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Generations in all; the last one does not jump.
    pub generations: u64,
    /// Objects that live in the preserve pool from one generation to the next; at most 60,000.
    pub objects: u32,
    /// Seed of everything random.
    pub seed: u64,
    /// Prints a line of JSON for each generation.
    pub json: bool,
    /// Provokes the guard pool. Its options need `every`, or the run asks in vain.
    pub mischief: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { generations: 20, objects: 2000, seed: 1, json: true, mischief: true }
    }
}
