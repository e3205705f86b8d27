//! Linux 7.2 under QEMU: what `cargo xtask module` and `cargo xtask vm` share.
//!
//! ```text
//! folder     a Debian 13 in a folder of the cache: compilers that Linux 7.2 is content with, its source
//! kernel     one small kernel of it, with Rust          -> bzImage, and the build that modules are made against
//! initramfs  an archive of the files that a machine starts with
//! machine    QEMU: boots them, passes on the serial console line by line, ends in time
//! ```
//!
//! Everything is kept outside the tree, in `$HEIRLOOM_CACHE` or `~/.cache/heirloom`, and made anew only where what it is made of has
//! changed. A machine without root, network or QEMU is told so in a word ([`Error::Missing`]).

mod folder;
mod initramfs;
mod kernel;
mod machine;

use std::io;
use std::path::PathBuf;

pub(crate) use folder::{Folder, Lent};
pub(crate) use initramfs::Initramfs;
pub(crate) use kernel::kernel;
pub(crate) use machine::{Ended, Machine};

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// This machine lacks something; says what, and how to get it.
    #[error("{0}")]
    Missing(String),
    /// A command failed; says which, and shows its last words.
    #[error("{what} failed ({how}); all of it is in {log}\n{last_words}")]
    Failed {
        /// What was done.
        what: String,
        /// How it ended.
        how: String,
        /// Where everything that it said lies.
        log: String,
        /// The end of that.
        last_words: String,
    },
    /// A file or a program of this machine.
    #[error("{what}: {error}")]
    Io {
        /// Which.
        what: String,
        /// Why.
        error: io::Error,
    },
}

/// For `map_err`: an error of this machine with what it is about.
pub(crate) fn about<T: Into<String>>(what: T) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::Io { what: what.into(), error }
}

/// Where downloads and builds are kept.
pub(crate) fn cache() -> Result<PathBuf, Error> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/heirloom"));
    let cache = std::env::var_os("HEIRLOOM_CACHE").map(PathBuf::from).or_else(home);
    cache.ok_or_else(|| {
        Error::Missing("set HEIRLOOM_CACHE to a folder for downloads and builds: there is no HOME".to_owned())
    })
}

/// What is missing to build and run Linux here, if anything.
pub(crate) fn missing() -> Option<Error> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Some(Error::Missing("Linux is built and run on x86-64 Linux only".to_owned()));
    }
    machine::missing().or_else(folder::missing)
}
