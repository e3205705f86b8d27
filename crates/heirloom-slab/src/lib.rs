//! A slab allocator whose objects are handed over, in place, to the next generation of a program.
//!
//! `core` only, no `alloc`, no thread-locals, everything about the platform behind [`Host`]. The bytes that it leaves are
//! described by `heirloom_abi::pool`.
//!
//! Read in this order: [`size_class`], `slab` (bitmaps, and the trap), `cpu` (magazines), [`pool`].
#![no_std]
#![cfg_attr(
    loom,
    expect(dead_code, reason = "the pool, which uses the rest, casts memory to atomics that loom's are not")
)]

#[cfg(any(test, loom, feature = "knobs"))]
extern crate std;

mod sync;

mod knobs;

pub mod size_class;

mod host;

mod slab;

mod cpu;

#[cfg(not(loom))]
mod memory;

#[cfg(not(loom))]
pub mod pool;

#[cfg(loom)]
pub mod models;

pub use cpu::{Cpu, Magazines, Room};
pub use host::{Fault, Host};
#[doc(hidden)]
pub use knobs::caller_step;
#[cfg(feature = "knobs")]
pub use knobs::{clear_hook, set_hook, set_window, set_wrong_order};
#[cfg(not(loom))]
pub use pool::{
    CacheId, Config, Contents, FormatError, Found, OutOfMemory, Pool, Recovered, RestoreError, Scrub,
};
