//! What a successor finds in its environment: which heap comes, on which descriptors, from whom.
//!
//! ```text
//! HEIRLOOM_HANDOVER=1:<channel>:<from>:<heap fd>:<peer fd>:<helper>:<heap id>
//! HEIRLOOM_HANDOVER=2:   the same, and                                       :<luggage fd>
//! ```
//!
//! `peer` is the connection to a predecessor that waits, or the pipe that lets the memory holder go, or -1. The
//! process `from` is the successor's parent (spawn) or the successor itself (exec): programs further down, which
//! merely inherit the variable, know by it that the ticket is not theirs. `luggage` is the list of the descriptors that
//! come along in place; a ticket without them is of version 1, which every version reads.

use std::ffi::CString;
use std::os::fd::RawFd;

use super::message::HeapId;
use super::{Channel, IncomingError};

pub(super) const VARIABLE: &str = "HEIRLOOM_HANDOVER";
/// Without and with luggage.
const VERSIONS: [&str; 2] = ["1", "2"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) channel: Channel,
    pub(super) from: u32,
    pub(super) heap_fd: RawFd,
    pub(super) peer_fd: RawFd,
    /// The memory holder's process id, or 0.
    pub(super) helper: u32,
    pub(super) heap: HeapId,
    /// The list of descriptors that come along, or -1.
    pub(super) luggage_fd: RawFd,
}

impl Ticket {
    /// The variable with its name.
    pub(super) fn variable(&self) -> CString {
        CString::new(format!("{VARIABLE}={}", self.value())).expect("digits and colons")
    }

    fn value(&self) -> String {
        let Self { from, heap_fd, peer_fd, helper, luggage_fd, .. } = self;
        let channel = self.channel.number();
        let heap: String = self.heap.iter().map(|byte| format!("{byte:02x}")).collect();
        let (version, luggage) = if *luggage_fd < 0 {
            (VERSIONS[0], String::new())
        } else {
            (VERSIONS[1], format!(":{luggage_fd}"))
        };
        format!("{version}:{channel}:{from}:{heap_fd}:{peer_fd}:{helper}:{heap}{luggage}")
    }

    pub(super) fn parse(value: &str) -> Result<Self, IncomingError> {
        let refuse = |what| IncomingError::Ticket { what };
        let mut fields = value.split(':');
        let version = fields.next().and_then(|found| VERSIONS.iter().position(|version| *version == found));
        let has_luggage = version.ok_or(refuse("its version"))? == 1;
        let mut field = |what| fields.next().ok_or(refuse(what)).map(|text| (text, refuse(what)));
        let (channel, error) = field("its channel")?;
        let channel = channel.parse().ok().and_then(Channel::from_number);
        let channel =
            channel.filter(|channel| matches!(channel, Channel::Spawn | Channel::Exec)).ok_or(error)?;
        let (from, error) = field("the predecessor's process id")?;
        let from = from.parse().map_err(|_| error)?;
        let (heap_fd, error) = field("the heap's descriptor")?;
        let heap_fd = heap_fd.parse().map_err(|_| error)?;
        let (peer_fd, error) = field("the connection's descriptor")?;
        let peer_fd = peer_fd.parse().map_err(|_| error)?;
        let (helper, error) = field("the helper's process id")?;
        let helper = helper.parse().map_err(|_| error)?;
        let (heap, error) = field("the heap's id")?;
        let heap = parse_id(heap).ok_or(error)?;
        let luggage_fd = if has_luggage {
            let (luggage_fd, error) = field("the luggage's descriptor")?;
            luggage_fd.parse().map_err(|_| error)?
        } else {
            -1
        };
        if fields.next().is_some() {
            return Err(refuse("its length"));
        }
        if heap_fd == peer_fd || has_luggage && [heap_fd, peer_fd].contains(&luggage_fd) {
            return Err(refuse("its descriptors"));
        }
        Ok(Self { channel, from, heap_fd, peer_fd, helper, heap, luggage_fd })
    }
}

pub(super) fn parse_id(digits: &str) -> Option<HeapId> {
    let mut id = HeapId::default();
    if digits.len() != 2 * id.len() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (nth, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * nth..2 * nth + 2], 16).ok()?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKET: Ticket = Ticket {
        channel: Channel::Exec,
        from: 4711,
        heap_fd: 5,
        peer_fd: -1,
        helper: 0,
        heap: *b"0123456789abcde\xff",
        luggage_fd: -1,
    };

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(TICKET.value(), "1:2:4711:5:-1:0:303132333435363738396162636465ff");
        assert_eq!(Ticket::parse(&TICKET.value()).unwrap(), TICKET);
        let with_luggage = Ticket { luggage_fd: 9, ..TICKET };
        assert_eq!(with_luggage.value(), "2:2:4711:5:-1:0:303132333435363738396162636465ff:9");
        assert_eq!(Ticket::parse(&with_luggage.value()).unwrap(), with_luggage);
    }

    #[test]
    fn anything_else_is_refused() {
        let value = TICKET.value();
        for end in 0..value.len() {
            assert!(Ticket::parse(&value[..end]).is_err(), "{}", &value[..end]);
        }
        for other in
            ["3:2:1:5:6:0:", "2:2:1:5:6:0:", "1:3:1:5:6:0:", "1:1:x:5:6:0:", "1:1:1:5:5:0:", "1:1:1:5:6:-1:"]
        {
            let other = format!("{other}{}", &value[value.len() - 32..]);
            assert!(Ticket::parse(&other).is_err(), "{other}");
        }
        assert!(Ticket::parse(&format!("{value}:")).is_err());
        assert!(Ticket::parse(&value.replace("ff", "fé")).is_err());
    }
}
