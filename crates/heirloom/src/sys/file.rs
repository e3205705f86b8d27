//! Files: opening, locks, lengths, holes.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FallocateFlags, FileType, FlockOperation, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;

/// What the system says of an open file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileFacts {
    pub(crate) len: u64,
    /// Bytes that it takes, holes left out.
    pub(crate) held_bytes: u64,
    /// No page of it was ever written, or all are holes again: it reads as zero from end to end.
    pub(crate) is_hollow: bool,
    pub(crate) is_regular: bool,
    /// Device and inode: which file it is, however it was opened.
    pub(crate) identity: (u64, u64),
    pub(crate) uid: u32,
    /// Who may do what with it.
    pub(crate) mode: u32,
    /// It stands in a directory, which a memfd does not.
    pub(crate) has_name: bool,
    /// It lives in memory: a memfd or a file on tmpfs.
    pub(crate) is_memory: bool,
    /// The size of its pages, where they are huge by themselves (hugetlbfs).
    pub(crate) huge_page_bytes: Option<u64>,
}

pub(crate) fn memfd_create(name: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?)
}

/// Opens a file for reading and writing; with `create`, it need not exist.
pub(crate) fn open_named(path: &Path, create: bool, follows_link: bool) -> io::Result<OwnedFd> {
    // Non-blocking, so that a fifo of this name is refused rather than waited for.
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = if create { flags | OFlags::CREATE } else { flags };
    let flags = if follows_link { flags } else { flags | OFlags::NOFOLLOW };
    Ok(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?)
}

pub(crate) fn file_facts(fd: BorrowedFd<'_>) -> io::Result<FileFacts> {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    const HUGETLBFS: i64 = 0x9584_58f6;
    let stat = rustix::fs::fstat(fd)?;
    let stat_fs = rustix::fs::fstatfs(fd)?;
    let file_system = stat_fs.f_type as i64;
    Ok(FileFacts {
        len: u64::try_from(stat.st_size).unwrap_or(0),
        held_bytes: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
        is_hollow: stat.st_blocks == 0,
        uid: stat.st_uid,
        mode: stat.st_mode & 0o7777,
        has_name: stat.st_nlink > 0,
        identity: (stat.st_dev, stat.st_ino),
        is_regular: FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
        huge_page_bytes: (file_system == HUGETLBFS).then_some(stat_fs.f_bsize as u64),
        is_memory: [TMPFS, RAMFS, HUGETLBFS].contains(&file_system),
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
    write_at(fd, 0, bytes)
}

/// Writes a few bytes.
pub(crate) fn write_at(fd: BorrowedFd<'_>, offset: u64, bytes: &[u8]) -> io::Result<()> {
    match rustix::io::retry_on_intr(|| rustix::io::pwrite(fd, bytes, offset))? {
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

/// Opens a file anew that is open here: the new descriptor has a lock of its own, where a copy would share it.
pub(crate) fn reopen(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    open_named(Path::new(&format!("/proc/self/fd/{}", fd.as_raw_fd())), false, true)
}

/// Renames a file, but not onto another one.
pub(crate) fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, flags) {
        // A file system that cannot promise it.
        Err(Errno::INVAL | Errno::NOSYS) if to.symlink_metadata().is_err() => std::fs::rename(from, to),
        Err(Errno::INVAL | Errno::NOSYS) => Err(Errno::EXIST.into()),
        renamed => Ok(renamed?),
    }
}

pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}

/// Where the next byte of a file from `at` on is that is not in a hole. Asks about nothing behind it: where a run of data ends is a
/// search over all of it.
pub(crate) fn start_of_data(fd: BorrowedFd<'_>, at: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(fd, rustix::fs::SeekFrom::Data(at)) {
        Ok(from) => Ok(Some(from)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Finds the next bytes of a file from `at` on that are not a hole: from where to where. Pages that are swapped out count, where
/// `mincore` would call them absent.
pub(crate) fn next_data(fd: BorrowedFd<'_>, at: u64) -> io::Result<Option<(u64, u64)>> {
    let Some(from) = start_of_data(fd, at)? else { return Ok(None) };
    Ok(Some((from, rustix::fs::seek(fd, rustix::fs::SeekFrom::Hole(from))?)))
}

/// The seals of a memfd; 0 for a file that has none.
pub(crate) fn seals(fd: BorrowedFd<'_>) -> u32 {
    rustix::fs::fcntl_get_seals(fd).map_or(0, |seals| seals.bits())
}
