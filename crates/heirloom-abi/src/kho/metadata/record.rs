//! One record as bytes: fields by offset, and what may be wrong with them.

use crate::kho::radix::PAGE_BYTES;
use crate::le::{get_array, get_u16, get_u32, get_u64};

/// A record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The bytes end before the record does.
    #[error("{record} takes {needed} bytes, {found} are there")]
    Truncated {
        /// Which record.
        record: &'static str,
        /// Its size.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The record is of a version that is not read.
    #[error("{record} is of version {found}, version {known} is read")]
    Version {
        /// Which record.
        record: &'static str,
        /// Its version.
        found: u32,
        /// The version that is read.
        known: u32,
    },
    /// The record says that it is another one.
    #[error("{record} does not say `{known}`")]
    Compatible {
        /// Which record.
        record: &'static str,
        /// What it should say.
        known: &'static str,
    },
    /// A text has no end.
    #[error("{field} of {record} has no terminating zero")]
    Text {
        /// Which record.
        record: &'static str,
        /// Which field.
        field: &'static str,
    },
    /// A number is out of its range.
    #[error("{field} of {record} is {value:#x}")]
    Field {
        /// Which record.
        record: &'static str,
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

/// The bytes of one record, by name for the errors.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) name: &'static str,
    pub(super) bytes: &'a [u8],
}

impl<'a> Record<'a> {
    pub(super) fn new(name: &'static str, bytes: &'a [u8], size: usize) -> Result<Self, MetadataError> {
        let bytes = bytes.get(..size).ok_or(MetadataError::Truncated {
            record: name,
            needed: size,
            found: bytes.len(),
        })?;
        Ok(Self { name, bytes })
    }

    pub(super) fn truncated(&self) -> MetadataError {
        MetadataError::Truncated { record: self.name, needed: self.bytes.len() + 1, found: self.bytes.len() }
    }

    pub(super) fn u16(&self, at: usize) -> Result<u16, MetadataError> {
        get_u16(self.bytes, at).ok_or_else(|| self.truncated())
    }

    pub(super) fn u32(&self, at: usize) -> Result<u32, MetadataError> {
        get_u32(self.bytes, at).ok_or_else(|| self.truncated())
    }

    pub(super) fn u64(&self, at: usize) -> Result<u64, MetadataError> {
        get_u64(self.bytes, at).ok_or_else(|| self.truncated())
    }

    /// Returns an address of a page that must be there.
    pub(super) fn page(&self, field: &'static str, at: usize) -> Result<u64, MetadataError> {
        match self.page_or_none(field, at)? {
            0 => Err(self.wrong(field, 0)),
            page => Ok(page),
        }
    }

    /// Returns the address of a page, or 0.
    pub(super) fn page_or_none(&self, field: &'static str, at: usize) -> Result<u64, MetadataError> {
        let page = self.u64(at)?;
        if page % PAGE_BYTES == 0 { Ok(page) } else { Err(self.wrong(field, page)) }
    }

    /// Returns the text in the `N` bytes at `at`, without its terminating zero.
    pub(super) fn text<const N: usize>(
        &self,
        field: &'static str,
        at: usize,
    ) -> Result<Text<N>, MetadataError> {
        let bytes = get_array(self.bytes, at).ok_or_else(|| self.truncated())?;
        let text = Text { bytes };
        if bytes.contains(&0) { Ok(text) } else { Err(MetadataError::Text { record: self.name, field }) }
    }

    pub(super) fn wrong(&self, field: &'static str, value: u64) -> MetadataError {
        MetadataError::Field { record: self.name, field, value }
    }
}

/// A text of Linux's: bytes of no particular encoding, up to the first zero.
///
/// # Invariants
///
/// One of the bytes is zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    /// Returns the bytes before the terminating zero.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.split(|&byte| byte == 0).next().unwrap_or_default()
    }
}

impl<const N: usize> core::fmt::Display for Text<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.as_bytes().escape_ascii().fmt(f)
    }
}

impl<const N: usize> core::fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "\"{self}\"")
    }
}
