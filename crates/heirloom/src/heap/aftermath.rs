//! The aftermath of a death: what threads of the dead owner had begun is undone, and what they were changing is poisoned.
//!
//! ```text
//! look     before anything is written: every diary is read and checked, locks in the roots' objects are looked at
//! settle   behind the pool's recovery: old bytes back, blocks of unfinished changes back, roots poisoned, diaries empty
//! ```
//!
//! Each step can be done again: a recovery that is killed is begun anew by the next one. Old bytes are written before the entry
//! that has them counts no longer, a block that is free already is passed over, and a root is poisoned before the note that says
//! so is cleared.
#![expect(unsafe_code, reason = "writes old bytes back into a heap that nobody else has")]

use std::sync::atomic::Ordering::*;

use heirloom_abi::diary::{self, CHANGING, CHANGING_AT, Diary, DiaryError, ENTRIES_AT, Entry, USED_AT};
use heirloom_abi::pool::{BLOCK_KIND_HUGE, CpuRecord, Memory, PoolReader};
use heirloom_abi::roots::{RootState, Roots, set_state};
use heirloom_slab::{Found, Pool, caller_step};

use super::bytes::Mapped;
use super::host::BlockHost;
use super::layout::Layout;
use super::{HeapError, roots};
use crate::backing::Backing;
use crate::foreign::trace;

/// What a dead owner left.
pub(super) struct Aftermath {
    /// Threads that were inside.
    pub(super) inside: u32,
    /// Transactions that were open, and changes of collections that were on their way.
    pub(super) open: u32,
    /// Diaries, with their places.
    diaries: Vec<(u64, Vec<u8>)>,
    /// Roots that are to be poisoned.
    changing: Vec<usize>,
}

impl Aftermath {
    /// Looks at what the owner of `generation` left. Nothing is written.
    pub(super) fn look(backing: &Backing, layout: &Layout, generation: u32) -> Result<Self, HeapError> {
        let memory = Mapped(backing);
        let reader = PoolReader::open(&memory, layout.control.offset)
            .map_err(|error| HeapError::Pool(error.into()))?;
        let mut found = Self { inside: 0, open: 0, diaries: Vec::new(), changing: Vec::new() };
        for cpu in 0..reader.nr_cpus() {
            let (inside, offset) = slot_words(&memory, layout, cpu);
            found.inside += u32::from(inside != 0);
            if offset == 0 {
                continue;
            }
            let damaged = |error| HeapError::Diary { cpu, error };
            check_place(offset, &found.diaries, layout, backing).map_err(damaged)?;
            let bytes = read_diary(&memory, offset).map_err(damaged)?;
            let diary = Diary::read(&bytes, layout.first_block..backing.len()).map_err(damaged)?;
            found.open += u32::from(diary.is_open());
            found.changing.extend(diary.changing().map(|root| root as usize));
            found.diaries.push((offset, bytes));
        }
        let record = roots::copy_of(backing, layout.roots)?;
        for root in Roots::read(&record).map_err(roots::RootError::from)?.iter() {
            if trace::is_locked(&memory, root.ty, root.object_offset, generation) {
                found.changing.push(root.index);
            }
        }
        found.changing.sort_unstable();
        found.changing.dedup();
        Ok(found)
    }

    /// Undoes and poisons. Nobody else has the heap, and its door was not opened yet.
    pub(super) fn settle(&self, pool: &Pool<BlockHost>, backing: &Backing, layout: &Layout) {
        let heap = layout.first_block..backing.len();
        let base = backing.base().as_ptr();
        let poisoned = {
            // SAFETY: nobody else has the heap, and this is the only reference.
            poison(unsafe { roots::record(backing, layout.roots) }, &self.changing)
        };
        let objects = Objects::of(pool, backing, layout);
        for (at, bytes) in &self.diaries {
            let Ok(diary) = Diary::read(bytes, heap.clone()) else { continue };
            if !objects.hold(*at, bytes.len()) {
                eprintln!("heirloom: the diary at {at:#x} lies in no object, and is not followed");
                continue;
            }
            let mut entries: Vec<Entry<'_>> = diary.entries().collect();
            entries.reverse();
            for entry in &entries {
                if let Entry::Bytes { offset, old } = entry {
                    // What is not an object any more was given back by a recovery that was cut, or never was one.
                    if !objects.hold(*offset, old.len()) {
                        continue;
                    }
                    // SAFETY: the range lies in an object of the mapped heap, which nobody else has.
                    unsafe { base.add(*offset as usize).copy_from_nonoverlapping(old.as_ptr(), old.len()) };
                    caller_step();
                }
            }
            if let Some(cpu) = pool.claim_cpu() {
                for entry in &entries {
                    if let Entry::Block { offset } = entry {
                        give_back(pool, cpu, *offset);
                        caller_step();
                    }
                }
                pool.release_cpu(cpu);
            }
            // SAFETY: within an object, and aligned, as was seen above; words of a diary are atomics.
            unsafe {
                let used = &*base.add(*at as usize + USED_AT).cast::<std::sync::atomic::AtomicU64>();
                used.store(0, Release);
                caller_step();
                for n in (0..CHANGING).filter(|_| poisoned) {
                    let at = *at as usize + CHANGING_AT + 4 * n;
                    (*base.add(at).cast::<std::sync::atomic::AtomicU32>()).store(0, Release);
                }
            }
        }
    }
}

/// Poisons the roots of these entries; false where the record does not take one of them. The others are poisoned all the same.
fn poison(record: &mut [u8], changing: &[usize]) -> bool {
    let poison_one = |index: usize| {
        caller_step();
        // A diary may name an entry that is not there: its thread died before the root was added, or the root has been given
        // another since.
        match Roots::read(record) {
            Ok(roots) if roots.iter_all().any(|root| root.index == index) => {}
            read => return read.is_ok(),
        }
        set_state(record, index, RootState::Poisoned).is_ok()
    };
    changing.iter().copied().map(poison_one).fold(true, |all, one| all & one)
}

/// The objects of a heap that was just recovered: what lies in none of them is the pool's, and not to be written.
struct Objects<'a> {
    pool: &'a Pool<BlockHost>,
    /// Those of several blocks, of which the pool finds the first block alone. Sorted.
    huge: Vec<std::ops::Range<u64>>,
}

impl<'a> Objects<'a> {
    fn of(pool: &'a Pool<BlockHost>, backing: &Backing, layout: &Layout) -> Self {
        let mut huge = Vec::new();
        let memory = Mapped(backing);
        if let Ok(reader) = PoolReader::open(&memory, layout.control.offset) {
            let first = u64::from(layout.geometry.header_units()) << layout.geometry.unit_shift;
            let blocks = (0..reader.nr_blocks()).filter_map(|index| reader.block(index).ok().flatten());
            for block in blocks.filter(|block| block.kind == BLOCK_KIND_HUGE) {
                let start = block.offset + first;
                huge.push(start..start + block.object_bytes);
            }
        }
        huge.sort_unstable_by_key(|object| object.start);
        Self { pool, huge }
    }

    /// True where all of these bytes are of one object that is allocated.
    fn hold(&self, offset: u64, bytes: usize) -> bool {
        let Some(end) = offset.checked_add(bytes as u64) else { return false };
        let behind = self.huge.partition_point(|object| object.start <= offset);
        if let Some(object) = behind.checked_sub(1).map(|last| &self.huge[last]).filter(|it| offset < it.end)
        {
            return end <= object.end;
        }
        let is_allocated = |found: &Found| !self.pool.is_listed_free(self.pool.cpu(0), found);
        let found = self.pool.find(offset).filter(is_allocated);
        found.is_some_and(|found| end <= found.start + found.bytes)
    }
}

/// Gives a block back that is allocated still.
fn give_back(pool: &Pool<BlockHost>, cpu: heirloom_slab::Cpu<'_>, offset: u64) {
    let Some(found) = pool.find(offset).filter(|found| found.start == offset) else { return };
    if pool.is_listed_free(cpu, &found) {
        return;
    }
    // SAFETY: it is allocated, by the pool's own records; the value that owned it was never reached, or is not any more.
    unsafe {
        match found.cache {
            Some(cache) => pool.free(cpu, cache, offset, found.bytes as usize),
            None => pool.free_large(offset),
        }
    }
}

/// Makes the words of every CPU slot such that they say what is true in a heap that is being opened: nobody is inside, and a diary is
/// named only where one lies.
pub(super) fn reset_slots(pool: &Pool<BlockHost>, backing: &Backing, layout: &Layout) {
    let (memory, mut seen) = (Mapped(backing), Vec::new());
    for index in 0..pool.nr_cpu_slots() {
        let cpu = pool.cpu(index);
        cpu.inside().store(0, Relaxed);
        let offset = cpu.diary().load(Relaxed);
        if offset == 0 {
            continue;
        }
        // A slot has a diary of its own.
        if seen.contains(&offset) || !is_diary(pool, &memory, backing, layout, offset) {
            cpu.diary().store(0, Relaxed);
        }
        seen.push(offset);
    }
}

fn is_diary(
    pool: &Pool<BlockHost>,
    memory: &Mapped<'_>,
    backing: &Backing,
    layout: &Layout,
    offset: u64,
) -> bool {
    if offset < layout.first_block || offset >= backing.len() {
        return false;
    }
    let Some(found) = pool.find(offset).filter(|found| found.start == offset) else { return false };
    let is_free = pool.is_listed_free(pool.cpu(0), &found);
    let Ok(bytes) = read_diary(memory, offset) else { return false };
    let is_empty = Diary::read(&bytes, layout.first_block..backing.len()).is_ok_and(|diary| !diary.is_open());
    !is_free && is_empty && bytes.len() as u64 <= found.bytes
}

/// The door word and the place of the diary, as they stand in the record of a CPU slot.
fn slot_words(memory: &Mapped<'_>, layout: &Layout, cpu: u32) -> (u32, u64) {
    let at = layout.control.offset + layout.geometry.cpu_offset(cpu);
    let (mut inside, mut diary) = ([0; 4], [0; 8]);
    let read = memory
        .read(at + std::mem::offset_of!(CpuRecord, inside) as u64, &mut inside)
        .and_then(|()| memory.read(at + std::mem::offset_of!(CpuRecord, diary) as u64, &mut diary));
    if read.is_some() { (u32::from_le_bytes(inside), u64::from_le_bytes(diary)) } else { (0, 0) }
}

/// Whether a diary may lie at `offset`, as far as that can be told before the pool is recovered.
fn check_place(
    offset: u64,
    others: &[(u64, Vec<u8>)],
    layout: &Layout,
    backing: &Backing,
) -> Result<(), DiaryError> {
    let what = if !offset.is_multiple_of(diary::ALIGN) {
        "between two words"
    } else if offset < layout.first_block || offset >= backing.len() {
        "outside the blocks"
    } else if others.iter().any(|&(other, _)| other == offset) {
        "where that of another CPU slot lies"
    } else {
        return Ok(());
    };
    Err(DiaryError::Place { offset, what })
}

fn read_diary(memory: &Mapped<'_>, offset: u64) -> Result<Vec<u8>, DiaryError> {
    let outside = DiaryError::Outside { offset, bytes: ENTRIES_AT as u64 };
    let mut head = vec![0; ENTRIES_AT];
    memory.read(offset, &mut head).ok_or(outside)?;
    let len = diary::length(&head)?;
    let used = heirloom_abi::le::get_u64(&head, USED_AT).unwrap_or(0);
    // What is not used need not be read: it is zero for the reader.
    let used = usize::try_from(used).unwrap_or(usize::MAX).min(len - ENTRIES_AT);
    let mut bytes = vec![0; len];
    let end = ENTRIES_AT + used;
    memory.read(offset, &mut bytes[..end]).ok_or(DiaryError::Outside { offset, bytes: end as u64 })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use heirloom_abi::roots::{self, Batch, MIN_BYTES, NewRoot};
    use heirloom_abi::types::{TypeDesc, flat_len, flatten};

    use super::*;

    const U64: &TypeDesc = &TypeDesc::primitive("u64", 8, 8);
    static FORM: [u8; flat_len(U64)] = flatten(U64);

    /// ```text
    /// |a|b|    a migrates    |retired|b|a'|    and then c    |c|b|a'|
    /// ```
    #[test]
    fn the_entry_that_a_root_has_now_is_poisoned_whatever_stands_before_it() {
        let root = |name, object_offset| NewRoot { name, object_offset, ty: &FORM, generation: 1 };
        let mut record = vec![0; MIN_BYTES];
        roots::init(&mut record).unwrap();
        for (name, offset) in [("a", 0x20_0000), ("b", 0x20_0008)] {
            roots::add(&mut record, &root(name, offset)).unwrap();
        }
        roots::supersede(&mut record, &root("a", 0x20_0010), Batch::ALONE).unwrap();
        roots::retire(&mut record, 0).unwrap();
        let poisoned = |record: &[u8]| {
            let roots = Roots::read(record).unwrap();
            let is_poisoned = |name: &str| roots.find(name).unwrap().state == RootState::Poisoned;
            (is_poisoned("a"), is_poisoned("b"))
        };
        // What is retired, and what never was, stands in nobody's way.
        assert!(poison(&mut record, &[0, 2, 7]));
        assert_eq!(poisoned(&record), (true, false));
        assert!(poison(&mut record, &[0, 1]));
        assert_eq!(poisoned(&record), (true, true));
        record[0] ^= 1;
        assert!(!poison(&mut record, &[0]), "the note is kept where the record cannot be read");
    }
}
