//! Hand-over: how a heap gets from one program to the next, and back again if the next one fails.
//!
//! ```text
//! spawn   predecessor                          successor
//!         start it -------------------------->  map the heap, look whether it fits
//!                         <------------- READY
//!         freeze
//!         FROZEN ---------------------------->  claim: write Running, generation + 1
//!                         <--------------- ACK
//!         exit                                  serve
//!
//! exec    start the memory holder, freeze, execve ->  map, claim, serve, let the holder go
//! ```
//!
//! Until the acknowledgement the predecessor can take the heap back: it ends the successor, waits until it is gone,
//! and only then looks in the header whether the successor had claimed. From the acknowledgement on nothing may fail.
//! The two can never both believe that they own the heap: the predecessor shuts its end of the connection
//! before it decides, so an acknowledgement either stands in the queue by then or cannot be sent.
//!
//! `heap` implements [`Incumbent`] and claims; `message` and `ticket` are what travels between the processes.
//!
//! # Invariants (tested in `tests`)
//!
//! - *one owner*: no step leaves two programs, or none, that may write.
//! - *all or nothing*: an error means that the incumbent works on as before.
//! - *distrust*: a message or a ticket that is not as expected ends the hand-over, nothing else.

mod error;
mod exec;
pub(crate) mod fdstore;
mod incoming;
pub(crate) mod luo;
mod message;
mod spawn;
mod ticket;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use error::{HandOverError, IncomingError, Step};
pub(crate) use incoming::{Incoming, incoming, reexec_self_for_address};

use crate::backing::Backing;
use crate::command::Command;
use crate::sys;

/// How a heap goes to its successor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Channel {
    /// The successor starts beside the predecessor, under a process id of its own.
    #[default]
    Spawn,
    /// The successor replaces the predecessor, under the same process id. If it fails after its start, nobody is
    /// there to take the heap back: a heap with a file can be opened again, one without is lost.
    Exec,
}

impl Channel {
    /// The number under which headers and tickets keep it.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Spawn => 1,
            Self::Exec => 2,
        }
    }

    pub(crate) const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Spawn),
            2 => Some(Self::Exec),
            _ => None,
        }
    }
}

/// How long each side waits for the other.
#[derive(Clone, Debug)]
pub(crate) struct ChannelOptions {
    /// From the start of the successor until it is ready for the heap.
    pub(crate) ready: Duration,
    /// From the freeze until the successor has acknowledged.
    pub(crate) ack: Duration,
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

/// Hands the incumbent's heap to a new process of `command`, which the caller has found fit.
///
/// Returns when the successor has it, through [`Channel::Spawn`]; never, through [`Channel::Exec`].
///
/// # Errors
///
/// The hand-over was called off and the incumbent goes on; but for [`HandOverError::Lost`], after which the
/// heap cannot be used.
pub(crate) fn hand_over(
    incumbent: &dyn Incumbent,
    command: &Command,
    channel: Channel,
    options: &ChannelOptions,
) -> Result<Handed, HandOverError> {
    match channel {
        Channel::Spawn => spawn::hand_over(incumbent, command, options),
        Channel::Exec => Err(exec::hand_over(incumbent, command, options)),
    }
}
