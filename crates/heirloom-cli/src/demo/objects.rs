//! The second workload: objects of random sizes, for measuring.
//!
//! ```text
//! table   [ vec | vec | vec | .. ]        object   | number | checksum | pseudo-random bytes ... |
//!            └──────────────────────────────────▶  0        8          16                    length
//! ```
//!
//! Each object can be verified by itself: its bytes follow from its number, and its checksum covers number, length and
//! bytes. The tally says how many there must be.

use heirloom::sync::RwLock;
use heirloom::{AllocError, Heritable, Vec};
use xxhash_rust::xxh64::xxh64;

use super::plan::ObjectsPlan;
use super::random::{Random, mix};

/// Bytes of number and checksum.
pub(crate) const SMALLEST_OBJECT: u64 = 16;

heirloom::root! {
    /// The objects that all generations share.
    pub(crate) static OBJECTS: RwLock<Objects> = "objects";
}

/// All objects.
#[derive(Default, Heritable)]
#[repr(C)]
pub(crate) struct Objects {
    pub(crate) table: Vec<Vec<u8>>,
    pub(crate) tally: ObjectTally,
}

/// What must come out when the objects are walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Heritable)]
#[repr(C)]
pub(crate) struct ObjectTally {
    pub(crate) nr_objects: u64,
    pub(crate) bytes: u64,
    /// Sum of the checksums, wrapping.
    pub(crate) sum: u64,
    /// The number of the next object.
    pub(crate) next_number: u64,
}

impl Objects {
    /// Makes room for all objects that will be made.
    pub(crate) fn reserve(&mut self, plan: ObjectsPlan) -> Result<(), AllocError> {
        let wanted = usize::try_from(plan.count).unwrap_or(usize::MAX).saturating_sub(self.table.len());
        self.table.try_reserve_exact(wanted)
    }

    /// Makes one more object of a random size.
    pub(crate) fn add(&mut self, plan: ObjectsPlan, random: &mut Random) -> Result<(), AllocError> {
        let object = self.make(plan, random)?;
        self.table.try_push(object)
    }

    /// Drops the objects at these places, then makes new ones in their stead. Where the heap is full, those that could
    /// not be made are left out, and the rest is whole.
    pub(crate) fn replace(
        &mut self,
        places: &[usize],
        plan: ObjectsPlan,
        random: &mut Random,
    ) -> Result<(), AllocError> {
        for &place in places {
            let object = std::mem::take(&mut self.table[place]);
            self.tally.nr_objects -= 1;
            self.tally.bytes -= object.len() as u64;
            self.tally.sum = self.tally.sum.wrapping_sub(read(&object).map_or(0, |object| object.checksum));
        }
        for &place in places {
            match self.make(plan, random) {
                Ok(object) => self.table[place] = object,
                Err(error) => {
                    self.table.retain(|object| !object.is_empty());
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn make(&mut self, plan: ObjectsPlan, random: &mut Random) -> Result<Vec<u8>, AllocError> {
        let length = plan.size.start + random.below(plan.size.end - plan.size.start);
        let length_bytes = usize::try_from(length).map_err(|_| AllocError::TOO_LARGE)?;
        let number = self.tally.next_number;
        let mut object = Vec::try_with_capacity(length_bytes)?;
        object.try_resize(length_bytes, 0)?;
        fill(&mut object, number);
        let checksum = checksum(number, &object);
        object[8..16].copy_from_slice(&checksum.to_le_bytes());
        self.tally.next_number += 1;
        self.tally.nr_objects += 1;
        self.tally.bytes += length;
        self.tally.sum = self.tally.sum.wrapping_add(checksum);
        Ok(object)
    }
}

/// The head of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) number: u64,
    pub(crate) checksum: u64,
}

/// Reads the head of an object; `None` if it is too short to have one.
pub(crate) fn read(object: &[u8]) -> Option<Head> {
    let (number, rest) = object.split_first_chunk()?;
    let (checksum, _) = rest.split_first_chunk()?;
    Some(Head { number: u64::from_le_bytes(*number), checksum: u64::from_le_bytes(*checksum) })
}

/// Whether an object is what was made of its number.
pub(crate) fn is_whole(object: &[u8]) -> bool {
    read(object).is_some_and(|head| head.checksum == checksum(head.number, object))
}

fn fill(object: &mut [u8], number: u64) {
    object[..8].copy_from_slice(&number.to_le_bytes());
    let mut random = Random(mix(number));
    for chunk in object[16..].chunks_mut(8) {
        let bytes = random.next().to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
}

fn checksum(number: u64, object: &[u8]) -> u64 {
    xxh64(&object[16..], mix(number ^ (object.len() as u64) << 32))
}
