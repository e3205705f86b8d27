//! What the owner writes as it goes, in two copies and a word that names the one that counts.
//!
//! ```text
//!   0  sequence            8   copy A holds the even ones, copy B the odd ones
//!   8  generation          4
//!  12  phase               4   1 running, 2 frozen, 3 set aside
//!  16  owner_pid           4
//!  20  helper_pid          4
//!  24  owner_start_ticks   8
//!  32  flags               4   bit 0 sealed, bit 1 clean
//!  36  previous_channel    4
//!  40  file_bytes          8
//!  48  last_operation_ns   8
//!  56  frozen_ns           8
//!  64  freeze_us           8
//!  72  zero               48   kept for counters
//! 120  checksum            8   of 0..120
//! ```

use super::error::{Area, Half, HeaderError, ensure};
use super::field::{Gap, Page, gap, get_u32, get_u64, put_u32, put_u64};
use super::{HEADER_BYTES, Identity};
use crate::checksum;

/// Offset of the commit word: a sequence number, its complement in the upper half.
pub const COMMIT_AT: usize = 512;

/// The length of one copy.
pub const STATE_BYTES: usize = 128;

const COPY_AT: [usize; 2] = [1024, 1536];
const CHECKSUM: usize = 120;
const COUNTERS: usize = 72;

pub(super) const ZEROES: [Gap; 3] = [
    gap(COMMIT_AT + 8, COPY_AT[0]),
    gap(COPY_AT[0] + STATE_BYTES, COPY_AT[1]),
    gap(COPY_AT[1] + STATE_BYTES, HEADER_BYTES),
];

const _: () = assert!(CHECKSUM + 8 == STATE_BYTES && COMMIT_AT % 8 == 0 && STATE_BYTES % 8 == 0);

/// What the owner of a heap writes as it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Numbers the programs that have owned the heap: this one's; in a frozen heap the highest that any has had, which is beyond its owner's where a
    /// successor had claimed it and it was taken back.
    pub generation: u32,
    /// What the owner is doing with it.
    pub phase: Phase,
    /// Process id of the owner, or of the one that froze it.
    pub owner_pid: u32,
    /// Start time of that process in clock ticks, because process ids are used again.
    pub owner_start_ticks: u64,
    /// Facts about the contents.
    pub flags: Flags,
    /// How the heap came to this generation; the numbers are `heirloom`'s.
    pub previous_channel: u32,
    /// Process that holds the predecessor's address space until its successor has started, or 0.
    pub helper_pid: u32,
    /// Length of the file in use.
    pub file_bytes: u64,
    /// When the predecessor's last operation ended, on `CLOCK_MONOTONIC`.
    pub last_operation_ns: u64,
    /// When the freeze was complete, on the same clock.
    pub frozen_ns: u64,
    /// How long the freeze took.
    pub freeze_us: u64,
}

/// What the owner of a heap is doing with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It allocates and frees.
    Running = 1,
    /// It has folded everything and waits for a successor.
    Frozen = 2,
    /// An operator or a successor has put it away.
    SetAside = 3,
}

/// Facts about the contents of a heap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// Records and contents are summed and complete.
    pub const SEALED: Self = Self(1);
    /// The owner ended in order; nothing has to be recovered.
    pub const CLEAN: Self = Self(2);

    const KNOWN: u32 = Self::SEALED.0 | Self::CLEAN.0;

    /// Returns these flags and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether every flag of `other` is here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the bits as they are stored.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

/// The bytes that make a new state count, in the order in which they must become visible.
#[derive(Clone, Copy, Debug)]
pub struct StateWrite {
    /// Where `copy` goes; a multiple of 8.
    pub copy_at: usize,
    /// The copy that does not count yet.
    pub copy: [u8; STATE_BYTES],
    /// The word for [`COMMIT_AT`], little-endian: one store, after the copy.
    pub commit: u64,
}

impl StateWrite {
    /// Applies the write to a page that nobody else looks at.
    pub fn apply(&self, page: &mut [u8; HEADER_BYTES]) {
        page[self.copy_at..self.copy_at + STATE_BYTES].copy_from_slice(&self.copy);
        put_u64(page, COMMIT_AT, self.commit);
    }
}

impl State {
    /// Prepares the write that makes `self` follow the state that counts in `page`.
    ///
    /// # Errors
    ///
    /// The commit word of `page` is damaged.
    pub fn following(&self, page: &[u8; HEADER_BYTES]) -> Result<StateWrite, HeaderError> {
        let sequence = committed(page)?.wrapping_add(1);
        Ok(self.write_as(sequence))
    }

    /// Writes `self` into a page that nobody else looks at, as the state that counts.
    ///
    /// # Errors
    ///
    /// The commit word of `page` is damaged.
    pub fn write(&self, page: &mut [u8; HEADER_BYTES]) -> Result<(), HeaderError> {
        self.following(page)?.apply(page);
        Ok(())
    }

    pub(super) fn write_first(&self, page: &mut Page) {
        self.write_as(0).apply(page);
    }

    pub(super) fn read(page: &Page) -> Result<Self, HeaderError> {
        let sequence = committed(page)?;
        let (copy_at, half) = place(sequence);
        let copy = &page[copy_at..copy_at + STATE_BYTES];
        let (stored, computed) = (get_u64(copy, CHECKSUM), checksum(&copy[..CHECKSUM], 0));
        ensure(stored == computed, || HeaderError::Checksum { area: Area::State(half), stored, computed })?;
        let found = get_u64(copy, 0);
        ensure(found == u64::from(sequence), || HeaderError::Sequence { committed: sequence, found })?;
        if let Some(at) = copy[COUNTERS..CHECKSUM].iter().position(|&byte| byte != 0) {
            return Err(HeaderError::NotZero { at: copy_at + COUNTERS + at });
        }
        let phase = match get_u32(copy, 12) {
            1 => Phase::Running,
            2 => Phase::Frozen,
            3 => Phase::SetAside,
            found => return Err(HeaderError::Phase { found }),
        };
        let flags = get_u32(copy, 32);
        ensure(flags & !Flags::KNOWN == 0, || HeaderError::Flags { found: flags })?;
        Ok(Self {
            generation: get_u32(copy, 8),
            phase,
            owner_pid: get_u32(copy, 16),
            owner_start_ticks: get_u64(copy, 24),
            flags: Flags(flags),
            previous_channel: get_u32(copy, 36),
            helper_pid: get_u32(copy, 20),
            file_bytes: get_u64(copy, 40),
            last_operation_ns: get_u64(copy, 48),
            frozen_ns: get_u64(copy, 56),
            freeze_us: get_u64(copy, 64),
        })
    }

    /// A file may be longer than recorded: it grows first and is counted afterwards.
    pub(super) fn check(&self, identity: &Identity, file_bytes: u64) -> Result<(), HeaderError> {
        ensure(self.generation > 0, || HeaderError::Generation)?;
        let recorded = self.file_bytes;
        let in_order = identity.first_block <= recorded && recorded <= file_bytes;
        ensure(in_order && file_bytes <= identity.reserved_bytes, || HeaderError::FileLength {
            recorded,
            found: file_bytes,
        })
    }

    fn write_as(&self, sequence: u32) -> StateWrite {
        let mut copy = [0; STATE_BYTES];
        put_u64(&mut copy, 0, u64::from(sequence));
        put_u32(&mut copy, 8, self.generation);
        put_u32(&mut copy, 12, self.phase as u32);
        put_u32(&mut copy, 16, self.owner_pid);
        put_u32(&mut copy, 20, self.helper_pid);
        put_u64(&mut copy, 24, self.owner_start_ticks);
        put_u32(&mut copy, 32, self.flags.0);
        put_u32(&mut copy, 36, self.previous_channel);
        put_u64(&mut copy, 40, self.file_bytes);
        put_u64(&mut copy, 48, self.last_operation_ns);
        put_u64(&mut copy, 56, self.frozen_ns);
        put_u64(&mut copy, 64, self.freeze_us);
        let sum = checksum(&copy[..CHECKSUM], 0);
        put_u64(&mut copy, CHECKSUM, sum);
        StateWrite { copy_at: place(sequence).0, copy, commit: commit_word(sequence) }
    }
}

fn place(sequence: u32) -> (usize, Half) {
    if sequence % 2 == 0 { (COPY_AT[0], Half::A) } else { (COPY_AT[1], Half::B) }
}

fn commit_word(sequence: u32) -> u64 {
    u64::from(sequence) | u64::from(!sequence) << 32
}

fn committed(page: &Page) -> Result<u32, HeaderError> {
    let found = get_u64(page, COMMIT_AT);
    let sequence = found as u32;
    ensure(found == commit_word(sequence), || HeaderError::Commit { found })?;
    Ok(sequence)
}
