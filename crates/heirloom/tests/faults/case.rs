//! What can be killed, where, and over which channel.

use std::fmt;

use heirloom::points::Point;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Spawn,
    Exec,
    Socket,
    /// The owner is killed while it works; the next start is killed as it takes the heap over.
    Crash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// Nothing keeps the heap but those who have it.
    None,
    File,
    Keeper,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) way: Way,
    pub(crate) store: Store,
    pub(crate) point: Point,
    /// Both sides at once, not only the one that comes by.
    pub(crate) both: bool,
}

impl Case {
    pub(crate) fn victim(&self) -> &'static str {
        match (self.both, self.point.name()) {
            (true, _) => "both",
            (_, name) if name.starts_with("Predecessor") => "predecessor",
            (_, name) if name.starts_with("Keeper") => "founder",
            _ if self.way == Way::Crash => "next start",
            _ => "successor",
        }
    }

    /// Whether this point is passed on this way.
    fn exists(&self) -> bool {
        use Point::*;
        let is_beside = matches!(self.way, Way::Spawn | Way::Socket);
        let is_passed = match self.point {
            FinderOpened => self.way == Way::Crash && self.store == Store::File,
            // Nothing is wrong with these heaps.
            AsideLocked => false,
            FinderFound | FinderTook => self.way == Way::Crash,
            KeeperStarted => self.way == Way::Crash && self.store == Store::Keeper,
            SuccessorClaimed => true,
            PredecessorBegins | PredecessorAtRest | PredecessorPacked | PredecessorFrozen => {
                self.way != Way::Crash
            }
            SuccessorFoundOffer | SuccessorMapped | SuccessorRestored => self.way != Way::Crash,
            PredecessorOffered | PredecessorHeardReady | PredecessorSaidFrozen | PredecessorHeardAnswer => {
                is_beside
            }
            SuccessorSaidReady | SuccessorTookLuggage | SuccessorHeardFrozen | SuccessorAcknowledged => {
                is_beside
            }
        };
        // With nothing to keep it, a heap is lost with its only owner: before it was offered, and after it was taken.
        let is_kept = self.store != Store::None
            || is_beside && !self.both && !matches!(self.point, PredecessorBegins | SuccessorAcknowledged);
        // One process has no other side.
        let has_both = !self.both || is_beside;
        is_passed && is_kept && has_both
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { way, store, point, .. } = self;
        write!(f, "{way:?} with {store:?}, {} killed at {point:?}", self.victim())
    }
}

pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for way in [Way::Spawn, Way::Exec, Way::Socket, Way::Crash] {
        for store in [Store::None, Store::File, Store::Keeper] {
            for &point in Point::ALL {
                for both in [false, true] {
                    let case = Case { way, store, point, both };
                    if case.exists() {
                        cases.push(case);
                    }
                }
            }
        }
    }
    cases
}

pub(crate) fn shuffle(cases: &mut [Case], seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for end in (1..cases.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        cases.swap(end, (state % (end as u64 + 1)) as usize);
    }
}
