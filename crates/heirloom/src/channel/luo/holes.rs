//! The holes of a heap's file: listed before LUO fills them, and punched again after.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use heirloom_abi::holes::{self, HEAD_BYTES, Holes, PAGE_BYTES};

use crate::sys;

/// A list of more bytes than this is none of ours: it would have a hole for every other page of half a terabyte.
const MOST_LIST_BYTES: u64 = 1 << 30;

/// Lists the holes of the first `len` bytes of a file.
pub(super) fn collect(fd: BorrowedFd<'_>, len: u64) -> io::Result<Vec<u8>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < len {
        let (from, to) = sys::next_data(fd, at)?.unwrap_or((len, len));
        let (start, end) = (at.next_multiple_of(PAGE_BYTES), from.min(len) & !(PAGE_BYTES - 1));
        if start < end {
            found.push((start, end - start));
        }
        at = to;
    }
    let too_many = || io::Error::from(io::ErrorKind::OutOfMemory);
    let mut record = vec![0; holes::record_bytes(found.len()).ok_or_else(too_many)?];
    for (index, (offset, bytes)) in found.into_iter().enumerate() {
        holes::put(&mut record, index, offset, bytes).ok_or_else(too_many)?;
    }
    holes::seal(&mut record, len).ok_or_else(too_many)?;
    Ok(record)
}

/// Puts a list where LUO can take it.
pub(super) fn to_memfd(record: &[u8]) -> io::Result<OwnedFd> {
    let fd = sys::memfd_create("heirloom:holes")?;
    sys::set_len(fd.as_fd(), record.len() as u64)?;
    let mut done = 0;
    while done < record.len() {
        match rustix::io::retry_on_intr(|| rustix::io::pwrite(&fd, &record[done..], done as u64))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => done += written,
        }
    }
    Ok(fd)
}

/// Bytes of all holes of a list of our own.
pub(super) fn total(record: &[u8]) -> u64 {
    Holes::read(record).map_or(0, |holes| holes.iter().map(|(_, bytes)| bytes).sum())
}

/// Punches the holes of a list that lies in a file: how many bytes.
pub(super) fn punch_listed(fd: BorrowedFd<'_>, list: BorrowedFd<'_>) -> io::Result<u64> {
    let len = sys::file_facts(list)?.len;
    if !(HEAD_BYTES as u64..=MOST_LIST_BYTES).contains(&len) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut record = vec![0; len as usize];
    let read = sys::read_start(list, &mut record)?;
    record.truncate(read);
    punch(fd, &record)
}

/// Punches the holes of a list: how many bytes. What is not all zeros stays as it is, whatever the list says, and so does a file
/// of another length.
pub(super) fn punch(fd: BorrowedFd<'_>, record: &[u8]) -> io::Result<u64> {
    let holes = Holes::read(record).map_err(io::Error::other)?;
    if holes.file_bytes() != sys::file_facts(fd)?.len {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut punched = 0;
    let mut buffer = vec![0; 1 << 20];
    for (offset, bytes) in holes.iter() {
        let (mut at, end) = (offset, offset + bytes);
        while at < end {
            let wanted = (buffer.len() as u64).min(end - at) as usize;
            let read = rustix::io::retry_on_intr(|| rustix::io::pread(fd, &mut buffer[..wanted], at))?;
            let read = read as u64 & !(PAGE_BYTES - 1);
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            punched += punch_zeros(fd, at, &buffer[..read as usize])?;
            at += read;
        }
    }
    Ok(punched)
}

/// Punches the pages of `bytes`, which stand at `offset`, that are all zeros, each run of them in one go.
fn punch_zeros(fd: BorrowedFd<'_>, offset: u64, bytes: &[u8]) -> io::Result<u64> {
    let (mut punched, mut run) = (0, 0);
    let mut at = offset;
    for page in bytes.chunks_exact(PAGE_BYTES as usize) {
        if is_zero(page) {
            run += PAGE_BYTES;
        } else if run > 0 {
            sys::punch_hole(fd, at - run, run)?;
            punched += std::mem::take(&mut run);
        }
        at += PAGE_BYTES;
    }
    if run > 0 {
        sys::punch_hole(fd, at - run, run)?;
        punched += run;
    }
    Ok(punched)
}

fn is_zero(page: &[u8]) -> bool {
    // Words at a time, and no early end within a line of the cache: this is read at the speed of memory.
    page.chunks(256).all(|line| line.iter().fold(0, |seen, byte| seen | byte) == 0)
}
