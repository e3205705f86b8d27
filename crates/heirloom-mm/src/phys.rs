//! Physical memory through the direct map: the one place where a physical address becomes memory.
//!
//! Everything here trusts its caller with one thing: that the bytes it names lie in memory (a range that memblock or the buddy
//! allocator handed out, or foreign addresses that were compared with the memory ranges first).
#![expect(unsafe_code, reason = "turns physical addresses into memory")]

use core::ptr::NonNull;

/// Bytes of a page.
pub const PAGE_BYTES: u64 = heirloom_abi::kho::radix::PAGE_BYTES;

/// Binary logarithm of [`PAGE_BYTES`].
pub const PAGE_SHIFT: u32 = PAGE_BYTES.trailing_zeros();

/// The direct map.
///
/// # Invariants
///
/// `base + phys` is readable and writable for each byte of the machine's memory, for as long as this is used.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    base: NonNull<u8>,
}

// SAFETY: it is an address; who reads or writes which bytes when is settled by the machine's lock.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// # Safety
    ///
    /// The type's invariant holds for `base`.
    pub(crate) unsafe fn new(base: NonNull<u8>) -> Self {
        // INVARIANT: by the caller's promise.
        Self { base }
    }

    /// Address of physical address 0.
    pub fn base(self) -> NonNull<u8> {
        self.base
    }

    /// Virtual address of a physical one.
    #[inline]
    pub fn address(self, phys: u64) -> *mut u8 {
        self.base.as_ptr().wrapping_add(phys as usize)
    }

    /// Physical address of a virtual one; any value may come in, and what comes out is then no memory.
    #[inline]
    pub fn phys(self, address: *const u8) -> u64 {
        address.addr().wrapping_sub(self.base.as_ptr().addr()) as u64
    }

    /// Reads the aligned word at `phys`.
    #[inline]
    pub(crate) fn load(self, phys: u64) -> u64 {
        debug_assert!(phys % 8 == 0);
        // SAFETY: by the module's contract this is memory; it is aligned.
        unsafe { self.address(phys).cast::<u64>().read_volatile() }
    }

    /// Writes the aligned word at `phys`.
    #[inline]
    pub(crate) fn store(self, phys: u64, value: u64) {
        debug_assert!(phys % 8 == 0);
        // SAFETY: by the module's contract this is memory; it is aligned.
        unsafe { self.address(phys).cast::<u64>().write_volatile(value) }
    }

    /// Zeroes `len` bytes.
    pub(crate) fn zero(self, phys: u64, len: u64) {
        // SAFETY: by the module's contract this is memory.
        unsafe { self.address(phys).write_bytes(0, len as usize) }
    }

    /// Reads bytes.
    pub(crate) fn read(self, phys: u64, to: &mut [u8]) {
        // SAFETY: by the module's contract this is memory, and `to` is the caller's own.
        unsafe { to.as_mut_ptr().copy_from(self.address(phys), to.len()) }
    }

    /// Writes bytes.
    pub(crate) fn write(self, phys: u64, from: &[u8]) {
        // SAFETY: as for `read`.
        unsafe { self.address(phys).copy_from(from.as_ptr(), from.len()) }
    }

    /// The memory at `phys` as a table of `nr` entries that lives as long as the machine.
    ///
    /// # Safety
    ///
    /// - `nr` valid `T`s stand at `phys`, aligned, in memory that is the caller's for all of `'m`.
    /// - Nothing but the returned reference touches them, unless `T` allows it.
    pub(crate) unsafe fn table<'m, T>(self, phys: u64, nr: usize) -> &'m [T] {
        // SAFETY: by the caller's promise.
        unsafe { core::slice::from_raw_parts(self.address(phys).cast(), nr) }
    }

    /// As [`Memory::table`], to write.
    ///
    /// # Safety
    ///
    /// As for [`Memory::table`].
    pub(crate) unsafe fn table_mut<'m, T>(self, phys: u64, nr: usize) -> &'m mut [T] {
        // SAFETY: by the caller's promise.
        unsafe { core::slice::from_raw_parts_mut(self.address(phys).cast(), nr) }
    }
}
