//! The ground of a conversion: addresses that are followed. The heap may have been damaged, and a pointer that leads out of it is an error and no fault.

use std::ops::Range;

use super::ConvertError;

/// The addresses in which objects lie.
#[derive(Clone, Debug)]
pub(crate) struct Ground(Range<usize>);

impl Ground {
    pub(crate) fn new(addresses: Range<usize>) -> Self {
        Self(addresses)
    }

    /// Everywhere: for values that this program has just made.
    pub(crate) fn everywhere() -> Self {
        Self(0..usize::MAX)
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Says where an address leads to, at which so many bytes are to be read, as aligned as that.
    pub(super) fn at(&self, address: u64, bytes: usize, align: usize) -> Result<*const u8, ConvertError> {
        let start = usize::try_from(address).map_err(|_| ConvertError::Shape)?;
        let end = start.checked_add(bytes).ok_or(ConvertError::Shape)?;
        let is_here =
            bytes == 0 || (start >= self.0.start && end <= self.0.end && start.is_multiple_of(align));
        if is_here { Ok(std::ptr::with_exposed_provenance(start)) } else { Err(ConvertError::Shape) }
    }
}
