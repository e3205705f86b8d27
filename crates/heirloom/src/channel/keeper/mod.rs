//! A keeper: a small process that holds a descriptor of the heap, so that it outlives its owner's death.
//!
//! ```text
//! program --first start--> keeper: this program's file again, which never comes to `main` (see `process`)
//!    |                        | a descriptor of the heap, opened anew; a socket in no file system, by user and name
//!  kill -9                    |
//! next start --ASK name-----> |
//!    <--OFFER, descriptor---- |    opened anew, locked: owned, recovered
//!    |                        |
//! closed in order --LET GO--> ends
//! ```
//!
//! The keeper does not know who owns the heap, and need not: the lock does. It serves its own user and root. Whoever finds the
//! heap owned goes away again. A keeper that is ended itself takes nothing with it while the heap has an owner; the next hand-over
//! or restart starts another.
//!
//! systemd ends all processes of a service: there its descriptor store is the place, not a keeper.

mod process;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::message::{Buffer, HeapId, Message, Received};
use super::points::{Point, point};
use super::{Channel, Found, IncomingError, Kept, Open, Source, SourceError};
use crate::sys::{self, Place};

/// How long a keeper may take to answer.
const TIME_TO_ANSWER: Duration = Duration::from_secs(10);

/// The keeper of the heap of this name, if there is one.
pub(super) struct Keeper {
    name: String,
    /// The heap that was found: by the time it is to be set aside, another keeper may have the name.
    found: Mutex<HeapId>,
}

impl Keeper {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), found: Mutex::default() }
    }

    /// Where the keeper of a name listens.
    pub(super) fn address(name: &str) -> Vec<u8> {
        format!("heirloom-keeper/{}/{name}", sys::own_uid()).into_bytes()
    }

    /// Asks the keeper something; `None` where there is no keeper, which the system says: a keeper that gives no answer is an error,
    /// as its heap is there.
    fn ask(&self, message: &Message, heap: HeapId) -> io::Result<Option<(Message, HeapId, Vec<OwnedFd>)>> {
        let deadline = Instant::now() + TIME_TO_ANSWER;
        let mut buffer = Buffer::new();
        while Instant::now() < deadline {
            let connection = match sys::connect(Place::Abstract(&Self::address(&self.name))) {
                Ok(connection) => connection,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let uid = sys::peer(connection.as_fd())?.uid;
            if uid != sys::own_uid() && uid != 0 {
                return Err(io::Error::other(IncomingError::OtherUser { uid }));
            }
            // Where it closes the connection, because it ends or because this program was not let run for long, it is asked again.
            let _ = message.send(connection.as_fd(), heap);
            sys::wait_readable(&[connection.as_fd()], Some(deadline))?;
            match Message::receive_with(connection.as_fd(), None, &mut buffer)? {
                (Received::Message(message), heap, fds) => return Ok(Some((message, heap, fds))),
                (Received::Foreign(foreign), ..) => {
                    return Err(io::Error::other(format!("the heap's keeper: {foreign}")));
                }
                (Received::Closed | Received::Nothing, ..) => {}
            }
        }
        Err(io::Error::other(format!("the heap's keeper gave no answer for {TIME_TO_ANSWER:?}")))
    }

    /// The descriptor and the id of the heap that is kept.
    fn look(&self) -> io::Result<Option<(OwnedFd, HeapId)>> {
        match self.ask(&Message::Ask(self.name.clone()), HeapId::default())? {
            None => Ok(None),
            Some((Message::Offer, id, mut fds)) => Ok(fds.pop().map(|heap| (heap, id))),
            Some((Message::Refuse(reason), ..)) => {
                Err(io::Error::other(format!("the heap's keeper: {reason}")))
            }
            Some((other, ..)) => Err(io::Error::other(format!("the heap's keeper: {other:?} out of order"))),
        }
    }
}

impl Source for Keeper {
    fn channel(&self) -> Channel {
        Channel::Keeper
    }

    fn find(&self, _name: &str) -> Result<Option<Found>, SourceError> {
        let Some((heap, id)) = self.look()? else { return Ok(None) };
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = id;
        point(Point::FinderFound);
        // As it came, it would share the lock with the keeper's.
        let heap = sys::reopen(heap.as_fd())?;
        Ok(Some(Found::Left { heap, luggage: Vec::new() }))
    }

    fn set_aside(&self) -> io::Result<PathBuf> {
        let found = *self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match self.ask(&Message::SetAside, found)? {
            Some((Message::Ask(aside), ..)) => Ok(PathBuf::from(format!("keeper:{aside}"))),
            Some((Message::Refuse(reason), ..)) => {
                Err(io::Error::other(format!("the heap's keeper: {reason}")))
            }
            _ => Err(io::Error::other("the heap's keeper did not set it aside")),
        }
    }

    fn keep(&self, open: &Open<'_>) -> Result<Option<Box<dyn Kept>>, SourceError> {
        match self.look()? {
            Some((_, id)) if id == open.id => {}
            Some(_) => {
                let text = format!(
                    "a keeper has another heap of the name {:?}: end it, or choose another name",
                    self.name
                );
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text).into());
            }
            None => {
                process::start(open)?;
                point(Point::KeeperStarted);
            }
        }
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = open.id;
        Ok(Some(Box::new(HeldBy { keeper: Self::new(&self.name), heap: open.id })))
    }
}

/// A heap that a keeper has.
struct HeldBy {
    keeper: Keeper,
    heap: HeapId,
}

impl Kept for HeldBy {
    fn let_go(&self) {
        // Where it does not hear, it stays, with a heap that was closed in order.
        let _ = self.keeper.ask(&Message::LetGo, self.heap);
    }
}
