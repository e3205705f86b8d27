//! Mappings: the heap at its address, huge pages, faults ahead of time.
#![expect(unsafe_code, reason = "maps memory")]

use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::{fs, io};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::random_bytes;

/// Why a file is not mapped where it has to be.
#[derive(Debug)]
pub(crate) enum MapError {
    /// Something else is mapped there.
    Taken,
    Failed(io::Error),
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

/// Notes for each page from `base` on whether it is in memory: bit 0 of its byte. A page that is not may be in swap. False where the
/// system does not say.
///
/// # Panics
///
/// `base` does not start a page.
pub(crate) fn note_resident(base: NonNull<u8>, pages: &mut [u8]) -> bool {
    let page = rustix::param::page_size();
    assert!(base.addr().get().is_multiple_of(page), "{base:?} starts no page");
    // SAFETY: writes a byte a page to `pages`; of memory that is not mapped it says so.
    unsafe { libc::mincore(base.as_ptr().cast(), pages.len() * page, pages.as_mut_ptr()) == 0 }
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

pub(crate) fn page_bytes() -> u32 {
    u32::try_from(rustix::param::page_size()).unwrap_or(u32::MAX)
}

/// Bytes of memory that programs can still get without others being swapped out; `None` where the system does not say.
pub(crate) fn available_memory() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}
