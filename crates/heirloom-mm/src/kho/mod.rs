//! Kexec Handover: what goes to the successor, and what came from the predecessor.
//!
//! ```text
//!   incoming                                     outgoing
//!   ingest      foreign FDT and map -> memblock  preserve    folio, page range, vmalloc area, pool block -> map
//!   retrieve    a subtree by its name            add_subtree a blob in preserved memory -> FDT
//!   restore     folio, page range, vmalloc area  freeze      all of it checked once more; the pool settled
//!   finish      what nobody claimed is freed     thaw        the way back
//! ```
//!
//! The map is one of `heirloom_abi::kho::radix`, its nodes are pages straight from the buddy allocator. It is kept up to date all the time: a
//! preserved page is in it from the moment it was preserved, so a freeze writes nothing of it.
//!
//! # Invariants (tested by `Machine::check`)
//!
//! - *safe ground*: no preserved page, no node, not the root, the tree or the list of scratch areas lies in scratch or in the guard pool.
//! - *agreeing*: the pages whose record says preserved are exactly those of the marked frames.
//! - *disjoint*: no page is in two frames of the map, of whatever orders.

mod incoming;
mod ingest;
mod nodes;
mod outgoing;
mod preserve;
mod subtree;
mod vmalloc;

pub(crate) use incoming::Incoming;
pub use incoming::{RestorePagesError, RetrieveError};
pub(crate) use incoming::{claim_folio, claim_range};
pub use ingest::IngestError;
pub(crate) use ingest::{Ingested, ingest};
pub(crate) use nodes::KnownNodes;
pub(crate) use outgoing::Outgoing;
pub use outgoing::{AuditError, HandoverTally};
pub use preserve::{PreserveError, UnpreserveError};
pub use subtree::{MAX_NAME_BYTES, Subtree, SubtreeError};
pub use vmalloc::{VmallocArea, VmallocError};
pub(crate) use vmalloc::{alloc_area, claim_area, free_area};

/// Name of the preserve pool's node in the handover tree.
pub const POOL_NODE: &str = "heirloom-slab";
