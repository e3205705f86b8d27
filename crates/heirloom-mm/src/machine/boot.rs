//! The boot order, as one function.
#![expect(unsafe_code, reason = "tables, the ground and the pools lie in memory that memblock gave")]

use core::cell::{Cell, RefCell};
use core::sync::atomic::AtomicU32;

use heirloom_abi::pool::GeometryError;
use heirloom_slab::{Config, FormatError, Pool, RestoreError, Scrub};

use super::freeze::Runs;
use super::{Machine, PreservePool};
use crate::boot_info::{BootInfo, Options};
use crate::buddy::{BlockType, Buddy, Owner, Request, Zone, order_for};
use crate::ground::Ground;
use crate::kfence::GuardPool;
use crate::kho::{
    AuditError, Incoming, IngestError, Ingested, Outgoing, POOL_NODE, PreserveError, RestorePagesError,
    RetrieveError, SubtreeError, claim_range, ingest,
};
use crate::memblock::{Memblock, MemblockError, Place};
use crate::phys::{Memory, PAGE_BYTES, PAGE_SHIFT};
use crate::platform::{Handover, Platform};
use crate::scratch::ScratchAreas;
use crate::slab::{BlockHost, CacheTable, LayoutError, check_layout, geometry};

/// Why a machine did not boot. What a predecessor handed over is as it was, for another successor to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// The firmware's map is wrong, or memory is short.
    #[error(transparent)]
    Memblock(#[from] MemblockError),
    /// The handover was refused.
    #[error("the handover is refused: {0}")]
    Ingest(#[from] IngestError),
    /// The preserve pool's record is not in preserved memory.
    #[error("the preserve pool: {0}")]
    Retrieve(#[from] RetrieveError),
    /// The preserve pool's control area was not handed over as such.
    #[error("the preserve pool's control area: {0}")]
    Control(#[from] RestorePagesError),
    /// The preserve pool is refused.
    #[error("the preserve pool is refused: {0}")]
    Restore(#[from] RestoreError),
    /// The preserve pool's record is wrong, or the pool is not laid out as a machine's pools are.
    #[error("the preserve pool is refused: {0}")]
    Layout(#[from] LayoutError),
    /// The sizes in the options give no pool.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// A pool cannot be laid out.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// No memory is left for a pool's control area.
    #[error("no {bytes} bytes are left for a pool's control area")]
    OutOfMemory {
        /// Its bytes.
        bytes: u64,
    },
    /// The handover to the next generation cannot begin: among other reasons because a part of it would lie on unsafe ground.
    #[error("the next handover: {0}")]
    Outgoing(#[from] AuditError),
    /// The preserve pool cannot be preserved.
    #[error(transparent)]
    Preserve(#[from] PreserveError),
    /// The preserve pool cannot be listed in the handover tree.
    #[error(transparent)]
    Subtree(#[from] SubtreeError),
}

impl<'m, P: Platform> Machine<'m, P> {
    /// Boots: cold, or over what a predecessor handed over.
    ///
    /// ```text
    ///  1  firmware map -> memblock                        which memory there is
    ///  2  image, page tables -> reserved                  what of it is ours already
    ///        handed over?
    ///  3  yes: scratch only                               the rest may be the predecessor's
    ///  4       ingest tree and map -> reserved            refused here, nothing was touched
    ///  5       scratch only no longer                     what is not reserved is ours
    ///     no:  scratch areas chosen                       once, for all generations
    ///  6  guard pool carved                               outside scratch: memblock gives no other memory now
    ///  7  page records                                    one for each page
    ///  8  free pages -> buddy; inherited frames noted     memblock is done
    ///  9  ordinary slab up
    /// 10  next handover begun                             root of its map, tree, list of scratch areas: plain pages
    /// 11  preserve slab restored, or laid out             its blocks are in the next map from here on
    /// 12  the old map's own pages -> buddy               the point of no return: nobody else can try now
    /// ```
    ///
    /// Uses some 40 KiB of stack.
    ///
    /// # Errors
    ///
    /// [`BootError`].
    #[track_caller]
    pub fn boot(platform: &'m P, info: &BootInfo<'_>) -> Result<Self, BootError> {
        let mut carved = None;
        Self::boot_inside(platform, info, &mut carved).inspect_err(|_| {
            // Page tables are no part of memory: what was closed would stay so.
            platform.watch(None);
            if let Some(guard) = carved {
                guard.dissolve(platform);
            }
        })
    }

    /// The boot order. The guard pool is told to `carved` as soon as there is one.
    #[track_caller]
    fn boot_inside(
        platform: &'m P,
        info: &BootInfo<'_>,
        carved: &mut Option<GuardPool>,
    ) -> Result<Self, BootError> {
        let options = &info.options;
        // SAFETY: the platform promises that its direct map is one, for as long as it is borrowed.
        let map = unsafe { Memory::new(platform.direct_map()) };

        let mut memblock = Memblock::new(map, info.memory)?;
        for range in info.reserved {
            memblock.reserve(range)?;
        }
        let (ingested, scratch) = match info.handover {
            Some(handover) => inherit(platform, &mut memblock, map, (handover, options), carved)?,
            None => (None, choose_scratch(&mut memblock, options)?),
        };
        if carved.is_none() {
            *carved = carve_guard(platform, &mut memblock, map, options)?;
        }
        let ground = lay_ground(platform, &mut memblock, map, options, (scratch, *carved))?;
        hand_pages_over(ground, &memblock, ingested.as_ref())?;

        let ordinary = new_pool(ground, Owner::OrdinaryPool, options.ordinary_blocks)?.pool;
        let mut machine = Self {
            ground,
            lock: AtomicU32::new(0),
            ordinary,
            preserve: None,
            caches: RefCell::new(CacheTable::new()),
            incoming: RefCell::new(Incoming::none()),
            is_frozen: Cell::new(false),
            placed: RefCell::new(Runs::default()),
        };
        let root = if options.policy.root_from_slab { Some(machine.root_from_slab()?) } else { None };
        *ground.outgoing.borrow_mut() = Some(Outgoing::begin(ground, root)?);

        machine.preserve = match &ingested {
            Some(ingested) => restore_pool(ground, ingested, options)?,
            None => format_preserve_pool(ground, options)?,
        };
        if let Some(ingested) = ingested {
            release_old_map(ground, &ingested);
            let nr_pages = ingested.summary.size_bytes >> PAGE_SHIFT;
            *machine.incoming.borrow_mut() = Incoming {
                subtrees: ingested.subtrees,
                nr_frames: ingested.summary.nr_frames,
                nr_pages,
                nr_unclaimed: None,
            };
        }
        Ok(machine)
    }

    /// A page for the map's root as Linux 7.2 takes it: from the slab, zeroed, sampled by the guard pool or not.
    #[track_caller]
    fn root_from_slab(&self) -> Result<u64, BootError> {
        let root = self.alloc(PAGE_BYTES as usize, crate::Gfp::ZERO);
        root.map(|root| self.phys(root)).map_err(|_| BootError::OutOfMemory { bytes: PAGE_BYTES })
    }
}

/// Takes a predecessor's handover over: only scratch is used until all of it is read, found sound and reserved.
fn inherit<P: Platform>(
    platform: &P,
    memblock: &mut Memblock,
    map: Memory,
    (handover, options): (Handover, &Options),
    carved: &mut Option<GuardPool>,
) -> Result<(Option<Ingested>, ScratchAreas), BootError> {
    let scratch = ScratchAreas::read_list(memblock, map, handover.scratch, handover.scratch_size)
        .map_err(IngestError::Scratch)?;
    memblock.set_scratch(scratch);
    memblock.set_scratch_only(true);
    if options.policy.guard_in_scratch {
        *carved = carve_guard(platform, memblock, map, options)?;
    }
    let ingested = ingest(memblock, map, handover, &scratch, &options.policy)?;
    memblock.set_scratch_only(false);
    Ok((Some(ingested), scratch))
}

/// Chooses the scratch areas of all generations to come.
fn choose_scratch(memblock: &mut Memblock, options: &Options) -> Result<ScratchAreas, BootError> {
    let guard = GuardPool::nr_pages(options.guard.nr_objects) * PAGE_BYTES;
    let tables: u64 = memblock.memory().iter().map(|zone| Zone::table_bytes(&pfns(zone))).sum();
    let need = memblock.reserved_bytes() + guard + tables;
    let scratch = ScratchAreas::choose(memblock, options.scratch, need)?;
    memblock.set_scratch(scratch);
    Ok(scratch)
}

/// Carves the guard pool, where there is to be one.
fn carve_guard<P: Platform>(
    platform: &P,
    memblock: &mut Memblock,
    map: Memory,
    options: &Options,
) -> Result<Option<GuardPool>, BootError> {
    let nr_objects = options.guard.nr_objects;
    if nr_objects == 0 {
        return Ok(None);
    }
    let table = memblock.alloc(GuardPool::table_bytes(nr_objects), PAGE_BYTES, &Place::default())?;
    let pages = GuardPool::nr_pages(nr_objects) * PAGE_BYTES;
    let start = memblock.alloc(pages, PAGE_BYTES, &Place::default())?;
    // SAFETY: both were taken from memblock just now, and stay the pool's.
    let guard = unsafe { GuardPool::carve(platform, map, table, start, &options.guard) };
    platform.watch(Some(guard));
    Ok(Some(guard))
}

/// Makes the page records of every zone, and the ground with the allocator that they belong to. No page is free yet.
fn lay_ground<'m, P: Platform>(
    platform: &'m P,
    memblock: &mut Memblock,
    map: Memory,
    options: &Options,
    (scratch, guard): (ScratchAreas, Option<GuardPool>),
) -> Result<&'m Ground<'m, P>, BootError> {
    let mut buddy = Buddy::new();
    for at in 0..memblock.memory().len() {
        let region = memblock.memory()[at];
        let pfns = pfns(&region);
        let size = Zone::table_bytes(&pfns);
        // On its own node, if that has room outside scratch.
        let own = Place { within: None, node: Some(region.node) };
        let table = memblock
            .alloc(size, PAGE_BYTES, &own)
            .or_else(|_| memblock.alloc(size, PAGE_BYTES, &Place::default()))?;
        // SAFETY: taken from memblock just now, and the zone's for as long as the machine runs.
        buddy.add_zone(unsafe { Zone::new(map, pfns, region.node, table) });
    }
    scratch.iter().for_each(|area| buddy.set_scratch(&area));
    let ground = Ground {
        platform,
        map,
        buddy: RefCell::new(buddy),
        outgoing: RefCell::new(None),
        scratch,
        guard,
        policy: options.policy,
        is_urgent: Cell::new(false),
        nr_faults: Cell::new(0),
        last_fault: Cell::new(None),
    };
    let at = memblock.alloc(size_of::<Ground<'m, P>>() as u64, PAGE_BYTES, &Place::default())?;
    let place = map.address(at).cast::<Ground<'m, P>>();
    // SAFETY: taken from memblock just now, page aligned, and the ground's for as long as the machine runs, which the platform's
    // borrow outlives.
    unsafe {
        place.write(ground);
        Ok(&*place)
    }
}

/// Hands memblock's free ranges over to the buddy allocator, and notes which pages were inherited.
fn hand_pages_over<P: Platform>(
    ground: &Ground<'_, P>,
    memblock: &Memblock,
    ingested: Option<&Ingested>,
) -> Result<(), BootError> {
    let mut buddy = ground.buddy.borrow_mut();
    memblock.for_each_free(|range, _| buddy.give_range(&range));
    let kept = (buddy.nr_free_outside_scratch() / 256).clamp(4, 256);
    buddy.set_kept(kept);
    if let Some(ingested) = ingested {
        let known = crate::kho::KnownNodes(ground.map);
        let _ = ingested
            .map
            .walk(&known, |frame| -> core::ops::ControlFlow<()> {
                buddy.inherit(&(frame.phys()..frame.end()));
                core::ops::ControlFlow::Continue(())
            })
            .map_err(IngestError::Map)?;
    }
    Ok(())
}

/// Lays a new pool out: its control area is pages of its own.
fn new_pool<'m, P: Platform>(
    ground: &'m Ground<'m, P>,
    owner: Owner,
    max_blocks: u32,
) -> Result<PreservePool<'m, P>, BootError> {
    let geometry = geometry(max_blocks)?;
    let control_bytes = geometry.control_bytes();
    let none = BootError::OutOfMemory { bytes: control_bytes };
    let order = order_for(control_bytes).ok_or(none)?;
    let control = {
        let mut buddy = ground.buddy.borrow_mut();
        let kind = if owner == Owner::PreservePool { BlockType::Preserved } else { BlockType::Kernel };
        let phys = buddy.alloc(Request { order, kind, node: None, urgent: false }).ok_or(none)?;
        buddy.split(phys, 0);
        // Pages of the block that was taken just now.
        let _ = buddy.free_range(&(phys + control_bytes..phys + (PAGE_BYTES << order)));
        for page in (phys..phys + control_bytes).step_by(PAGE_BYTES as usize) {
            buddy.set_owner(page, Owner::Handover);
        }
        phys
    };
    ground.map.zero(control, control_bytes);
    let host = BlockHost { ground, owner };
    let pool_id = ground.platform.now_ns() ^ control.rotate_left(32);
    let config = Config { geometry, scrub: Scrub::OnFree, pool_id };
    // SAFETY: the control area was taken and zeroed just now, and stays the pool's.
    let pool = unsafe { Pool::format(host, control, config) }?;
    claim_cpu(&pool);
    Ok(PreservePool { pool, control, control_bytes })
}

/// Lays the preserve pool out and lists it, where there is to be one.
fn format_preserve_pool<'m, P: Platform>(
    ground: &'m Ground<'m, P>,
    options: &Options,
) -> Result<Option<PreservePool<'m, P>>, BootError> {
    if options.preserve_blocks == 0 {
        return Ok(None);
    }
    let new = new_pool(ground, Owner::PreservePool, options.preserve_blocks)?;
    list_pool(ground, new.control, new.control_bytes)?;
    Ok(Some(new))
}

/// Marks a preserve pool's control area, and names it in the tree.
fn list_pool<P: Platform>(ground: &Ground<'_, P>, control: u64, bytes: u64) -> Result<(), BootError> {
    let mut outgoing = ground.outgoing.borrow_mut();
    let outgoing = outgoing.as_mut().ok_or(AuditError::OutOfPages)?;
    let mut buddy = ground.buddy.borrow_mut();
    outgoing.preserve_range(ground, &mut buddy, &(control..control + bytes), Owner::Handover)?;
    outgoing.add_subtree(ground, (POOL_NODE, control, bytes))?;
    Ok(())
}

/// Takes the predecessor's preserve pool over, block by block, each slab looked at.
fn restore_pool<'m, P: Platform>(
    ground: &'m Ground<'m, P>,
    ingested: &Ingested,
    options: &Options,
) -> Result<Option<PreservePool<'m, P>>, BootError> {
    let Some(found) = ingested.subtrees.find(POOL_NODE) else {
        return format_preserve_pool(ground, options);
    };
    let (control, bytes) = (found.data, found.size_bytes);
    let range = control..control.saturating_add(bytes);
    let is_range = bytes != 0 && (control | bytes) % PAGE_BYTES == 0;
    let lost = RetrieveError::NotPreserved { data: control, size_bytes: bytes, phys: control };
    if !is_range {
        return Err(lost.into());
    }
    let claimed = claim_range(&mut ground.buddy.borrow_mut(), &range, Owner::Handover);
    match claimed {
        Ok(()) => {}
        // As Linux: what was not preserved is gone, and nobody says so.
        Err(_) if options.policy.unchecked => return format_preserve_pool(ground, options),
        Err(error) => return Err(error.into()),
    }
    check_layout(ground.map, range)?;
    list_pool(ground, control, bytes)?;
    let host = BlockHost { ground, owner: Owner::PreservePool };
    // SAFETY: the control area was claimed just now; what the pool lists as free was nobody's when its owner froze it.
    let pool = unsafe { Pool::restore_checked(host, control, bytes) }?;
    claim_cpu(&pool);
    Ok(Some(PreservePool { pool, control, control_bytes: bytes }))
}

/// Takes the pool's one CPU slot, which nobody else asks for.
fn claim_cpu<P: Platform>(pool: &Pool<BlockHost<'_, P>>) {
    let cpu = pool.claim_cpu();
    debug_assert!(cpu.is_some_and(|cpu| cpu.index() == 0));
}

/// Frees the pages of the predecessor's map, tree and list of scratch areas.
fn release_old_map<P: Platform>(ground: &Ground<'_, P>, ingested: &Ingested) {
    let mut buddy = ground.buddy.borrow_mut();
    let known = crate::kho::KnownNodes(ground.map);
    // A freed page keeps its bytes until it is handed out, so the walk can go on below it.
    let _ = ingested.map.walk_nodes(&known, |node| buddy.release_absent(node));
    for page in [ingested.handover.fdt, ingested.handover.scratch] {
        buddy.release_absent(page);
    }
}

fn pfns(region: &crate::memblock::Region) -> core::ops::Range<u64> {
    region.start >> PAGE_SHIFT..region.end >> PAGE_SHIFT
}
