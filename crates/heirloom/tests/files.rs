//! Heap files as deaths and foreign hands leave them: what the next owner finds.
#![allow(unsafe_code, reason = "uses raw allocations and ends processes")]

use std::alloc::Layout;
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::mem::offset_of;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use heirloom::foreign::{Image, Target};
use heirloom::root::Root;
use heirloom::{Heap, HeapError, Options, Origin, alloc};
use heirloom_abi::diary::{DiaryError, ENTRIES_AT, KIND_BYTES, MAGIC, USED_AT};
use heirloom_abi::heap::{HEADER_BYTES, Header, Host, Identity, Phase};
use heirloom_abi::pool::{CpuRecord, Geometry, PoolRecord};
use heirloom_abi::roots::{Batch, NewRoot, Roots, add, supersede};

const CHILD: &str = "HEIRLOOM_TEST_FILES_CHILD";
const STEP: &str = "HEIRLOOM_TEST_FILES_STEP";

mod common;

use common::{Scratch, turn};

heirloom::root! {
    static NUMBER: AtomicU64 = "number";
    /// Never made by a program; tests write it into files.
    static TWIN: AtomicU64 = "twin";
}

impl Scratch {
    /// A heap with a root and 500 objects, closed in order.
    fn with_heap(name: &str) -> Self {
        let scratch = Self::new(name);
        let heap = Heap::inherit_or_create("files", options(&scratch.0)).unwrap();
        NUMBER.get(&heap.enter()).store(7, std::sync::atomic::Ordering::Relaxed);
        let layout = Layout::from_size_align(80, 16).unwrap();
        for _ in 0..500 {
            alloc::allocate(layout).unwrap();
        }
        drop(heap);
        scratch
    }

    fn file(&self) -> File {
        File::options().read(true).write(true).open(&self.0).unwrap()
    }

    fn header(&self) -> Header {
        let mut page = [0; HEADER_BYTES];
        let file = self.file();
        file.read_exact_at(&mut page, 0).unwrap();
        Header::read(&page, file.metadata().unwrap().len(), &Host::current(4096)).unwrap()
    }

    fn write_header(&self, header: &Header) {
        let mut page = [0; HEADER_BYTES];
        header.write(&mut page, &Host::current(4096)).unwrap();
        self.file().write_all_at(&page, 0).unwrap();
    }

    /// What opening says; where it is refused, the file must be as before.
    fn refusal(&self) -> HeapError {
        let before = self.file().metadata().unwrap().mtime_nsec();
        let error = Heap::inherit_or_create("files", options(&self.0)).err().expect("it was taken over");
        assert_eq!(before, self.file().metadata().unwrap().mtime_nsec(), "a refused file was changed");
        error
    }
}

fn options(path: &Path) -> Options {
    Options::new().file(path).size_limit(32 << 20).block_size(64 << 10)
}

fn child_of(path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, path);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Opens the heap that the environment names; may be told to die at one of the allocator's stores.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    if let Ok(step) = std::env::var(STEP) {
        let left = Cell::new(step.parse::<u64>().unwrap());
        heirloom_slab::set_hook(move || {
            left.set(left.get() - 1);
            if left.get() == 0 {
                // SAFETY: sends a signal.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            }
        });
    }
    println!("\nready");
    let heap = Heap::inherit_or_create("files", options(Path::new(&path))).unwrap();
    heirloom_slab::clear_hook();
    std::mem::forget(heap);
    println!("\nopen");
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) };
}

/// The pool is taken over before the header says so: whoever dies in between leaves a heap that is neither frozen nor claimed.
#[test]
fn a_successor_may_die_at_any_store_of_its_take_over() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let _turn = turn();
    let whole = Scratch::with_heap("die");
    let mut step = 1;
    let (mut inherited, mut recovered) = (0, 0);
    loop {
        let copy = Scratch::new("die-copy");
        fs::copy(&whole.0, &copy.0).unwrap();
        let status = child_of(&copy.0).env(STEP, step.to_string()).stdout(Stdio::null()).status().unwrap();
        if status.success() {
            break;
        }
        let frozen = copy.header().state.phase == Phase::Frozen;
        let heap = Heap::inherit_or_create("files", options(&copy.0))
            .unwrap_or_else(|error| panic!("after a death at store {step} (frozen: {frozen}): {error}"));
        match heap.origin() {
            Origin::Recovered { .. } => recovered += 1,
            _ => inherited += 1,
        }
        assert_eq!(heap.scan().unwrap().live_objects, 501, "store {step}");
        assert_eq!(NUMBER.get(&heap.enter()).load(std::sync::atomic::Ordering::Relaxed), 7);
        // The first and the last ones each, of the many between some.
        step += if step < 20 { 1 } else { 13 };
    }
    println!("{step} stores: {inherited} inherited, {recovered} recovered");
    assert!(recovered > 0);
}

#[test]
fn a_creator_may_die_before_its_header_stands() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let _turn = turn();
    let mut random = 0x9e37_79b9_7f4a_7c15u64 ^ u64::from(std::process::id());
    let mut unfinished = 0;
    for round in 0..60 {
        let scratch = Scratch::new("creator");
        let mut command = child_of(&scratch.0);
        if round % 2 == 0 {
            // Within the pool's own records, which are written before the header.
            command.env(STEP, (1 + round / 2 * 5).to_string());
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "ready"));
        if round % 2 == 1 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            std::thread::sleep(Duration::from_micros(random % 1500));
            child.kill().unwrap();
        }
        child.wait().unwrap();
        let left = fs::read(&scratch.0).unwrap_or_default();
        unfinished += u32::from(left.len() > 4096 && !left.starts_with(b"HEIRLOOM"));
        let heap = Heap::inherit_or_create("files", options(&scratch.0))
            .unwrap_or_else(|error| panic!("round {round}, {} bytes left: {error}", left.len()));
        assert!(heap.generation() <= 2);
        heap.scan().unwrap();
    }
    println!("{unfinished} of 60 were left unfinished");
    assert!(unfinished > 0);
}

/// The pool's record is believed by the pool, the header by the host that gives it blocks.
#[test]
fn a_pool_of_other_blocks_than_the_header_is_refused() {
    let _turn = turn();
    let scratch = Scratch::with_heap("blocks");
    let control = scratch.header().identity.control.offset;
    let file = scratch.file();
    let mut record = [0; size_of::<PoolRecord>()];
    file.read_exact_at(&mut record, control).unwrap();
    let mut identity = record;
    identity[offset_of!(PoolRecord, block_shift)] += 1;
    let end = offset_of!(PoolRecord, identity_checksum);
    let sum = heirloom_abi::checksum(&identity[..end], 0);
    identity[end..end + 8].copy_from_slice(&sum.to_le_bytes());
    file.write_all_at(&identity, control).unwrap();
    let error = scratch.refusal();
    assert!(matches!(error, HeapError::Blocks { header: 16, pool: 17 }), "{error}");
    file.write_all_at(&record, control).unwrap();
    drop(Heap::inherit_or_create("files", options(&scratch.0)).unwrap());
}

/// A file may be longer than its header says, and by any number of bytes: here as its owner was killed.
#[test]
fn a_file_that_is_a_byte_longer_is_recovered() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let _turn = turn();
    let scratch = Scratch::with_heap("longer");
    // The child leaves it open.
    assert!(child_of(&scratch.0).stdout(Stdio::null()).status().unwrap().success());
    let file = scratch.file();
    let len = file.metadata().unwrap().len();
    file.write_all_at(&[7], len).unwrap();
    let heap = Heap::inherit_or_create("files", options(&scratch.0)).unwrap();
    assert!(matches!(heap.origin(), Origin::Recovered { .. }));
    // Blocks are taken from where the odd byte was.
    let layout = Layout::from_size_align(200 << 10, 16).unwrap();
    let inside = heap.enter();
    for _ in 0..20 {
        let zeroed = alloc::allocate_zeroed(layout).unwrap();
        // SAFETY: the object is ours.
        let bytes = unsafe { std::slice::from_raw_parts(zeroed.as_ptr(), layout.size()) };
        assert!(bytes.iter().all(|&byte| byte == 0));
    }
    assert_eq!(NUMBER.get(&inside).load(std::sync::atomic::Ordering::Relaxed), 7);
    drop(inside);
    assert_eq!(heap.scan().unwrap().live_objects, 521);
}

#[test]
fn roots_that_share_their_bytes_are_refused() {
    let _turn = turn();
    let scratch = Scratch::with_heap("twins");
    let region = scratch.header().identity.roots;
    let mut record = vec![0; region.bytes as usize];
    let file = scratch.file();
    file.read_exact_at(&mut record, region.offset).unwrap();
    let copy = record.clone();
    let number = Roots::read(&copy).unwrap().find("number").unwrap();
    let twin = NewRoot {
        name: TWIN.name(),
        object_offset: number.object_offset,
        ty: TWIN.type_bytes(),
        generation: 1,
    };
    add(&mut record, &twin).unwrap();
    file.write_all_at(&record, region.offset).unwrap();
    let error = scratch.refusal().to_string();
    assert!(error.contains("`number` and `twin` overlap"), "{error}");
}

/// The objects of entries that were superseded are given back when the heap is open: where they lie is foreign too.
///
/// ```text
/// entries of one root, the last one counts:    X | wild | X        X | Y | Y | X
/// ```
#[test]
fn objects_of_superseded_roots_are_placed_before_they_are_given_back() {
    let _turn = turn();
    let scratch = Scratch::with_heap("superseded");
    let heap = Heap::inherit_or_create("files", options(&scratch.0)).unwrap();
    // As large as the root's object; of a migration that was cut.
    let old = alloc::allocate(Layout::new::<u64>()).unwrap().as_ptr() as u64;
    let live = heap.scan().unwrap().live_objects;
    drop(heap);
    let identity = scratch.header().identity;
    let mut record = vec![0; identity.roots.bytes as usize];
    let file = scratch.file();
    file.read_exact_at(&mut record, identity.roots.offset).unwrap();
    let number = Roots::read(&record).unwrap().find("number").unwrap().object_offset;
    let with = |root: &Root<AtomicU64>, places: &[u64]| {
        let mut record = record.clone();
        for &object_offset in places {
            let root = NewRoot { name: root.name(), object_offset, ty: root.type_bytes(), generation: 1 };
            let is_new = Roots::read(&record).unwrap().find(root.name).is_none();
            let _index = match is_new {
                true => add(&mut record, &root).unwrap(),
                false => supersede(&mut record, &root, Batch::ALONE).unwrap(),
            };
        }
        file.write_all_at(&record, identity.roots.offset).unwrap();
    };
    for wild in [identity.control.offset, identity.reserved_bytes, u64::MAX - 15] {
        with(&NUMBER, &[wild, number]);
        let error = scratch.refusal();
        assert!(error.to_string().contains("outside the blocks"), "{wild:#x}: {error}");
    }
    let old = old - identity.base;
    with(&TWIN, &[number, old]);
    let error = scratch.refusal();
    assert!(error.to_string().contains("overlap"), "{error}");
    with(&NUMBER, &[old, old, number]);
    let heap = Heap::inherit_or_create("files", options(&scratch.0)).unwrap();
    assert_eq!(NUMBER.get(&heap.enter()).load(std::sync::atomic::Ordering::Relaxed), 7);
    assert_eq!((heap.scan().unwrap().live_objects, heap.stats().faults), (live - 1, 0));
}

/// A heap whose owner was killed, and what it had of objects.
struct Killed {
    scratch: Scratch,
    identity: Identity,
    /// Offsets: a page; one that is free; one of several blocks.
    page: u64,
    freed: u64,
    run: u64,
}

impl Killed {
    fn new(name: &str) -> Self {
        let scratch = Scratch::with_heap(name);
        let heap = Heap::inherit_or_create("files", options(&scratch.0)).unwrap();
        let identity = scratch.header().identity;
        let at = |size: usize| {
            let layout = Layout::from_size_align(size, 16).unwrap();
            (alloc::allocate_zeroed(layout).unwrap(), layout)
        };
        let offset = |object: std::ptr::NonNull<u8>| object.as_ptr() as u64 - identity.base;
        let ((page, _), (freed, layout), (run, _)) = (at(4096), at(4096), at(200 << 10));
        // SAFETY: allocated above.
        unsafe { alloc::deallocate(freed, layout) };
        let (page, freed, run) = (offset(page), offset(freed), offset(run));
        drop(heap);
        assert!(child_of(&scratch.0).stdout(Stdio::null()).status().unwrap().success());
        Self { scratch, identity, page, freed, run }
    }

    /// Writes a diary at `at`, with old bytes for these places, and has CPU slot `cpu` name it.
    fn leave_diary(&self, cpu: u32, at: u64, entries: &[(u64, &[u8])]) {
        let mut bytes = vec![0; ENTRIES_AT];
        for (offset, old) in entries {
            bytes.extend(offset.to_le_bytes());
            bytes.extend((old.len() as u64 | u64::from(KIND_BYTES) << 32).to_le_bytes());
            bytes.extend(*old);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        let used = (bytes.len() - ENTRIES_AT) as u64;
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&2048u64.to_le_bytes());
        bytes[USED_AT..USED_AT + 8].copy_from_slice(&used.to_le_bytes());
        self.scratch.file().write_all_at(&bytes, at).unwrap();
        self.name_diary(cpu, at);
    }

    fn name_diary(&self, cpu: u32, at: u64) {
        let control = self.identity.control.offset;
        let file = self.scratch.file();
        let mut record = [0; size_of::<PoolRecord>()];
        file.read_exact_at(&mut record, control).unwrap();
        let field = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap());
        let shifts = [offset_of!(PoolRecord, block_shift), offset_of!(PoolRecord, unit_shift)].map(field);
        let most = [offset_of!(PoolRecord, max_caches), offset_of!(PoolRecord, max_cpus)].map(field);
        let max_blocks = field(offset_of!(PoolRecord, max_blocks));
        assert!(cpu < field(offset_of!(PoolRecord, nr_cpus)));
        let (block_shift, unit_shift, max_caches, max_cpus) = (shifts[0], shifts[1], most[0], most[1]);
        let geometry = Geometry { block_shift, unit_shift, max_caches, max_cpus, max_blocks };
        let word = control + geometry.cpu_offset(cpu) + offset_of!(CpuRecord, diary) as u64;
        file.write_all_at(&at.to_le_bytes(), word).unwrap();
    }

    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.scratch.file().read_exact_at(&mut bytes, at).unwrap();
        bytes
    }
}

#[test]
fn a_diary_where_none_can_lie_is_refused() {
    let _turn = turn();
    let killed = Killed::new("places");
    let refused = |why: &str| {
        let error = killed.scratch.refusal();
        assert!(matches!(error, HeapError::Diary { error: DiaryError::Place { .. }, .. }), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    };
    killed.leave_diary(0, killed.page + 33, &[]);
    refused("between two words");
    for outside in [64, killed.identity.control.offset, killed.identity.reserved_bytes] {
        killed.name_diary(0, outside);
        refused("outside the blocks");
    }
    killed.leave_diary(0, killed.page, &[]);
    killed.name_diary(1, killed.page);
    refused("another CPU slot");
    killed.name_diary(1, 0);
    drop(Heap::inherit_or_create("files", options(&killed.scratch.0)).unwrap());
}

/// Old bytes go into objects: not into what the pool lists as free, not over an object's end, not into the pool's own records.
#[test]
fn a_diary_changes_nothing_but_objects() {
    let _turn = turn();
    let killed = Killed::new("undo");
    let block = killed.page & !0xffff;
    let (head, far) = (killed.bytes(block, 64), killed.run + (150 << 10));
    let (undone, end) = (killed.page + 3000, killed.page + 4090);
    killed.leave_diary(
        0,
        killed.page,
        &[
            (undone, b"old"),
            // In a block of its own, behind the one with the header.
            (far, b"far"),
            (killed.freed + 8, b"freed"),
            (end, b"beyond the end"),
            (block + 16, &[0xff; 16]),
        ],
    );
    let heap = Heap::inherit_or_create("files", options(&killed.scratch.0)).unwrap();
    assert!(matches!(heap.origin(), Origin::Recovered { .. }));
    assert_eq!((killed.bytes(undone, 3), killed.bytes(far, 3)), (b"old".to_vec(), b"far".to_vec()));
    assert_eq!((killed.bytes(end, 6), killed.bytes(block, 64)), (vec![0; 6], head));
    let scan = heap.scan().unwrap();
    assert_eq!((scan.live_objects, scan.stale_bytes, heap.stats().faults), (503, 0, 0));
}

/// A diary in a slot that is free is nobody's: nothing in it is done, and the slot is not written.
#[test]
fn a_diary_in_a_free_slot_is_not_followed() {
    let _turn = turn();
    let killed = Killed::new("free-diary");
    killed.leave_diary(0, killed.freed, &[(killed.page, b"old")]);
    let diary = killed.bytes(killed.freed, 512);
    let heap = Heap::inherit_or_create("files", options(&killed.scratch.0)).unwrap();
    assert_eq!((killed.bytes(killed.page, 3), killed.bytes(killed.freed, 512)), (vec![0; 3], diary));
    assert_eq!(heap.scan().unwrap().live_objects, 503);
}

#[test]
fn the_last_generation_that_can_be_counted_is_the_last() {
    let _turn = turn();
    let scratch = Scratch::with_heap("generations");
    for generation in [u32::MAX, u32::MAX - 1] {
        let mut header = scratch.header();
        header.state.generation = generation;
        scratch.write_header(&header);
        let error = scratch.refusal();
        assert!(matches!(error, HeapError::LastGeneration(found) if found == generation), "{error}");
    }
}

/// Lengths in a header are numbers of any size; a sparse file makes them possible, and memory is not asked for.
#[test]
fn a_region_of_many_terabytes_is_refused_and_not_allocated() {
    let _turn = turn();
    let scratch = Scratch::with_heap("terabytes");
    let mut header = scratch.header();
    let identity = &mut header.identity;
    let huge = 1 << 45;
    identity.base = 1 << 40;
    identity.roots.bytes = huge;
    identity.control.offset = identity.roots.offset + huge;
    identity.first_block = (identity.control.offset + (1 << 30)).next_multiple_of(1 << 30);
    identity.reserved_bytes = identity.first_block + (1 << 30);
    header.state.file_bytes = identity.first_block;
    scratch.file().set_len(identity.reserved_bytes).unwrap();
    scratch.write_header(&header);
    scratch.refusal();
    let image = Image::open(&Target::File(scratch.0.clone())).unwrap();
    assert!(image.summary().is_err());
    assert!(image.verify().is_err());
}

#[test]
fn a_fifo_is_not_waited_for() {
    // A child has this process's locks until it runs its own program: nobody else is to open a heap meanwhile.
    let _turn = turn();
    let scratch = Scratch::new("fifo");
    let status = Command::new("mkfifo").arg(&scratch.0).status().unwrap();
    assert!(status.success());
    assert!(Image::open(&Target::File(scratch.0.clone())).is_err());
    assert!(Heap::inherit_or_create("files", options(&scratch.0)).is_err());
}

/// A touch of a page for which a full file system has no room would end the program.
#[test]
fn blocks_in_a_file_have_their_pages_before_they_are_used() {
    let _turn = turn();
    let scratch = Scratch::new("pages");
    let heap = Heap::inherit_or_create("files", options(&scratch.0)).unwrap();
    let pages = || fs::metadata(&scratch.0).unwrap().blocks() * 512;
    let layout = Layout::from_size_align(1 << 20, 16).unwrap();
    let before = pages();
    let large = alloc::allocate(layout).unwrap();
    let with_large = pages();
    assert!(with_large >= before + (1 << 20), "{before}, then {with_large}");
    // SAFETY: allocated above.
    unsafe { alloc::deallocate(large, layout) };
    heap.scan().unwrap();
    assert!(pages() < with_large, "what was freed is given back");
}

/// The system had no room for the mapping: that says nothing about the heap, which keeps its name and is opened by the next start.
#[test]
fn a_heap_is_not_set_aside_for_what_the_system_lacks() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const COLD: &str = "cold";
    if std::env::var_os(CHILD).is_none() {
        let _turn = turn();
        let scratch = Scratch::with_heap("short");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["a_heap_is_not_set_aside_for_what_the_system_lacks", "--exact", "--nocapture"]);
        command.args(["--test-threads=1"]).env(CHILD, &scratch.0).env(STEP, COLD);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let heap = Heap::inherit_or_create("files", options(&scratch.0)).unwrap();
        assert_eq!(heap.origin(), Origin::Inherited);
        assert_eq!(NUMBER.get(&heap.enter()).load(std::sync::atomic::Ordering::Relaxed), 7);
        return;
    }
    if std::env::var(STEP).is_ok_and(|step| step == COLD) {
        let path = std::env::var_os(CHILD).unwrap();
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
        let before = getrlimit(Resource::As);
        let current = Some(pages * 4096 + (16 << 20));
        setrlimit(Resource::As, Rlimit { current, maximum: before.maximum }).unwrap();
        let opened = Heap::inherit_or_create("files", options(Path::new(&path)).cold_start(true));
        setrlimit(Resource::As, before).unwrap();
        let error = opened.err().expect("there was no room for it");
        assert!(matches!(error, HeapError::Backing(_)), "{error}");
    }
}
