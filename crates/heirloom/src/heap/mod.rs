//! The heap: objects in a file that one generation of a program hands, in place, to the next.
//!
//! ```text
//!             enter                     allocate
//! thread ---> door ---> Inside     alloc::pool ---> heirloom_slab::Pool ---> host: blocks of the file, map
//!              |                                                                |
//! hand_over ---+-- freeze ... claim                    header: who owns it -- backing: memfd or file, mapped
//! ```
//!
//! - `layout`: where the parts lie. `tree`: the page that names them. `open`: create, inherit, recover. `host`: blocks for the pool. `map_pages`: the map.
//! - `live_update`: the way to the kernel after.
//! - `door`: who is inside. `roots`: named objects. `hand_over`: the owner's side of a hand-over.
//!
//! # Invariants
//!
//! - *one*: a process has at most one heap open, and a heap one owner.
//! - *outside*: while the door is closed no thread allocates, frees or holds an [`Inside`].
//! - *last*: a new heap's header, an inherited heap's claim and a new root are each one last store.
#![expect(unsafe_code, reason = "retires the open heap")]

mod aftermath;
mod bytes;
mod change;
pub(crate) mod diary;
pub(crate) mod door;
mod find;
mod hand_over;
mod host;
mod layout;
mod live_update;
mod map_pages;
pub(crate) mod migrate;
mod open;
mod options;
mod poison;
mod reclaim;
mod recovery;
pub(crate) mod roots;
mod spares;
mod stats;
pub(crate) mod tree;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heirloom_abi::heap::{Flags, HeaderError, Phase};
use heirloom_abi::kho::radix::MapError;
use heirloom_abi::pool::GeometryError;
use heirloom_slab::{FormatError, RestoreError};

pub use door::Inside;
pub use hand_over::HandOver;
pub use live_update::{Preservation, PreserveFigures, RetrieveFigures};
pub use options::{Options, Scrub};
pub use poison::{Changing, OnPoison, Poisoned, Remedy};
pub use reclaim::Reclaimed;
pub use recovery::{Recovery, RootLeft};
pub use stats::{Broken, Origin, Scan, Stats};

use crate::backing::{Backing, BackingError};
use crate::channel::{Channel, IncomingError, Kept};
use crate::note::CandidateError;
use door::Hall;
use layout::Layout;
use roots::RootError;

/// A heap, open in this process.
///
/// Dropping it closes it: a heap in a file can be opened again, one in a memfd is gone if it was not handed over.
pub struct Heap {
    hall: &'static Hall,
    backing: Arc<Backing>,
    layout: Layout,
    options: Options,
    origin: Origin,
    generation: u32,
    /// The highest that has had the heap: this one, or that of a successor from which it was taken back. The next successor's is beyond.
    last_generation: AtomicU32,
    freeze_us: u64,
    frozen_ns: u64,
    restore_us: u64,
    /// How long objects took to become ones of this program's types.
    migration_us: AtomicU64,
    /// Where a heap file that could not be taken over was moved to.
    set_aside: Option<(std::path::PathBuf, std::string::String)>,
    /// What was found, if its owner had died.
    recovery: Option<std::boxed::Box<Recovery>>,
    /// True where this process has had it open before.
    was_open_here: bool,
    /// What no root reached as it was taken over, where the options asked and nobody had it open.
    unreached: Option<reclaim::Found>,
    /// What became of poisoned roots.
    poisoned: Vec<Poisoned>,
    /// How it came.
    channel: Option<Channel>,
    /// Stores that have a descriptor of it.
    kept: Vec<std::boxed::Box<dyn Kept>>,
    /// Descriptors that came with it and were not asked for yet.
    luggage: Mutex<BTreeMap<std::string::String, OwnedFd>>,
    /// What became of leaks, where the options asked.
    reclaimed: Option<Reclaimed>,
    /// Held by whoever closes the door; true while a hand-over keeps it closed.
    closing: Mutex<bool>,
    /// CPU slots that were in use when the heap was frozen.
    live_cpus: Mutex<Vec<bool>>,
    gone: AtomicBool,
    /// What the hand-over that has frozen the heap did with types.
    passage: Mutex<migrate::Passage>,
}

/// Why the door was not closed.
enum Shut {
    /// So many threads stayed inside.
    Inside(usize),
    /// A hand-over keeps it closed: what is behind it may be the successor's by now.
    HandOver,
}

/// Why a heap was not opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeapError {
    /// The options contradict themselves or the format.
    #[error("heap options: {0}")]
    Geometry(#[from] GeometryError),
    /// The pool could not be laid out.
    #[error("heap options: {0}")]
    Format(#[from] FormatError),
    /// The block size is no power of two within 64 KiB to 1 GiB.
    #[error("block size of {0} bytes is no power of two from 64 KiB to 1 GiB")]
    BlockSize(u64),
    /// The name is empty, too long or has a NUL.
    #[error("heap name {0:?} is not 1 to 63 bytes without a NUL")]
    Name(std::string::String),
    /// The file or the mapping.
    #[error(transparent)]
    Backing(#[from] BackingError),
    /// The header and the pool's record disagree on the size of a block.
    #[error("a block is 2^{header} bytes by the header, 2^{pool} by the pool's record")]
    Blocks {
        /// The shift in the header.
        header: u32,
        /// The shift in the pool's record.
        pool: u32,
    },
    /// Generations are counted in 32 bits.
    #[error("the heap has seen generation {0}, the last that can be counted")]
    LastGeneration(u32),
    /// The header is not one that this program can go on with.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The handover tree does not say what the header says.
    #[error("handover tree: {0}")]
    Tree(std::string::String),
    /// The map of preserved blocks is broken.
    #[error("preserved-memory map: {0}")]
    Map(#[from] MapError),
    /// The pool's records are broken.
    #[error("pool: {0}")]
    Pool(#[from] RestoreError),
    /// The roots are broken.
    #[error("roots: {0}")]
    Roots(#[from] RootError),
    /// What a thread of the dead owner had written down of its changes cannot be read.
    #[error("diary of CPU slot {cpu}: {error}")]
    Diary {
        /// Which slot.
        cpu: u32,
        /// What is wrong.
        error: heirloom_abi::diary::DiaryError,
    },
    /// This program does not have the types that the heap holds.
    #[error("this program cannot inherit the heap: {0}")]
    Types(#[from] CandidateError),
    /// The hand-over to this process was called off.
    #[error("hand-over: {0}")]
    HandOver(#[from] IncomingError),
    /// A seal does not agree, or a record contradicts another.
    #[error("heap is damaged: {0}")]
    Broken(#[from] Broken),
    /// A heap is open in this process already.
    #[error("a heap is open in this process already")]
    AlreadyOpen,
    /// The session of the kernel before cannot be used.
    #[error("live update: {0}")]
    LiveUpdate(#[from] crate::channel::luo::LuoError),
    /// The operator set it aside.
    #[error("the heap was set aside by `heirloom clear`")]
    SetAside,
    /// The system gave no random bytes, or refused to rename a file.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

impl Heap {
    /// Opens the heap that a predecessor hands to this process; else the one that a store kept; else a new one. The order is that
    /// of `docs/channels.md`; [`Heap::channel`] says which it was, and [`Heap::origin`] in what state.
    ///
    /// # Errors
    ///
    /// [`HeapError`]; a heap that cannot be inherited is left as it is, for another program or for a look at it.
    pub fn inherit_or_create(name: &str, options: Options) -> Result<Self, HeapError> {
        find::inherit_or_create(name, options)
    }

    /// Lets this thread in. While the guard lives no hand-over can begin.
    pub fn enter(&self) -> Inside<'_> {
        match door::enter_guard() {
            Some(inside) => inside,
            // The thread is ending (its thread-locals are gone), or the heap was handed over: nothing may run on.
            None => panic!("the heap cannot be entered: this thread is ending, or the heap is gone"),
        }
    }

    /// This generation, counted from 1.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Where the heap came from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// What was found when the heap was taken over from an owner that had died, root by root; `None` where it came in order.
    pub fn recovery(&self) -> Option<&Recovery> {
        self.recovery.as_deref()
    }

    /// By which channel it came; `None` where it is new.
    pub fn channel(&self) -> Option<Channel> {
        self.channel
    }

    /// Takes a descriptor that came with the heap, by the name under which the predecessor packed it. It is close-on-exec.
    ///
    /// What nobody takes is closed when the heap is dropped, and does not travel on.
    pub fn take_descriptor(&self, name: &str) -> Option<OwnedFd> {
        self.lock_luggage().remove(name)
    }

    /// Takes all descriptors that came with the heap and were not taken yet, by name.
    pub fn take_descriptors(&self) -> impl Iterator<Item = (std::string::String, OwnedFd)> + use<> {
        std::mem::take(&mut *self.lock_luggage()).into_iter()
    }

    fn lock_luggage(&self) -> std::sync::MutexGuard<'_, BTreeMap<std::string::String, OwnedFd>> {
        self.luggage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file that [`Options::cold_start`] moved out of the way, and why, if it did.
    pub fn set_aside(&self) -> Option<(&std::path::Path, &str)> {
        self.set_aside.as_ref().map(|(path, reason)| (path.as_path(), reason.as_str()))
    }

    /// What became of objects that no root reaches; `None` where [`Options::reclaim_leaks`] did not ask, or the heap did not
    /// come from a file that nobody had open.
    pub fn reclaimed(&self) -> Option<&Reclaimed> {
        self.reclaimed.as_ref()
    }

    /// Does what the options say about poisoned roots, and about leaks where nobody had the heap open. The door has not been opened yet.
    fn look_after(&mut self) {
        let order = roots::poisoned();
        let mut poisoned = self.remedy_poison(true);
        self.reclaimed = self.unreached.take().map(|found| self.give_back(found, &poisoned));
        // What is repaired, the program may have taken things out of: nothing is given back any more.
        poisoned.extend(self.remedy_poison(false));
        poisoned.sort_by_key(|one| order.iter().position(|name| *name == one.root));
        self.poisoned = poisoned;
    }

    /// Figures of the heap and of the hand-over that brought it.
    pub fn stats(&self) -> Stats {
        Stats {
            generation: self.generation,
            channel: self.channel,
            freeze_us: self.freeze_us,
            restore_us: self.restore_us,
            migration_us: self.migration_us.load(Relaxed),
            frozen_ns: self.frozen_ns,
            file_bytes: self.backing.len(),
            held_bytes: self.backing.held_bytes(),
            size_limit: self.layout.reserved,
            metadata_bytes: self.records_bytes(),
            huge_pages: self.backing.wants_huge_pages() && crate::sys::offers_huge_pages(),
            on_disk: self.backing.notes().not_in_memory,
            faults: self.hall.pool().host().nr_faults(),
            reclaimed_objects: self.reclaimed.as_ref().map_or(0, |reclaimed| reclaimed.objects),
            reclaimed_bytes: self.reclaimed.as_ref().map_or(0, |reclaimed| reclaimed.bytes),
        }
    }

    /// Gives memory that nothing is in back to the system.
    pub fn trim(&self) {
        if let Some(_inside) = door::enter_guard() {
            self.hall.pool().trim();
            spares::keep(self.hall.pool(), 0);
            spares::keep(self.hall.pool(), self.options.spare_memory);
        }
    }

    /// Checks every record of the heap. Closes the door for the time it takes.
    ///
    /// # Errors
    ///
    /// [`Broken`].
    pub fn check(&self) -> Result<(), Broken> {
        self.walk(false).map(drop)
    }

    /// Checks every record, reads every free byte, and sums up. Closes the door for the time it takes.
    ///
    /// # Errors
    ///
    /// [`Broken`].
    pub fn scan(&self) -> Result<Scan, Broken> {
        self.walk(true)
    }

    fn walk(&self, scan: bool) -> Result<Scan, Broken> {
        let _closing = self.close_door(self.options.door_timeout).map_err(|shut| match shut {
            Shut::Inside(_) => Broken::Inside,
            Shut::HandOver => Broken::HandOver,
        })?;
        let pool = self.hall.pool();
        pool.freeze(false);
        let found = check_pool(pool, scan);
        pool.thaw();
        self.hall.reopen();
        found.map(|tally| Scan::new(&tally, self.records_bytes()))
    }

    /// Closes the door. The caller opens it again.
    fn close_door(&self, timeout: Duration) -> Result<std::sync::MutexGuard<'_, bool>, Shut> {
        if door::is_inside() {
            return Err(Shut::Inside(1));
        }
        let closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        if *closing || self.gone.load(Acquire) {
            return Err(Shut::HandOver);
        }
        self.hall.close(timeout).map_err(Shut::Inside)?;
        Ok(closing)
    }

    fn records_bytes(&self) -> u64 {
        let pool = self.hall.pool();
        let geometry = pool.geometry();
        let tables = geometry.block_offset(pool.nr_block_entries());
        let cpus = u64::from(pool.nr_cpu_slots()) * geometry.cpu_bytes();
        let map = pool.host().nr_map_pages() * 4096;
        2 * 4096 + map + self.layout.roots.bytes + (tables + cpus).next_multiple_of(4096)
    }

    /// Freezes the pool and writes that it is; the door is closed.
    fn close_up(&self, seal: bool, since_ns: u64) -> Result<(), HeaderError> {
        // Somebody may have asked to keep memory since the hand-over began.
        spares::keep(self.hall.pool(), 0);
        diary::wipe(self.hall.pool(), &self.backing);
        self.hall.pool().freeze(seal);
        let mut state = self.backing.read_header()?.state;
        state.phase = Phase::Frozen;
        state.generation = state.generation.max(self.last_generation.load(Relaxed));
        state.flags = if seal { Flags::CLEAN.with(Flags::SEALED) } else { Flags::CLEAN };
        state.frozen_ns = since_ns;
        state.last_operation_ns = since_ns;
        state.freeze_us = crate::sys::clock_monotonic_ns().saturating_sub(since_ns) / 1000;
        state.file_bytes = self.backing.len();
        self.backing.write_state(&state)
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        let now = crate::sys::clock_monotonic_ns();
        match self.close_door(self.options.door_timeout) {
            Ok(_closing) => {
                if let Err(error) = self.withhold_secrets() {
                    eprintln!("heirloom: secrets stay in the heap as it closes: {error}");
                }
                let seal = self.options.seal.unwrap_or(self.options.file.is_some());
                self.hall.pool().trim();
                // A header that cannot be written leaves `Running`: the next owner recovers.
                let _ = self.close_up(seal, now);
                roots::forget_all(self.hall.instance());
                // SAFETY: the door was closed above and stays so; the pool is not used below.
                unsafe { self.hall.retire() };
                for kept in &self.kept {
                    kept.let_go();
                }
            }
            Err(Shut::Inside(_)) => eprintln!(
                "heirloom: the heap was dropped while a thread is inside; it stays open until the process ends"
            ),
            // It is another process's, or lost with one: not to be written.
            Err(Shut::HandOver) => {}
        }
    }
}

/// Checks every record of a pool whose door is closed.
pub(crate) fn check_pool(
    pool: &heirloom_slab::Pool<host::BlockHost>,
    scan: bool,
) -> Result<heirloom_abi::pool::Tally, Broken> {
    let (mut first, mut nr) = (None, 0u64);
    let tally = pool.check(scan, |broken| {
        first.get_or_insert(broken);
        nr += 1;
    });
    match first {
        None => Ok(tally),
        Some(first) => Err(Broken::Pool { first, more: nr - 1 }),
    }
}
