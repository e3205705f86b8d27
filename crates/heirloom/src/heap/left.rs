//! Heaps in memory that no program has: kept by the service manager, or by the kernel before.
//!
//! ```text
//! the manager's store   each heap of our name, the one of the most generations first
//! the kernel before     the session of our name
//! ```
//!
//! Neither is asked where the options name a file: then the heap is that file.
//!
//! A heap that cannot be taken over must not be lost with this process. The manager goes on keeping its one; what the kernel
//! before has left is given once, so it is copied into a file, whose path the error tells.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::{Heap, HeapError, Options, open};
use crate::backing::{Backing, BackingError};
use crate::channel::{self, fdstore, luo};
use crate::sys;

/// By which way a heap came that no program handed over; the header keeps the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    File,
    Store,
    Kernel,
}

impl Way {
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::File => 0,
            Self::Store => 4,
            Self::Kernel => 5,
        }
    }
}

/// What was found for a program that looks for its heap.
pub(super) enum Found {
    Heap(Box<Heap>),
    /// None could be taken over, and the options allow a new one: what became of the old one, and why.
    SetAside { path: PathBuf, reason: String, stored: Vec<String> },
    Nothing,
}

/// Looks for a heap of this name.
pub(super) fn find(name: &str, options: &Options) -> Result<Found, HeapError> {
    let kept = fdstore::find(name)?;
    let stored: Vec<String> = kept.iter().map(|kept| kept.name.clone()).collect();
    let mut refused = None;
    for kept in kept {
        let copy = sys::duplicate(kept.heap.as_fd())?;
        match take(kept.heap, options, Way::Store) {
            Ok(heap) => {
                fdstore::is_stored(&kept.name);
                return Ok(Found::Heap(Box::new(heap)));
            }
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => {
                refused.get_or_insert((copy, error));
            }
        }
    }
    if let Some((old, error)) = refused {
        return if options.cold_start { set_aside(name, &old, error, stored) } else { Err(error) };
    }
    let Some(retrieved) = luo::retrieve(name)? else { return Ok(Found::Nothing) };
    let copy = sys::duplicate(retrieved.heap.as_fd())?;
    match take(retrieved.heap, options, Way::Kernel) {
        Ok(mut heap) => {
            heap.retrieved = Some(retrieved.figures);
            Ok(Found::Heap(Box::new(heap)))
        }
        Err(error) if options.cold_start && !is_final(&error) => set_aside(name, &copy, error, Vec::new()),
        Err(error) => {
            let path = rescue(name, &copy)?;
            Err(HeapError::Rescued { path, reason: Box::new(error) })
        }
    }
}

/// True for what a new heap would not mend.
fn is_final(error: &HeapError) -> bool {
    matches!(
        error,
        HeapError::AlreadyOpen
            | HeapError::Backing(BackingError::AddressTaken { .. } | BackingError::Busy { .. })
    )
}

fn take(fd: OwnedFd, options: &Options, way: Way) -> Result<Heap, HeapError> {
    let copy = sys::duplicate(fd.as_fd())?;
    match Backing::adopt_fd(fd) {
        Err(BackingError::AddressTaken { base }) => {
            // Comes back only where it was tried already, or failed.
            let left = (way == Way::Kernel).then(|| copy.as_fd());
            channel::reexec_self_for_address(None, left);
            Err(BackingError::AddressTaken { base }.into())
        }
        Err(error) => Err(error.into()),
        Ok((backing, header)) => open::take_over(backing, header, options.clone(), way),
    }
}

fn set_aside(name: &str, old: &OwnedFd, error: HeapError, stored: Vec<String>) -> Result<Found, HeapError> {
    Ok(Found::SetAside { path: rescue(name, old)?, reason: error.to_string(), stored })
}

/// Copies a heap into a file, holes left out, and says where.
fn rescue(name: &str, heap: &OwnedFd) -> io::Result<PathBuf> {
    let shm = Path::new("/dev/shm");
    let folder = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let (mut path, mut nr) = (folder.join(format!("heirloom-{plain}.set-aside")), 1);
    while path.exists() {
        nr += 1;
        path = folder.join(format!("heirloom-{plain}.set-aside-{nr}"));
    }
    let file = sys::open(&path, true)?;
    let copied = copy_sparse(heap, &file);
    if copied.is_err() {
        let _ = std::fs::remove_file(&path);
    }
    copied.map(|()| path)
}

fn copy_sparse(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let len = sys::file_facts(from.as_fd())?.len;
    sys::set_len(to.as_fd(), len)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while let Some((start, end)) = if at < len { sys::next_data(from.as_fd(), at)? } else { None } {
        at = start;
        while at < end {
            let wanted = (buffer.len() as u64).min(end - at) as usize;
            let read = rustix::io::retry_on_intr(|| rustix::io::pread(from, &mut buffer[..wanted], at))?;
            if read == 0 {
                return Ok(());
            }
            let mut written = 0;
            while written < read {
                let more = &buffer[written..read];
                written += rustix::io::retry_on_intr(|| rustix::io::pwrite(to, more, at + written as u64))?;
            }
            at += read as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_bytes_and_the_holes() {
        let from = sys::memfd_create("heirloom:test").unwrap();
        sys::set_len(from.as_fd(), 8 << 20).unwrap();
        rustix::io::pwrite(&from, b"first", 4096).unwrap();
        rustix::io::pwrite(&from, b"last", (8 << 20) - 4).unwrap();
        let path = rescue("a copy/test", &from).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let held = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).unwrap()) * 512;
        std::fs::remove_file(&path).unwrap();
        assert_eq!(bytes.len(), 8 << 20);
        assert_eq!((&bytes[4096..4101], &bytes[(8 << 20) - 4..]), (&b"first"[..], &b"last"[..]));
        assert!(held < 1 << 20, "{held} bytes for two pages");
    }
}
