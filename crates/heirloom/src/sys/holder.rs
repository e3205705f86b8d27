//! The memory holder: a second user of this process's address space while `execve` replaces it.
#![expect(unsafe_code, reason = "clones a process that shares memory, and its stack")]

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::exit_now;
use super::socket::timespec;
use super::start::SignalMask;

/// A short-lived process that shares this one's memory. `execve` then drops one reference to the address space
/// instead of unmapping it; the helper unmaps it when it goes, beside the successor that already works.
pub(crate) struct MemoryHolder {
    pid: c_int,
    stack: NonNull<c_void>,
    /// The holder goes when a byte comes out of the other end, or nothing can come any more.
    release: OwnedFd,
}

/// What the holder is told, at the low end of its stack.
#[repr(C)]
struct HolderOrder {
    wake: RawFd,
    timeout: Timespec,
}

impl MemoryHolder {
    const STACK_BYTES: usize = 64 << 10;

    pub(crate) fn start(timeout: Duration) -> io::Result<Self> {
        let (wake, release) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new mapping at an address that the system chooses.
        let stack = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), Self::STACK_BYTES, prot, flags)? };
        let stack = NonNull::new(stack).ok_or(Errno::NOMEM)?;
        let order = stack.cast::<HolderOrder>();
        // SAFETY: the mapping is page aligned, large enough, and nobody else's yet.
        unsafe { order.write(HolderOrder { wake: wake.as_raw_fd(), timeout: timespec(timeout) }) };
        // The holder has the mask of its birth: no signal of the group or the terminal runs a handler on this stack.
        let mask = SignalMask::all().set();
        // SAFETY: the stack grows down from the end of its mapping and is used by the holder alone; the mapping
        // stays until the holder has ended. `hold` makes system calls only and never returns into this program.
        let pid = unsafe {
            let top = stack.as_ptr().byte_add(Self::STACK_BYTES);
            libc::clone(hold, top, libc::CLONE_VM, order.as_ptr().cast())
        };
        let error = io::Error::last_os_error();
        mask.set();
        if pid < 0 {
            // SAFETY: no process was made, so the mapping is unused.
            let _ = unsafe { rustix::mm::munmap(stack.as_ptr(), Self::STACK_BYTES) };
            return Err(error);
        }
        Ok(Self { pid, stack, release })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// The successor's end: a byte or its closing lets the holder go.
    pub(crate) fn release(&self) -> BorrowedFd<'_> {
        self.release.as_fd()
    }

    /// Ends the holder, because there is no successor.
    pub(crate) fn stop(self) {
        release_holder(&self.release);
        reap_holder(self.pid());
        // SAFETY: the only process that used the stack has ended.
        let _ = unsafe { rustix::mm::munmap(self.stack.as_ptr(), Self::STACK_BYTES) };
    }
}

/// The holder's life. It runs beside the program's threads and shares the thread-local storage of one of them, so
/// it only makes system calls.
extern "C" fn hold(order: *mut c_void) -> c_int {
    // SAFETY: `start` passes a pointer to an order that lives as long as the holder.
    let order = unsafe { &*order.cast::<HolderOrder>() };
    let wake = order.wake.cast_unsigned();
    // Its copies of the program's descriptors would keep sockets open and the end of the pipe from being seen.
    for (first, last) in [(0, wake.wrapping_sub(1)), (wake + 1, u32::MAX)] {
        if first <= last && (first != 0 || wake != 0) {
            // SAFETY: the table of descriptors is the holder's own copy; nothing in its life uses another one.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
    // Woken by the successor, it would otherwise be given the successor's CPU and unmap gigabytes there first.
    let idle = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads the parameter only. Where it is refused, the holder runs as before.
    unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_IDLE, &raw const idle) };
    // SAFETY: the holder's copy of the descriptor is open until it ends.
    let wake = unsafe { BorrowedFd::borrow_raw(order.wake) };
    let mut fds = [PollFd::from_borrowed_fd(wake, PollFlags::IN)];
    while rustix::event::poll(&mut fds, Some(&order.timeout)) == Err(Errno::INTR) {}
    exit_now(0)
}

/// Lets a [`MemoryHolder`] go.
pub(crate) fn release_holder(release: &OwnedFd) {
    let _ = rustix::io::write(release, &[1]);
}

/// Waits for a [`MemoryHolder`] of this process, which an ordinary wait does not see.
pub(crate) fn reap_holder(pid: u32) {
    let mut status = 0;
    // SAFETY: the call writes the status only.
    while unsafe { libc::waitpid(pid.cast_signed(), &mut status, libc::__WALL) } < 0 {
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}
