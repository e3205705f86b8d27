//! Leaks given back: what no root reaches when a heap is opened that nobody had open.
//!
//! Only then is it certain that nothing else holds what no root reaches: no thread has been inside yet, and those of the
//! predecessor are gone. Nothing is dropped, as what nobody reached may be half made: memory alone is given back, object by object,
//! and what an object owned is given back as unreached itself.
//!
//! Killed meanwhile, the next opening finds the rest.
#![expect(unsafe_code, reason = "frees what nobody reaches")]

use std::sync::atomic::Ordering::Relaxed;

use heirloom_abi::pool::PoolReader;
use heirloom_abi::roots::Roots;

use super::bytes::Mapped;
use super::{Heap, roots};
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

impl Heap {
    /// Gives back what no root reaches. The door has not been opened yet.
    pub(super) fn reclaim_leaks(&self) -> Reclaimed {
        let unreached = match self.find_unreached() {
            Ok(unreached) => unreached,
            Err(doubts) => return Reclaimed { doubts, ..Reclaimed::default() },
        };
        let pool = self.hall.pool();
        let Some(cpu) = pool.claim_cpu() else {
            return Reclaimed { doubts: vec!["no room for a CPU slot".to_owned()], ..Reclaimed::default() };
        };
        let mut reclaimed = Reclaimed::default();
        for object in unreached {
            // SAFETY: it is allocated, by the pool's own records, and nobody refers to it: no root leads to it, and no thread has
            // been inside since the heap was opened. With all its bytes said to be in use, all of them are zeroed.
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

    fn find_unreached(&self) -> Result<Vec<Unreached>, Vec<String>> {
        let doubt = |error: &dyn std::fmt::Display| vec![error.to_string()];
        let (pool, memory) = (self.hall.pool(), Mapped(&self.backing));
        let base = self.backing.base().as_ptr().addr() as u64;
        let record = roots::copy_of(&self.backing, self.layout.roots).map_err(|error| doubt(&error))?;
        let record = Roots::read(&record).map_err(|error| doubt(&error))?;
        let starts: Vec<Start<'_>> = record
            .iter()
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
