//! Threads that come, end, leak their guards or outlive their heap, while the door closes and opens.
#![allow(unsafe_code, reason = "uses raw allocations, and guards beyond their scope")]

use std::alloc::Layout;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use heirloom::{Broken, Heap, HeapError, Heritable, Inside, Options, alloc};

/// A process has one heap at a time, so these tests take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn small() -> Options {
    Options::new().size_limit(32 << 20).block_size(64 << 10)
}

fn churn(nr: usize) {
    let layout = Layout::from_size_align(96, 16).unwrap();
    let objects: Vec<_> = (0..nr).map(|_| alloc::allocate(layout).unwrap()).collect();
    for object in objects {
        // SAFETY: allocated above with this layout.
        unsafe { alloc::deallocate(object, layout) };
    }
}

/// Runs a thread that uses the heap and ends; `at` is called in each step of giving its slot back. Returns the steps.
fn end_a_thread(heap: &Heap, at: impl FnMut(u32) + Send + 'static) -> u32 {
    let steps = Arc::new(AtomicU32::new(0));
    let counted = steps.clone();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let ending = Rc::new(Cell::new(false));
            let is_ending = ending.clone();
            let mut at = at;
            // Before the first entry, so that it is there still when the thread's seat goes.
            heirloom_slab::set_hook(move || {
                if is_ending.get() {
                    at(counted.fetch_add(1, Relaxed) + 1);
                }
            });
            let inside = heap.enter();
            churn(10);
            drop(inside);
            ending.set(true);
        });
        // The scope alone would not wait for the thread-locals.
        thread.join().unwrap();
    });
    steps.load(Relaxed)
}

/// A slot that a thread gave back is another's at once: the first one's last step must not call the second one out.
#[test]
fn a_thread_that_ends_does_not_open_the_way_for_a_freeze_beside_the_next() {
    let _turn = turn();
    let heap = Heap::inherit_or_create("test", small().door_timeout(Duration::from_millis(50))).unwrap();
    // The first one makes slabs, the second one finds them.
    let steps = (0..2).map(|_| end_a_thread(&heap, |_| ())).last().unwrap();
    assert!(steps > 2);
    let (released, is_released) = mpsc::channel();
    let (entered, has_entered) = mpsc::channel();
    let (leave, may_leave) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let heap = &heap;
        scope.spawn(move || {
            is_released.recv().unwrap();
            let _inside = heap.enter();
            let _ = entered.send(());
            let _ = may_leave.recv();
        });
        // At its last step the slot is free, and the other thread may take it, or has to wait for the end.
        end_a_thread(heap, move |step| {
            if step == steps {
                released.send(()).unwrap();
                let _ = has_entered.recv_timeout(Duration::from_millis(100));
            }
        });
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(heap.scan(), Err(Broken::Inside), "a thread is inside");
        drop(leave);
    });
    assert_eq!(heap.scan().unwrap().live_objects, 0);
}

struct Late(RefCell<Option<Inside<'static>>>, RefCell<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>);

impl Drop for Late {
    fn drop(&mut self) {
        if let Some((sender, receiver)) = self.1.take() {
            sender.send(()).unwrap();
            let _ = receiver.recv();
        }
    }
}

thread_local! {
    static LATE: Late = const { Late(RefCell::new(None), RefCell::new(None)) };
}

/// The guard is destroyed after the thread's seat: until then the thread is inside.
#[test]
fn a_guard_in_a_thread_local_keeps_the_door_to_its_end() {
    let _turn = turn();
    let heap = Heap::inherit_or_create("test", small().door_timeout(Duration::from_millis(50))).unwrap();
    let (ending, is_ending) = mpsc::channel();
    let (end, may_end) = mpsc::channel();
    std::thread::scope(|scope| {
        let heap = &heap;
        scope.spawn(move || {
            LATE.with(|late| {
                let inside = heap.enter();
                // SAFETY: the heap outlives this thread.
                *late.0.borrow_mut() =
                    Some(unsafe { std::mem::transmute::<Inside<'_>, Inside<'static>>(inside) });
                *late.1.borrow_mut() = Some((ending, may_end));
            });
        });
        is_ending.recv().unwrap();
        assert_eq!(heap.scan(), Err(Broken::Inside));
        end.send(()).unwrap();
    });
    heap.scan().unwrap();
}

#[test]
fn a_time_that_no_clock_reaches_is_a_timeout_too() {
    let _turn = turn();
    let heap = Heap::inherit_or_create("test", small().door_timeout(Duration::MAX)).unwrap();
    churn(10);
    heap.scan().unwrap();
}

#[derive(Heritable)]
#[repr(C)]
struct First {
    of_the_second: u32,
}

#[derive(Heritable)]
#[repr(C)]
struct Second {
    nr: AtomicU32,
}

impl Default for First {
    fn default() -> Self {
        let heap = HEAP.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = heap.as_ref().unwrap().enter();
        Self { of_the_second: SECOND.get(&inside).nr.fetch_add(1, Relaxed) }
    }
}

impl Default for Second {
    fn default() -> Self {
        Self { nr: AtomicU32::new(41) }
    }
}

heirloom::root! {
    static FIRST: First = "first";
    static SECOND: Second = "second";
}

static HEAP: Mutex<Option<Heap>> = Mutex::new(None);

#[test]
fn a_root_may_look_at_another_as_it_is_made() {
    let _turn = turn();
    *HEAP.lock().unwrap() = Some(Heap::inherit_or_create("test", small()).unwrap());
    let (made, is_made) = mpsc::channel();
    std::thread::spawn(move || {
        let inside = HEAP.lock().unwrap().as_ref().unwrap().enter_leaked();
        made.send((FIRST.get(&inside).of_the_second, SECOND.get(&inside).nr.load(Relaxed))).unwrap();
    });
    let found = is_made.recv_timeout(Duration::from_secs(20)).expect("the thread hangs");
    assert_eq!(found, (41, 42));
    std::thread::sleep(Duration::from_millis(50));
    let heap = HEAP.lock().unwrap().take().unwrap();
    assert_eq!(heap.scan().unwrap().live_objects, 2);
}

trait EnterLeaked {
    fn enter_leaked(&self) -> Inside<'static>;
}

impl EnterLeaked for Heap {
    fn enter_leaked(&self) -> Inside<'static> {
        // SAFETY: the test drops the guard before it takes the heap.
        unsafe { std::mem::transmute::<Inside<'_>, Inside<'static>>(self.enter()) }
    }
}

#[test]
fn what_outlives_its_heap_does_not_touch_the_next_one() {
    let _turn = turn();
    let heap = Heap::inherit_or_create("one", small()).unwrap();
    let mut kept = heirloom::Vec::new();
    kept.extend([1u64, 2, 3]);
    let text = heirloom::String::from("kept");
    drop(heap);
    let heap = Heap::inherit_or_create("two", small()).unwrap();
    assert!(kept.try_reserve(10_000).is_err(), "it grew in a heap that it is not of");
    drop((kept, text));
    assert_eq!(heap.stats().faults, 0);
    assert_eq!(heap.scan().unwrap().live_objects, 0);
}

/// The generation of the process tells which locks are held by the dead: a refused second heap must not change it.
#[test]
fn a_second_heap_is_refused_before_anything_changes() {
    let _turn = turn();
    let path = std::path::Path::new("/dev/shm").join(format!("heirloom-test-{}-second", std::process::id()));
    let _ = std::fs::remove_file(&path);
    drop(Heap::inherit_or_create("second", small().file(&path)).unwrap());
    drop(Heap::inherit_or_create("second", small().file(&path)).unwrap());
    let before = std::fs::read(&path).unwrap();
    let heap = Heap::inherit_or_create("test", small()).unwrap();
    let lock = heirloom::sync::Mutex::new(0);
    let guard = lock.lock();
    let again = Heap::inherit_or_create("second", small().file(&path));
    assert!(matches!(again, Err(HeapError::AlreadyOpen)), "{:?}", again.err());
    assert!(lock.try_lock().is_none(), "the lock is held by a thread that lives");
    drop(guard);
    drop(heap);
    assert!(std::fs::read(&path).unwrap() == before, "a refused file was changed");
    std::fs::remove_file(&path).unwrap();
}
