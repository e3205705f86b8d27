//! The freeze: all free slots into the bitmaps, all free bytes zero, a checksum over the tables. And the thaw.

use heirloom_abi::pool::SLAB_KIND_SLAB;

use super::{Pool, Scrub};
use crate::host::Host;
use crate::slab::Slab;
use crate::sync::{self, Ordering::*};

impl<H: Host> Pool<H> {
    /// Folds every magazine, accumulator and remote word into the bitmaps.
    ///
    /// No thread may be allocating or freeing meanwhile: that is the caller's door. Calling it again changes nothing.
    pub fn settle_all(&self) {
        // One slab a cache may wait for the next object.
        self.settle_but(1);
    }

    /// The same. Idle slabs are taken down until no CPU has more than `leave` slabs of a cache on its list, or none of them is idle.
    fn settle_but(&self, leave: u32) {
        for index in 0..self.nr_cpus() {
            let cpu = self.arena.cpu(index).lock(|| self.host.pause());
            if cpu.slot.tag.load(Relaxed) != 0 {
                self.fold(&cpu);
            }
        }
        // Publishing announced slabs to CPUs that were folded before. A drain can announce once more (to pass a
        // slab on), never more than once for each slab.
        for _ in 0..3 {
            for index in 0..self.nr_cpus() {
                let cpu = self.arena.cpu(index).lock(|| self.host.pause());
                if cpu.slot.tag.load(Relaxed) != 0 {
                    self.drain_all(&cpu);
                    for cache in 0..self.nr_caches() {
                        self.take_down_idle(&cpu, cache, leave);
                    }
                } else {
                    self.settle_vacant(&cpu);
                }
            }
        }
    }

    /// Slabs that were announced to a CPU slot that nobody has.
    fn settle_vacant(&self, cpu: &crate::cpu::Locked<'_>) {
        for cache in 0..self.nr_caches() {
            let mut at = cpu.caches[cache].pending.swap(0, SeqCst);
            while at != 0 {
                let slab = self.arena.slab_at(at);
                at = slab.head.remote_next.load(Relaxed);
                if self.is_live(slab.head.owner.load(SeqCst)) {
                    // Stolen or adopted: only its owner may put it on a list.
                    self.announce(&slab);
                    continue;
                }
                slab.take_announcement();
                if slab.head.nr_free.load(Relaxed) > 0 {
                    self.mark_orphan(&slab);
                }
            }
        }
    }

    /// Settles the pool, gives empty blocks back, and writes the checksum over the tables; with `seal` one for each slab
    /// too, which visits every slab.
    ///
    /// The caller's door is closed: nobody allocates or frees until [`Pool::thaw`] or a restore.
    pub fn freeze(&self, seal: bool) {
        // Whatever the successor wants is cut anew; an idle slab would be of use to its cache alone. Those that nobody owns are found by a look
        // at each slab with room (see `idle`), which is not for a freeze: a trim has them, or who is short of memory.
        self.settle_but(0);
        self.give_empty_blocks_back();
        if self.scrub == Scrub::AtFreeze {
            self.scrub_dirty();
        }
        let record = self.arena.record();
        if seal {
            self.seal_slabs();
        }
        record.sealed.store(seal.into(), Relaxed);
        record.nr_freezes.fetch_add(1, Relaxed);
        record.frozen.store(1, Relaxed);
        let checksum = self.with_reader(|reader| reader.and_then(|reader| reader.compute_tables_checksum()));
        // The record is ours: reading it cannot fail. A zero would be refused, and nothing would be lost by it.
        record.tables_checksum.store(checksum.unwrap_or(0), Release);
    }

    /// Takes a freeze back: the pool runs on. Of what was kept near (magazines, idle slabs, empty blocks) nothing is left.
    pub fn thaw(&self) {
        self.arena.record().frozen.store(0, Release);
        sync::commit();
    }

    fn scrub_dirty(&self) {
        for block in &self.arena.blocks()[..self.nr_blocks()] {
            self.clean_units(block, block.free_units.load(Relaxed));
            let mut units = block.dirty_units.load(Acquire);
            while units != 0 {
                let unit = units.trailing_zeros();
                units &= units - 1;
                let slab = self.arena.slab(block.offset.load(Relaxed), unit);
                if slab.head.kind.load(Acquire) == SLAB_KIND_SLAB {
                    self.scrub_slab(&slab);
                }
                block.dirty_units.fetch_and(!(1 << unit), AcqRel);
            }
        }
    }

    #[expect(unsafe_code, reason = "zeroes free slots")]
    pub(super) fn scrub_slab(&self, slab: &Slab<'_>) {
        let slot_bytes = u64::from(slab.head.slot_bytes.load(Relaxed));
        let base = self.base_of(slab);
        for (word, free) in slab.free.iter().enumerate() {
            let mut bits = free.load(Relaxed);
            while bits != 0 {
                let start = bits.trailing_zeros();
                let len = (bits >> start).trailing_ones();
                bits &= !super::blocks::span(start, len);
                let from = base + (word as u64 * 64 + u64::from(start)) * slot_bytes;
                // SAFETY: these slots are free, and with the door closed nobody takes them.
                unsafe { self.arena.zero(from, u64::from(len) * slot_bytes) };
            }
        }
    }

    fn seal_slabs(&self) {
        self.for_each_slab(|slab| {
            slab.head.seal.store(0, Relaxed);
            let seal = self.with_reader(|reader| reader.and_then(|reader| reader.compute_seal(slab.at)));
            slab.head.seal.store(seal.unwrap_or(0), Relaxed);
        });
    }

    /// Calls `each` with every slab and large object of the block table.
    pub(super) fn for_each_slab(&self, mut each: impl FnMut(Slab<'_>)) {
        for block in &self.arena.blocks()[..self.nr_blocks()] {
            if block.kind.load(Relaxed) == heirloom_abi::pool::BLOCK_KIND_NONE {
                continue;
            }
            let held = self.geometry.usable_units() & !block.free_units.load(Relaxed);
            for unit in (0..self.geometry.units()).filter(|unit| held >> unit & 1 == 1) {
                let slab = self.arena.slab(block.offset.load(Relaxed), unit);
                let kind = slab.head.kind.load(Relaxed);
                if kind == SLAB_KIND_SLAB || kind == heirloom_abi::pool::SLAB_KIND_LARGE {
                    each(slab);
                }
            }
        }
    }
}
