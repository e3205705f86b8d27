//! The platform: all that the machine needs of the hardware under it, or of the process that plays the hardware.
//!
//! ```text
//!            heirloom-mm                      Platform                      bare metal        hosted
//! physical address --> memory        direct_map() + phys            page tables       one mapping
//! guard page closed, opened          guard(page), unguard(page)     page table entry  mprotect
//! a page fault                       watch(pool): pool.on_fault()   exception 14      SIGSEGV
//! who allocated this?                caller()                       CPU               thread
//! what time is it?                   now_ns()                       TSC, PIT          CLOCK_MONOTONIC
//! a word to the world                print()                        serial port       stderr
//! the successor                      load_successor(), jump()       boot module, jmp  boot again
//! ```
#![expect(unsafe_code, reason = "the trait's promises are about memory")]

use core::fmt;
use core::ptr::NonNull;

use crate::kfence::GuardPool;

/// What a machine runs on.
///
/// # Safety
///
/// - `direct_map() + phys` is the memory at physical address `phys`, readable and writable, for every byte of the memory
///   ranges in the machine's [`BootInfo`](crate::BootInfo) and for as long as the platform is borrowed; it never changes and
///   is not null (so memory at virtual address 0 will not do: the direct map starts elsewhere).
/// - But for the reserved ranges of the boot information, nobody else uses that memory meanwhile.
/// - After `guard(page)` any access to that page through the direct map faults, or (where the platform cannot) does
///   nothing worse than read and write that page; after `unguard(page)` it is memory again, its bytes unchanged.
pub unsafe trait Platform: Sync {
    /// Address of physical address 0 in the direct map.
    fn direct_map(&self) -> NonNull<u8>;

    /// Makes the page at physical address `page` fault on any access.
    fn guard(&self, page: u64);

    /// Makes it accessible again. Also called from the fault handler, so it waits for nothing.
    fn unguard(&self, page: u64);

    /// Tells the platform which guard pool its faults belong to; `None` when that pool is gone.
    ///
    /// The platform's fault handler calls [`GuardPool::on_fault`]; where that answers a report the access may be
    /// tried again, for the page is open now. Where it answers `None`, the fault is none of the guard pool's.
    fn watch(&self, guard: Option<GuardPool>);

    /// Nanoseconds of a clock that never goes back.
    fn now_ns(&self) -> u64;

    /// A number that tells who is running: a CPU, a thread, a task. It is printed in reports.
    fn caller(&self) -> u64;

    /// Writes to the console.
    fn print(&self, text: fmt::Arguments<'_>);

    /// Called while the machine's lock stays taken.
    fn pause(&self) {
        core::hint::spin_loop();
    }

    /// Puts the successor's image into scratch: `room(bytes, align)` gives the physical address of so many bytes there, which
    /// nothing else uses. Returns the address at which the successor is entered; `None` where it cannot be loaded.
    ///
    /// The default has no image: its successor is the same code.
    fn load_successor(&self, room: &mut dyn FnMut(u64, u64) -> Option<u64>) -> Option<u64> {
        let _ = room;
        Some(0)
    }

    /// Enters the successor. On bare metal this does not return; a hosted platform notes the handover and does.
    fn jump(&self, entry: u64, handover: Handover);
}

/// What the successor is told, and all that it is told: where the handover tree and the list of scratch areas lie.
///
/// The same four numbers as Linux passes to its successor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handover {
    /// Physical address of the root FDT, a page.
    pub fdt: u64,
    /// Bytes of the FDT.
    pub fdt_size: u64,
    /// Physical address of the list of scratch areas, a page.
    pub scratch: u64,
    /// Bytes of that list: 16 for each area (start, size, little-endian).
    pub scratch_size: u64,
}
