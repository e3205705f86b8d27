//! Every system call of this crate: files and mappings, clocks and fences, processes and their messages.
//!
//! `rustix` wherever it has the call; `libc` for `posix_spawn`, `clone` and `execve`, which need a C library's care.
//! Nothing here decides anything: what may be mapped is [`backing`](crate::backing)'s matter, who may go on is
//! [`channel`](crate::channel)'s.
#![expect(unsafe_code, reason = "maps memory and makes processes")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};
use std::{fmt, fs};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FallocateFlags, FileType, FlockOperation, MemfdFlags, Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use rustix::thread::MembarrierCommand;

// Files and mappings.

/// What the system says of an open file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileFacts {
    pub(crate) len: u64,
    /// Bytes that it takes, holes left out.
    pub(crate) held_bytes: u64,
    /// No page of it was ever written, or all are holes again: it reads as zero from end to end.
    pub(crate) is_hollow: bool,
    pub(crate) is_regular: bool,
    /// It stands in a directory, which a memfd does not.
    pub(crate) has_name: bool,
    /// It lives in memory: a memfd or a file on tmpfs.
    pub(crate) is_memory: bool,
    /// Its pages are of hugetlbfs.
    pub(crate) is_huge_tlb: bool,
}

/// Why a file is not mapped where it has to be.
#[derive(Debug)]
pub(crate) enum MapError {
    /// Something else is mapped there.
    Taken,
    Failed(io::Error),
}

pub(crate) fn memfd_create(name: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?)
}

/// Opens a file for reading and writing; with `create`, it need not exist.
pub(crate) fn open(path: &Path, create: bool) -> io::Result<OwnedFd> {
    // Non-blocking, so that a fifo of this name is refused rather than waited for.
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = if create { flags | OFlags::CREATE } else { flags };
    Ok(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?)
}

pub(crate) fn file_facts(fd: BorrowedFd<'_>) -> io::Result<FileFacts> {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    const HUGETLBFS: i64 = 0x9584_58f6;
    let stat = rustix::fs::fstat(fd)?;
    let file_system = rustix::fs::fstatfs(fd)?.f_type as i64;
    Ok(FileFacts {
        len: u64::try_from(stat.st_size).unwrap_or(0),
        held_bytes: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
        is_hollow: stat.st_blocks == 0,
        has_name: stat.st_nlink > 0,
        is_regular: FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
        is_memory: [TMPFS, RAMFS, HUGETLBFS].contains(&file_system),
        is_huge_tlb: file_system == HUGETLBFS,
    })
}

/// Takes the lock that says "this heap has an owner"; false where another open file has it.
///
/// `flock` belongs to the open file: it goes with the descriptor to a successor, and goes away with the last copy.
pub(crate) fn try_lock(fd: BorrowedFd<'_>) -> io::Result<bool> {
    match rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn set_len(fd: BorrowedFd<'_>, len: u64) -> io::Result<()> {
    Ok(rustix::fs::ftruncate(fd, len)?)
}

/// Reads up to `bytes.len()` bytes from the start of a file and returns how many there are.
pub(crate) fn read_start(fd: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pread(fd, &mut bytes[done..], done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

/// Writes the first bytes of a file.
pub(crate) fn write_start(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    match rustix::io::retry_on_intr(|| rustix::io::pwrite(fd, bytes, 0))? {
        written if written == bytes.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Makes sure that a range of the file has pages, so that no touch of it can fail for want of room. Where the file
/// system cannot say, that is left to the touch.
pub(crate) fn allocate(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    match rustix::io::retry_on_intr(|| rustix::fs::fallocate(fd, FallocateFlags::empty(), offset, len)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        done => Ok(done?),
    }
}

/// Gives the pages of a range back; it reads as zero afterwards and the file keeps its length.
pub(crate) fn punch_hole(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::io::retry_on_intr(|| rustix::fs::fallocate(fd, mode, offset, len))?)
}

pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}

/// Maps a file, shared and from its start, at exactly `base`.
pub(crate) fn map_shared_at(fd: BorrowedFd<'_>, base: u64, bytes: u64) -> Result<NonNull<u8>, MapError> {
    let flags = MapFlags::SHARED | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
    let (Ok(base), Ok(bytes)) = (usize::try_from(base), usize::try_from(bytes)) else {
        return Err(MapError::Failed(Errno::NOMEM.into()));
    };
    let at = ptr::without_provenance_mut(base);
    // SAFETY: with FIXED_NOREPLACE nothing that is mapped is replaced, so no memory in use changes.
    match unsafe { rustix::mm::mmap(at, bytes, ProtFlags::READ | ProtFlags::WRITE, flags, fd, 0) } {
        Ok(mapped) if mapped.addr() == base => NonNull::new(mapped.cast()).ok_or(MapError::Taken),
        Ok(elsewhere) => {
            // Before Linux 4.17 the flag is unknown and the address a mere hint.
            // SAFETY: the mapping was made above and nobody has seen it.
            let _ = unsafe { rustix::mm::munmap(elsewhere, bytes) };
            Err(MapError::Taken)
        }
        Err(Errno::EXIST) => Err(MapError::Taken),
        Err(error) => Err(MapError::Failed(error.into())),
    }
}

/// Unmaps what [`map_shared_at`] has mapped.
///
/// # Safety
///
/// - `base` and `bytes` are those of one mapping from [`map_shared_at`].
/// - Nothing refers to it any more.
pub(crate) unsafe fn unmap(base: NonNull<u8>, bytes: u64) {
    // SAFETY: the mapping is the caller's and unused, by the contract above.
    let _ = unsafe { rustix::mm::munmap(base.as_ptr().cast(), bytes as usize) };
}

/// Finds the next bytes of a file from `at` on that are not a hole: from where to where. Pages that are swapped out count, where
/// `mincore` would call them absent.
pub(crate) fn next_data(fd: BorrowedFd<'_>, at: u64) -> io::Result<Option<(u64, u64)>> {
    match rustix::fs::seek(fd, rustix::fs::SeekFrom::Data(at)) {
        Ok(from) => Ok(Some((from, rustix::fs::seek(fd, rustix::fs::SeekFrom::Hole(from))?))),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Asks for huge pages behind a shared mapping; true where the system took the advice. Where its policy is "never" it
/// takes it too, and gives none: see [`offers_huge_pages`].
pub(crate) fn advise_huge(base: NonNull<u8>, bytes: u64) -> bool {
    // SAFETY: this advice changes the size of pages, never their contents.
    unsafe { rustix::mm::madvise(base.as_ptr().cast(), bytes as usize, Advice::LinuxHugepage) }.is_ok()
}

/// True where the system gives huge pages to shared memory for which they were advised.
pub(crate) fn offers_huge_pages() -> bool {
    let policy = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default();
    !policy.contains("[never]") && !policy.contains("[deny]") && !policy.is_empty()
}

/// Makes sure of pages: with `write` of memory behind them, else only of their place in the page table where there is memory.
/// A system that does not know the advice (before Linux 5.14) leaves it to the first touch.
pub(crate) fn populate(base: NonNull<u8>, bytes: u64, write: bool) {
    let advice = if write { Advice::LinuxPopulateWrite } else { Advice::LinuxPopulateRead };
    // SAFETY: this advice faults pages in, and changes no contents.
    let _ = unsafe { rustix::mm::madvise(base.as_ptr().cast(), bytes as usize, advice) };
}

/// Draws a base address at random: 47 bits, on a multiple of 1 GiB, between the places where programs, their
/// heaps and their libraries are mapped.
pub(crate) fn random_base() -> io::Result<u64> {
    const PLACES: core::ops::Range<u64> = 0x1000_0000_0000 >> 30..0x5000_0000_0000 >> 30;
    let drawn = u64::from_le_bytes(random_bytes()?);
    Ok((PLACES.start + drawn % (PLACES.end - PLACES.start)) << 30)
}

pub(crate) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut done = 0;
    while done < N {
        done += rustix::rand::getrandom(&mut bytes[done..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

/// The seals of a memfd; 0 for a file that has none.
pub(crate) fn seals(fd: BorrowedFd<'_>) -> u32 {
    rustix::fs::fcntl_get_seals(fd).map_or(0, |seals| seals.bits())
}

/// Bytes of memory that programs can still get without others being swapped out; `None` where the system does not say.
pub(crate) fn available_memory() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

pub(crate) fn page_bytes() -> u32 {
    u32::try_from(rustix::param::page_size()).unwrap_or(u32::MAX)
}

// Clocks and fences.

/// The time on `CLOCK_MONOTONIC`, which all processes of one boot share.
pub(crate) fn clock_monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// Registers this process for [`membarrier`]; false where the system has none.
pub(crate) fn register_membarrier() -> bool {
    rustix::thread::membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
}

/// Makes every thread of this process that runs now pass a full memory fence.
///
/// # Panics
///
/// Without a successful [`register_membarrier`] before.
pub(crate) fn membarrier() {
    rustix::thread::membarrier(MembarrierCommand::PrivateExpedited).expect("membarrier is registered");
}

// Processes.

pub(crate) fn pid() -> u32 {
    std::process::id()
}

/// The parent's process id; 0 where it is in another pid namespace.
pub(crate) fn parent_pid() -> u32 {
    rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid().cast_unsigned())
}

/// When this process was started. It does not change, and asking takes a good part of a hand-over: only the first call does.
pub(crate) fn own_start_ticks() -> u64 {
    static KNOWN: std::sync::Mutex<(u32, u64)> = std::sync::Mutex::new((0, 0));
    let mut known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // A child that was forked is another process.
    if known.0 != pid() {
        *known = (pid(), start_ticks(pid()).unwrap_or(0));
    }
    known.1
}

/// When a process was started, in clock ticks since boot: with the pid, it names one process only.
pub(crate) fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets and may hold anything, brackets and blanks included.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

pub(crate) fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Ends this process at once: no destructor and no `atexit` handler runs.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition.
    unsafe { libc::_exit(code) }
}

/// What a program is started with: null-terminated arrays of pointers, as `execve` wants them.
pub(crate) struct Image {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    dir: Option<CString>,
}

impl Image {
    pub(crate) fn new(path: CString, args: Vec<CString>, env: Vec<CString>, dir: Option<CString>) -> Self {
        Self { path, args, env, dir }
    }

    pub(crate) fn push_env(&mut self, variable: CString) {
        self.env.push(variable);
    }

    fn pointers(strings: &[CString]) -> Vec<*mut c_char> {
        strings.iter().map(|string| string.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Status(i32),
    /// This signal ended it.
    Signal(i32),
    /// Somebody else has asked first, for instance a thread that waits for every child.
    Unknown,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("an unknown status"),
        }
    }
}

/// A process that this one has started. It is named by a pidfd, so that neither a signal nor a wait can meet another
/// process of the same number.
pub(crate) struct Child {
    #[cfg(test)]
    pid: Pid,
    pidfd: OwnedFd,
}

impl Child {
    /// Starts a program that inherits `keep`, each under its number, and otherwise what is not close-on-exec.
    ///
    /// `posix_spawn`, because `fork` would copy the page tables of a large program, and because the descriptors
    /// become inheritable in the child alone: no other thread's child gets them.
    pub(crate) fn spawn(image: &Image, keep: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let (args, env) = (Image::pointers(&image.args), Image::pointers(&image.env));
        let actions = SpawnActions::new(keep, image.dir.as_deref())?;
        let attributes = SpawnAttributes::new()?;
        let mut pid = 0;
        // SAFETY: the strings and the arrays, which end with null, live until the call returns; actions and
        // attributes are initialised.
        let failed = unsafe {
            libc::posix_spawn(
                &mut pid,
                image.path.as_ptr(),
                &actions.0,
                &attributes.0,
                args.as_ptr(),
                env.as_ptr(),
            )
        };
        check_code(failed)?;
        let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
        match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self {
                #[cfg(test)]
                pid,
                pidfd,
            }),
            Err(error) => {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
                Err(error.into())
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().cast_unsigned()
    }

    /// Becomes readable when the process has ended.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(crate) fn kill(&self) {
        // It may have ended by itself, which is as good.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Waits until the process has ended, whoever may collect its status.
    pub(crate) fn reap(&self) -> Ended {
        while !matches!(wait_readable(&[self.as_fd()], None), Ok(ready) if ready[0]) {}
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let waited =
            rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(self.as_fd()), options));
        let Ok(Some(status)) = waited else { return Ended::Unknown };
        let code = status.exit_status().map(Ended::Status);
        code.or_else(|| status.terminating_signal().map(Ended::Signal)).unwrap_or(Ended::Unknown)
    }
}

struct SpawnActions(libc::posix_spawn_file_actions_t);

impl SpawnActions {
    fn new(keep: &[BorrowedFd<'_>], dir: Option<&CStr>) -> io::Result<Self> {
        // SAFETY: the type is a C struct of integers and pointers, for which zeroes are a value.
        let mut actions = Self(unsafe { std::mem::zeroed() });
        // SAFETY: initialises what `drop` destroys; on failure it is all zeroes, which holds no memory.
        check_code(unsafe { libc::posix_spawn_file_actions_init(&mut actions.0) })?;
        for fd in keep {
            let fd = fd.as_raw_fd();
            // Onto itself: POSIX has this clear close-on-exec in the child.
            // SAFETY: the actions are initialised.
            check_code(unsafe { libc::posix_spawn_file_actions_adddup2(&mut actions.0, fd, fd) })?;
        }
        if let Some(dir) = dir {
            // SAFETY: the actions are initialised; the string is copied.
            check_code(unsafe { libc::posix_spawn_file_actions_addchdir_np(&mut actions.0, dir.as_ptr()) })?;
        }
        Ok(actions)
    }
}

impl Drop for SpawnActions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, or all zeroes.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

struct SpawnAttributes(libc::posix_spawnattr_t);

impl SpawnAttributes {
    /// As std's: no signal blocked, `SIGPIPE` at its default.
    fn new() -> io::Result<Self> {
        // SAFETY: the type is a C struct of integers, for which zeroes are a value.
        let mut attributes = Self(unsafe { std::mem::zeroed() });
        let mut pipe = SignalMask::none().0;
        let flags = (libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF) as libc::c_short;
        // SAFETY: initialised first, then changed; the sets are initialised and copied.
        unsafe {
            check_code(libc::posix_spawnattr_init(&mut attributes.0))?;
            check_code(libc::posix_spawnattr_setsigmask(&mut attributes.0, &SignalMask::none().0))?;
            libc::sigaddset(&mut pipe, libc::SIGPIPE);
            check_code(libc::posix_spawnattr_setsigdefault(&mut attributes.0, &pipe))?;
            check_code(libc::posix_spawnattr_setflags(&mut attributes.0, flags))?;
        }
        Ok(attributes)
    }
}

impl Drop for SpawnAttributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, or all zeroes.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}

/// The signals that a thread blocks.
struct SignalMask(libc::sigset_t);

impl SignalMask {
    fn none() -> Self {
        Self::made_by(libc::sigemptyset)
    }

    fn all() -> Self {
        Self::made_by(libc::sigfillset)
    }

    fn made_by(fill: unsafe extern "C" fn(*mut libc::sigset_t) -> c_int) -> Self {
        // SAFETY: a set of signals is a C array of integers; both functions only write it.
        unsafe {
            let mut set = std::mem::zeroed();
            fill(&mut set);
            Self(set)
        }
    }

    /// Makes this the calling thread's mask and returns the one before.
    fn set(&self) -> Self {
        let mut before = Self::none();
        // SAFETY: both sets are initialised, and the new one is a valid mask.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, &mut before.0) };
        before
    }
}

fn check_code(code: c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

/// Replaces this program by another one that inherits `keep`, and returns only if that failed; everything is then
/// as before.
pub(crate) fn exec(image: &Image, keep: &[BorrowedFd<'_>]) -> io::Error {
    let (args, env) = (Image::pointers(&image.args), Image::pointers(&image.env));
    let mut came_from = None;
    if let Some(dir) = &image.dir {
        let here = rustix::fs::open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        match here.and_then(|here| rustix::process::chdir(dir.as_c_str()).map(|()| here)) {
            Ok(here) => came_from = Some(here),
            Err(error) => return error.into(),
        }
    }
    for fd in keep {
        let _ = rustix::io::fcntl_setfd(fd, FdFlags::empty());
    }
    // As std's: a mask that this thread happens to have would otherwise be the whole successor's.
    let mask = SignalMask::none().set();
    // SAFETY: the strings and the arrays, which end with null, live until the call returns, if it does.
    unsafe { libc::execve(image.path.as_ptr(), args.as_ptr().cast(), env.as_ptr().cast()) };
    let error = io::Error::last_os_error();
    mask.set();
    for fd in keep {
        let _ = rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC);
    }
    if let Some(here) = came_from {
        let _ = rustix::process::fchdir(here);
    }
    error
}

/// A short-lived process that shares this one's memory. `execve` then drops one reference to the address space
/// instead of unmapping it; the helper unmaps it when it goes, beside the successor that already works.
pub(crate) struct MemoryHolder {
    pid: c_int,
    stack: NonNull<c_void>,
    /// The holder goes when a byte comes out of the other end, or nothing can come any more.
    release: OwnedFd,
}

/// What the holder is told, at the low end of its stack.
#[repr(C)]
struct HolderOrder {
    wake: RawFd,
    timeout: Timespec,
}

impl MemoryHolder {
    const STACK_BYTES: usize = 64 << 10;

    pub(crate) fn start(timeout: Duration) -> io::Result<Self> {
        let (wake, release) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new mapping at an address that the system chooses.
        let stack = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), Self::STACK_BYTES, prot, flags)? };
        let stack = NonNull::new(stack).ok_or(Errno::NOMEM)?;
        let order = stack.cast::<HolderOrder>();
        // SAFETY: the mapping is page aligned, large enough, and nobody else's yet.
        unsafe { order.write(HolderOrder { wake: wake.as_raw_fd(), timeout: timespec(timeout) }) };
        // The holder has the mask of its birth: no signal of the group or the terminal runs a handler on this stack.
        let mask = SignalMask::all().set();
        // SAFETY: the stack grows down from the end of its mapping and is used by the holder alone; the mapping
        // stays until the holder has ended. `hold` makes system calls only and never returns into this program.
        let pid = unsafe {
            let top = stack.as_ptr().byte_add(Self::STACK_BYTES);
            libc::clone(hold, top, libc::CLONE_VM, order.as_ptr().cast())
        };
        let error = io::Error::last_os_error();
        mask.set();
        if pid < 0 {
            // SAFETY: no process was made, so the mapping is unused.
            let _ = unsafe { rustix::mm::munmap(stack.as_ptr(), Self::STACK_BYTES) };
            return Err(error);
        }
        Ok(Self { pid, stack, release })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// The successor's end: a byte or its closing lets the holder go.
    pub(crate) fn release(&self) -> BorrowedFd<'_> {
        self.release.as_fd()
    }

    /// Ends the holder, because there is no successor.
    pub(crate) fn stop(self) {
        release_holder(&self.release);
        reap_holder(self.pid());
        // SAFETY: the only process that used the stack has ended.
        let _ = unsafe { rustix::mm::munmap(self.stack.as_ptr(), Self::STACK_BYTES) };
    }
}

/// The holder's life. It runs beside the program's threads and shares the thread-local storage of one of them, so
/// it only makes system calls.
extern "C" fn hold(order: *mut c_void) -> c_int {
    // SAFETY: `start` passes a pointer to an order that lives as long as the holder.
    let order = unsafe { &*order.cast::<HolderOrder>() };
    let wake = order.wake.cast_unsigned();
    // Its copies of the program's descriptors would keep sockets open and the end of the pipe from being seen.
    for (first, last) in [(0, wake.wrapping_sub(1)), (wake + 1, u32::MAX)] {
        if first <= last && (first != 0 || wake != 0) {
            // SAFETY: the table of descriptors is the holder's own copy; nothing in its life uses another one.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
    // Woken by the successor, it would otherwise be given the successor's CPU and unmap gigabytes there first.
    let idle = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads the parameter only. Where it is refused, the holder runs as before.
    unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_IDLE, &raw const idle) };
    // SAFETY: the holder's copy of the descriptor is open until it ends.
    let wake = unsafe { BorrowedFd::borrow_raw(order.wake) };
    let mut fds = [PollFd::from_borrowed_fd(wake, PollFlags::IN)];
    while rustix::event::poll(&mut fds, Some(&order.timeout)) == Err(Errno::INTR) {}
    exit_now(0)
}

/// Lets a [`MemoryHolder`] go.
pub(crate) fn release_holder(release: &OwnedFd) {
    let _ = rustix::io::write(release, &[1]);
}

/// Waits for a [`MemoryHolder`] of this process, which an ordinary wait does not see.
pub(crate) fn reap_holder(pid: u32) {
    let mut status = 0;
    // SAFETY: the call writes the status only.
    while unsafe { libc::waitpid(pid.cast_signed(), &mut status, libc::__WALL) } < 0 {
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

// Messages.

/// Two ends of a connection that keeps messages apart.
pub(crate) fn message_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

pub(crate) fn is_message_socket(fd: BorrowedFd<'_>) -> bool {
    use rustix::net::{AddressFamily, SocketType, sockopt};
    sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
        && sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET)
}

pub(crate) fn is_pipe(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

pub(crate) fn send(socket: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    // A peer that does not read must not stop this side: a full socket is an error.
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::io::retry_on_intr(|| rustix::net::send(socket, message, flags))?;
    Ok(())
}

/// Takes the next message and returns its full length, which may exceed the buffer; 0 where the other end is closed,
/// `None` where nothing has come.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    match rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut *buffer, flags)) {
        Ok((_, len)) => Ok(Some(len)),
        Err(Errno::AGAIN) => Ok(None),
        Err(Errno::CONNRESET) => Ok(Some(0)),
        Err(error) => Err(error.into()),
    }
}

/// From here on nothing more can arrive: the other end's sends fail, what was sent before can still be received.
pub(crate) fn stop_receiving(socket: BorrowedFd<'_>) {
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Read);
}

/// Waits until one of the descriptors is readable, closed, or the deadline has passed.
pub(crate) fn wait_readable<const N: usize>(
    fds: &[BorrowedFd<'_>; N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    let mut polled = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    loop {
        let left = deadline.map(|deadline| timespec(deadline.saturating_duration_since(Instant::now())));
        match rustix::event::poll(&mut polled, left.as_ref()) {
            Ok(_) => return Ok(polled.each_ref().map(|fd| !fd.revents().is_empty())),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether a descriptor of this number is open and one end of a [`message_pair`]; whose it is does not matter.
pub(crate) fn is_open_message_socket(number: RawFd) -> bool {
    // SAFETY: asking for flags is harmless whatever the number means, and an open descriptor may be borrowed to be
    // asked for its type. Were it closed in between, the question would fail.
    number >= 0
        && unsafe {
            libc::fcntl(number, libc::F_GETFD) >= 0 && is_message_socket(BorrowedFd::borrow_raw(number))
        }
}

/// Takes over a descriptor whose number came in the environment and hides it from programs started later.
///
/// # Safety
///
/// Nothing else in this process owns the number, unless it is closed.
pub(crate) unsafe fn inherit_fd(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asking for flags is harmless whatever the number means.
    if number < 0 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: it is open, and the caller says that nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// Removes a variable from the environment, if no other thread can be reading it.
pub(crate) fn remove_env_if_alone(name: &str) {
    if is_alone() {
        // SAFETY: this is the only thread, so nobody reads or writes the environment meanwhile.
        unsafe { std::env::remove_var(name) };
    }
}

/// True where this is the only thread of its process.
fn is_alone() -> bool {
    const TASKS: &str = "/proc/self/task";
    // Each thread has a directory there, and each directory is a link to the one it stands in, which has two of its own. Listing
    // them says the same, and takes ten times as long.
    match rustix::fs::stat(TASKS) {
        Ok(stat) if stat.st_nlink > 2 => stat.st_nlink == 3,
        _ => fs::read_dir(TASKS).is_ok_and(|tasks| tasks.count() == 1),
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_threads_are_not_alone() {
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || told.recv());
        assert!(!is_alone());
        drop(tell);
        assert!(other.join().is_ok_and(|end| end.is_err()));
    }

    #[test]
    fn this_process_was_started_once() {
        assert_eq!(Some(own_start_ticks()), start_ticks(pid()));
        assert_eq!(own_start_ticks(), own_start_ticks());
    }
}
