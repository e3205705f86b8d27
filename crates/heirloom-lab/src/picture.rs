//! Memory, page by page: what the pictures show.

use std::ops::Range;

use heirloom_mm::PAGE_BYTES;

use crate::kernel::Kernel;
use crate::survey::{RegionKind, Survey};

const HUGE_PAGE_BYTES: u64 = 2 << 20;

/// One entry of a legend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageClass {
    /// What such pages are.
    pub name: String,
    /// Their colour, as CSS has it.
    pub color: &'static str,
    /// True where how full a page is shows: the fuller the darker.
    pub is_shaded: bool,
}

/// One page, or more of them where memory is large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Its class; 0 is what is left out where whole rows of it follow each other.
    pub class: u8,
    /// How much of it live objects fill, 0 to 255.
    pub fill: u8,
}

/// A picture of memory.
#[derive(Clone, Debug, Default)]
pub struct PageMap {
    /// Its headline.
    pub title: String,
    /// What one should know to read it.
    pub note: String,
    /// Classes of pages.
    pub classes: Vec<PageClass>,
    /// Address of the first cell.
    pub start: u64,
    /// Bytes of a cell.
    pub cell_bytes: u64,
    /// The cells.
    pub cells: Vec<Cell>,
}

impl PageMap {
    /// Cells of a class.
    pub fn count(&self, class: u8) -> usize {
        self.cells.iter().filter(|cell| cell.class == class).count()
    }

    /// Blocks of 2 MiB, a huge page each, in which a page of one of these classes lies.
    pub fn nr_huge_pages_with(&self, classes: &[u8]) -> usize {
        let at = |index: usize| (self.start + index as u64 * self.cell_bytes) / HUGE_PAGE_BYTES;
        let mut blocks: Vec<u64> = (0..self.cells.len())
            .filter(|&index| classes.contains(&self.cells[index].class))
            .map(at)
            .collect();
        blocks.dedup();
        blocks.len()
    }
}

/// Free, or the kernel's own.
pub const FREE: u8 = 0;
/// Scratch.
pub const SCRATCH: u8 = 1;
/// Guard pool.
pub const GUARD: u8 = 2;
/// Ordinary slabs.
pub const ORDINARY: u8 = 3;
/// Preserved, with nothing ordinary on it.
pub const PRESERVED: u8 = 4;
/// Preserved, with ordinary objects on it.
pub const MIXED: u8 = 5;
/// Preserved, and nothing can be allocated from it.
pub const STRANDED: u8 = 6;
/// Records of what is preserved.
pub const RECORDS: u8 = 7;

/// Pages that stay where they are in every generation to come, as long as their objects live.
pub const PINNED: [u8; 4] = [PRESERVED, MIXED, STRANDED, RECORDS];

/// The classes of a kernel's pages.
pub fn kernel_classes() -> Vec<PageClass> {
    let class = |name: &str, color, is_shaded| PageClass { name: name.to_owned(), color, is_shaded };
    vec![
        class("free, or the kernel's own", "#f4f4f2", false),
        class("scratch", "#c9d7e8", false),
        class("guard pool", "#e3c8ec", false),
        class("ordinary slab", "#8d99a6", true),
        class("preserved", "#2a9d55", true),
        class("mixed: preserved and ordinary objects", "#e0a100", true),
        class("stranded: preserved, unusable but for its object", "#d0342c", true),
        class("records", "#1f4e9c", false),
    ]
}

/// The picture of a kernel's memory. `pieces` are objects: address, bytes, whether they are preserved.
pub(crate) fn of_kernel(
    kernel: &Kernel<'_, '_>,
    survey: &Survey,
    memory: &Range<u64>,
    pieces: impl Iterator<Item = (u64, u64, bool)>,
) -> PageMap {
    let mut pages = Pages::new(memory);
    for area in kernel.machine.scratch().iter() {
        pages.set(area.start, area.end - area.start, SCRATCH);
    }
    if let Some(guard) = kernel.machine.guard() {
        let range = guard.range();
        pages.set(range.start, range.end - range.start, GUARD);
    }
    for (slab, layout) in kernel.slub.slabs() {
        pages.set(slab.phys, PAGE_BYTES << layout.order, ORDINARY);
    }
    for region in &survey.regions {
        let class = match region.kind {
            RegionKind::Whole | RegionKind::Shared | RegionKind::Apart => PRESERVED,
            RegionKind::Closed => STRANDED,
            RegionKind::Records => RECORDS,
        };
        pages.set(region.phys, region.bytes, class);
    }
    for (phys, bytes, is_preserved) in pieces {
        pages.add(phys, bytes, is_preserved);
    }
    PageMap {
        title: String::new(),
        note: String::new(),
        classes: kernel_classes(),
        start: memory.start,
        cell_bytes: PAGE_BYTES,
        cells: pages.cells(),
    }
}

struct Pages {
    start: u64,
    /// Class, live bytes, whether an ordinary object is there.
    pages: Vec<(u8, u64, bool)>,
}

impl Pages {
    fn new(memory: &Range<u64>) -> Self {
        let nr = ((memory.end - memory.start) / PAGE_BYTES) as usize;
        Self { start: memory.start, pages: vec![(FREE, 0, false); nr] }
    }

    fn set(&mut self, phys: u64, bytes: u64, class: u8) {
        let first = (phys.saturating_sub(self.start) / PAGE_BYTES) as usize;
        let nr = bytes.div_ceil(PAGE_BYTES) as usize;
        for page in self.pages.iter_mut().skip(first).take(nr) {
            page.0 = class;
        }
    }

    fn add(&mut self, phys: u64, bytes: u64, is_preserved: bool) {
        let mut at = phys;
        while at < phys + bytes {
            let end = ((at & !(PAGE_BYTES - 1)) + PAGE_BYTES).min(phys + bytes);
            if let Some(page) = self.pages.get_mut((at.saturating_sub(self.start) / PAGE_BYTES) as usize) {
                page.1 += end - at;
                page.2 |= !is_preserved;
            }
            at = end;
        }
    }

    fn cells(&self) -> Vec<Cell> {
        let cell = |&(class, live, has_ordinary): &(u8, u64, bool)| Cell {
            class: if class == PRESERVED && has_ordinary { MIXED } else { class },
            fill: (live * 255 / PAGE_BYTES).min(255) as u8,
        };
        self.pages.iter().map(cell).collect()
    }
}
