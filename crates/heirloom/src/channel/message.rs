//! The four messages of a hand-over beside each other.
//!
//! ```text
//!  0  magic        4   "HLHO"
//!  4  version      2   of this protocol
//!  6  kind         2   1 ready, 2 frozen, 3 acknowledge, 4 refuse
//!  8  length       4   of the whole message
//! 12  zero         4
//! 16  heap id     16
//! 32  text             of a refusal: why; empty otherwise
//! ```

use std::os::fd::BorrowedFd;
use std::{fmt, io};

use heirloom_abi::le::{get_array, get_u16, get_u32, put_array, put_u16, put_u32};

use crate::sys;

const MAGIC: [u8; 4] = *b"HLHO";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 32;
const TEXT_MAX: usize = 480;

pub(super) type HeapId = [u8; 16];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Ready,
    Frozen,
    Acknowledge,
    Refuse(String),
}

/// What came out of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    Message(Message),
    /// Something that is no message of this hand-over.
    Foreign(Foreign),
    /// The other end is closed.
    Closed,
    /// Nothing, yet.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    Length(usize),
    Magic,
    Version(u16),
    Kind(u16),
    Heap,
    Zero,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(f, "a message of {length} bytes"),
            Self::Magic => f.write_str("a message without the magic number"),
            Self::Version(version) => write!(f, "a message of version {version}"),
            Self::Kind(kind) => write!(f, "a message of unknown kind {kind}"),
            Self::Heap => f.write_str("a message about another heap"),
            Self::Zero => f.write_str("a message with bytes that should be zero"),
        }
    }
}

impl Message {
    pub(super) fn send(&self, socket: BorrowedFd<'_>, heap: HeapId) -> io::Result<()> {
        sys::send(socket, &self.encode(heap))
    }

    /// Takes the next message without waiting for it.
    pub(super) fn receive(socket: BorrowedFd<'_>, heap: HeapId) -> io::Result<Received> {
        let mut buffer = [0; HEAD_BYTES + TEXT_MAX];
        Ok(match sys::receive(socket, &mut buffer)? {
            None => Received::Nothing,
            Some(0) => Received::Closed,
            Some(length) => match buffer.get(..length).ok_or(Foreign::Length(length)) {
                Ok(bytes) => Self::decode(bytes, heap).map_or_else(Received::Foreign, Received::Message),
                Err(foreign) => Received::Foreign(foreign),
            },
        })
    }

    const fn kind(&self) -> u16 {
        match self {
            Self::Ready => 1,
            Self::Frozen => 2,
            Self::Acknowledge => 3,
            Self::Refuse(_) => 4,
        }
    }

    fn encode(&self, heap: HeapId) -> Vec<u8> {
        let text = if let Self::Refuse(reason) = self { shorten(reason) } else { "" };
        let mut bytes = vec![0; HEAD_BYTES];
        bytes.extend_from_slice(text.as_bytes());
        let length = bytes.len() as u32;
        let put = put_array(&mut bytes, 0, MAGIC)
            .and_then(|()| put_u16(&mut bytes, 4, VERSION))
            .and_then(|()| put_u16(&mut bytes, 6, self.kind()))
            .and_then(|()| put_u32(&mut bytes, 8, length))
            .and_then(|()| put_array(&mut bytes, 16, heap));
        put.expect("the fields lie inside the head");
        bytes
    }

    fn decode(bytes: &[u8], heap: HeapId) -> Result<Self, Foreign> {
        let length = Foreign::Length(bytes.len());
        if get_array(bytes, 0).ok_or(length)? != MAGIC {
            return Err(Foreign::Magic);
        }
        match get_u16(bytes, 4).ok_or(length)? {
            VERSION => {}
            version => return Err(Foreign::Version(version)),
        }
        let text = bytes.get(HEAD_BYTES..).ok_or(length)?;
        if get_u32(bytes, 8).ok_or(length)? as usize != bytes.len() {
            return Err(length);
        }
        if get_u32(bytes, 12).ok_or(length)? != 0 {
            return Err(Foreign::Zero);
        }
        if get_array(bytes, 16).ok_or(length)? != heap {
            return Err(Foreign::Heap);
        }
        let message = match get_u16(bytes, 6).ok_or(length)? {
            1 => Self::Ready,
            2 => Self::Frozen,
            3 => Self::Acknowledge,
            // It goes to logs and terminals: what is not printable is not repeated.
            4 => Self::Refuse(
                String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
            ),
            kind => return Err(Foreign::Kind(kind)),
        };
        if !text.is_empty() && !matches!(message, Self::Refuse(_)) {
            return Err(length);
        }
        Ok(message)
    }
}

fn shorten(text: &str) -> &str {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use proptest::prelude::*;

    use super::*;

    const HEAP: HeapId = *b"0123456789abcdef";

    #[test]
    fn what_is_sent_is_received() {
        let (here, there) = sys::message_pair().unwrap();
        let messages = [Message::Ready, Message::Frozen, Message::Acknowledge, Message::Refuse("no".into())];
        for message in messages {
            message.send(here.as_fd(), HEAP).unwrap();
            assert_eq!(Message::receive(there.as_fd(), HEAP).unwrap(), Received::Message(message));
        }
        assert_eq!(Message::receive(there.as_fd(), HEAP).unwrap(), Received::Nothing);
        drop(here);
        assert_eq!(Message::receive(there.as_fd(), HEAP).unwrap(), Received::Closed);
    }

    #[test]
    fn a_long_refusal_is_cut_at_a_character() {
        let bytes = Message::Refuse("ä".repeat(1000)).encode(HEAP);
        assert_eq!(Message::decode(&bytes, HEAP), Ok(Message::Refuse("ä".repeat(240))));
        let bytes = Message::Refuse("\u{1b}[31mred".into()).encode(HEAP);
        assert_eq!(Message::decode(&bytes, HEAP), Ok(Message::Refuse(" [31mred".into())));
    }

    #[test]
    fn a_truncated_or_too_long_message_is_foreign() {
        let (here, there) = sys::message_pair().unwrap();
        let ready = Message::Ready.encode(HEAP);
        for length in 1..ready.len() {
            assert!(Message::decode(&ready[..length], HEAP).is_err(), "{length} bytes");
        }
        sys::send(here.as_fd(), &[7; 5000]).unwrap();
        let received = Message::receive(there.as_fd(), HEAP).unwrap();
        assert_eq!(received, Received::Foreign(Foreign::Length(5000)));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let ready = Message::Ready.encode(HEAP);
        for at in 0..ready.len() {
            let mut changed = ready.clone();
            changed[at] ^= 0x10;
            assert!(Message::decode(&changed, HEAP).is_err(), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Message::decode(&bytes, HEAP);
        }
    }
}
