//! One client: its socket, what it has sent in part, what it has not fetched.
//!
//! ```text
//! read into the thread's buffer --> execute every whole request, replies into the thread's buffer --> write once
//!        '-- what is left of a request: kept                     '-- what the socket does not take: kept
//! ```
//!
//! A client that sends little and fetches all has no buffer of its own. One that does not fetch is not read from, and what it has
//! asked for is not executed before it does.
//!
//! # Invariants
//!
//! - *bounded*: buffers of all clients together hold at most what the settings allow and a request and a reply of each thread.
//! - *entered once*: a batch is executed within one stay in the heap, and no wait happens inside.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use crate::command::{Context, registry};
use crate::protocol::reply::Reply;
use crate::protocol::request::Parser;
use crate::server::{Server, now_ms};
use crate::session::{Card, Session};

/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;

/// Replies that wait to be written, from which on nothing more is executed.
const HIGH_WATER: usize = 256 << 10;

/// What a buffer may keep while nothing is in it.
const KEEP_BYTES: usize = 16 << 10;

/// Rounds of reading, executing and writing before other clients have a turn.
const ROUNDS: usize = 8;

thread_local! {
    /// Input and output of the client that has its turn.
    static BUFFERS: RefCell<(Vec<u8>, Vec<u8>)> =
        RefCell::new((vec![0; READ_BYTES], Vec::with_capacity(HIGH_WATER)));
}

/// A client.
pub(crate) struct Connection {
    pub(crate) card: Arc<Card>,
    state: Mutex<State>,
    stream: Mutex<TcpStream>,
}

/// What a client's next bytes depend on.
pub(crate) struct State {
    pub(crate) session: Session,
    parser: Parser,
    /// From the start of the first request that has not been executed.
    pub(crate) input: Vec<u8>,
    /// What the socket has not taken yet, from `sent` on.
    pub(crate) output: Vec<u8>,
    sent: usize,
    /// The input may hold a whole request.
    has_more: bool,
    /// Bytes of it that are counted among those of all clients.
    counted: usize,
}

/// What a step came to.
enum Step {
    Again,
    Wait,
    End,
}

impl State {
    pub(crate) fn new(session: Session) -> Self {
        let (input, output) = (Vec::new(), Vec::new());
        Self::with_buffers(session, input, output)
    }

    pub(crate) fn with_buffers(session: Session, input: Vec<u8>, output: Vec<u8>) -> Self {
        let has_more = !input.is_empty();
        Self { session, parser: Parser::default(), input, output, sent: 0, has_more, counted: 0 }
    }

    /// What the client has yet to be sent.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.output[self.sent..]
    }
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, state: State) -> Self {
        Self { card: state.session.card.clone(), state: Mutex::new(state), stream: Mutex::new(stream) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stream(&self) -> MutexGuard<'_, TcpStream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the client's turn, if it has one, is over.
    pub(crate) fn settle(&self) {
        drop(self.state());
    }

    /// Ends the client at its next step, which comes at once.
    pub(crate) fn kill(&self) {
        self.card.is_killed.store(true, Relaxed);
        // The task waits for the socket, and wakes when that has ended. The lock is held for single system calls.
        let _is_closed = socket2::SockRef::from(&*self.stream()).shutdown(std::net::Shutdown::Both);
    }

    /// Takes what the client held out of the sums.
    pub(crate) fn note_end(&self, server: &Server) {
        let state = self.state();
        server.counters.buffered.fetch_sub(state.counted, Relaxed);
    }

    /// Serves the client until it ends.
    pub(crate) fn poll(&self, server: &Server, context: &mut TaskContext<'_>) -> Poll<()> {
        let mut state = self.state();
        // Under the lock: from here on a hand-over waits for the end of the turn.
        if server.is_resting() && server.sleep(context.waker()) {
            return Poll::Pending;
        }
        BUFFERS.with_borrow_mut(|(input, output)| {
            for _ in 0..ROUNDS {
                let step = self.step(server, &mut state, input, output, context);
                let is_within = state.account(server);
                if self.card.is_killed.load(Relaxed) {
                    return Poll::Ready(());
                }
                if !is_within {
                    server.counters.evicted_clients.fetch_add(1, Relaxed);
                    return Poll::Ready(());
                }
                match step {
                    Step::Again => {}
                    Step::Wait => return Poll::Pending,
                    Step::End => return Poll::Ready(()),
                }
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    fn step(
        &self,
        server: &Server,
        state: &mut State,
        scratch: &mut [u8],
        replies: &mut Vec<u8>,
        context: &mut TaskContext<'_>,
    ) -> Step {
        match self.flush(state, context) {
            Poll::Pending => return Step::Wait,
            Poll::Ready(Err(_)) => return Step::End,
            Poll::Ready(Ok(())) => {}
        }
        if state.session.is_closing {
            return Step::End;
        }
        replies.clear();
        if state.has_more {
            state.execute_kept(server, replies);
        } else {
            match self.read(state, scratch, context) {
                Poll::Pending => return Step::Wait,
                Poll::Ready(Err(_) | Ok(None)) => return Step::End,
                Poll::Ready(Ok(Some(0))) => state.execute_kept(server, replies),
                Poll::Ready(Ok(Some(len))) => {
                    let used = state.execute(server, &scratch[..len], replies);
                    if used < len {
                        state.input.extend_from_slice(&scratch[used..len]);
                    }
                }
            }
        }
        self.send(state, replies, context)
    }

    /// Writes what was kept.
    fn flush(&self, state: &mut State, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        while !state.unsent().is_empty() {
            let mut stream = self.stream();
            let written = ready!(Pin::new(&mut *stream).poll_write(context, &state.output[state.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            state.sent += written;
        }
        state.sent = 0;
        state.output.clear();
        if state.output.capacity() > KEEP_BYTES {
            state.output = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads into the thread's buffer, or behind what was kept and then says 0; `None` at the end.
    fn read(
        &self,
        state: &mut State,
        scratch: &mut [u8],
        context: &mut TaskContext<'_>,
    ) -> Poll<io::Result<Option<usize>>> {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(&mut *self.stream()).poll_read(context, &mut buffer))?;
        let read = buffer.filled();
        if read.is_empty() {
            return Poll::Ready(Ok(None));
        }
        if state.input.is_empty() {
            return Poll::Ready(Ok(Some(read.len())));
        }
        // Room for a long argument comes with its bytes, and not in advance.
        state.input.extend_from_slice(read);
        Poll::Ready(Ok(Some(0)))
    }

    /// Writes replies, and keeps what the socket does not take.
    fn send(&self, state: &mut State, replies: &[u8], context: &mut TaskContext<'_>) -> Step {
        let mut sent = 0;
        while sent < replies.len() {
            match Pin::new(&mut *self.stream()).poll_write(context, &replies[sent..]) {
                Poll::Ready(Ok(written)) if written > 0 => sent += written,
                Poll::Ready(_) => return Step::End,
                Poll::Pending => {
                    state.output.extend_from_slice(&replies[sent..]);
                    return Step::Wait;
                }
            }
        }
        if state.session.is_closing { Step::End } else { Step::Again }
    }
}

impl State {
    /// Executes requests of the kept input.
    fn execute_kept(&mut self, server: &Server, replies: &mut Vec<u8>) {
        let mut input = std::mem::take(&mut self.input);
        let used = self.execute(server, &input, replies);
        if used == input.len() {
            input.clear();
            if input.capacity() > KEEP_BYTES {
                input = Vec::new();
            }
        } else if used > 0 {
            input.drain(..used);
        }
        self.input = input;
    }

    /// Executes the whole requests at the front of `bytes`. Returns their length.
    fn execute(&mut self, server: &Server, bytes: &[u8], replies: &mut Vec<u8>) -> usize {
        let now = now_ms();
        self.session.card.active_ms.store(now, Relaxed);
        self.has_more = false;
        let inside = server.heap.enter();
        let (mut used, mut nr_commands) = (0, 0);
        while used < bytes.len() {
            if replies.len() >= HIGH_WATER {
                self.has_more = true;
                break;
            }
            let limits = server.limits(self.session.is_stranger);
            match self.parser.parse(&bytes[used..], &limits) {
                Ok(None) => break,
                Ok(Some(len)) => {
                    let arguments = self.parser.arguments(&bytes[used..]);
                    if !arguments.is_empty() {
                        let is_resp3 = self.session.is_resp3;
                        let reply = Reply { out: replies, is_resp3 };
                        let session = &mut self.session;
                        let mut context = Context { server, inside: &inside, session, reply, now };
                        registry::execute(&mut context, &arguments);
                        nr_commands += 1;
                    }
                    used += len;
                    self.parser.shrink();
                    if self.session.is_closing {
                        used = bytes.len();
                    }
                }
                Err(error) => {
                    server.counters.note_error();
                    Reply { out: replies, is_resp3: self.session.is_resp3 }.error(&format!("ERR {error}"));
                    self.session.is_closing = true;
                    used = bytes.len();
                }
            }
        }
        drop(inside);
        server.counters.commands.fetch_add(nr_commands, Relaxed);
        used
    }

    /// Counts the buffers among those of all clients. False where they are too much together.
    fn account(&mut self, server: &Server) -> bool {
        let own = self.input.capacity() + self.output.capacity() + self.parser.memory();
        let buffered = &server.counters.buffered;
        let before = match own.checked_sub(self.counted) {
            Some(0) => return true,
            Some(more) => buffered.fetch_add(more, Relaxed) + more,
            None => buffered.fetch_sub(self.counted - own, Relaxed),
        };
        let has_grown = own > self.counted;
        self.counted = own;
        // Whoever makes it too much goes, unless it has next to nothing itself.
        !has_grown || own <= KEEP_BYTES || before as u64 <= server.config.client_memory
    }
}
