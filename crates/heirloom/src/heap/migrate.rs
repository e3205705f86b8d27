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
//! Until ACK both the old objects and the old entry of each root are as they were. A predecessor that takes the heap back retires
//! what is newer than its own entries, and gives back what was not allocated when it froze.
#![expect(
    unsafe_code,
    reason = "has objects converted and given back, whose types are known by their description"
)]

use std::alloc::Layout;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use heirloom_abi::roots::NewRoot;
use heirloom_abi::types::TypeView;

use super::bytes::Mapped;
use super::map_pages::PreservedMap;
use super::roots::{self, CheckError, Entry, RootError};
use super::{Heap, HeapError};
use crate::evolve::convert::{Conversion, ConvertError};
use crate::evolve::count::{HeapMemory, count};
use crate::evolve::plan::Plan;
use crate::evolve::release::release;
use crate::evolve::secret::{self, Kept};
use crate::evolve::shape::Shapes;
use crate::evolve::snapshot::Snapshot;
use crate::evolve::{self, CandidateReport, Listener, Migrate, NoWay, Progress, RootReport, RootWay, Way};
use crate::note::{Candidate, CandidateError, HeapFormat};
use crate::root::{Declared, declared};
use crate::{alloc, generation};

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
    secrets: Kept,
}

/// A successor that makes objects is given so much more time for each.
const PATIENCE_PER_VALUE: Duration = Duration::from_micros(20);

impl Heap {
    /// Makes every root's object one of this program's type, unless that is to wait for its first use. The door is closed.
    pub(super) fn migrate_at_open(&self) -> Result<(), HeapError> {
        if self.options.migrate != Migrate::AtOpen {
            return Ok(());
        }
        let began = crate::sys::clock_monotonic_ns();
        let mut done = Vec::new();
        for entry in
            roots::entries(&self.backing, self.layout.roots)?.into_iter().filter(|entry| entry.is_current)
        {
            let Some(root) = declared().find(|root| root.name == entry.name) else { continue };
            let changed =
                self.hall.while_closed(|| migrate(root, &entry, self.options.migrate_progress.as_ref()));
            match changed {
                Ok(false) => {}
                Ok(true) => done.push(root.name),
                Err(error) => {
                    self.undo(&done)?;
                    return Err(error.into());
                }
            }
        }
        if !done.is_empty() {
            let took = crate::sys::clock_monotonic_ns().saturating_sub(began).div_ceil(1000);
            self.migration_us.store(took, Relaxed);
        }
        Ok(())
    }

    /// Takes back what was done to some roots before another could not be migrated.
    fn undo(&self, names: &[&str]) -> Result<(), RootError> {
        let entries = roots::entries(&self.backing, self.layout.roots)?;
        for made in entries.iter().filter(|entry| entry.is_current && names.contains(&entry.name.as_str())) {
            roots::retire(made.index)?;
            let shared = entries.iter().any(|entry| entry.index != made.index && entry.offset == made.offset);
            if !shared {
                // SAFETY: nobody has come by the new object: the door is closed, and its entry is gone.
                self.hall.while_closed(|| unsafe { give_back(self.address(made.offset), made) });
            }
        }
        Ok(())
    }

    /// Gives up what every root was before it changed. The heap is this process's, and nobody can want the old state back.
    pub(super) fn settle_migrations(&self) -> Result<(), RootError> {
        let entries = roots::entries(&self.backing, self.layout.roots)?;
        for (nth, old) in entries.iter().enumerate().filter(|(_, entry)| !entry.is_current) {
            // First: cut behind it, the old objects are left over; the other way round they would be given back twice.
            roots::retire(old.index)?;
            // By the root as it is, or by an older entry whose turn is still to come.
            let mut left = entries.iter().enumerate().filter(|(other, entry)| entry.is_current || *other > nth);
            let shared = left.any(|(_, entry)| entry.offset == old.offset);
            if !shared {
                // SAFETY: no entry names it any more, and nothing new refers to it: it was only read.
                self.hall.while_closed(|| unsafe { give_back(self.address(old.offset), old) });
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

    /// Sets what the next freeze has to do.
    pub(super) fn set_passage(&self, passage: Passage) {
        *self.passage.lock().unwrap_or_else(PoisonError::into_inner) = passage;
    }

    /// Before the freeze, with the door closed: notes what is there, rolls back, and takes secrets out.
    ///
    /// After an error [`Heap::undo_passage`] is due.
    pub(super) fn begin_passage(&self) -> Result<(), RootError> {
        let mut passage = self.passage.lock().unwrap_or_else(PoisonError::into_inner);
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
        for (name, wanted) in back {
            let found = entries.iter().find(|entry| entry.is_current && entry.name == name);
            let (Some(entry), Some(root)) = (found, declared().find(|root| root.name == name)) else {
                continue;
            };
            let plan = match evolve::find_way_back(root.rules, &wanted) {
                Ok(Way::Planned(plan)) => plan,
                Ok(Way::Taken) => continue,
                Err(no) => return Err(refused(&name, no)),
            };
            self.hall.while_closed(|| change(root, entry, &plan, &wanted, None))?;
        }
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
                Some(Ok(shapes)) => self.hall.while_closed(|| {
                    // SAFETY: the entry's type is the root's, the door is closed, and the hooks are those of its rules.
                    unsafe { kept.take(&shapes, root.hooks, self.address(entry.offset)) };
                }),
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
            for entry in roots::entries(&self.backing, self.layout.roots)? {
                if !before.contains(&(entry.index, entry.serial)) {
                    roots::retire(entry.index)?;
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

fn refused(name: &str, no: NoWay) -> RootError {
    let name = name.to_owned();
    match no {
        NoWay::Refused(difference) => RootError::Changed { name, difference },
        NoWay::Damaged(error) => RootError::Type { name, error },
    }
}

/// Makes a root's object one of this program's type; false where it is. This thread may allocate, and nobody uses the object.
pub(super) fn migrate(
    root: &Declared,
    entry: &Entry,
    listener: Option<&Listener>,
) -> Result<bool, RootError> {
    match evolve::find_way(&entry.ty, root.ty, Some(root.rules)) {
        Ok(Way::Taken) => Ok(false),
        Ok(Way::Planned(plan)) => change(root, entry, &plan, root.ty, listener).map(|()| true),
        Err(no) => Err(refused(root.name, no)),
    }
}

/// Gives a root an object of another type, by one last store. The old one stays as it is.
fn change(
    root: &Declared,
    entry: &Entry,
    plan: &Plan,
    wanted: &[u8],
    listener: Option<&Listener>,
) -> Result<(), RootError> {
    let name = root.name;
    let mut next =
        NewRoot { name, object_offset: entry.offset, ty: wanted, generation: generation::current() };
    if plan.is_same_layout {
        return roots::supersede(&next);
    }
    let failed = |error: ConvertError| RootError::Convert { name: name.to_owned(), error };
    let damaged = |error| RootError::Type { name: name.to_owned(), error };
    let (old, new) =
        (TypeView::parse(&entry.ty).map_err(damaged)?, TypeView::parse(wanted).map_err(damaged)?);
    let layout = room(&new).ok_or_else(|| failed(ConvertError::Shape))?;
    let place = alloc::allocate_zeroed(layout).map_err(|error| failed(error.into()))?;

    let base = roots::base()?;
    let object = std::ptr::with_exposed_provenance(base + entry.offset as usize);
    let total = std::cell::OnceCell::new();
    let mut progress = |done| {
        if let Some(Listener(listener)) = listener {
            let total = *total.get_or_init(|| roots::count_values(entry, &old));
            listener(Progress { root: name, done, total });
        }
    };
    // SAFETY: the entry says that an object of the old type lies there, which nobody changes; the place is as large as the new type
    // and zeroed, and the hooks are those of the rules.
    let done = unsafe { Conversion::new(plan, root.hooks, &mut progress).run(object, place.as_ptr()) };
    let done = done.map_err(failed).and_then(|nr| {
        progress(nr);
        next.object_offset = (place.as_ptr().expose_provenance() - base) as u64;
        roots::supersede(&next)
    });
    if done.is_err() && next.object_offset != entry.offset {
        // SAFETY: the record did not take it: nobody knows the object.
        unsafe { release(&Shapes::of(&new), place.as_ptr()) };
    }
    if done.is_err() {
        // SAFETY: just allocated, with this layout, and what was in it is given back.
        unsafe { alloc::deallocate(place, layout) };
    }
    done
}

/// Gives an object back with all that it owns.
///
/// # Safety
///
/// An object of the entry's type lies at `at`, and nobody uses it or what it owns any more.
pub(super) unsafe fn give_back(at: *mut u8, entry: &Entry) {
    let Ok(ty) = TypeView::parse(&entry.ty) else { return };
    let Some(layout) = room(&ty) else { return };
    let Some(place) = std::ptr::NonNull::new(at) else { return };
    // SAFETY: by the caller; a root's object has a block of its own.
    unsafe {
        release(&Shapes::of(&ty), at);
        alloc::deallocate(place, layout);
    }
}

/// The layout of the block of a root's object.
fn room(ty: &TypeView<'_>) -> Option<Layout> {
    let (size, align) = (usize::try_from(ty.size).ok()?, usize::try_from(ty.align).ok()?);
    Layout::from_size_align(size.max(1), align).ok()
}
