//! What one generation tells the next at the jump, and what it makes of the file that the next comes in.
//!
//! These are the parts of the kernel that are plain arithmetic over bytes, apart from it so that the host can test them.
//!
//! ```text
//! start_info  what a generation is told at its start: memory map, boot modules, command line   (read and written)
//! record      the handover record: where the handover tree and the scratch list lie            (read and written)
//! formats     what a handover consists of, as a kernel says in its ELF file that it reads it
//! image       the ELF file of a kernel, and how it comes to lie in memory                        (read)
//! page_set    pages below 4 GiB, one bit each
//! ```
//!
//! The kernel itself is `main.rs`: it has the processor, this has none.
//!
//! **Invariant**: no `unsafe`, no allocation, and no input makes a reader panic, loop or look outside its bytes.
#![no_std]

pub mod formats;
pub mod image;
pub mod page_set;
pub mod range;
pub mod record;
pub mod start_info;
