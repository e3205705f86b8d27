//! `kill -9` at random moments in a tight loop of allocations and frees, then the next generation.
//!
//! The child is this test again, told by the environment. Its heap is a file on tmpfs: two threads fill and empty places in a
//! table that lies in the heap too, each other's as well. A place holds the address of an object; the object says where it lies.
//!
//! After each kill: every check is clean, every place's object is whole, no two places hold one object, and no slot that
//! the allocator has left to give is one that a place holds. At most the one object in each thread's hands is lost.
#![allow(unsafe_code, reason = "writes into raw allocations and kills processes")]

use std::alloc::Layout;
use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::Duration;

use heirloom::{Heap, Heritable, Options, Origin};

const CHILD: &str = "HEIRLOOM_TEST_KILL_CHILD";
const WRONG: &str = "HEIRLOOM_TEST_KILL_WRONG_ORDER";
const THREADS: usize = 2;
const PLACES: usize = 192;
/// Few classes and a small heap: slots are handed out again at once.
const SIZES: [usize; 3] = [64, 64, 512];

#[derive(Heritable)]
#[repr(C)]
struct Table {
    places: [AtomicU64; PLACES],
}

impl Default for Table {
    fn default() -> Self {
        Self { places: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

heirloom::root! { static TABLE: Table = "table"; }

fn layout(place: usize) -> Layout {
    Layout::from_size_align(SIZES[place % SIZES.len()], 16).unwrap()
}

fn mark(object: u64) -> u64 {
    object.rotate_left(17) ^ 0x6865_6972_6c6f_6f6d
}

fn fill(object: NonNull<u8>, size: usize) {
    let words = object.cast::<u64>();
    for i in 0..size / 8 {
        // SAFETY: the object holds `size` bytes.
        unsafe { words.add(i).write(mark(object.addr().get() as u64) ^ i as u64) };
    }
}

fn is_whole(object: u64, size: usize) -> bool {
    let words = std::ptr::with_exposed_provenance::<u64>(object as usize);
    // SAFETY: a place held the address, so it lies in the heap.
    (0..size / 8).all(|i| unsafe { words.add(i).read() } == mark(object) ^ i as u64)
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn options(path: &Path) -> Options {
    Options::new().file(path).size_limit(64 << 20).block_size(64 << 10)
}

/// Runs until it is killed.
#[test]
fn child() {
    let Ok(path) = std::env::var(CHILD) else { return };
    heirloom_slab::set_window(400);
    heirloom_slab::set_wrong_order(std::env::var_os(WRONG).is_some());
    let heap = Heap::inherit_or_create("kill", options(Path::new(&path))).unwrap();
    // Before the first kill: `look` counts it.
    TABLE.get(&heap.enter());
    std::thread::scope(|scope| {
        for thread in 0..THREADS as u64 {
            let heap = &heap;
            scope.spawn(move || {
                if thread == 1 && std::env::var_os(WRONG).is_some() {
                    stop_now_and_then();
                }
                churn(heap, Random(0x9e37_79b9 ^ (thread << 40) ^ u64::from(std::process::id())));
            });
        }
        println!("\nready");
    });
}

/// Makes this thread stand still between two of its stores for a while, so that most kills find it there and the other
/// thread has gone on meanwhile: a slot that this one still lists may have been handed out again.
fn stop_now_and_then() {
    let mut random = Random(u64::from(std::process::id()) | 1 << 40);
    heirloom_slab::set_hook(move || {
        if random.next().is_multiple_of(48) {
            std::thread::sleep(Duration::from_micros(600));
        }
    });
}

fn churn(heap: &Heap, mut random: Random) {
    loop {
        let inside = heap.enter();
        let table = TABLE.get(&inside);
        for _ in 0..64 {
            let nr = random.next() as usize % PLACES;
            let place = &table.places[nr];
            let old = place.swap(0, AcqRel);
            if let Some(old) = NonNull::new(std::ptr::with_exposed_provenance_mut(old as usize)) {
                // SAFETY: the place held it, and this thread took it out.
                unsafe { heirloom::alloc::deallocate(old, layout(nr)) };
                continue;
            }
            let Ok(object) = heirloom::alloc::allocate(layout(nr)) else { continue };
            fill(object, layout(nr).size());
            if place.compare_exchange(0, object.addr().get() as u64, AcqRel, Relaxed).is_err() {
                // SAFETY: just allocated, stored nowhere.
                unsafe { heirloom::alloc::deallocate(object, layout(nr)) };
            }
        }
    }
}

fn spawn(path: &Path, wrong: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if wrong {
        command.env(WRONG, "1");
    }
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"), "the child ended before it was ready");
    child
}

/// What the next generation finds: an error text, or how many objects were in nobody's hands.
fn look(path: &Path) -> Result<u64, String> {
    let heap = Heap::inherit_or_create("kill", options(path)).map_err(|error| error.to_string())?;
    if !matches!(heap.origin(), Origin::Recovered { .. }) {
        return Err(format!("origin {:?}", heap.origin()));
    }
    let scan = heap.scan().map_err(|error| error.to_string())?;
    if scan.stale_bytes != 0 {
        return Err(format!("{} stale bytes", scan.stale_bytes));
    }
    let inside = heap.enter();
    let mut live = HashSet::new();
    for (nr, place) in TABLE.get(&inside).places.iter().enumerate() {
        let object = place.load(Relaxed);
        if object != 0 && !is_whole(object, layout(nr).size()) {
            return Err(format!("the object of place {nr} is not whole"));
        }
        if object != 0 && !live.insert(object) {
            return Err(format!("place {nr} holds an object that another holds"));
        }
    }
    // Everything that is left to give, and a little more.
    let mut given = Vec::new();
    for nr in 0..3 * 4096 {
        let Ok(object) = heirloom::alloc::allocate(layout(nr)) else { break };
        if live.contains(&(object.addr().get() as u64)) {
            return Err("a live object was handed out".to_owned());
        }
        given.push((nr, object));
    }
    for (nr, object) in given {
        // SAFETY: allocated above with this layout.
        unsafe { heirloom::alloc::deallocate(object, layout(nr)) };
    }
    drop(inside);
    // The table itself is one object.
    (scan.live_objects)
        .checked_sub(live.len() as u64 + 1)
        .ok_or_else(|| "live objects are listed as free".to_owned())
}

fn rounds(kills: u32, wrong: bool) -> Result<(u32, u64), String> {
    let dir = PathBuf::from(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" });
    let path = dir.join(format!("heirloom-kill-{}-{wrong}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let seed = u64::from(std::process::id()) << 20 | 0x1234_5678_9abc;
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut lost = 0;
    let mut result = Ok((kills, 0));
    for kill in 0..kills {
        let mut child = spawn(&path, wrong);
        std::thread::sleep(Duration::from_micros(500 + random.next() % 8000));
        child.kill().unwrap();
        child.wait().unwrap();
        match look(&path) {
            // What earlier kills lost is still there.
            Ok(in_nobodys_hands) if in_nobodys_hands <= lost + THREADS as u64 => lost = in_nobodys_hands,
            Ok(more) => {
                result = Err(format!("kill {kill}: {more} objects are lost, {lost} before"));
                break;
            }
            Err(error) => {
                result = Err(format!("kill {kill}: {error}"));
                break;
            }
        }
        result = Ok((kills, lost));
    }
    let _ = std::fs::remove_file(&path);
    result
}

fn kills(default: u32) -> u32 {
    std::env::var("HEIRLOOM_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(default)
}

#[test]
fn nothing_is_lost_or_handed_out_twice() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let (done, lost) = rounds(kills(500), false).unwrap_or_else(|error| panic!("{error}"));
    println!("{done} kills: no live object lost, none handed out twice; {lost} were in a thread's hands");
}

/// With one order swapped about one kill in a thousand shows a live object that was listed as free, so this is for a
/// machine with time. The canary that every run of the tests has, without chance, is `heirloom-slab`'s `tests/canary.rs`.
#[test]
#[ignore = "takes thousands of kills: run it alone, with --ignored"]
fn the_wrong_order_is_noticed() {
    let caught = rounds(kills(10_000), true);
    println!("with one order swapped: {caught:?}");
    assert!(caught.is_err(), "the order that loses objects went unnoticed");
}
