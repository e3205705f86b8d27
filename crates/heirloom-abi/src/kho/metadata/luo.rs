//! The Live Update Orchestrator: sessions, and the files in them.

use core::mem::offset_of;

use super::block::BlockRecord;
use super::record::{MetadataError, Record, Text};
use crate::kho::radix::PAGE_BYTES;

#[repr(C)]
struct LuoRecord {
    compatible: [u8; 8],
    liveupdate_num: u64,
    sessions: u64,
    flbs: u64,
}

const _: () = assert!(size_of::<LuoRecord>() == 32 && offset_of!(LuoRecord, flbs) == 24);

/// The root record of the Live Update Orchestrator, `luo-v5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Luo {
    /// Live updates since the last cold boot.
    pub liveupdate_num: u64,
    /// Address of the first block of [`Session`] entries, 0 for none.
    pub sessions: u64,
    /// Address of the record of the objects that files share, 0 for none.
    pub flbs: u64,
}

impl Luo {
    /// The `compatible` string that is read.
    pub const COMPATIBLE: &'static str = "luo-v5";

    /// Reads the record that `bytes` begin with.
    ///
    /// # Errors
    ///
    /// The first [`MetadataError`] found.
    pub fn read(bytes: &[u8]) -> Result<Self, MetadataError> {
        type Raw = LuoRecord;
        let record = Record::new("luo", bytes, size_of::<Raw>())?;
        let compatible: Text<8> = record.text("compatible", offset_of!(Raw, compatible))?;
        if compatible.as_bytes() != Self::COMPATIBLE.as_bytes() {
            return Err(MetadataError::Compatible { record: record.name, known: Self::COMPATIBLE });
        }
        Ok(Self {
            liveupdate_num: record.u64(offset_of!(Raw, liveupdate_num))?,
            sessions: record.page_or_none("sessions", offset_of!(Raw, sessions))?,
            flbs: record.page_or_none("flbs", offset_of!(Raw, flbs))?,
        })
    }
}

/// Bytes of a session's name, its terminating zero included.
pub const SESSION_NAME_BYTES: usize = 64;

#[repr(C)]
struct SessionRecord {
    name: [u8; SESSION_NAME_BYTES],
    files: u64,
    count: u64,
}

const _: () = assert!(size_of::<SessionRecord>() == 80 && offset_of!(SessionRecord, files) == 64);
const _: () = assert!((PAGE_BYTES as usize - size_of::<BlockRecord>()) / size_of::<SessionRecord>() == 51);

/// A session: a name, and the files that were preserved under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name.
    pub name: Text<SESSION_NAME_BYTES>,
    /// Address of the first block of [`SessionFile`] entries, 0 for none.
    pub files: u64,
    /// Files in it.
    pub nr_files: u64,
}

impl Session {
    /// Bytes of an entry in a [`Block`](super::Block).
    pub const ENTRY_BYTES: usize = size_of::<SessionRecord>();

    /// Reads the entry that `bytes` begin with.
    ///
    /// # Errors
    ///
    /// The first [`MetadataError`] found.
    pub fn read(bytes: &[u8]) -> Result<Self, MetadataError> {
        type Raw = SessionRecord;
        let record = Record::new("session", bytes, Self::ENTRY_BYTES)?;
        let name = record.text("name", offset_of!(Raw, name))?;
        let files = record.page_or_none("files", offset_of!(Raw, files))?;
        let nr_files = record.u64(offset_of!(Raw, count))?;
        if files == 0 && nr_files != 0 {
            return Err(record.wrong("count", nr_files));
        }
        Ok(Self { name, files, nr_files })
    }
}

/// Bytes of the `compatible` string of a file, its terminating zero included.
pub const FILE_COMPATIBLE_BYTES: usize = 48;

#[repr(C)]
struct FileRecord {
    compatible: [u8; FILE_COMPATIBLE_BYTES],
    data: u64,
    token: u64,
}

const _: () = assert!(size_of::<FileRecord>() == 64 && offset_of!(FileRecord, token) == 56);
const _: () = assert!((PAGE_BYTES as usize - size_of::<BlockRecord>()) / size_of::<FileRecord>() == 63);

/// A preserved file of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionFile {
    /// The format of its record, such as [`Memfd::COMPATIBLE`](super::Memfd::COMPATIBLE).
    pub compatible: Text<FILE_COMPATIBLE_BYTES>,
    /// What its handler left: for a memfd the address of a [`Memfd`](super::Memfd).
    pub data: u64,
    /// The number under which user space finds it again.
    pub token: u64,
}

impl SessionFile {
    /// Bytes of an entry in a [`Block`](super::Block).
    pub const ENTRY_BYTES: usize = size_of::<FileRecord>();

    /// Reads the entry that `bytes` begin with.
    ///
    /// # Errors
    ///
    /// The first [`MetadataError`] found.
    pub fn read(bytes: &[u8]) -> Result<Self, MetadataError> {
        type Raw = FileRecord;
        let record = Record::new("file", bytes, Self::ENTRY_BYTES)?;
        Ok(Self {
            compatible: record.text("compatible", offset_of!(Raw, compatible))?,
            data: record.u64(offset_of!(Raw, data))?,
            token: record.u64(offset_of!(Raw, token))?,
        })
    }
}
