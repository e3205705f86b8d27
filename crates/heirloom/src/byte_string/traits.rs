//! The traits of [`ByteString`]: it behaves like the slice of its bytes.

use std::borrow::{Borrow, BorrowMut};
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::{fmt, io, slice};

use super::ByteString;
use crate::or_panic;
use crate::vec::Vec;

impl Deref for ByteString {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl DerefMut for ByteString {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

impl AsRef<[u8]> for ByteString {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for ByteString {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Borrow<[u8]> for ByteString {
    #[inline]
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl BorrowMut<[u8]> for ByteString {
    fn borrow_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Default for ByteString {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for ByteString {
    #[inline]
    fn clone(&self) -> Self {
        or_panic(self.try_clone())
    }

    fn clone_from(&mut self, source: &Self) {
        self.clear();
        self.extend_from_slice(source);
    }
}

impl Hash for ByteString {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

/// Prints as a byte string literal, for most of them are text.
impl fmt::Debug for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

impl io::Write for ByteString {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.try_extend_from_slice(bytes).map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<&[u8]> for ByteString {
    #[inline]
    fn from(bytes: &[u8]) -> Self {
        or_panic(Self::try_from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for ByteString {
    fn from(bytes: &[u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl<const N: usize> From<[u8; N]> for ByteString {
    fn from(bytes: [u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl From<&str> for ByteString {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<std::vec::Vec<u8>> for ByteString {
    fn from(bytes: std::vec::Vec<u8>) -> Self {
        Self::from(bytes.as_slice())
    }
}

/// A long vector becomes a string as it is, a short one moves into it.
impl From<Vec<u8>> for ByteString {
    fn from(vec: Vec<u8>) -> Self {
        if vec.len() <= super::INLINE_BYTES {
            return Self::from(vec.as_slice());
        }
        Self { repr: super::Repr::block(vec) }
    }
}

impl From<ByteString> for Vec<u8> {
    fn from(string: ByteString) -> Self {
        string.into_vec()
    }
}

impl From<&ByteString> for std::vec::Vec<u8> {
    fn from(string: &ByteString) -> Self {
        string.as_slice().into()
    }
}

impl FromIterator<u8> for ByteString {
    fn from_iter<I: IntoIterator<Item = u8>>(iter: I) -> Self {
        let mut string = Self::new();
        string.extend(iter);
        string
    }
}

impl Extend<u8> for ByteString {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, iter: I) {
        let iter = iter.into_iter();
        self.reserve(iter.size_hint().0);
        iter.for_each(|byte| self.push(byte));
    }
}

impl<'a> Extend<&'a u8> for ByteString {
    fn extend<I: IntoIterator<Item = &'a u8>>(&mut self, iter: I) {
        self.extend(iter.into_iter().copied());
    }
}

impl<'a> IntoIterator for &'a ByteString {
    type Item = &'a u8;
    type IntoIter = slice::Iter<'a, u8>;

    fn into_iter(self) -> slice::Iter<'a, u8> {
        self.iter()
    }
}

impl PartialEq for ByteString {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for ByteString {}

impl PartialOrd for ByteString {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByteString {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

/// Compares the bytes with those of another type, either way round.
macro_rules! compare {
    ($([$($generic:tt)*] $other:ty;)*) => {$(
        impl<$($generic)*> PartialEq<$other> for ByteString {
            #[inline]
            fn eq(&self, other: &$other) -> bool {
                let other: &[u8] = other.as_ref();
                self.as_slice() == other
            }
        }

        impl<$($generic)*> PartialEq<ByteString> for $other {
            #[inline]
            fn eq(&self, other: &ByteString) -> bool {
                other == self
            }
        }
    )*};
}

compare! {
    [] [u8];
    [] &[u8];
    [const N: usize] [u8; N];
    [const N: usize] &[u8; N];
    [] Vec<u8>;
    [] std::vec::Vec<u8>;
    [] str;
    [] &str;
}
