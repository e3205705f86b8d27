//! Where the parts of a new heap lie in its file.

use heirloom_abi::heap::Region;
use heirloom_abi::pool::{Geometry, GeometryError};

use super::map_pages;

/// Caches of a heap: the size classes, and room for some of their own.
const MAX_CACHES: u32 = 64;

/// Threads with a CPU slot of their own; further ones share one. A slot has room for some 520 KiB, of which the caches in use
/// take their part, so a small heap has fewer: one for each 4 MiB.
const MAX_CPUS: u64 = 256;
const MIN_CPUS: u64 = 8;

/// Room for roots and the descriptions of their types.
const ROOTS_BYTES: u64 = 64 << 10;

const PAGE: u64 = 4096;

/// The parts of a heap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) geometry: Geometry,
    pub(crate) reserved: u64,
    pub(crate) fdt: Region,
    pub(crate) map: Region,
    pub(crate) roots: Region,
    pub(crate) control: Region,
    pub(crate) first_block: u64,
}

impl Layout {
    /// Lays out a heap of at most `size_limit` bytes: header, FDT, map, roots, control area, then the blocks.
    ///
    /// At least one block of room is left, however small the limit.
    pub(crate) fn new(size_limit: u64, block_shift: u32) -> Result<Self, GeometryError> {
        let block = 1u64.checked_shl(block_shift).ok_or(GeometryError::Block(block_shift))?;
        // So many blocks can never be reached, so the tables below suffice.
        let max_blocks = u32::try_from(size_limit.div_ceil(block)).unwrap_or(u32::MAX).max(1);
        let max_cpus = (size_limit >> 22).clamp(MIN_CPUS, MAX_CPUS) as u32;
        let geometry = Geometry::new(block_shift, MAX_CACHES, max_cpus, max_blocks)?;
        let fdt = Region { offset: PAGE, bytes: PAGE };
        let map_bytes = map_pages::pages_needed(size_limit.next_multiple_of(block), block_shift) * PAGE;
        let map = after(fdt, map_bytes);
        let roots = after(map, ROOTS_BYTES);
        let control = after(roots, geometry.control_bytes());
        let first_block = (control.offset + control.bytes).next_multiple_of(block);
        let reserved = size_limit.next_multiple_of(block).max(first_block + block);
        Ok(Self { geometry, reserved, fdt, map, roots, control, first_block })
    }
}

fn after(before: Region, bytes: u64) -> Region {
    Region { offset: before.offset + before.bytes, bytes: bytes.next_multiple_of(PAGE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_and_leave_room_for_a_block() {
        for (limit, shift) in [(0, 21), (1 << 20, 16), (64 << 30, 21), (1 << 40, 21), (1 << 40, 30)] {
            let layout = Layout::new(limit, shift).unwrap();
            let parts = [layout.fdt, layout.map, layout.roots, layout.control];
            for pair in parts.windows(2) {
                assert_eq!(pair[0].offset + pair[0].bytes, pair[1].offset);
            }
            assert!(layout.control.offset + layout.control.bytes <= layout.first_block);
            assert!(layout.first_block + layout.geometry.block_bytes() <= layout.reserved);
            assert!(layout.reserved >= limit);
        }
    }
}
