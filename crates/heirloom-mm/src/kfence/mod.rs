//! The guard pool: now and then an ordinary allocation is served from pages of its own, where a slip faults.
//!
//! ```text
//!   | guard | object page | guard | object page | guard | ...   | guard |
//!   | fault |....[object] | fault | [object]... | fault |       | fault |
//!            ^^^^           overflow of an object at the right of its page, or
//!            canary         underflow of one at the left, is a fault at once;
//!                           on the other side the canary shows it when the object is freed
//!
//!   freed: its page faults too (use after free), until the pool has served all that waited longer
//! ```
//!
//! [`GuardPool`] is the pool, [`Report`] what it has to say. `machine` asks `GuardPool::wants` for each allocation that has no
//! `Gfp::PRESERVE`: a preserved object never lies here, and neither does anything of the handover, because the next generation knows
//! nothing of these pages.
//!
//! # Invariants (tested by [`GuardPool::check`])
//!
//! - *alone*: an object page holds one object, and canaries in all its other bytes.
//! - *closed*: the page of an object that is not allocated faults, unless a fault in it was reported since.
//! - *rested*: a freed page is used again only after the pool's quarantine, longest freed first.

mod judge;
mod pool;
mod report;
mod ring;
mod sample;
mod slot;

pub use pool::{GuardFree, GuardPool, GuardStats, Guarded, Side};
pub use report::{Report, ReportKind, ReportedObject, Site};
