//! Little-endian fields at offsets that are constants of this format.
//!
//! Unlike [`le`], whose offsets may come from foreign bytes, these cannot be out of range: every
//! slice below is a whole page or a whole copy, and its layout is asserted where it is declared.

use super::HEADER_BYTES;
use crate::le;

pub(super) type Page = [u8; HEADER_BYTES];

/// A half-open range of bytes that are zero in this version.
pub(super) struct Gap {
    pub(super) start: usize,
    pub(super) end: usize,
}

pub(super) const fn gap(start: usize, end: usize) -> Gap {
    assert!(start <= end && end <= HEADER_BYTES);
    Gap { start, end }
}

const IN_RANGE: &str = "fields lie inside their record";

macro_rules! fields {
    ($($get:ident $put:ident $int:ty)*) => { $(
        pub(super) fn $get(bytes: &[u8], at: usize) -> $int {
            le::$get(bytes, at).expect(IN_RANGE)
        }

        pub(super) fn $put(bytes: &mut [u8], at: usize, value: $int) {
            le::$put(bytes, at, value).expect(IN_RANGE);
        }
    )* };
}

fields! {
    get_u16 put_u16 u16
    get_u32 put_u32 u32
    get_u64 put_u64 u64
}
