//! Starting a program: beside this one ([`Child`]), or in its place ([`exec`]).
#![expect(unsafe_code, reason = "posix_spawn and execve take C's strings and arrays")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;
use std::{fmt, io, ptr};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::wait_readable;

/// What a program is started with: null-terminated arrays of pointers, as `execve` wants them.
pub(crate) struct Image {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    dir: Option<CString>,
}

impl Image {
    pub(crate) fn new(path: CString, args: Vec<CString>, env: Vec<CString>, dir: Option<CString>) -> Self {
        Self { path, args, env, dir }
    }

    pub(crate) fn push_env(&mut self, variable: CString) {
        self.env.push(variable);
    }

    /// As [`Image::push_env`], in the place of one of this name.
    pub(crate) fn set_env(&mut self, variable: CString) {
        let name =
            variable.to_bytes().split_inclusive(|&byte| byte == b'=').next().unwrap_or_default().to_vec();
        self.env.retain(|other| !other.to_bytes().starts_with(&name));
        self.env.push(variable);
    }

    fn pointers(strings: &[CString]) -> Vec<*mut c_char> {
        strings.iter().map(|string| string.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Status(i32),
    /// This signal ended it.
    Signal(i32),
    /// Somebody else has asked first, for instance a thread that waits for every child.
    Unknown,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("an unknown status"),
        }
    }
}

/// A process that this one has started. It is named by a pidfd, so that neither a signal nor a wait can meet another
/// process of the same number.
pub(crate) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Child {
    /// Starts a program that inherits `keep`, each under its number, and otherwise what is not close-on-exec.
    ///
    /// `posix_spawn`, because `fork` would copy the page tables of a large program, and because the descriptors
    /// become inheritable in the child alone: no other thread's child gets them.
    pub(crate) fn spawn(image: &Image, keep: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let (args, env) = (Image::pointers(&image.args), Image::pointers(&image.env));
        let actions = SpawnActions::new(keep, image.dir.as_deref())?;
        let attributes = SpawnAttributes::new()?;
        let mut pid = 0;
        // SAFETY: the strings and the arrays, which end with null, live until the call returns; actions and
        // attributes are initialised.
        let failed = unsafe {
            libc::posix_spawn(
                &mut pid,
                image.path.as_ptr(),
                &actions.0,
                &attributes.0,
                args.as_ptr(),
                env.as_ptr(),
            )
        };
        check_code(failed)?;
        let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
        match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self { pid, pidfd }),
            Err(error) => {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
                Err(error.into())
            }
        }
    }

    /// Names a process that another one started; `None` where it has ended.
    pub(crate) fn of_another(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(pid.cast_signed())?;
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
        Some(Self { pid, pidfd })
    }

    pub(crate) fn of_pidfd(pid: u32, pidfd: OwnedFd) -> Option<Self> {
        Some(Self { pid: Pid::from_raw(pid.cast_signed())?, pidfd })
    }

    /// Whether this process may end it.
    pub(crate) fn may_kill(&self) -> bool {
        // SAFETY: signal 0 is none: the call only asks. A pidfd cannot mean another process.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.pidfd.as_raw_fd(), 0, 0usize, 0) == 0 }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().cast_unsigned()
    }

    /// Becomes readable when the process has ended.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(crate) fn kill(&self) {
        // It may have ended by itself, which is as good.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// As [`Child::reap`]; `None` where it has not ended by then.
    pub(crate) fn reap_until(&self, deadline: Instant) -> Option<Ended> {
        let ended = wait_readable(&[self.as_fd()], Some(deadline)).is_ok_and(|ended| ended[0]);
        ended.then(|| self.reap())
    }

    /// Waits until the process has ended, whoever may collect its status.
    pub(crate) fn reap(&self) -> Ended {
        while !matches!(wait_readable(&[self.as_fd()], None), Ok(ready) if ready[0]) {}
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let waited =
            rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(self.as_fd()), options));
        let Ok(Some(status)) = waited else { return Ended::Unknown };
        let code = status.exit_status().map(Ended::Status);
        code.or_else(|| status.terminating_signal().map(Ended::Signal)).unwrap_or(Ended::Unknown)
    }
}

struct SpawnActions(libc::posix_spawn_file_actions_t);

impl SpawnActions {
    fn new(keep: &[BorrowedFd<'_>], dir: Option<&CStr>) -> io::Result<Self> {
        // SAFETY: the type is a C struct of integers and pointers, for which zeroes are a value.
        let mut actions = Self(unsafe { std::mem::zeroed() });
        // SAFETY: initialises what `drop` destroys; on failure it is all zeroes, which holds no memory.
        check_code(unsafe { libc::posix_spawn_file_actions_init(&mut actions.0) })?;
        for fd in keep {
            let fd = fd.as_raw_fd();
            // Onto itself: POSIX has this clear close-on-exec in the child.
            // SAFETY: the actions are initialised.
            check_code(unsafe { libc::posix_spawn_file_actions_adddup2(&mut actions.0, fd, fd) })?;
        }
        if let Some(dir) = dir {
            // SAFETY: the actions are initialised; the string is copied.
            check_code(unsafe { libc::posix_spawn_file_actions_addchdir_np(&mut actions.0, dir.as_ptr()) })?;
        }
        Ok(actions)
    }
}

impl Drop for SpawnActions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, or all zeroes.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

struct SpawnAttributes(libc::posix_spawnattr_t);

impl SpawnAttributes {
    /// As std's: no signal blocked, `SIGPIPE` at its default.
    fn new() -> io::Result<Self> {
        // SAFETY: the type is a C struct of integers, for which zeroes are a value.
        let mut attributes = Self(unsafe { std::mem::zeroed() });
        let mut pipe = SignalMask::none().0;
        let flags = (libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF) as libc::c_short;
        // SAFETY: initialised first, then changed; the sets are initialised and copied.
        unsafe {
            check_code(libc::posix_spawnattr_init(&mut attributes.0))?;
            check_code(libc::posix_spawnattr_setsigmask(&mut attributes.0, &SignalMask::none().0))?;
            libc::sigaddset(&mut pipe, libc::SIGPIPE);
            check_code(libc::posix_spawnattr_setsigdefault(&mut attributes.0, &pipe))?;
            check_code(libc::posix_spawnattr_setflags(&mut attributes.0, flags))?;
        }
        Ok(attributes)
    }
}

impl Drop for SpawnAttributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, or all zeroes.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}

/// The signals that a thread blocks.
pub(super) struct SignalMask(libc::sigset_t);

impl SignalMask {
    pub(super) fn none() -> Self {
        Self::made_by(libc::sigemptyset)
    }

    pub(super) fn all() -> Self {
        Self::made_by(libc::sigfillset)
    }

    fn made_by(fill: unsafe extern "C" fn(*mut libc::sigset_t) -> c_int) -> Self {
        // SAFETY: a set of signals is a C array of integers; both functions only write it.
        unsafe {
            let mut set = std::mem::zeroed();
            fill(&mut set);
            Self(set)
        }
    }

    /// Makes this the calling thread's mask and returns the one before.
    pub(super) fn set(&self) -> Self {
        let mut before = Self::none();
        // SAFETY: both sets are initialised, and the new one is a valid mask.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, &mut before.0) };
        before
    }
}

fn check_code(code: c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

/// Replaces this program by another one that inherits `keep`, and returns only if that failed; everything is then
/// as before.
pub(crate) fn exec(image: &Image, keep: &[BorrowedFd<'_>]) -> io::Error {
    let (args, env) = (Image::pointers(&image.args), Image::pointers(&image.env));
    let mut came_from = None;
    if let Some(dir) = &image.dir {
        let here = rustix::fs::open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        match here.and_then(|here| rustix::process::chdir(dir.as_c_str()).map(|()| here)) {
            Ok(here) => came_from = Some(here),
            Err(error) => return error.into(),
        }
    }
    let before: Vec<_> =
        keep.iter().map(|fd| rustix::io::fcntl_getfd(fd).unwrap_or(FdFlags::CLOEXEC)).collect();
    for fd in keep {
        let _ = rustix::io::fcntl_setfd(fd, FdFlags::empty());
    }
    // As std's: a mask that this thread happens to have would otherwise be the whole successor's.
    let mask = SignalMask::none().set();
    // SAFETY: the strings and the arrays, which end with null, live until the call returns, if it does.
    unsafe { libc::execve(image.path.as_ptr(), args.as_ptr().cast(), env.as_ptr().cast()) };
    let error = io::Error::last_os_error();
    mask.set();
    for (fd, flags) in keep.iter().zip(before) {
        let _ = rustix::io::fcntl_setfd(fd, flags);
    }
    if let Some(here) = came_from {
        let _ = rustix::process::fchdir(here);
    }
    error
}
