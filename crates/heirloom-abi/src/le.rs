//! Fixed-width little-endian integers at byte offsets: the one place where record modules turn bytes into numbers.
//!
//! Every function returns `None` instead of reaching past the end, so that a reader of foreign bytes needs no bounds
//! test of its own. `at` may be any value; an offset near [`usize::MAX`] does not wrap.

/// Returns the `N` bytes at `at`.
#[inline]
#[must_use]
pub fn get_array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

/// Writes `value` at `at`; writes nothing where it does not fit.
#[inline]
pub fn put_array<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut::<N>()? = value;
    Some(())
}

/// Returns the byte at `at`.
#[inline]
#[must_use]
pub fn get_u8(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// Reads the 16-bit integer at `at`.
#[inline]
#[must_use]
pub fn get_u16(bytes: &[u8], at: usize) -> Option<u16> {
    get_array(bytes, at).map(u16::from_le_bytes)
}

/// Reads the 32-bit integer at `at`.
#[inline]
#[must_use]
pub fn get_u32(bytes: &[u8], at: usize) -> Option<u32> {
    get_array(bytes, at).map(u32::from_le_bytes)
}

/// Reads the 64-bit integer at `at`.
#[inline]
#[must_use]
pub fn get_u64(bytes: &[u8], at: usize) -> Option<u64> {
    get_array(bytes, at).map(u64::from_le_bytes)
}

/// Writes a byte at `at`.
#[inline]
pub fn put_u8(bytes: &mut [u8], at: usize, value: u8) -> Option<()> {
    *bytes.get_mut(at)? = value;
    Some(())
}

/// Writes a 16-bit integer at `at`.
#[inline]
pub fn put_u16(bytes: &mut [u8], at: usize, value: u16) -> Option<()> {
    put_array(bytes, at, value.to_le_bytes())
}

/// Writes a 32-bit integer at `at`.
#[inline]
pub fn put_u32(bytes: &mut [u8], at: usize, value: u32) -> Option<()> {
    put_array(bytes, at, value.to_le_bytes())
}

/// Writes a 64-bit integer at `at`.
#[inline]
pub fn put_u64(bytes: &mut [u8], at: usize, value: u64) -> Option<()> {
    put_array(bytes, at, value.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_byte_comes_first() {
        let mut bytes = [0; 15];
        put_u8(&mut bytes, 0, 1).unwrap();
        put_u16(&mut bytes, 1, 0x0302).unwrap();
        put_u32(&mut bytes, 3, 0x0706_0504).unwrap();
        put_u64(&mut bytes, 7, 0x0f0e_0d0c_0b0a_0908).unwrap();
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(get_u8(&bytes, 0), Some(1));
        assert_eq!(get_u16(&bytes, 1), Some(0x0302));
        assert_eq!(get_u32(&bytes, 3), Some(0x0706_0504));
        assert_eq!(get_u64(&bytes, 7), Some(0x0f0e_0d0c_0b0a_0908));
    }

    #[test]
    fn past_the_end_is_none_and_writes_nothing() {
        let mut bytes = [7; 8];
        for at in [1, 8, 9, usize::MAX - 3, usize::MAX] {
            assert_eq!(get_u64(&bytes, at), None);
            assert_eq!(put_u64(&mut bytes, at, 0), None);
        }
        assert_eq!(bytes, [7; 8]);
    }
}
