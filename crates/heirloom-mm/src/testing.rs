//! Memory and numbers for unit tests.
#![expect(unsafe_code, reason = "plain memory plays the physical one")]

use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed, dealloc};

use crate::phys::Memory;

/// Plain memory from physical address 0 on.
pub(crate) struct Ram {
    base: NonNull<u8>,
    layout: Layout,
}

impl Ram {
    pub(crate) fn new(bytes: u64) -> Self {
        let layout = Layout::from_size_align(bytes as usize, 4096).unwrap();
        // SAFETY: the size is not zero.
        Self { base: NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap(), layout }
    }

    pub(crate) fn memory(&self) -> Memory {
        // SAFETY: the memory lives as long as this; tests keep to its size.
        unsafe { Memory::new(self.base) }
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

/// Numbers that are the same for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
