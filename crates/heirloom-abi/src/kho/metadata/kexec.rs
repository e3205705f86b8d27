//! `kexec-metadata`: which kernel was before.

use core::mem::offset_of;

use super::record::{MetadataError, Record, Text};

/// Bytes of a kernel's release text, its terminating zero included.
pub const RELEASE_BYTES: usize = 65;

#[repr(C, packed)]
struct KexecMetadataRecord {
    version: u32,
    previous_release: [u8; RELEASE_BYTES],
    kexec_count: u32,
}

const _: () = assert!(size_of::<KexecMetadataRecord>() == 73);
const _: () = assert!(offset_of!(KexecMetadataRecord, previous_release) == 4);
const _: () = assert!(offset_of!(KexecMetadataRecord, kexec_count) == 69, "the record is packed");

/// Subsystem `kexec-metadata`, version 1: which kernel was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KexecMetadata {
    /// Release of the kernel that jumped.
    pub previous_release: Text<RELEASE_BYTES>,
    /// Jumps since the last cold boot.
    pub kexec_count: u32,
}

impl KexecMetadata {
    /// The version that is read.
    pub const VERSION: u32 = 1;

    /// Reads the record that `bytes` begin with.
    ///
    /// # Errors
    ///
    /// The first [`MetadataError`] found.
    pub fn read(bytes: &[u8]) -> Result<Self, MetadataError> {
        type Raw = KexecMetadataRecord;
        let name = "kexec-metadata";
        // Only the version is where it is in every version.
        let found = Record::new(name, bytes, size_of::<u32>())?.u32(offset_of!(Raw, version))?;
        if found != Self::VERSION {
            return Err(MetadataError::Version { record: name, found, known: Self::VERSION });
        }
        let record = Record::new(name, bytes, size_of::<Raw>())?;
        Ok(Self {
            previous_release: record.text("previous_release", offset_of!(Raw, previous_release))?,
            kexec_count: record.u32(offset_of!(Raw, kexec_count))?,
        })
    }
}
