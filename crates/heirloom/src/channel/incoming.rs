//! The successor's side of both channels.
#![expect(unsafe_code, reason = "takes over descriptors by the numbers in its ticket")]

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Channel, fdstore, luo};
use super::error::IncomingError;
use super::message::{Message, Received};
use super::ticket::{Ticket, VARIABLE};
use crate::sys::{self, Image};

/// Holds the process id of a program that has started itself again for the sake of an address.
const AGAIN: &str = "HEIRLOOM_HANDOVER_AGAIN";

/// A heap that a predecessor offers to this process.
///
/// Dropped without [`Incoming::acknowledge`], the offer is declined.
pub(crate) struct Incoming {
    ticket: Ticket,
    heap: OwnedFd,
    /// The connection to the predecessor, or the pipe to the memory holder.
    peer: Option<OwnedFd>,
}

/// Returns the heap that was handed to this process, the first time it is asked; `None` where there is none.
///
/// The variable goes out of the environment, unless other threads run that may be reading it; a child of this
/// process would know that the ticket is not its own, and a successor gets another one.
pub(crate) fn incoming() -> Result<Option<Incoming>, IncomingError> {
    static ASKED: AtomicBool = AtomicBool::new(false);
    let Some(value) = std::env::var_os(VARIABLE) else { return Ok(None) };
    if ASKED.swap(true, Ordering::AcqRel) {
        return Ok(None);
    }
    sys::remove_env_if_alone(VARIABLE);
    let value = value.to_str().ok_or(IncomingError::Ticket { what: "its text" })?;
    Incoming::from_ticket(Ticket::parse(value)?)
}

impl Incoming {
    fn from_ticket(ticket: Ticket) -> Result<Option<Self>, IncomingError> {
        let (me, parent) = (sys::pid(), sys::parent_pid());
        match ticket.channel {
            Channel::Exec if ticket.from != me => return Ok(None),
            // The predecessor is gone, and this process has been given another parent; or the ticket is for a
            // process further up. The descriptors tell: nobody but the successor inherits them.
            Channel::Spawn if ticket.from != parent => {
                let is_ours = sys::is_open_message_socket(ticket.peer_fd);
                return if is_ours { Err(IncomingError::PredecessorGone) } else { Ok(None) };
            }
            _ => {}
        }
        let inherit = |number, what| {
            // SAFETY: the ticket is for this process and asked for once. The predecessor has left these numbers open
            // for it, so nothing that this process has opened itself can have them.
            unsafe { sys::inherit_fd(number) }.map_err(|source| IncomingError::Descriptor { what, source })
        };
        let heap = inherit(ticket.heap_fd, "heap")?;
        let peer = match (ticket.channel, ticket.peer_fd) {
            (Channel::Exec, ..0) => None,
            (_, number) => Some(inherit(number, "connection")?),
        };
        let is_regular = sys::file_facts(heap.as_fd()).is_ok_and(|facts| facts.is_regular);
        let fits = peer.as_ref().is_none_or(|peer| match ticket.channel {
            Channel::Spawn => sys::is_message_socket(peer.as_fd()),
            Channel::Exec => sys::is_pipe(peer.as_fd()),
        });
        for (fits, what) in [(is_regular, "heap"), (fits, "connection")] {
            if !fits {
                let source = io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is something else");
                return Err(IncomingError::Descriptor { what, source });
            }
        }
        Ok(Some(Self { ticket, heap, peer }))
    }

    pub(crate) fn channel(&self) -> Channel {
        self.ticket.channel
    }

    /// The id that the heap's header has to show.
    pub(crate) fn heap_id(&self) -> [u8; 16] {
        self.ticket.heap
    }

    /// The predecessor's process id; through `exec`, this process's own.
    #[cfg(test)]
    pub(crate) fn predecessor(&self) -> u32 {
        self.ticket.from
    }

    /// The memory holder's process id, or 0.
    pub(crate) fn helper(&self) -> u32 {
        self.ticket.helper
    }

    /// Returns a copy of the heap's descriptor. This keeps the original, so that the heap outlives a first try.
    pub(crate) fn take_fd(&self) -> Result<OwnedFd, IncomingError> {
        sys::duplicate(self.heap.as_fd())
            .map_err(|source| IncomingError::System { step: "copy the heap's descriptor", source })
    }

    /// Tells the predecessor that this process is ready, and waits until the heap is frozen.
    pub(crate) fn wait_for_freeze(&self, timeout: Duration) -> Result<(), IncomingError> {
        let Some(socket) = self.connection() else { return Ok(()) };
        if Message::Ready.send(socket.as_fd(), self.ticket.heap).is_err() {
            return Err(self.why_closed());
        }
        let deadline = Instant::now() + timeout;
        loop {
            let received = Message::receive(socket.as_fd(), self.ticket.heap)
                .map_err(|source| IncomingError::System { step: "hear the predecessor", source })?;
            match received {
                Received::Message(Message::Frozen) => return Ok(()),
                Received::Message(other) => {
                    return Err(IncomingError::Protocol { what: format!("{other:?} out of order") });
                }
                Received::Foreign(foreign) => {
                    return Err(IncomingError::Protocol { what: foreign.to_string() });
                }
                Received::Closed => return Err(self.why_closed()),
                Received::Nothing if Instant::now() >= deadline => {
                    return Err(IncomingError::TimedOut { waited: timeout });
                }
                // To look again and again would save a wake-up, and take the CPU from those who still answer.
                Received::Nothing => sys::wait_readable(&[socket.as_fd()], Some(deadline))
                    .map_err(|source| IncomingError::System { step: "wait for the predecessor", source })
                    .map(|_| ())?,
            }
        }
    }

    /// Tells the predecessor that the heap is this process's now. The header must say so already.
    ///
    /// # Errors
    ///
    /// [`IncomingError::CalledOff`]: the predecessor keeps the heap and is about to end this process. Not another byte
    /// of it may be touched.
    pub(crate) fn acknowledge(self) -> Result<(), IncomingError> {
        match (self.ticket.channel, self.peer) {
            (Channel::Spawn, Some(socket)) => {
                let sent = Message::Acknowledge.send(socket.as_fd(), self.ticket.heap);
                let is_called_off = sent.is_err() && sys::parent_pid() == self.ticket.from;
                // A predecessor that has died cannot take the heap back: it is this process's.
                if is_called_off { Err(IncomingError::CalledOff) } else { Ok(()) }
            }
            (_, release) => {
                if self.ticket.helper != 0 {
                    let_go(self.ticket.helper, release);
                }
                Ok(())
            }
        }
    }

    /// Declines, and tells the predecessor why. Through `exec` nobody is left to be told.
    pub(crate) fn refuse(self, reason: &str) {
        match self.connection() {
            Some(socket) => {
                let _ = Message::Refuse(reason.to_owned()).send(socket.as_fd(), self.ticket.heap);
            }
            None => {
                let _ = self.acknowledge();
            }
        }
    }

    #[cfg(test)]
    pub(super) fn peer_for_tests(&self) -> std::os::fd::BorrowedFd<'_> {
        self.peer.as_ref().expect("a connection").as_fd()
    }

    fn connection(&self) -> Option<&OwnedFd> {
        self.peer.as_ref().filter(|_| self.ticket.channel == Channel::Spawn)
    }

    fn why_closed(&self) -> IncomingError {
        if sys::parent_pid() == self.ticket.from {
            IncomingError::CalledOff
        } else {
            IncomingError::PredecessorGone
        }
    }
}

/// Lets the memory holder go and collects it, beside this process: it takes the old memory apart first, and to wake it up is a
/// matter of microseconds already, which this process's first answer must not wait for.
fn let_go(holder: u32, release: Option<OwnedFd>) {
    let reap = move || {
        release.as_ref().inspect(|release| sys::release_holder(release));
        drop(release);
        sys::reap_holder(holder);
    };
    // If there is no thread to be had, the closure is dropped with the pipe, which lets the holder go as well: a zombie stays,
    // no more.
    let _ = std::thread::Builder::new().name("heirloom-reap".to_owned()).stack_size(64 << 10).spawn(reap);
}

/// Starts this very program once more in the same process, because something was mapped where the heap has to be:
/// the system will lay it out differently. The offer, or what the kernel before has `left`, is kept for the second try.
///
/// To be called before the program has done anything that must not be done twice. Returns if this was tried already,
/// or failed; the offer is then as it was.
pub(crate) fn reexec_self_for_address(
    incoming: Option<&Incoming>,
    left: Option<BorrowedFd<'_>>,
) -> io::Error {
    let me = sys::pid().to_string();
    if std::env::var_os(AGAIN).is_some_and(|pid| pid == *me) {
        return io::Error::new(io::ErrorKind::AddrInUse, "the address was taken at the second start as well");
    }
    let image = match this_image(&me) {
        Ok(mut image) => {
            if let Some(incoming) = incoming {
                image.push_env(incoming.ticket.variable());
            }
            if let Some(left) = left {
                image.push_env(luo::kept_for_second_try(left));
            }
            image
        }
        Err(error) => return error,
    };
    let keep: Vec<_> = incoming
        .into_iter()
        .flat_map(|incoming| [Some(incoming.heap.as_fd()), incoming.peer.as_ref().map(OwnedFd::as_fd)])
        .flatten()
        .chain(left)
        // What the service manager has passed on is for the second try as well.
        .chain(fdstore::all_inherited())
        .collect();
    debug_assert!(keep.iter().all(|fd| fd.as_raw_fd() > 2), "standard streams are inherited as they are");
    sys::exec(&image, &keep)
}

/// The file, arguments and environment that this process was started with.
fn this_image(me: &str) -> io::Result<Image> {
    let text = |bytes: OsString| CString::new(bytes.into_vec()).map_err(io::Error::from);
    // Not by its path, where another version may lie by now.
    let path = text("/proc/self/exe".into())?;
    let args = std::env::args_os().map(text).collect::<io::Result<_>>()?;
    let env = std::env::vars_os().filter(|(name, _)| name != VARIABLE && name != AGAIN && name != luo::KEPT);
    let env = env.chain([(AGAIN.into(), me.into())]).map(|(mut variable, value)| {
        variable.push("=");
        variable.push(value);
        text(variable)
    });
    Ok(Image::new(path, args, env.collect::<io::Result<_>>()?, None))
}
