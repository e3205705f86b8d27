//! The host: all that the allocator needs of its platform.
#![expect(unsafe_code, reason = "the trait's promises are about memory")]

use core::ops::Range;
use core::ptr::NonNull;

/// Where blocks come from.
///
/// # Safety
///
/// - `base()` never changes, and `base() + offset` is the memory at `offset` for every block taken and for the
///   control area, readable and writable for as long as the pool lives.
/// - `take` returns `nr` adjacent blocks, aligned to the block size, all zeros, that nothing else uses until they
///   are given back.
/// - `take_with` does the same, but for the bytes that may be anything.
/// - `extend` answers true only for blocks that `take` could have returned, right behind those at `offset`.
/// - `adopt` answers true only for blocks that `take` could have returned and that are the pool's alone from now on, and
///   `adopt_all` counts such alone.
pub unsafe trait Host {
    /// Address of offset 0.
    fn base(&self) -> NonNull<u8>;

    /// Takes `nr` adjacent blocks; `None` where there are none, or no more are allowed.
    fn take(&self, nr: u32) -> Option<u64>;

    /// As `take`, but the bytes in `any` of the blocks may be anything, and the others are zero: for a host that keeps blocks
    /// as they came back.
    fn take_with(&self, nr: u32, any: Range<u64>) -> Option<u64> {
        let _ = any;
        self.take(nr)
    }

    /// Takes the `more` blocks right behind `nr` that were taken at `offset`, so that all of them are as if taken at once.
    /// False where they are not to be had, and nothing changed.
    fn extend(&self, offset: u64, nr: u32, more: u32) -> bool {
        let _ = (offset, nr, more);
        false
    }

    /// Asked before the pool first touches a part of its control area: false where there is no memory for it. Zeroed memory
    /// may lie there already.
    fn provide(&self, offset: u64, len: u64) -> bool {
        let _ = (offset, len);
        true
    }

    /// Takes `nr` adjacent blocks back. The host zeroes them before it hands them out again.
    fn give_back(&self, offset: u64, nr: u32);

    /// Takes `nr` adjacent blocks back whose bytes are all zero from `used` on. It may leave the others as they are, but zeroes
    /// them before it hands them out again by `take` or `extend`.
    fn give_back_dirty(&self, offset: u64, nr: u32, used: u64) {
        let _ = used;
        self.give_back(offset, nr);
    }

    /// Takes one block back whose bytes are all zero from `head_bytes` on.
    fn give_back_clean(&self, offset: u64, head_bytes: u64) {
        let _ = head_bytes;
        self.give_back(offset, 1);
    }

    /// At a restore: these blocks are a pool's already. False where they are outside the memory, or somebody's.
    fn adopt(&self, offset: u64, nr: u32) -> bool;

    /// As `adopt` for each of these blocks (offset and number) in their order, up to the first that is refused: how many were not. For a
    /// host that has something to do once for all of them, as taking a lock.
    ///
    /// A restore asks while it reads: where it fails, at the checksum too, what was adopted before is nobody's again, and the host, which
    /// goes with the pool, is to forget it.
    fn adopt_all(&self, blocks: &[(u64, u32)]) -> usize {
        blocks.iter().take_while(|&&(offset, nr)| self.adopt(offset, nr)).count()
    }

    /// Called while a lock stays taken: a host with threads lets others run.
    fn pause(&self) {
        core::hint::spin_loop();
    }

    /// Told of a misuse or a damage that was found on the way. The operation that found it has no effect.
    fn report(&self, fault: Fault) {
        let _ = fault;
    }
}

/// A misuse or a damage found by `free` or by a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The slot is free already.
    #[error("double free of the slot at offset {0:#x}")]
    DoubleFree(u64),
    /// The pointer is no slot of the cache that its size says.
    #[error("free of offset {0:#x}, which is no slot of its cache")]
    NoSlot(u64),
    /// An inherited slab whose record contradicts itself, which is left alone, or the head of an inherited block, which is
    /// written anew.
    #[error("the record at offset {0:#x} is damaged")]
    Damaged(u64),
}
