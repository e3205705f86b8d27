//! Opening a heap that was found ([`super::find`] has where): handed over by a predecessor that lives, or left by one that does not; or
//! making a new one.
//!
//! All gates are passed before the first byte is written: header, tree, map, roots and their types, the pool's tables. The claim
//! (the header says `Running` with the next generation) comes after the pool was taken over, so that a successor killed
//! before it leaves a pool that recovery takes back.
#![expect(unsafe_code, reason = "vouches for the mapped file to the pool")]

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use heirloom_abi::heap::{Flags, Header, Identity, Name, Phase, State};
use heirloom_abi::pool::{Memory, PoolError, PoolReader};
use heirloom_slab::{Config, Pool, RestoreError};

use super::aftermath::{self, Aftermath};
use super::bytes::Mapped;
use super::door::{self, Hall};
use super::host::BlockHost;
use super::layout::Layout;
use super::map_pages::PreservedMap;
use super::roots::Sound;
use super::{Heap, HeapError, Options, Origin, map_pages, reclaim, recovery, roots, spares, tree};
use crate::backing::{Backing, BackingError};
use crate::channel::{self, Channel, Freeze, Incoming, IncomingError, Point, Source, point};
use crate::note::{Candidate, CandidateError};
use crate::{generation, note, sys};

/// How long a successor that is ready waits for the predecessor's freeze; the predecessor's own patience at its door is shorter.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(120);

fn refuse_second() -> Result<(), HeapError> {
    if door::has_heap() { Err(HeapError::AlreadyOpen) } else { Ok(()) }
}

/// Makes a new heap. Its header is written last: cut before, the file says that it is unfinished and is used again.
pub(super) fn create(
    name: &str,
    options: Options,
    sources: &[std::boxed::Box<dyn Source>],
) -> Result<Heap, HeapError> {
    refuse_second()?;
    let label =
        Name::new(name).filter(|_| !name.is_empty()).ok_or_else(|| HeapError::Name(name.to_owned()))?;
    if !options.block_size.is_power_of_two() {
        return Err(HeapError::BlockSize(options.block_size));
    }
    let limit = options.size_limit.unwrap_or_else(total_memory);
    let layout = Layout::new(limit, options.block_size.trailing_zeros())?;
    let backing = match &options.file {
        Some(path) => Backing::create_file(path, layout.reserved, &options.trusted_users)?,
        None => Backing::create_memfd(name, layout.reserved)?,
    };
    let backing = Arc::new(backing);
    backing.grow_to(layout.first_block)?;
    // The first CPU slot too, which is everybody's; the others, most of it, as threads come.
    backing.provide(0, layout.control.offset + layout.geometry.cpu_offset(1))?;
    let block_shift = layout.geometry.block_shift;
    let mut map = PreservedMap::create(backing.clone(), layout.map, block_shift)
        .ok_or_else(|| HeapError::Tree("no page for the map".to_owned()))?;
    for block in 0..layout.first_block >> block_shift {
        map.mark(block << block_shift);
    }
    tree::write(&backing, &layout, map.root())?;
    roots::format(&backing, layout.roots)?;
    let pool_id = u64::from_le_bytes(sys::random_bytes()?);
    if options.huge_pages {
        backing.advise_huge(layout.first_block);
    }
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
    let first = running_in(1, &backing, sys::own_start_ticks());
    backing.write_header(&Header { identity, state: first })?;
    let mut heap = open(pool, backing, layout, options, Origin::Created, first, 0)?;
    heap.keep(name, sources)?;
    Ok(heap)
}

/// Takes the heap that a predecessor hands over. Everything that can be done before its freeze is.
pub(super) fn inherit(incoming: Incoming, options: Options) -> Result<Heap, HeapError> {
    let claimed = claim(&incoming, options).and_then(|heap| match heap.migrate_at_open() {
        Ok(()) => Ok(heap),
        Err(error) => {
            // It is not to be written any more: the predecessor takes it back.
            heap.abandon();
            Err(error)
        }
    });
    match claimed {
        Ok(mut heap) => {
            heap.luggage = Mutex::new(incoming.take_luggage().into_iter().collect());
            match incoming.acknowledge() {
                Ok(()) => {
                    channel::fdstore::take_role_of_predecessor();
                    Ok(heap)
                }
                Err(error) => {
                    // The predecessor has it again: this process must not touch it any more.
                    heap.abandon();
                    Err(error.into())
                }
            }
        }
        Err(error) => {
            incoming.refuse(&error.to_string());
            Err(error)
        }
    }
}

fn claim(incoming: &Incoming, options: Options) -> Result<Heap, HeapError> {
    refuse_second()?;
    let adopted = match incoming.channel() {
        // Its owner has the lock, and goes on if this process does not get the heap.
        Channel::Socket => Backing::adopt_offered(incoming.take_fd()?),
        _ => Backing::adopt_fd(incoming.take_fd()?),
    };
    let (mut backing, header) = match adopted {
        Err(BackingError::AddressTaken { base }) => {
            // Comes back only where it was tried already, or failed.
            channel::reexec_self_for_address(Some(incoming), None);
            return Err(BackingError::AddressTaken { base }.into());
        }
        adopted => adopted?,
    };
    if header.identity.id != incoming.heap_id() {
        return Err(HeapError::Tree("the descriptor is of another heap than the one announced".to_owned()));
    }
    incoming.set_owner(header.state.owner_pid, header.state.owner_start_ticks);
    fault_in(&backing, header.identity.first_block, &options);
    // The predecessor asked our file; this asks the process that really runs.
    let mine = this_program()?;
    warm_up(&backing, &header.identity);
    let mut early = None;
    if incoming.channel() != Channel::Exec {
        // Asked again behind the freeze, as the predecessor's threads may make roots until then.
        match roots::check_against(&backing, header.identity.roots, &mine) {
            // The predecessor has asked our file: it may be about to write what we can read.
            Ok(()) | Err(roots::CheckError::Candidate(CandidateError::Type { .. })) => {}
            Err(error) => return Err(error.into()),
        }
        // The rest as well, for the verdict where nothing changes any more. What is wrong now may be half done.
        early = roots::validate(&backing, header.identity.roots, header.identity.first_block, &mine).ok();
        // What is asked of the system once for a process is asked while the predecessor still answers.
        sys::own_start_ticks();
        sys::register_membarrier();
    }
    point(Point::SuccessorMapped);
    let way = Came { channel: incoming.channel(), helper: incoming.helper() };
    let freeze = incoming.wait_for_freeze(FREEZE_TIMEOUT)?;
    backing.look_at_len()?;
    match freeze {
        Freeze::Done => {
            if let Some(own) = incoming.take_own() {
                backing.take_descriptor(own)?;
            }
            backing.lock_anew()?;
            let backing = Arc::new(backing);
            let start = sys::clock_monotonic_ns();
            let header = backing.read_header()?;
            match header.state.phase {
                Phase::Frozen => restore(backing, &header, options, (&mine, early), way, start),
                // `exec` freezes before it starts us, the others before they say so.
                _ => Err(RestoreError::from(PoolError::NotFrozen).into()),
            }
        }
        // It has called the hand-over off; or it has died, and nobody but this process has its heap.
        Freeze::OwnerGone if !incoming.wait_for_end_of_owner() => Err(IncomingError::PredecessorGone.into()),
        Freeze::OwnerGone => {
            succeed(&backing, &header.state)?;
            take_over_mapped(Arc::new(backing), options, &mine, way)
        }
    }
}

/// Makes this process the owner of a heap whose owner has died before it froze it, as it was `offered`. Who was offered it, and was too
/// slow, finds that it has gone to another one since: the lock tells, or the header does.
fn succeed(backing: &Backing, offered: &State) -> Result<(), HeapError> {
    /// What a process holds goes with its last thread; a child that it was starting may have a copy for a moment.
    const A_MOMENT: Duration = Duration::from_secs(2);
    let deadline = Instant::now() + A_MOMENT;
    loop {
        let locked = backing.lock_anew();
        let now = backing.read_header().map_err(BackingError::from)?.state;
        let of = |state: &State| (state.generation, state.owner_pid, state.owner_start_ticks);
        if of(&now) != of(offered) {
            return Err(IncomingError::CalledOff.into());
        }
        match locked {
            Err(BackingError::Busy { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            locked => return Ok(locked?),
        }
    }
}

/// Puts the pages that a restore reads and writes into this process's tables: header, tree, map, roots, and the pool's tables as far
/// as they are used. It is for speed alone, and what it is told may be wrong or change meanwhile.
///
/// By reading: of shared memory the system then maps the pages around as well, sixteen at a time and ready to be written, where a
/// write brings in one.
fn warm_up(backing: &Backing, identity: &Identity) {
    let memory = Mapped(backing);
    let Ok(reader) = PoolReader::open(&memory, identity.control.offset) else { return };
    let (geometry, control) = (reader.geometry(), identity.control.offset);
    /// What takes longer than the faults that it saves is left to them.
    const MOST_BYTES: u64 = 4 << 20;
    const MOST_CPUS: u32 = 16;
    backing.populate(0, (control + geometry.block_offset(reader.nr_blocks())).min(MOST_BYTES), false);
    for cpu in 0..reader.nr_cpus().min(MOST_CPUS) {
        // The heads of its magazines alone, which a restore resets: of what they list most are holes.
        for cache in 0..reader.nr_caches() {
            let _ = memory.read(control + geometry.cpu_cache_offset(cpu, cache), &mut [0; 8]);
        }
    }
}

/// Takes over a heap that nobody owns: closed in order, or left by a death.
pub(super) fn take_over(
    heap: OwnedFd,
    channel: Channel,
    luggage: Vec<(String, OwnedFd)>,
    options: Options,
) -> Result<Heap, HeapError> {
    let (backing, header) = Backing::adopt_fd(heap)?;
    refuse_second()?;
    let backing = Arc::new(backing);
    fault_in(&backing, header.identity.first_block, &options);
    let mine = this_program()?;
    let mut heap = take_over_mapped(backing, options, &mine, Came { channel, helper: 0 })?;
    heap.luggage = Mutex::new(luggage.into_iter().collect());
    // What a predecessor that died had superseded: nobody can want it back.
    heap.settle_migrations()?;
    if heap.options.reclaim_leaks {
        heap.unreached = Some(heap.look_for_leaks());
    }
    heap.migrate_at_open()?;
    Ok(heap)
}

fn take_over_mapped(
    backing: Arc<Backing>,
    options: Options,
    mine: &Candidate,
    way: Came,
) -> Result<Heap, HeapError> {
    let start = sys::clock_monotonic_ns();
    let header = backing.read_header()?;
    match header.state.phase {
        Phase::SetAside => Err(HeapError::SetAside),
        Phase::Frozen => match restore(backing.clone(), &header, options.clone(), (mine, None), way, start) {
            // An owner died between the pool and the header: as it took the heap over, or took it back.
            Err(HeapError::Pool(RestoreError::Pool(PoolError::NotFrozen))) => {
                recover(backing, options, mine, way, start)
            }
            done => done,
        },
        Phase::Running => recover(backing, options, mine, way, start),
    }
}

/// What can be done for an inherited heap's pages before anybody waits for them.
fn fault_in(backing: &Backing, first_block: u64, options: &Options) {
    if options.huge_pages {
        backing.advise_huge(first_block);
    }
    if options.prefault {
        backing.populate(0, backing.len(), false);
    }
}

impl From<roots::CheckError> for HeapError {
    fn from(error: roots::CheckError) -> Self {
        match error {
            roots::CheckError::Roots(error) => error.into(),
            roots::CheckError::Candidate(error) => error.into(),
        }
    }
}

fn this_program() -> Result<Candidate, HeapError> {
    Ok(note::read_own()?)
}

/// Asks everything that can be asked before the pool: nothing was written yet. Of the roots the same is not asked twice.
fn open_checked(
    backing: &Arc<Backing>,
    identity: &Identity,
    state: &State,
    (mine, early): (&Candidate, Option<Sound>),
) -> Result<(Layout, BlockHost), HeapError> {
    let parts = open_parts(backing, identity)?;
    if !early.is_some_and(|sound| sound.is_still(backing, identity.roots, identity.first_block)) {
        roots::validate(backing, identity.roots, identity.first_block, mine)?;
    }
    next_generation(state)?;
    Ok(parts)
}

fn next_generation(before: &State) -> Result<u32, HeapError> {
    let next = before.generation.checked_add(1).filter(|&next| next != generation::NEVER);
    next.ok_or(HeapError::LastGeneration(before.generation))
}

fn restore(
    backing: Arc<Backing>,
    header: &Header,
    options: Options,
    mine: (&Candidate, Option<Sound>),
    way: Came,
    start: u64,
) -> Result<Heap, HeapError> {
    let (layout, host) = open_checked(&backing, &header.identity, &header.state, mine)?;
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
    finish(pool, backing, layout, options, Origin::Inherited, via(header.state, way), start)
}

fn recover(
    backing: Arc<Backing>,
    options: Options,
    mine: &Candidate,
    way: Came,
    start: u64,
) -> Result<Heap, HeapError> {
    let header = backing.read_header()?;
    let (layout, host) = open_checked(&backing, &header.identity, &header.state, (mine, None))?;
    let control = layout.control;
    let left = recovery::look(&backing, &header)?;
    let aftermath = Aftermath::look(&backing, &layout, header.state.generation)?;
    // SAFETY: as for `restore`, and the owner is dead: we hold the lock that it held for life.
    let (pool, found) = unsafe { Pool::recover(host, control.offset, control.bytes)? };
    pool.host().drop_unknown_blocks();
    aftermath.settle(&pool, &backing, &layout);
    let origin = Origin::Recovered { folded: found.folded, returned: found.returned };
    let mut heap = finish(pool, backing, layout, options, origin, via(header.state, way), start)?;
    let took = Duration::from_micros(heap.restore_us);
    heap.recovery = Some(std::boxed::Box::new(left.with(&found, aftermath.open, took)));
    Ok(heap)
}

fn open_parts(backing: &Arc<Backing>, identity: &Identity) -> Result<(Layout, BlockHost), HeapError> {
    // The pool believes its own record, the host the header: where they differ, blocks would reach over each other.
    let geometry = PoolReader::open(&Mapped(backing), identity.control.offset)
        .map_err(|error| HeapError::Pool(error.into()))?
        .geometry();
    if geometry.block_shift != identity.block_shift {
        let (header, pool) = (identity.block_shift, geometry.block_shift);
        return Err(HeapError::Blocks { header, pool });
    }
    let most = map_pages::pages_needed(identity.reserved_bytes, identity.block_shift) * 4096;
    if identity.map.bytes > most {
        let bytes = identity.map.bytes;
        return Err(HeapError::Tree(format!("a map of {bytes} bytes, where {most} mark every block")));
    }
    let layout = Layout {
        geometry,
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

/// The way by which a heap came.
#[derive(Clone, Copy)]
struct Came {
    channel: Channel,
    /// The memory holder's process id, or 0.
    helper: u32,
}

/// The predecessor's state with the way by which the heap came.
fn via(before: State, way: Came) -> State {
    State { previous_channel: way.channel.number(), helper_pid: way.helper, ..before }
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
    let State { previous_channel, helper_pid, freeze_us, frozen_ns, .. } = before;
    let same_process = previous_channel == Channel::Exec.number() && before.owner_pid == sys::pid();
    // `exec` leaves a process what it is: it was started when its predecessor was.
    let started = if same_process { before.owner_start_ticks } else { sys::own_start_ticks() };
    let generation = next_generation(&before)?;
    let claim = running_in(generation, &backing, started);
    let claim = State { previous_channel, helper_pid, freeze_us, frozen_ns, ..claim };
    point(if is_handed_over(previous_channel) { Point::SuccessorRestored } else { Point::FinderTook });
    backing.write_state(&claim)?;
    point(Point::SuccessorClaimed);
    let took = (sys::clock_monotonic_ns() - start).div_ceil(1000);
    open(pool, backing, layout, options, origin, claim, took)
}

fn is_handed_over(channel: u32) -> bool {
    matches!(Channel::from_number(channel), Some(Channel::Spawn | Channel::Exec | Channel::Socket))
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
    let id = backing.read_header()?.identity.id;
    pool.host().set_prefault(options.prefault);
    spares::keep(&pool, options.spare_memory);
    aftermath::reset_slots(&pool, &backing, &layout);
    // The door is closed still: nobody is inside before the heap is acknowledged.
    let hall = Hall::new(pool).ok_or(std::io::ErrorKind::StorageFull).map_err(std::io::Error::from)?;
    let hall = std::boxed::Box::new(hall).announce().map_err(|_| HeapError::AlreadyOpen)?;
    let start = backing.base().addr().get();
    generation::set(state.generation, start..start + layout.reserved as usize);
    let was_open_here = reclaim::note_open(id);
    note::format_note();
    roots::open(hall.instance(), backing.clone(), layout.roots, options.migrate_progress.clone());
    Ok(Heap {
        hall,
        backing,
        layout,
        options,
        origin,
        generation: state.generation,
        last_generation: AtomicU32::new(state.generation),
        freeze_us: state.freeze_us,
        frozen_ns: state.frozen_ns,
        restore_us,
        migration_us: AtomicU64::new(0),
        set_aside: None,
        recovery: None,
        was_open_here,
        unreached: None,
        poisoned: Vec::new(),
        channel: Channel::from_number(state.previous_channel),
        kept: Vec::new(),
        luggage: Mutex::default(),
        reclaimed: None,
        closing: Mutex::new(false),
        live_cpus: Mutex::new(Vec::new()),
        gone: AtomicBool::new(false),
        passage: Mutex::default(),
    })
}

/// The state of a heap that this process owns.
pub(super) fn running(backing: &Backing, generation: u32) -> Result<State, heirloom_abi::heap::HeaderError> {
    let before = backing.read_header()?.state;
    Ok(State {
        freeze_us: before.freeze_us,
        frozen_ns: before.frozen_ns,
        ..running_in(generation, backing, sys::own_start_ticks())
    })
}

fn running_in(generation: u32, backing: &Backing, owner_start_ticks: u64) -> State {
    let owner_pid = sys::pid();
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
