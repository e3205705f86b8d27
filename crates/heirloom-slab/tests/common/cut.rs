//! A crash at any store: the memory as it is at this instant, recovered and judged, and put back as it was.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::mem::offset_of;
use std::ops::Range;
use std::ptr::NonNull;

use heirloom_abi::pool::{
    BLOCK_KIND_SLABS, BlockRecord, Geometry, SLAB_KIND_LARGE, SLAB_KIND_SLAB, SlabRecord, Tally,
};
use heirloom_slab::{Fault, Host, Pool};

use super::{Object, TestHost, hand_out};

/// A successor's host over memory that another pool is at work on: it knows of no block yet.
pub(crate) struct View {
    base: NonNull<u8>,
    first: usize,
    block: u64,
    taken: RefCell<Vec<bool>>,
}

impl View {
    pub(crate) fn new(host: &TestHost) -> Self {
        let taken = RefCell::new(vec![false; host.nr_blocks()]);
        let block = host.geometry().block_bytes();
        Self { base: host.base(), first: (host.control_bytes() / block) as usize, block, taken }
    }
}

// SAFETY: the memory is the region's; blocks are marked as taken, and zeroed when they are given back.
unsafe impl Host for View {
    fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn take(&self, nr: u32) -> Option<u64> {
        self.take_with(nr, 0..0)
    }

    fn take_with(&self, nr: u32, any: Range<u64>) -> Option<u64> {
        let (mut taken, nr) = (self.taken.borrow_mut(), nr as usize);
        let at = (0..=taken.len().checked_sub(nr)?).find(|&at| !taken[at..at + nr].contains(&true))?;
        taken[at..at + nr].fill(true);
        let offset = (self.first + at) as u64 * self.block;
        // SAFETY: the blocks are in the region and nobody's. Whoever died may have left them half given back.
        unsafe { hand_out(self.base, offset, nr as u64 * self.block, &any) };
        Some(offset)
    }

    fn extend(&self, offset: u64, nr: u32, more: u32) -> bool {
        let at = (offset / self.block) as usize - self.first + nr as usize;
        let mut taken = self.taken.borrow_mut();
        let Some(next) = taken.get_mut(at..at + more as usize) else { return false };
        if next.contains(&true) {
            return false;
        }
        next.fill(true);
        let from = (self.first + at) * self.block as usize;
        // SAFETY: as in `take`.
        unsafe { self.base.as_ptr().add(from).write_bytes(0, more as usize * self.block as usize) };
        true
    }

    fn give_back(&self, offset: u64, nr: u32) {
        let at = (offset / self.block) as usize - self.first;
        self.taken.borrow_mut()[at..at + nr as usize].fill(false);
    }

    fn adopt(&self, offset: u64, nr: u32) -> bool {
        let mut taken = self.taken.borrow_mut();
        let Some(at) = ((offset / self.block) as usize).checked_sub(self.first) else { return false };
        let Some(range) = taken.get_mut(at..at.saturating_add(nr as usize)) else { return false };
        !range.contains(&true) && {
            range.fill(true);
            true
        }
    }

    fn pause(&self) {
        panic!("a lock that nobody holds is taken");
    }

    fn report(&self, fault: Fault) {
        panic!("{fault}");
    }
}

/// Cuts here: recovers the memory, hands the recovered pool to `judge`, and puts every byte back.
pub(crate) fn cut<T>(host: &TestHost, judge: impl FnOnce(&Pool<View>, Tally) -> T) -> T {
    // SAFETY: the pool that works on it stands still meanwhile, on this very thread.
    let before = unsafe { host.bytes() }.to_vec();
    // SAFETY: for the pool below its owner is dead.
    let recovered = unsafe { Pool::recover(View::new(host), 0, host.control_bytes()) };
    let (pool, _) = recovered.unwrap_or_else(|error| panic!("a pool that was cut is refused: {error}"));
    let tally = pool.check(true, |broken| panic!("after the recovery: {broken}"));
    let result = judge(&pool, tally);
    drop(pool);
    // SAFETY: as above.
    unsafe { host.bytes() }.copy_from_slice(&before);
    result
}

/// True where the records list the slot at `offset` as free, or know of no object there.
pub(crate) fn is_listed_free(host: &TestHost, offset: u64) -> bool {
    let geometry = host.geometry();
    // SAFETY: as above; only read.
    let bytes: &[u8] = unsafe { host.bytes() };
    let block = offset & !(geometry.block_bytes() - 1);
    let mut unit = ((offset - block) >> geometry.unit_shift) as u32;
    loop {
        let at = block + geometry.descriptor_offset(unit);
        let within = offset - block - (u64::from(unit) << geometry.unit_shift);
        let word = |at: u64| u64::from_le_bytes(bytes[at as usize..][..8].try_into().unwrap());
        let half = |at: u64| u32::from_le_bytes(bytes[at as usize..][..4].try_into().unwrap());
        match half(at) {
            SLAB_KIND_LARGE => return within != 0,
            SLAB_KIND_SLAB => {
                let slot_bytes = u64::from(half(at + offset_of!(SlabRecord, slot_bytes) as u64));
                let index = within / slot_bytes;
                return word(at + size_of::<SlabRecord>() as u64 + index / 64 * 8) >> (index % 64) & 1 == 1;
            }
            _ if unit == 0 => return true,
            _ => unit &= unit - 1,
        }
    }
}

/// Every object of the model is there, with its bytes, and at most `in_flight` more.
pub(crate) fn judge(host: &TestHost, model: &BTreeMap<u64, Object>, in_flight: u64, tally: Tally) {
    let live = model.len() as u64;
    assert!(
        (live..=live + in_flight).contains(&tally.live_objects),
        "{} objects live, the model has {live} and {in_flight} in flight",
        tally.live_objects
    );
    assert_eq!(tally.stale_bytes, 0, "free bytes are zero");
    // SAFETY: nobody works on the memory meanwhile.
    let bytes: &[u8] = unsafe { host.bytes() };
    for object in model.values() {
        assert!(!is_listed_free(host, object.offset), "a live object is listed as free: {object:?}");
        let there = &bytes[object.offset as usize..][..object.size];
        assert!(there.iter().all(|&byte| byte == object.mark), "a live object keeps its bytes: {object:?}");
    }
}

/// Blocks in the table, by what the records say.
pub(crate) fn slab_blocks(host: &TestHost) -> Vec<u64> {
    let geometry: Geometry = host.geometry();
    // SAFETY: only read, by the thread that works on it.
    let bytes: &[u8] = unsafe { host.bytes() };
    (0..geometry.max_blocks)
        .filter_map(|index| {
            let at = geometry.block_offset(index) as usize;
            let kind = &bytes[at + offset_of!(BlockRecord, kind)..][..4];
            let offset = u64::from_le_bytes(bytes[at..][..8].try_into().unwrap());
            (u32::from_le_bytes(kind.try_into().unwrap()) == BLOCK_KIND_SLABS).then_some(offset)
        })
        .collect()
}
