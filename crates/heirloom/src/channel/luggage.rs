//! Descriptors that travel with the heap: listening sockets, connections, files.
//!
//! ```text
//! beside each other     LUGGAGE n names + n descriptors ->     at most 253 a message, each answered by TAKEN before
//!                                           <- TAKEN n         the next: few are under way at a time
//! in place (exec)       a list in a memfd: number, name; the numbers stay open across the exec
//! ```
//!
//! All of it is packed and taken before the freeze, so that what can be wrong with it (too many, a name twice) calls the
//! hand-over off while the door is still open. The predecessor's descriptors are copies of the program's own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::{fmt, io};

use heirloom_abi::le::{get_u32, put_u32};

use crate::sys;

/// The longest name of a descriptor.
pub(super) const NAME_MAX: usize = 255;

/// Descriptors with their names, as a program packs them for its successor: see [`crate::HandOver::at_rest`].
#[derive(Default)]
pub struct Luggage {
    items: Vec<(String, OwnedFd)>,
    names: std::collections::HashSet<String>,
}

/// Why a descriptor was not packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LuggageError {
    /// A name is 1 to 255 bytes long.
    #[error("a descriptor's name has {len} bytes, and 1 to {NAME_MAX} are allowed")]
    Name {
        /// Its length in bytes.
        len: usize,
    },
    /// Two descriptors of one name.
    #[error("there is a descriptor named {name:?} already")]
    Twice {
        /// The name.
        name: String,
    },
    /// The process may not have so many open: each packed descriptor is one more until the hand-over ends.
    #[error(
        "{packed} descriptors are packed, and this process may have {limit} open in all: raise RLIMIT_NOFILE"
    )]
    TooMany {
        /// How many were packed before this one.
        packed: usize,
        /// The limit.
        limit: u64,
    },
    /// The system refused the copy.
    #[error("the descriptor cannot be copied: {0}")]
    System(#[from] io::Error),
}

impl Luggage {
    /// Packs a copy of a descriptor under a name by which the successor asks for it. The original stays the caller's.
    ///
    /// # Errors
    ///
    /// [`LuggageError`]; what was packed before stays packed.
    pub fn add(&mut self, name: &str, fd: impl AsFd) -> Result<(), LuggageError> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(LuggageError::Name { len: name.len() });
        }
        if self.names.contains(name) {
            return Err(LuggageError::Twice { name: name.to_owned() });
        }
        let fd = sys::duplicate(fd.as_fd()).map_err(|error| match error.raw_os_error() {
            Some(libc::EMFILE) => {
                LuggageError::TooMany { packed: self.items.len(), limit: sys::descriptor_limit(None) }
            }
            _ => error.into(),
        })?;
        self.names.insert(name.to_owned());
        self.items.push((name.to_owned(), fd));
        Ok(())
    }

    /// How many descriptors are packed.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True where none is packed.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn items(&self) -> &[(String, OwnedFd)] {
        &self.items
    }

    /// Writes names and numbers into a memfd, for a successor in place; `None` where nothing is packed.
    pub(super) fn write_list(&self) -> io::Result<Option<OwnedFd>> {
        use std::os::fd::AsRawFd;
        if self.items.is_empty() {
            return Ok(None);
        }
        let mut list = Vec::new();
        for (name, fd) in &self.items {
            let mut number = [0; 4];
            put_u32(&mut number, 0, fd.as_raw_fd().cast_unsigned()).expect("four bytes");
            list.extend_from_slice(&number);
            list.push(name.len() as u8);
            list.extend_from_slice(name.as_bytes());
        }
        let file = sys::memfd_create("heirloom:luggage")?;
        sys::write_start(file.as_fd(), &list)?;
        Ok(Some(file))
    }
}

impl fmt::Debug for Luggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.items.iter().map(|(name, _)| name)).finish()
    }
}

/// Reads a list that [`Luggage::write_list`] wrote; `None` where it is not as that writes it.
pub(super) fn read_list(file: BorrowedFd<'_>) -> Option<Vec<(String, RawFd)>> {
    /// Of the largest luggage there can be: a name and a number for each descriptor of a process.
    const MOST_BYTES: u64 = 1 << 28;
    let len = sys::file_facts(file).ok()?.len;
    let mut list = vec![0; usize::try_from(len).ok().filter(|_| len <= MOST_BYTES)?];
    if sys::read_start(file, &mut list).ok()? != list.len() {
        return None;
    }
    let (mut rest, mut found) = (&list[..], Vec::new());
    let mut seen = std::collections::HashSet::new();
    while !rest.is_empty() {
        let number = RawFd::try_from(get_u32(rest, 0)?).ok()?;
        let len = usize::from(*rest.get(4)?);
        let name = str::from_utf8(rest.get(5..5 + len)?).ok()?;
        if name.is_empty() || number <= 2 || !seen.insert(number) {
            return None;
        }
        found.push((name.to_owned(), number));
        rest = &rest[5 + len..];
    }
    has_no_name_twice(found.iter().map(|(name, _)| name.as_str())).then_some(found)
}

pub(super) fn has_no_name_twice<'a>(names: impl Iterator<Item = &'a str>) -> bool {
    let mut seen = std::collections::HashSet::new();
    names.into_iter().all(|name| seen.insert(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null() -> std::fs::File {
        std::fs::File::open("/dev/null").unwrap()
    }

    #[test]
    fn names_are_short_and_single() {
        let mut luggage = Luggage::default();
        luggage.add("a", null()).unwrap();
        assert!(matches!(luggage.add("a", null()), Err(LuggageError::Twice { .. })));
        assert!(matches!(luggage.add("", null()), Err(LuggageError::Name { len: 0 })));
        assert!(matches!(luggage.add(&"x".repeat(256), null()), Err(LuggageError::Name { len: 256 })));
        luggage.add(&"x".repeat(255), null()).unwrap();
        assert_eq!(luggage.len(), 2);
    }

    #[test]
    fn a_list_is_read_back_and_no_other_one() {
        use std::os::fd::AsRawFd;
        let mut luggage = Luggage::default();
        assert!(luggage.write_list().unwrap().is_none());
        luggage.add("listener", null()).unwrap();
        luggage.add("client ä", null()).unwrap();
        let list = luggage.write_list().unwrap().unwrap();
        let expected: Vec<_> =
            luggage.items.iter().map(|(name, fd)| (name.clone(), fd.as_raw_fd())).collect();
        assert_eq!(read_list(list.as_fd()), Some(expected));
        let len = sys::file_facts(list.as_fd()).unwrap().len;
        for cut in 1..len {
            sys::set_len(list.as_fd(), len - cut).unwrap();
            // Cut between two entries it is a shorter list.
            let found = read_list(list.as_fd());
            assert!(found.is_none_or(|found| found.len() == 1), "{cut} bytes less");
        }
        for wrong in [&[1u8, 0, 0, 0, 1, b'a'][..], &[9, 0, 0, 0, 0], &[9, 0, 0, 0, 1, 0xff], &[255; 9]] {
            let file = sys::memfd_create("wrong").unwrap();
            sys::write_start(file.as_fd(), wrong).unwrap();
            assert_eq!(read_list(file.as_fd()), None, "{wrong:?}");
        }
    }
}
