//! The machine's platform: what `heirloom-mm` needs of the hardware.
//!
//! ```text
//! heirloom-mm                            here
//! direct_map()                           paging::DIRECT_MAP
//! guard(page), unguard(page)             the present bit of the page in the direct map
//! GuardPool::on_fault()                  from exception 14
//! now_ns(), print()                      clock, serial
//! load_successor(room)                   successor::load: out of the boot module
//! jump(entry, handover)                  poison, successor::tell, jump::jump
//! ```
#![expect(unsafe_code, reason = "the trait's promises are about memory")]

use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;

use boot_protocol::range::PhysRange;
use boot_protocol::record::{Record, RecordError};
use boot_protocol::start_info::StartInfo;
use heirloom_mm::kfence::GuardPool;
use heirloom_mm::{Handover, Platform};
use spin::{Mutex, Once};

use crate::exit::{Verdict, exit};
use crate::serial::{self, println};
use crate::successor::{self, Placed};
use crate::{clock, jump, paging, physical, poison};

/// Below it lie the firmware's tables, and what a PC has had there since 1981. Nothing of ours does.
pub(crate) const FIRST_MIB: PhysRange = PhysRange { start: 0, end: 1 << 20 };

/// The one there is; exceptions look for it here.
static HARDWARE: Once<Hardware> = Once::new();

/// What this generation runs on.
pub(crate) struct Hardware {
    told: StartInfo,
    own_image: PhysRange,
    guard: Mutex<Option<GuardPool>>,
    /// The pages of the guard pool, some of which are closed.
    guard_pages: Mutex<Range<u64>>,
    placed: Mutex<Option<Placed>>,
}

impl Hardware {
    /// Takes down what this generation was told at its start, and where its image lies.
    pub(crate) fn init(told: StartInfo, own_image: PhysRange) -> &'static Self {
        HARDWARE.call_once(|| Self {
            told,
            own_image,
            guard: Mutex::new(None),
            guard_pages: Mutex::new(0..0),
            placed: Mutex::new(None),
        })
    }

    /// Returns what this generation was told at its start.
    pub(crate) fn told(&self) -> &StartInfo {
        &self.told
    }

    /// Returns where the image of this generation lies.
    pub(crate) fn own_image(&self) -> PhysRange {
        self.own_image
    }

    /// Reads the handover record, if there is one.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub(crate) fn handover(&self) -> Result<Option<Handover>, RecordError> {
        let Some(range) = self.told.record else { return Ok(None) };
        // SAFETY: nobody has written to memory yet but to this image, which does not lie there.
        let bytes = unsafe { physical::bytes(range) }.unwrap_or_default();
        let record = Record::read(bytes)?;
        Ok(Some(Handover {
            fdt: record.fdt.start,
            fdt_size: record.fdt.size_bytes(),
            scratch: record.scratch_list.start,
            scratch_size: record.scratch_list.size_bytes(),
        }))
    }

    /// Spoils scratch, or all that is not handed over if the command line says so.
    ///
    /// # Safety
    ///
    /// - Nobody needs any memory any more but what is handed over and what is `kept`.
    unsafe fn spoil(&self, record: &Record, kept: &[PhysRange]) {
        if self.told.option("spoil") != Some("all") {
            // SAFETY: the caller's promise holds for scratch as well.
            return unsafe { poison::scratch(record, kept) };
        }
        for page in self.guard_pages.lock().clone().step_by(4096) {
            self.unguard(page);
        }
        // SAFETY: by the caller's promise; with the guard pool's pages open, all RAM is mapped.
        if let Err(error) = unsafe { poison::all(record, self.told.ram(paging::MAX_RAM), kept) } {
            println!("cannot jump: {error}");
            exit(Verdict::Failure);
        }
    }
}

// SAFETY:
// - The direct map covers all RAM of the start info from before the machine is booted, and is never changed but by `guard`
//   and `unguard`; it does not start at null.
// - Besides the machine there are this image, its start info and its boot modules, all of which are reserved to it, and
//   memory below 1 MiB.
// - A page without its present bit faults on any access, and with it is what it was.
unsafe impl Platform for Hardware {
    fn direct_map(&self) -> NonNull<u8> {
        const BASE: NonNull<u8> =
            NonNull::new(paging::DIRECT_MAP as *mut u8).expect("the direct map does not start at null");
        BASE
    }

    fn guard(&self, page: u64) {
        paging::set_present(physical::virtual_address(page), false);
    }

    fn unguard(&self, page: u64) {
        paging::set_present(physical::virtual_address(page), true);
    }

    fn watch(&self, guard: Option<GuardPool>) {
        *self.guard.lock() = guard;
        if let Some(guard) = guard {
            *self.guard_pages.lock() = guard.range();
        }
    }

    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    /// There is one processor, and it runs one thing.
    fn caller(&self) -> u64 {
        0
    }

    fn print(&self, text: fmt::Arguments<'_>) {
        serial::write(text);
    }

    fn load_successor(&self, room: &mut dyn FnMut(u64, u64) -> Option<u64>) -> Option<u64> {
        // SAFETY: the machine gives room that nobody else uses; this image and its modules are reserved to it.
        match unsafe { successor::load(&self.told, room) } {
            Ok(placed) => {
                *self.placed.lock() = Some(placed);
                Some(placed.entry())
            }
            Err(error) => {
                println!("no successor: {error}");
                None
            }
        }
    }

    fn jump(&self, entry: u64, handover: Handover) {
        let placed = self.placed.lock().filter(|placed| placed.entry() == entry);
        let placed = placed.expect("the machine jumps to what was loaded last");
        let range =
            |start, size_bytes| PhysRange::new(start, size_bytes).expect("the handover lies in memory");
        let record = Record {
            fdt: range(handover.fdt, handover.fdt_size),
            scratch_list: range(handover.scratch, handover.scratch_size),
        };
        // SAFETY: the machine has jumped: nothing of it is needed but what is handed over, this image and the successor.
        unsafe { self.spoil(&record, &[FIRST_MIB, self.own_image, placed.room()]) };
        // SAFETY: since `load_successor` the room has been the successor's.
        match unsafe { successor::tell(placed, &self.told, record) } {
            // SAFETY: what was loaded is a kernel that is entered as PVH prescribes: its note says so.
            Ok(successor) => unsafe { jump::jump(successor, self.own_image.start) },
            Err(error) => {
                println!("cannot jump: {error}");
                exit(Verdict::Failure);
            }
        }
    }
}

/// Gives a page fault to the guard pool; says whether it was the pool's, so that the access can be tried again.
pub(crate) fn handle_page_fault(address: u64, is_write: bool) -> bool {
    let Some(hardware) = HARDWARE.get() else { return false };
    let Some(guard) = hardware.guard.try_lock().and_then(|guard| *guard) else { return false };
    // SAFETY: `watch` is told when a pool goes; a machine that jumps does not come back.
    let report = unsafe { guard.on_fault(hardware, address as usize, is_write) };
    if let Some(report) = &report {
        // The whole report stays in the pool's ring, for whoever provoked it or looks for it.
        println!("page fault at {address:#x}: {:?}, the guard page is open now", report.kind);
    }
    report.is_some()
}
