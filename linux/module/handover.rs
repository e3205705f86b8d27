// SPDX-License-Identifier: GPL-2.0

//! A pool begins: laid out anew, or taken over from the kernel before.
//!
//! ```text
//! KHO subtree "heirloom-slab" --> blob:  | names (64 KiB) | control area of the pool |
//!                                                                | block table
//!                                                                v
//!                                        block  block  block  ...   256 KiB each, a preserved folio of order 6
//! ```
//!
//! # The order of taking over
//!
//! 1. Everything is read where it lies, behind gates, before anything is claimed: the blob's pages, its records, their checksums, each
//!    block, each slab, the names. Whatever is wrong there, memory is as the predecessor left it, and stays so.
//! 2. The blob and each block are claimed from KHO and preserved anew, and the tables opened for use.
//! 3. Each name must lead to an object.
//! 4. The blob is listed for the next kernel.
//!
//! # Invariants
//!
//! - *distrust*: no number of the predecessor's is followed before it was compared with what KHO itself says of that page.
//! - *all or nothing*: refused in 1, the predecessor's memory is untouched and is kept for inspection.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use heirloom_abi::pool::{Geometry, GeometryError, Memory, PoolError, PoolReader, BLOCK_KIND_SLABS};
use heirloom_abi::roots::RootsError;
use heirloom_slab::{Config, FormatError, Pool, RestoreError, Scrub};
use kernel::prelude::*;

use crate::host::{Kho, BLOCK_BYTES, BLOCK_SHIFT};
use crate::linux::{self, Locked};
use crate::names::{self, NAMES_BYTES};
use crate::pool::{self, Heirloom, MAX_SLOTS};

/// Caches that a pool can hold: the size classes up to two pages, and a few to spare.
const MAX_CACHES: u32 = 36;

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The kernel was not started with it.
    #[error("KHO is off (kho=on on the command line turns it on): nothing would survive")]
    Off,
    /// Linux has no memory for the control area.
    #[error("no memory for a control area of {0} bytes")]
    Memory(u64),
    /// The numbers that were asked for.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// A new pool cannot be laid out.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The names cannot be read or written.
    #[error(transparent)]
    Names(#[from] RootsError),
    /// The predecessor's node does not name memory that was handed over.
    #[error("the node {phys:#x}+{bytes:#x} is not memory that was handed over ({errno})")]
    Blob {
        /// Where it should lie.
        phys: u64,
        /// How long it should be.
        bytes: u64,
        /// What Linux says.
        errno: i32,
    },
    /// The blob has another length than its records say.
    #[error("the node has {found} bytes, its records are {expected} long")]
    Length {
        /// What the node says.
        found: u64,
        /// What the records say.
        expected: u64,
    },
    /// A record is wrong.
    #[error("{0}")]
    Record(#[from] PoolError),
    /// A block is not what KHO handed over.
    #[error("block {index} at {offset:#x} is not memory that was handed over ({errno})")]
    Block {
        /// Its entry.
        index: u32,
        /// Where it should lie.
        offset: u64,
        /// What Linux says.
        errno: i32,
    },
    /// The pool is sound, and not one that this module serves.
    #[error("{what} is {value}, which this module does not serve")]
    Layout {
        /// Which number.
        what: &'static str,
        /// What it is.
        value: u64,
    },
    /// It was sound, and could not be taken over for want of memory.
    #[error("{0}")]
    Restore(#[from] RestoreError),
    /// A name leads nowhere.
    #[error("a name leads to {0:#x}, where no object starts")]
    Dangling(u64),
    /// The handover tree has no room, or another has our name.
    #[error("the node cannot be listed for the next kernel ({0})")]
    Tree(i32),
}

/// What was refused: kept for inspection.
static REFUSED_PHYS: AtomicU64 = AtomicU64::new(0);
static REFUSED_BYTES: AtomicU64 = AtomicU64::new(0);

/// Takes over what was handed over, or begins anew where nothing was.
pub(crate) fn start(nr_slots: u32, max_blocks: u32) -> Result<(), Refused> {
    if !linux::is_kho() {
        return Err(Refused::Off);
    }
    match linux::find_subtree() {
        Ok((phys, bytes)) => take_over(phys, bytes).inspect_err(|_| {
            REFUSED_PHYS.store(phys, Relaxed);
            REFUSED_BYTES.store(bytes, Relaxed);
        }),
        Err(error) if error == ENOENT => lay_out(nr_slots, max_blocks),
        Err(error) => Err(Refused::Blob { phys: 0, bytes: 0, errno: error.to_errno() }),
    }
}

/// Begins anew, also where something was refused: that stays as it is.
pub(crate) fn lay_out(nr_slots: u32, max_blocks: u32) -> Result<(), Refused> {
    let most = match max_blocks {
        // Half of the machine; a machine that large has pages for the table.
        0 => (linux::ram_bytes() / 2 / BLOCK_BYTES).clamp(64, 8192) as u32,
        some => some,
    };
    let nr_slots = match nr_slots {
        0 => linux::nr_cpus(),
        some => some,
    };
    let geometry = Geometry::new(BLOCK_SHIFT, MAX_CACHES, nr_slots.clamp(1, MAX_SLOTS as u32), most)?;
    let bytes = NAMES_BYTES + geometry.control_bytes();
    let blob = linux::phys(linux::take_pages(bytes).ok_or(Refused::Memory(bytes))?.as_ptr());
    let config = Config { geometry, scrub: Scrub::OnFree, pool_id: linux::random() };
    let begun = || {
        // SAFETY: the pages are zeroed, aligned to a page, and ours alone.
        let pool = unsafe { Pool::format(Kho::new(), blob + NAMES_BYTES, config) }?;
        names::lay_out(blob)?;
        finish(pool, blob, bytes, 1, (0, 0))
    };
    begun().inspect_err(|_| {
        // SAFETY: taken above, and nobody knows of them.
        unsafe { linux::give_pages(blob, bytes) }
    })
}

fn take_over(phys: u64, bytes: u64) -> Result<(), Refused> {
    linux::state_of_pages(phys, bytes).map_err(|error| Refused::Blob {
        phys,
        bytes,
        errno: error.to_errno(),
    })?;
    let inherited = Inherited { blob: (phys, bytes) };
    let reader = PoolReader::open(&inherited, phys + NAMES_BYTES)?;
    let geometry = reader.geometry();
    check_layout(&geometry, reader.scrub())?;
    let expected = NAMES_BYTES + geometry.control_bytes();
    if expected != bytes {
        return Err(Refused::Length { found: bytes, expected });
    }
    reader.check_tables()?;
    check_blocks(&reader)?;
    let mut first = None;
    let tally = reader.check(false, |broken| {
        first.get_or_insert(broken);
    });
    if let Some(broken) = first {
        return Err(broken.into());
    }
    names::check(phys)?;

    // From here on only a want of memory can stop us, or a name that leads nowhere.
    linux::claim_pages(phys, bytes).map_err(|error| Refused::Blob {
        phys,
        bytes,
        errno: error.to_errno(),
    })?;
    // SAFETY: the pages were claimed, so they are this pool's alone; all free slots are nobody's by the predecessor's freeze.
    let pool = unsafe { Pool::restore(Kho::new(), phys + NAMES_BYTES, bytes - NAMES_BYTES) }?;
    finish(pool, phys, bytes, 0, (tally.live_objects, tally.blocks))
}

fn check_layout(geometry: &Geometry, scrub: u32) -> Result<(), Refused> {
    let wrong = |what, value: u32| Err(Refused::Layout { what, value: value.into() });
    if geometry.block_shift != BLOCK_SHIFT {
        return wrong("block_shift", geometry.block_shift);
    }
    if scrub != 0 {
        return wrong("scrub", scrub);
    }
    Ok(())
}

/// Each block is a folio that KHO handed over, and each is in the table once: a block's head names its entry.
fn check_blocks(reader: &PoolReader<'_, Inherited>) -> Result<(), Refused> {
    for index in 0..reader.nr_blocks() {
        let Some(block) = reader.block(index)? else { continue };
        if block.kind != BLOCK_KIND_SLABS {
            return Err(Refused::Layout { what: "the kind of a block", value: block.kind.into() });
        }
        linux::state_of_block(block.offset).map_err(|error| Refused::Block {
            index,
            offset: block.offset,
            errno: error.to_errno(),
        })?;
        reader.check_block_head(&block)?;
    }
    Ok(())
}

fn finish(
    pool: Pool<Kho>,
    blob: u64,
    bytes: u64,
    generation: u32,
    inherited: (u64, u64),
) -> Result<(), Refused> {
    // A slab that is empty for a moment stays its cache's: were it cut for another, the pool would grow when it is wanted again.
    pool.set_spare_blocks(1);
    let heirloom = KBox::new(Heirloom::new(pool, (blob, bytes)), GFP_KERNEL);
    let mut heirloom = heirloom.map_err(|_| Refused::Memory(size_of::<Heirloom>() as u64))?;
    heirloom.inherited = inherited;
    heirloom.generation = if generation > 0 { generation } else { heirloom.count_generations() };
    check_names(&heirloom)?;
    if !heirloom.claim_slots(inherited.0) {
        return Err(Refused::Layout { what: "the number of CPU slots", value: heirloom.slots().0.into() });
    }
    linux::add_subtree(blob, bytes).map_err(|error| Refused::Tree(error.to_errno()))?;
    // What callers that may not sleep should find from the start.
    heirloom.pool.host().level();
    pool::install(heirloom);
    Ok(())
}

fn check_names(heirloom: &Heirloom) -> Result<(), Refused> {
    let mut dangling = None;
    let locked = Locked::take();
    heirloom.for_each_name(&locked, |root| {
        if heirloom.object(root.object_offset).is_none() {
            dangling.get_or_insert(root.object_offset);
        }
    })?;
    dangling.map_or(Ok(()), |at| Err(Refused::Dangling(at)))
}

/// What the predecessor handed over and nobody has claimed: its blob, and every block that KHO says is one.
pub(crate) struct Inherited {
    blob: (u64, u64),
}

impl Inherited {
    fn has(&self, offset: u64, len: u64) -> bool {
        let Some(end) = offset.checked_add(len) else { return false };
        let (start, bytes) = self.blob;
        if start <= offset && end <= start + bytes {
            return true;
        }
        let first = offset & !(BLOCK_BYTES - 1);
        len <= BLOCK_BYTES
            && (first..end).step_by(BLOCK_BYTES as usize).all(|at| linux::state_of_block(at).is_ok())
    }
}

impl Memory for Inherited {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Option<()> {
        if !self.has(offset, buffer.len() as u64) {
            return None;
        }
        // SAFETY: KHO handed the range over, so it is RAM that is reserved and that nobody writes; it was initialised by another
        // kernel, and any bytes are valid ones.
        unsafe { buffer.as_mut_ptr().copy_from_nonoverlapping(linux::address(offset), buffer.len()) };
        Some(())
    }

    fn count_nonzero(&self, offset: u64, len: u64) -> Option<u64> {
        if !self.has(offset, len) {
            return None;
        }
        // SAFETY: as above.
        let bytes = unsafe { core::slice::from_raw_parts(linux::address(offset), len as usize) };
        Some(bytes.iter().filter(|&&byte| byte != 0).count() as u64)
    }
}

/// Whether a page is the pool's, or of what was refused: what may be shown in a dump.
pub(crate) fn is_ours(phys: u64) -> bool {
    let within = |(start, bytes): (u64, u64)| start <= phys && phys - start < bytes;
    let refused = (REFUSED_PHYS.load(Relaxed), REFUSED_BYTES.load(Relaxed));
    if refused.1 > 0 && (within(refused) || linux::state_of_block(phys & !(BLOCK_BYTES - 1)).is_ok()) {
        return true;
    }
    let Some(heirloom) = pool::current() else { return false };
    within(heirloom.blob) || heirloom.has_block(phys & !(BLOCK_BYTES - 1))
}
