//! A heap that a program hands, in place, to its successor.

// The derive writes `::heirloom::`, here as everywhere.
extern crate self as heirloom;

pub mod alloc;
mod backing;
pub mod boxed;
mod channel;
mod command;
pub mod foreign;
mod generation;
pub mod hash_map;
mod heap;
pub mod heritable;
pub mod live_update;
pub mod note;
pub mod root;
pub mod string;
pub mod sync;
mod sys;
pub mod vec;

pub use alloc::AllocError;
pub use backing::BackingError;
pub use boxed::Box;
#[cfg(feature = "points")]
pub use channel::points;
pub use channel::{Channel, HandOverError, IncomingError, Luggage, LuggageError, Step};
pub use command::{Command, CommandError};
pub use hash_map::HashMap;
pub use heap::roots::RootError;
pub use heap::{Broken, HandOver, Heap, HeapError, Inside, Options, Origin, Scan, Scrub, Stats};
pub use heirloom_derive::Heritable;
pub use heritable::Heritable;
pub use string::String;
pub use sys::Ended;
pub use vec::Vec;

/// Returns the value, or panics because the heap is full.
#[inline]
fn or_panic<T>(outcome: Result<T, AllocError>) -> T {
    #[cold]
    #[inline(never)]
    fn out_of_memory(error: AllocError) -> ! {
        panic!("{error}")
    }
    match outcome {
        Ok(value) => value,
        Err(error) => out_of_memory(error),
    }
}

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
