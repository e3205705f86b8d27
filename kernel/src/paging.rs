//! Page tables: the image with rights by section, a direct map of the RAM, and guard pages that can be taken out of it.
//!
//! ```text
//! 0x0000_0000_0000_0000   nothing: a null pointer is a fault
//! 0xffff_8000_0000_0000   direct map of the RAM, rw-, pages of 2 MiB        DIRECT_MAP
//!                            guard pool: pages of 4 KiB, each there or not
//! 0xffff_ffff_8000_0000   .text r-x | .rodata r-- | .data rw-, 4 KiB        IMAGE
//!                            the page below the stack: not there
//! ```
//!
//! Tables come out of a fixed array in the image's `.bss`, so that a generation needs no memory manager for its page tables,
//! and they lie where the image lies. A table is an index into the array; [`load`] is the only step from indices to the
//! processor.
//!
//! # Invariants
//!
//! - *ours*: every present entry that is not a leaf names a table of the array.
//! - *apart*: no page is both writable and executable.
#![expect(unsafe_code, reason = "page tables are loaded into the processor, and live in a static")]

use boot_protocol::range::PhysRange;
use spin::Mutex;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::page_table::PageTableEntry;
use x86_64::structures::paging::{PageTable, PageTableFlags as Flags, PhysFrame};
use x86_64::{PhysAddr, VirtAddr};

use crate::entry::ImageLayout;

/// Where all RAM is mapped, in every generation.
pub(crate) const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;

/// Where the image runs, in every generation.
pub(crate) const IMAGE: u64 = 0xffff_ffff_8000_0000;

const SMALL: u64 = 4096;
const LARGE: u64 = 2 << 20;

/// RAM from here on is left alone: the tables would not suffice.
pub(crate) const MAX_RAM: u64 = 64 << 30;

/// The tables there are: 1 for each GiB of RAM, 1 for each 2 MiB of guard pool and of the image, and a handful.
const NR_TABLES: usize = 96;

const _: () = assert!((MAX_RAM >> 30) as usize + 16 < NR_TABLES);

static TABLES: Mutex<Tables> =
    Mutex::new(Tables { pages: [const { PageTable::new() }; NR_TABLES], nr_used: 0, physical: 0 });

struct Tables {
    pages: [PageTable; NR_TABLES],
    /// The root is the first.
    nr_used: usize,
    /// The physical address of the first.
    physical: u64,
}

/// Builds the page tables of this generation and loads them.
///
/// `ram` is what is mapped, all of it below [`MAX_RAM`]; `image_physical` is where the image lies; `stack_guard` is a page of the
/// image that is left out.
///
/// # Panics
///
/// If the tables do not suffice.
pub(crate) fn load(ram: impl Iterator<Item = PhysRange>, image_physical: u64, stack_guard: u64) {
    let image = ImageLayout::of_this_kernel();
    let mut tables = TABLES.lock();
    tables.physical = (&raw const tables.pages).addr() as u64 - IMAGE + image_physical;
    let root = tables.take();

    for range in ram {
        let mut at = range.start & !(LARGE - 1);
        while at < range.end {
            let flags = Flags::PRESENT | Flags::WRITABLE | Flags::NO_EXECUTE | Flags::HUGE_PAGE;
            tables.entry(root, DIRECT_MAP + at, Level::Large).set_addr(PhysAddr::new(at), flags);
            at += LARGE;
        }
    }
    let sections = [
        (image.start, image.text_end, Flags::PRESENT),
        (image.text_end, image.rodata_end, Flags::PRESENT | Flags::NO_EXECUTE),
        (image.rodata_end, image.end, Flags::PRESENT | Flags::NO_EXECUTE | Flags::WRITABLE),
    ];
    for (start, end, flags) in sections {
        for at in (start..end).step_by(SMALL as usize).filter(|at| *at != stack_guard) {
            let physical = PhysAddr::new(at - IMAGE + image_physical);
            tables.entry(root, at, Level::Small).set_addr(physical, flags);
        }
    }

    let frame = PhysFrame::containing_address(PhysAddr::new(tables.physical));
    // SAFETY: the tables map this code, this stack and all statics where they are now, with the rights that each needs.
    unsafe { Cr3::write(frame, Cr3Flags::empty()) };
}

/// Says whether a page of the direct map is there from now on. Takes the large page that it is part of apart, if need be.
///
/// # Panics
///
/// If the address is not one of mapped RAM, or the tables do not suffice; in an exception that interrupted a change of the
/// tables.
pub(crate) fn set_present(address: u64, is_present: bool) {
    let mut tables = TABLES.try_lock().expect("nobody else changes page tables");
    let entry = tables.entry(0, address, Level::Small);
    assert!(!entry.is_unused(), "{address:#x} is not mapped");
    let mut flags = entry.flags();
    flags.set(Flags::PRESENT, is_present);
    entry.set_flags(flags);
    x86_64::instructions::tlb::flush(VirtAddr::new(address));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// An entry of the lowest level: 4 KiB.
    Small,
    /// An entry of the level above: 2 MiB.
    Large,
}

impl Tables {
    /// Finds the entry for an address, with all tables above it.
    fn entry(&mut self, root: usize, address: u64, level: Level) -> &mut PageTableEntry {
        let mut table = root;
        let shifts: &[u32] = match level {
            Level::Small => &[39, 30, 21],
            Level::Large => &[39, 30],
        };
        for &shift in shifts {
            let index = index(address, shift);
            table = self.below(table, index);
        }
        let shift = if level == Level::Small { 12 } else { 21 };
        &mut self.pages[table][index(address, shift)]
    }

    /// Returns the table that an entry names; makes one, or one that maps what the large page of the entry maps.
    fn below(&mut self, table: usize, index: usize) -> usize {
        let entry = self.pages[table][index].clone();
        let flags = entry.flags();
        if flags.contains(Flags::PRESENT) && !flags.contains(Flags::HUGE_PAGE) {
            // *ours*
            return ((entry.addr().as_u64() - self.physical) / SMALL) as usize;
        }
        let below = self.take();
        if flags.contains(Flags::HUGE_PAGE) {
            for (small, at) in self.pages[below].iter_mut().zip((0..).step_by(SMALL as usize)) {
                small.set_addr(entry.addr() + at, flags - Flags::HUGE_PAGE);
            }
        }
        // Rights are the leaves' affair.
        let physical = PhysAddr::new(self.physical + below as u64 * SMALL);
        self.pages[table][index].set_addr(physical, Flags::PRESENT | Flags::WRITABLE);
        below
    }

    fn take(&mut self) -> usize {
        assert!(self.nr_used < NR_TABLES, "{NR_TABLES} page tables do not suffice for this machine");
        self.nr_used += 1;
        self.nr_used - 1
    }
}

fn index(address: u64, shift: u32) -> usize {
    (address >> shift) as usize & 0x1ff
}
