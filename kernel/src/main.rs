//! A kernel that boots, runs, and jumps into its successor with its objects in place.
//!
//! ```text
//! QEMU -kernel (PVH) ----+
//!                        v
//!   entry -> start (start info, paging, exceptions) -> heirloom-mm -> successor -> jump -----+
//!     ^                                                                                      |
//!     +--------------------------------------------------------------------------------------+
//! ```
//!
//! It is built for the host's own target, with a linker script of its own. What is plain arithmetic is in the library beside it,
//! where the host tests it.
//!
//! # Invariants
//!
//! - *nothing but memory*: a generation finds its predecessor's work through the handover record alone; page tables, stacks,
//!   descriptors and statics are its own.
//! - *anywhere*: the image runs at one virtual address, wherever it lies in physical memory.
//! - *quiet*: interrupts are off; exceptions change stacks, as the compiler uses the red zone.
#![no_std]
#![no_main]

mod clock;
mod entry;
mod exceptions;
mod exit;
mod generation;
mod hardware;
mod jump;
mod memory_functions;
mod paging;
mod physical;
mod poison;
mod provoke;
mod segments;
mod serial;
mod start;
mod successor;

use core::panic::PanicInfo;

use crate::exit::{Verdict, exit};
use crate::serial::println;

/// Our own mistakes: say where, and end.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("panic: {info}");
    exit(Verdict::Failure);
}
