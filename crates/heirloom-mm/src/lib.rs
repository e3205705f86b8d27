//! A kernel's memory, whole, from power-on to the next kernel: what the bare-metal kernel and the hosted machine share.
//!
//! ```text
//! firmware map -> memblock -> [inherited? scratch-only until the preserved map is ingested] -> guard pool carved
//!    -> free pages to the buddy allocator -> slab up -> restore slabs -> run ... -> freeze -> place successor -> jump
//! ```
//!
//! `core` only, no `alloc`, everything about the platform behind [`Platform`]. Read in this order: [`platform`], [`Gfp`],
//! [`boot_info`], `machine` (whose `boot` is the picture above as one function), then the rooms it goes through.
//!
//! # The way through
//!
//! ```text
//! let machine = Machine::boot(&platform, &boot_info)?;     // restores what was handed over, or starts cold
//! let session = machine.alloc(56, Gfp::PRESERVE)?;
//! machine.add_subtree("sessions", machine.phys(session), 56)?;
//! let frozen = machine.freeze()?;                           // or machine.thaw(), and nothing had happened
//! let entry = machine.load_successor()?;                    // the platform copies its image to scratch
//! machine.jump(entry, frozen);                              // bare metal does not come back
//! ```
//!
//! One whole generation, the same on the host and on bare metal, is one call: `run::generation(&platform, &boot_info, &plan)` boots,
//! verifies, churns, provokes the guard pool, freezes, writes its line of JSON to [`Platform::print`], and jumps (or, in the last
//! generation, returns its report without a jump).
#![no_std]

#[cfg(any(test, feature = "hosted"))]
extern crate std;

pub mod platform;

mod gfp;

pub mod boot_info;

mod phys;

pub mod memblock;

pub mod scratch;

pub mod buddy;

pub mod kfence;

mod ground;

pub mod kho;

pub mod slab;

pub mod machine;

pub mod run;

#[cfg(feature = "hosted")]
pub mod hosted;

#[cfg(test)]
mod testing;

pub use boot_info::{BootInfo, GuardOptions, MemoryRange, Options, Policy, ScratchSizes};
pub use gfp::Gfp;
pub use ground::{UnsafeGround, What};
pub use machine::Machine;
pub use phys::{Memory, PAGE_BYTES, PAGE_SHIFT};
pub use platform::{Handover, Platform};

/// NUMA nodes that a machine can have.
pub const MAX_NODES: usize = 8;

/// Ranges of memory that a machine can have.
pub const MAX_ZONES: usize = 32;
