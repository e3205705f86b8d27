//! Linux's Live Update Orchestrator: the heap outlives the kernel that it lies under.
//!
//! ```text
//! kernel n       freeze the heap, trim it, note its holes
//!                session "heirloom:NAME":  token 0 = the heap,  token 1 = the list of its holes
//!                reboot(KEXEC) with the session open --------------------.
//! kernel n + 1   session "heirloom:NAME", token 0, token 1 <-------------'   the same pages, where they lay
//!                punch the holes again, map, restore
//! ```
//!
//! A session gives each of them once: from then until a store has it, the heap is the first program's of the new kernel alone. So it is
//! given to the stores, systemd's or a keeper, as soon as it is out, and only then looked at, emptied of its holes and opened.
//!
//! Until the new kernel runs all of it can be taken back: the session is closed, the holes are punched, the door opens.
//! LUO takes memfds whose memory is of ordinary pages, and fills their holes. What it cannot take is refused before anything is
//! frozen ([`Unfit`]); what it fills is emptied again on the other side, page by page and only where a page is all zeros,
//! since the list is foreign bytes.
//!
//! `ioctl` has the system calls, `session` the sessions, `holes` the list; `heap::live_update` is the heap's side.
#![expect(unsafe_code, reason = "takes over the descriptor that a first try has kept")]

mod holes;
mod ioctl;
mod session;

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use session::DEVICE;

use super::keeper::Keeper;
use super::rescue::rescue;
use super::{Channel, Found, Kept, Open, Point, Source, SourceError, fdstore, point};
use crate::backing;
use crate::heap::RetrieveFigures;
use crate::sys;

/// What a session keeps under which token.
const HEAP_TOKEN: u64 = 0;
const HOLES_TOKEN: u64 = 1;

/// Why a heap cannot live through the kernel's replacement, said before anything was done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// It stands in a directory: tmpfs does not outlive the kernel, only a memfd does.
    #[error("the heap is in a file with a name, and LUO preserves memfds only: leave Options::file out")]
    Named,
    /// Its pages are of hugetlbfs.
    #[error("the heap is of hugetlb pages, which LUO does not preserve: use ordinary pages")]
    HugeTlb,
    /// It is on a disk.
    #[error("the heap is on a disk, and LUO preserves memory: use a memfd")]
    NotInMemory,
    /// LUO counts pages in 32 bits.
    #[error("the heap's file has {nr_pages} pages and LUO takes {most}: trim it")]
    TooLarge {
        /// Pages of the file, holes included.
        nr_pages: u64,
        /// What it takes.
        most: u64,
    },
    /// Seals that LUO does not hand over.
    #[error("the heap's memfd has seals {seals:#x} that LUO does not know")]
    Seals {
        /// Those that it does not know.
        seals: u32,
    },
    /// LUO fills holes, and there is not enough memory for that.
    #[error(
        "LUO would fill {holes} bytes of holes, and the machine has {available} bytes to give: trim the heap or free memory"
    )]
    NoRoom {
        /// Bytes of holes.
        holes: u64,
        /// Bytes that the machine has available.
        available: u64,
    },
}

/// Why a session of the Live Update Orchestrator does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LuoError {
    /// The device cannot be opened.
    #[error(
        "{DEVICE} cannot be opened: {0}; is the kernel built with CONFIG_LIVEUPDATE and started with kho=on liveupdate=on? \
         (`heirloom doctor` tells)"
    )]
    Device(io::Error),
    /// The heap's name is too long for a session.
    #[error("heap name {name:?}: a live update session takes {longest} bytes")]
    Name {
        /// The heap's name.
        name: String,
        /// The most that would do.
        longest: usize,
    },
    /// LUO cannot take this heap.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The system refused a step.
    #[error("cannot {step}: {source}")]
    System {
        /// The step.
        step: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// There is a session, and no heap in it: retrieving it has failed once, and the kernel does not try again.
    #[error("the session of heap {name:?} came without the heap")]
    Empty {
        /// The heap's name.
        name: String,
    },
}

fn system(step: &'static str) -> impl FnOnce(io::Error) -> LuoError {
    move |source| LuoError::System { step, source }
}

/// Says whether LUO can take this file, and why not.
pub(crate) fn look_at(fd: BorrowedFd<'_>) -> Result<(), LuoError> {
    const MOST_PAGES: u64 = u32::MAX as u64;
    /// SEAL, SHRINK, GROW, WRITE, FUTURE_WRITE, EXEC.
    const KNOWN_SEALS: u32 = 0x3f;
    let facts = sys::file_facts(fd).map_err(system("examine the heap's file"))?;
    // A hugetlbfs file first: with a name or without, its pages are what stands in the way.
    if facts.huge_page_bytes.is_some() {
        return Err(Unfit::HugeTlb.into());
    }
    if !facts.is_memory {
        return Err(Unfit::NotInMemory.into());
    }
    if facts.has_name {
        return Err(Unfit::Named.into());
    }
    let nr_pages = facts.len.div_ceil(u64::from(sys::page_bytes()));
    if nr_pages > MOST_PAGES {
        return Err(Unfit::TooLarge { nr_pages, most: MOST_PAGES }.into());
    }
    let seals = sys::seals(fd) & !KNOWN_SEALS;
    if seals != 0 {
        return Err(Unfit::Seals { seals }.into());
    }
    let holes = facts.len.saturating_sub(facts.held_bytes);
    match sys::available_memory() {
        Some(available) if holes > available => Err(Unfit::NoRoom { holes, available }.into()),
        _ => Ok(()),
    }
}

/// A heap that a session preserves. Dropped, it is preserved no more, and its holes are holes again.
#[derive(Debug)]
pub(crate) struct Preserved {
    session: Option<OwnedFd>,
    heap: OwnedFd,
    holes: Vec<u8>,
}

impl Preserved {
    /// Preserves a heap's file that nobody writes any more.
    pub(crate) fn new(name: &str, heap: BorrowedFd<'_>) -> Result<Self, LuoError> {
        look_at(heap)?;
        let session_name = session::session_name(name)?;
        let len = sys::file_facts(heap).map_err(system("examine the heap's file"))?.len;
        let holes = holes::collect(heap, len).map_err(system("list the holes of the heap's file"))?;
        let list = holes::to_memfd(&holes).map_err(system("keep the list of holes"))?;
        let session = session::create(&session_name)?;
        let heap = sys::duplicate(heap).map_err(system("copy the heap's descriptor"))?;
        // From here on the holes get filled.
        let preserved = Self { session: Some(session), heap, holes };
        let into = preserved.session();
        ioctl::preserve_fd(into, preserved.heap.as_fd(), HEAP_TOKEN).map_err(system("preserve the heap"))?;
        ioctl::preserve_fd(into, list.as_fd(), HOLES_TOKEN).map_err(system("preserve the list of holes"))?;
        Ok(preserved)
    }

    /// The session. Whoever holds a copy of it when the kernel is replaced hands the heap over.
    pub(crate) fn session(&self) -> BorrowedFd<'_> {
        self.session.as_ref().expect("it is there until the drop").as_fd()
    }

    /// Bytes of holes that were listed, and are memory as long as this lives.
    pub(crate) fn hole_bytes(&self) -> u64 {
        holes::total(&self.holes)
    }
}

impl Drop for Preserved {
    fn drop(&mut self) {
        // Closed first: until then the pages are not the file's alone.
        drop(self.session.take());
        let _ = holes::punch(self.heap.as_fd(), &self.holes);
    }
}

/// A heap that came from the kernel before.
#[derive(Debug)]
pub(crate) struct Retrieved {
    pub(crate) heap: OwnedFd,
    pub(crate) figures: RetrieveFigures,
}

/// Names the descriptor that this program has kept across its own second start, with its process id.
pub(super) const KEPT: &str = "HEIRLOOM_LUO_KEPT";

/// The variable by which a second start of this process finds what the first has retrieved: it can be retrieved once.
pub(super) fn kept_for_second_try(heap: BorrowedFd<'_>) -> CString {
    use std::os::fd::AsRawFd;
    CString::new(format!("{KEPT}={}:{}", sys::pid(), heap.as_raw_fd())).expect("digits")
}

fn take_kept() -> Option<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let value = std::env::var(KEPT).ok()?;
    let (pid, number) = value.split_once(':')?;
    let number = number.parse().ok().filter(|_| pid.parse() == Ok(sys::pid()))?;
    if TAKEN.swap(true, Ordering::AcqRel) {
        return None;
    }
    // SAFETY: this very process has left the number open for itself, and asks once.
    unsafe { sys::inherit_fd(number) }.ok()
}

/// Finds the heap of this name that the kernel before has left, lets others `hold` it, and gives the memory of its holes back.
fn retrieve(name: &str, hold: impl FnOnce(&OwnedFd)) -> Result<Option<Retrieved>, LuoError> {
    if let Some(heap) = take_kept() {
        let figures = RetrieveFigures { retrieve_us: 0, punch_us: 0, punched_bytes: 0 };
        return Ok(Some(Retrieved { heap, figures }));
    }
    let started = sys::clock_monotonic_ns();
    // A name that is no session's is that of a heap which nobody has preserved.
    let Ok(session_name) = session::session_name(name) else { return Ok(None) };
    let Some(session) = session::find(&session_name)? else { return Ok(None) };
    let heap = session::take(session.as_fd(), HEAP_TOKEN).map_err(system("retrieve the heap"))?;
    let heap = heap.ok_or_else(|| LuoError::Empty { name: name.to_owned() })?;
    hold(&heap);
    let taken = sys::clock_monotonic_ns();
    // Without the list, or with one that is not believed, the heap is as good, and larger.
    let punched_bytes = match session::take(session.as_fd(), HOLES_TOKEN) {
        Ok(Some(list)) => holes::punch_listed(heap.as_fd(), list.as_fd()).unwrap_or(0),
        _ => 0,
    };
    // All is taken; closing the session would do the same.
    let _ = ioctl::finish(session.as_fd());
    let done = sys::clock_monotonic_ns();
    let (retrieve_us, punch_us) = ((done - started) / 1000, (done - taken) / 1000);
    Ok(Some(Retrieved { heap, figures: RetrieveFigures { retrieve_us, punch_us, punched_bytes } }))
}

/// What it took to retrieve the heap of this process.
static FIGURES: Mutex<Option<RetrieveFigures>> = Mutex::new(None);

/// What it took to retrieve the heap of this process, if the kernel before has left it.
pub(crate) fn figures() -> Option<RetrieveFigures> {
    *FIGURES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The kernel before, as a place where a heap may be.
///
/// It gives a heap once. It is with the stores from the moment it comes; one that this program cannot take over is copied into a file
/// as well, lest it be lost where there is no store.
pub(super) struct KernelBefore {
    has_keeper: bool,
    untaken: Mutex<Option<Untaken>>,
    keeper: Mutex<Option<Keeper>>,
}

/// A heap that was retrieved, and is not open yet.
struct Untaken {
    name: String,
    heap: OwnedFd,
}

impl KernelBefore {
    /// With `has_keeper` one is to hold the heap.
    pub(super) fn new(has_keeper: bool) -> Self {
        Self { has_keeper, untaken: Mutex::default(), keeper: Mutex::default() }
    }

    fn untaken(&self) -> MutexGuard<'_, Option<Untaken>> {
        self.untaken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keeper(&self) -> MutexGuard<'_, Option<Keeper>> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the heap to the stores. One whose header cannot be read has no id by which they would keep it, and is copied later.
    fn hold(&self, name: &str, heap: &OwnedFd) {
        let Ok(header) = backing::header_of(heap) else { return };
        let open = Open { name, id: header.identity.id, heap: heap.as_fd() };
        let keeper = self.has_keeper.then(|| Keeper::new(name));
        let told = [
            fdstore::Store::default().keep(&open),
            keeper.as_ref().map_or(Ok(None), |keeper| keeper.keep(&open)),
        ];
        for error in told.into_iter().filter_map(Result::err) {
            eprintln!("heirloom: the heap that the kernel before has left is this program's alone: {error}");
        }
        *self.keeper() = keeper;
    }
}

impl Source for KernelBefore {
    fn channel(&self) -> Channel {
        Channel::LiveUpdate
    }

    fn find(&self, name: &str) -> Result<Option<Found>, SourceError> {
        let retrieved = retrieve(name, |heap| self.hold(name, heap))?;
        let Some(Retrieved { heap, figures }) = retrieved else { return Ok(None) };
        point(Point::FinderFound);
        *FIGURES.lock().unwrap_or_else(PoisonError::into_inner) = Some(figures);
        *self.untaken() = Some(Untaken { name: name.to_owned(), heap: sys::duplicate(heap.as_fd())? });
        Ok(Some(Found::Left { heap, luggage: Vec::new() }))
    }

    fn set_aside(&self) -> io::Result<PathBuf> {
        let untaken = self.untaken();
        let Untaken { name, heap } = untaken.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let path = rescue(name, heap)?;
        // The stores have it too, and are to have the one that takes its place.
        let _ = backing::mark_set_aside(heap);
        if let Some(keeper) = &*self.keeper() {
            keeper.set_aside()?;
        }
        Ok(path)
    }

    fn try_again(&self) {
        if let Some(Untaken { heap, .. }) = &*self.untaken() {
            super::reexec_self_for_address(None, Some(heap.as_fd()));
        }
    }

    fn keep(&self, _heap: &Open<'_>) -> Result<Option<Box<dyn Kept>>, SourceError> {
        // Taken over, or set aside.
        *self.untaken() = None;
        Ok(None)
    }
}

impl Drop for KernelBefore {
    fn drop(&mut self) {
        let Some(Untaken { name, heap }) = self.untaken().take() else { return };
        match rescue(&name, &heap) {
            Ok(path) => {
                let path = path.display();
                eprintln!(
                    "heirloom: the heap that the kernel before has left was copied to {path}: open it as a file"
                );
            }
            Err(error) => eprintln!("heirloom: the heap that the kernel before has left is lost: {error}"),
        }
    }
}

/// Looks whether the device can be opened.
pub(crate) fn check_device() -> Result<(), LuoError> {
    session::check_device()
}

/// Loads the next kernel, for [`start_kernel`].
pub(crate) fn load_kernel(
    kernel: BorrowedFd<'_>,
    initrd: Option<BorrowedFd<'_>>,
    command_line: &CStr,
) -> Result<(), LuoError> {
    ioctl::load_kernel(kernel, initrd, command_line).map_err(system("load the next kernel"))
}

/// Starts the kernel that was loaded. Returns only if it was not started.
pub(crate) fn start_kernel() -> LuoError {
    LuoError::System { step: "start the next kernel", source: ioctl::start_kernel() }
}

#[cfg(test)]
mod tests;
