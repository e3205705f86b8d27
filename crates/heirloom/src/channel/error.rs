//! Why a hand-over was called off, on either side.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::command::CommandError;
use crate::sys::Ended;

/// Why a heap was not handed over. But for [`HandOverError::Lost`], this program still owns it and goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandOverError {
    /// The command names nothing that can be started.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The candidate was looked at and cannot read this heap.
    #[error("{} cannot take this heap over: {reason}", program.display())]
    Unfit {
        /// The candidate.
        program: PathBuf,
        /// What it lacks.
        reason: String,
    },
    /// Another thread is handing over.
    #[error("a hand-over is under way: wait for its end")]
    UnderWay,
    /// Threads stayed inside the heap.
    #[error(
        "{threads} threads were still inside the heap after {waited:?}: let them leave, or allow a longer door_timeout"
    )]
    Door {
        /// How many.
        threads: usize,
        /// How long the freeze waited.
        waited: Duration,
    },
    /// The program did not come to rest: what [`crate::HandOver::at_rest`] was given returned an error.
    #[error("the program did not come to rest: {reason}")]
    NotAtRest {
        /// Its error.
        reason: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The successor may not have as many descriptors open as are packed for it.
    #[error(
        "{wanted} descriptors are packed, and the successor may have {limit} open in all: raise RLIMIT_NOFILE"
    )]
    Descriptors {
        /// How many are packed.
        wanted: u64,
        /// How many it may have.
        limit: u64,
    },
    /// Nobody who fits has asked for the heap.
    #[error("nobody has asked for the heap for {waited:?}")]
    NobodyAsked {
        /// How long was waited.
        waited: Duration,
    },
    /// [`crate::Listener::stop`] was called.
    #[error("the listener was stopped")]
    Stopped,
    /// The channel does not start a program.
    #[error("a heap does not go to a command through {channel}: {instead}")]
    Channel {
        /// The channel.
        channel: super::Channel,
        /// What to call instead.
        instead: &'static str,
    },
    /// The heap could not be frozen.
    #[error("the heap could not be frozen: {reason}")]
    Freeze {
        /// Why.
        reason: String,
    },
    /// The kernel's orchestrator does not take the heap.
    #[error("live update: {0}")]
    LiveUpdate(#[from] super::luo::LuoError),
    /// The system refused a step.
    #[error("cannot {step}: {source}")]
    System {
        /// The step.
        step: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// The successor could not be started.
    #[error("cannot start {}: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The successor ended before it had taken the heap.
    #[error("the successor ended with {ended} {step}: see what it printed")]
    Died {
        /// What was expected of it.
        step: Step,
        /// How it ended.
        ended: Ended,
    },
    /// The successor lives, but gave no answer. It has been ended, unless it is a program that asked and was not given the heap yet.
    #[error(
        "the successor gave no answer for {waited:?} {step}, and does not get the heap: does it call inherit_or_create?"
    )]
    TimedOut {
        /// What was expected of it.
        step: Step,
        /// How long that was.
        waited: Duration,
    },
    /// The successor does not want the heap.
    #[error("the successor refused the heap: {reason}")]
    Refused {
        /// Its reason.
        reason: String,
    },
    /// The successor closed the connection, or sent what nobody expects there.
    #[error("the successor broke the protocol {step}: {what}; is it built with another version of heirloom?")]
    Protocol {
        /// What was expected of it.
        step: Step,
        /// What came.
        what: String,
    },
    /// The successor had claimed the heap, failed, and left it in a state from which it could not be taken back.
    #[error("the heap was lost with the successor ({cause}): {reason}; start again cold")]
    Lost {
        /// How the successor failed.
        cause: Box<Self>,
        /// Why the heap could not be taken back.
        reason: String,
    },
}

/// A part of the hand-over that the predecessor waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Between its start and its message that it is ready.
    Ready,
    /// While descriptors travel to it, before the freeze.
    Luggage,
    /// Between the freeze and its acknowledgement.
    Acknowledge,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "before it was ready",
            Self::Luggage => "before it had taken the descriptors",
            Self::Acknowledge => "before it had acknowledged the heap",
        })
    }
}

/// Why a successor gets no heap although it was started for one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IncomingError {
    /// The variable with the hand-over's particulars is not as this version writes it.
    #[error(
        "{} is not understood: {what}; was it set by another version of heirloom?",
        super::ticket::VARIABLE
    )]
    Ticket {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A descriptor that should have been inherited was not.
    #[error("the {what} was not inherited: {source}; is there a wrapper that closes descriptors?")]
    Descriptor {
        /// Which one.
        what: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// The descriptors that come along are not as this version packs them.
    #[error("the descriptors that came with the heap are not understood: {what}")]
    Luggage {
        /// What is wrong.
        what: &'static str,
    },
    /// The heap's owner does not give it to this program.
    #[error("the heap's owner refused: {reason}")]
    Refused {
        /// Its reason.
        reason: String,
    },
    /// The heap is offered by somebody else's program.
    #[error("user {uid} offers a heap there, and is neither this program's user nor trusted by its options")]
    OtherUser {
        /// Its user id.
        uid: u32,
    },
    /// The predecessor has called the hand-over off, and keeps the heap.
    #[error("the predecessor called the hand-over off: leave the heap alone and end")]
    CalledOff,
    /// The predecessor ended before it had frozen the heap.
    #[error("the predecessor ended before it had handed the heap over")]
    PredecessorGone,
    /// The heap's owner cannot be seen from this program's pid namespace, so its end could not be told.
    #[error("the heap's owner is in another pid namespace: start this program in that one")]
    OtherNamespace,
    /// The predecessor did not freeze in time.
    #[error("the predecessor did not freeze the heap within {waited:?}")]
    TimedOut {
        /// How long this side waited.
        waited: Duration,
    },
    /// The predecessor sent what nobody expects there.
    #[error("the predecessor broke the protocol: {what}; is it built with another version of heirloom?")]
    Protocol {
        /// What came.
        what: String,
    },
    /// The system refused a step.
    #[error("cannot {step}: {source}")]
    System {
        /// The step.
        step: &'static str,
        /// The system's word.
        source: io::Error,
    },
}
