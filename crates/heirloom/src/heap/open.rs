//! Opening a heap: what the environment offers is tried in this order.
//!
//! 1. A predecessor that hands its heap over to this process (the environment says so).
//! 2. The options' file, if there is one: closed in order, it is inherited; its owner dead, it is recovered.
//! 3. A new heap.
//!
//! All gates are passed before the first byte is written: header, tree, map, roots and their types, the pool's tables. The claim
//! (the header says `Running` with the next generation) comes after the pool was taken over, so that a successor killed
//! before it leaves a pool that recovery takes back.
#![expect(unsafe_code, reason = "vouches for the mapped file to the pool")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heirloom_abi::heap::{Flags, Header, Identity, Name, Phase, State};
use heirloom_abi::pool::PoolError;
use heirloom_slab::{Config, Pool, RestoreError};

use super::door::Hall;
use super::host::BlockHost;
use super::layout::Layout;
use super::map_pages::PreservedMap;
use super::{Heap, HeapError, Options, Origin, roots, tree};
use crate::backing::{Backing, BackingError};
use crate::channel::{self, Incoming};
use crate::{generation, note, sys};

/// How long a successor that is ready waits for the predecessor's freeze; the predecessor's own patience at its door is shorter.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(120);

pub(super) fn inherit_or_create(name: &str, options: Options) -> Result<Heap, HeapError> {
    if let Some(incoming) = channel::incoming()? {
        return inherit(incoming, options);
    }
    let Some(path) = options.file.clone().filter(|path| holds_something(path)) else {
        return create(name, options);
    };
    match take_over(&path, options.clone()) {
        Ok(heap) => Ok(heap),
        Err(HeapError::Backing(error @ BackingError::Busy { .. })) => Err(error.into()),
        Err(error @ (HeapError::AlreadyOpen | HeapError::Backing(BackingError::AddressTaken { .. }))) => {
            Err(error)
        }
        Err(error) if options.cold_start => {
            let aside = crate::foreign::set_aside(&path).map_err(|_| error_of(&error))?;
            let mut heap = create(name, options)?;
            heap.set_aside = Some((aside, error.to_string()));
            Ok(heap)
        }
        Err(error) => Err(error),
    }
}

fn error_of(error: &HeapError) -> HeapError {
    std::io::Error::other(error.to_string()).into()
}

/// False for no file, and for one without a single page: a creator that was killed at once leaves such a one.
fn holds_something(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0 && metadata.blocks() > 0)
}

/// Makes a new heap. Its header is written last: cut before, the file is blank and used again.
fn create(name: &str, options: Options) -> Result<Heap, HeapError> {
    let label =
        Name::new(name).filter(|_| !name.is_empty()).ok_or_else(|| HeapError::Name(name.to_owned()))?;
    if !options.block_size.is_power_of_two() {
        return Err(HeapError::BlockSize(options.block_size));
    }
    let limit = options.size_limit.unwrap_or_else(total_memory);
    let layout = Layout::new(limit, options.block_size.trailing_zeros())?;
    let backing = match &options.file {
        Some(path) => Backing::create_file(path, layout.reserved, options.huge_pages)?,
        None => Backing::create_memfd(name, layout.reserved, options.huge_pages)?,
    };
    let backing = Arc::new(backing);
    backing.grow_to(layout.first_block)?;
    let block_shift = layout.geometry.block_shift;
    let mut map = PreservedMap::create(backing.clone(), layout.map, block_shift)
        .ok_or_else(|| HeapError::Tree("no page for the map".to_owned()))?;
    for block in 0..layout.first_block >> block_shift {
        map.mark(block << block_shift);
    }
    tree::write(&backing, &layout, map.root())?;
    roots::format(&backing, layout.roots)?;
    let pool_id = u64::from_le_bytes(sys::random_bytes()?);
    let host = BlockHost::new(backing.clone(), block_shift, layout.first_block, map);
    let config = Config { geometry: layout.geometry, scrub: options.scrub, pool_id };
    // SAFETY: the control area lies in the mapped file, zeroed, page aligned, with this geometry's length, and nobody
    // else's: we created the file and hold its lock.
    let pool = unsafe { Pool::format(host, layout.control.offset, config)? };
    let identity = Identity {
        id: sys::random_bytes()?,
        name: label,
        creator: Name::new(concat!("heirloom ", env!("CARGO_PKG_VERSION")))
            .ok_or_else(|| HeapError::Name(String::new()))?,
        base: backing.base().as_ptr().addr() as u64,
        reserved_bytes: layout.reserved,
        block_shift,
        fdt: layout.fdt,
        map: layout.map,
        roots: layout.roots,
        control: layout.control,
        first_block: layout.first_block,
    };
    let first = running_in(1, &backing);
    backing.write_header(&Header { identity, state: first })?;
    open(pool, backing, layout, options, Origin::Created, first, 0)
}

/// Takes the heap that a predecessor hands over. Everything that can be done before its freeze is.
fn inherit(incoming: Incoming, options: Options) -> Result<Heap, HeapError> {
    match claim(&incoming, options) {
        Ok(heap) => match incoming.acknowledge() {
            Ok(()) => Ok(heap),
            Err(error) => {
                // The predecessor has it again: this process must not touch it any more.
                heap.abandon();
                Err(error.into())
            }
        },
        Err(error) => {
            incoming.refuse(&error.to_string());
            Err(error)
        }
    }
}

fn claim(incoming: &Incoming, options: Options) -> Result<Heap, HeapError> {
    let (backing, header) = match Backing::adopt_fd(incoming.take_fd()?) {
        Err(BackingError::AddressTaken { base }) => {
            // Comes back only where it was tried already, or failed.
            channel::reexec_self_for_address(Some(incoming));
            return Err(BackingError::AddressTaken { base }.into());
        }
        adopted => adopted?,
    };
    if header.identity.id != incoming.heap_id() {
        return Err(HeapError::Tree("the descriptor is of another heap than the one announced".to_owned()));
    }
    let backing = Arc::new(backing);
    // The predecessor asked our file; this asks the process that really runs.
    check_types(&backing, header.identity.roots)?;
    incoming.wait_for_freeze(FREEZE_TIMEOUT)?;
    let start = sys::clock_monotonic_ns();
    let header = backing.read_header()?;
    match header.state.phase {
        Phase::Frozen => restore(backing, options, start),
        // `exec` freezes before it starts us, `spawn` before it says so.
        _ => Err(RestoreError::from(PoolError::NotFrozen).into()),
    }
}

/// Takes over a heap that nobody owns: closed in order, or left by a death.
fn take_over(path: &Path, options: Options) -> Result<Heap, HeapError> {
    let (backing, header) = Backing::open_file(path)?;
    let backing = Arc::new(backing);
    check_types(&backing, header.identity.roots)?;
    let start = sys::clock_monotonic_ns();
    match header.state.phase {
        Phase::SetAside => Err(HeapError::SetAside),
        Phase::Frozen => restore(backing, options, start),
        Phase::Running => recover(backing, options, start),
    }
}

fn check_types(backing: &Arc<Backing>, region: heirloom_abi::heap::Region) -> Result<(), HeapError> {
    let mine = note::read_candidate(Path::new("/proc/self/exe"))?;
    roots::check_against(backing, region, &mine).map_err(|error| match error {
        roots::CheckError::Roots(error) => error.into(),
        roots::CheckError::Candidate(error) => error.into(),
    })
}

fn restore(backing: Arc<Backing>, options: Options, start: u64) -> Result<Heap, HeapError> {
    let header = backing.read_header()?;
    let (layout, host) = open_parts(&backing, &header.identity)?;
    roots::validate(&backing, layout.roots, layout.first_block)?;
    let seal = header.state.flags.contains(Flags::SEALED) && options.seal.unwrap_or(true);
    let control = layout.control;
    // SAFETY: the header was checked: the control area lies in the mapped file, which is ours (its lock, or the
    // predecessor that waits). A clean heap lists as free what nobody holds.
    let pool = unsafe {
        match seal {
            true => Pool::restore_checked(host, control.offset, control.bytes)?,
            false => Pool::restore(host, control.offset, control.bytes)?,
        }
    };
    finish(pool, backing, layout, options, Origin::Inherited, header.state, start)
}

fn recover(backing: Arc<Backing>, options: Options, start: u64) -> Result<Heap, HeapError> {
    let header = backing.read_header()?;
    let (layout, host) = open_parts(&backing, &header.identity)?;
    roots::validate(&backing, layout.roots, layout.first_block)?;
    let control = layout.control;
    // SAFETY: as for `restore`, and the owner is dead: we hold the lock that it held for life.
    let (pool, found) = unsafe { Pool::recover(host, control.offset, control.bytes)? };
    pool.host().drop_unknown_blocks();
    let origin = Origin::Recovered { folded: found.folded, returned: found.returned };
    finish(pool, backing, layout, options, origin, header.state, start)
}

fn open_parts(backing: &Arc<Backing>, identity: &Identity) -> Result<(Layout, BlockHost), HeapError> {
    let layout = Layout {
        // Read from the pool's own record below; here only what the header knows.
        geometry: heirloom_abi::pool::Geometry::new(identity.block_shift, 1, 1, 1)?,
        reserved: identity.reserved_bytes,
        fdt: identity.fdt,
        map: identity.map,
        roots: identity.roots,
        control: identity.control,
        first_block: identity.first_block,
    };
    let root = tree::read(backing, identity)?;
    let map = PreservedMap::open(backing.clone(), layout.map, identity.block_shift, root)?;
    Ok((layout, BlockHost::new(backing.clone(), identity.block_shift, identity.first_block, map)))
}

fn finish(
    pool: Pool<BlockHost>,
    backing: Arc<Backing>,
    layout: Layout,
    options: Options,
    origin: Origin,
    before: State,
    start: u64,
) -> Result<Heap, HeapError> {
    let claim = running(&backing, before.generation + 1)?;
    backing.write_state(&claim)?;
    let took = (sys::clock_monotonic_ns() - start).div_ceil(1000);
    let state = State { freeze_us: before.freeze_us, frozen_ns: before.frozen_ns, ..claim };
    let layout = Layout { geometry: pool.geometry(), ..layout };
    open(pool, backing, layout, options, origin, state, took)
}

fn open(
    pool: Pool<BlockHost>,
    backing: Arc<Backing>,
    layout: Layout,
    options: Options,
    origin: Origin,
    state: State,
    restore_us: u64,
) -> Result<Heap, HeapError> {
    generation::set(state.generation);
    note::format_note();
    let hall = std::boxed::Box::new(Hall::new(pool)).open().map_err(|_| HeapError::AlreadyOpen)?;
    roots::open(hall.instance(), backing.clone(), layout.roots);
    Ok(Heap {
        hall,
        backing,
        layout,
        options,
        origin,
        generation: state.generation,
        freeze_us: state.freeze_us,
        frozen_ns: state.frozen_ns,
        restore_us,
        set_aside: None,
        closing: Mutex::new(()),
        live_cpus: Mutex::new(Vec::new()),
        gone: AtomicBool::new(false),
    })
}

/// The state of a heap that this process owns.
pub(super) fn running(backing: &Backing, generation: u32) -> Result<State, heirloom_abi::heap::HeaderError> {
    let before = backing.read_header()?.state;
    Ok(State { freeze_us: before.freeze_us, frozen_ns: before.frozen_ns, ..running_in(generation, backing) })
}

fn running_in(generation: u32, backing: &Backing) -> State {
    let owner_pid = sys::pid();
    let owner_start_ticks = sys::start_ticks(owner_pid).unwrap_or(0);
    State {
        generation,
        phase: Phase::Running,
        owner_pid,
        owner_start_ticks,
        flags: Flags::NONE,
        previous_channel: 0,
        helper_pid: 0,
        file_bytes: backing.len(),
        last_operation_ns: 0,
        frozen_ns: 0,
        freeze_us: 0,
    }
}

/// Bytes of memory of the machine.
fn total_memory() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit)).max(64 << 20)
}
