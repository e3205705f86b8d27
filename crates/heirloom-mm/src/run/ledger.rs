//! The record of a run and its ledger, in the preserve pool.
//!
//! ```text
//! record (256 bytes)          directory (4 KiB)          chunk (4 KiB)
//! | magic, numbers, --------> | chunk | chunk | ... ---> | object, size and kind, seed | x 170 |
//! | totals, checksum |
//! ```
//!
//! All of them are objects like those they list. Read in a successor, they are foreign: [`Ledger::open`] looks each up in the
//! restored pool before it reads it.

use core::ptr::NonNull;

use heirloom_abi::checksum;

use super::report::Totals;
use crate::gfp::Gfp;
use crate::machine::{AllocError, Machine};
use crate::phys::Memory;
use crate::platform::Platform;

/// Words of a record.
const RECORD_WORDS: usize = 32;

/// Bytes of a record.
pub(super) const RECORD_BYTES: u64 = RECORD_WORDS as u64 * 8;

const MAGIC: u64 = u64::from_le_bytes(*b"hl-run-1");

const CHUNK_BYTES: u64 = 4096;

/// Entries of a chunk: three words each.
const CHUNK_ENTRIES: u64 = CHUNK_BYTES / 24;

/// Chunks that a directory names.
const MAX_CHUNKS: u64 = CHUNK_BYTES / 8;

/// What one generation tells the next about the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) generation: u64,
    pub(super) nr_objects: u64,
    pub(super) directory: u64,
    pub(super) nr_chunks: u64,
    pub(super) folio: u64,
    pub(super) pages: (u64, u64),
    pub(super) area: [u64; 2],
    pub(super) totals: Totals,
}

impl Record {
    /// Reads a record whose memory was found to be an object of the preserve pool; `None` where it is none.
    pub(super) fn read(map: Memory, phys: u64) -> Option<Self> {
        let mut bytes = [0; RECORD_BYTES as usize];
        map.read(phys, &mut bytes);
        let mut words = [0; RECORD_WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = heirloom_abi::le::get_u64(chunk, 0)?;
        }
        let sum = checksum(&bytes[..bytes.len() - 8], 0);
        if words[0] != MAGIC || words[RECORD_WORDS - 1] != sum {
            return None;
        }
        Some(Self {
            generation: words[1],
            nr_objects: words[2],
            directory: words[3],
            nr_chunks: words[4],
            folio: words[5],
            pages: (words[6], words[7]),
            area: [words[8], words[9]],
            totals: Totals {
                inherited: words[10],
                lost: words[11],
                corrupt: words[12],
                stale_bytes: words[13],
                stranded_bytes: words[14],
                metadata_in_scratch: words[15],
                guard_reports: words[16],
            },
        })
    }

    pub(super) fn write(&self, map: Memory, phys: u64) {
        let totals = self.totals;
        let words = [
            MAGIC,
            self.generation,
            self.nr_objects,
            self.directory,
            self.nr_chunks,
            self.folio,
            self.pages.0,
            self.pages.1,
            self.area[0],
            self.area[1],
            totals.inherited,
            totals.lost,
            totals.corrupt,
            totals.stale_bytes,
            totals.stranded_bytes,
            totals.metadata_in_scratch,
            totals.guard_reports,
        ];
        let mut bytes = [0; RECORD_BYTES as usize];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        let at = bytes.len() - 8;
        let sum = checksum(&bytes[..at], 0);
        bytes[at..].copy_from_slice(&sum.to_le_bytes());
        map.write(phys, &bytes);
    }
}

/// One object of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) phys: u64,
    pub(super) size: u64,
    pub(super) seed: u64,
}

/// The ledger.
pub(super) struct Ledger {
    pub(super) directory: u64,
    pub(super) nr_chunks: u64,
    pub(super) len: u64,
}

impl Ledger {
    /// Begins an empty ledger.
    pub(super) fn create<P: Platform>(machine: &Machine<'_, P>) -> Result<Self, AllocError> {
        let directory = machine.alloc(CHUNK_BYTES as usize, Gfp::PRESERVE | Gfp::ZERO)?;
        Ok(Self { directory: machine.phys(directory), nr_chunks: 0, len: 0 })
    }

    /// Opens the ledger that a record names; `None` where a part of it is no object.
    pub(super) fn open<P: Platform>(machine: &Machine<'_, P>, record: &Record) -> Option<Self> {
        let Record { directory, nr_chunks, nr_objects: len, .. } = *record;
        if nr_chunks > MAX_CHUNKS || len > nr_chunks * CHUNK_ENTRIES || !is_chunk(machine, directory) {
            return None;
        }
        let ledger = Self { directory, nr_chunks, len };
        (0..nr_chunks).all(|at| is_chunk(machine, ledger.chunk(machine, at))).then_some(ledger)
    }

    /// Objects that the ledger itself consists of.
    pub(super) fn nr_own(&self) -> u64 {
        1 + self.nr_chunks
    }

    pub(super) fn get<P: Platform>(&self, machine: &Machine<'_, P>, index: u64) -> Entry {
        let (map, at) = (machine.memory(), self.place(machine, index));
        Entry { phys: map.load(at), size: map.load(at + 8), seed: map.load(at + 16) }
    }

    fn set<P: Platform>(&self, machine: &Machine<'_, P>, index: u64, entry: Entry) {
        let (map, at) = (machine.memory(), self.place(machine, index));
        map.store(at, entry.phys);
        map.store(at + 8, entry.size);
        map.store(at + 16, entry.seed);
    }

    /// Adds an entry.
    pub(super) fn push<P: Platform>(
        &mut self,
        machine: &Machine<'_, P>,
        entry: Entry,
    ) -> Result<(), AllocError> {
        if self.len == self.nr_chunks * CHUNK_ENTRIES {
            if self.nr_chunks == MAX_CHUNKS {
                return Err(AllocError::OutOfMemory { bytes: CHUNK_BYTES as usize });
            }
            let chunk = machine.alloc(CHUNK_BYTES as usize, Gfp::PRESERVE)?;
            machine.memory().store(self.directory + 8 * self.nr_chunks, machine.phys(chunk));
            self.nr_chunks += 1;
        }
        self.len += 1;
        self.set(machine, self.len - 1, entry);
        Ok(())
    }

    /// Takes an entry out; the last one takes its place.
    pub(super) fn swap_remove<P: Platform>(&mut self, machine: &Machine<'_, P>, index: u64) -> Entry {
        let (entry, last) = (self.get(machine, index), self.get(machine, self.len - 1));
        self.set(machine, index, last);
        self.len -= 1;
        entry
    }

    fn chunk<P: Platform>(&self, machine: &Machine<'_, P>, at: u64) -> u64 {
        machine.memory().load(self.directory + 8 * at)
    }

    fn place<P: Platform>(&self, machine: &Machine<'_, P>, index: u64) -> u64 {
        self.chunk(machine, index / CHUNK_ENTRIES) + index % CHUNK_ENTRIES * 24
    }
}

fn is_chunk<P: Platform>(machine: &Machine<'_, P>, phys: u64) -> bool {
    is_object(machine, phys, CHUNK_BYTES)
}

/// True for an allocated object of the preserve pool with room for so many bytes.
pub(super) fn is_object<P: Platform>(machine: &Machine<'_, P>, phys: u64, size: u64) -> bool {
    let room = || {
        let object = NonNull::new(machine.address(phys))?;
        machine.usable_bytes(object)
    };
    machine.is_preserved_object(phys) && room().is_some_and(|room| room as u64 >= size)
}
