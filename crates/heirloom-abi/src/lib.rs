//! Every byte one generation leaves for the next: formats, writers and validating readers.
//!
//! Nothing here allocates, nothing is unsafe, and every reader treats its input as foreign.
#![no_std]
#![forbid(unsafe_code)]

mod checksum;
pub mod diary;
pub mod heap;
pub mod holes;
pub mod kho;
pub mod le;
pub mod note;
pub mod pool;
pub mod roots;
pub mod types;

pub use checksum::checksum;
