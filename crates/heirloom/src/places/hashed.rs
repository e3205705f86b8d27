//! Swiss tables: buckets downwards from the control bytes, which say which of them are full.

use crate::hash_map::table::CUT;

use super::{Argument, Memory, Misplaced, Place, Walk, ensure};

/// Control bytes are looked at in groups of so many.
const GROUP: u64 = 16;

impl<M: Memory, F: FnMut(Place)> Walk<'_, M, F> {
    /// `| control | mask | len | growth_left | ..`; a bucket is a key, then a value, as in C.
    pub(super) fn table(&mut self, at: u64, key: Argument, value: Argument) -> Result<(), Misplaced> {
        let (control, mask, count) = (self.word(at, 0)?, self.word(at, 8)?, self.word(at, 16)?);
        // What a kill has cut off says nothing: the control bytes do.
        let len = Some(count).filter(|count| count & CUT == 0);
        if mask == 0 {
            return ensure(
                control == 0 && len.is_none_or(|len| len == 0),
                at,
                "there is no table, but something in it",
            );
        }
        let buckets = mask.checked_add(1).filter(|buckets| buckets.is_power_of_two() && *buckets >= 4);
        let buckets = buckets
            .ok_or(Misplaced::Wrong { address: at, what: "the number of buckets is no power of two" })?;
        ensure(len.is_none_or(|len| len < buckets), at, "there are more values than buckets")?;
        let too_large = Misplaced::Wrong { address: at, what: "the table exceeds any memory" };
        let shape = Shape::of(key, value, buckets).ok_or(too_large)?;
        let start = control.checked_sub(shape.control).ok_or(too_large)?;
        self.block(
            start,
            shape.control.checked_add(buckets.max(GROUP)),
            key.align.max(value.align).max(GROUP),
        )?;

        let mut full = 0;
        for first in (0..buckets).step_by(GROUP as usize) {
            let mut group = [0; GROUP as usize];
            self.read(control, first, &mut group)?;
            for index in (first..buckets).zip(group).filter(|(_, byte)| *byte < 0x80).map(|(index, _)| index)
            {
                full += 1;
                ensure(
                    full <= len.unwrap_or(buckets - 1),
                    at,
                    "more buckets are full than there are values",
                )?;
                let bucket = control - (index + 1) * shape.stride;
                for (argument, part, offset) in [(0, key, 0), (1, value, shape.value)] {
                    if part.size != 0 {
                        self.elements(argument, bucket + offset, part.size, 1);
                    }
                }
            }
        }
        ensure(len.is_none_or(|len| full == len), at, "fewer buckets are full than there are values")
    }

    /// `| Vec<BoxStr> | table of handles | seed |`; strings are its own, and no elements.
    pub(super) fn interner(&mut self, at: u64) -> Result<(), Misplaced> {
        let slice = Argument { size: 16, align: 8 };
        let (start, len) = (self.word(at, 0)?, self.word(at, 16)?);
        self.vec(at, slice, false)?;
        for index in 0..len {
            self.slice(start + index * slice.size, Argument { size: 1, align: 1 }, false)?;
        }
        let mut blocks = Walk {
            memory: self.memory,
            visit: &mut |place| {
                if matches!(place, Place::Block { .. }) {
                    (self.visit)(place);
                }
            },
        };
        blocks.table(at + 24, Argument { size: 4, align: 4 }, Argument { size: 0, align: 1 })
    }
}

/// Where things lie in a table.
struct Shape {
    /// Of a value in its bucket.
    value: u64,
    /// From bucket to bucket.
    stride: u64,
    /// Of the control bytes in the block.
    control: u64,
}

impl Shape {
    fn of(key: Argument, value: Argument, buckets: u64) -> Option<Self> {
        let align = key.align.max(value.align);
        let value_at = key.size.checked_next_multiple_of(value.align)?;
        let stride = value_at.checked_add(value.size)?.checked_next_multiple_of(align)?;
        let control = stride.checked_mul(buckets)?.checked_next_multiple_of(align.max(GROUP))?;
        Some(Self { value: value_at, stride, control })
    }
}
