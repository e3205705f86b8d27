//! A heap that a program hands, in place, to its successor.

// The derive writes `::heirloom::`, here as everywhere.
extern crate self as heirloom;

pub mod alloc;
pub mod arc;
mod backing;
pub mod boxed;
pub mod btree_map;
pub mod btree_set;
pub mod byte_string;
mod channel;
mod command;
pub mod evolve;
pub mod foreign;
mod generation;
#[cfg(test)]
mod golden;
pub mod hash_map;
pub mod hash_set;
mod heap;
pub mod heritable;
pub mod interner;
pub mod live_update;
pub mod note;
pub mod places;
pub mod rc;
pub mod root;
pub mod service_manager;
pub mod shared;
pub mod string;
pub mod sync;
mod sys;
#[cfg(test)]
mod testing;
pub mod transact;
pub mod vec;
pub mod vec_deque;
mod whole;

pub use alloc::AllocError;
pub use backing::BackingError;
pub use boxed::{Box, BoxSlice, BoxStr};
pub use btree_map::BTreeMap;
pub use btree_set::BTreeSet;
pub use byte_string::ByteString;
#[cfg(feature = "points")]
pub use channel::points;
pub use channel::{Channel, HandOverError, IncomingError, Listener, Luggage, LuggageError, Refusal, Step};
pub use command::{Command, CommandError};
pub use evolve::{CandidateReport, Migrate, RootReport, RootWay};
pub use hash_map::HashMap;
pub use hash_set::HashSet;
pub use heap::roots::RootError;
pub use heap::{
    Broken, Changing, HandOver, Heap, HeapError, Inside, OnPoison, Options, Origin, Poisoned, Reclaimed,
    Recovery, Remedy, RootLeft, Scan, Scrub, Stats,
};
pub use heirloom_derive::Heritable;
pub use heritable::{Heritable, Maybe, Outcome};
pub use interner::{Interner, Symbol};
pub use string::String;
pub use sys::Ended;
pub use transact::{TransactError, Tx, TxMap, TxVec};
pub use vec::Vec;
pub use vec_deque::VecDeque;

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
