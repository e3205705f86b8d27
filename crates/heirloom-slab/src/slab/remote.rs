//! Everybody else's side: frees from a CPU that does not own the slab.
//!
//! ```text
//! publisher                                   owner
//! 1 publishing += 1                           a take the list of announced slabs, announced = 0
//! 2 remote word |= mask                       b read the remote word
//! 3 accumulator = 0                           c publishing != 0? leave the bits, look again later
//! 4 summary |= word, announce the slab        d free word |= bits
//! 5 publishing -= 1                           e remote word &= !bits
//! ```
//!
//! If *b* sees step 2 and *c* sees a zero, step 3 was done: the accumulator no longer lists what the owner is about to
//! hand out. Step 5 comes last, also after the publisher's look at who owns the slab now: a slab nobody publishes into
//! has no visitor at all, and may be taken down and its block given back.

use super::Slab;
use crate::knobs::{window, wrong_order};
use crate::sync::{AtomicU64, Ordering::*};

/// The one word of remote frees that a CPU gathers before it touches another's slab.
pub(crate) struct Accumulator<'a> {
    pub(crate) slab: &'a AtomicU64,
    pub(crate) word: &'a AtomicU64,
    pub(crate) mask: &'a AtomicU64,
}

/// What [`Slab::collect`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Collected {
    /// Slots that are in the free words now.
    pub(crate) nr: u32,
    /// Some bits were left because their publisher has not finished: look again.
    pub(crate) busy: bool,
}

impl Slab<'_> {
    /// Publishes the accumulator, which lists slots of this slab. `announce` is called with true where the slab is on no
    /// list of announced slabs yet: it puts it on its owner's. It is the last to look at the slab.
    pub(crate) fn publish(&self, from: &Accumulator<'_>, announce: impl FnOnce(bool)) {
        let head = self.head;
        let word = from.word.load(Relaxed) as usize;
        let mask = from.mask.load(Relaxed);
        head.publishing.fetch_add(1, AcqRel);
        self.remote[word].fetch_or(mask, AcqRel);
        window();
        from.mask.store(0, Release);
        head.remote_summary.fetch_or(1 << word, AcqRel);
        announce(head.announced.swap(1, AcqRel) == 0);
        window();
        head.publishing.fetch_sub(1, AcqRel);
    }

    /// Folds what others freed into the free words. Only the owner may, under its CPU's lock.
    pub(crate) fn collect(&self) -> Collected {
        let head = self.head;
        let mut collected = Collected::default();
        if head.remote_summary.load(Acquire) == 0 {
            return collected;
        }
        let mut words = head.remote_summary.swap(0, AcqRel);
        while words != 0 {
            let word = words.trailing_zeros() as usize;
            words &= words - 1;
            let Some(remote) = self.remote.get(word) else { continue };
            let bits = remote.load(Acquire);
            if bits == 0 {
                continue;
            }
            if head.publishing.load(Acquire) != 0 && !wrong_order() {
                // A publisher may still list these in its accumulator.
                head.remote_summary.fetch_or(1 << word, AcqRel);
                collected.busy = true;
                continue;
            }
            self.put_free(word, bits);
            window();
            remote.fetch_and(!bits, AcqRel);
            collected.nr += bits.count_ones();
        }
        collected
    }

    /// Takes the slab off the list of announced ones, of which the caller has taken it, and folds in what was freed.
    pub(crate) fn take_announcement(&self) -> Collected {
        // A swap and not a store: it reads the publisher's swap, so all that was published before is seen below.
        self.head.announced.swap(0, AcqRel);
        window();
        self.collect()
    }

    /// Puts the slab, whose `announced` the caller set, on a list of announced slabs. Whoever empties the list takes all of
    /// it with one swap.
    pub(crate) fn push_onto(&self, list: &AtomicU64) {
        let mut first = list.load(Relaxed);
        loop {
            self.head.remote_next.store(first, Relaxed);
            match list.compare_exchange_weak(first, self.at, AcqRel, Relaxed) {
                Ok(_) => break,
                Err(now) => first = now,
            }
        }
    }

    /// Counts the slab as announced; true where the caller is to put it on its owner's list.
    pub(crate) fn announce_again(&self) -> bool {
        self.head.announced.swap(1, AcqRel) == 0
    }
}
