//! A heap that a program hands, in place, to its successor.

pub mod alloc;
pub mod boxed;
mod generation;
pub mod hash_map;
pub mod string;
pub mod vec;

pub use alloc::AllocError;
pub use boxed::Box;
pub use hash_map::HashMap;
pub use string::String;
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
