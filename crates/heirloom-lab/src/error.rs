//! What goes wrong in the lab. What a design loses or spoils is no error: the rows count it.

use heirloom_mm::kho::{PreserveError, RestorePagesError, SubtreeError, UnpreserveError};
use heirloom_mm::machine::{AllocError, BootError, FreeError, FreezeError, PagesError};
use heirloom_mm::slab::CacheError;

use crate::slabinfo::SlabinfoError;

/// A run could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The table of caches is not one.
    #[error("slabinfo: {0}")]
    Slabinfo(#[from] SlabinfoError),
    /// The settings make no workload.
    #[error("{0}")]
    Settings(&'static str),
    /// The hosted machine was refused by the system.
    #[error("the hosted machine: {0}")]
    Hardware(#[from] std::io::Error),
    /// It did not boot.
    #[error("boot: {0}")]
    Boot(#[from] BootError),
    /// It has no memory left. The machine is made for the largest design; a longer run may need more.
    #[error("{0}")]
    Alloc(#[from] AllocError),
    /// It did not take an object back.
    #[error("{0}")]
    Free(#[from] FreeError),
    /// It did not take pages back.
    #[error("{0}")]
    Pages(#[from] PagesError),
    /// Pages were not preserved.
    #[error("{0}")]
    Preserve(#[from] PreserveError),
    /// Pages were not unpreserved.
    #[error("{0}")]
    Unpreserve(#[from] UnpreserveError),
    /// Pages were not restored.
    #[error("{0}")]
    Restore(#[from] RestorePagesError),
    /// A record was not listed.
    #[error("{0}")]
    Subtree(#[from] SubtreeError),
    /// A cache was refused.
    #[error("{0}")]
    Cache(#[from] CacheError),
    /// It was not frozen.
    #[error("{0}")]
    Freeze(#[from] FreezeError),
    /// The record that a predecessor left is wrong.
    #[error("the predecessor's record: {0}")]
    Record(&'static str),
    /// No place for the successor's image.
    #[error("the successor's image finds no place in scratch")]
    NoSuccessor,
    /// The lab itself is wrong: an object or a slab is not where it must be.
    #[error("the lab is wrong: {0}")]
    Broken(&'static str),
}
