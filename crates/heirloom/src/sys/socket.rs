//! Connections that keep messages apart, and waiting for them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Two ends of a connection that keeps messages apart.
pub(crate) fn message_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

pub(crate) fn is_message_socket(fd: BorrowedFd<'_>) -> bool {
    use rustix::net::{AddressFamily, SocketType, sockopt};
    sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
        && sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET)
}

pub(crate) fn send(socket: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    // A peer that does not read must not stop this side: a full socket is an error.
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::io::retry_on_intr(|| rustix::net::send(socket, message, flags))?;
    Ok(())
}

/// Takes the next message and returns its full length, which may exceed the buffer; 0 where the other end is closed,
/// `None` where nothing has come.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    match past_reset(|| rustix::net::recv(socket, &mut *buffer, flags)) {
        Ok((_, len)) => Ok(Some(len)),
        Err(Errno::AGAIN) => Ok(None),
        Err(Errno::CONNRESET) => Ok(Some(0)),
        Err(error) => Err(error.into()),
    }
}

/// Asks once more after a reset. An end that was closed with a message unread resets the other, which the system says once, before
/// it gives what was sent earlier: the last words of whoever has closed it.
fn past_reset<T>(mut take: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    match rustix::io::retry_on_intr(&mut take) {
        Err(Errno::CONNRESET) => rustix::io::retry_on_intr(take),
        taken => taken,
    }
}

/// How many descriptors one message carries at most: the system's own bound (`SCM_MAX_FD`).
pub(crate) const MOST_DESCRIPTORS: usize = 253;

/// Sends a message with descriptors, which stay open here too.
pub(crate) fn send_with(socket: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if fds.len() > MOST_DESCRIPTORS || !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds))
    {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let parts = [IoSlice::new(message)];
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, &parts, &mut control, flags))?;
    Ok(())
}

/// A message as it came, with its descriptors.
pub(crate) struct Arrived {
    /// The message's full length, which may exceed the buffer; 0 where the other end is closed.
    pub(crate) len: usize,
    /// Close-on-exec from the start.
    pub(crate) fds: Vec<OwnedFd>,
    /// Descriptors were sent for which this process has no room.
    pub(crate) has_lost_fds: bool,
}

/// As [`receive`], with the descriptors that came along.
pub(crate) fn receive_with(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<Arrived>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC | RecvFlags::CMSG_CLOEXEC;
    let received = past_reset(|| {
        let mut parts = [IoSliceMut::new(buffer)];
        rustix::net::recvmsg(socket, &mut parts, &mut control, flags)
    });
    match received {
        Ok(message) => {
            let mut fds = Vec::new();
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = part {
                    fds.extend(rights);
                }
            }
            let has_lost_fds = message.flags.contains(ReturnFlags::CTRUNC);
            Ok(Some(Arrived { len: message.bytes, fds, has_lost_fds }))
        }
        Err(Errno::AGAIN) => Ok(None),
        Err(Errno::CONNRESET) => Ok(Some(Arrived { len: 0, fds: Vec::new(), has_lost_fds: false })),
        Err(error) => Err(error.into()),
    }
}

/// From here on nothing more can arrive: the other end's sends fail, what was sent before can still be received.
pub(crate) fn stop_receiving(socket: BorrowedFd<'_>) {
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Read);
}

/// Waits until one of the descriptors is readable, closed, or the deadline has passed.
pub(crate) fn wait_readable<const N: usize>(
    fds: &[BorrowedFd<'_>; N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    let mut polled = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    loop {
        let left = deadline.map(|deadline| timespec(deadline.saturating_duration_since(Instant::now())));
        match rustix::event::poll(&mut polled, left.as_ref()) {
            Ok(_) => return Ok(polled.each_ref().map(|fd| !fd.revents().is_empty())),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
