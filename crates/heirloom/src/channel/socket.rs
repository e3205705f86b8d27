//! The predecessor's side of [`Channel::Socket`](super::Channel::Socket): a program that runs already asks for the heap.
//!
//! ```text
//! predecessor                                       successor
//!   listen <------------------------- connect, ASK name
//!   who is it? its user, its file's note
//!   OFFER, the heap, opened anew ------------------> map the heap ... as beside each other from here on
//!   FROZEN, the heap's own descriptor, its lock ---> claim
//! ```
//!
//! What comes to a socket is anybody's. A connection is refused at once if its user is not this program's and not allowed; it has
//! [`TIME_TO_ASK`] to say what it wants; so many wait at once, and the oldest goes for the next. None of this touches the
//! heap. Who is offered the heap is a program of a trusted user whose file says that it can inherit, and that this process may
//! end: it may have to, if it fails with the heap half claimed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::error::HandOverError;
use super::message::{Buffer, HeapId, Message, Received};
use super::points::{Point, point};
use super::successor::{self, Successor};
use super::{ChannelOptions, Handed, Incumbent, Way};
use crate::sys::{self, Peer, Place};

/// A connection that says nothing for so long is closed.
const TIME_TO_ASK: Duration = Duration::from_secs(1);

/// So many connections may be thinking what to ask.
const MOST_WAITING: usize = 32;

/// So many refusals are logged a second; the others are counted.
const MOST_LOGGED: u64 = 10;

/// A Unix socket at which a running program may ask for the heap: see [`crate::Heap::hand_over_at`].
///
/// Dropped, it is removed from the file system.
pub struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    /// Device and inode: another program's socket may stand there by now.
    place: (u64, u64),
    allowed: Vec<u32>,
    is_stopped: AtomicBool,
    nr_refused: AtomicU64,
    log: Mutex<Log>,
}

struct Log {
    write: Box<dyn FnMut(&Refusal) + Send>,
    second: Instant,
    nr_in_second: u64,
}

/// Somebody who asked for the heap, and did not get it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refusal {
    /// Its process id; 0 where it is in another pid namespace.
    pub pid: u32,
    /// Its user id.
    pub uid: u32,
    /// Why.
    pub reason: String,
    /// How many there were, this one included.
    pub nr_refused: u64,
}

impl Listener {
    /// Makes a socket at `path`, which may hold one to which nobody listens any more.
    ///
    /// Only this program's user may connect, until [`Listener::allow_user`].
    ///
    /// # Errors
    ///
    /// `AddrInUse` where another program listens there, or something else than a socket lies there, for longer than 2 s (a
    /// predecessor may be about to end); else the system's word.
    pub fn bind(path: impl Into<PathBuf>) -> io::Result<Self> {
        /// How long the program that has just handed over here may take to end.
        const PATIENCE: Duration = Duration::from_secs(2);
        let path = path.into();
        let deadline = Instant::now() + PATIENCE;
        let socket = loop {
            match listen_alone(&path) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                listening => break listening?,
            }
        };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let place = place_of(&path)?;
        let log = Log { write: Box::new(print), second: Instant::now(), nr_in_second: 0 };
        Ok(Self {
            socket,
            path,
            place,
            allowed: vec![sys::own_uid()],
            is_stopped: AtomicBool::new(false),
            nr_refused: AtomicU64::new(0),
            log: Mutex::new(log),
        })
    }

    /// Lets programs of this user have the heap too. This process must be allowed to end them.
    ///
    /// # Errors
    ///
    /// The socket cannot be opened for others.
    pub fn allow_user(mut self, uid: u32) -> io::Result<Self> {
        // Who may connect is one thing; what the connection says of itself is looked at for each.
        std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(0o666))?;
        self.allowed.push(uid);
        Ok(self)
    }

    /// Sets what is told of each refusal, up to ten a second; the default prints it to standard error.
    pub fn on_refusal(mut self, log: impl FnMut(&Refusal) + Send + 'static) -> Self {
        self.log.get_mut().unwrap_or_else(PoisonError::into_inner).write = Box::new(log);
        self
    }

    /// How many connections were refused, those that nobody was told of included.
    pub fn nr_refused(&self) -> u64 {
        self.nr_refused.load(Relaxed)
    }

    /// Ends a [`crate::HandOver::go`] that waits here, with [`HandOverError::Stopped`], and all to come.
    pub fn stop(&self) {
        self.is_stopped.store(true, Relaxed);
        sys::stop_receiving(self.socket.as_fd());
    }

    fn refuse(&self, connection: &OwnedFd, peer: &Peer, heap: HeapId, reason: &str) {
        // To a stranger not a word about the heap.
        if self.allowed.contains(&peer.uid) {
            let _ = Message::Refuse(reason.to_owned()).send(connection.as_fd(), heap);
        }
        let nr_refused = self.nr_refused.fetch_add(1, Relaxed) + 1;
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.second.elapsed() >= Duration::from_secs(1) {
            (log.second, log.nr_in_second) = (Instant::now(), 0);
        }
        log.nr_in_second += 1;
        if log.nr_in_second <= MOST_LOGGED {
            (log.write)(&Refusal { pid: peer.pid, uid: peer.uid, reason: reason.to_owned(), nr_refused });
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if place_of(&self.path).is_ok_and(|place| place == self.place) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Listens at a path, in the place of a socket that was left there. Programs that do this in one folder take turns: to find a socket
/// left, to remove it and to make another are three steps, and a socket that is bound and does not listen yet looks left.
///
/// # Errors
///
/// `AddrInUse` where another program listens there, or is about to.
fn listen_alone(path: &Path) -> io::Result<OwnedFd> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Where it may not be read, others cannot be waited for.
    let turn = std::fs::File::open(folder).ok();
    if turn.as_ref().is_some_and(|turn| !sys::try_lock(turn.as_fd()).unwrap_or(true)) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let listening = sys::listen(Place::Path(path), 16);
    let is_taken = listening.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
    let is_left = is_taken
        && is_socket(path)
        && sys::connect(Place::Path(path))
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if !is_left {
        return listening;
    }
    std::fs::remove_file(path)?;
    sys::listen(Place::Path(path), 16)
}

fn place_of(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn print(refusal: &Refusal) {
    let Refusal { pid, uid, reason, nr_refused } = refusal;
    eprintln!("heirloom: process {pid} of user {uid} does not get the heap: {reason} (refusal {nr_refused})");
}

/// To the first that asks and fits.
pub(crate) struct AtSocket<'a>(pub(crate) &'a Listener);

impl Way for AtSocket<'_> {
    fn hand_over(
        &self,
        incumbent: &dyn Incumbent,
        options: &ChannelOptions,
    ) -> Result<Handed, HandOverError> {
        let identity = successor::header(incumbent)?.identity;
        let deadline = options.ask.map(|ask| Instant::now() + ask);
        let mut waiting = Vec::new();
        point(Point::PredecessorBegins);
        loop {
            let (connection, peer) = self.next_asker(&mut waiting, identity.id, options, deadline)?;
            let refuse = |reason: &str| self.0.refuse(&connection, &peer, identity.id, reason);
            match Message::receive_with(connection.as_fd(), None, &mut Buffer::new()) {
                Ok((Received::Message(Message::Ask(name)), ..)) if *name == *identity.name.as_str() => {}
                Ok((Received::Message(Message::Ask(name)), ..)) => {
                    refuse(&format!("there is no heap {name:?} here"));
                    continue;
                }
                Ok((Received::Message(other), ..)) => {
                    refuse(&format!("{other:?} where a question belongs"));
                    continue;
                }
                Ok((Received::Foreign(foreign), ..)) => {
                    refuse(&foreign.to_string());
                    continue;
                }
                Ok((Received::Closed | Received::Nothing, ..)) | Err(_) => {
                    refuse("it closed the connection without a word");
                    continue;
                }
            }
            let fit = self.look_at(&connection, &peer, incumbent).and_then(|process| {
                // Opened anew: who asks and does not get the heap would otherwise have its lock for as long as it lives.
                let heap = sys::reopen(incumbent.backing().fd());
                let offer = heap.and_then(|heap| {
                    Message::Offer.send_with(connection.as_fd(), identity.id, &[heap.as_fd()])
                });
                offer.map(|()| process).map_err(|error| error.to_string())
            });
            let (process, longer) = match fit {
                Ok(fit) => fit,
                Err(reason) => {
                    refuse(&reason);
                    continue;
                }
            };
            point(Point::PredecessorOffered);
            let successor = Successor::asker(process, connection, identity.id);
            // Until it is ready nothing has happened: the next one may ask.
            if let Err(error) = successor.expect_ready(options) {
                self.0.refuse(successor.connection(), &peer, identity.id, &error.to_string());
                continue;
            }
            let options = ChannelOptions { ack: options.ack + longer, ..options.clone() };
            return successor::converse_ready(successor, incumbent, &options);
        }
    }
}

impl AtSocket<'_> {
    /// Waits until a connection of a trusted user has something to say.
    fn next_asker(
        &self,
        waiting: &mut Vec<(OwnedFd, Peer, Instant)>,
        heap: HeapId,
        options: &ChannelOptions,
        deadline: Option<Instant>,
    ) -> Result<(OwnedFd, Peer), HandOverError> {
        let system = |source| HandOverError::System { step: "wait for somebody who asks", source };
        loop {
            if self.0.is_stopped.load(Relaxed) {
                return Err(HandOverError::Stopped);
            }
            // Asked each time: there may always be another connection.
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(HandOverError::NobodyAsked { waited: options.ask.unwrap_or_default() });
            }
            let mut fds = vec![self.0.socket.as_fd()];
            fds.extend(waiting.iter().map(|(connection, ..)| connection.as_fd()));
            let first = waiting.first().map(|(.., since)| *since + TIME_TO_ASK);
            let until = [first, deadline].into_iter().flatten().min();
            let happened = sys::wait_any(&fds, until).map_err(system)?;
            if let Some(nth) = happened[1..].iter().position(|flags| !flags.is_empty()) {
                let (connection, peer, _) = waiting.remove(nth);
                return Ok((connection, peer));
            }
            let now = Instant::now();
            while waiting.first().is_some_and(|(.., since)| *since + TIME_TO_ASK <= now) {
                let (connection, peer, _) = waiting.remove(0);
                self.0.refuse(&connection, &peer, heap, "it asked for nothing");
            }
            if happened[0].contains(PollFlags::IN) {
                let Some(connection) = self.accept()? else { continue };
                let Ok(peer) = sys::peer(connection.as_fd()) else { continue };
                if !self.0.allowed.contains(&peer.uid) {
                    self.0.refuse(&connection, &peer, heap, "another user");
                    continue;
                }
                if waiting.len() == MOST_WAITING {
                    let (connection, peer, _) = waiting.remove(0);
                    self.0.refuse(&connection, &peer, heap, "too many connections");
                }
                waiting.push((connection, peer, now));
            }
        }
    }

    fn accept(&self) -> Result<Option<OwnedFd>, HandOverError> {
        match sys::accept(self.0.socket.as_fd()) {
            Ok(connection) => Ok(connection),
            // A connection more than there may be: others will close.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) =>
            {
                std::thread::sleep(Duration::from_millis(10));
                Ok(None)
            }
            Err(_) if self.0.is_stopped.load(Relaxed) => Ok(None),
            Err(source) => Err(HandOverError::System { step: "accept a connection", source }),
        }
    }

    /// Says who it is, and how much longer than others it may take to have the heap.
    fn look_at(
        &self,
        connection: &OwnedFd,
        peer: &Peer,
        incumbent: &dyn Incumbent,
    ) -> Result<(sys::Child, Duration), String> {
        if peer.pid == 0 {
            return Err("it is in another pid namespace, and cannot be waited for".to_owned());
        }
        if peer.pid == sys::pid() {
            return Err("it is this very process".to_owned());
        }
        let process = sys::peer_process(connection.as_fd(), peer).ok_or("it has ended")?;
        if !process.may_kill() {
            return Err("this process may not end it, which it must if it fails".to_owned());
        }
        let program = format!("/proc/{}/exe", peer.pid);
        let longer = incumbent.check_program(Path::new(&program)).map_err(|error| error.to_string())?;
        Ok((process, longer))
    }
}
