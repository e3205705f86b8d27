//! What an owner that died has left, root by root: who was inside, and what was being changed.
//!
//! It is read before anything is recovered. Which locks were held says what was being changed, as far as the locks go: a root that
//! is a `Mutex` or an `RwLock` has its word at its start. A change to data that no lock guards leaves no trace here; the collections are whole in
//! either case (`docs/crash-safety.md`).

use std::fmt;
use std::time::Duration;

use heirloom_abi::heap::{Header, Phase};
use heirloom_abi::pool::{Memory, PoolReader};
use heirloom_slab::Recovered;

use super::bytes::Mapped;
use super::{HeapError, roots};
use crate::backing::Backing;
use crate::sync::Left;

/// What was found when a heap was taken over from an owner that had died.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// The process that died.
    pub owner_pid: u32,
    /// Its generation.
    pub generation: u32,
    /// Whether it had frozen the heap, to hand it over or to close it: then nobody was inside.
    pub was_frozen: bool,
    /// Threads that had worked in the heap and had not ended.
    pub threads: u32,
    /// Those of them that were inside when they died.
    pub threads_inside: u32,
    /// Changes that were cut off and have been undone: transactions, and changes of collections that take more than one store.
    pub undone: u32,
    /// Free slots that were listed in magazines and accumulators, and are in the bitmaps again.
    pub folded: u64,
    /// Slots given back because they had not been stored anywhere yet.
    pub returned: u64,
    /// Slabs and large objects that were looked at.
    pub slabs: u64,
    /// How long it took.
    pub took: Duration,
    /// Every root, by name.
    pub roots: Vec<RootLeft>,
}

/// In what state a root was left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RootLeft {
    /// Its name.
    pub name: String,
    /// Its type, readable.
    pub type_text: String,
    /// Its lock; `None` where the root is no lock, and cannot tell.
    pub lock: Option<Left>,
}

impl Recovery {
    /// The roots that a thread was changing when it died, or that were poisoned before.
    pub fn doubtful(&self) -> impl Iterator<Item = &RootLeft> {
        self.roots.iter().filter(|root| matches!(root.lock, Some(Left::BeingChanged { .. } | Left::Poisoned)))
    }

    pub(super) fn with(mut self, found: &Recovered, undone: u32, took: Duration) -> Self {
        self.undone = undone;
        (self.folded, self.returned, self.slabs, self.took) =
            (found.folded, found.returned, found.slabs, took);
        self
    }
}

/// Reads what there is to read before a recovery changes it.
pub(super) fn look(backing: &Backing, header: &Header) -> Result<Recovery, HeapError> {
    let word = |offset: u64| {
        let mut bytes = [0; 8];
        Mapped(backing).read(offset & !7, &mut bytes)?;
        // A mutex may lie on an odd multiple of four.
        Some(u64::from_le_bytes(bytes) >> (8 * (offset & 4)))
    };
    let (mut threads, mut threads_inside) = (0, 0);
    if let Ok(reader) = PoolReader::open(&Mapped(backing), header.identity.control.offset) {
        for index in 0..reader.nr_cpus() {
            let cpu = header.identity.control.offset + reader.geometry().cpu_offset(index);
            let (lock_and_inside, tag) = (word(cpu).unwrap_or(0), word(cpu + 8).unwrap_or(0));
            // The first slot is everybody's who finds no other, and always taken.
            threads += u32::from(tag != 0 && index > 0);
            threads_inside += u32::from(tag != 0 && lock_and_inside >> 32 == 1);
        }
    }
    let rows = roots::rows_of(backing, header.identity.roots)?;
    let roots = rows.into_iter().map(|row| {
        let lock = word(row.offset).and_then(|word| Left::read(&row.type_text, word));
        RootLeft { name: row.name, type_text: row.type_text, lock }
    });
    Ok(Recovery {
        owner_pid: header.state.owner_pid,
        generation: header.state.generation,
        was_frozen: header.state.phase == Phase::Frozen,
        threads,
        threads_inside,
        undone: 0,
        folded: 0,
        returned: 0,
        slabs: 0,
        took: Duration::ZERO,
        roots: roots.collect(),
    })
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner_pid, generation, threads, threads_inside, undone, folded, returned, took, .. } =
            self;
        let frozen = if self.was_frozen { ", after it had frozen the heap" } else { "" };
        writeln!(
            f,
            "process {owner_pid}, generation {generation}, died{frozen}: {threads_inside} of {threads} threads were inside"
        )?;
        write!(f, "{folded} free slots were listed outside the bitmaps, {returned} given back, in {took:?}")?;
        if *undone > 0 {
            write!(f, "\n{undone} changes were cut off, and have been undone")?;
        }
        for root in &self.roots {
            write!(f, "\nroot {}: ", root.name)?;
            match root.lock {
                None => f.write_str("has no lock that tells")?,
                Some(Left::Free) => f.write_str("whole")?,
                Some(Left::BeingRead { readers }) => write!(f, "whole; {readers} threads were reading")?,
                Some(Left::BeingChanged { generation }) => {
                    write!(f, "was being changed in generation {generation}: it may be half done")?;
                }
                Some(Left::Poisoned) => f.write_str("was poisoned by a panic before")?,
            }
        }
        Ok(())
    }
}
