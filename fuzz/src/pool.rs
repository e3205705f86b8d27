//! The pool: its record, tables, block heads, slab descriptors and bitmaps.
//!
//! The input builds a small memory: a pool record with numbers from the input and a right checksum, a block table entry, a
//! block's head and descriptors; then words of the input anywhere (`at u16 in units of 8 bytes, value u64, ...`).

use heirloom_abi::checksum;
use heirloom_abi::pool::{
    BLOCK_KIND_SLABS, BLOCK_MAGIC, COMPATIBLE, Geometry, Memory, PoolReader, SLAB_KIND_SLAB,
};

pub(crate) const BYTES: usize = 512 << 10;
const BLOCK: u64 = 256 << 10;

pub(crate) struct Bytes(Vec<u8>);

impl Memory for Bytes {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Option<()> {
        let start = usize::try_from(offset).ok()?;
        buffer.copy_from_slice(self.0.get(start..start.checked_add(buffer.len())?)?);
        Some(())
    }

    fn count_nonzero(&self, offset: u64, len: u64) -> Option<u64> {
        let start = usize::try_from(offset).ok()?;
        let bytes = self.0.get(start..start.checked_add(usize::try_from(len).ok()?)?)?;
        Some(bytes.iter().filter(|&&byte| byte != 0).count() as u64)
    }
}

impl Bytes {
    pub(crate) fn put(&mut self, at: u64, value: &[u8]) {
        let at = at as usize;
        self.0[at..at + value.len()].copy_from_slice(value);
    }
}

/// Opens and walks; nothing may panic, and the sums stay below what the memory can hold.
pub fn run(data: &[u8]) {
    let (numbers, damage) = data.split_at(data.len().min(8));
    let mut memory = build(numbers);
    for change in damage.chunks_exact(10) {
        let at = u64::from(u16::from_le_bytes([change[0], change[1]])) * 8 % BYTES as u64;
        // The identity's checksum would only send every mutation to the same refusal.
        if at >= 64 {
            memory.put(at, &change[2..]);
        }
    }
    let Ok(reader) = PoolReader::open(&memory, 0) else { return };
    let mut nr_broken = 0u64;
    let tally = reader.check(true, |_| nr_broken += 1);
    assert!(tally.stale_bytes <= BYTES as u64 * 64, "each byte is scanned a bounded number of times");
    // `as_running` and the checksum are for others to judge; they must not panic either.
    let _ = reader.compute_tables_checksum();
}

/// A memory with the pool that the numbers ask for.
pub(crate) fn build(numbers: &[u8]) -> Bytes {
    let number = |at: usize| u32::from(numbers.get(at).copied().unwrap_or(0));
    let geometry = Geometry {
        block_shift: 16 + number(0) % 3,
        unit_shift: 12 + number(1) % 2,
        max_caches: number(2),
        max_cpus: number(3) % 4,
        max_blocks: number(4),
    };
    let mut memory = Bytes(vec![0; BYTES]);
    memory.put(0, &COMPATIBLE);
    let fields = [
        geometry.block_shift,
        geometry.unit_shift,
        geometry.max_caches,
        geometry.max_cpus,
        geometry.max_blocks,
    ];
    for (at, field) in fields.into_iter().enumerate() {
        memory.put(16 + 4 * at as u64, &field.to_le_bytes());
    }
    memory.put(40, &7u64.to_le_bytes());
    let sum = checksum(&memory.0[..56], 0);
    memory.put(56, &sum.to_le_bytes());
    memory.put(64, &(number(4).min(2)).to_le_bytes());
    memory.put(68, &(number(3) % 4).to_le_bytes());
    memory.put(72, &(number(2).min(1)).to_le_bytes());
    memory.put(76, &(number(5) % 2).to_le_bytes());
    if geometry.check().is_ok() && geometry.control_bytes() < BLOCK {
        build_block(&mut memory, &geometry);
    }
    memory
}

fn build_block(memory: &mut Bytes, geometry: &Geometry) {
    let cache = geometry.cache_offset(0);
    let order = geometry.slab_order(64);
    let slots = geometry.slab_slots(64, order);
    for (at, value) in [(32, 64), (36, 16), (40, order), (44, slots), (48, 64)] {
        memory.put(cache + at, &u32::to_le_bytes(value));
    }
    let entry = geometry.block_offset(0);
    let unit = geometry.header_units().next_multiple_of(1 << order);
    let taken = ((1u64 << (1 << order)) - 1) << unit;
    memory.put(entry, &BLOCK.to_le_bytes());
    memory.put(entry + 8, &BLOCK_KIND_SLABS.to_le_bytes());
    memory.put(entry + 12, &1u32.to_le_bytes());
    memory.put(entry + 16, &(geometry.usable_units() & !taken).to_le_bytes());
    memory.put(BLOCK, &BLOCK_MAGIC.to_le_bytes());
    memory.put(BLOCK + 8, &7u64.to_le_bytes());
    memory.put(BLOCK + 16, &BLOCK.to_le_bytes());
    let slab = BLOCK + geometry.descriptor_offset(unit);
    for (at, value) in [(0, SLAB_KIND_SLAB), (8, 1 << order), (12, 64), (16, slots)] {
        memory.put(slab + at, &u32::to_le_bytes(value));
    }
    // An owner of an earlier tenure than the next.
    memory.put(slab + 24, &(1u64 << 16 | 1).to_le_bytes());
    memory.put(80, &5u64.to_le_bytes());
    memory.put(slab + 88, &unit.to_le_bytes());
    memory.put(slab + 32, &(1u64 << 40).div_ceil(64).to_le_bytes());
}

/// A running and a frozen pool, and one with damage to a bitmap.
pub fn seeds() -> Vec<Vec<u8>> {
    let running = vec![0, 0, 8, 1, 16, 0, 0, 0];
    let frozen = vec![0, 0, 8, 1, 16, 1, 0, 0];
    let mut damaged = running.clone();
    damaged.extend([0x20, 0x80, 1, 2, 3, 4, 5, 6, 7, 8]);
    vec![running, frozen, damaged]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_have_a_slab_with_objects() {
        for seed in seeds() {
            let memory = build(&seed[..8]);
            let reader = PoolReader::open(&memory, 0).expect("a pool record");
            let mut broken = Vec::new();
            let tally = reader.check(true, |error| broken.push(error.to_string()));
            assert!(tally.slabs == 1 && tally.live_objects > 32, "{tally:?} {broken:?}");
        }
    }
}
