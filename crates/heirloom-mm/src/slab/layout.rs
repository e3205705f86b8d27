//! Which layouts of a foreign preserve pool can be served.
//!
//! A pool's record says how large its blocks are and when its free slots are zeroed, and the slab restores any that is sound. A machine
//! cannot serve any: its blocks are blocks of the buddy allocator, all of one order, and an allocation that asks for zeros
//! gets a free slot as it is. So what a predecessor's record says is compared with what this machine formats, before
//! anything of the pool is taken over.

use core::ops::Range;

use heirloom_abi::pool::PoolReader;
use heirloom_slab::RestoreError;

use super::host::BLOCK_BYTES;
use crate::phys::Memory;

/// The `scrub` of a pool that zeroes a slot when it is freed.
const ON_FREE: u32 = 0;

/// A pool was not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Its record is wrong.
    #[error(transparent)]
    Record(#[from] RestoreError),
    /// Its blocks are not a machine's.
    #[error("its blocks are of 2^{block_shift} bytes, not 2^{}", BLOCK_BYTES.trailing_zeros())]
    Block {
        /// What its record says.
        block_shift: u32,
    },
    /// Its free slots are not zeros always.
    #[error("its free slots are zeroed at the freeze (scrub {scrub}), not on free")]
    Scrub {
        /// What its record says.
        scrub: u32,
    },
}

/// Compares the record in a control area with what a machine's pools are like. The control area is memory that was claimed.
///
/// # Errors
///
/// [`LayoutError`].
pub(crate) fn check_layout(map: Memory, control: Range<u64>) -> Result<(), LayoutError> {
    let start = control.start;
    let area = ControlArea { map, range: control };
    let reader = PoolReader::open(&area, start).map_err(RestoreError::from)?;
    let (block_shift, scrub) = (reader.geometry().block_shift, reader.scrub());
    if block_shift != BLOCK_BYTES.trailing_zeros() {
        return Err(LayoutError::Block { block_shift });
    }
    if scrub != ON_FREE {
        return Err(LayoutError::Scrub { scrub });
    }
    Ok(())
}

/// The bytes of a control area, and no others.
struct ControlArea {
    map: Memory,
    range: Range<u64>,
}

impl ControlArea {
    fn has(&self, offset: u64, len: u64) -> Option<()> {
        let end = offset.checked_add(len)?;
        (self.range.start <= offset && end <= self.range.end).then_some(())
    }
}

impl heirloom_abi::pool::Memory for ControlArea {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Option<()> {
        self.has(offset, buffer.len() as u64)?;
        self.map.read(offset, buffer);
        Some(())
    }

    fn count_nonzero(&self, offset: u64, len: u64) -> Option<u64> {
        self.has(offset, len)?;
        let mut byte = [0];
        let is_nonzero = |at: &u64| {
            self.map.read(*at, &mut byte);
            byte != [0]
        };
        Some((offset..offset + len).filter(is_nonzero).count() as u64)
    }
}
