//! Memory that outlives the kernel: Linux's Live Update Orchestrator.
//!
//! A heap in a memfd ([`Options::file`](crate::Options::file) left out) goes through a kexec in place. The program that owns it loads
//! the next kernel, preserves its heap and starts that kernel; under it the program that opens a heap of the same name
//! inherits the objects where they lay.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let heap = heirloom::Heap::inherit_or_create("sessions", heirloom::Options::default())?;
//! use std::fs::File;
//!
//! let (kernel, initrd) = (File::open("/boot/vmlinuz")?, File::open("/boot/initrd.img")?);
//! heirloom::live_update::load_kernel(&kernel, Some(&initrd), "kho=on liveupdate=on console=ttyS0")?;
//! let preservation = heap.preserve()?;            // the door is closed from here on
//! Err(preservation.start_kernel().into())         // comes back only if it was called off
//! # }
//! ```
//!
//! It takes Linux 7 or newer with `CONFIG_LIVEUPDATE_MEMFD`, started with `kho=on liveupdate=on`; `heirloom doctor` tells whether a
//! machine has it, and what is dangerous about it.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsFd;

pub use crate::channel::luo::{LuoError, Unfit};
pub use crate::heap::{Preservation, PreserveFigures, RetrieveFigures};

/// Where the orchestrator is spoken to.
pub const DEVICE: &str = crate::channel::luo::DEVICE;

/// Looks whether the orchestrator is there for this process: opens its device, and closes it again.
///
/// # Errors
///
/// [`LuoError::Device`] with the reason.
pub fn check_device() -> Result<(), LuoError> {
    crate::channel::luo::check_device()
}

/// Loads the next kernel, as `kexec -s` does: a way that leaves memory in place. The command line must have `kho=on liveupdate=on`.
///
/// # Errors
///
/// [`LuoError::System`]: not root, not a kernel, one without `CONFIG_RELOCATABLE`, no room for it.
pub fn load_kernel(kernel: &File, initrd: Option<&File>, command_line: &str) -> Result<(), LuoError> {
    let command_line = CString::new(command_line)
        .map_err(|error| LuoError::System { step: "load the next kernel", source: error.into() })?;
    crate::channel::luo::load_kernel(kernel.as_fd(), initrd.map(AsFd::as_fd), &command_line)
}
