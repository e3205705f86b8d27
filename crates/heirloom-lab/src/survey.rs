//! What a design has in preserved pages, and a scan of them for bytes that are nobody's any more.
//!
//! ```text
//!  preserved page   |  live  |  free slot, allocatable  |  live  |  left over: stranded  |
//!                               old bytes in it: stale; of an object that was never handed over: foreign
//! ```

use std::collections::HashMap;

use crate::marks::Mark;
use crate::ram::Ram;

/// What a region of preserved pages is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionKind {
    /// Pages of one object.
    Whole,
    /// A slab whose free slots serve anybody.
    Shared,
    /// A slab or a part of a pool whose free slots serve only what is to be preserved.
    Apart,
    /// Pages that nothing can be allocated from.
    Closed,
    /// Records.
    Records,
}

/// Preserved pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Physical address.
    pub phys: u64,
    /// Bytes.
    pub bytes: u64,
    /// What they are.
    pub kind: RegionKind,
}

/// What a design has in preserved pages.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// All preserved pages, those of the map itself excepted.
    pub regions: Vec<Region>,
    /// Bytes of them that can be allocated.
    pub allocatable_bytes: u64,
}

impl Survey {
    /// Bytes of preserved pages, without records.
    pub fn preserved_bytes(&self) -> u64 {
        self.regions
            .iter()
            .filter(|region| region.kind != RegionKind::Records)
            .map(|region| region.bytes)
            .sum()
    }

    /// Bytes of records.
    pub fn record_bytes(&self) -> u64 {
        self.regions
            .iter()
            .filter(|region| region.kind == RegionKind::Records)
            .map(|region| region.bytes)
            .sum()
    }
}

/// Stale bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// All of them.
    pub bytes: u64,
    /// Those of objects that were never to be handed over.
    pub foreign_bytes: u64,
}

/// Reads every word of the regions: what is marked as an object's and is not that object any more is stale. `live` gives address and bytes of
/// each preserved object by its number.
pub(crate) fn scan(ram: &Ram<'_>, regions: &[Region], live: &HashMap<u32, (u64, u64)>) -> Stale {
    let mut stale = Stale::default();
    // Words of one object lie side by side, so most are answered by the answer before.
    let (mut last, mut range) = (None, 0..0);
    for region in regions {
        for (word, at) in ram.words(region.phys, (region.bytes / 8) as usize).zip((region.phys..).step_by(8))
        {
            let Some(mark) = Mark::of_word(word) else { continue };
            let key = Some((mark.id, mark.is_preserved));
            if last != key {
                last = key;
                let place = live.get(&mark.id).filter(|_| mark.is_preserved);
                range = place.map_or(0..0, |&(phys, bytes)| phys..phys + bytes);
            }
            if !range.contains(&at) {
                stale.bytes += 8;
                stale.foreign_bytes += if mark.is_preserved { 0 } else { 8 };
            }
        }
    }
    stale
}
