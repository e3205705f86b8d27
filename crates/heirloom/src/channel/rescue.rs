//! Heaps in memory that cannot be taken over, and would be lost with this process: copied into a file.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::sys;

/// Copies a heap into a file, holes left out, and says where.
pub(super) fn rescue(name: &str, heap: &OwnedFd) -> io::Result<PathBuf> {
    let shm = Path::new("/dev/shm");
    let folder = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let (mut path, mut nr) = (folder.join(format!("heirloom-{plain}.set-aside")), 1);
    let file = loop {
        // Everybody may write there: a file, or a link to one, that somebody has put in the way is not used.
        match File::options().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                nr += 1;
                path = folder.join(format!("heirloom-{plain}.set-aside-{nr}"));
            }
            opened => break opened?,
        }
    };
    let copied = copy_sparse(heap, &file.into());
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
