//! The file of a heap and its one mapping.
//!
//! ```text
//! file     [header|control blocks|block|block|....]len          grows by whole blocks, holes where nothing is
//! memory   [......................................|.. reserved ..]   base: the same address in every generation
//! ```
//!
//! The descriptor holds a `flock` as long as the heap has an owner. A file is looked at through the descriptor, and
//! refused or accepted, before anything of it is mapped; refusing changes nothing.
//!
//! The mapping is memory that is shared with other processes, so no reference to its bytes is made here: the header
//! is copied out, and written word by word.
#![expect(unsafe_code, reason = "writes the header in the mapping, and unmaps it")]

pub(crate) mod place;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use heirloom_abi::heap::{COMMIT_AT, HEADER_BYTES, Header, HeaderError, Host, Phase, State};

use crate::sys::{self, MapError};

/// An open, locked and mapped heap file.
pub(crate) struct Backing {
    fd: OwnedFd,
    base: NonNull<u8>,
    reserved: u64,
    len: AtomicU64,
    header_writer: Mutex<()>,
    huge_pages: AtomicBool,
    notes: Notes,
    /// Its file system may be full before the heap is.
    has_name: bool,
}

/// What a heap file starts with until its header stands: whoever finds it, and no owner, may begin anew.
const UNFINISHED: [u8; 8] = *b"HEIRNEW\0";

/// Pages of which the system is asked at a time whether they are in memory.
const PAGES_ASKED: usize = 512;

/// What a user should know about where the heap lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    /// The file is on a disk: slower, and not memory that a successor finds as it was left after a power cut.
    pub(crate) not_in_memory: bool,
}

/// Why a heap file cannot be created or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackingError {
    /// Another process has it open.
    #[error("the heap belongs to {}: end that program first, or ask it to hand over", owner(*pid))]
    Busy {
        /// The owner by the header, 0 where that is unreadable.
        pid: u32,
    },
    /// The file that was to be created has contents.
    #[error("{} is not empty: choose another path, or clear it", path.display())]
    NotEmpty {
        /// The file.
        path: PathBuf,
    },
    /// The owner has frozen one heap, and offered another.
    #[error(
        "the descriptor that came with the frozen heap is of another file than the heap that was offered"
    )]
    OtherFile,
    /// Neither a regular file nor a memfd.
    #[error("the heap's file is no regular file")]
    NotRegular,
    /// It is somebody else's, who could have written anything into it.
    #[error(
        "{} belongs to user {uid}, who is neither this program's user nor trusted by its options: choose another path",
        path.display()
    )]
    OtherUser {
        /// The file.
        path: PathBuf,
        /// Its user.
        uid: u32,
    },
    /// Others may write it.
    #[error("{} has mode {mode:03o}, so that others may write it: try `chmod go-w`", path.display())]
    OthersWrite {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file whose smallest piece is a huge page.
    #[error(
        "the heap's file lies on hugetlbfs, in pages of {page_bytes} bytes, and a heap's records are laid out in pages of 4096: \
        put it on tmpfs, mounted with huge=advise where huge pages are wanted"
    )]
    HugePages {
        /// The size of a page.
        page_bytes: u64,
    },
    /// The header page was refused.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Something else is mapped where the heap has to be.
    #[error(
        "something is mapped at {base:#x} already, where the heap has to be: start the program once more"
    )]
    AddressTaken {
        /// Where the heap has to be.
        base: u64,
    },
    /// The system refused a step.
    #[error("cannot {step} the heap's file: {source}")]
    System {
        /// The step.
        step: &'static str,
        /// The system's word.
        source: io::Error,
    },
}

fn refuse_unfit(facts: &sys::FileFacts) -> Result<(), BackingError> {
    if !facts.is_regular {
        return Err(BackingError::NotRegular);
    }
    match facts.huge_page_bytes {
        Some(page_bytes) => Err(BackingError::HugePages { page_bytes }),
        None => Ok(()),
    }
}

fn owner(pid: u32) -> String {
    if pid == 0 { "another process".to_owned() } else { format!("process {pid}") }
}

fn step(step: &'static str) -> impl FnOnce(io::Error) -> BackingError {
    move |source| BackingError::System { step, source }
}

/// The machine that this program runs on, as headers name it.
pub(crate) fn host() -> Host {
    Host::current(sys::page_bytes())
}

// SAFETY: the pointer is to a mapping of the whole process; nothing about it belongs to one thread.
unsafe impl Send for Backing {}
// SAFETY: header writes are behind a mutex, the length is atomic, and no reference to mapped bytes is given out.
unsafe impl Sync for Backing {}

impl Backing {
    /// Makes a heap file without a name: it lives as long as a process has it.
    pub(crate) fn create_memfd(name: &str, reserved: u64) -> Result<Self, BackingError> {
        let fd = sys::memfd_create(&format!("heirloom:{name}")).map_err(step("create"))?;
        Self::create(fd, reserved)
    }

    /// Makes a heap file at `path`, where there is none or an empty one of a user that is trusted.
    ///
    /// A file whose creator was killed before its header stood counts as empty, and one in memory without a single page.
    pub(crate) fn create_file(path: &Path, reserved: u64, trusted: &[u32]) -> Result<Self, BackingError> {
        let fd = loop {
            let fd = place::open(path, true, Some(trusted))?;
            if place::lock(path, &fd)? {
                break fd;
            }
        };
        let facts = sys::file_facts(fd.as_fd()).map_err(step("examine"))?;
        // On a disk a small file may have contents and no block of its own.
        let is_hollow = facts.is_hollow && facts.is_memory;
        if facts.len > 0 && !is_hollow && !starts_unfinished(&fd).map_err(step("read"))? {
            return Err(BackingError::NotEmpty { path: path.to_owned() });
        }
        sys::set_len(fd.as_fd(), 0).map_err(step("empty"))?;
        // Before the mapping is touched: a kill leaves no bytes, or these.
        sys::write_start(fd.as_fd(), &UNFINISHED).map_err(step("begin"))?;
        Self::create(fd, reserved)
    }

    fn create(fd: OwnedFd, reserved: u64) -> Result<Self, BackingError> {
        /// Of 65,536 places; one that is taken is rare, so many of them are no accident.
        const TRIES: u32 = 64;
        Self::lock(&fd)?;
        let mut refused = BackingError::NotRegular;
        for _ in 0..TRIES {
            let base = sys::random_base().map_err(step("place"))?;
            match Self::map(&fd, base, reserved) {
                Ok(mapped) => return Self::assemble(fd, mapped, reserved),
                Err(error @ BackingError::AddressTaken { .. }) => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    /// Opens a heap file that somebody has left.
    #[cfg(test)]
    pub(crate) fn open_file(path: &Path) -> Result<(Self, Header), BackingError> {
        Self::adopt_fd(place::open(path, false, Some(&[]))?)
    }

    /// Takes over a heap file that was inherited.
    ///
    /// The caller keeps another copy of the descriptor while it may want to try again: a heap without a name is gone
    /// with the last one.
    pub(crate) fn adopt_fd(fd: OwnedFd) -> Result<(Self, Header), BackingError> {
        let facts = sys::file_facts(fd.as_fd()).map_err(step("examine"))?;
        refuse_unfit(&facts)?;
        Self::lock(&fd)?;
        Self::adopt_locked(fd)
    }

    /// Looks at a heap file that has an owner and may be this process's one day: its lock is left alone until
    /// [`Backing::take_descriptor`] or [`Backing::lock_anew`].
    pub(crate) fn adopt_offered(fd: OwnedFd) -> Result<(Self, Header), BackingError> {
        let facts = sys::file_facts(fd.as_fd()).map_err(step("examine"))?;
        refuse_unfit(&facts)?;
        Self::adopt_locked(fd)
    }

    fn adopt_locked(fd: OwnedFd) -> Result<(Self, Header), BackingError> {
        let header = header_of(&fd)?;
        let mapped = Self::map(&fd, header.identity.base, header.identity.reserved_bytes)?;
        Ok((Self::assemble(fd, mapped, header.identity.reserved_bytes)?, header))
    }

    /// Takes the lock that an owner holds for life.
    pub(crate) fn lock(fd: &OwnedFd) -> Result<(), BackingError> {
        if sys::try_lock(fd.as_fd()).map_err(step("lock"))? {
            return Ok(());
        }
        let pid = header_of(fd).map_or(0, |header| header.state.owner_pid);
        Err(BackingError::Busy { pid })
    }

    /// Puts another descriptor of the same file, and with it the lock, in the place of the one that was opened without.
    ///
    /// # Errors
    ///
    /// It is of another file, or the lock is somebody else's.
    pub(crate) fn take_descriptor(&mut self, fd: OwnedFd) -> Result<(), BackingError> {
        let identity = |fd: &OwnedFd| sys::file_facts(fd.as_fd()).map(|facts| facts.identity);
        if identity(&fd).map_err(step("examine"))? != identity(&self.fd).map_err(step("examine"))? {
            return Err(BackingError::OtherFile);
        }
        Self::lock(&fd)?;
        self.fd = fd;
        Ok(())
    }

    /// Takes the lock through the descriptor that this process has.
    pub(crate) fn lock_anew(&self) -> Result<(), BackingError> {
        Self::lock(&self.fd)
    }

    fn map(fd: &OwnedFd, base: u64, reserved: u64) -> Result<NonNull<u8>, BackingError> {
        sys::map_shared_at(fd.as_fd(), base, reserved).map_err(|error| match error {
            MapError::Taken => BackingError::AddressTaken { base },
            MapError::Failed(source) => BackingError::System { step: "map", source },
        })
    }

    fn assemble(fd: OwnedFd, base: NonNull<u8>, reserved: u64) -> Result<Self, BackingError> {
        let notes = Notes::default();
        let header_writer = Mutex::new(());
        let mut backing = Self {
            fd,
            base,
            reserved,
            len: AtomicU64::new(0),
            header_writer,
            huge_pages: AtomicBool::new(false),
            notes,
            has_name: false,
        };
        let facts = sys::file_facts(backing.fd()).map_err(step("examine"))?;
        *backing.len.get_mut() = facts.len;
        backing.notes.not_in_memory = !facts.is_memory;
        backing.has_name = facts.has_name;
        Ok(backing)
    }

    /// Where the heap is, in this generation and in all others.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The address space kept for the heap.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// The length of the file; what is mapped behind it must not be touched.
    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Asks the system for the length again: another process may have made the file longer since this one opened it, and none may have
    /// made it shorter.
    pub(crate) fn look_at_len(&self) -> Result<(), BackingError> {
        let recorded = self.len();
        let facts = sys::file_facts(self.fd()).map_err(step("examine"))?;
        if facts.len < recorded {
            return Err(HeaderError::FileLength { recorded, found: facts.len }.into());
        }
        self.len.fetch_max(facts.len.min(self.reserved), Ordering::AcqRel);
        Ok(())
    }

    /// Bytes of the file that have memory.
    pub(crate) fn held_bytes(&self) -> u64 {
        sys::file_facts(self.fd()).map_or(0, |facts| facts.held_bytes)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn notes(&self) -> Notes {
        self.notes
    }

    /// True where the heap takes room of a file system, which others see and share.
    pub(crate) fn has_name(&self) -> bool {
        self.has_name
    }

    /// Makes the file `len` bytes long; a smaller `len` does nothing.
    pub(crate) fn grow_to(&self, len: u64) -> io::Result<()> {
        let _one = self.header_writer.lock().unwrap_or_else(PoisonError::into_inner);
        if len <= self.len() {
            return Ok(());
        }
        if len > self.reserved {
            return Err(io::ErrorKind::StorageFull.into());
        }
        sys::set_len(self.fd(), len)?;
        self.len.store(len, Ordering::Release);
        Ok(())
    }

    /// Makes the file `len` bytes long if it is longer. Nothing behind that may be in use.
    pub(crate) fn shrink_to(&self, len: u64) {
        let _one = self.header_writer.lock().unwrap_or_else(PoisonError::into_inner);
        if len >= HEADER_BYTES as u64 && len < self.len() && sys::set_len(self.fd(), len).is_ok() {
            self.len.store(len, Ordering::Release);
        }
    }

    /// Asks for huge pages from `offset` on, in this process: those that it faults in itself, and its view of all.
    pub(crate) fn advise_huge(&self, offset: u64) {
        let from = self.at(offset);
        if sys::advise_huge(from, self.reserved - offset) {
            self.huge_pages.store(true, Ordering::Relaxed);
        }
    }

    /// True where huge pages were asked for.
    pub(crate) fn wants_huge_pages(&self) -> bool {
        self.huge_pages.load(Ordering::Relaxed)
    }

    /// Faults the pages of a range inside the file in, so that nobody waits for them later. With `write` holes get memory.
    pub(crate) fn populate(&self, offset: u64, len: u64, write: bool) {
        let start = offset & !(u64::from(sys::page_bytes()) - 1);
        let end = self.len().min(offset.saturating_add(len));
        if start < end {
            sys::populate(self.at(start), end - start, write);
        }
    }

    fn at(&self, offset: u64) -> NonNull<u8> {
        assert!(offset <= self.reserved, "{offset:#x} is behind the heap");
        // SAFETY: inside the mapping, by the assertion.
        unsafe { self.base.add(offset as usize) }
    }

    /// Makes sure of the pages of a range inside the file before anybody touches it: where the file system is full, the
    /// touch would end the program. A memfd has none but the machine's memory to run out of.
    pub(crate) fn provide(&self, offset: u64, len: u64) -> io::Result<()> {
        if self.has_name { sys::allocate(self.fd(), offset, len) } else { Ok(()) }
    }

    /// Gives the pages of a range back. It reads as zero afterwards, whatever the file system thinks of holes.
    ///
    /// # Panics
    ///
    /// The range is not inside the file.
    pub(crate) fn punch(&self, offset: u64, len: u64) {
        let end = offset.checked_add(len).filter(|&end| end <= self.len());
        assert!(end.is_some() && offset >= HEADER_BYTES as u64, "a hole of {len:#x} bytes at {offset:#x}");
        if sys::punch_hole(self.fd(), offset, len).is_err() {
            // SAFETY: the range is inside the file, so mapped and backed, and the caller gives it up, so nothing
            // refers to it.
            unsafe { self.base.as_ptr().add(offset as usize).write_bytes(0, len as usize) };
        }
    }

    /// Zeroes a range where it has pages, in memory or in swap; where it has none it is zero, and no page is made for it.
    ///
    /// # Panics
    ///
    /// The range is not inside the file.
    pub(crate) fn zero(&self, offset: u64, len: u64) {
        let end = offset.checked_add(len).filter(|&end| end <= self.len());
        assert!(end.is_some() && offset >= HEADER_BYTES as u64, "{len:#x} bytes to zero at {offset:#x}");
        let (mut at, end) = (offset, offset + len);
        let page = rustix::param::page_size() as u64;
        let mut resident = [0; PAGES_ASKED];
        while at < end {
            let first = at - at % page;
            let nr = (end - first).div_ceil(page).min(PAGES_ASKED as u64);
            let stop = end.min(first + nr * page);
            let pages = &mut resident[..nr as usize];
            // SAFETY: inside the file, so inside the mapping.
            if !sys::note_resident(unsafe { self.base.add(first as usize) }, pages) {
                pages.fill(0);
            }
            while at < stop {
                let nth = ((at - first) / page) as usize;
                let run = pages[nth..].iter().take_while(|&&page| page & 1 == 1).count() as u64;
                if run > 0 {
                    let to = stop.min(at - at % page + run * page);
                    // SAFETY: inside the file, so mapped and backed; the caller gives the range up, so nothing refers to it.
                    unsafe { self.base.as_ptr().add(at as usize).write_bytes(0, (to - at) as usize) };
                    at = to;
                    continue;
                }
                match sys::start_of_data(self.fd(), at) {
                    Ok(None) => return,
                    Ok(Some(from)) if from > at => at = from,
                    // In swap, or there by now. A system that cannot tell has no holes for us.
                    _ => pages[nth] = 1,
                }
            }
        }
    }

    /// Copies the header out of the mapping and validates it.
    pub(crate) fn read_header(&self) -> Result<Header, HeaderError> {
        let len = sys::file_facts(self.fd()).map_or(0, |facts| facts.len);
        if len < HEADER_BYTES as u64 {
            return Err(HeaderError::Short { found: len as usize });
        }
        Header::read(&self.header_page(), len, &host())
    }

    /// Writes the whole header of a new heap, its magic number last: before that, the file counts as blank.
    ///
    /// # Panics
    ///
    /// The file does not reach over the header yet.
    pub(crate) fn write_header(&self, header: &Header) -> Result<(), HeaderError> {
        let mut page = [0; HEADER_BYTES];
        header.write(&mut page, &host())?;
        let _one = self.header_writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (magic, rest) = page.split_at(8);
        self.store_words(8, rest);
        self.store_words(0, magic);
        Ok(())
    }

    /// Makes `state` the one that counts. A kill at any point leaves this state or the one before.
    pub(crate) fn write_state(&self, state: &State) -> Result<(), HeaderError> {
        let _one = self.header_writer.lock().unwrap_or_else(PoisonError::into_inner);
        let write = state.following(&self.header_page())?;
        self.store_words(write.copy_at, &write.copy);
        self.store_words(COMMIT_AT, &write.commit.to_le_bytes());
        Ok(())
    }

    fn header_page(&self) -> [u8; HEADER_BYTES] {
        let mut page = [0; HEADER_BYTES];
        for (nth, bytes) in page.chunks_exact_mut(8).enumerate() {
            let word = u64::from_le(self.header_word(8 * nth).load(Ordering::Acquire));
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        page
    }

    /// Each store is a release, so that a later word is never seen before an earlier one.
    fn store_words(&self, at: usize, bytes: &[u8]) {
        for (nth, word) in bytes.chunks_exact(8).enumerate() {
            let word = u64::from_le_bytes(word.try_into().expect("chunks of 8"));
            self.header_word(at + 8 * nth).store(word.to_le(), Ordering::Release);
        }
    }

    fn header_word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at < HEADER_BYTES && self.len() >= HEADER_BYTES as u64);
        // SAFETY: inside the mapped header and inside the file by the assertion, aligned because the base is, and
        // the header is only ever accessed in these words.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(at).cast()) }
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map`, and with its owner the last user of the heap is gone.
        unsafe { sys::unmap(self.base, self.reserved) };
    }
}

fn starts_unfinished(fd: &OwnedFd) -> io::Result<bool> {
    let mut start = [0; UNFINISHED.len()];
    Ok(sys::read_start(fd.as_fd(), &mut start)? == start.len() && start == UNFINISHED)
}

/// Notes in the header of a heap that this process has locked, and has not mapped, that it was set aside. A kill at any point leaves the
/// note made, or not.
pub(crate) fn mark_set_aside(fd: &OwnedFd) -> Result<(), BackingError> {
    let mut page = [0; HEADER_BYTES];
    sys::read_start(fd.as_fd(), &mut page).map_err(step("read"))?;
    let header = header_of(fd)?;
    let write = State { phase: Phase::SetAside, ..header.state }.following(&page)?;
    sys::write_at(fd.as_fd(), write.copy_at as u64, &write.copy).map_err(step("mark"))?;
    sys::write_at(fd.as_fd(), COMMIT_AT as u64, &write.commit.to_le_bytes()).map_err(step("mark"))
}

/// Reads a heap's header before anything of it is mapped.
pub(crate) fn header_of(fd: &OwnedFd) -> Result<Header, BackingError> {
    let mut page = [0; HEADER_BYTES];
    let read = sys::read_start(fd.as_fd(), &mut page).map_err(step("read"))?;
    let facts = sys::file_facts(fd.as_fd()).map_err(step("examine"))?;
    Ok(Header::read(&page[..read], facts.len, &host())?)
}

#[cfg(test)]
pub(crate) mod tests;
