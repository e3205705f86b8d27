//! `ByteString`: bytes in the heap, the few of a short one in the string itself.
//!
//! ```text
//!            0                       8             16                       23
//! inline     | contents, 23 bytes, those beyond the length are unspecified  | length, 0 to 23 |
//! in a block | address of the block  | length      | capacity, bit 63 is set                  |
//! ```
//!
//! The last byte tells the forms apart: below 128 it is the length. An empty string is all zero. The block is allocated with the
//! layout of `[u8; capacity]`, as that of a [`Vec<u8>`](crate::Vec), which a long string can become and come from without a copy.
//!
//! `repr` has the two forms; [`String`](crate::String) is a byte string that is UTF-8.

mod heritable;
mod repr;
mod traits;

use std::ops::RangeBounds;

use crate::alloc::AllocError;
use crate::or_panic;
use crate::vec::{Vec, resolve};
use repr::Repr;

/// Version of the layout of [`ByteString`].
pub const FORMAT_VERSION: u32 = 1;

/// So many bytes need no block.
pub const INLINE_BYTES: usize = 23;

/// A growing string of bytes, of which up to [`INLINE_BYTES`] need no memory of their own.
///
/// ```no_run
/// use heirloom::ByteString;
///
/// let mut key = ByteString::from(b"user:1");
/// key.extend_from_slice(b"000");
/// assert!(key == b"user:1000" && key.is_inline());
/// ```
#[repr(C)]
pub struct ByteString {
    repr: Repr,
}

const _: () = assert!(size_of::<ByteString>() == 24 && align_of::<ByteString>() == 8);

impl ByteString {
    /// Creates an empty string.
    #[inline]
    pub const fn new() -> Self {
        Self { repr: Repr::EMPTY }
    }

    /// Creates an empty string with room for at least `capacity` bytes.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn with_capacity(capacity: usize) -> Self {
        or_panic(Self::try_with_capacity(capacity))
    }

    /// Creates an empty string with room for at least `capacity` bytes.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full.
    #[inline]
    pub fn try_with_capacity(capacity: usize) -> Result<Self, AllocError> {
        if capacity <= INLINE_BYTES {
            return Ok(Self::new());
        }
        Ok(Self { repr: Repr::block(Vec::try_with_capacity(capacity)?) })
    }

    /// Copies bytes into the heap.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full.
    #[inline]
    pub fn try_from_slice(bytes: &[u8]) -> Result<Self, AllocError> {
        if bytes.len() <= INLINE_BYTES {
            return Ok(Self { repr: Repr::inline(bytes) });
        }
        let mut vec = Vec::try_with_capacity(bytes.len())?;
        vec.try_extend_from_copy(bytes)?;
        Ok(Self { repr: Repr::block(vec) })
    }

    /// Returns the bytes.
    #[inline]
    pub const fn as_slice(&self) -> &[u8] {
        self.repr.as_slice()
    }

    /// Returns the bytes.
    #[inline]
    pub const fn as_mut_slice(&mut self) -> &mut [u8] {
        self.repr.as_mut_slice()
    }

    /// Returns how many bytes there are.
    #[inline]
    pub const fn len(&self) -> usize {
        self.repr.len()
    }

    /// Returns whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many bytes the string can hold without growing.
    #[inline]
    pub const fn capacity(&self) -> usize {
        self.repr.capacity()
    }

    /// Returns whether the bytes lie in the string itself.
    #[inline]
    pub const fn is_inline(&self) -> bool {
        self.repr.is_inline()
    }

    /// Makes room for at least `additional` more bytes.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn reserve(&mut self, additional: usize) {
        or_panic(self.try_reserve(additional));
    }

    /// Makes room for at least `additional` more bytes.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the string is then unchanged.
    #[inline]
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), AllocError> {
        if additional > self.capacity() - self.len() { self.repr.grow(additional) } else { Ok(()) }
    }

    /// Gives back the room that is not used; keeps it if the heap is too full for the move.
    pub fn shrink_to_fit(&mut self) {
        self.repr.shrink();
    }

    /// Appends a byte.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn push(&mut self, byte: u8) {
        or_panic(self.try_push(byte));
    }

    /// Appends a byte.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the string is then unchanged.
    #[inline]
    pub fn try_push(&mut self, byte: u8) -> Result<(), AllocError> {
        if self.repr.push_within(byte) { Ok(()) } else { self.grow_and_append(&[byte]) }
    }

    /// Appends bytes.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        or_panic(self.try_extend_from_slice(bytes));
    }

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the string is then unchanged.
    #[inline]
    pub fn try_extend_from_slice(&mut self, bytes: &[u8]) -> Result<(), AllocError> {
        if self.repr.append_within(bytes) { Ok(()) } else { self.grow_and_append(bytes) }
    }

    #[cold]
    #[inline(never)]
    fn grow_and_append(&mut self, bytes: &[u8]) -> Result<(), AllocError> {
        self.repr.grow(bytes.len())?;
        self.repr.append_within(bytes);
        Ok(())
    }

    /// Inserts bytes at `at`.
    ///
    /// # Panics
    ///
    /// If `at` is beyond the end or the heap is full.
    pub fn insert_slice(&mut self, at: usize, bytes: &[u8]) {
        or_panic(self.try_insert_slice(at, bytes));
    }

    /// Inserts bytes at `at`.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the string is then unchanged.
    ///
    /// # Panics
    ///
    /// If `at` is beyond the end.
    pub fn try_insert_slice(&mut self, at: usize, bytes: &[u8]) -> Result<(), AllocError> {
        assert!(at <= self.len(), "insertion at {at} of a string of {}", self.len());
        self.try_replace_range(at..at, bytes)
    }

    /// Takes the last byte.
    pub fn pop(&mut self) -> Option<u8> {
        let last = *self.as_slice().last()?;
        self.truncate(self.len() - 1);
        Some(last)
    }

    /// Takes the byte at `at`.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn remove(&mut self, at: usize) -> u8 {
        let byte = self.as_slice()[at];
        self.remove_range(at..=at);
        byte
    }

    /// Drops the bytes of a range and closes the gap.
    ///
    /// # Panics
    ///
    /// If the range is reversed or reaches beyond the end.
    pub fn remove_range(&mut self, range: impl RangeBounds<usize>) {
        self.replace_range(range, &[]);
    }

    /// Puts other bytes in the place of a range.
    ///
    /// # Panics
    ///
    /// If the range is reversed or reaches beyond the end, or the heap is full.
    pub fn replace_range(&mut self, range: impl RangeBounds<usize>, bytes: &[u8]) {
        or_panic(self.try_replace_range(resolve(range, self.len()), bytes));
    }

    fn try_replace_range(&mut self, range: std::ops::Range<usize>, bytes: &[u8]) -> Result<(), AllocError> {
        self.try_reserve(bytes.len().saturating_sub(range.len()))?;
        let left = self.len() - range.len();
        self.repr.change_from(range.start, |repr| {
            repr.as_mut_slice().copy_within(range.end.., range.start);
            repr.truncate(left);
            repr.append_within(bytes);
            repr.as_mut_slice()[range.start..].rotate_right(bytes.len());
        });
        Ok(())
    }

    /// Drops the bytes from `len` on; does nothing if there are none.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.repr.truncate(len);
        }
    }

    /// Drops all bytes and keeps the block.
    #[inline]
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Cuts the string or fills it up with `byte`, until it is `len` long.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn resize(&mut self, len: usize, byte: u8) {
        self.truncate(len);
        self.reserve(len - self.len());
        while self.len() < len {
            self.repr.push_within(byte);
        }
    }

    /// Takes the bytes from `at` on into a string of their own.
    ///
    /// # Panics
    ///
    /// If `at` is beyond the end or the heap is full.
    pub fn split_off(&mut self, at: usize) -> Self {
        let tail = Self::from(&self.as_slice()[at..]);
        self.truncate(at);
        tail
    }

    /// Keeps the bytes for which `keep` returns true, in order; keeps all of them if it panics.
    pub fn retain(&mut self, mut keep: impl FnMut(u8) -> bool) {
        let kept: std::vec::Vec<u8> = self.as_slice().iter().copied().filter(|&byte| keep(byte)).collect();
        self.replace_range(.., &kept);
    }

    /// Turns the string into a vector; only a short one is copied.
    ///
    /// # Panics
    ///
    /// If the string is short and the heap is full.
    pub fn into_vec(self) -> Vec<u8> {
        let mut this = std::mem::ManuallyDrop::new(self);
        match std::mem::replace(&mut this.repr, Repr::EMPTY).into_vec() {
            Ok(vec) => vec,
            Err(inline) => Vec::from(inline.as_slice()),
        }
    }

    /// Clones the string.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full.
    #[inline]
    pub fn try_clone(&self) -> Result<Self, AllocError> {
        Self::try_from_slice(self.as_slice())
    }
}

impl Drop for ByteString {
    #[inline]
    fn drop(&mut self) {
        self.repr.release();
    }
}

#[cfg(test)]
mod tests;
