//! The pool's host: blocks of the heap's file, and the map that says which of them are preserved.
//!
//! A block is taken at the lowest free place, the file grows as far as needed, and the block is marked in the
//! preserved-memory map before the pool knows of it. Given back, it is unmarked; its pages stay for a while, as spares, or
//! go back to the system.
#![expect(unsafe_code, reason = "implements the host's promise over the mapped file")]

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heirloom_slab::{Fault, Host};

use super::map_pages::PreservedMap;
use super::spares::Spares;
use crate::backing::Backing;

/// Blocks of a file.
pub(crate) struct BlockHost {
    backing: Arc<Backing>,
    block_shift: u32,
    first_block: u64,
    state: Mutex<State>,
    /// Misuses and damages that the pool reported.
    nr_faults: AtomicU64,
    /// Whether a block gets its memory when it is taken.
    prefault: AtomicBool,
}

/// When blocks that come back are zeroed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    Later,
}

struct State {
    /// One bit a block behind `first_block`.
    taken: Vec<u64>,
    nr_blocks: u64,
    /// No block below this one is free.
    lowest: u64,
    spares: Spares,
    map: PreservedMap,
}

impl BlockHost {
    /// Blocks of `backing` from `first_block` on, none of them taken yet.
    pub(crate) fn new(backing: Arc<Backing>, block_shift: u32, first_block: u64, map: PreservedMap) -> Self {
        let nr_blocks = (backing.reserved() - first_block) >> block_shift;
        let taken = vec![0; nr_blocks.div_ceil(64) as usize];
        let spares = Spares::new(nr_blocks);
        let state = Mutex::new(State { taken, nr_blocks, lowest: 0, spares, map });
        let (nr_faults, prefault) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { backing, block_shift, first_block, state, nr_faults, prefault }
    }

    /// Says whether blocks get their memory when they are taken, and not at their first touch.
    pub(crate) fn set_prefault(&self, wanted: bool) {
        self.prefault.store(wanted, Relaxed);
    }

    /// Bytes of address space behind the base.
    pub(crate) fn reserved(&self) -> u64 {
        self.backing.reserved()
    }

    pub(crate) fn nr_faults(&self) -> u64 {
        self.nr_faults.load(Relaxed)
    }

    /// After a crash: gives the pages of every block back that the pool does not have, and unmarks it.
    pub(crate) fn drop_unknown_blocks(&self) {
        let mut state = self.state();
        let len = self.backing.len();
        for index in 0..state.nr_blocks {
            let offset = self.first_block + (index << self.block_shift);
            if offset >= len {
                break;
            }
            if !state.is_taken(index) {
                // Foreign hands may have left a length that no block ends at.
                self.backing.punch(offset, (len - offset).min(1 << self.block_shift));
                state.map.unmark(offset);
            } else {
                state.map.mark_again(offset);
            }
        }
    }

    /// After another process has used the heap, and is dead: knows of no block any more, and of none that may hold old bytes. The pool
    /// asks for those in its table, as at a restore.
    pub(crate) fn forget_blocks(&self, map: PreservedMap) {
        let mut state = self.state();
        state.map = map;
        state.taken.fill(0);
        state.lowest = 0;
        state.spares.forget();
    }

    /// The map's root page.
    pub(crate) fn map_root(&self) -> u64 {
        self.state().map.root()
    }

    /// Lets pages of up to `bytes` of free blocks stay; those beyond go to the system. None ever stay in a file with a name,
    /// whose file system is shared with others. A file that is handed over holds what the pool has, and nothing else: call
    /// this with 0 first.
    pub(crate) fn keep_spares(&self, bytes: u64) {
        let most = if self.backing.has_name() { 0 } else { bytes >> self.block_shift };
        self.state().spares.keep(most, |index| self.punch(index));
    }

    /// Gives the pages of a block back to the system.
    fn punch(&self, index: u64) {
        self.backing.punch(self.first_block + (index << self.block_shift), 1 << self.block_shift);
    }

    /// Where the last block that is taken ends.
    pub(crate) fn end_of_blocks(&self) -> u64 {
        let state = self.state();
        let last = (0..state.nr_blocks).rev().find(|&index| state.is_taken(index));
        self.first_block + (last.map_or(0, |last| last + 1) << self.block_shift)
    }

    /// Pages of the map.
    pub(crate) fn nr_map_pages(&self) -> u64 {
        self.state().map.nr_pages()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `nr` blocks from `start` on, which are free: their offset. The file grows over them, and they are marked.
    fn claim(&self, state: &mut State, start: u64, nr: u64) -> Option<u64> {
        let offset = self.first_block + (start << self.block_shift);
        let end = offset + (nr << self.block_shift);
        if end > self.backing.len() && self.backing.grow_to(end).is_err() {
            return None;
        }
        // A block at a time: a signal cuts the call, and it starts again.
        for i in 0..nr {
            let block = offset + (i << self.block_shift);
            if self.backing.provide(block, 1 << self.block_shift).is_err() {
                self.backing.punch(offset, (i + 1) << self.block_shift);
                return None;
            }
        }
        for i in 0..nr {
            if !state.map.mark(offset + (i << self.block_shift)) {
                for done in 0..i {
                    state.map.unmark(offset + (done << self.block_shift));
                }
                return None;
            }
        }
        for i in 0..nr {
            state.set(start + i, true);
        }
        if start == state.lowest {
            state.lowest = start + nr;
        }
        Some(offset)
    }

    /// Takes the blocks from `start` on, which were claimed, off the spares, and zeroes what may be old in them but for `any`, a
    /// range of their bytes.
    fn clean(&self, mut state: MutexGuard<'_, State>, start: u64, nr: u64, any: &Range<u64>) {
        let dirty = state.spares.remove(start, nr);
        drop(state);
        for index in dirty {
            let bytes = (index - start) << self.block_shift..(index + 1 - start) << self.block_shift;
            let at = self.first_block + (start << self.block_shift);
            let kept = any.start.clamp(bytes.start, bytes.end)..any.end.clamp(bytes.start, bytes.end);
            if kept.is_empty() {
                self.backing.zero(at + bytes.start, bytes.end - bytes.start);
            } else {
                self.backing.zero(at + bytes.start, kept.start - bytes.start);
                self.backing.zero(at + kept.end, bytes.end - kept.end);
            }
        }
    }

    /// Gets the memory of blocks that were just taken, where that is wanted.
    fn fault_in(&self, offset: u64, nr: u64) {
        if self.prefault.load(Relaxed) {
            self.backing.populate(offset, nr << self.block_shift, true);
        }
    }

    /// Takes blocks back of which the first `used` bytes may be other than zero, and zeroes these now or later.
    fn take_back(&self, offset: u64, nr: u64, used: u64, zero: When) {
        let Some(index) = self.index_of(offset) else { return };
        let mut state = self.state();
        if !state.spares.have_room(nr) {
            state.spares.make_room(index, nr, |index| self.punch(index));
        }
        if state.spares.have_room(nr) {
            // Blocks that are full of old bytes may wait; of one with a few it is forgotten how few they are.
            let dirty = if zero == When::Later { (used >> self.block_shift).min(nr) } else { 0 };
            let start = dirty << self.block_shift;
            self.backing.zero(offset + start, used - start);
            state.spares.add(index, nr);
            state.spares.mark_dirty(index, dirty);
        } else {
            self.backing.punch(offset, nr << self.block_shift);
        }
        for i in 0..nr {
            state.map.unmark(offset + (i << self.block_shift));
            state.set(index + i, false);
        }
        state.lowest = state.lowest.min(index);
    }

    /// Takes blocks that are among the first `nr_blocks` of the file, are marked, and are nobody's yet.
    #[inline]
    fn adopt_one(&self, state: &mut State, nr_blocks: u64, offset: u64, nr: u64) -> bool {
        let Some(index) = self.index_of(offset) else { return false };
        let end = index.saturating_add(nr);
        if end > nr_blocks {
            return false;
        }
        let is_free = |state: &State, index: u64| {
            !state.is_taken(index) && state.map.contains(self.first_block + (index << self.block_shift))
        };
        if nr == 1 {
            // Nearly all of them.
            let is_free = is_free(state, index);
            if is_free {
                state.set(index, true);
            }
            return is_free;
        }
        if !(index..end).all(|index| is_free(state, index)) {
            return false;
        }
        (index..end).for_each(|index| state.set(index, true));
        true
    }

    fn index_of(&self, offset: u64) -> Option<u64> {
        let within = offset.checked_sub(self.first_block)?;
        let index = within >> self.block_shift;
        (index << self.block_shift == within).then_some(index)
    }
}

impl State {
    fn is_taken(&self, index: u64) -> bool {
        self.taken[(index / 64) as usize] >> (index % 64) & 1 == 1
    }

    fn set(&mut self, index: u64, taken: bool) {
        let word = &mut self.taken[(index / 64) as usize];
        if taken { *word |= 1 << (index % 64) } else { *word &= !(1 << (index % 64)) }
    }

    /// The lowest place with `nr` free blocks in a row.
    fn find(&self, nr: u64) -> Option<u64> {
        let mut start = self.lowest;
        let mut at = start;
        while at < self.nr_blocks {
            if self.is_taken(at) {
                start = at + 1;
            } else if at + 1 - start == nr {
                return Some(start);
            }
            at += 1;
        }
        None
    }
}

// SAFETY: the backing stays mapped for as long as this lives; a block is taken once until it is given back, and its
// pages are all zeros: new ones after they were punched out, or spares, of which those with old bytes are zeroed as they are taken.
unsafe impl Host for BlockHost {
    fn base(&self) -> NonNull<u8> {
        self.backing.base()
    }

    fn take(&self, nr: u32) -> Option<u64> {
        self.take_with(nr, 0..0)
    }

    fn take_with(&self, nr: u32, any: Range<u64>) -> Option<u64> {
        let mut state = self.state();
        let start = state.find(nr.into())?;
        let offset = self.claim(&mut state, start, nr.into())?;
        self.clean(state, start, nr.into(), &any);
        self.fault_in(offset, nr.into());
        Some(offset)
    }

    fn extend(&self, offset: u64, nr: u32, more: u32) -> bool {
        let Some(index) = self.index_of(offset) else { return false };
        let (start, more) = (index + u64::from(nr), u64::from(more));
        let mut state = self.state();
        let is_free = start + more <= state.nr_blocks && !(start..start + more).any(|at| state.is_taken(at));
        let Some(offset) = is_free.then(|| self.claim(&mut state, start, more)).flatten() else {
            return false;
        };
        self.clean(state, start, more, &(0..0));
        self.fault_in(offset, more);
        true
    }

    fn provide(&self, offset: u64, len: u64) -> bool {
        self.backing.provide(offset, len).is_ok()
    }

    fn give_back(&self, offset: u64, nr: u32) {
        self.take_back(offset, nr.into(), u64::from(nr) << self.block_shift, When::Now);
    }

    fn give_back_dirty(&self, offset: u64, nr: u32, used: u64) {
        let nr = u64::from(nr);
        self.take_back(offset, nr, used.min(nr << self.block_shift), When::Later);
    }

    fn give_back_clean(&self, offset: u64, head_bytes: u64) {
        self.take_back(offset, 1, head_bytes, When::Now);
    }

    fn adopt(&self, offset: u64, nr: u32) -> bool {
        self.adopt_all(&[(offset, nr)]) == 1
    }

    fn adopt_all(&self, blocks: &[(u64, u32)]) -> usize {
        let mut state = self.state();
        let in_file = self.backing.len().saturating_sub(self.first_block) >> self.block_shift;
        let most = in_file.min(state.nr_blocks);
        blocks.iter().take_while(|&&(offset, nr)| self.adopt_one(&mut state, most, offset, nr.into())).count()
    }

    fn pause(&self) {
        std::thread::yield_now();
    }

    fn report(&self, fault: Fault) {
        self.nr_faults.fetch_add(1, Relaxed);
        eprintln!("heirloom: {fault}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::SeqCst;

    use heirloom_abi::pool::BlockRecord;
    use heirloom_slab::Contents;

    use super::*;
    use crate::channel::{HandOverError, Incumbent};
    use crate::testing::turn;
    use crate::{Heap, Options};

    /// ```text
    /// freeze | successor: a block lies at 2^45, and dies | taken back: refused | .. at its place again: taken back
    /// ```
    #[test]
    fn a_block_that_a_dead_successor_made_up_is_not_looked_at() {
        let _turn = turn();
        let heap = Heap::inherit_or_create("wild", Options::new().size_limit(64 << 20)).unwrap();
        let inside = heap.enter();
        let object = heap.hall.pool().alloc_large(5 << 20, Contents::Zeroed).unwrap();
        drop(inside);
        heap.keep_spares(0);
        heap.freeze().unwrap();
        let geometry = heap.layout.geometry;
        let entry = heap.layout.control.offset + geometry.block_offset(0);
        let at = entry + std::mem::offset_of!(BlockRecord, offset) as u64;
        // SAFETY: a word of the control area, which only atomics touch.
        let word = unsafe { &*heap.backing.base().as_ptr().add(at as usize).cast::<AtomicU64>() };
        let place = word.swap(1 << 45, SeqCst);
        let refused = Incumbent::reclaim(&heap).unwrap_err();
        assert!(matches!(refused, HandOverError::Freeze { .. }), "{refused}");
        assert!(refused.to_string().contains("not the host's to have"), "{refused}");
        // Nothing was given back: it is all there when the word is what it was.
        word.store(place, SeqCst);
        Incumbent::reclaim(&heap).unwrap();
        assert_eq!(heap.scan().unwrap().live_objects, 1);
        let inside = heap.enter();
        // SAFETY: allocated above, and nobody uses it.
        unsafe { heap.hall.pool().free_large(object) };
        drop(inside);
        assert_eq!(heap.scan().unwrap().live_objects, 0);
    }
}
