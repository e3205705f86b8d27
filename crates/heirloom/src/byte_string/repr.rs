//! The 24 bytes of a byte string: its contents, or where they lie.
//!
//! Everything that looks at the union is here. What is appended is there once the length says so, one store; where contents move into a block, out of it
//! or to another, the 24 bytes are in the thread's diary before (`whole`): cut anywhere, the contents are the old or the new ones.

#![expect(unsafe_code, reason = "reads the union that its flag tells apart")]

use std::mem::ManuallyDrop;
use std::ptr;

use super::INLINE_BYTES;
use crate::alloc::AllocError;
use crate::vec::Vec;
use crate::vec::buffer::Buffer;
use crate::whole::{Place, guarded, step};

/// In the capacity: the contents lie in a block. The last of the 24 bytes is the top one of this word.
pub(super) const IN_BLOCK: u64 = 1 << 63;

/// The least block of contents that grow out of the string.
const FIRST_BLOCK: usize = 64;

/// Contents, inline or in a block.
///
/// # Invariants
///
/// - If the last byte is below 128 it is at most [`INLINE_BYTES`], and so many bytes before it are the contents.
/// - Else `block` is a vector taken apart: `len` of `capacity` bytes are live in a block that is ours.
#[repr(C)]
pub(super) union Repr {
    inline: Inline,
    block: Block,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Inline {
    bytes: [u8; INLINE_BYTES],
    len: u8,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Block {
    start: *mut u8,
    len: u64,
    /// With [`IN_BLOCK`].
    capacity: u64,
}

const _: () = assert!(size_of::<Repr>() == 24 && align_of::<Repr>() == 8);
const _: () = assert!(std::mem::offset_of!(Inline, len) == 23 && std::mem::offset_of!(Block, capacity) == 16);
const _: () = assert!(cfg!(target_endian = "little"), "the flag is in the last byte");

// SAFETY: the contents are owned, and plain bytes.
unsafe impl Send for Repr {}
// SAFETY: a shared one gives out nothing but `&[u8]`.
unsafe impl Sync for Repr {}

impl Repr {
    /// No contents: all zero.
    pub(super) const EMPTY: Self = Self { inline: Inline { bytes: [0; INLINE_BYTES], len: 0 } };

    /// Copies up to [`INLINE_BYTES`] bytes.
    #[inline(always)]
    pub(super) fn inline(contents: &[u8]) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        bytes[..contents.len()].copy_from_slice(contents);
        // INVARIANT: the copy has shown that there are no more than fit.
        Self { inline: Inline { bytes, len: contents.len() as u8 } }
    }

    /// Takes the block of a vector, which has one.
    #[inline(always)]
    pub(super) fn block(vec: Vec<u8>) -> Self {
        debug_assert_ne!(vec.capacity(), 0);
        let mut vec = ManuallyDrop::new(vec);
        // INVARIANT: the vector is taken apart, and no block has 2^63 bytes.
        Self {
            block: Block {
                start: vec.as_mut_ptr(),
                len: vec.len() as u64,
                capacity: vec.capacity() as u64 | IN_BLOCK,
            },
        }
    }

    #[inline(always)]
    pub(super) const fn is_inline(&self) -> bool {
        // SAFETY: all 24 bytes are initialized in both forms.
        unsafe { self.inline.len < 0x80 }
    }

    #[inline(always)]
    pub(super) const fn len(&self) -> usize {
        // SAFETY: the flag says which form it is.
        unsafe { if self.is_inline() { self.inline.len as usize } else { self.block.len as usize } }
    }

    #[inline(always)]
    pub(super) const fn capacity(&self) -> usize {
        // SAFETY: the flag says which form it is.
        if self.is_inline() { INLINE_BYTES } else { unsafe { (self.block.capacity & !IN_BLOCK) as usize } }
    }

    #[inline(always)]
    pub(super) const fn as_slice(&self) -> &[u8] {
        // SAFETY: the flag says which form it is; so many bytes are live there, for as long as `self` is borrowed.
        unsafe {
            let (start, len) = if self.is_inline() {
                ((&raw const self.inline.bytes).cast(), self.inline.len as usize)
            } else {
                (self.block.start.cast_const(), self.block.len as usize)
            };
            std::slice::from_raw_parts(start, len)
        }
    }

    #[inline(always)]
    pub(super) const fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as for `as_slice`, and `self` is borrowed mutably.
        unsafe {
            let (start, len) = if self.is_inline() {
                ((&raw mut self.inline.bytes).cast(), self.inline.len as usize)
            } else {
                (self.block.start, self.block.len as usize)
            };
            std::slice::from_raw_parts_mut(start, len)
        }
    }

    /// Appends bytes if there is room for them; says whether there was.
    ///
    /// Each form has a way of its own, with one look at the flag: a string that grows is in a block most of the time.
    #[inline(always)]
    pub(super) fn append_within(&mut self, more: &[u8]) -> bool {
        // SAFETY: the flag says which form it is; there is room behind the contents, which a slice from elsewhere does not overlap.
        unsafe {
            if self.is_inline() {
                let len = self.inline.len as usize;
                if more.len() > INLINE_BYTES - len {
                    return false;
                }
                let start: *mut u8 = (&raw mut self.inline.bytes).cast();
                ptr::copy_nonoverlapping(more.as_ptr(), start.add(len), more.len());
                step();
                self.inline.len = (len + more.len()) as u8;
            } else {
                let Block { start, len, capacity } = self.block;
                if more.len() as u64 > (capacity & !IN_BLOCK) - len {
                    return false;
                }
                ptr::copy_nonoverlapping(more.as_ptr(), start.add(len as usize), more.len());
                step();
                self.block.len = len + more.len() as u64;
            }
        }
        true
    }

    /// Appends a byte if there is room for it; says whether there was.
    #[inline(always)]
    pub(super) fn push_within(&mut self, byte: u8) -> bool {
        // SAFETY: the flag says which form it is, and there is room for one more.
        unsafe {
            if self.is_inline() {
                let len = self.inline.len as usize;
                if len == INLINE_BYTES {
                    return false;
                }
                self.inline.bytes[len] = byte;
                step();
                self.inline.len = len as u8 + 1;
            } else {
                let Block { start, len, capacity } = self.block;
                if len | IN_BLOCK == capacity {
                    return false;
                }
                start.add(len as usize).write(byte);
                step();
                self.block.len = len + 1;
            }
        }
        true
    }

    /// Drops the bytes from `len` on, which is not beyond the end.
    #[inline(always)]
    pub(super) fn truncate(&mut self, len: usize) {
        assert!(len <= self.len());
        // SAFETY: that is a part of what there is.
        unsafe { self.set_len(len) };
    }

    /// Declares the contents to be `len` bytes long.
    ///
    /// # Safety
    ///
    /// That is within the capacity, and so many bytes are initialized.
    #[inline(always)]
    const unsafe fn set_len(&mut self, len: usize) {
        debug_assert!(len <= self.capacity());
        if self.is_inline() {
            self.inline.len = len as u8;
        } else {
            self.block.len = len as u64;
        }
    }

    /// Makes room for at least `additional` bytes behind the contents, of which there is less.
    #[cold]
    #[inline(never)]
    pub(super) fn grow(&mut self, additional: usize) -> Result<(), AllocError> {
        let needed = self.len().checked_add(additional).ok_or(AllocError::TOO_LARGE)?;
        if !self.is_inline() && self.resize_in_place(|buffer, len| buffer.grow_in_place(len, additional)) {
            return Ok(());
        }
        // What outgrows its room is likely to grow on, from here by doubling, so that blocks are powers of two.
        let more = if self.is_inline() { FIRST_BLOCK } else { 2 * self.capacity() };
        self.move_to(needed.max(more)).or_else(|_| self.move_to(needed))
    }

    /// Moves the contents to a new block for at least `capacity` bytes, which is more than fit inline.
    fn move_to(&mut self, capacity: usize) -> Result<(), AllocError> {
        let mut vec = Vec::try_with_capacity(capacity)?;
        vec.try_extend_from_copy(self.as_slice())?;
        // SAFETY: the block form is made of a vector that has a block.
        let new = unsafe { Self::block(vec).block };
        // SAFETY: if it is one, the vector is dropped once the words have forgotten it.
        let old = (!self.is_inline()).then(|| unsafe { self.vec() });
        // SAFETY: nothing but the 24 bytes is written.
        unsafe { guarded([self.words()], || self.block = new) };
        old.map(ManuallyDrop::into_inner);
        Ok(())
    }

    /// Gives back the room that is not used; contents that fit move in here.
    pub(super) fn shrink(&mut self) {
        if self.is_inline() {
            return;
        }
        if self.len() > INLINE_BYTES {
            let len = self.len();
            if Buffer::<u8>::holds_when_made_for(len) < self.capacity() {
                let _kept_on_error = self.move_to(len);
            }
            return;
        }
        let contents = Self::inline(self.as_slice());
        // SAFETY: this is the block form; the vector is dropped once the words have forgotten it.
        unsafe {
            let vec = self.vec();
            guarded([self.words()], || self.inline = contents.inline);
            drop(ManuallyDrop::into_inner(vec));
        }
    }

    /// Changes contents from `at` on, and the length, within the room that there is: after a kill it has happened or not. `job` does not panic.
    pub(super) fn change_from(&mut self, at: usize, job: impl FnOnce(&mut Self)) {
        let tail = &mut self.as_mut_slice()[at..];
        // SAFETY: a slice starts nowhere near null; inline it is written down twice, which does no harm.
        unsafe {
            let tail = Place::of(tail.as_mut_ptr(), tail.len());
            guarded([self.words(), tail], || job(self));
        }
    }

    /// The 24 bytes, for a change that writes them.
    fn words(&mut self) -> Place {
        // SAFETY: `self` is not null.
        unsafe { Place::of(ptr::from_mut(self), 1) }
    }

    /// Turns the contents into a vector, if they lie in a block; else gives them back.
    pub(super) fn into_vec(self) -> Result<Vec<u8>, Self> {
        if self.is_inline() {
            return Err(self);
        }
        // SAFETY: this is the block form, and it has no drop of its own.
        Ok(ManuallyDrop::into_inner(unsafe { self.vec() }))
    }

    /// Drops the block, if there is one. The contents are gone then.
    #[inline(always)]
    pub(super) fn release(&mut self) {
        if !self.is_inline() {
            // SAFETY: this is the block form, and the caller is going.
            drop(ManuallyDrop::into_inner(unsafe { self.vec() }));
        }
    }

    /// Lets `job` resize the block, which is there, without a move; says whether it did.
    fn resize_in_place(&mut self, job: impl FnOnce(&mut Buffer<u8>, usize) -> bool) -> bool {
        // SAFETY: the parts are those of our block, of which nothing but the capacity changes; the buffer is not dropped.
        unsafe {
            let mut buffer = ManuallyDrop::new(Buffer::from_parts(self.block.start, self.capacity()));
            let stays = job(&mut buffer, self.len());
            self.block.capacity = buffer.capacity() as u64 | IN_BLOCK;
            stays
        }
    }

    /// Returns the vector whose parts these are.
    ///
    /// # Safety
    ///
    /// The contents lie in a block, and one of the two is never used again.
    unsafe fn vec(&self) -> ManuallyDrop<Vec<u8>> {
        // SAFETY: by the type invariant these are the parts of a vector.
        ManuallyDrop::new(unsafe { Vec::from_parts(self.block.start, self.len(), self.capacity()) })
    }
}
