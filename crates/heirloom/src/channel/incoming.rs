//! The successor's side of both channels.
#![expect(unsafe_code, reason = "takes over descriptors by the numbers in its ticket")]

use std::cell::{Cell, RefCell};
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::error::IncomingError;
use super::luggage::read_list;
use super::message::{Buffer, HeapId, Message, Received};
use super::points::{Point, point};
use super::ticket::{Ticket, VARIABLE};
use super::{Channel, Found, Source, SourceError, fdstore, luo};
use crate::sys::{self, Child, Image};

/// Holds the process id of a program that has started itself again for the sake of an address.
const AGAIN: &str = "HEIRLOOM_HANDOVER_AGAIN";

/// A heap that a predecessor offers to this process.
///
/// Dropped without [`Incoming::acknowledge`], the offer is declined.
pub(crate) struct Incoming {
    channel: Channel,
    heap_id: HeapId,
    heap: OwnedFd,
    /// The connection to the predecessor, or the pipe to the memory holder.
    peer: Option<OwnedFd>,
    /// The memory holder's process id, or 0.
    helper: u32,
    /// For a second start of this program; there is none where it can simply ask again.
    ticket: Option<Ticket>,
    predecessor: Predecessor,
    /// The heap as its owner has it open, lock and all: it comes when the heap is frozen, to who has asked.
    own: RefCell<Option<OwnedFd>>,
    /// The predecessor is this process's parent no more.
    is_orphan: bool,
    luggage: RefCell<Vec<(String, OwnedFd)>>,
    /// The list of luggage that came in place.
    list: Option<OwnedFd>,
}

/// Who has offered the heap.
enum Predecessor {
    /// It started this process, or was this process: by the heap's header its process id, and when it was started.
    OfHeader(Cell<Option<(u32, u64)>>),
    /// The very process at the other end of a connection; `None` where it has ended.
    Answered(Option<Child>),
}

/// The source that the environment names: a predecessor that started this process.
pub(super) struct Ticketed;

impl Source for Ticketed {
    fn channel(&self) -> Channel {
        Channel::Spawn
    }

    fn find(&self, _name: &str) -> Result<Option<Found>, SourceError> {
        Ok(incoming()?.map(Found::Offered))
    }
}

/// What came of waiting for the predecessor's freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freeze {
    /// The heap is frozen, and this process's to claim.
    Done,
    /// The predecessor is gone, or about to go: if it has ended, what it left is this process's.
    OwnerGone,
}

/// How long a process may take to end: to take gigabytes of memory apart is a matter of seconds.
const ENDING: Duration = Duration::from_secs(30);

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
        // The predecessor is gone, and this process has been given another parent; or the ticket is for a
        // process further up. The descriptors tell: nobody but the successor inherits them.
        let is_orphan = ticket.channel == Channel::Spawn && ticket.from != parent;
        if ticket.channel == Channel::Exec && ticket.from != me
            || is_orphan && !sys::is_open_message_socket(ticket.peer_fd)
        {
            return Ok(None);
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
            Channel::Exec => sys::is_pipe(peer.as_fd()),
            _ => sys::is_message_socket(peer.as_fd()),
        });
        for (fits, what) in [(is_regular, "heap"), (fits, "connection")] {
            if !fits {
                let source = io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is something else");
                return Err(IncomingError::Descriptor { what, source });
            }
        }
        let mut luggage = Vec::new();
        let list = match ticket.luggage_fd {
            -1 => None,
            number => {
                let list = inherit(number, "list of descriptors")?;
                let items = read_list(list.as_fd()).ok_or(IncomingError::Luggage { what: "their list" })?;
                let taken = [ticket.heap_fd, ticket.peer_fd, ticket.luggage_fd];
                for (name, number) in items {
                    if taken.contains(&number) {
                        return Err(IncomingError::Luggage { what: "their numbers" });
                    }
                    luggage.push((name, inherit(number, "descriptor in the luggage")?));
                }
                Some(list)
            }
        };
        point(Point::SuccessorFoundOffer);
        Ok(Some(Self {
            channel: ticket.channel,
            heap_id: ticket.heap,
            heap,
            peer,
            helper: ticket.helper,
            ticket: Some(ticket),
            predecessor: Predecessor::OfHeader(Cell::new(None)),
            own: RefCell::default(),
            is_orphan,
            luggage: RefCell::new(luggage),
            list,
        }))
    }

    /// An offer that came over a connection which this process made, from `owner`; `None` where that has ended.
    pub(super) fn from_connection(
        heap_id: HeapId,
        heap: OwnedFd,
        peer: OwnedFd,
        owner: Option<Child>,
    ) -> Self {
        point(Point::SuccessorFoundOffer);
        Self {
            channel: Channel::Socket,
            heap_id,
            heap,
            peer: Some(peer),
            helper: 0,
            ticket: None,
            predecessor: Predecessor::Answered(owner),
            own: RefCell::default(),
            is_orphan: false,
            luggage: RefCell::default(),
            list: None,
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel
    }

    /// Tells whom the header names as the heap's owner: the predecessor, where it is known by nothing better.
    pub(crate) fn set_owner(&self, pid: u32, start_ticks: u64) {
        if let Predecessor::OfHeader(owner) = &self.predecessor {
            owner.set(Some((pid, start_ticks)));
        }
    }

    /// The owner's own descriptor of the heap, if it came.
    pub(crate) fn take_own(&self) -> Option<OwnedFd> {
        self.own.take()
    }

    /// Waits until the predecessor has ended, all of its threads included; false where it does not.
    pub(crate) fn wait_for_end_of_owner(&self) -> bool {
        let (pid, ticks) = match &self.predecessor {
            Predecessor::OfHeader(owner) => match owner.get() {
                Some(owner) => owner,
                None => return false,
            },
            Predecessor::Answered(owner) => {
                let deadline = Some(Instant::now() + ENDING);
                return owner.as_ref().is_none_or(|owner| {
                    sys::wait_readable(&[owner.as_fd()], deadline).is_ok_and(|ended| ended[0])
                });
            }
        };
        // This process gets another parent before its own has ended altogether: gigabytes are being taken apart. A predecessor that goes
        // on, because it has called the hand-over off or a program stands between it and this one, is not waited for.
        let patience = if self.is_orphan && !sys::is_ending(pid, ticks) { Duration::ZERO } else { ENDING };
        let deadline = Instant::now() + patience;
        loop {
            if sys::has_ended(pid, ticks) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The descriptors that came with the heap.
    pub(crate) fn take_luggage(&self) -> Vec<(String, OwnedFd)> {
        self.luggage.take()
    }

    /// The id that the heap's header has to show.
    pub(crate) fn heap_id(&self) -> [u8; 16] {
        self.heap_id
    }

    /// The predecessor's process id; through `exec`, this process's own.
    #[cfg(test)]
    pub(crate) fn predecessor(&self) -> u32 {
        self.ticket.map_or(0, |ticket| ticket.from)
    }

    /// The memory holder's process id, or 0.
    pub(crate) fn helper(&self) -> u32 {
        self.helper
    }

    /// Returns a copy of the heap's descriptor. This keeps the original, so that the heap outlives a first try.
    pub(crate) fn take_fd(&self) -> Result<OwnedFd, IncomingError> {
        sys::duplicate(self.heap.as_fd())
            .map_err(|source| IncomingError::System { step: "copy the heap's descriptor", source })
    }

    /// Tells the predecessor that this process is ready, takes the descriptors that come along, and waits until the heap is
    /// frozen.
    pub(crate) fn wait_for_freeze(&self, timeout: Duration) -> Result<Freeze, IncomingError> {
        let Some(socket) = self.connection() else { return Ok(Freeze::Done) };
        let mut buffer = Buffer::new();
        if self.is_orphan {
            return Ok(Freeze::OwnerGone);
        }
        if Message::Ready.send(socket.as_fd(), self.heap_id).is_ok() {
            point(Point::SuccessorSaidReady);
        }
        // Where nobody hears it any more, there may be a last word to this process: whoever was too late has been refused, and the
        // heap is another one's by now.
        let deadline = Instant::now() + timeout;
        loop {
            let (received, _, mut fds) =
                Message::receive_with(socket.as_fd(), Some(self.heap_id), &mut buffer)
                    .map_err(|source| IncomingError::System { step: "hear the predecessor", source })?;
            match received {
                Received::Message(Message::Frozen) => {
                    point(Point::SuccessorHeardFrozen);
                    *self.own.borrow_mut() = fds.pop();
                    return Ok(Freeze::Done);
                }
                Received::Message(Message::Luggage(names)) => self.take(socket, names, fds)?,
                Received::Message(Message::Refuse(_)) => return Err(IncomingError::CalledOff),
                Received::Message(other) => {
                    return Err(IncomingError::Protocol { what: format!("{other:?} out of order") });
                }
                Received::Foreign(foreign) => {
                    return Err(IncomingError::Protocol { what: foreign.to_string() });
                }
                Received::Closed => return Ok(Freeze::OwnerGone),
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

    fn take(&self, socket: &OwnedFd, names: Vec<String>, fds: Vec<OwnedFd>) -> Result<(), IncomingError> {
        let mut luggage = self.luggage.borrow_mut();
        luggage.extend(names.into_iter().zip(fds));
        let taken = u32::try_from(luggage.len()).unwrap_or(u32::MAX);
        point(Point::SuccessorTookLuggage);
        // Where the predecessor is gone, the next look at the connection says so.
        let _ = Message::Taken(taken).send(socket.as_fd(), self.heap_id);
        Ok(())
    }

    /// Tells the predecessor that the heap is this process's now. The header must say so already.
    ///
    /// # Errors
    ///
    /// [`IncomingError::CalledOff`]: the predecessor keeps the heap and is about to end this process. Not another byte
    /// of it may be touched.
    pub(crate) fn acknowledge(mut self) -> Result<(), IncomingError> {
        let peer = self.peer.take();
        match (self.channel, peer) {
            (Channel::Spawn | Channel::Socket, Some(socket)) => {
                let sent = Message::Acknowledge.send(socket.as_fd(), self.heap_id);
                point(Point::SuccessorAcknowledged);
                // A predecessor that calls the hand-over off ends this process, which waits for it. One that has died, even as it
                // was about to, cannot take the heap back: it is this process's.
                if sent.is_ok() || self.wait_for_end_of_owner() {
                    Ok(())
                } else {
                    Err(IncomingError::CalledOff)
                }
            }
            (_, release) => {
                if self.helper != 0 {
                    let_go(self.helper, release);
                }
                Ok(())
            }
        }
    }

    /// Declines, and tells the predecessor why. Through `exec` nobody is left to be told.
    pub(crate) fn refuse(self, reason: &str) {
        match self.connection() {
            Some(socket) => {
                let _ = Message::Refuse(reason.to_owned()).send(socket.as_fd(), self.heap_id);
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
        self.peer.as_ref().filter(|_| self.channel != Channel::Exec)
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
            if let Some(ticket) = incoming.and_then(|incoming| incoming.ticket) {
                image.push_env(ticket.variable());
            }
            if let Some(left) = left {
                image.push_env(luo::kept_for_second_try(left));
            }
            // What this image has stored the next one need not.
            if let Some(word) = fdstore::word_to_successor() {
                image.set_env(word);
            }
            image
        }
        Err(error) => return error,
    };
    // Without a ticket there is no telling the next image of them: it asks again.
    let luggage = incoming.map(|incoming| incoming.luggage.borrow());
    let mut keep = Vec::new();
    if let Some(incoming) = incoming.filter(|incoming| incoming.ticket.is_some()) {
        let others = [&incoming.peer, &incoming.list];
        keep.push(incoming.heap.as_fd());
        keep.extend(others.into_iter().flatten().map(OwnedFd::as_fd));
        keep.extend(luggage.iter().flat_map(|luggage| luggage.iter()).map(|(_, fd)| fd.as_fd()));
    }
    keep.extend(left);
    // What the service manager has passed on is for the second try as well.
    keep.extend(fdstore::all_inherited());
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
