//! The first page of a heap file: what it is, where its parts lie, and who owns it.
//!
//! ```text
//!    0  prefix     frozen for all versions to come: a reader of any age can tell whose file this is
//!   64  identity   written once: id, name, base address, the regions, and a checksum over 0..504
//!  512  commit     names the state copy that counts, in one aligned word
//! 1024  state A    copies of the changing part, written by turns: copy `sequence % 2`
//! 1536  state B
//! 4096  end        every byte that is not named here is zero, and checked
//! ```
//!
//! A new state goes into the copy that does not count, and only then into the commit word. A process that is
//! killed anywhere in between leaves the old state. The copy with the higher sequence number is *not* simply
//! believed when the other is damaged: the older one may say "frozen and clean" of a heap that is running, so
//! damage to the copy that counts is an error and never a fall-back.
//!
//! [`Header::read`] puts its questions in one order: magic, version, architecture, header length, checksums,
//! structure. None of them looks at a wall clock.
//!
//! `heirloom`'s `backing` maps the file; [`pool`](crate::pool) and the other modules describe the regions.

mod error;
mod field;
mod identity;
mod prefix;
mod state;

pub use error::{Area, Half, HeaderError};
pub use identity::{Identity, NAME_MAX, Name, Region};
pub use prefix::{FORMAT_VERSION, Host, MAGIC, Prefix};
pub use state::{COMMIT_AT, Flags, Phase, STATE_BYTES, State, StateWrite};

use error::ensure;

/// The length of the header page, and the offset of the first region.
pub const HEADER_BYTES: usize = 4096;

/// A validated header page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What does not change in the life of the heap.
    pub identity: Identity,
    /// What the owner writes as it goes.
    pub state: State,
}

impl Header {
    /// Reads the header page of a file that is `file_bytes` long, on the machine described by `host`.
    ///
    /// `page` may be longer than the header. Nothing in it is trusted, and nothing in it can cause a panic.
    ///
    /// # Errors
    ///
    /// The first gate that the page does not pass.
    pub fn read(page: &[u8], file_bytes: u64, host: &Host) -> Result<Self, HeaderError> {
        let prefix = Prefix::read(page)?;
        ensure(prefix.version == FORMAT_VERSION, || HeaderError::Version { found: prefix.version })?;
        prefix.check_host(host)?;
        ensure(prefix.header_bytes as usize == HEADER_BYTES, || HeaderError::HeaderLength {
            found: prefix.header_bytes,
        })?;
        let Some(page) = page.first_chunk::<HEADER_BYTES>() else {
            return Err(HeaderError::Short { found: page.len() });
        };
        Identity::verify_checksum(page)?;
        let state = State::read(page)?;
        Self::check_zeroes(page)?;
        let identity = Identity::read(page)?;
        identity.check()?;
        state.check(&identity, file_bytes)?;
        Ok(Self { identity, state })
    }

    /// Writes a whole header page for a new heap.
    ///
    /// # Errors
    ///
    /// [`Header::read`] would refuse the result; `page` is then unspecified.
    pub fn write(&self, page: &mut [u8; HEADER_BYTES], host: &Host) -> Result<(), HeaderError> {
        self.identity.check()?;
        self.state.check(&self.identity, self.state.file_bytes)?;
        page.fill(0);
        Prefix::of(host).write(page);
        self.identity.write(page);
        self.state.write_first(page);
        Ok(())
    }

    fn check_zeroes(page: &[u8; HEADER_BYTES]) -> Result<(), HeaderError> {
        let gaps = prefix::ZEROES.iter().chain(&identity::ZEROES).chain(&state::ZEROES);
        for gap in gaps {
            let bytes = &page[gap.start..gap.end];
            // All at once first: that takes a tenth of the time of looking at each.
            if bytes.iter().fold(0, |all, byte| all | byte) == 0 {
                continue;
            }
            if let Some(at) = bytes.iter().position(|&byte| byte != 0) {
                return Err(HeaderError::NotZero { at: gap.start + at });
            }
        }
        Ok(())
    }
}
