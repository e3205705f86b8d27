//! A heap file that stands in a folder: whose it is, that it is still the one of its name, and how it is put aside.
//!
//! ```text
//! this start    open ........................ lock, another file stands there: open again
//! another one         lock, rename, new file
//! ```
//!
//! The lock belongs to the file, the name to the folder. So whoever has locked a file looks whether it is still the one that the name
//! leads to, and whoever renames it holds its lock until that is done.
//!
//! Folders such as `/dev/shm` are everybody's: a heap is only taken from a file that none but trusted users can have made or changed.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{Backing, BackingError, refuse_unfit, starts_unfinished, step};
use crate::sys;

/// Whoever may write a file that others are to believe.
const OTHERS_WRITE: u32 = 0o022;
const EVERYBODY_WRITES: u32 = 0o002;

/// Opens a heap's file; with `create` it need not exist. Its user must be this program's, root or one of `trusted`; without that list
/// it is not asked.
///
/// # Errors
///
/// The system's word; it is no file for a heap; it is somebody's who is not trusted.
pub(crate) fn open(path: &Path, create: bool, trusted: Option<&[u32]>) -> Result<OwnedFd, BackingError> {
    // Where everybody may put a link, it is not followed.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_everybodys =
        std::fs::metadata(folder).is_ok_and(|facts| facts.permissions().mode() & EVERYBODY_WRITES != 0);
    let opened = sys::open_named(path, create, !is_everybodys);
    let fd = opened.map_err(step(if create { "create" } else { "open" }))?;
    let facts = sys::file_facts(fd.as_fd()).map_err(step("examine"))?;
    refuse_unfit(&facts)?;
    if let Some(trusted) = trusted {
        if facts.uid != sys::own_uid() && facts.uid != 0 && !trusted.contains(&facts.uid) {
            return Err(BackingError::OtherUser { path: path.to_owned(), uid: facts.uid });
        }
        if facts.mode & OTHERS_WRITE != 0 {
            return Err(BackingError::OthersWrite { path: path.to_owned(), mode: facts.mode });
        }
    }
    Ok(fd)
}

/// Takes the lock of a file that was opened at `path`; false where another file stands there by now, or none.
///
/// # Errors
///
/// [`BackingError::Busy`].
pub(crate) fn lock(path: &Path, fd: &OwnedFd) -> Result<bool, BackingError> {
    Backing::lock(fd)?;
    let facts = sys::file_facts(fd.as_fd()).map_err(step("examine"))?;
    match std::fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == facts.identity),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(step("examine")(error)),
    }
}

/// Renames a file that this process has locked, to a name that no file has; says to which.
pub(crate) fn rename_aside(path: &Path) -> io::Result<PathBuf> {
    for nr in 1.. {
        let mut name = OsString::from(path);
        name.push(".set-aside");
        if nr > 1 {
            name.push(format!("-{nr}"));
        }
        match sys::rename_to_new(path, Path::new(&name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            renamed => return renamed.map(|()| name.into()),
        }
    }
    unreachable!("the loop has no end of its own")
}

/// True for a heap file whose creator was killed before its header stood, or is still at it.
pub(crate) fn is_unfinished(path: &Path) -> bool {
    // Asked first: opening a fifo is more than a look.
    let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    is_file && std::fs::File::open(path).is_ok_and(|file| starts_unfinished(&file.into()).unwrap_or(false))
}
