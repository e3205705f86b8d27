//! The predecessor's conversation with a successor that lives beside it: wait, pack, freeze, wait, and decide.
//!
//! ```text
//! READY ->    at_rest, LUGGAGE / TAKEN ..    freeze, FROZEN ->    ACK?  yes: leave
//!                                                                      no: shut, end it, look who has the heap
//! ```
//!
//! How it came to be there is the channel's matter: `spawn` started it, `socket` was asked by it.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::error::{HandOverError, Step};
use super::luggage::Luggage;
use super::message::{HeapId, Message, Received};
use super::points::{Point, point};
use super::{ChannelOptions, Handed, Incumbent, LOOK_AGAIN};
use crate::sys::{self, Child, MOST_DESCRIPTORS};

/// A successor that closed its end is about to end: how long to wait for the reason.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// So many descriptors a program has besides its luggage, at least: the standard streams, the heap, the connection.
const OTHERS: u64 = 6;

/// Hands over to a successor that has just been offered the heap.
pub(super) fn converse(
    successor: Successor,
    incumbent: &dyn Incumbent,
    options: &ChannelOptions,
) -> Result<Handed, HandOverError> {
    successor.expect_ready(options)?;
    converse_ready(successor, incumbent, options)
}

/// As [`converse`], with a successor that has said that it is ready.
pub(super) fn converse_ready(
    successor: Successor,
    incumbent: &dyn Incumbent,
    options: &ChannelOptions,
) -> Result<Handed, HandOverError> {
    let before = header(incumbent)?;
    point(Point::PredecessorHeardReady);
    let luggage = incumbent.come_to_rest()?;
    point(Point::PredecessorAtRest);
    successor.send_luggage(&luggage, options)?;
    point(Point::PredecessorPacked);
    incumbent.freeze()?;
    point(Point::PredecessorFrozen);
    successor.may_touch_it.set(true);
    let answer = successor.send_frozen(incumbent).and_then(|()| {
        point(Point::PredecessorSaidFrozen);
        successor.expect(Step::Acknowledge, options.ack)
    });
    point(Point::PredecessorHeardAnswer);
    match answer {
        Ok(()) => Ok(successor.leave()),
        Err(cause) => successor.call_off(incumbent, options, before.state.generation, cause),
    }
}

pub(super) fn header(incumbent: &dyn Incumbent) -> Result<heirloom_abi::heap::Header, HandOverError> {
    let header = incumbent.backing().read_header();
    header.map_err(|error| HandOverError::Freeze { reason: error.to_string() })
}

/// A successor that may have a hand on the heap. Dropped, it is ended: nothing that holds the heap is left behind an error.
pub(super) struct Successor {
    child: Child,
    socket: OwnedFd,
    heap: HeapId,
    is_left_alone: bool,
    /// This process started it.
    is_child: bool,
    /// The heap is frozen, for it.
    may_touch_it: Cell<bool>,
}

impl Successor {
    /// A child, which is ended if it does not get the heap.
    pub(super) fn child(child: Child, socket: OwnedFd, heap: HeapId) -> Self {
        Self { child, socket, heap, is_left_alone: false, is_child: true, may_touch_it: Cell::new(false) }
    }

    /// A program that asked: it is only ended if it got so far that it may write.
    pub(super) fn asker(child: Child, socket: OwnedFd, heap: HeapId) -> Self {
        let mut asker = Self::child(child, socket, heap);
        asker.is_child = false;
        asker
    }

    pub(super) fn connection(&self) -> &OwnedFd {
        &self.socket
    }

    pub(super) fn expect_ready(&self, options: &ChannelOptions) -> Result<(), HandOverError> {
        self.expect(Step::Ready, options.ready)
    }

    /// Sends what is to travel with the heap, in as many messages as it takes. Each is answered before the next, as the system
    /// bounds how many descriptors of a user are under way.
    fn send_luggage(&self, luggage: &Luggage, options: &ChannelOptions) -> Result<(), HandOverError> {
        let (wanted, limit) = (luggage.len() as u64, sys::descriptor_limit(Some(self.child.pid())));
        if wanted > 0 && wanted + OTHERS > limit {
            return Err(HandOverError::Descriptors { wanted, limit });
        }
        let mut sent = 0;
        for batch in luggage.items().chunks(MOST_DESCRIPTORS) {
            let names = batch.iter().map(|(name, _)| name.clone()).collect();
            let fds: Vec<_> = batch.iter().map(|(_, fd)| fd.as_fd()).collect();
            Message::Luggage(names)
                .send_with(self.socket.as_fd(), self.heap, &fds)
                .map_err(|error| self.why_not_sent(error, Step::Luggage))?;
            sent += batch.len() as u32;
            self.expect_message(Step::Luggage, Message::Taken(sent), options.ready)?;
        }
        Ok(())
    }

    /// It is gone, or it refuses: its last message says more than the broken pipe.
    fn why_not_sent(&self, error: std::io::Error, step: Step) -> HandOverError {
        match error.raw_os_error() {
            Some(libc::EPIPE | libc::ECONNRESET) => {
                self.expect(step, LAST_WORDS).err().unwrap_or_else(|| HandOverError::Protocol {
                    step,
                    what: "an answer before the question".to_owned(),
                })
            }
            _ => HandOverError::System { step: "send to the successor", source: error },
        }
    }

    /// A child has inherited the heap's own descriptor, and is ended if it does not get the heap. One that asked has it, and with it
    /// the lock that makes an owner, from here on: it is ended from here on.
    fn send_frozen(&self, incumbent: &dyn Incumbent) -> Result<(), HandOverError> {
        let own = [incumbent.backing().fd()];
        let own = if self.is_child { &[][..] } else { &own[..] };
        let sent = Message::Frozen.send_with(self.socket.as_fd(), self.heap, own);
        sent.map_err(|error| self.why_not_sent(error, Step::Acknowledge))
    }

    /// Waits for the one message that belongs to `step`. Any other one is an error, so a peer that floods
    /// the connection is heard once.
    fn expect(&self, step: Step, timeout: Duration) -> Result<(), HandOverError> {
        let message = match step {
            Step::Ready => Message::Ready,
            Step::Luggage => Message::Taken(0),
            Step::Acknowledge => Message::Acknowledge,
        };
        self.expect_message(step, message, timeout)
    }

    fn expect_message(&self, step: Step, wanted: Message, timeout: Duration) -> Result<(), HandOverError> {
        let began = Instant::now();
        let deadline = began + timeout;
        // The start of a program takes too long to stay awake for.
        while step == Step::Acknowledge && began.elapsed() < LOOK_AGAIN {
            match self.received(step, &wanted)? {
                Some(answer) => return answer,
                None => std::thread::yield_now(),
            }
        }
        loop {
            let ready = sys::wait_readable(&[self.socket.as_fd(), self.child.as_fd()], Some(deadline))
                .map_err(|source| HandOverError::System { step: "wait for the successor", source })?;
            // What it said first, then whether it is still there: it may have refused, and ended.
            match self.received(step, &wanted)? {
                Some(answer) => return answer,
                None if ready[1] => {
                    // Between the two looks it may have sent something and ended.
                    return self
                        .received(step, &wanted)?
                        .unwrap_or_else(|| Err(HandOverError::Died { step, ended: self.child.reap() }));
                }
                None if Instant::now() >= deadline => {
                    return Err(HandOverError::TimedOut { step, waited: timeout });
                }
                None => {}
            }
        }
    }

    /// Takes one message; `None` where there is none.
    fn received(
        &self,
        step: Step,
        wanted: &Message,
    ) -> Result<Option<Result<(), HandOverError>>, HandOverError> {
        let received = Message::receive(self.socket.as_fd(), self.heap)
            .map_err(|source| HandOverError::System { step: "hear the successor", source })?;
        let broken = |what: String| Some(Err(HandOverError::Protocol { step, what }));
        Ok(match received {
            Received::Nothing => None,
            Received::Message(message) if message == *wanted => Some(Ok(())),
            Received::Message(Message::Refuse(reason)) => Some(Err(HandOverError::Refused { reason })),
            Received::Message(other) => broken(format!("{other:?} out of order")),
            Received::Foreign(foreign) => broken(foreign.to_string()),
            Received::Closed => {
                let deadline = Some(Instant::now() + LAST_WORDS);
                let has_ended =
                    sys::wait_readable(&[self.child.as_fd()], deadline).is_ok_and(|ready| ready[0]);
                if has_ended {
                    Some(Err(HandOverError::Died { step, ended: self.child.reap() }))
                } else {
                    broken("it closed the connection".to_owned())
                }
            }
        })
    }

    /// Decides after something has gone wrong behind the freeze.
    ///
    /// First the connection is shut: an acknowledgement stands in the queue now, and then the successor owns the
    /// heap; or its sending fails. Then the successor is ended, and only when it is gone the header is read.
    fn call_off(
        self,
        incumbent: &dyn Incumbent,
        options: &ChannelOptions,
        generation: u32,
        cause: HandOverError,
    ) -> Result<Handed, HandOverError> {
        if matches!(cause, HandOverError::TimedOut { .. } | HandOverError::System { .. }) {
            options.pause(0);
            sys::stop_receiving(self.socket.as_fd());
            let last = Message::receive(self.socket.as_fd(), self.heap);
            if matches!(last, Ok(Received::Message(Message::Acknowledge))) {
                return Ok(self.leave());
            }
            options.pause(1);
        }
        // A process that is killed may be held up in the system; thawing beside it would make two owners, so
        // the wait has no end of its own.
        drop(self);
        let has_claimed = match incumbent.backing().read_header() {
            Ok(header) => {
                let state = header.state;
                state.generation != generation || state.phase == heirloom_abi::heap::Phase::Running
            }
            Err(error) => {
                return Err(HandOverError::Lost { cause: Box::new(cause), reason: error.to_string() });
            }
        };
        if has_claimed {
            match incumbent.reclaim() {
                Ok(()) => Err(cause),
                Err(error) => Err(HandOverError::Lost { cause: Box::new(cause), reason: error.to_string() }),
            }
        } else {
            incumbent.thaw();
            Err(cause)
        }
    }

    fn leave(mut self) -> Handed {
        self.is_left_alone = true;
        // A program that asked is a service of its own, if it is one.
        if self.is_child {
            super::fdstore::leave_role_to(self.child.pid());
        }
        Handed {
            #[cfg(test)]
            pid: self.child.pid(),
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if self.is_left_alone {
            return;
        }
        if self.is_child || self.may_touch_it.get() {
            self.child.kill();
            self.child.reap();
        } else {
            let called_off = Message::Refuse("the hand-over was called off".to_owned());
            let _ = called_off.send(self.socket.as_fd(), self.heap);
        }
    }
}
