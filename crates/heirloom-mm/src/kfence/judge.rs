//! What an access or a byte means: whose page a fault was in, which canary is gone, and whether the records agree.

use core::sync::atomic::Ordering::*;

use super::pool::GuardPool;
use super::report::ReportKind;
use super::slot::{FREED, LIVE, UNUSED};
use crate::phys::PAGE_BYTES;

/// The canary of byte `at` of a page: different for neighbours, so that a shifted copy shows too.
pub(super) const fn canary(at: u64) -> u8 {
    0xaa ^ (at & 7) as u8
}

impl GuardPool {
    /// What an access to `phys` was, and whose page it belongs to.
    pub(super) fn judge(&self, phys: u64) -> (ReportKind, Option<usize>) {
        let head = self.head();
        let number = (phys - head.start) / PAGE_BYTES;
        if let Some(index) = self.slot_of(phys) {
            return match self.slots()[index].state.load(Acquire) {
                FREED => (ReportKind::UseAfterFree, Some(index)),
                UNUSED => (ReportKind::Wild, None),
                _ => (ReportKind::Wild, Some(index)),
            };
        }
        // A guard page: the nearer of its two neighbours was meant.
        let left = (number / 2).checked_sub(1).map(|index| index as usize);
        let right = Some((number / 2) as usize).filter(|&index| index < head.nr_objects as usize);
        let state = |index: usize| self.slots()[index].state.load(Acquire);
        let bounds = |index: usize| {
            let slot = &self.slots()[index];
            let start = self.page(index) + u64::from(slot.offset.load(Relaxed));
            start..start + u64::from(slot.size.load(Relaxed))
        };
        let left = left.filter(|&index| state(index) != UNUSED);
        let right = right.filter(|&index| state(index) != UNUSED);
        // Saturating: a slot that is being reused meanwhile says what it likes, and the guess is then as good as any.
        let behind = left.map_or(u64::MAX, |index| phys.saturating_sub(bounds(index).end));
        let before = right.map_or(u64::MAX, |index| bounds(index).start.saturating_sub(phys));
        match (left, right) {
            (None, None) => (ReportKind::Wild, None),
            (Some(index), _) if behind <= before => match state(index) {
                LIVE => (ReportKind::Overflow, Some(index)),
                _ => (ReportKind::UseAfterFree, Some(index)),
            },
            (_, Some(index)) => match state(index) {
                LIVE => (ReportKind::Underflow, Some(index)),
                _ => (ReportKind::UseAfterFree, Some(index)),
            },
            (Some(index), None) => (ReportKind::Overflow, Some(index)),
        }
    }

    /// The first byte around the object that is not its canary.
    pub(super) fn find_damage(&self, index: usize) -> Option<u64> {
        let (memory, page, slot) = (self.head().memory, self.page(index), &self.slots()[index]);
        let start = u64::from(slot.offset.load(Relaxed));
        let end = start + u64::from(slot.size.load(Relaxed));
        for word in (0..PAGE_BYTES).step_by(8) {
            if word >= start && word + 8 <= end {
                continue;
            }
            let bytes = memory.load(page + word).to_le_bytes();
            for (at, byte) in (word..).zip(bytes) {
                if !(start..end).contains(&at) && byte != canary(at) {
                    return Some(page + at);
                }
            }
        }
        None
    }

    /// Tests the invariants of [the module](super); who wants to know that pages are closed tries them.
    ///
    /// # Errors
    ///
    /// What is broken, and the index of the object page.
    pub fn check(&self) -> Result<(), (&'static str, usize)> {
        let head = self.head();
        let (mut live, mut freed) = (0, 0);
        for (index, slot) in self.slots().iter().enumerate() {
            match slot.state.load(Acquire) {
                LIVE => {
                    live += 1;
                    let end = slot.offset.load(Relaxed) + slot.size.load(Relaxed);
                    if u64::from(end) > PAGE_BYTES {
                        return Err(("an object reaches out of its page", index));
                    }
                    if slot.is_open.load(Relaxed) == 0 {
                        return Err(("a live object's page is closed", index));
                    }
                }
                FREED => {
                    freed += 1;
                    if slot.freed.get().is_none() {
                        return Err(("nobody freed a freed object", index));
                    }
                }
                UNUSED => {}
                _ => return Err(("an object page has no state", index)),
            }
        }
        if live != head.nr_live.load(Relaxed) {
            return Err(("the count of live objects is wrong", live as usize));
        }
        if freed != head.nr_freed.load(Relaxed) {
            return Err(("the count of freed objects is wrong", freed as usize));
        }
        Ok(())
    }
}
