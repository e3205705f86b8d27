//! The lab: ways to hand slab objects to the next kernel, side by side on one workload.
//!
//! Linux's developers argued about them in words: what is fragile, what wastes memory, what shows old bytes, what costs effort. Here
//! each is built so that it works as its proponent says, over one and the same machine, and measured.
//!
//! ```text
//!  /proc/slabinfo ---> Workload: sizes, counts, lifetimes, churn          the same for every design
//!                          |
//!  generation g            v                                              generation g + 1
//!  Kernel: hosted Machine, SLUB over its pages   -- freeze, jump -->      Kernel: boots over the same bytes
//!  Design: keeps objects                                                  Design: takes them back  --> survey, scan, Row
//! ```
//!
//! The machine is `heirloom_mm`'s hosted one: its page allocator, scratch areas, guard pool and preserved-memory map are the real ones,
//! and a jump keeps nothing but bytes. Ordinary objects come from a [`slub`] of the lab's own, the same under every design.
//!
//! Read in this order: [`slabinfo`], [`workload`], [`marks`], [`slub`], `kernel`, [`design`], [`survey`], `owners`, [`run`](mod@run),
//! [`summary`], [`picture`], [`svg`], [`plots`].

pub mod slabinfo;

mod random;

pub mod workload;

pub mod marks;

mod ram;

pub mod slub;

mod kernel;

pub mod design;

pub mod survey;

mod owners;

pub mod run;

pub mod summary;

pub mod picture;

pub mod svg;

pub mod plots;

mod error;

pub use design::{ALL_DESIGNS, Design};
pub use error::LabError;
pub use kernel::{GuardHits, Kernel};
pub use run::{Chain, Row, Settings, run};
pub use summary::Summary;
pub use workload::Workload;
