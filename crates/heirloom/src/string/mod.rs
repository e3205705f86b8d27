//! `String`: text in the heap.
//!
//! A [`ByteString`], laid out as such, whose bytes are UTF-8. So up to [`INLINE_BYTES`] bytes lie in the string itself.
//!
//! In version 1 it was a [`Vec<u8>`](crate::Vec), whatever its length; a heap with such strings is refused.

#![expect(unsafe_code, reason = "vouches for the bytes being UTF-8")]

mod traits;

use std::ops::RangeBounds;
use std::str::{self, Utf8Error};

use crate::alloc::AllocError;
use crate::byte_string::ByteString;
use crate::heritable::{Heritable, TypeDesc};
use crate::or_panic;
use crate::vec::{Vec, resolve};

pub use crate::byte_string::INLINE_BYTES;

/// Version of the layout of [`String`].
pub const FORMAT_VERSION: u32 = 2;

/// Growing text in the heap.
///
/// # Invariants
///
/// The bytes are UTF-8.
#[repr(C)]
#[derive(Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct String {
    bytes: ByteString,
}

const _: () = assert!(size_of::<String>() == 24 && align_of::<String>() == 8);

// SAFETY: the text lies in a block of the heap and is owned; UTF-8 is the same everywhere.
unsafe impl Heritable for String {
    const TYPE: &'static TypeDesc =
        &TypeDesc::collection("String", FORMAT_VERSION, size_of::<Self>(), align_of::<Self>(), &[]);
}

impl String {
    /// Creates an empty string.
    #[inline]
    pub const fn new() -> Self {
        Self { bytes: ByteString::new() }
    }

    /// Creates an empty string with room for at least `capacity` bytes.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: ByteString::with_capacity(capacity) }
    }

    /// Creates an empty string with room for at least `capacity` bytes.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full.
    #[inline]
    pub fn try_with_capacity(capacity: usize) -> Result<Self, AllocError> {
        Ok(Self { bytes: ByteString::try_with_capacity(capacity)? })
    }

    /// Copies `text` into the heap.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full.
    #[inline]
    pub fn try_from_str(text: &str) -> Result<Self, AllocError> {
        // INVARIANT: the bytes of text are UTF-8.
        Ok(Self { bytes: ByteString::try_from_slice(text.as_bytes())? })
    }

    /// Takes bytes as text: a [`ByteString`], or a [`Vec`], of which a long one is not copied.
    ///
    /// # Errors
    ///
    /// [`Utf8Error`] if they are not UTF-8; they are then dropped.
    pub fn from_utf8(bytes: impl Into<ByteString>) -> Result<Self, Utf8Error> {
        let bytes = bytes.into();
        str::from_utf8(&bytes)?;
        // INVARIANT: they have just been checked.
        Ok(Self { bytes })
    }

    /// Takes the bytes out; only those of a short string are copied.
    ///
    /// # Panics
    ///
    /// If the string is short and the heap is full.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_vec()
    }

    /// Takes the bytes out as they lie there.
    pub fn into_byte_string(self) -> ByteString {
        self.bytes
    }

    /// Returns whether the text lies in the string itself.
    #[inline]
    pub const fn is_inline(&self) -> bool {
        self.bytes.is_inline()
    }

    /// Returns the text.
    #[inline]
    pub const fn as_str(&self) -> &str {
        // SAFETY: by the type invariant the bytes are UTF-8.
        unsafe { str::from_utf8_unchecked(self.bytes.as_slice()) }
    }

    /// Returns the text.
    #[inline]
    pub const fn as_mut_str(&mut self) -> &mut str {
        // SAFETY: by the type invariant the bytes are UTF-8, and a `&mut str` keeps them so.
        unsafe { str::from_utf8_unchecked_mut(self.bytes.as_mut_slice()) }
    }

    /// Returns the text as bytes.
    #[inline]
    pub const fn as_bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// Returns the length in bytes.
    #[inline]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether there is no text.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns how many bytes the string can hold without growing.
    pub const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Makes room for at least `additional` more bytes.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    pub fn reserve(&mut self, additional: usize) {
        self.bytes.reserve(additional);
    }

    /// Makes room for at least `additional` more bytes.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the string is then unchanged.
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), AllocError> {
        self.bytes.try_reserve(additional)
    }

    /// Gives back the room that is not used; keeps it if the heap is too full for the move.
    pub fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Appends a character.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn push(&mut self, character: char) {
        or_panic(self.try_push(character));
    }

    /// Appends a character.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the string is then unchanged.
    #[inline]
    pub fn try_push(&mut self, character: char) -> Result<(), AllocError> {
        if character.is_ascii() {
            // INVARIANT: an ASCII character is a byte of its own.
            return self.bytes.try_push(character as u8);
        }
        self.push_wide(character)
    }

    /// Appends a character of several bytes. A function of its own, so that the usual way is short enough to be inlined.
    #[inline(never)]
    fn push_wide(&mut self, character: char) -> Result<(), AllocError> {
        self.try_push_str(character.encode_utf8(&mut [0; 4]))
    }

    /// Appends text.
    ///
    /// # Panics
    ///
    /// If the heap is full.
    #[inline]
    pub fn push_str(&mut self, text: &str) {
        or_panic(self.try_push_str(text));
    }

    /// Appends text.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the string is then unchanged.
    #[inline]
    pub fn try_push_str(&mut self, text: &str) -> Result<(), AllocError> {
        // INVARIANT: UTF-8 behind UTF-8 is UTF-8.
        self.bytes.try_extend_from_slice(text.as_bytes())
    }

    /// Inserts a character at byte `at`.
    ///
    /// # Panics
    ///
    /// If `at` does not lie between two characters or the heap is full.
    pub fn insert(&mut self, at: usize, character: char) {
        self.insert_str(at, character.encode_utf8(&mut [0; 4]));
    }

    /// Inserts text at byte `at`.
    ///
    /// # Panics
    ///
    /// If `at` does not lie between two characters or the heap is full.
    pub fn insert_str(&mut self, at: usize, text: &str) {
        or_panic(self.try_insert_str(at, text));
    }

    /// Inserts text at byte `at`.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the string is then unchanged.
    ///
    /// # Panics
    ///
    /// If `at` does not lie between two characters.
    pub fn try_insert_str(&mut self, at: usize, text: &str) -> Result<(), AllocError> {
        assert!(self.is_char_boundary(at), "byte {at} is not the start of a character");
        // INVARIANT: whole characters come between whole characters.
        self.bytes.try_insert_slice(at, text.as_bytes())
    }

    /// Takes the last character.
    pub fn pop(&mut self) -> Option<char> {
        let last = self.chars().next_back()?;
        self.truncate(self.len() - last.len_utf8());
        Some(last)
    }

    /// Takes the character at byte `at`.
    ///
    /// # Panics
    ///
    /// If no character starts there.
    pub fn remove(&mut self, at: usize) -> char {
        let character = self[at..].chars().next().expect("a character starts there");
        // INVARIANT: a whole character goes.
        self.bytes.remove_range(at..at + character.len_utf8());
        character
    }

    /// Puts `text` in the place of the bytes of a range.
    ///
    /// # Panics
    ///
    /// If the range does not start and end between two characters of the text or the heap is full.
    pub fn replace_range(&mut self, range: impl RangeBounds<usize>, text: &str) {
        let range = resolve(range, self.len());
        for at in [range.start, range.end] {
            assert!(self.is_char_boundary(at), "byte {at} is not the start of a character");
        }
        // INVARIANT: whole characters go, and whole characters come.
        self.bytes.replace_range(range, text.as_bytes());
    }

    /// Drops the text from byte `len` on; does nothing if there is none.
    ///
    /// # Panics
    ///
    /// If `len` does not lie between two characters.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            assert!(self.is_char_boundary(len), "byte {len} is not the start of a character");
            // INVARIANT: whole characters go.
            self.bytes.truncate(len);
        }
    }

    /// Drops all text and keeps the block.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Takes the text from byte `at` on into a string of its own.
    ///
    /// # Panics
    ///
    /// If `at` does not lie between two characters or the heap is full.
    pub fn split_off(&mut self, at: usize) -> Self {
        assert!(self.is_char_boundary(at), "byte {at} is not the start of a character");
        // INVARIANT: both parts hold whole characters.
        Self { bytes: self.bytes.split_off(at) }
    }

    /// Keeps the characters for which `keep` returns true, in order; keeps all of them if it panics.
    pub fn retain(&mut self, mut keep: impl FnMut(char) -> bool) {
        let mut kept = std::string::String::with_capacity(self.len());
        kept.extend(self.chars().filter(|&character| keep(character)));
        // The result is never longer, so it fits where the text lies.
        self.bytes.replace_range(.., kept.as_bytes());
    }
}

#[cfg(test)]
mod tests;
