// SPDX-License-Identifier: GPL-2.0

//! What `/sys/kernel/debug/heirloom/` shows, and the commands that it takes.
//!
//! | file | |
//! | --- | --- |
//! | `stats` | caches, objects, blocks, bytes saved against a page each |
//! | `check` | every invariant of the pool, and a scan for stale bytes, while everybody waits |
//! | `names` | names, handles, bytes |
//! | `blocks` | physical address and bytes of the names, the control area and each block |
//! | `memory` | those bytes, at their physical addresses; nothing else can be read |
//! | `control` | written: `freeze`, `thaw`, `careful 0/1`, `limit N` (blocks before memory is "short"), `anew` (after a refusal),
//! | | `damage control/table/block/names` (a flipped bit behind the freeze, for tests: in kernels with fault injection only) |
//!
//! Lines are `word number`, so that a program reads them as well as a person.

use core::fmt::Write;
use core::mem::offset_of;
use core::sync::atomic::Ordering::Relaxed;

use heirloom_abi::pool::{BlockHead, Memory, PoolReader, PoolRecord, Tally};
use kernel::prelude::*;

use crate::handover;
use crate::host::BLOCK_BYTES;
use crate::linux::{self, Locked, Page};
use crate::names::NAMES_BYTES;
use crate::pool::{self, Heirloom};

const PAGE_BYTES: u64 = 4096;

/// The pool's memory, read by physical address. Every offset that a sound record names is memory.
struct Own;

impl Memory for Own {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Option<()> {
        if !linux::is_plain(linux::address(offset)) {
            return None;
        }
        // SAFETY: RAM of the direct map; it may change meanwhile, and the copy is judged afterwards.
        unsafe { buffer.as_mut_ptr().copy_from_nonoverlapping(linux::address(offset), buffer.len()) };
        Some(())
    }

    fn count_nonzero(&self, _offset: u64, _len: u64) -> Option<u64> {
        None
    }
}

impl Heirloom {
    /// Kernels that had this pool, this one included, as far as freezes tell.
    pub(crate) fn count_generations(&self) -> u32 {
        let mut eight = [0; 8];
        let at = self.control() + offset_of!(PoolRecord, nr_freezes) as u64;
        Own.read(at, &mut eight).map_or(0, |()| u64::from_le_bytes(eight) as u32 + 1)
    }

    /// Whether a block of the pool starts there.
    pub(crate) fn has_block(&self, phys: u64) -> bool {
        let mut four = [0; 4];
        let Some(()) = Own.read(phys + offset_of!(BlockHead, index) as u64, &mut four) else { return false };
        let index = u32::from_le_bytes(four);
        let Ok(reader) = PoolReader::open(&Own, self.control()) else { return false };
        index < reader.nr_blocks()
            && reader.block(index).is_ok_and(|block| block.is_some_and(|b| b.offset == phys))
    }

    /// Checks the pool while nobody uses it: sums, and how much is wrong.
    pub(crate) fn check_all(
        &self,
        scan: bool,
        mut each: impl FnMut(&dyn core::fmt::Display),
    ) -> (Tally, u64) {
        let locked = Locked::take();
        self.paused(&locked, |pool| {
            let mut nr_broken = 0;
            let tally = pool.check(scan, |broken| {
                nr_broken += 1;
                if nr_broken <= 20 {
                    each(&broken);
                }
            });
            (tally, nr_broken)
        })
    }
}

/// Writes `stats`.
pub(crate) fn stats(to: &mut Page) -> core::fmt::Result {
    let Some(heirloom) = pool::current() else { return writeln!(to, "no pool; the kernel's log says why") };
    let (tally, _) = heirloom.check_all(false, |_| ());
    let (slots, shared) = heirloom.slots();
    writeln!(to, "generation {}", heirloom.generation)?;
    writeln!(to, "frozen {}", u8::from(heirloom.is_frozen()))?;
    writeln!(to, "inherited_objects {}", heirloom.inherited.0)?;
    writeln!(to, "inherited_blocks {}", heirloom.inherited.1)?;
    writeln!(to, "live_objects {}", heirloom.nr_live())?;
    writeln!(to, "live_bytes {}", tally.live_bytes)?;
    writeln!(to, "free_slots {}", tally.free_slots)?;
    writeln!(to, "slabs {}", tally.slabs)?;
    writeln!(to, "blocks {}", tally.blocks)?;
    writeln!(to, "block_bytes {}", tally.pool_bytes)?;
    writeln!(to, "header_bytes {}", tally.metadata_bytes)?;
    writeln!(to, "stranded_bytes {}", tally.stranded_bytes)?;
    writeln!(to, "reserve_blocks {}", heirloom.pool.host().nr_reserved())?;
    writeln!(to, "control_bytes {}", heirloom.blob.1)?;
    writeln!(to, "cpu_slots {slots}{}", if shared { " shared" } else { "" })?;
    writeln!(to, "faults {}", heirloom.pool.host().nr_faults())?;
    let by_page = tally.live_objects * PAGE_BYTES;
    let ours = tally.pool_bytes + heirloom.blob.1;
    writeln!(to, "bytes_of_a_page_each {by_page}")?;
    writeln!(to, "bytes_preserved {ours}")?;
    writeln!(to, "bytes_saved {}", by_page as i64 - ours as i64)?;
    let Ok(reader) = PoolReader::open(&Own, heirloom.control()) else { return Ok(()) };
    for cache in (0..reader.nr_caches()).filter_map(|index| reader.cache(index).ok()) {
        writeln!(to, "cache {} bytes {} slots_a_slab {}", cache.name(), cache.slot_bytes, cache.nr_slots)?;
    }
    Ok(())
}

/// Writes `check`.
pub(crate) fn check(to: &mut Page) -> core::fmt::Result {
    let Some(heirloom) = pool::current() else { return writeln!(to, "no pool; the kernel's log says why") };
    let (tally, broken) = heirloom.check_all(true, |broken| {
        let _ = writeln!(to, "{broken}");
    });
    let nr_live = heirloom.nr_live();
    writeln!(to, "live_objects {}", tally.live_objects)?;
    writeln!(to, "counted_objects {nr_live}")?;
    writeln!(to, "blocks {}", tally.blocks)?;
    writeln!(to, "stale_bytes {}", tally.stale_bytes)?;
    writeln!(to, "broken {broken}")
}

/// Writes `names`.
pub(crate) fn names(to: &mut Page) -> core::fmt::Result {
    let Some(heirloom) = pool::current() else { return Ok(()) };
    let locked = Locked::take();
    let read = heirloom.for_each_name(&locked, |root| {
        let _ =
            writeln!(to, "{} {:#x} {} {}", root.name, root.object_offset, root.object_bytes, root.generation);
    });
    read.or_else(|error| writeln!(to, "{error}"))
}

/// Writes `blocks`.
pub(crate) fn blocks(to: &mut Page) -> core::fmt::Result {
    let Some(heirloom) = pool::current() else { return Ok(()) };
    let (names, bytes) = heirloom.blob;
    writeln!(to, "names {names:#x} {NAMES_BYTES}")?;
    writeln!(to, "control {:#x} {}", heirloom.control(), bytes - NAMES_BYTES)?;
    let Ok(reader) = PoolReader::open(&Own, heirloom.control()) else { return Ok(()) };
    for block in (0..reader.nr_blocks()).filter_map(|index| reader.block(index).ok().flatten()) {
        writeln!(to, "block {:#x} {}", block.offset, u64::from(block.run) * BLOCK_BYTES)?;
    }
    Ok(())
}

/// Does what was written to `control`.
pub(crate) fn command(text: &str) -> Result {
    let mut words = text.split_ascii_whitespace();
    let (word, number) = (words.next().unwrap_or(""), words.next().map(str::parse::<i64>));
    if word == "anew" {
        if pool::current().is_some() {
            return Err(EEXIST);
        }
        return handover::lay_out(0, 0).map_err(|refused| {
            pr_err!("{}\n", core::format_args!("{refused}"));
            ENOMEM
        });
    }
    let heirloom = pool::current().ok_or(ENODEV)?;
    match (word, number) {
        ("freeze", None) => {
            heirloom.freeze();
            Ok(())
        }
        ("thaw", None) => heirloom.thaw().then_some(()).ok_or(EINVAL),
        ("careful", Some(Ok(on))) => {
            heirloom.is_careful.store(on != 0, Relaxed);
            Ok(())
        }
        ("limit", Some(Ok(nr))) => {
            heirloom.pool.host().limit(nr);
            Ok(())
        }
        #[cfg(CONFIG_FAULT_INJECTION)]
        ("damage", None | Some(Err(_))) => {
            damage(heirloom, text.split_ascii_whitespace().nth(1).unwrap_or(""))
        }
        _ => Err(EINVAL),
    }
}

/// Flips a bit of what is handed over, behind the freeze. In kernels with fault injection only.
#[cfg(CONFIG_FAULT_INJECTION)]
fn damage(heirloom: &Heirloom, what: &str) -> Result {
    if !heirloom.is_frozen() {
        return Err(EINVAL);
    }
    let reader = PoolReader::open(&Own, heirloom.control()).map_err(|_| EIO)?;
    let block = || (0..reader.nr_blocks()).find_map(|index| reader.block(index).ok().flatten()).ok_or(ENOENT);
    let at = match what {
        "control" => heirloom.control() + offset_of!(PoolRecord, pool_id) as u64,
        "table" => heirloom.control() + reader.geometry().block_offset(0) + 1,
        // The descriptor of the first unit that may hold objects.
        "block" => {
            block()?.offset + reader.geometry().descriptor_offset(reader.geometry().header_units()) + 20
        }
        "names" => heirloom.blob.0 + 100,
        _ => return Err(EINVAL),
    };
    // SAFETY: the pool's own memory, and its door is closed.
    unsafe { *linux::address(at) ^= 0x10 };
    Ok(())
}
