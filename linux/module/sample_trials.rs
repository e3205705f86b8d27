// SPDX-License-Identifier: GPL-2.0

//! Trials: what records cost here and elsewhere, what happens on several CPUs at once, without sleep, and on misuse.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering::AcqRel};

use kernel::bindings;
use kernel::prelude::*;

use crate::heirloom::{publish, take, Inherited, May, Plain};
use crate::{c, may_sleep, mix};

/// Pointers to objects under trial: outside of the pool, since the trial ends here.
struct Pad {
    list: *mut *mut c_void,
    nr: usize,
}

impl Pad {
    fn take(nr: usize) -> Result<Self> {
        // SAFETY: a plain allocation of zeroed memory.
        let list: *mut *mut c_void = unsafe { c::sample_pad(nr.max(1) * size_of::<*mut c_void>()) }.cast();
        if list.is_null() {
            Err(ENOMEM)
        } else {
            Ok(Self { list, nr })
        }
    }

    fn cells(&mut self) -> &mut [*mut c_void] {
        // SAFETY: `nr` pointers, zeroed when they were allocated, and ours alone.
        unsafe { core::slice::from_raw_parts_mut(self.list, self.nr) }
    }
}

impl Drop for Pad {
    fn drop(&mut self) {
        // SAFETY: it came from `sample_pad`.
        unsafe { c::sample_pad_free(self.list.cast()) }
    }
}

/// One way to get and give memory.
#[derive(Clone, Copy)]
struct Way {
    get: unsafe fn(usize) -> *mut c_void,
    give: unsafe fn(*mut c_void),
}

const HEIRLOOM: Way = Way { get: heirloom_get, give: heirloom_give };
const KMALLOC: Way = Way { get: kmalloc_get, give: kmalloc_give };
const PAGE: Way = Way { get: page_get, give: page_give };

/// # Safety
///
/// None; unsafe as its peers.
unsafe fn heirloom_get(size: usize) -> *mut c_void {
    // SAFETY: we may sleep.
    unsafe { c::heirloom_alloc(size, may_sleep()) }
}

/// # Safety
///
/// As `heirloom_free`.
unsafe fn heirloom_give(object: *mut c_void) {
    // SAFETY: by the caller's promise.
    unsafe { c::heirloom_free(object) }
}

/// # Safety
///
/// None; unsafe as its peers.
unsafe fn kmalloc_get(size: usize) -> *mut c_void {
    // SAFETY: we may sleep.
    unsafe { c::sample_kmalloc(size) }
}

/// # Safety
///
/// As `kfree`.
unsafe fn kmalloc_give(object: *mut c_void) {
    // SAFETY: by the caller's promise.
    unsafe { c::sample_kfree(object) }
}

/// # Safety
///
/// None; unsafe as its peers.
unsafe fn page_get(size: usize) -> *mut c_void {
    // SAFETY: we may sleep.
    unsafe { c::sample_page(size) }
}

/// # Safety
///
/// As `kho_unpreserve_free`.
unsafe fn page_give(object: *mut c_void) {
    // SAFETY: by the caller's promise.
    unsafe { c::sample_page_free(object) }
}

fn now() -> u64 {
    // SAFETY: reads the clock.
    unsafe { c::sample_now() }
}

/// Fills the pad: nanoseconds.
fn get_all(way: Way, pad: &mut Pad, size: usize) -> Result<u64> {
    let start = now();
    for cell in pad.cells() {
        // SAFETY: a size that each way serves.
        *cell = unsafe { (way.get)(size) };
        if cell.is_null() {
            return Err(ENOMEM);
        }
    }
    Ok(now() - start)
}

/// Empties the pad: nanoseconds.
fn give_all(way: Way, pad: &mut Pad) -> u64 {
    let start = now();
    for cell in pad.cells() {
        let object = core::mem::replace(cell, null_mut());
        if !object.is_null() {
            // SAFETY: it came from this way, and is ours.
            unsafe { (way.give)(object) };
        }
    }
    now() - start
}

/// `records SIZE N`: KHO's page for each, then ours. While ours are there the log says so: the caller reads the pool's `stats`.
pub(crate) fn records(size: usize, nr: usize) -> Result {
    let mut pad = Pad::take(nr)?;
    for (name, way) in [("page", PAGE), ("heirloom", HEIRLOOM)] {
        let got = get_all(way, &mut pad, size);
        let preserved = match name {
            "page" => Ok(pages_of(size) * nr),
            _ => blocks_bytes(&mut pad),
        };
        let gave = give_all(way, &mut pad);
        let (got, preserved) = (got?, preserved?);
        pr_info!(
            "records {} size {} nr {} preserved {} alloc_ns {} free_ns {}\n",
            name,
            size,
            nr,
            preserved,
            got,
            gave
        );
    }
    Ok(())
}

/// `fill SIZE N`: N objects and no peer: what was allocated before a failure is freed again.
pub(crate) fn fill(size: usize, nr: usize) -> Result {
    let mut pad = Pad::take(nr)?;
    let got = get_all(HEIRLOOM, &mut pad, size);
    give_all(HEIRLOOM, &mut pad);
    got.map(drop)
}

/// What `kho_alloc_preserve` rounds a size up to.
fn pages_of(size: usize) -> usize {
    size.div_ceil(4096).next_power_of_two() * 4096
}

/// Bytes of the blocks that the objects lie in: a bit for each block of the machine, by the objects' handles.
fn blocks_bytes(pad: &mut Pad) -> Result<usize> {
    const BLOCK_SHIFT: u32 = 18;
    /// Enough for 128 GiB.
    const WORDS: usize = 8192;
    let mut seen = Pad::take(WORDS)?;
    let mut nr = 0;
    for object in pad.cells() {
        // SAFETY: computes with the address.
        let block = (unsafe { c::heirloom_handle(*object) } >> BLOCK_SHIFT) as usize;
        let word = seen.cells().get_mut(block / 64).ok_or(ERANGE)?;
        let (old, bit) = (word.addr(), 1 << (block % 64));
        nr += usize::from(old & bit == 0);
        *word = core::ptr::without_provenance_mut(old | bit);
    }
    Ok(nr << BLOCK_SHIFT)
}

/// `time SIZE`: pairs, and 10,000 at a time. Whoever reads this takes the fastest round.
pub(crate) fn time(size: usize) -> Result {
    const PAIRS: u64 = 30_000;
    const BULK: usize = 10_000;
    let mut pad = Pad::take(BULK)?;
    // In turn, six times; the first is for warmth.
    for round in 0..6 {
        for (name, way) in [("kmalloc", KMALLOC), ("heirloom", HEIRLOOM)] {
            let start = now();
            for _ in 0..PAIRS {
                // SAFETY: got and given the same way.
                unsafe {
                    let object = (way.get)(size);
                    if object.is_null() {
                        return Err(ENOMEM);
                    }
                    (way.give)(object);
                }
            }
            let pair = (now() - start) / PAIRS;
            let got = get_all(way, &mut pad, size)? / BULK as u64;
            let gave = give_all(way, &mut pad) / BULK as u64;
            if round > 0 {
                pr_info!("time {} size {} pair_ns {} alloc_ns {} free_ns {}\n", name, size, pair, got, gave);
            }
        }
    }
    Ok(())
}

const NR_SHARED: usize = 1024;

/// Objects on their way from one CPU to another.
static SHARED: [AtomicPtr<c_void>; NR_SHARED] = [const { AtomicPtr::new(null_mut()) }; NR_SHARED];

/// `stress SEED ROUNDS`: puts an object in a random place, and frees the one that lay there, whoever put it.
pub(crate) fn stress(seed: u64, rounds: u64) -> Result {
    let (mut state, mut torn, mut refused) = (seed, 0u64, 0u64);
    for round in 0..rounds {
        state = mix(state);
        let size = match state % 64 {
            0 => 5000 + (state >> 32) as usize % 200_000,
            _ => 1 + (state >> 32) as usize % 4096,
        };
        let flags = if state >> 20 & 1 == 0 { may_sleep() } else { bindings::GFP_ATOMIC };
        // SAFETY: any size may be asked for.
        let object = unsafe { c::heirloom_alloc(size, flags) };
        if object.is_null() {
            refused += 1;
        } else {
            // SAFETY: fresh, of `size` bytes, ours alone.
            let bytes = unsafe { core::slice::from_raw_parts_mut(object.cast::<u8>(), size) };
            torn += u64::from(bytes.iter().any(|&byte| byte != 0));
            bytes.fill(mark(object));
        }
        let old = SHARED[(state >> 8) as usize % NR_SHARED].swap(object, AcqRel);
        torn += u64::from(!let_go(old));
        if round % 256 == 0 {
            // SAFETY: nothing is held that must not be held over a wait.
            unsafe { c::sample_breathe() };
        }
    }
    for place in &SHARED {
        torn += u64::from(!let_go(place.swap(null_mut(), AcqRel)));
    }
    pr_info!("stressed {} torn {} refused {}\n", rounds, torn, refused);
    if torn == 0 {
        Ok(())
    } else {
        Err(EIO)
    }
}

fn mark(object: *const c_void) -> u8 {
    (mix(object.addr() as u64) | 1) as u8
}

/// Frees an object whose first and last bytes must be its mark.
fn let_go(object: *mut c_void) -> bool {
    if object.is_null() {
        return true;
    }
    // SAFETY: whoever swapped it out has it alone; its first byte was written.
    unsafe {
        let is_mine = object.cast::<u8>().read() == mark(object);
        c::heirloom_free(object);
        is_mine
    }
}

/// `atomic N`: allocations that may not sleep, as many as are asked for; each is either whole or refused.
pub(crate) fn atomic(nr: usize) -> Result {
    let mut pad = Pad::take(nr)?;
    let mut served = 0u64;
    for cell in pad.cells() {
        // SAFETY: any size may be asked for.
        *cell = unsafe { c::heirloom_zalloc(256, bindings::GFP_ATOMIC) };
        served += u64::from(!cell.is_null());
    }
    give_all(HEIRLOOM, &mut pad);
    pr_info!("atomic asked {} served {}\n", nr, served);
    Ok(())
}

/// `misuse`: none of these has an effect but a line in the log.
pub(crate) fn misuse() -> Result {
    // SAFETY: pointers that are no objects of the pool are refused; that is what is tried here.
    unsafe {
        let object = c::heirloom_alloc(100, may_sleep());
        let ordinary = c::sample_kmalloc(100);
        if object.is_null() || ordinary.is_null() {
            return Err(ENOMEM);
        }
        c::heirloom_free(object.cast::<u8>().add(8).cast());
        c::heirloom_free(ordinary);
        c::heirloom_free(0x1234usize as *mut c_void);
        c::heirloom_free(null_mut());
        let is_bad = [
            c::heirloom_publish(c"sample/stray".as_ptr().cast(), ordinary) == 0,
            c::heirloom_publish(c"".as_ptr().cast(), object) == 0,
            !c::heirloom_alloc(0, may_sleep()).is_null(),
            !c::heirloom_alloc(1 << 20, may_sleep()).is_null(),
            !c::heirloom_object(c::heirloom_handle(object) + 16).is_null(),
            !c::heirloom_retrieve(c"sample/none".as_ptr().cast(), null_mut()).is_null(),
            c::heirloom_size(object) != 112,
        ];
        c::sample_kfree(ordinary);
        c::heirloom_free(object);
        let nr_bad = is_bad.iter().filter(|&&bad| bad).count();
        pr_info!("misuse accepted {}\n", nr_bad);
        if nr_bad == 0 {
            Ok(())
        } else {
            Err(EIO)
        }
    }
}

#[repr(C)]
struct Counters {
    boots: u64,
    list: [u64; 4],
}

// SAFETY: integers, in C's layout.
unsafe impl Plain for Counters {}

/// `safe`: a counter that is one higher in each kernel, and a second object that it leads to.
pub(crate) fn safe() -> Result {
    let mut counters = match take::<Counters>(c"sample/counters") {
        Some(counters) => counters,
        None => Inherited::<Counters>::alloc(May::Sleep).ok_or(ENOMEM)?,
    };
    counters.boots += 1;
    if counters.list[0] != 0 {
        // SAFETY: the handle was made below, by an earlier kernel, and is taken once.
        let old = unsafe { Inherited::<u64>::from_handle(counters.list[0]) }.ok_or(EIO)?;
        if *old != counters.boots - 1 {
            return Err(EIO);
        }
    }
    let mut next = Inherited::<u64>::alloc(May::NotSleep).ok_or(ENOMEM)?;
    *next = counters.boots;
    counters.list[0] = next.into_handle();
    pr_info!("safe boots {}\n", counters.boots);
    publish(c"sample/counters", counters)
}
