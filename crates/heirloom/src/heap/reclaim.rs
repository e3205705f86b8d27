//! Leaks given back: what no root reaches when a heap is opened that nobody had open.
//!
//! ```text
//! taken over --> look --> objects migrate --> roots replaced --> give back --> roots repaired --> open
//!                        `---- the program's code runs ----'                  `---- and here ---'
//! ```
//!
//! Nothing is dropped, as what nobody reached may be half made: memory alone is given back, object by object, and what an object
//! owned is given back as unreached itself. Killed meanwhile, the next opening finds the rest.
//!
//! # Invariants
//!
//! - *held by nobody*: the look is before any code of the program has run, and gives nothing back where this process has had the
//!   heap open before: it may hold objects from that time. What the program's code makes later was not allocated at the look, so it is not
//!   on the list; what is on the list stays allocated until it is given back.
//! - *replaced*: a root's object that is to be replaced, and what only that leads to, is on the list: nobody looks at it any more, and
//!   nothing is given back unless it was replaced. What is repaired is looked at as it was: its repair may take anything out.
#![expect(unsafe_code, reason = "frees what nobody reaches")]

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

use heirloom_abi::pool::PoolReader;
use heirloom_abi::roots::Roots;

use super::bytes::Mapped;
use super::{Heap, Poisoned, Remedy, roots};
use crate::foreign::trace::{self, Start, Unreached};

/// What became of the objects that no root reaches, where [`crate::Options::reclaim_leaks`] asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Objects given back.
    pub objects: u64,
    /// Bytes of their slots.
    pub bytes: u64,
    /// Why none was given back: what was not reached may be in use.
    pub doubts: Vec<String>,
}

/// What no root reached as the heap was taken over.
pub(super) struct Found {
    /// The objects, or what was in doubt.
    unreached: Result<Vec<Unreached>, Vec<String>>,
    /// Roots that count as replaced.
    replaced: Vec<String>,
}

/// The heaps that this process has had open. What it holds of one it does not hold after an `exec`, and neither has it this.
static SEEN: Mutex<Vec<[u8; 16]>> = Mutex::new(Vec::new());

/// Notes that this process has a heap open; true where it has had it open before.
pub(super) fn note_open(id: [u8; 16]) -> bool {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let is_known = seen.contains(&id);
    if !is_known {
        seen.push(id);
    }
    is_known
}

impl Heap {
    /// Looks for what no root reaches. No code of the program has run since the heap was taken over.
    pub(super) fn look_for_leaks(&self) -> Found {
        if self.was_open_here && !self.options.holds_nothing {
            let doubt = "this process has had the heap open before, and may hold objects from that time";
            return Found { unreached: Err(vec![doubt.to_owned()]), replaced: Vec::new() };
        }
        let replaced = self.find_to_be_replaced();
        Found { unreached: self.find_unreached(&replaced), replaced }
    }

    /// Gives back what was found. The door has not been opened yet; `poisoned` tells which roots were replaced since.
    pub(super) fn give_back(&self, found: Found, poisoned: &[Poisoned]) -> Reclaimed {
        let in_doubt = |doubts| Reclaimed { doubts, ..Reclaimed::default() };
        let is_replaced =
            |name: &str| poisoned.iter().any(|one| one.root == name && one.remedy == Remedy::Replaced);
        if let Some(name) = found.replaced.iter().find(|name| !is_replaced(name)) {
            return in_doubt(vec![format!("root `{name}` was to be replaced, and was not")]);
        }
        let unreached = match found.unreached {
            Ok(unreached) => unreached,
            Err(doubts) => return in_doubt(doubts),
        };
        let pool = self.hall.pool();
        let Some(cpu) = pool.claim_cpu() else { return in_doubt(vec!["no room for a CPU slot".to_owned()]) };
        let mut reclaimed = Reclaimed::default();
        for object in unreached {
            // SAFETY: it was allocated at the look, by the pool's own records, and is still, as nobody refers to it: by *held by nobody*
            // this process does not, and by *replaced* no root leads to it. With all its bytes said to be in use, all of them are
            // zeroed.
            unsafe {
                match object.cache {
                    Some(cache) => pool.free(cpu, cache as usize, object.offset, object.bytes as usize),
                    None => pool.free_large(object.offset),
                }
            }
            reclaimed.objects += 1;
            reclaimed.bytes += object.bytes;
        }
        pool.release_cpu(cpu);
        reclaimed
    }

    fn find_unreached(&self, replaced: &[String]) -> Result<Vec<Unreached>, Vec<String>> {
        let doubt = |error: &dyn std::fmt::Display| vec![error.to_string()];
        let (pool, memory) = (self.hall.pool(), Mapped(&self.backing));
        let base = self.backing.base().as_ptr().addr() as u64;
        let record = roots::copy_of(&self.backing, self.layout.roots).map_err(|error| doubt(&error))?;
        let record = Roots::read(&record).map_err(|error| doubt(&error))?;
        let starts: Vec<Start<'_>> = record
            .iter()
            .filter(|root| !replaced.iter().any(|name| name == root.name))
            .map(|root| Start { name: root.name, form: root.ty, offset: root.object_offset })
            .collect();
        let reader = PoolReader::open(&memory, self.layout.control.offset).map_err(|error| doubt(&error))?;
        let kept: Vec<u64> =
            (0..pool.nr_cpu_slots()).map(|index| pool.cpu(index).diary().load(Relaxed)).collect();
        let traced = trace::trace(&memory, &reader, base, self.backing.len(), &starts, &kept)
            .map_err(|error| doubt(&error))?;
        match traced.doubts() {
            doubts if doubts.is_empty() => Ok(traced.unreached().collect()),
            doubts => Err(doubts),
        }
    }
}
