//! The few system calls that std has no function for.
#![expect(unsafe_code, reason = "system calls")]

use std::ffi::CString;
use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::AsRawFd;
use std::ptr;

fn done(result: libc::c_long) -> Result<()> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::from_raw_os_error(libc::EINVAL))
}

/// Mounts a file system of the kernel's own.
pub(crate) fn mount(kind: &str, at: &str) -> Result<()> {
    std::fs::create_dir_all(at)?;
    let (kind, at) = (c_string(kind)?, c_string(at)?);
    // SAFETY: the strings end with a NUL and live until the call returns; no data is passed.
    done(unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, ptr::null()) }.into())
}

/// Loads a module.
pub(crate) fn load_module(path: &str, parameters: &str) -> Result<()> {
    let (file, parameters) = (File::open(path)?, c_string(parameters)?);
    // SAFETY: the descriptor is open, the string ends with a NUL.
    done(unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), parameters.as_ptr(), 0) })
}

/// Unloads a module; fails at once where it is in use.
pub(crate) fn unload_module(name: &str) -> Result<()> {
    let name = c_string(name)?;
    // SAFETY: the string ends with a NUL.
    done(unsafe { libc::syscall(libc::SYS_delete_module, name.as_ptr(), libc::O_NONBLOCK) })
}

/// Puts the next kernel in place.
pub(crate) fn load_kernel(kernel: &File, initrd: &File, command_line: &str) -> Result<()> {
    let line = c_string(command_line)?;
    let len = line.as_bytes_with_nul().len();
    let (kernel, initrd) = (kernel.as_raw_fd(), initrd.as_raw_fd());
    // SAFETY: both descriptors are open, and the line is `len` bytes with its NUL.
    done(unsafe { libc::syscall(libc::SYS_kexec_file_load, kernel, initrd, len, line.as_ptr(), 0) })
}

/// Goes to the kernel that was put in place. Returns only if that fails.
pub(crate) fn jump() -> Error {
    // SAFETY: no memory is passed.
    unsafe { libc::reboot(libc::LINUX_REBOOT_CMD_KEXEC) };
    Error::last_os_error()
}

/// Ends the machine: QEMU is told to end at a restart.
pub(crate) fn restart() -> Error {
    // SAFETY: no memory is passed.
    unsafe {
        libc::sync();
        libc::reboot(libc::LINUX_REBOOT_CMD_RESTART);
    }
    Error::last_os_error()
}

/// Has the calling thread run on one CPU alone.
pub(crate) fn stay_on(cpu: usize) -> Result<()> {
    // SAFETY: a set of CPUs is plain bits; it is read only.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        done(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set).into())
    }
}
