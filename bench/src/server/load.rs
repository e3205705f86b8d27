//! A load generator: connections that send batches and count replies, dealt to threads that wait for all of theirs at once.
//!
//! It knows how long each reply is, so it looks at none of them: what is measured is the server. (The upgrades look at every byte.)

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::peers::Peer;

/// Bytes of keys and of values.
pub(super) const KEY_BYTES: usize = 16;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Get,
    Set,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Set => "SET",
        }
    }
}

/// A load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) peer: Peer,
    pub(super) port: u16,
    pub(super) operation: Operation,
    /// Requests that are sent before a reply is waited for.
    pub(super) pipeline: usize,
    pub(super) clients: usize,
    pub(super) keys: u64,
    pub(super) value_bytes: usize,
}

/// SplitMix64.
pub(super) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Writes a request.
pub(super) fn request(peer: Peer, operation: Operation, number: u64, value: &[u8], to: &mut Vec<u8>) {
    let len = value.len();
    // Into memory, which takes all.
    let _ = match (peer, operation) {
        (Peer::Memcached, Operation::Get) => write!(to, "get key:{number:012}\r\n"),
        (Peer::Memcached, Operation::Set) => write!(to, "set key:{number:012} 0 0 {len}\r\n"),
        (_, Operation::Get) => write!(to, "*2\r\n$3\r\nGET\r\n$16\r\nkey:{number:012}\r\n"),
        (_, Operation::Set) => write!(to, "*3\r\n$3\r\nSET\r\n$16\r\nkey:{number:012}\r\n${len}\r\n"),
    };
    if operation == Operation::Set {
        to.extend_from_slice(value);
        to.extend_from_slice(b"\r\n");
    }
}

/// Bytes of the reply to a request for a key that is there.
fn reply_bytes(peer: Peer, operation: Operation, value_bytes: usize) -> usize {
    let digits = value_bytes.to_string().len();
    match (peer, operation) {
        (Peer::Memcached, Operation::Get) => {
            "VALUE ".len() + KEY_BYTES + " 0 ".len() + digits + 2 + value_bytes + 2 + "END\r\n".len()
        }
        (Peer::Memcached, Operation::Set) => "STORED\r\n".len(),
        (_, Operation::Get) => 1 + digits + 2 + value_bytes + 2,
        (_, Operation::Set) => "+OK\r\n".len(),
    }
}

/// Stores all keys.
pub(super) fn fill(peer: Peer, port: u16, keys: u64, value_bytes: usize) -> Result<(), String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    let (value, mut bytes, mut replies) = (vec![b'v'; value_bytes], Vec::new(), Vec::new());
    for start in (0..keys).step_by(500) {
        let batch = start..(start + 500).min(keys);
        bytes.clear();
        let expected = (batch.end - batch.start) as usize * reply_bytes(peer, Operation::Set, value_bytes);
        batch.for_each(|number| request(peer, Operation::Set, number, &value, &mut bytes));
        stream.write_all(&bytes).map_err(|error| error.to_string())?;
        replies.resize(expected, 0);
        stream.read_exact(&mut replies).map_err(|error| format!("a key was not stored: {error}"))?;
        if !replies.starts_with(b"+OK\r\n") && !replies.starts_with(b"STORED\r\n") {
            return Err(format!("`{}`", String::from_utf8_lossy(&replies[..replies.len().min(60)])));
        }
    }
    Ok(())
}

struct Client {
    stream: TcpStream,
    left: usize,
}

impl Load {
    /// Requests a second over the time.
    pub(super) fn run(self, time: Duration) -> Result<f64, String> {
        let mut clients = (0..self.clients).map(|_| self.connect()).collect::<io::Result<Vec<_>>>();
        let clients = clients.as_mut().map_err(|error| error.to_string())?;
        let value = vec![b'v'; self.value_bytes];
        let reply = reply_bytes(self.peer, self.operation, self.value_bytes) * self.pipeline;
        let (mut bytes, mut seen) = (Vec::new(), vec![0; 256 << 10]);
        let (mut done, mut number) = (0_u64, 0_u64);
        let mut send = |client: &mut Client| -> io::Result<()> {
            bytes.clear();
            for _ in 0..self.pipeline {
                number += 1;
                request(self.peer, self.operation, mix(number) % self.keys, &value, &mut bytes);
            }
            client.left = reply;
            client.stream.write_all(&bytes)
        };
        let failed = |error: io::Error| format!("{}: {error}", self.peer.name());
        clients.iter_mut().try_for_each(&mut send).map_err(failed)?;
        let began = Instant::now();
        while began.elapsed() < time {
            let mut ready: Vec<_> =
                clients.iter().map(|client| PollFd::new(&client.stream, PollFlags::IN)).collect();
            poll(&mut ready, None).map_err(|error| error.to_string())?;
            let ready: Vec<bool> = ready.iter().map(|fd| !fd.revents().is_empty()).collect();
            for (client, _) in clients.iter_mut().zip(&ready).filter(|(_, ready)| **ready) {
                let read = client.stream.read(&mut seen).map_err(failed)?;
                if read == 0 || read > client.left || seen[0] == b'-' {
                    return Err(format!("{}: a reply that is none", self.peer.name()));
                }
                client.left -= read;
                if client.left == 0 {
                    done += self.pipeline as u64;
                    send(client).map_err(failed)?;
                }
            }
        }
        Ok(done as f64 / began.elapsed().as_secs_f64())
    }

    fn connect(&self) -> io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, left: 0 })
    }
}
