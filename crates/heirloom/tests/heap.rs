//! A heap's life in one process: made, used, closed, opened again; full; damaged; owned by somebody else.
#![allow(unsafe_code, reason = "uses raw allocations")]

use std::alloc::Layout;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::NonNull;
use std::time::Duration;

use heirloom::foreign::{Image, Target};
use heirloom::sync::{Mutex, Once, RwLock};
use heirloom::{Broken, Heap, HeapError, Options, Origin, Scrub, alloc};

mod common;

use common::{Scratch, turn};

fn small() -> Options {
    Options::new().size_limit(32 << 20).block_size(64 << 10)
}

fn fill(nr: usize, size: usize) -> Vec<NonNull<u8>> {
    let layout = Layout::from_size_align(size, 16).unwrap();
    let mut objects = Vec::new();
    for i in 0..nr {
        let object = alloc::allocate(layout).unwrap();
        // SAFETY: the object is ours.
        unsafe { object.as_ptr().write_bytes(i as u8 | 1, size) };
        objects.push(object);
    }
    objects
}

fn empty(objects: &[NonNull<u8>], size: usize) {
    let layout = Layout::from_size_align(size, 16).unwrap();
    for &object in objects {
        // SAFETY: allocated by `fill`.
        unsafe { alloc::deallocate(object, layout) };
    }
}

#[test]
fn a_new_heap_gives_and_takes_and_has_nothing_stale() {
    let _turn = turn();
    for scrub in [Scrub::OnFree, Scrub::AtFreeze] {
        let heap = Heap::inherit_or_create("test", small().scrub(scrub)).unwrap();
        assert_eq!((heap.generation(), heap.origin()), (1, Origin::Created));
        let objects = {
            let _inside = heap.enter();
            fill(5000, 100)
        };
        let before = heap.scan().unwrap();
        assert_eq!((before.live_objects, before.stale_bytes), (5000, 0));
        // From outside, and from another thread.
        std::thread::scope(|scope| {
            let half = &objects[..2500];
            let half: Vec<usize> = half.iter().map(|object| object.as_ptr() as usize).collect();
            scope.spawn(move || {
                let half: Vec<_> = half.iter().filter_map(|&at| NonNull::new(at as *mut u8)).collect();
                empty(&half, 100);
            });
        });
        empty(&objects[2500..], 100);
        let after = heap.scan().unwrap();
        assert_eq!((after.live_objects, after.stale_bytes), (0, 0));
    }
}

#[test]
fn a_closed_file_is_inherited_and_one_left_by_a_death_is_recovered() {
    let _turn = turn();
    let scratch = Scratch::new("reopen");
    let options = small().file(&scratch.0);
    let heap = Heap::inherit_or_create("test", options.clone()).unwrap();
    let objects = fill(3000, 64);
    let base = objects[0];
    drop(heap);
    for generation in 2..6 {
        let heap = Heap::inherit_or_create("test", options.clone()).unwrap();
        assert_eq!((heap.generation(), heap.origin()), (generation, Origin::Inherited));
        let scan = heap.scan().unwrap();
        assert_eq!((scan.live_objects, scan.stale_bytes), (3000, 0));
        // SAFETY: the first object, at the address it had.
        assert_eq!(unsafe { base.as_ptr().read() }, 1);
    }
    // A copy of a running heap is what a death leaves.
    let heap = Heap::inherit_or_create("test", options).unwrap();
    let copy = Scratch::new("death");
    empty(&objects[..1000], 64);
    fs::copy(&scratch.0, &copy.0).unwrap();
    drop(heap);
    let heap = Heap::inherit_or_create("test", small().file(&copy.0)).unwrap();
    assert!(matches!(heap.origin(), Origin::Recovered { .. }), "{:?}", heap.origin());
    assert_eq!(heap.scan().unwrap().live_objects, 2000);
}

#[test]
fn a_full_heap_says_so_and_goes_on_after_a_free() {
    let _turn = turn();
    let heap = Heap::inherit_or_create("test", small()).unwrap();
    let layout = Layout::from_size_align(1000, 16).unwrap();
    let mut objects = Vec::new();
    while let Ok(object) = alloc::allocate(layout) {
        objects.push(object);
    }
    assert!(objects.len() > 1000);
    assert!(alloc::allocate(Layout::from_size_align(64 << 20, 16).unwrap()).is_err());
    heap.check().unwrap();
    empty(&objects[..10], 1000);
    let again = fill(10, 1000);
    empty(&objects[10..], 1000);
    empty(&again, 1000);
    assert_eq!(heap.scan().unwrap().live_objects, 0);
}

#[test]
fn large_and_huge_objects_grow_shrink_and_go() {
    let _turn = turn();
    let heap = Heap::inherit_or_create("test", small()).unwrap();
    let layout = |size| Layout::from_size_align(size, 16).unwrap();
    let mut size = 8;
    let mut object = alloc::allocate_zeroed(layout(size)).unwrap();
    while size < 8 << 20 {
        // SAFETY: ours, `size` bytes long.
        unsafe { object.as_ptr().add(size - 1).write(7) };
        let new = size * 2;
        // SAFETY: allocated with this layout.
        object = unsafe { alloc::reallocate(object, layout(size), new) }.unwrap();
        // SAFETY: ours.
        assert_eq!(unsafe { object.as_ptr().add(size - 1).read() }, 7);
        size = new;
    }
    heap.check().unwrap();
    while size > 8 {
        // SAFETY: allocated with this layout.
        object = unsafe { alloc::reallocate(object, layout(size), size / 2) }.unwrap();
        size /= 2;
    }
    // SAFETY: allocated with this layout.
    unsafe { alloc::deallocate(object, layout(size)) };
    let scan = heap.scan().unwrap();
    assert_eq!((scan.live_objects, scan.stale_bytes, scan.blocks), (0, 0, scan.blocks.min(2)));
}

#[test]
fn a_thread_that_stays_inside_makes_the_door_time_out_and_nothing_else() {
    let _turn = turn();
    let heap = Heap::inherit_or_create("test", small().door_timeout(Duration::from_millis(50))).unwrap();
    let inside = heap.enter();
    assert_eq!(heap.scan(), Err(Broken::Inside));
    std::thread::scope(|scope| {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let heap = &heap;
        let (entered, wait) = std::sync::mpsc::channel();
        scope.spawn(move || {
            let _inside = heap.enter();
            entered.send(()).unwrap();
            let _ = receiver.recv();
        });
        wait.recv().unwrap();
        drop(inside);
        assert_eq!(heap.scan(), Err(Broken::Inside));
        empty(&fill(10, 50), 50);
        drop(sender);
    });
    heap.scan().unwrap();
}

#[test]
fn more_threads_than_slots_take_turns() {
    let _turn = turn();
    let heap = Heap::inherit_or_create("test", Options::new().size_limit(256 << 20)).unwrap();
    let barrier = std::sync::Barrier::new(300);
    std::thread::scope(|scope| {
        for _ in 0..300 {
            scope.spawn(|| {
                empty(&fill(3, 80), 80);
                barrier.wait();
                empty(&fill(3, 80), 80);
            });
        }
    });
    assert_eq!(heap.scan().unwrap().live_objects, 0);
}

#[test]
fn a_second_heap_and_a_second_owner_are_refused() {
    let _turn = turn();
    let scratch = Scratch::new("busy");
    let options = small().file(&scratch.0);
    let heap = Heap::inherit_or_create("test", options.clone()).unwrap();
    let error = Heap::inherit_or_create("test", options.cold_start(true)).err().unwrap();
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    assert!(matches!(Heap::inherit_or_create("other", small()), Err(HeapError::AlreadyOpen)));
    assert!(heirloom::foreign::set_aside(&scratch.0).is_err(), "a heap with an owner is not set aside");
    drop(heap);
    let aside = heirloom::foreign::set_aside(&scratch.0).unwrap();
    assert!(!scratch.0.exists());
    fs::remove_file(aside).unwrap();
}

#[test]
fn names_sizes_and_limits_that_cannot_be_are_refused() {
    let _turn = turn();
    for name in ["", "a\0b", &"x".repeat(64)] {
        assert!(matches!(Heap::inherit_or_create(name, small()), Err(HeapError::Name(_))), "{name:?}");
    }
    for size in [0, 4096, 3 << 20, 2 << 30] {
        assert!(Heap::inherit_or_create("test", small().block_size(size)).is_err(), "{size}");
    }
}

/// What opening a damaged file says; where it is refused, the file must be as before.
fn refusal(path: &Path, compare: bool) -> Result<(), String> {
    let before = if compare { fs::read(path).unwrap() } else { Vec::new() };
    let outcome =
        Heap::inherit_or_create("test", small().file(path)).map(drop).map_err(|error| error.to_string());
    if compare && outcome.is_err() {
        assert!(fs::read(path).unwrap() == before, "a refused file was changed");
    }
    outcome
}

#[test]
fn damaged_files_are_refused_in_words_and_left_alone() {
    let _turn = turn();
    let scratch = Scratch::new("damage");
    let heap = Heap::inherit_or_create("test", small().file(&scratch.0)).unwrap();
    let objects = fill(2000, 48);
    let large = fill(1, 100_000);
    empty(&objects[1000..], 48);
    drop((heap, large));
    let whole = fs::read(&scratch.0).unwrap();

    for len in [1, 100, 4095, 4096, 100_000, whole.len() / 2, whole.len() - 1] {
        fs::write(&scratch.0, &whole[..len]).unwrap();
        assert!(refusal(&scratch.0, true).is_err(), "cut to {len} bytes");
    }
    fs::write(&scratch.0, vec![0; whole.len()]).unwrap();
    assert!(refusal(&scratch.0, true).is_err(), "all zeros");
    fs::write(&scratch.0, &whole).unwrap();

    // Bytes of the header page, the tree, and of each block's head, first descriptors and bitmaps.
    let mut flips: Vec<usize> = (0..8192).step_by(11).collect();
    let blocks = (0..whole.len()).step_by(64 << 10).filter(|&at| whole[at..].starts_with(b"HLBLOCK1"));
    flips.extend(blocks.flat_map(|block| (block..block + 600).step_by(13)));
    let file = fs::OpenOptions::new().write(true).open(&scratch.0).unwrap();
    let mut passed = Vec::new();
    for (nr, &at) in flips.iter().enumerate() {
        file.write_all_at(&[whole[at] ^ 0x10], at as u64).unwrap();
        if refusal(&scratch.0, nr % 50 == 0).is_ok() {
            passed.push(at);
            file.write_all_at(&whole, 0).unwrap();
        }
        file.write_all_at(&whole[at..=at], at as u64).unwrap();
    }
    // The losing copy of the state, and descriptors of free units, whose rest means nothing.
    passed.retain(|at| !(1024..1024 + 128).contains(at) && !(1536..1536 + 128).contains(at));
    passed.retain(|at| *at < 8192 || (at % (64 << 10)) < 128);
    assert!(passed.is_empty(), "flips that went unnoticed: {passed:?}");

    file.write_all_at(&[whole[8] ^ 0xff], 8).unwrap();
    assert!(refusal(&scratch.0, true).unwrap_err().contains("version"));
    file.write_all_at(&whole, 0).unwrap();
    refusal(&scratch.0, false).unwrap();
}

#[test]
fn a_damaged_file_does_not_stop_a_program_that_may_start_cold() {
    let _turn = turn();
    let scratch = Scratch::new("cold");
    fs::write(&scratch.0, vec![0xa5; 100_000]).unwrap();
    let heap = Heap::inherit_or_create("test", small().file(&scratch.0).cold_start(true)).unwrap();
    let (aside, why) = heap.set_aside().unwrap();
    assert_eq!(fs::read(aside).unwrap(), vec![0xa5; 100_000]);
    assert!(!why.is_empty());
    fs::remove_file(aside).unwrap();
}

#[test]
fn a_foreign_look_agrees_with_the_owner() {
    let _turn = turn();
    let scratch = Scratch::new("foreign");
    let heap = Heap::inherit_or_create("test", small().file(&scratch.0)).unwrap();
    let objects = fill(500, 200);
    let scan = heap.scan().unwrap();
    for target in [Target::File(scratch.0.clone()), Target::Process(std::process::id())] {
        let image = Image::open(&target).unwrap();
        let summary = image.summary().unwrap();
        assert_eq!((summary.phase, summary.owner_lives, summary.generation), ("running", true, 1));
        assert_eq!(summary.totals.live_objects, scan.live_objects);
        let verdict = image.verify().unwrap();
        assert!(verdict.is_clean(), "{verdict:?}");
    }
    drop(heap);
    let image = Image::open(&Target::File(scratch.0.clone())).unwrap();
    assert_eq!(image.summary().unwrap().phase, "frozen");
    assert!(image.verify().unwrap().is_clean());
    // A live byte is the program's business; a free one is not to hold anything.
    let file = fs::OpenOptions::new().write(true).open(&scratch.0).unwrap();
    let base = objects[0].as_ptr() as u64 - image.summary().unwrap().base;
    file.write_all_at(&[1], base).unwrap();
    assert!(image.verify().unwrap().is_clean());
    let free = base - base % 65536 + 65536 - 1;
    file.write_all_at(&[1], free).unwrap();
    let verdict = image.verify().unwrap();
    assert!(
        !verdict.is_clean() || verdict.totals.stale_bytes == 0 && free / 65536 != base / 65536,
        "{verdict:?}"
    );
}

/// What was freed stays with the heap for a while, all zeros: a new object finds nothing of it.
#[test]
fn freed_blocks_that_stay_are_zero() {
    let _turn = turn();
    let heap = Heap::inherit_or_create("spares", Options::new()).unwrap();
    let _inside = heap.enter();
    for round in 1..4 {
        // Runs of several blocks, of one, and of units; a vector that grows from one to another.
        for len in [9 << 20, 3 << 20, 1 << 20, 200 << 10] {
            let mut bytes = heirloom::Vec::with_capacity(len);
            bytes.resize(len, round);
            let grown: heirloom::Vec<u64> = (0..len as u64 / 8).collect();
            assert!(grown.iter().enumerate().all(|(i, &value)| value == i as u64));
        }
        let layout = Layout::from_size_align(7 << 20, 16).unwrap();
        let fresh = alloc::allocate_zeroed(layout).unwrap();
        // SAFETY: allocated above, and initialised with zeros if the heap keeps its word.
        let whole = unsafe { std::slice::from_raw_parts(fresh.as_ptr(), layout.size()) };
        assert!(whole.iter().all(|&byte| byte == 0), "round {round}");
        // SAFETY: allocated above.
        unsafe { alloc::deallocate(fresh, layout) };
    }
}

/// An object of several blocks grows where it is while nothing is behind it, and is inherited as one.
#[test]
fn a_run_of_blocks_grows_where_it_is() {
    let _turn = turn();
    let scratch = Scratch::new("growth");
    let options = || Options::new().size_limit(64 << 20).file(&scratch.0);
    let heap = Heap::inherit_or_create("heap", options()).unwrap();
    let (three, nine) = (3 << 20, 9 << 20);
    let layout = |size| Layout::from_size_align(size, 16).unwrap();
    let block = alloc::allocate(layout(three)).unwrap();
    // SAFETY: the object is ours, of the layout that is named.
    let grown = unsafe { alloc::reallocate(block, layout(three), nine) }.unwrap();
    assert_eq!(grown, block, "nothing is behind it");
    let wall = alloc::allocate(layout(three)).unwrap();
    // SAFETY: as above.
    let moved = unsafe { alloc::reallocate(grown, layout(nine), 2 * nine) }.unwrap();
    assert_ne!(moved, grown, "something is behind it");
    // SAFETY: as above.
    unsafe { alloc::deallocate(wall, layout(three)) };
    let before = heap.scan().unwrap();
    assert_eq!((before.live_objects, before.stale_bytes), (1, 0));
    drop(heap);
    let heap = Heap::inherit_or_create("heap", options()).unwrap();
    let after = heap.scan().unwrap();
    assert_eq!((after.live_objects, after.live_bytes), (1, before.live_bytes));
    // SAFETY: as above, in the next generation.
    unsafe { alloc::deallocate(moved, layout(2 * nine)) };
    assert_eq!(heap.scan().unwrap().live_objects, 0);
}

/// Where bytes are zeroed at the freeze, what a large object held may be what the next one finds. Who asks for zeros gets
/// them all the same, and nothing is left behind the end of an object or in the file.
#[test]
fn old_bytes_of_large_objects_reach_nobody_who_asked_for_zeros() {
    let _turn = turn();
    let heap = Heap::inherit_or_create("test", small().scrub(Scrub::AtFreeze)).unwrap();
    let sizes = [20_000, 33_000, 60_000, 100_000, 130_001, 300_000, 1_000_000];
    for round in 0..3 {
        let _inside = heap.enter();
        for size in sizes {
            empty(&fill(2, size), size);
            let layout = Layout::from_size_align(size - size / 7 * round, 16).unwrap();
            let zeroed = alloc::allocate_zeroed(layout).unwrap();
            // SAFETY: the object is ours.
            let bytes = unsafe { std::slice::from_raw_parts(zeroed.as_ptr(), layout.size()) };
            assert!(bytes.iter().all(|&byte| byte == 0), "{size} bytes, round {round}");
            // SAFETY: allocated above.
            unsafe { alloc::deallocate(zeroed, layout) };
            // An odd size in the place of the old object: what lies behind it is scanned below.
            let odd = fill(1, size - 7);
            let layout = Layout::from_size_align(size - 7, 16).unwrap();
            // SAFETY: the object is ours.
            let grown = unsafe { alloc::reallocate(odd[0], layout, size + 40_000) }.unwrap();
            // SAFETY: as above.
            unsafe { grown.as_ptr().add(size - 7).write_bytes(7, 40_007) };
            empty(&[grown], size + 40_000);
        }
    }
    let kept = {
        let _inside = heap.enter();
        sizes.map(|size| (fill(1, size - 100), size - 100))
    };
    let scan = heap.scan().unwrap();
    assert_eq!((scan.live_objects, scan.stale_bytes), (sizes.len() as u64, 0));
    for (objects, size) in kept {
        empty(&objects, size);
    }
}

/// Allocates objects until there is no room, and frees them: how many there were.
fn fill_up(size: usize) -> usize {
    let layout = Layout::from_size_align(size, 8).unwrap();
    let objects: Vec<_> = std::iter::from_fn(|| alloc::allocate(layout).ok()).collect();
    for &object in &objects {
        // SAFETY: allocated above, with this layout.
        unsafe { alloc::deallocate(object, layout) };
    }
    objects.len()
}

/// What a thread kept near itself when it ended was nobody's, and was memory for objects of its size alone.
#[test]
fn memory_of_a_thread_that_ended_serves_objects_of_every_size() {
    let _turn = turn();
    let heap = Heap::inherit_or_create("idle", Options::new().size_limit(64 << 20)).unwrap();
    let in_a_thread = |size: usize| {
        let fill = || {
            let _inside = heap.enter();
            fill_up(size)
        };
        std::thread::scope(|scope| scope.spawn(fill).join().unwrap())
    };
    let before = in_a_thread(1024);
    assert!(before > 40_000);
    in_a_thread(64);
    heap.trim();
    let after = in_a_thread(1024);
    assert!(after >= before, "{after} of {before} objects");
}

#[test]
fn a_heap_that_closes_gives_back_what_it_kept_near() {
    let _turn = turn();
    let scratch = Scratch::new("near");
    let options = || Options::new().size_limit(64 << 20).file(&scratch.0);
    let heap = Heap::inherit_or_create("idle", options()).unwrap();
    {
        let _inside = heap.enter();
        assert!(fill_up(64) > 500_000);
    }
    drop(heap);
    let held = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&scratch.0).unwrap()) * 512;
    assert!(held < 8 << 20, "{held} bytes, and no object");
    drop(Heap::inherit_or_create("idle", options()).unwrap());
}

/// ```text
/// generation 1: |guards of locks on this stack ... close |
/// generation 2:                                          | open ... the same guards |     nobody else gets in
/// ```
#[test]
fn a_lock_outside_the_heap_stays_locked_while_heaps_come_and_go() {
    let _turn = turn();
    let path = Scratch::new("locks");
    let options = || small().file(&path.0);
    let heap = Heap::inherit_or_create("test", options()).unwrap();
    let (mutex, read, written, once) = (Mutex::new(5), RwLock::new(5), RwLock::new(5), Once::new());
    let (began, end) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            once.call_once(|| {
                began.wait();
                end.wait();
            });
        });
        began.wait();
        let (held, reading, writing) = (mutex.lock(), read.read(), written.write());
        drop(heap);
        let heap = Heap::inherit_or_create("test", options()).unwrap();
        assert_eq!(heap.generation(), 2);
        assert!(mutex.try_lock().is_none() && read.try_write().is_none() && written.try_read().is_none());
        assert!(!mutex.is_poisoned() && !written.is_poisoned() && !once.is_poisoned());
        assert_eq!(read.try_read().map(|value| *value), Some(5));
        drop((held, reading, writing));
        // Whoever comes next is of the second generation.
        assert!(mutex.try_lock().is_some() && read.try_write().is_some() && written.try_read().is_some());
        end.wait();
    });
    assert!(once.is_completed());
}
