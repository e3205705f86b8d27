//! The archive that Linux unpacks before it starts `/init`: cpio, "newc", uncompressed.
//!
//! ```text
//! entry := "070701" 13 numbers of 8 hex digits, name, NUL, to 4 bytes, data, to 4 bytes
//! ```
//!
//! Linux's `Documentation/driver-api/early-userspace/buffer-format.rst` has the format.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Error, about};

const MODE_FOLDER: u32 = 0o040_755;
const MODE_PROGRAM: u32 = 0o100_755;
const MODE_LINK: u32 = 0o120_777;
const MODE_CONSOLE: u32 = 0o020_600;

/// An archive that is being written.
#[derive(Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    nr: u32,
}

impl Initramfs {
    /// An archive with the console, which `/init` has as its input and output.
    pub(crate) fn new() -> Self {
        let mut archive = Self::default();
        archive.folder("dev");
        archive.entry("dev/console", MODE_CONSOLE, (5, 1), &[]);
        archive
    }

    /// Adds a file of this machine, as a program.
    pub(crate) fn file(&mut self, name: &str, from: &Path) -> Result<(), Error> {
        let data = fs::read(from).map_err(about(from.display().to_string()))?;
        self.data(name, &data);
        Ok(())
    }

    /// Adds a file with these bytes, as a program.
    pub(crate) fn data(&mut self, name: &str, data: &[u8]) {
        self.parents(name);
        self.entry(name, MODE_PROGRAM, (0, 0), data);
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, name: &str, target: &str) {
        self.parents(name);
        self.entry(name, MODE_LINK, (0, 0), target.as_bytes());
    }

    /// Adds a folder, and those above it.
    pub(crate) fn folder(&mut self, name: &str) {
        self.parents(name);
        if self.folders.insert(name.to_owned()) {
            self.entry(name, MODE_FOLDER, (0, 0), &[]);
        }
    }

    fn parents(&mut self, name: &str) {
        if let Some((parent, _)) = name.rsplit_once('/') {
            self.folder(parent);
        }
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        self.nr += 1;
        // inode, mode, uid, gid, links, time, bytes, device (2), device of the node (2), bytes of the name with its NUL, no checksum
        let numbers = [
            self.nr,
            mode,
            0,
            0,
            1,
            0,
            data.len() as u32,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for number in numbers {
            self.bytes.extend_from_slice(format!("{number:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_starts_at_a_multiple_of_four_and_parents_come_first() {
        let mut archive = Initramfs::new();
        archive.data("a/b/c", b"12345");
        archive.data("a/b/d", b"");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let mut names = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let number = |nr: usize| {
                let digits = std::str::from_utf8(&bytes[at + 6 + 8 * nr..][..8]).unwrap();
                usize::from_str_radix(digits, 16).unwrap()
            };
            let (data, name) = (number(6), number(11));
            names.push(String::from_utf8(bytes[at + 110..at + 110 + name - 1].to_vec()).unwrap());
            let data_at = (at + 110 + name).next_multiple_of(4);
            if names.last().is_some_and(|name| name == "a/b/c") {
                assert_eq!(&bytes[data_at..data_at + data], b"12345");
            }
            at = (data_at + data).next_multiple_of(4);
        }
        assert_eq!(names, ["dev", "dev/console", "a", "a/b", "a/b/c", "a/b/d", "TRAILER!!!"]);
    }
}
