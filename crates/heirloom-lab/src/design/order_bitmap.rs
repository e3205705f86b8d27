//! Mixed pages with a record: order and bitmap.
//!
//! ```text
//!  predecessor   | kept | other | free | other |     record: address, order, cache, bitmap 1000
//!  successor     | kept | free  | free | free  |     a slab again, with three slots for anybody
//! ```
//!
//! Objects stay where SLUB put them. At the freeze every preserved slab is written down; the successor rebuilds it: kept objects are allocated,
//! all other slots are free at once, and `kfree` works. Free slots hold what the predecessor's other objects left, until they are handed
//! out; *scrubbed*, the successor zeroes them while it rebuilds. The predecessor cannot: up to the jump those objects are in use.
//!
//! # The record
//!
//! A list of pages, each `next: u64` (0: none), `bytes in use: u64`, entries. An entry: `address | order`, `cache | slots << 16`, then the bitmap in words.
//! The successor distrusts it: an entry that is not laid out as its caches are is an error, never a slab.

use heirloom_mm::{Gfp, PAGE_BYTES};

use super::{Awake, Design, Life, Object, kept_slabs};
use crate::kernel::Kernel;
use crate::slub::CacheId;
use crate::survey::{Region, RegionKind, Survey};
use crate::{LabError, Workload};

/// Name of the record in the handover tree.
const NODE: &str = "lab-slabs";

const HEAD_BYTES: u64 = 16;

/// The design.
pub struct OrderBitmap {
    /// The successor zeroes the other slots.
    pub is_scrubbed: bool,
}

impl Design for OrderBitmap {
    fn name(&self) -> &'static str {
        if self.is_scrubbed { "mixed-bitmap-scrubbed" } else { "mixed-bitmap" }
    }

    fn title(&self) -> &'static str {
        if self.is_scrubbed { "mixed, bitmap, scrubbed" } else { "mixed, order and bitmap" }
    }

    fn wake(
        &self,
        kernel: &mut Kernel<'_, '_>,
        _workload: &Workload,
        inherited: &[Object],
    ) -> Result<Awake, LabError> {
        let caches = kernel.caches.clone();
        let records = read_record(kernel, self.is_scrubbed)?;
        let lost = find_lost(kernel, inherited);
        Ok(Awake { life: Box::new(Recorded { caches, records, kind: RegionKind::Shared }), lost })
    }
}

/// Slabs that are written down at the freeze.
pub(super) struct Recorded {
    /// From which cache a kind is kept.
    pub(super) caches: Vec<CacheId>,
    /// Pages of the record: the predecessor's until the freeze, then ours.
    pub(super) records: Vec<u64>,
    pub(super) kind: RegionKind,
}

impl Life for Recorded {
    fn keep(&mut self, kernel: &mut Kernel<'_, '_>, kind: u16) -> Result<u64, LabError> {
        kept_slabs::keep(kernel, self.caches[usize::from(kind)])
    }

    fn release(&mut self, kernel: &mut Kernel<'_, '_>, object: &Object) -> Result<(), LabError> {
        kept_slabs::release(kernel, object)
    }

    fn freeze(&mut self, kernel: &mut Kernel<'_, '_>) -> Result<(), LabError> {
        for page in self.records.drain(..) {
            kernel.machine.free_pages(page, 0)?;
        }
        self.records = write_record(kernel)?;
        Ok(())
    }

    fn survey(&self, kernel: &Kernel<'_, '_>) -> Survey {
        let mut survey = kept_slabs::survey(kernel, self.kind);
        let record = |&phys: &u64| Region { phys, bytes: PAGE_BYTES, kind: RegionKind::Records };
        survey.regions.extend(self.records.iter().map(record));
        survey
    }
}

/// Objects that are not on a slab that came back.
pub(super) fn find_lost(kernel: &mut Kernel<'_, '_>, inherited: &[Object]) -> Vec<u32> {
    let is_lost = |object: &&Object| kernel.slub.slab_of(object.phys).is_none();
    inherited.iter().filter(is_lost).map(|object| object.id).collect()
}

/// Writes every preserved slab down, on pages that are preserved and named in the tree: those pages.
fn write_record(kernel: &mut Kernel<'_, '_>) -> Result<Vec<u64>, LabError> {
    let mut pages: Vec<Vec<u64>> = Vec::new();
    for (slab, layout) in kernel.slub.slabs().filter(|(slab, _)| slab.nr_kept() > 0) {
        let entry =
            [slab.phys | u64::from(layout.order), u64::from(slab.cache.0) | u64::from(layout.slots) << 16];
        let entry: Vec<u64> = entry.into_iter().chain(slab.kept().iter().copied()).collect();
        let room = (PAGE_BYTES - HEAD_BYTES) as usize / 8;
        match pages.last_mut().filter(|page| page.len() + entry.len() <= room) {
            Some(page) => page.extend(entry),
            None => pages.push(entry),
        }
    }
    let mut taken = Vec::new();
    for _ in &pages {
        let page = kernel.machine.alloc_pages(0, Gfp::ZERO)?;
        kernel.machine.preserve_folio(page)?;
        taken.push(page);
    }
    for (at, words) in pages.iter().enumerate() {
        let next = taken.get(at + 1).copied().unwrap_or(0);
        let head = [next, words.len() as u64 * 8];
        let all: Vec<u64> = head.into_iter().chain(words.iter().copied()).collect();
        kernel.ram.write_words(taken[at], all.into_iter());
    }
    if let Some(&first) = taken.first() {
        kernel.machine.add_subtree(NODE, first, PAGE_BYTES)?;
    }
    Ok(taken)
}

/// Rebuilds the slabs that the predecessor wrote down: the pages of its record, which are the caller's now.
///
/// A record that is wrong ends the run: its slabs, and all that lay on them, cannot be told from free memory.
pub(super) fn read_record(kernel: &mut Kernel<'_, '_>, is_scrubbed: bool) -> Result<Vec<u64>, LabError> {
    let mut pages = Vec::new();
    let mut at = kernel.machine.retrieve(NODE).map_or(0, |found| found.data);
    while at != 0 {
        // Claimed only once, so a list that bites its tail ends here.
        kernel.machine.restore_folio(at)?;
        pages.push(at);
        let words: Vec<u64> = kernel.ram.words(at, (PAGE_BYTES / 8) as usize).collect();
        at = words[0];
        let end = HEAD_BYTES.saturating_add(words[1]) / 8;
        let mut entries =
            words.get(2..end as usize).ok_or(LabError::Record("a page in use beyond its end"))?;
        while let [head, layout, rest @ ..] = entries {
            let slots = (layout >> 16) as u32;
            let nr_words = (slots as usize).div_ceil(64);
            let bitmap = rest.get(..nr_words).ok_or(LabError::Record("an entry that is cut short"))?;
            let (phys, order) = (head & !(PAGE_BYTES - 1), (head & (PAGE_BYTES - 1)) as u32);
            rebuild(kernel, CacheId(*layout as u16), phys, (order, slots), bitmap, is_scrubbed)?;
            entries = &rest[nr_words..];
        }
    }
    Ok(pages)
}

fn rebuild(
    kernel: &mut Kernel<'_, '_>,
    cache: CacheId,
    phys: u64,
    (order, slots): (u32, u32),
    bitmap: &[u64],
    is_scrubbed: bool,
) -> Result<(), LabError> {
    let layout = kernel.slub.layout(cache).filter(|layout| layout.slots == slots && layout.order == order);
    let layout = layout.ok_or(LabError::Record("a slab that is not laid out as its cache's"))?;
    if kernel.machine.restore_folio(phys)? != order {
        return Err(LabError::Record("a slab whose pages were preserved as another order"));
    }
    kernel.slub.adopt(cache, phys, order, bitmap)?;
    if is_scrubbed {
        let is_free = |slot: &u32| bitmap[*slot as usize / 64] >> (slot % 64) & 1 == 0;
        for slot in (0..slots).filter(is_free) {
            kernel.ram.zero(phys + u64::from(slot) * layout.slot_bytes, layout.slot_bytes);
        }
        let used = u64::from(slots) * layout.slot_bytes;
        kernel.ram.zero(phys + used, (PAGE_BYTES << order) - used);
    }
    kernel.machine.preserve_folio(phys)?;
    Ok(())
}
