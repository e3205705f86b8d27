//! The first 64 bytes, the same in every version there will ever be.
//!
//! ```text
//!  0  magic           8   b"HEIRLOOM"
//!  8  version         4   of everything behind the prefix
//! 12  header_bytes    4
//! 16  byte_order      4   how the *objects* are stored; fields of the formats are little-endian always
//! 20  page_bytes      4
//! 24  machine         2   e_machine of the ELF format
//! 26  pointer_bits    2
//! 28  zero           36
//! ```

use super::HEADER_BYTES;
use super::error::{HeaderError, ensure};
use super::field::{Gap, Page, gap, get_u16, get_u32, get_u64, put_u16, put_u32};

/// The first eight bytes of every heap.
pub const MAGIC: [u8; 8] = *b"HEIRLOOM";

/// The version of the header that this crate writes and reads.
pub const FORMAT_VERSION: u32 = 1;

pub(super) const PREFIX_BYTES: usize = 64;
pub(super) const ZEROES: [Gap; 1] = [gap(28, PREFIX_BYTES)];

/// What a program must share with the one that wrote the heap, for plain objects to mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// `e_machine` of the ELF format.
    pub machine: u16,
    /// Width of a pointer.
    pub pointer_bits: u16,
    /// Size of a page of memory.
    pub page_bytes: u32,
    /// [`Host::LITTLE`] or [`Host::BIG`].
    pub byte_order: u32,
}

impl Host {
    /// The byte order mark of a little-endian machine.
    pub const LITTLE: u32 = 0x0102_0304;
    /// The byte order mark of a big-endian machine.
    pub const BIG: u32 = 0x0403_0201;

    /// Describes the machine that this crate is compiled for; only the page size is found out when it runs.
    #[must_use]
    pub const fn current(page_bytes: u32) -> Self {
        let machine = if cfg!(target_arch = "x86_64") {
            62
        } else if cfg!(target_arch = "aarch64") {
            183
        } else if cfg!(any(target_arch = "riscv64", target_arch = "riscv32")) {
            243
        } else if cfg!(target_arch = "loongarch64") {
            258
        } else if cfg!(target_arch = "s390x") {
            22
        } else if cfg!(target_arch = "powerpc64") {
            21
        } else if cfg!(target_arch = "x86") {
            3
        } else if cfg!(target_arch = "arm") {
            40
        } else {
            0
        };
        let byte_order = if cfg!(target_endian = "little") { Self::LITTLE } else { Self::BIG };
        Self { machine, pointer_bits: usize::BITS as u16, page_bytes, byte_order }
    }
}

/// The prefix as found, without any judgement but the magic number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The version of the format behind the prefix.
    pub version: u32,
    /// The length of the header, prefix included.
    pub header_bytes: u32,
    /// The machine that wrote it.
    pub host: Host,
}

impl Prefix {
    /// Reads the prefix of a heap of any version.
    ///
    /// # Errors
    ///
    /// `Short`, `Blank` or `Magic`: this is no heap.
    pub fn read(bytes: &[u8]) -> Result<Self, HeaderError> {
        let Some(prefix) = bytes.first_chunk::<PREFIX_BYTES>() else {
            return Err(HeaderError::Short { found: bytes.len() });
        };
        ensure(prefix[..8] != [0; 8], || HeaderError::Blank)?;
        ensure(prefix[..8] == MAGIC, || HeaderError::Magic { found: get_u64(prefix, 0) })?;
        Ok(Self {
            version: get_u32(prefix, 8),
            header_bytes: get_u32(prefix, 12),
            host: Host {
                byte_order: get_u32(prefix, 16),
                page_bytes: get_u32(prefix, 20),
                machine: get_u16(prefix, 24),
                pointer_bits: get_u16(prefix, 26),
            },
        })
    }

    pub(super) const fn of(host: &Host) -> Self {
        Self { version: FORMAT_VERSION, header_bytes: HEADER_BYTES as u32, host: *host }
    }

    pub(super) fn write(&self, page: &mut Page) {
        page[..8].copy_from_slice(&MAGIC);
        put_u32(page, 8, self.version);
        put_u32(page, 12, self.header_bytes);
        put_u32(page, 16, self.host.byte_order);
        put_u32(page, 20, self.host.page_bytes);
        put_u16(page, 24, self.host.machine);
        put_u16(page, 26, self.host.pointer_bits);
    }

    /// Asks whether a program on `host` may use the objects behind this prefix.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub fn check_host(&self, host: &Host) -> Result<(), HeaderError> {
        let (found, expected) = (&self.host, host);
        ensure(found.byte_order == expected.byte_order, || HeaderError::ByteOrder {
            found: found.byte_order,
        })?;
        ensure(found.machine == expected.machine, || HeaderError::Machine {
            found: found.machine,
            expected: expected.machine,
        })?;
        ensure(found.pointer_bits == expected.pointer_bits, || HeaderError::PointerWidth {
            found: found.pointer_bits,
            expected: expected.pointer_bits,
        })?;
        ensure(found.page_bytes == expected.page_bytes, || HeaderError::PageSize {
            found: found.page_bytes,
            expected: expected.page_bytes,
        })
    }
}
