//! Room that is kept in the heap for what clients have sent in part, so that a cache that has filled its heap can be upgraded too.
//!
//! To evict when the time has come would not do: what other threads have allocated and this one frees is not at hand for values of other
//! sizes before those threads, which rest by then, have seen to it.

use heirloom::sync::Mutex;
use heirloom::{Heap, Inside, OnPoison, Options, Vec};

heirloom::root! {
    static RESERVE: Mutex<Vec<u8>> = "server-reserve";
}

/// As much as four thousand clients take that have nothing half sent.
const BYTES: u64 = 1 << 20;

/// The part of a heap's limit that it is at most.
const MOST: u64 = 64;

/// Says what becomes of the reserve after a kill: there is a new one.
pub(super) fn forget(options: Options) -> Options {
    options.on_poison(&RESERVE, OnPoison::replace())
}

/// Takes the reserve, where there is none and there is room.
pub(crate) fn hold(heap: &Heap) {
    let bytes = BYTES.min(heap.stats().size_limit / MOST) as usize;
    let inside = heap.enter();
    let mut reserve = RESERVE.get(&inside).lock();
    if reserve.capacity() == 0
        && let Ok(taken) = Vec::try_with_capacity(bytes)
    {
        *reserve = taken;
    }
}

/// Lets the reserve go, for what is packed.
pub(super) fn let_go(inside: &Inside<'_>) {
    drop(std::mem::take(&mut *RESERVE.get(inside).lock()));
}
