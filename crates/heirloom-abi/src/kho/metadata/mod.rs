//! Records that Linux hangs below the root of Kexec Handover: for tools that look at what a kernel handed over.
//!
//! ```text
//! kexec-metadata      who kexec'd whom                      KexecMetadata
//! LUO                 sessions of preserved files           Luo -> Block of Session -> Block of SessionFile
//! memfd               contents of a memory file             Memfd -> Vmalloc of FolioEntry
//! vmalloc             a table that is larger than a page    Vmalloc -> VmallocChunk -> ...
//! block               a list of fixed entries               Block -> Block -> ...
//! ```
//!
//! Each reader takes the bytes of one record and follows nothing: an address that it returns is foreign, and who follows a chain
//! ([`VmallocChunk::next`], [`Block::next`]) bounds its length by [`Vmalloc::nr_chunks`] or by the pages there are.
//!
//! The `repr(C)` structures in these files are there for the compiler to state the offsets; nothing reads memory through them.
//!
//! Source of the formats: the sections on vmalloc, serialization blocks and kexec metadata in the
//! [Kexec Handover ABI](https://docs.kernel.org/core-api/kho/abi.html), the
//! [Live Update Orchestrator](https://docs.kernel.org/core-api/liveupdate.html) and
//! [memfd preservation](https://docs.kernel.org/mm/memfd_preservation.html), as of Linux 7.2.

mod block;
mod kexec;
mod luo;
mod memfd;
mod record;
mod vmalloc;

#[cfg(test)]
mod tests;

pub use block::Block;
pub use kexec::{KexecMetadata, RELEASE_BYTES};
pub use luo::{FILE_COMPATIBLE_BYTES, Luo, SESSION_NAME_BYTES, Session, SessionFile};
pub use memfd::{FolioEntry, Memfd};
pub use record::{MetadataError, Text};
pub use vmalloc::{VMALLOC_CHUNK_ENTRIES, Vmalloc, VmallocChunk};
