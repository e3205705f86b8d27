//! Values side by side in one block: boxes, vectors, rings, slices, strings, shared pointers.

use super::{Argument, Memory, Misplaced, Place, Walk, ensure};
use crate::byte_string::INLINE_BYTES;

/// In the last word of a byte string: its bytes lie in a block.
const IN_BLOCK: u64 = 1 << 63;

impl<M: Memory, F: FnMut(Place)> Walk<'_, M, F> {
    /// `| address |`
    pub(super) fn boxed(&mut self, at: u64, value: Argument) -> Result<(), Misplaced> {
        let start = self.word(at, 0)?;
        ensure(start != 0, at, "the address is null")?;
        self.values(start, value, 1, 1, true)
    }

    /// `| address | capacity | len |`
    pub(super) fn vec(&mut self, at: u64, value: Argument, visits: bool) -> Result<(), Misplaced> {
        let (start, capacity, len) = (self.word(at, 0)?, self.word(at, 8)?, self.word(at, 16)?);
        ensure(start != 0, at, "the address is null")?;
        ensure(value.size == 0 || len <= capacity, at, "the length exceeds the capacity")?;
        self.values(start, value, capacity, len, visits)
    }

    /// `| address | len |`
    pub(super) fn slice(&mut self, at: u64, value: Argument, visits: bool) -> Result<(), Misplaced> {
        let (start, len) = (self.word(at, 0)?, self.word(at, 8)?);
        ensure(start != 0, at, "the address is null")?;
        self.values(start, value, len, len, visits)
    }

    /// `| 23 bytes | len |` or `| address | len | capacity and a flag |`
    pub(super) fn byte_string(&mut self, at: u64) -> Result<(), Misplaced> {
        let (start, len, last) = (self.word(at, 0)?, self.word(at, 8)?, self.word(at, 16)?);
        if last & IN_BLOCK == 0 {
            return ensure(last >> 56 <= INLINE_BYTES as u64, at, "the length exceeds the room");
        }
        let capacity = last & !IN_BLOCK;
        ensure(start != 0 && capacity != 0, at, "there is no block")?;
        ensure(len <= capacity, at, "the length exceeds the capacity")?;
        self.values(start, Argument { size: 1, align: 1 }, capacity, len, false)
    }

    /// `| address | capacity | head | end |`: values from `head` to `end`, around the end of the block.
    pub(super) fn vec_deque(&mut self, at: u64, value: Argument) -> Result<(), Misplaced> {
        let (start, capacity) = (self.word(at, 0)?, self.word(at, 8)?);
        let (head, end) = (self.word(at, 16)?, self.word(at, 24)?);
        ensure(start != 0, at, "the address is null")?;
        if value.size == 0 {
            return Ok(());
        }
        ensure(head <= end, at, "the last value lies before the first")?;
        let len = end - head;
        ensure(len <= capacity, at, "the length exceeds the capacity")?;
        ensure(head < capacity || head == 0, at, "the first value lies beyond the capacity")?;
        self.values(start, value, capacity, 0, false)?;
        let front = len.min(capacity - head);
        self.elements(0, start + head * value.size, value.size, front);
        self.elements(0, start, value.size, len - front);
        Ok(())
    }

    /// `| address |`, of a block `| counts | value |`; the value is live while a strong pointer is counted.
    pub(super) fn shared(&mut self, at: u64, value: Argument) -> Result<(), Misplaced> {
        let block = self.word(at, 0)?;
        let align = value.align.max(8);
        ensure(block != 0, at, "the address is null")?;
        if block == align {
            // Leads nowhere.
            return Ok(());
        }
        let offset = 8_u64.next_multiple_of(value.align);
        let size = offset.checked_add(value.size).and_then(|end| end.checked_next_multiple_of(align));
        self.block(block, size, align)?;
        let counts = self.word(block, 0)?;
        ensure(counts >> 32 != 0, block, "nobody is counted who names the block")?;
        if counts as u32 != 0 && value.size != 0 {
            self.elements(0, block + offset, value.size, 1);
        }
        Ok(())
    }

    /// Visits a block of so many places, and the values in the first `len` of them.
    fn values(
        &mut self,
        start: u64,
        value: Argument,
        places: u64,
        len: u64,
        visits: bool,
    ) -> Result<(), Misplaced> {
        if value.size == 0 || places == 0 {
            return Ok(());
        }
        self.block(start, places.checked_mul(value.size), value.align)?;
        if visits {
            self.elements(0, start, value.size, len);
        }
        Ok(())
    }
}
