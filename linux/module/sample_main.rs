// SPDX-License-Identifier: GPL-2.0

//! A user of Heirloom: a table of device records that lives through kexecs, and what is measured of it.
//!
//! ```text
//! name "sample/devices" -> Root -> leaves: handles of leaves (one large object)
//!                                    -> leaf: 512 handles (4096 bytes)
//!                                         -> record: index, generation, then a pattern of both, to its length
//! ```
//!
//! Nothing in it is an address. The module keeps nothing of its own between two commands: whatever it does, it starts from the name.
//!
//! Commands, written to `/sys/kernel/debug/heirloom_sample/command`; what they find goes to the log as `word number` pairs:
//!
//! | command | |
//! | --- | --- |
//! | `build N` | makes a table of N records and publishes it |
//! | `verify` | compares each byte of each record |
//! | `churn G` | frees every third record (which third: G), then allocates them anew, with other lengths |
//! | `drop` | frees everything and takes the name back |
//! | `records SIZE N` | N records of SIZE bytes, here and as a page each from KHO |
//! | `fill SIZE N` | N records of SIZE bytes, for who wants to see that fail |
//! | `time SIZE` | alloc and free beside `kzalloc` and `kfree` |
//! | `stress SEED ROUNDS` | random allocations, freed by whoever comes by: run it on all CPUs at once |
//! | `atomic N` | allocations that may not sleep: what is served, and what is refused |
//! | `misuse` | frees what must be refused |
//! | `safe` | the safe Rust interface: publish, take, drop |

use core::ffi::{c_char, c_int, c_void, CStr};

use kernel::prelude::*;

#[path = "heirloom.rs"]
mod heirloom;
#[path = "sample_table.rs"]
mod table;
#[path = "sample_trials.rs"]
mod trials;

module! {
    type: Sample,
    name: "heirloom_sample",
    authors: ["Heirloom's authors"],
    description: "A table of device records that lives through kexecs",
    license: "GPL",
}

mod raw {
    use super::*;

    extern "C" {
        pub(super) fn sample_lock();
        pub(super) fn sample_unlock();
        pub(super) fn sample_register() -> c_int;
        pub(super) fn sample_unregister();
    }
}

/// The interface as C has it, for the table, whose records have any length.
pub(crate) mod c {
    use super::*;

    extern "C" {
        pub(crate) fn heirloom_alloc(size: usize, gfp: u32) -> *mut c_void;
        pub(crate) fn heirloom_zalloc(size: usize, gfp: u32) -> *mut c_void;
        pub(crate) fn heirloom_free(object: *mut c_void);
        pub(crate) fn heirloom_size(object: *const c_void) -> usize;
        pub(crate) fn heirloom_handle(object: *const c_void) -> u64;
        pub(crate) fn heirloom_object(handle: u64) -> *mut c_void;
        pub(crate) fn heirloom_publish(name: *const c_char, object: *mut c_void) -> c_int;
        pub(crate) fn heirloom_unpublish(name: *const c_char) -> c_int;
        pub(crate) fn heirloom_retrieve(name: *const c_char, size: *mut usize) -> *mut c_void;
        pub(crate) fn sample_now() -> u64;
        pub(crate) fn sample_kmalloc(size: usize) -> *mut c_void;
        pub(crate) fn sample_kfree(object: *mut c_void);
        pub(crate) fn sample_page(size: usize) -> *mut c_void;
        pub(crate) fn sample_page_free(page: *mut c_void);
        pub(crate) fn sample_pad(bytes: usize) -> *mut c_void;
        pub(crate) fn sample_pad_free(pad: *mut c_void);
        pub(crate) fn sample_breathe();
    }
}

struct Sample;

impl kernel::Module for Sample {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // SAFETY: called once.
        kernel::error::to_result(unsafe { raw::sample_register() })?;
        Ok(Self)
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        // SAFETY: called once; nothing calls us when it returns.
        unsafe { raw::sample_unregister() }
    }
}

/// The table's lock.
struct Locked;

impl Locked {
    fn take() -> Self {
        // SAFETY: undone by the drop below.
        unsafe { raw::sample_lock() };
        Self
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: taken above.
        unsafe { raw::sample_unlock() }
    }
}

/// # Safety
///
/// `text` is `len` bytes long.
#[no_mangle]
unsafe extern "C" fn sample_command(text: *const u8, len: usize) -> c_int {
    // SAFETY: by the caller's promise.
    let bytes = unsafe { core::slice::from_raw_parts(text, len) };
    let done = core::str::from_utf8(bytes).map_err(|_| EINVAL).and_then(command);
    done.map_or_else(|error| error.to_errno(), |()| 0)
}

fn command(text: &str) -> Result {
    let mut words = text.split_ascii_whitespace();
    let word = words.next().unwrap_or("");
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).ok_or(EINVAL);
    // The only one that is meant to run on several CPUs at once.
    if word == "stress" {
        return trials::stress(number()?, number()?);
    }
    let _locked = Locked::take();
    match word {
        "build" => table::build(number()?),
        "verify" => table::verify(),
        "churn" => table::churn(number()?),
        "drop" => table::drop_all(),
        "records" => trials::records(number()? as usize, number()? as usize),
        "fill" => trials::fill(number()? as usize, number()? as usize),
        "time" => trials::time(number()? as usize),
        "atomic" => trials::atomic(number()? as usize),
        "misuse" => trials::misuse(),
        "safe" => trials::safe(),
        _ => Err(EINVAL),
    }
}

/// The name of the table.
pub(crate) const NAME: &CStr = c"sample/devices";

/// Flags for those who may sleep.
pub(crate) fn may_sleep() -> u32 {
    kernel::bindings::GFP_KERNEL
}

/// A number from a number, well mixed (the finisher of splitmix64).
pub(crate) fn mix(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
