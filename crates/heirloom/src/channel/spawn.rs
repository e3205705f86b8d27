//! The predecessor's side of [`Channel::Spawn`]: starts the successor as its child.

use std::os::fd::{AsFd, AsRawFd};

use super::error::HandOverError;
use super::points::{Point, point};
use super::successor::{self, Successor};
use super::ticket::Ticket;
use super::{Channel, ChannelOptions, Handed, Incumbent, Way};
use crate::command::Command;
use crate::sys::{self, Child};

/// A new process of this program, beside this one.
pub(crate) struct Spawn<'a>(pub(crate) &'a Command);

impl Way for Spawn<'_> {
    fn hand_over(
        &self,
        incumbent: &dyn Incumbent,
        options: &ChannelOptions,
    ) -> Result<Handed, HandOverError> {
        let heap = successor::header(incumbent)?.identity.id;
        let (socket, peer) = sys::message_pair()
            .map_err(|source| HandOverError::System { step: "make a connection", source })?;
        let heap_fd = incumbent.backing().fd();
        let ticket = Ticket {
            channel: Channel::Spawn,
            from: sys::pid(),
            heap_fd: heap_fd.as_raw_fd(),
            peer_fd: peer.as_raw_fd(),
            helper: 0,
            heap,
            luggage_fd: -1,
        };
        let mut image = self.0.image()?;
        image.push_env(ticket.variable());
        point(Point::PredecessorBegins);
        let child = Child::spawn(&image, &[heap_fd, peer.as_fd()])
            .map_err(|source| HandOverError::Start { program: self.0.program().to_owned(), source })?;
        drop(peer);
        point(Point::PredecessorOffered);
        successor::converse(Successor::child(child, socket, heap), incumbent, options)
    }
}
