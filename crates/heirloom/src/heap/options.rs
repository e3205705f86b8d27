//! What a heap is to be, and where it is to live.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use heirloom_slab::Scrub;

use super::poison::{OnPoison, Policy};
use crate::evolve::{Listener, Migrate, Progress};
use crate::heritable::Heritable;
use crate::root::Root;

/// Options of a heap. What concerns its layout (size limit, block size, scrub) counts when the heap is created; an
/// inherited heap keeps what it was created with.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) size_limit: Option<u64>,
    pub(crate) block_size: u64,
    pub(crate) huge_pages: bool,
    pub(crate) prefault: bool,
    pub(crate) spare_memory: u64,
    pub(crate) scrub: Scrub,
    pub(crate) file: Option<PathBuf>,
    pub(crate) keeper: bool,
    pub(crate) ask: Option<PathBuf>,
    pub(crate) trusted_users: Vec<u32>,
    pub(crate) door_timeout: Duration,
    pub(crate) seal: Option<bool>,
    pub(crate) cold_start: bool,
    pub(crate) reclaim_leaks: bool,
    pub(crate) holds_nothing: bool,
    pub(crate) migrate: Migrate,
    pub(crate) migrate_progress: Option<Listener>,
    pub(crate) on_poison: Vec<Policy>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            size_limit: None,
            block_size: 2 << 20,
            huge_pages: true,
            prefault: false,
            spare_memory: 256 << 20,
            scrub: Scrub::OnFree,
            file: None,
            keeper: false,
            ask: None,
            trusted_users: Vec::new(),
            door_timeout: Duration::from_secs(10),
            seal: None,
            cold_start: false,
            reclaim_leaks: false,
            holds_nothing: false,
            migrate: Migrate::AtOpen,
            migrate_progress: None,
            on_poison: Vec::new(),
        }
    }
}

impl Options {
    /// The defaults: as large as the machine's memory, 2 MiB blocks, huge pages where the system offers them, zeroed on free, in a
    /// memfd.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the heap grow to at most this many bytes (rounded up to whole blocks, records included). Only what is in
    /// use takes memory. Above it, allocations fail and can be handled.
    pub fn size_limit(mut self, bytes: u64) -> Self {
        self.size_limit = Some(bytes);
        self
    }

    /// Sets the unit in which the heap takes memory: a power of two, 64 KiB to 1 GiB; the default is 2 MiB.
    pub fn block_size(mut self, bytes: u64) -> Self {
        self.block_size = bytes;
        self
    }

    /// Whether to ask the system for huge pages; the default is yes. Where it does not offer them for shared memory
    /// (`/sys/kernel/mm/transparent_hugepage/shmem_enabled` is `never`) this has no effect, and
    /// [`crate::Stats::huge_pages`] says so.
    pub fn huge_pages(mut self, wanted: bool) -> Self {
        self.huge_pages = wanted;
        self
    }

    /// Whether pages are faulted in ahead of their first use; the default is no. A block is then backed with memory when it is
    /// taken, and a successor has every page of the heap in its page table before its predecessor freezes: it costs
    /// the successor's start, not the blackout.
    pub fn prefault(mut self, wanted: bool) -> Self {
        self.prefault = wanted;
        self
    }

    /// How much memory that nothing is in the running heap keeps, rounded down to whole blocks, before it gives any back to the
    /// system; the default is 256 MiB. What is freed and soon wanted again is then not faulted in again. A hand-over
    /// keeps none, nor does [`crate::Heap::trim`].
    pub fn spare_memory(mut self, bytes: u64) -> Self {
        self.spare_memory = bytes;
        self
    }

    /// Chooses when free memory is zeroed. It always is before a hand-over.
    pub fn scrub(mut self, scrub: Scrub) -> Self {
        self.scrub = scrub;
        self
    }

    /// Keeps the heap in a file, on tmpfs for speed, so that it also lives through a restart and through a crash of
    /// this program. The file must be this program's user's, root's or that of one who is trusted, and nobody else's to write; in a
    /// folder that everybody may write, as `/dev/shm` is, it must not be a link.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Whether a keeper holds the heap, so that it outlives a crash of this program (`kill -9`, out of memory, an abort) without a
    /// file; the default is no. A keeper is a process of about 2 MiB that goes when the heap is closed in order; it is this program's file,
    /// started again. The next start of the program finds the heap by its name, if it is the same user's.
    ///
    /// It has no effect on what a service manager does: systemd ends every process of a service.
    pub fn keeper(mut self, wanted: bool) -> Self {
        self.keeper = wanted;
        self
    }

    /// Asks a running owner for the heap, over the Unix socket at this path on which it listens ([`crate::Listener`]). Where nobody
    /// listens there, the next place is looked at.
    pub fn ask(mut self, path: impl Into<PathBuf>) -> Self {
        self.ask = Some(path.into());
        self
    }

    /// Lets a program of this user give its heap to this one over a socket, and a heap file be this user's ([`Options::file`]). This
    /// program's own user and root are always trusted.
    pub fn trust_user(mut self, uid: u32) -> Self {
        self.trusted_users.push(uid);
        self
    }

    /// How long a hand-over waits for threads that are inside the heap; the default is 10 s.
    pub fn door_timeout(mut self, timeout: Duration) -> Self {
        self.door_timeout = timeout;
        self
    }

    /// Whether closing the heap writes a checksum for every slab, and opening it compares them all. The default is yes
    /// for a file and no for a hand-over between two living processes.
    pub fn seal(mut self, seal: bool) -> Self {
        self.seal = Some(seal);
        self
    }

    /// Chooses when objects of older types become objects of this program's types; the default is [`Migrate::AtOpen`].
    pub fn migrate(mut self, when: Migrate) -> Self {
        self.migrate = when;
        self
    }

    /// Sets what is called while objects of older types are made new: every 16,384 values, and at the end of each root.
    ///
    /// ```
    /// let options = heirloom::Options::new()
    ///     .on_migration(|at| eprintln!("{}: {} of {}", at.root, at.done, at.total));
    /// # drop(options);
    /// ```
    pub fn on_migration(mut self, tell: impl Fn(Progress<'_>) + Send + Sync + 'static) -> Self {
        self.migrate_progress = Some(Listener(Arc::new(tell)));
        self
    }

    /// Lets the program start with a new heap where the one that was found cannot be taken over (damaged, of another version,
    /// of other types; never for what the system lacks at the moment): the old file is renamed, never deleted, and
    /// [`crate::Heap::set_aside`] tells its new name. A heap that another program owns is not touched. The default is to refuse.
    pub fn cold_start(mut self, allowed: bool) -> Self {
        self.cold_start = allowed;
        self
    }

    /// Whether to give back what is allocated and reachable from no root, when the heap is opened from a file: after a crash, what threads
    /// had in their hands, and whatever was forgotten before. It costs a walk over all objects, so a hand-over between living
    /// processes never does it; the default is no. [`crate::Heap::reclaimed`] tells what came of it.
    ///
    /// It is asked before any code of the program runs, so what a [`Default`], a migration or a repair takes hold of is not given back.
    /// A process that had the same heap open before may hold objects from that time: it gives nothing back and says so, unless
    /// it vouches for itself ([`Options::holds_nothing`]).
    ///
    /// Nothing is dropped, memory is given back. It is not for a program that keeps addresses of its own allocations
    /// ([`crate::alloc`]) in integers: no type says that they are in use.
    pub fn reclaim_leaks(mut self, wanted: bool) -> Self {
        self.reclaim_leaks = wanted;
        self
    }

    /// Vouches that this process holds nothing of this heap from an earlier time at which it had it open, so that
    /// [`Options::reclaim_leaks`] gives back what no root reaches now too. A process that opens a heap once needs no such word.
    ///
    /// # Safety
    ///
    /// No [`Box`](crate::Box), [`Vec`](crate::Vec) or other owner or address of objects of the heap is used any more that does not lie in
    /// the heap itself, be it in a static, in another thread or in memory of the process.
    #[expect(unsafe_code, reason = "lets the caller vouch for what cannot be checked")]
    pub unsafe fn holds_nothing(mut self) -> Self {
        self.holds_nothing = true;
        self
    }

    /// Says what becomes of a root that the last generation was changing when it died, or that is poisoned from before. It is done when the heap is opened,
    /// before any thread is inside. Without a word of it the root is taken as it is and stays poisoned, which
    /// [`Root::is_poisoned`] tells; [`crate::Heap::poisoned`] has what was done.
    ///
    /// ```no_run
    /// use heirloom::sync::Mutex;
    /// use heirloom::{Heap, OnPoison, Options, Vec};
    ///
    /// heirloom::root! {
    ///     static CACHE: Mutex<Vec<u64>> = "cache";
    ///     static TOTALS: Mutex<Vec<u64>> = "totals";
    /// }
    ///
    /// let options = Options::new()
    ///     .file("/dev/shm/app.heap")
    ///     .on_poison(&CACHE, OnPoison::replace())
    ///     .on_poison(&TOTALS, OnPoison::repair(|totals: &mut Mutex<Vec<u64>>| {
    ///         totals.get_mut().retain(|total| *total != 0);
    ///     }));
    /// let heap = Heap::inherit_or_create("app", options)?;
    /// for poisoned in heap.poisoned() {
    ///     eprintln!("{}: {:?}", poisoned.root, poisoned.remedy);
    /// }
    /// # Ok::<_, heirloom::HeapError>(())
    /// ```
    pub fn on_poison<T: Heritable + Default + Sync>(
        mut self,
        root: &'static Root<T>,
        on_poison: OnPoison<T>,
    ) -> Self {
        self.on_poison.push(Policy::new(root, on_poison));
        self
    }
}
