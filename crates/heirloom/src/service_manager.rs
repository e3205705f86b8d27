//! The service manager that this process runs under (systemd, or one that speaks its protocol), as a heap sees it.
//!
//! ```text
//! NOTIFY_SOCKET, FDSTORE       does it keep descriptors?   check_store
//! FDSTORE=1 FDNAME=heirloom-.. is the heap among them?     stored_as
//! LISTEN_FDS, LISTEN_FDNAMES   what has it opened for us?  descriptors
//! ```
//!
//! A heap without a file is stored with a manager that keeps descriptors as soon as it is open, without a word from the program
//! (`docs/systemd.md`). This is for a program that will not do without, and for one whose sockets the manager holds.

use std::io;
use std::os::fd::OwnedFd;

pub use crate::channel::fdstore::NoStore;

/// Says whether the manager keeps descriptors of this process.
///
/// # Errors
///
/// [`NoStore`]: why not, as far as the manager has said.
pub fn check_store() -> Result<(), NoStore> {
    crate::channel::fdstore::check_store()
}

/// The name under which the manager was given the open heap to keep; `None` where it was not.
pub fn stored_as() -> Option<String> {
    crate::channel::fdstore::stored_as()
}

/// Copies of the descriptors that the manager has opened for this process (`LISTEN_FDS`), heaps left out, each with its name: sockets to
/// listen on, as a rule, and what the program has stored itself. They are close-on-exec.
///
/// # Errors
///
/// The manager has said something that is not so: a number that is none, or that is not open.
pub fn descriptors() -> io::Result<Vec<(String, OwnedFd)>> {
    crate::channel::fdstore::others()
}
