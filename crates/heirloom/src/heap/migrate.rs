//! When objects change their type: at the opening of a heap, at the first use of a root, or on the way back to an older program.
//!
//! ```text
//! predecessor                                        successor
//!   asks by the note: taken | migrates | rolled back
//!   closes the door; notes what is allocated
//!   [rolls back: new objects of the older type]
//!   [takes secrets out]
//!   FROZEN ---------------------------------------->  claims; migrates: new objects beside the old ones, one store a root
//!                                            <-- ACK
//!   exits                                             retires the old entry of each root, gives the old objects back
//! ```
//!
//! All roots change by one last store (`change`). Until ACK both the old objects and the old entry of each root are as they were. A predecessor that takes the heap back retires
//! what is newer than its own entries, and gives back what was not allocated when it froze.
#![expect(
    unsafe_code,
    reason = "has objects converted and given back, whose types are known by their description"
)]

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use heirloom_abi::types::TypeView;

use super::bytes::Mapped;
use super::change::{Change, change, give_back, refused};
use super::map_pages::PreservedMap;
use super::roots::{self, CheckError, Entry, RootError};
use super::{Heap, HeapError};
use crate::evolve::count::{HeapMemory, count};
use crate::evolve::plan::Plan;
use crate::evolve::secret::{self, Kept};
use crate::evolve::shape::Shapes;
use crate::evolve::snapshot::Snapshot;
use crate::evolve::{self, CandidateReport, Migrate, NoWay, RootReport, RootWay, Way};
use crate::generation;
use crate::note::{Candidate, CandidateError, HeapFormat};
use crate::root::declared;

/// What a hand-over does with types, and what it needs to undo it.
#[derive(Default)]
pub(super) struct Passage {
    /// Roots to be written as an older type: the name, and the description that the candidate has.
    back: Vec<(String, Vec<u8>)>,
    /// The successor is going to make objects.
    migrates: bool,
    /// What was allocated at the freeze.
    snapshot: Option<Snapshot>,
    /// The entries of the roots at the freeze: index and serial.
    entries: Option<Vec<(usize, u64)>>,
    /// Those that came since then are objects of older types, which this process has made.
    is_back: bool,
    secrets: Kept,
}

/// A successor that makes objects is given so much more time for each.
const PATIENCE_PER_VALUE: Duration = Duration::from_micros(20);

impl Heap {
    /// Makes every root's object one of this program's type, unless that is to wait for its first use. The door is closed.
    pub(super) fn migrate_at_open(&self) -> Result<(), HeapError> {
        let began = crate::sys::clock_monotonic_ns();
        let entries = roots::entries(&self.backing, self.layout.roots)?;
        let mut changes = Vec::new();
        for entry in entries.iter().filter(|entry| entry.is_current) {
            let Some(root) = declared().find(|root| root.name == entry.name) else { continue };
            match evolve::find_way(&entry.ty, root.ty, Some(root.rules)) {
                Ok(Way::Taken) => {}
                Ok(Way::Planned(plan)) if entry.is_poisoned && !plan.is_same_layout => {
                    // It may be half changed: it is looked at only if somebody has asked for that.
                    match self.policy(root.name) {
                        None => return Err(RootError::Poisoned { name: root.name.to_owned() }.into()),
                        Some(policy) if policy.looks => {
                            changes.push(Change { root, entry, plan, wanted: root.ty });
                        }
                        Some(_) => {}
                    }
                }
                // What several roots may share is made once, and so all of them change now.
                Ok(Way::Planned(plan)) if self.options.migrate == Migrate::AtOpen || plan.makes_shared() => {
                    changes.push(Change { root, entry, plan, wanted: root.ty });
                }
                Ok(Way::Planned(_)) => {}
                Err(no) => return Err(refused(root.name, no).into()),
            }
        }
        if !changes.is_empty() {
            self.hall.while_closed(|| change(&changes, self.options.migrate_progress.as_ref()))?;
            let took = crate::sys::clock_monotonic_ns().saturating_sub(began).div_ceil(1000);
            self.migration_us.store(took, Relaxed);
        }
        Ok(())
    }

    /// Gives up what every root was before it changed. The heap is this process's, and nobody can want the old state back.
    pub(super) fn settle_migrations(&self) -> Result<(), RootError> {
        let (left, mut old): (Vec<_>, Vec<_>) =
            roots::entries(&self.backing, self.layout.roots)?.into_iter().partition(|entry| entry.is_current);
        // An entry of a batch goes behind all that the batch has replaced, or the batch would not be whole any more.
        old.sort_unstable_by_key(|entry| std::cmp::Reverse((entry.batch, entry.serial)));
        while let Some(entry) = old.pop() {
            // First: cut behind it, the old objects are left over; the other way round they would be given back twice.
            roots::retire(entry.index)?;
            // An object that was only described anew has several entries.
            let shared = left.iter().chain(&old).any(|other| other.offset == entry.offset);
            // What may be half changed is not followed: it is left over.
            if !shared && !entry.is_poisoned {
                // SAFETY: no entry names it any more, and nothing new refers to it: it was only read.
                self.hall.while_closed(|| unsafe { give_back(self.address(entry.offset), &entry) });
            }
        }

        Ok(())
    }

    fn address(&self, offset: u64) -> *mut u8 {
        let base = self.backing.base().as_ptr().expose_provenance();
        std::ptr::with_exposed_provenance_mut(base + offset as usize)
    }

    /// Says what a candidate would do with each root, and what this program has to do for it.
    pub(super) fn plan_passage(
        &self,
        candidate: &Candidate,
    ) -> Result<(CandidateReport, Passage), CheckError> {
        candidate.check_format(HeapFormat::CURRENT)?;
        let memory = Mapped(&self.backing);
        let base = self.backing.base().addr().get() as u64;
        let memory = HeapMemory { file: &memory, base };
        let entries = roots::entries(&self.backing, self.layout.roots)?;
        let rows = entries.into_iter().filter(|entry| entry.is_current).map(|entry| {
            let ask_back = || back_to(&entry, candidate);
            let way = way_of(&entry, candidate, &memory, ask_back);
            (entry.name, way)
        });
        let mut passage = Passage::default();
        let mut report = CandidateReport { roots: Vec::new() };
        for (name, way) in rows {
            if matches!(way, RootWay::RollsBack { .. }) {
                let wanted = candidate.root(&name)?.to_vec();
                passage.back.push((name.clone(), wanted));
            }
            report.roots.push(RootReport { name, way });
        }
        passage.migrates = report.migrates() || report.rolls_back();
        Ok((report, passage))
    }

    /// Before the freeze, with the door closed: notes what is there, rolls back, and takes secrets out.
    ///
    /// After an error [`Heap::undo_passage`] is due.
    pub(super) fn begin_passage(&self, wanted: Passage) -> Result<(), RootError> {
        let mut passage = self.passage.lock().unwrap_or_else(PoisonError::into_inner);
        *passage = wanted;
        let entries = roots::entries(&self.backing, self.layout.roots)?;
        passage.entries = Some(entries.iter().map(|entry| (entry.index, entry.serial)).collect());
        if passage.migrates {
            self.hall.pool().settle_all();
            passage.snapshot = Some(Snapshot::take(self.hall.pool()));
        }
        let back = std::mem::take(&mut passage.back);
        if back.is_empty() {
            return self.take_secrets(&entries, &mut passage.secrets);
        }
        let mut changes = Vec::new();
        for (name, wanted) in &back {
            let found = entries.iter().find(|entry| entry.is_current && entry.name == *name);
            let (Some(entry), Some(root)) = (found, declared().find(|root| root.name == name)) else {
                continue;
            };
            match evolve::find_way_back(root.rules, wanted) {
                Ok(Way::Planned(plan)) => changes.push(Change { root, entry, plan, wanted }),
                Ok(Way::Taken) => {}
                Err(no) => return Err(refused(name, no)),
            }
        }
        self.hall.while_closed(|| change(&changes, None))?;
        passage.is_back = true;
        // Some roots are of another type by now.
        self.take_secrets(&roots::entries(&self.backing, self.layout.roots)?, &mut passage.secrets)
    }

    /// Takes secrets out of a heap that closes for good. The door is closed.
    pub(super) fn withhold_secrets(&self) -> Result<(), RootError> {
        self.take_secrets(&roots::entries(&self.backing, self.layout.roots)?, &mut Kept::default())
    }

    fn take_secrets(&self, entries: &[Entry], kept: &mut Kept) -> Result<(), RootError> {
        for entry in entries {
            let Some(root) = declared().find(|root| root.name == entry.name && root.ty == entry.ty) else {
                continue;
            };
            match secret::find(root.rules) {
                None => {}
                Some(Err(reason)) => return Err(RootError::Secret { name: entry.name.clone(), reason }),
                Some(Ok(shapes)) => {
                    // SAFETY: the entry's type is the root's, the door is closed, and the hooks are those of its rules.
                    let take = || unsafe { kept.take(&shapes, root.hooks, self.address(entry.offset)) };
                    let taken = self.hall.while_closed(take);
                    taken.map_err(|reason| RootError::Secret { name: entry.name.clone(), reason })?;
                }
            }
        }
        Ok(())
    }

    /// Makes the pool this process's again after a successor has used it, and takes back what was done on the way.
    pub(super) fn undo_passage(&self, is_live: impl Fn(u32) -> bool) -> Result<(), HeapError> {
        self.forget_blocks()?;
        self.hall.pool().reclaim_used(is_live)?;
        self.hall.pool().host().drop_unknown_blocks();
        let mut passage = std::mem::take(&mut *self.passage.lock().unwrap_or_else(PoisonError::into_inner));
        // Nothing is known of them where the freeze did not come so far: then nothing was changed either.
        if let Some(before) = passage.entries.take() {
            let entries = roots::entries(&self.backing, self.layout.roots)?;
            let (old, new): (Vec<_>, Vec<_>) =
                entries.into_iter().partition(|entry| before.contains(&(entry.index, entry.serial)));
            for entry in new {
                roots::retire(entry.index)?;
                // What a successor has made is not followed. What this process has made counts in values that both share.
                let is_own = passage.is_back && entry.generation == generation::current();
                if is_own && !old.iter().any(|other| other.offset == entry.offset) {
                    // SAFETY: no entry names it any more, and nobody else has used it.
                    self.hall.while_closed(|| unsafe { give_back(self.address(entry.offset), &entry) });
                }
            }
        }
        let pool = self.hall.pool();
        if let Some(snapshot) = passage.snapshot.take() {
            pool.settle_all();
            let new = snapshot.list_new(pool);
            self.hall.while_closed(|| {
                // SAFETY: the seat's reference goes no further.
                if let Some(seat) = unsafe { super::door::seat() } {
                    for found in &new {
                        // SAFETY: allocated after the freeze, by a successor that is dead or by a conversion: no entry of a root that
                        // is left leads there.
                        unsafe { pool.free_found(seat.cpu, found) };
                    }
                }
            });
        }
        // SAFETY: what was there at the freeze is there, and the successor's objects are gone.
        let nr_lost = self.hall.while_closed(|| unsafe { passage.secrets.put_back() });
        if nr_lost > 0 {
            eprintln!("heirloom: {nr_lost} secrets could not be put back: the heap has no room for them");
        }
        Ok(())
    }

    /// What this process knows of the heap's blocks is old: the pool asks its host for each anew.
    fn forget_blocks(&self) -> Result<(), HeapError> {
        self.backing.look_at_len()?;
        let host = self.hall.pool().host();
        let map = PreservedMap::open(
            self.backing.clone(),
            self.layout.map,
            self.layout.geometry.block_shift,
            host.map_root(),
        )?;
        host.forget_blocks(map);
        Ok(())
    }
}

/// How much longer than usual a successor may take.
pub(super) fn patience(report: &CandidateReport) -> Duration {
    let values = u32::try_from(report.values()).unwrap_or(u32::MAX);
    PATIENCE_PER_VALUE.saturating_mul(values)
}

/// What a candidate does with a root.
pub(crate) fn way_of(
    entry: &Entry,
    candidate: &Candidate,
    memory: &HeapMemory<'_>,
    ask_back: impl FnOnce() -> Result<Plan, Option<String>>,
) -> RootWay {
    let values = || match TypeView::parse(&entry.ty) {
        Ok(ty) => count(&Shapes::of(&ty), memory, memory.base + entry.offset),
        Err(_) => 0,
    };
    match candidate.find_way(&entry.name, &entry.ty) {
        Ok(Way::Taken) => RootWay::Taken,
        Ok(Way::Planned(plan)) if plan.is_same_layout => RootWay::Described,
        Ok(Way::Planned(plan)) => RootWay::Migrates { values: values(), chain: plan.chain },
        Err(error @ CandidateError::Type { .. }) => match ask_back() {
            Ok(plan) if plan.is_same_layout => RootWay::RollsBack { values: 0, chain: Vec::new() },
            Ok(plan) => RootWay::RollsBack { values: values(), chain: plan.chain },
            Err(None) => RootWay::Refused { reason: error.to_string() },
            Err(Some(reason)) => {
                RootWay::Refused { reason: format!("{error}; and this program cannot write it: {reason}") }
            }
        },
        Err(error) => RootWay::Refused { reason: error.to_string() },
    }
}

/// The way back by this program's rules; an error with a reason where it says something of ways back.
fn back_to(entry: &Entry, candidate: &Candidate) -> Result<Plan, Option<String>> {
    let root = declared().find(|root| root.name == entry.name && root.ty == entry.ty).ok_or(None)?;
    let wanted = candidate.root(&entry.name).map_err(|_| None)?;
    way_back(root.rules, wanted)
}

/// The way back by the rules of whoever owns a heap.
pub(crate) fn way_back(rules: &[u8], wanted: &[u8]) -> Result<Plan, Option<String>> {
    match evolve::find_way_back(rules, wanted) {
        Ok(Way::Planned(plan)) => Ok(plan),
        Err(NoWay::Refused(reason)) if evolve::speaks_of_back(rules) => Err(Some(reason)),
        Ok(Way::Taken) | Err(_) => Err(None),
    }
}
