//! The predecessor's side of [`Channel::Spawn`]: start, wait, freeze, wait, and decide.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::error::{HandOverError, Step};
use super::message::{HeapId, Message, Received};
use super::ticket::Ticket;
use super::{Channel, ChannelOptions, Handed, Incumbent, LOOK_AGAIN};
use crate::command::Command;
use crate::sys::{self, Child};

/// A successor that closed its end is about to end: how long to wait for the reason.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(super) fn hand_over(
    incumbent: &dyn Incumbent,
    command: &Command,
    options: &ChannelOptions,
) -> Result<Handed, HandOverError> {
    let before = header(incumbent)?;
    let successor = Successor::start(incumbent, command, before.identity.id)?;
    successor.expect(Step::Ready, options.ready)?;
    incumbent.freeze()?;
    let answer = successor
        .send(Message::Frozen, Step::Acknowledge)
        .and_then(|()| successor.expect(Step::Acknowledge, options.ack));
    match answer {
        Ok(()) => Ok(successor.leave()),
        Err(cause) => successor.call_off(incumbent, options, before.state.generation, cause),
    }
}

fn header(incumbent: &dyn Incumbent) -> Result<heirloom_abi::heap::Header, HandOverError> {
    let header = incumbent.backing().read_header();
    header.map_err(|error| HandOverError::Freeze { reason: error.to_string() })
}

/// A started successor. Dropped, it is ended: nothing that holds the heap is left behind an error.
struct Successor {
    child: Child,
    socket: OwnedFd,
    heap: HeapId,
    is_left_alone: bool,
}

impl Successor {
    fn start(incumbent: &dyn Incumbent, command: &Command, heap: HeapId) -> Result<Self, HandOverError> {
        use std::os::fd::AsRawFd;
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
        };
        let mut image = command.image()?;
        image.push_env(ticket.variable());
        let child = Child::spawn(&image, &[heap_fd, peer.as_fd()])
            .map_err(|source| HandOverError::Start { program: command.program().to_owned(), source })?;
        Ok(Self { child, socket, heap, is_left_alone: false })
    }

    fn send(&self, message: Message, step: Step) -> Result<(), HandOverError> {
        match message.send(self.socket.as_fd(), self.heap) {
            Ok(()) => Ok(()),
            // It is gone, or it refuses: its last message says more than the broken pipe.
            Err(_) => Err(self.expect(step, LAST_WORDS).err().unwrap_or_else(|| HandOverError::Protocol {
                step,
                what: "an answer before the question".to_owned(),
            })),
        }
    }

    /// Waits for the one message that belongs to `step`. Any other one is an error, so a peer that floods
    /// the connection is heard once.
    fn expect(&self, step: Step, timeout: Duration) -> Result<(), HandOverError> {
        let began = Instant::now();
        let deadline = began + timeout;
        // The start of a program takes too long to stay awake for.
        while step == Step::Acknowledge && began.elapsed() < LOOK_AGAIN {
            match self.received(step)? {
                Some(answer) => return answer,
                None => std::thread::yield_now(),
            }
        }
        loop {
            let ready = sys::wait_readable(&[self.socket.as_fd(), self.child.as_fd()], Some(deadline))
                .map_err(|source| HandOverError::System { step: "wait for the successor", source })?;
            // What it said first, then whether it is still there: it may have refused, and ended.
            match self.received(step)? {
                Some(answer) => return answer,
                None if ready[1] => {
                    // Between the two looks it may have sent something and ended.
                    return self
                        .received(step)?
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
    fn received(&self, step: Step) -> Result<Option<Result<(), HandOverError>>, HandOverError> {
        let received = Message::receive(self.socket.as_fd(), self.heap)
            .map_err(|source| HandOverError::System { step: "hear the successor", source })?;
        let broken = |what: String| Some(Err(HandOverError::Protocol { step, what }));
        Ok(match received {
            Received::Nothing => None,
            Received::Message(Message::Ready) if step == Step::Ready => Some(Ok(())),
            Received::Message(Message::Acknowledge) if step == Step::Acknowledge => Some(Ok(())),
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
        Handed {
            #[cfg(test)]
            pid: self.child.pid(),
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.is_left_alone {
            self.child.kill();
            self.child.reap();
        }
    }
}
