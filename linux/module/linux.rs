// SPDX-License-Identifier: GPL-2.0

//! Linux, as far as this module needs it: what `shim.c` offers, behind safe functions.
//!
//! ```text
//! host, pool, handover, names, report   ->   linux (this file)   ->   shim.c   ->   Linux
//! ```
//!
//! Everything here but the declarations is safe to call. Memory that comes out of here is described where it comes out.

use core::ffi::{c_int, c_uint, c_ulong, c_void};
use core::ptr::NonNull;

use kernel::error::{to_result, Error, Result};

mod raw {
    use super::*;

    extern "C" {
        pub(super) fn hl_base() -> *mut c_void;
        pub(super) fn hl_enter(cpu: *mut c_uint) -> c_ulong;
        pub(super) fn hl_leave(flags: c_ulong);
        pub(super) fn hl_nr_cpus() -> c_uint;
        pub(super) fn hl_ram_bytes() -> u64;
        pub(super) fn hl_random() -> u64;
        pub(super) fn hl_may_sleep(gfp: c_uint) -> bool;
        pub(super) fn hl_is_plain(address: *const c_void) -> bool;
        pub(super) fn hl_pages_take(bytes: u64) -> *mut c_void;
        pub(super) fn hl_pages_give(pages: *mut c_void, bytes: u64);
        pub(super) fn hl_pages_state(phys: u64, bytes: u64) -> c_int;
        pub(super) fn hl_pages_claim(phys: u64, bytes: u64) -> c_int;
        pub(super) fn hl_block_take() -> *mut c_void;
        pub(super) fn hl_block_give(block: *mut c_void);
        pub(super) fn hl_block_state(phys: u64) -> c_int;
        pub(super) fn hl_block_claim(phys: u64) -> c_int;
        pub(super) fn hl_is_kho() -> bool;
        pub(super) fn hl_subtree_add(blob: *mut c_void, bytes: u64) -> c_int;
        pub(super) fn hl_subtree_remove(blob: *mut c_void);
        pub(super) fn hl_subtree_find(phys: *mut u64, bytes: *mut u64) -> c_int;
        pub(super) fn hl_lock();
        pub(super) fn hl_unlock();
        pub(super) fn hl_wait_for_all();
        pub(super) fn hl_interrupt_all(cache: usize);
        pub(super) fn hl_pin() -> bool;
        pub(super) fn hl_unpin();
        pub(super) fn hl_work_later();
        pub(super) fn hl_scratchpad(bytes: u64) -> *mut c_void;
        pub(super) fn hl_scratchpad_free(pad: *mut c_void);
        pub(super) fn hl_write(to: *mut c_void, text: *const u8, len: usize);
        pub(super) fn hl_register() -> c_int;
        pub(super) fn hl_unregister();
    }
}

/// Where the direct map starts: the address of physical address 0.
pub(crate) fn base() -> NonNull<u8> {
    // SAFETY: reads a variable of the kernel's.
    let base: *mut u8 = unsafe { raw::hl_base() }.cast();
    NonNull::new(base).unwrap_or(NonNull::dangling())
}

/// The address of a physical address.
pub(crate) fn address(phys: u64) -> *mut u8 {
    base().as_ptr().wrapping_add(phys as usize)
}

/// The physical address of an address in the direct map.
pub(crate) fn phys<T>(address: *const T) -> u64 {
    (address.addr() as u64).wrapping_sub(base().as_ptr().addr() as u64)
}

/// A stretch of code on one CPU: nothing else runs on it until this is dropped.
pub(crate) struct OnCpu {
    flags: c_ulong,
    /// Which CPU.
    pub(crate) cpu: u32,
}

impl OnCpu {
    /// Interrupts off: the caller stays on this CPU and no handler comes between.
    pub(crate) fn enter() -> Self {
        let mut cpu = 0;
        // SAFETY: undone by the drop below, in the reverse order of nested ones, for values are dropped so.
        let flags = unsafe { raw::hl_enter(&mut cpu) };
        Self { flags, cpu }
    }
}

impl Drop for OnCpu {
    fn drop(&mut self) {
        // SAFETY: `flags` came from `hl_enter` on this CPU, which the caller could not leave.
        unsafe { raw::hl_leave(self.flags) }
    }
}

/// CPUs that there can be.
pub(crate) fn nr_cpus() -> u32 {
    // SAFETY: reads a variable that is constant by now.
    unsafe { raw::hl_nr_cpus() }
}

/// RAM of the machine.
pub(crate) fn ram_bytes() -> u64 {
    // SAFETY: reads a counter.
    unsafe { raw::hl_ram_bytes() }
}

/// A random number.
pub(crate) fn random() -> u64 {
    // SAFETY: may be called in any context.
    unsafe { raw::hl_random() }
}

/// Whether a caller with these flags may sleep.
pub(crate) fn may_sleep(gfp: u32) -> bool {
    // SAFETY: looks at the flags alone.
    unsafe { raw::hl_may_sleep(gfp) }
}

/// Whether an address is one of the direct map that may be read, and not one of KFENCE's.
pub(crate) fn is_plain(address: *const u8) -> bool {
    // SAFETY: asks about an address and does not read there.
    unsafe { raw::hl_is_plain(address.cast()) }
}

/// Takes zeroed pages that KHO preserves. Sleeps.
pub(crate) fn take_pages(bytes: u64) -> Option<NonNull<u8>> {
    // SAFETY: may be called wherever sleeping is allowed, which `might_sleep` in the page allocator checks.
    NonNull::new(unsafe { raw::hl_pages_take(bytes) }.cast())
}

/// Gives back what [`take_pages`] gave or [`claim_pages`] claimed. Sleeps.
///
/// # Safety
///
/// Nobody uses the pages any more.
pub(crate) unsafe fn give_pages(phys: u64, bytes: u64) {
    // SAFETY: by the caller's promise.
    unsafe { raw::hl_pages_give(address(phys).cast(), bytes) }
}

/// Fine where the range was handed over and nobody has restored it yet.
pub(crate) fn state_of_pages(phys: u64, bytes: u64) -> Result {
    // SAFETY: looks at page records, which it asks for first.
    to_result(unsafe { raw::hl_pages_state(phys, bytes) })
}

/// Restores a range for this kernel, and preserves it for the next one. Sleeps.
pub(crate) fn claim_pages(phys: u64, bytes: u64) -> Result {
    // SAFETY: KHO itself checks that the pages are there to be restored.
    to_result(unsafe { raw::hl_pages_claim(phys, bytes) })
}

/// Takes a zeroed block that KHO preserves. Sleeps.
pub(crate) fn take_block() -> Option<u64> {
    // SAFETY: as `take_pages`.
    let block = unsafe { raw::hl_block_take() };
    (!block.is_null()).then(|| phys(block))
}

/// Gives a block back to Linux. Sleeps.
///
/// # Safety
///
/// The block came from [`take_block`] or was claimed, and nobody uses it any more.
pub(crate) unsafe fn give_block(phys: u64) {
    // SAFETY: by the caller's promise.
    unsafe { raw::hl_block_give(address(phys).cast()) }
}

/// Fine where a block was handed over here and nobody has restored it yet.
pub(crate) fn state_of_block(phys: u64) -> Result {
    // SAFETY: as `state_of_pages`.
    to_result(unsafe { raw::hl_block_state(phys) })
}

/// Restores a block for this kernel, and preserves it for the next one. Sleeps.
pub(crate) fn claim_block(phys: u64) -> Result {
    // SAFETY: as `claim_pages`.
    to_result(unsafe { raw::hl_block_claim(phys) })
}

/// Whether KHO is on.
pub(crate) fn is_kho() -> bool {
    // SAFETY: reads a flag.
    unsafe { raw::hl_is_kho() }
}

/// Lists our blob in the handover tree.
pub(crate) fn add_subtree(blob: u64, bytes: u64) -> Result {
    // SAFETY: KHO notes the two numbers; the blob stays where it is until `remove_subtree`.
    to_result(unsafe { raw::hl_subtree_add(address(blob).cast(), bytes) })
}

/// Takes it off the tree.
pub(crate) fn remove_subtree(blob: u64) {
    // SAFETY: compares addresses only.
    unsafe { raw::hl_subtree_remove(address(blob).cast()) }
}

/// Finds the predecessor's blob: where it lies and how long it is. Both are its word alone.
pub(crate) fn find_subtree() -> Result<(u64, u64)> {
    let (mut phys, mut bytes) = (0, 0);
    // SAFETY: both pointers are to our own variables.
    to_result(unsafe { raw::hl_subtree_find(&mut phys, &mut bytes) })?;
    Ok((phys, bytes))
}

/// The lock for names, and for what happens to the pool as a whole. Sleeps.
pub(crate) struct Locked(());

impl Locked {
    pub(crate) fn take() -> Self {
        // SAFETY: undone by the drop below; nobody takes it twice, for nothing under it calls out.
        unsafe { raw::hl_lock() };
        Self(())
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: this value says that we hold it.
        unsafe { raw::hl_unlock() }
    }
}

/// Returns when whoever was on a CPU ([`OnCpu`]) has left. Sleeps.
pub(crate) fn wait_for_all() {
    // SAFETY: callers hold no lock that those sections wait for.
    unsafe { raw::hl_wait_for_all() }
}

/// Has `hl_on_interrupt` run on each CPU, with interrupts off, and returns when it has. Where sleeping is allowed.
pub(crate) fn interrupt_all(cache: usize) {
    // SAFETY: callers may sleep, so interrupts are on, and hold nothing that is waited for with interrupts off.
    unsafe { raw::hl_interrupt_all(cache) }
}

/// Keeps the module from being unloaded.
pub(crate) fn pin() -> bool {
    // SAFETY: the module is there, for it is running this.
    unsafe { raw::hl_pin() }
}

/// Takes back what [`pin`] did.
pub(crate) fn unpin() {
    // SAFETY: called once for each `pin`.
    unsafe { raw::hl_unpin() }
}

/// Has `hl_on_work` run soon, once however often it is asked for.
pub(crate) fn work_later() {
    // SAFETY: may be called in any context.
    unsafe { raw::hl_work_later() }
}

/// Bytes to work in, which lie on no stack.
pub(crate) struct Scratchpad {
    start: NonNull<u8>,
    bytes: usize,
}

impl Scratchpad {
    pub(crate) fn take(bytes: usize) -> Result<Self> {
        // SAFETY: a plain allocation; sleeping is allowed where this is called.
        let start = NonNull::new(unsafe { raw::hl_scratchpad(bytes as u64) }.cast());
        Ok(Self { start: start.ok_or(Error::from_errno(-12))?, bytes })
    }

    /// The bytes, which the caller fills first.
    pub(crate) fn fill_from(&mut self, from: &[u8]) -> &[u8] {
        let len = from.len().min(self.bytes);
        // SAFETY: `len` bytes are there, ours alone, and initialised by this copy.
        unsafe {
            self.start.as_ptr().copy_from_nonoverlapping(from.as_ptr(), len);
            core::slice::from_raw_parts(self.start.as_ptr(), len)
        }
    }
}

impl Drop for Scratchpad {
    fn drop(&mut self) {
        // SAFETY: it came from `hl_scratchpad`.
        unsafe { raw::hl_scratchpad_free(self.start.as_ptr().cast()) }
    }
}

/// A debugfs file that is being read.
pub(crate) struct Page(*mut c_void);

impl Page {
    /// # Safety
    ///
    /// `to` is the file that the caller was asked to fill, for as long as this lives.
    pub(crate) unsafe fn new(to: *mut c_void) -> Self {
        Self(to)
    }
}

impl core::fmt::Write for Page {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        // SAFETY: by the promise to `new`; the text is copied.
        unsafe { raw::hl_write(self.0, text.as_ptr(), text.len()) };
        Ok(())
    }
}

/// Makes the debugfs files, and asks to be told of a kexec.
pub(crate) fn register() -> Result {
    // SAFETY: called once, from the module's start.
    to_result(unsafe { raw::hl_register() })
}

/// Takes all of that back; when this returns, nothing calls us any more.
pub(crate) fn unregister() {
    // SAFETY: called once, from the module's end.
    unsafe { raw::hl_unregister() }
}
