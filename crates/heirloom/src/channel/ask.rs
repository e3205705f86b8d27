//! The successor's side of [`Channel::Socket`]: asks a running owner for its heap.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::IncomingError;
use super::message::{Buffer, Message, Received};
use super::{Channel, Found, Incoming, Source, SourceError};
use crate::sys::{self, Place};

/// How long an owner may take to look at this program and answer.
const TIME_TO_ANSWER: Duration = Duration::from_secs(10);

/// An owner that listens at a path.
pub(super) struct Asked {
    path: PathBuf,
    trusted: Vec<u32>,
}

impl Asked {
    pub(super) fn new(path: &Path, trusted: &[u32]) -> Self {
        Self { path: path.to_owned(), trusted: [trusted, &[0, sys::own_uid()]].concat() }
    }

    /// `None` where nobody listens.
    fn connect(&self, deadline: Instant) -> Result<Option<OwnedFd>, SourceError> {
        loop {
            match sys::connect(Place::Path(&self.path)) {
                Ok(connection) => return Ok(Some(connection)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => {
                    return match error.kind() {
                        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                        _ => {
                            Err(IncomingError::System { step: "ask the heap's owner", source: error }.into())
                        }
                    };
                }
            }
        }
    }
}

impl Source for Asked {
    fn channel(&self) -> Channel {
        Channel::Socket
    }

    fn find(&self, name: &str) -> Result<Option<Found>, SourceError> {
        let system = |source| IncomingError::System { step: "hear the heap's owner", source };
        let deadline = Instant::now() + TIME_TO_ANSWER;
        let Some(connection) = self.connect(deadline)? else { return Ok(None) };
        let peer = sys::peer(connection.as_fd()).map_err(system)?;
        if !self.trusted.contains(&peer.uid) {
            return Err(IncomingError::OtherUser { uid: peer.uid }.into());
        }
        if peer.pid == 0 {
            return Err(IncomingError::OtherNamespace.into());
        }
        let owner = sys::peer_process(connection.as_fd(), &peer);
        // Where it has just ended, its answer says so.
        let _ = Message::Ask(name.to_owned()).send(connection.as_fd(), [0; 16]);
        loop {
            let (received, heap_id, mut fds) =
                Message::receive_with(connection.as_fd(), None, &mut Buffer::new()).map_err(system)?;
            return match received {
                Received::Message(Message::Offer) => {
                    let heap = fds.pop().expect("an offer comes with one descriptor");
                    Ok(Some(Found::Offered(Incoming::from_connection(heap_id, heap, connection, owner))))
                }
                Received::Message(Message::Refuse(reason)) => Err(IncomingError::Refused { reason }.into()),
                Received::Message(other) => {
                    Err(IncomingError::Protocol { what: format!("{other:?} out of order") }.into())
                }
                Received::Foreign(foreign) => {
                    Err(IncomingError::Protocol { what: foreign.to_string() }.into())
                }
                // It ended, or listens no more: what it left may be in a store.
                Received::Closed => {
                    // It holds the heap's lock until it has ended altogether. One that lives has the heap still, and this program is
                    // not to go on as if there were none.
                    let has_ended = owner.is_none_or(|owner| {
                        sys::wait_readable(&[owner.as_fd()], Some(deadline)).is_ok_and(|ended| ended[0])
                    });
                    let reason = "it closed the connection without an answer".to_owned();
                    if has_ended { Ok(None) } else { Err(IncomingError::Refused { reason }.into()) }
                }
                Received::Nothing if Instant::now() >= deadline => {
                    Err(IncomingError::TimedOut { waited: TIME_TO_ANSWER }.into())
                }
                Received::Nothing => {
                    sys::wait_readable(&[connection.as_fd()], Some(deadline)).map_err(system)?;
                    continue;
                }
            };
        }
    }
}
