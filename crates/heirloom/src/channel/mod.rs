//! How a heap gets from one program to the next, and back again if the next one fails.
//!
//! There are two kinds of channels, and a trait for each:
//!
//! - A [`Way`] gives the heap to a successor that lives: `spawn` and `exec` start it, `socket` is asked by it, `luo` gives it to
//!   the next kernel's program. The owner calls it, through [`crate::HandOver`].
//! - A [`Source`] is where a starting program finds a heap: a predecessor that waits (the other end of a way), or a store that kept
//!   it beyond its owner (`file`, `keeper`, systemd's descriptor store, the Live Update Orchestrator). `heap::open` asks them
//!   one after the other, in the order of [`sources`], and tells each afterwards which heap is open, so that a store can keep it.
//!
//! ```text
//! spawn   predecessor                          successor
//! socket  start it, or be asked by it -------->  map the heap, look whether it fits
//!                         <------------- READY
//!         come to rest; LUGGAGE -------------->
//!                         <------------- TAKEN
//!         freeze
//!         FROZEN ---------------------------->  claim: write Running, generation + 1
//!                         <--------------- ACK
//!         exit                                  serve
//!
//! exec    come to rest, start the memory holder, freeze, execve ->  map, claim, serve, let the holder go
//!
//! store   keep a descriptor (or the file) .. the owner ends ..   find, lock, restore or recover, claim
//! ```
//!
//! Until the acknowledgement the predecessor can take the heap back: it ends the successor, waits until it is gone,
//! and only then looks in the header whether the successor had claimed. From the acknowledgement on nothing may fail.
//! The two can never both believe that they own the heap: the predecessor shuts its end of the connection
//! before it decides, so an acknowledgement either stands in the queue by then or cannot be sent. A predecessor that dies on the
//! way leaves the heap to the successor that it has offered it to, which waits until it has ended and recovers.
//!
//! One owner through stores: whoever opens a heap holds a `flock` on it for life. The lock belongs to the *open file*, so a
//! descriptor that a store keeps is one that was opened anew ([`sys::reopen`]), and so is the one that comes out of it: it locks,
//! or finds the heap owned.
//!
//! `heap` implements [`Incumbent`] and claims; `message`, `luggage` and `ticket` are what travels between the processes;
//! `successor` and `incoming` are the two ends of the conversation; `points` names its moments, for tests that kill.
//!
//! # To add a channel
//!
//! A variant and a number in [`Channel`]; a file here with a [`Way`], a [`Source`] or both; a line in [`sources`]; if it is chosen
//! by an option, that option.
//!
//! # Invariants (tested in `tests`)
//!
//! - *one owner*: no step leaves two programs, or none, that may write.
//! - *all or nothing*: an error means that the incumbent works on as before.
//! - *distrust*: a message or a ticket that is not as expected ends the hand-over, nothing else.

mod ask;
mod error;
pub(crate) mod exec;
pub(crate) mod fdstore;
mod file;
mod incoming;
mod keeper;
mod luggage;
pub(crate) mod luo;
mod message;
#[cfg(feature = "points")]
pub mod points;
#[cfg(not(feature = "points"))]
mod points;
mod rescue;
pub(crate) mod socket;
pub(crate) mod spawn;
mod successor;
mod ticket;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, io};

pub use error::{HandOverError, IncomingError, Step};
#[cfg(test)]
use incoming::incoming;
pub(crate) use incoming::{Freeze, Incoming, reexec_self_for_address};
pub use luggage::{Luggage, LuggageError};
pub(crate) use points::{Point, point};
pub use socket::{Listener, Refusal};

use crate::backing::{Backing, BackingError};
use crate::heap::Options;
use crate::sys;

/// The ways by which a heap comes from one generation to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Channel {
    /// The successor starts beside the predecessor, under a process id of its own.
    #[default]
    Spawn,
    /// The successor replaces the predecessor, under the same process id. If it fails after its start, nobody is
    /// there to take the heap back: a heap with a file or a keeper can be opened again, one without is lost.
    Exec,
    /// The successor runs already, and asks its predecessor over a socket.
    Socket,
    /// The heap lies in a file that outlived its owner.
    File,
    /// A keeper, a small process, held the heap.
    Keeper,
    /// systemd's file descriptor store held the heap.
    SystemdStore,
    /// Linux's Live Update Orchestrator carried the heap from one kernel to the next.
    LiveUpdate,
}

impl Channel {
    const ALL: [Self; 7] = [
        Self::Spawn,
        Self::Exec,
        Self::Socket,
        Self::File,
        Self::Keeper,
        Self::SystemdStore,
        Self::LiveUpdate,
    ];

    /// The number under which headers and tickets keep it; 0 is none of them.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Spawn => 1,
            Self::Exec => 2,
            Self::Socket => 3,
            Self::SystemdStore => 4,
            Self::LiveUpdate => 5,
            Self::File => 6,
            Self::Keeper => 7,
        }
    }

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.number() == number)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spawn => "spawn",
            Self::Exec => "exec",
            Self::Socket => "a socket",
            Self::File => "a file",
            Self::Keeper => "a keeper",
            Self::SystemdStore => "systemd's descriptor store",
            Self::LiveUpdate => "the Live Update Orchestrator",
        })
    }
}

/// A way to give the heap to a successor.
pub(crate) trait Way {
    /// Hands the incumbent's heap over. The caller has found the successor fit where it could be asked.
    ///
    /// Returns when the successor has it; never, where the successor is this process.
    ///
    /// # Errors
    ///
    /// The hand-over was called off and the incumbent goes on; but for [`HandOverError::Lost`], after which the
    /// heap cannot be used.
    fn hand_over(&self, incumbent: &dyn Incumbent, options: &ChannelOptions)
    -> Result<Handed, HandOverError>;
}

/// A place where a starting program may find a heap.
pub(crate) trait Source {
    fn channel(&self) -> Channel;

    /// Looks for a heap of this name; `None` where there is none, and the next source is asked.
    ///
    /// # Errors
    ///
    /// There is one, or there may be, and it cannot be had. No other source is asked then.
    fn find(&self, name: &str) -> Result<Option<Found>, SourceError>;

    /// Puts the heap that was found here, and cannot be used, where it is not found again; says where that is.
    ///
    /// # Errors
    ///
    /// The system's word.
    fn set_aside(&self) -> io::Result<PathBuf> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Starts this program once more, with the heap that was found here, because something was mapped where the heap has to
    /// be. Comes back where it does not.
    fn try_again(&self) {}

    /// The heap is open, wherever it came from: a store keeps a descriptor of it from here on, if it does not yet.
    ///
    /// # Errors
    ///
    /// It does not, and the options demand it.
    fn keep(&self, heap: &Open<'_>) -> Result<Option<Box<dyn Kept>>, SourceError> {
        let _ = heap;
        Ok(None)
    }
}

/// A heap that was found.
pub(crate) enum Found {
    /// A predecessor lives, and hands it over.
    Offered(Incoming),
    /// Its owner is gone.
    Left {
        /// Opened anew: its lock is its own.
        heap: OwnedFd,
        /// Descriptors that were kept with it.
        luggage: Vec<(String, OwnedFd)>,
    },
}

/// A heap that has just been opened, as stores see it.
pub(crate) struct Open<'a> {
    pub(crate) name: &'a str,
    pub(crate) id: [u8; 16],
    pub(crate) heap: BorrowedFd<'a>,
}

/// What a store keeps.
pub(crate) trait Kept: Send + Sync {
    /// The heap was closed in order, and nobody is to find it again in this store.
    fn let_go(&self);
}

/// Why a source has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error(transparent)]
    Incoming(#[from] IncomingError),
    #[error(transparent)]
    Backing(#[from] BackingError),
    #[error("{0}")]
    System(#[from] io::Error),
    #[error("live update: {0}")]
    LiveUpdate(#[from] luo::LuoError),
}

/// Everywhere a heap may be found, in the order in which it is looked for: a living owner's before one that nobody owns, what the
/// environment brings before what the options name.
pub(crate) fn sources(name: &str, options: &Options) -> Vec<Box<dyn Source>> {
    let mut sources: Vec<Box<dyn Source>> = vec![Box::new(incoming::Ticketed)];
    if let Some(path) = &options.ask {
        sources.push(Box::new(ask::Asked::new(path, &options.trusted_users)));
    }
    if options.keeper {
        sources.push(Box::new(keeper::Keeper::new(name)));
    }
    if let Some(path) = &options.file {
        let trusted = options.trusted_users.clone();
        sources.push(Box::new(file::HeapFile { path: path.clone(), trusted }));
    } else {
        // Both keep memory that has no name.
        sources.push(Box::new(fdstore::Store::default()));
        sources.push(Box::new(luo::KernelBefore::new(options.keeper)));
    }
    sources
}

/// How long each side waits for the other.
#[derive(Clone, Debug)]
pub(crate) struct ChannelOptions {
    /// From the start of the successor until it is ready for the heap.
    pub(crate) ready: Duration,
    /// From the freeze until the successor has acknowledged.
    pub(crate) ack: Duration,
    /// For `socket`: how long somebody may take to ask; for ever, without.
    pub(crate) ask: Option<Duration>,
    /// For `exec`: how long the old memory is held, from before the freeze, for a successor that neither starts nor ends.
    pub(crate) hold: Duration,
    /// For `exec`: whether it is held at all, which the tests turn off to compare.
    pub(crate) hold_memory: bool,
    /// Widens the moments before and after the connection is shut, for tests of what falls into them.
    #[cfg(test)]
    pub(crate) pauses: [Duration; 2],
}

impl Default for ChannelOptions {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            ready: seconds(30),
            ack: seconds(10),
            ask: None,
            hold: seconds(15),
            hold_memory: true,
            #[cfg(test)]
            pauses: [Duration::ZERO; 2],
        }
    }
}

impl ChannelOptions {
    #[cfg(test)]
    fn pause(&self, nth: usize) {
        std::thread::sleep(self.pauses[nth]);
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests pause here")]
    const fn pause(&self, _nth: usize) {}
}

/// How long the predecessor, once nobody answers any more, looks for the acknowledgement again and again before it sleeps until it
/// comes: to wake a sleeper would hold the successor up for longer than all else that it does. Others may run in between.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The heap that is to be handed over, as the channel sees it.
pub(crate) trait Incumbent {
    /// Closes the door, folds everything and writes `Frozen`. After an error the heap is not frozen.
    fn freeze(&self) -> Result<(), HandOverError>;
    /// Whether the program in this file can inherit the heap; how much longer than others it may take for that.
    fn check_program(&self, program: &Path) -> Result<Duration, HandOverError> {
        let _ = program;
        Ok(Duration::ZERO)
    }
    /// Lets the program come to rest, and says what travels with the heap. The successor is ready, the door open.
    fn come_to_rest(&self) -> Result<Luggage, HandOverError> {
        Ok(Luggage::default())
    }
    /// Undoes `freeze` after a hand-over that was called off before the successor claimed.
    fn thaw(&self);
    fn backing(&self) -> &Backing;
    /// Takes the heap back from a successor that had claimed it and is gone.
    fn reclaim(&self) -> Result<(), HandOverError>;
}

/// Proof that the heap is the successor's: all that is left to do is to go.
#[derive(Debug)]
#[must_use = "the heap belongs to another process now"]
pub(crate) struct Handed {
    /// The new owner's process id.
    #[cfg(test)]
    pub(crate) pid: u32,
}

impl Handed {
    /// Ends this process with status 0.
    ///
    /// Neither destructors nor `atexit` handlers run, since some may free memory in a heap that is no longer this
    /// process's. Standard output is flushed, but not waited for: a thread that is shut out of the heap may hold its lock.
    pub(crate) fn exit(self) -> ! {
        let flusher = std::thread::Builder::new().spawn(|| {
            let _ = std::io::Write::flush(&mut std::io::stdout());
        });
        let until = std::time::Instant::now() + Duration::from_millis(100);
        while flusher.as_ref().is_ok_and(|flusher| !flusher.is_finished())
            && std::time::Instant::now() < until
        {
            std::thread::sleep(Duration::from_micros(200));
        }
        sys::exit_now(0)
    }
}
