//! The system calls of live update, typed: `/dev/liveupdate`, its sessions, and the start of the next kernel.
//!
//! Layouts and numbers are those of `linux/liveupdate.h` (Linux 7.2). Every structure begins with its own size, by which later
//! kernels tell which fields a program knows.
#![expect(unsafe_code, reason = "calls ioctl and kexec_file_load, which rustix does not type")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::ioctl::{Opcode, Updater, opcode};

const TYPE: u8 = 0xba;
const CREATE_SESSION: Opcode = opcode::none(TYPE, 0x00);
const RETRIEVE_SESSION: Opcode = opcode::none(TYPE, 0x01);
const PRESERVE_FD: Opcode = opcode::none(TYPE, 0x40);
const RETRIEVE_FD: Opcode = opcode::none(TYPE, 0x41);
const FINISH: Opcode = opcode::none(TYPE, 0x42);

/// The bytes of a session's name, the NUL at its end among them.
pub(super) const NAME_BYTES: usize = 64;

/// `liveupdate_ioctl_create_session`, and `liveupdate_ioctl_retrieve_session`, which has the same fields.
#[repr(C)]
struct NamedSession {
    size: u32,
    fd: RawFd,
    name: [u8; NAME_BYTES],
}

/// `liveupdate_session_preserve_fd`, and `liveupdate_session_retrieve_fd`, which has the same fields.
#[repr(C, align(8))]
struct TokenFd {
    size: u32,
    fd: RawFd,
    token: u64,
}

/// `liveupdate_session_finish`.
#[repr(C)]
struct Finish {
    size: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<NamedSession>() == 72);
const _: () = assert!(size_of::<TokenFd>() == 16);
const _: () = assert!(size_of::<Finish>() == 8);

/// Makes a session. Closed before the kernel is replaced, it forgets all that it preserves.
pub(super) fn create_session(device: BorrowedFd<'_>, name: &[u8; NAME_BYTES]) -> io::Result<OwnedFd> {
    named_session::<CREATE_SESSION>(device, name)
}

/// Finds a session that the kernel before has left. It can be found once.
pub(super) fn retrieve_session(device: BorrowedFd<'_>, name: &[u8; NAME_BYTES]) -> io::Result<OwnedFd> {
    named_session::<RETRIEVE_SESSION>(device, name)
}

fn named_session<const OPCODE: Opcode>(
    device: BorrowedFd<'_>,
    name: &[u8; NAME_BYTES],
) -> io::Result<OwnedFd> {
    let mut argument = NamedSession { size: size_of::<NamedSession>() as u32, fd: -1, name: *name };
    // SAFETY: the structure is the one that the kernel reads and writes for this number, and says its size.
    unsafe { rustix::ioctl::ioctl(device, Updater::<OPCODE, NamedSession>::new(&mut argument))? };
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else knows of.
    unsafe { new_fd(argument.fd) }
}

/// Puts a descriptor into a session under a token: from here on its memory outlives the kernel.
pub(super) fn preserve_fd(session: BorrowedFd<'_>, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
    let mut argument = TokenFd { size: size_of::<TokenFd>() as u32, fd: fd.as_raw_fd(), token };
    // SAFETY: the structure is the one that the kernel reads for this number, and says its size.
    unsafe { rustix::ioctl::ioctl(session, Updater::<PRESERVE_FD, TokenFd>::new(&mut argument))? };
    Ok(())
}

/// Takes a descriptor that the kernel before has left under a token.
pub(super) fn retrieve_fd(session: BorrowedFd<'_>, token: u64) -> io::Result<OwnedFd> {
    let mut argument = TokenFd { size: size_of::<TokenFd>() as u32, fd: -1, token };
    // SAFETY: the structure is the one that the kernel reads and writes for this number, and says its size.
    unsafe { rustix::ioctl::ioctl(session, Updater::<RETRIEVE_FD, TokenFd>::new(&mut argument))? };
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else knows of.
    unsafe { new_fd(argument.fd) }
}

/// Ends a session that was retrieved: what nobody took is given up.
pub(super) fn finish(session: BorrowedFd<'_>) -> io::Result<()> {
    let mut argument = Finish { size: size_of::<Finish>() as u32, reserved: 0 };
    // SAFETY: the structure is the one that the kernel reads for this number, and says its size.
    unsafe { rustix::ioctl::ioctl(session, Updater::<FINISH, Finish>::new(&mut argument))? };
    Ok(())
}

/// Hides a descriptor that the kernel has made from programs started later; LUO forgets the flag.
///
/// # Safety
///
/// Nothing else owns the number, unless it is negative.
unsafe fn new_fd(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::Error::other("the kernel gave no descriptor"));
    }
    // SAFETY: it is open and the caller says that nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// Loads the next kernel by `kexec_file_load`, the only way that carries memory over.
pub(super) fn load_kernel(
    kernel: BorrowedFd<'_>,
    initrd: Option<BorrowedFd<'_>>,
    command_line: &CStr,
) -> io::Result<()> {
    const NO_INITRAMFS: libc::c_ulong = 4;
    let flags = if initrd.is_some() { 0 } else { NO_INITRAMFS };
    let line = command_line.to_bytes_with_nul();
    // SAFETY: the descriptors are open for the call, and the command line is `line.len()` bytes with its NUL.
    let done = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initrd.map_or(-1, |initrd| initrd.as_raw_fd()),
            line.len(),
            line.as_ptr(),
            flags,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Starts the loaded kernel in place of the running one. Returns only if it did not.
pub(super) fn start_kernel() -> io::Error {
    match rustix::system::reboot(rustix::system::RebootCommand::Kexec) {
        Ok(()) => io::Error::other("the system went on"),
        Err(error) => error.into(),
    }
}
