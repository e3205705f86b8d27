//! Sockets by a name, and who is at the other end.
#![expect(unsafe_code, reason = "asks a socket for its peer's pidfd, which no wrapper has")]

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::start::Child;
use super::timespec;

/// Where a socket is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// In the file system.
    Path(&'a Path),
    /// In no file system: it is gone with the last descriptor.
    Abstract(&'a [u8]),
}

impl Place<'_> {
    fn address(self) -> io::Result<SocketAddrUnix> {
        Ok(match self {
            Self::Path(path) => SocketAddrUnix::new(path)?,
            Self::Abstract(name) => SocketAddrUnix::new_abstract_name(name)?,
        })
    }
}

/// The process at the other end of a connection, as it was when it connected.
pub(crate) struct Peer {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

pub(crate) fn listen(place: Place<'_>, backlog: i32) -> io::Result<OwnedFd> {
    let socket = socket()?;
    rustix::net::bind(&socket, &place.address()?)?;
    rustix::net::listen(&socket, backlog)?;
    Ok(socket)
}

/// Takes the next connection; `None` where none waits.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(connection) => Ok(Some(connection)),
        // A connection that was given up again is none.
        Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Connects without waiting: `WouldBlock` where the listener has its hands full.
pub(crate) fn connect(place: Place<'_>) -> io::Result<OwnedFd> {
    let socket = socket()?;
    rustix::net::connect(&socket, &place.address()?)?;
    Ok(socket)
}

/// Connects a socket for single messages to a place as service managers name it: a path, or `@` and an abstract name.
pub(crate) fn connect_datagram(place: &OsStr) -> io::Result<OwnedFd> {
    let place = match place.as_bytes() {
        [b'@', name @ ..] => Place::Abstract(name),
        path => Place::Path(Path::new(OsStr::from_bytes(path))),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    rustix::net::connect(&socket, &place.address()?)?;
    Ok(socket)
}

pub(crate) fn peer(connection: BorrowedFd<'_>) -> io::Result<Peer> {
    // Through `libc`, as a peer in another pid namespace has the number 0, of which `rustix` cannot make a `Pid`.
    let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    let (fd, to) = (connection.as_raw_fd(), &raw mut found);
    // SAFETY: `to` points to a structure of `len` bytes that the call fills.
    if unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, to.cast(), &mut len) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Peer { pid: found.pid.cast_unsigned(), uid: found.uid })
}

/// The process at the other end, so that it can be waited for and ended; `None` where it has ended.
pub(crate) fn peer_process(connection: BorrowedFd<'_>, peer: &Peer) -> Option<Child> {
    /// `SO_PEERPIDFD`, since Linux 6.5: the very process that connected, whatever its number means by now.
    const PEER_PIDFD: libc::c_int = 77;
    let (mut number, mut len) = (-1, size_of::<libc::c_int>() as libc::socklen_t);
    let (fd, to) = (connection.as_raw_fd(), &raw mut number);
    // SAFETY: `to` points to an integer of `len` bytes that the call fills.
    let asked = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, PEER_PIDFD, to.cast(), &mut len) };
    if asked == 0 && number >= 0 {
        // SAFETY: the system has just opened it for this process.
        let pidfd = unsafe { OwnedFd::from_raw_fd(number) };
        return Child::of_pidfd(peer.pid, pidfd);
    }
    // Before 6.5: by number. Had the process ended since, its end of the connection would be closed.
    let child = Child::of_another(peer.pid)?;
    let is_closed =
        wait_any(&[connection], Some(Instant::now())).is_ok_and(|ready| ready[0].contains(PollFlags::HUP));
    (!is_closed).then_some(child)
}

pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// As `wait_readable`, for as many as there are; says what happened to each.
pub(crate) fn wait_any(fds: &[BorrowedFd<'_>], deadline: Option<Instant>) -> io::Result<Vec<PollFlags>> {
    let mut polled: Vec<_> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)).collect();
    loop {
        let left = deadline.map(|deadline| timespec(deadline.saturating_duration_since(Instant::now())));
        match rustix::event::poll(&mut polled, left.as_ref()) {
            Ok(_) => return Ok(polled.iter().map(PollFd::revents).collect()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
