//! The messages of a hand-over between two processes.
//!
//! ```text
//!  0  magic        4   "HLHO"
//!  4  version      2   of this protocol
//!  6  kind         2   1 ready, 2 frozen, 3 acknowledge, 4 refuse, 5 luggage, 6 taken, 7 ask, 8 offer, 9 let go, 10 set aside
//!  8  length       4   of the whole message
//! 12  zero         4
//! 16  heap id     16
//! 32  text             refuse: why; ask: the heap's name; luggage: a name for each descriptor, a byte of length before
//!                      it; taken: how many, 4 bytes; empty otherwise
//! ```
//!
//! Descriptors come with luggage, one a name, and with an offer: the heap's, opened anew. To an asker, frozen brings the owner's own
//! descriptor of it, and its lock. An asker does not know the heap's id: it is zero.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::{fmt, io};

use heirloom_abi::le::{get_array, get_u16, get_u32, put_array, put_u16, put_u32};

use super::luggage::{NAME_MAX, has_no_name_twice};
use crate::sys::{self, MOST_DESCRIPTORS};

const MAGIC: [u8; 4] = *b"HLHO";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 32;
const TEXT_MAX: usize = 480;
/// Of a message with as many names as there can be descriptors.
const LONG_MAX: usize = MOST_DESCRIPTORS * (1 + NAME_MAX);

pub(super) type HeapId = [u8; 16];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Ready,
    Frozen,
    Acknowledge,
    Refuse(String),
    /// Descriptors of these names.
    Luggage(Vec<String>),
    /// So many descriptors were taken, all in all.
    Taken(u32),
    /// A successor that runs already asks for the heap of this name.
    Ask(String),
    /// The heap, for a successor that asked: a descriptor that locks nothing.
    Offer,
    /// To a keeper: the heap was closed in order.
    LetGo,
    /// To a keeper: the heap is not to be found under its name any more.
    SetAside,
}

/// Room for the longest message, made before anybody waits for one.
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    pub(super) fn new() -> Self {
        Self(vec![0; HEAD_BYTES + LONG_MAX])
    }
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
    Text,
    Descriptors(usize),
    NoRoom,
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
            Self::Text => f.write_str("a message with a text that has no meaning"),
            Self::Descriptors(nr) => write!(f, "a message with {nr} descriptors"),
            Self::NoRoom => f.write_str("descriptors for which there is no room: raise RLIMIT_NOFILE"),
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

    /// Sends a message that goes with descriptors.
    pub(super) fn send_with(
        &self,
        socket: BorrowedFd<'_>,
        heap: HeapId,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        sys::send_with(socket, &self.encode(heap), fds)
    }

    /// As [`Message::receive`], of any length and with descriptors.
    ///
    /// Without `heap` the id is the sender's to say: it comes back as the second value.
    pub(super) fn receive_with(
        socket: BorrowedFd<'_>,
        heap: Option<HeapId>,
        buffer: &mut Buffer,
    ) -> io::Result<(Received, HeapId, Vec<OwnedFd>)> {
        let buffer = &mut buffer.0;
        let Some(arrived) = sys::receive_with(socket, buffer)? else {
            return Ok((Received::Nothing, HeapId::default(), Vec::new()));
        };
        let foreign = |foreign| Ok((Received::Foreign(foreign), HeapId::default(), Vec::new()));
        if arrived.len == 0 {
            return Ok((Received::Closed, HeapId::default(), Vec::new()));
        }
        if arrived.has_lost_fds {
            return foreign(Foreign::NoRoom);
        }
        let Some(bytes) = buffer.get(..arrived.len) else { return foreign(Foreign::Length(arrived.len)) };
        let said = get_array(bytes, 16).unwrap_or_default();
        match Self::decode(bytes, heap.unwrap_or(said)) {
            Ok(message) if message.may_bring(arrived.fds.len()) => {
                Ok((Received::Message(message), said, arrived.fds))
            }
            Ok(_) => foreign(Foreign::Descriptors(arrived.fds.len())),
            Err(error) => foreign(error),
        }
    }

    fn may_bring(&self, nr_descriptors: usize) -> bool {
        match self {
            Self::Luggage(names) => nr_descriptors == names.len(),
            Self::Offer => nr_descriptors == 1,
            // A child has inherited it.
            Self::Frozen => nr_descriptors <= 1,
            _ => nr_descriptors == 0,
        }
    }

    const fn kind(&self) -> u16 {
        match self {
            Self::Ready => 1,
            Self::Frozen => 2,
            Self::Acknowledge => 3,
            Self::Refuse(_) => 4,
            Self::Luggage(_) => 5,
            Self::Taken(_) => 6,
            Self::Ask(_) => 7,
            Self::Offer => 8,
            Self::LetGo => 9,
            Self::SetAside => 10,
        }
    }

    fn encode(&self, heap: HeapId) -> Vec<u8> {
        let mut bytes = vec![0; HEAD_BYTES];
        match self {
            Self::Refuse(text) | Self::Ask(text) => bytes.extend_from_slice(shorten(text).as_bytes()),
            Self::Luggage(names) => {
                for name in names {
                    bytes.push(name.len() as u8);
                    bytes.extend_from_slice(name.as_bytes());
                }
            }
            Self::Taken(nr) => bytes.extend_from_slice(&nr.to_le_bytes()),
            Self::Ready | Self::Frozen | Self::Acknowledge | Self::Offer | Self::LetGo | Self::SetAside => {}
        }
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
            4 => Self::Refuse(printable(text.get(..TEXT_MAX).unwrap_or(text))),
            5 => Self::Luggage(names(text).ok_or(Foreign::Text)?),
            6 if text.len() == 4 => Self::Taken(get_u32(text, 0).ok_or(length)?),
            7 if text.len() <= NAME_MAX => Self::Ask(printable(text)),
            8 => Self::Offer,
            9 => Self::LetGo,
            10 => Self::SetAside,
            kind => return Err(Foreign::Kind(kind)),
        };
        let has_text = matches!(message, Self::Refuse(_) | Self::Luggage(_) | Self::Taken(_) | Self::Ask(_));
        if !text.is_empty() && !has_text {
            return Err(length);
        }
        Ok(message)
    }
}

/// It goes to logs and terminals: what is not printable is not repeated.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Names with their lengths before them, none of them twice.
fn names(mut text: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    while let Some((&len, rest)) = text.split_first() {
        let name = str::from_utf8(rest.get(..usize::from(len))?).ok().filter(|name| !name.is_empty())?;
        names.push(name.to_owned());
        text = &rest[usize::from(len)..];
    }
    (names.len() <= MOST_DESCRIPTORS && has_no_name_twice(names.iter().map(String::as_str))).then_some(names)
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
        let messages = [
            Message::Ready,
            Message::Frozen,
            Message::Acknowledge,
            Message::Refuse("no".into()),
            Message::Taken(70_000),
            Message::Ask("sessions".into()),
        ];
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
    fn descriptors_come_with_their_names_or_not_at_all() {
        let (here, there) = sys::message_pair().unwrap();
        let names: Vec<_> = (0..MOST_DESCRIPTORS).map(|nr| format!("{nr:-<255}")).collect();
        let fds = vec![here.as_fd(); MOST_DESCRIPTORS];
        let luggage = Message::Luggage(names);
        luggage.send_with(here.as_fd(), HEAP, &fds).unwrap();
        let (received, said, arrived) =
            Message::receive_with(there.as_fd(), Some(HEAP), &mut Buffer::new()).unwrap();
        assert_eq!((received, said, arrived.len()), (Received::Message(luggage), HEAP, MOST_DESCRIPTORS));
        // Fewer, more, or where none belongs.
        let one = || Message::Luggage(vec!["a".into()]);
        for (message, nr) in [(one(), 0), (one(), 2), (Message::Ready, 1), (Message::Offer, 0)] {
            message.send_with(here.as_fd(), HEAP, &fds[..nr]).unwrap();
            let (received, _, arrived) =
                Message::receive_with(there.as_fd(), Some(HEAP), &mut Buffer::new()).unwrap();
            assert_eq!(received, Received::Foreign(Foreign::Descriptors(nr)), "{message:?}");
            assert!(arrived.is_empty());
        }
        let twice = Message::Luggage(vec!["a".into(), "a".into()]);
        assert_eq!(Message::decode(&twice.encode(HEAP), HEAP), Err(Foreign::Text));
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
