//! The door: every thread that works in the heap is inside, and the freeze waits until nobody is.
//!
//! ```text
//! enter                                     freeze
//!   door word of this thread = 1              closed = true
//!   (compiler fence)                          membarrier: every CPU passes a full fence
//!   closed? then out again and wait           wait until every door word is 0
//!   current = this thread's CPU slot
//! ```
//!
//! The fence is on the freezer's side alone, so that entering costs two plain stores. Where the system has no
//! membarrier, both sides fence.
//!
//! Behind the door a thread says so in its CPU slot too, so that a recovery knows who was inside. That word lies in the heap, and the door
//! word does not: a thread that only tries the door while a successor has the heap must not write to it.
//!
//! The thread-local [`CURRENT`] points to the thread's CPU slot exactly while the thread is inside: the allocator's
//! fast path needs no other look at the door.
#![expect(unsafe_code, reason = "thread-local pointers to the open heap")]

use std::cell::{Cell, RefCell, UnsafeCell};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::*, compiler_fence, fence};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use heirloom_slab::{Cpu, Host, Magazines, Pool, Scrub};

use super::host::BlockHost;
use crate::sys;

/// The open heap, as the threads see it.
pub(crate) struct Hall {
    /// Dropped by `retire`, when nobody is inside any more and nobody comes in.
    pool: UnsafeCell<ManuallyDrop<Pool<BlockHost>>>,
    /// Numbers the heaps that this process has opened, so that a thread notices that its slot was another heap's.
    instance: u64,
    doors: std::boxed::Box<[Door]>,
    closed: AtomicBool,
    /// The slot for threads that found all others taken: one of them is inside at a time.
    commons: u32,
    commons_taken: Mutex<bool>,
    commons_free: Condvar,
    asymmetric: bool,
    waiting: Mutex<()>,
    opened: Condvar,
}

// SAFETY: the pool is shared by design, and dropped once, when no thread can reach it.
unsafe impl Sync for Hall {}
// SAFETY: as above.
unsafe impl Send for Hall {}

/// One CPU slot's door word, on a cache line of its own.
#[repr(align(64))]
struct Door(AtomicU32);

/// The heap of this process; null while none is open.
static OPEN: AtomicPtr<Hall> = AtomicPtr::new(ptr::null_mut());
static INSTANCES: AtomicU64 = AtomicU64::new(1);

/// What a thread inside has at hand: first what each allocation needs.
pub(crate) struct Seat {
    #[cfg_attr(test, expect(dead_code, reason = "unit tests use the process's allocator"))]
    pub(crate) magazines: Magazines<'static>,
    /// The heap's addresses.
    base: NonNull<u8>,
    bytes: u64,
    /// True where what is freed is zeroed at once.
    #[cfg_attr(test, expect(dead_code, reason = "unit tests use the process's allocator"))]
    pub(crate) zeroes: bool,
    pub(crate) hall: &'static Hall,
    pub(crate) cpu: Cpu<'static>,
    index: u32,
    instance: u64,
    /// True where the slot is the commons.
    shared: bool,
}

impl Seat {
    /// Offset of an address of this heap; `None` for what a collection kept of one that was closed.
    #[inline(always)]
    pub(crate) fn offset_of(&self, block: NonNull<u8>) -> Option<u64> {
        let offset = block.addr().get().wrapping_sub(self.base.addr().get()) as u64;
        if offset < self.bytes { Some(offset) } else { None }
    }

    /// Address of an offset that the pool gave.
    #[inline(always)]
    pub(crate) fn address_of(&self, offset: u64) -> NonNull<u8> {
        // SAFETY: an offset inside the mapping, which does not reach around the end of the address space.
        unsafe { NonNull::new_unchecked(self.base.as_ptr().add(offset as usize)) }
    }
}

thread_local! {
    /// This thread's seat while it is inside, else null.
    static CURRENT: Cell<*const Seat> = const { Cell::new(ptr::null()) };
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static SEAT: SeatHolder = const { SeatHolder(RefCell::new(None)) };
}

/// What came of asking for a CPU slot.
enum Claim {
    Own(Cpu<'static>),
    Full,
    Gone,
}

struct SeatHolder(RefCell<Option<std::boxed::Box<Seat>>>);

impl Drop for SeatHolder {
    fn drop(&mut self) {
        let Some(seat) = self.0.get_mut().take() else { return };
        if is_inside() {
            // A guard outlives this: it lies in another thread-local, or it was leaked and other threads hold what it
            // vouches for. The thread stays inside, with its slot, until it is dropped.
            std::boxed::Box::leak(seat);
            return;
        }
        // The thread ends: its slot's slabs are for others.
        leave_for_good(&seat);
    }
}

/// Proof that this thread is inside the heap. A hand-over waits until it is dropped.
#[must_use = "the thread is inside the heap only while this lives"]
pub struct Inside<'heap> {
    heap: PhantomData<&'heap ()>,
    /// It belongs to the thread that entered.
    thread: PhantomData<*const ()>,
}

impl Inside<'_> {
    /// The same guard, for a transaction, which ends before its heap does.
    pub(crate) fn for_a_transaction<'a>(self) -> Inside<'a> {
        let _same = ManuallyDrop::new(self);
        Inside { heap: PhantomData, thread: PhantomData }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        leave();
    }
}

/// This thread's seat if it is inside.
///
/// # Safety
///
/// The caller drops the reference before the thread leaves the heap.
#[inline(always)]
pub(crate) unsafe fn seat<'a>() -> Option<&'a Seat> {
    let seat = CURRENT.try_with(Cell::get).unwrap_or(ptr::null());
    // SAFETY: non-null only while this thread is inside; its seat and the hall live until it is out.
    unsafe { seat.as_ref() }
}

/// Enters for the duration of `f`; `None` where no heap is open.
#[cfg_attr(test, expect(dead_code, reason = "unit tests use the process's allocator"))]
#[cold]
pub(crate) fn with_seat_for_now<T>(f: impl FnOnce(&Seat) -> T) -> Option<T> {
    if !enter() {
        return None;
    }
    let _inside = Inside { heap: PhantomData, thread: PhantomData };
    // SAFETY: `f` returns before `_inside` is dropped.
    unsafe { seat() }.map(f)
}

/// Lets this thread in; waits while the door is closed. False where no heap is open.
pub(crate) fn enter() -> bool {
    let Ok(depth) = DEPTH.try_with(Cell::get) else { return false };
    if depth > 0 {
        DEPTH.set(depth + 1);
        return true;
    }
    loop {
        let hall = OPEN.load(Acquire);
        // SAFETY: halls are never freed; what a closed one held is not touched by a thread that does not get in.
        let Some(hall) = (unsafe { hall.as_ref() }) else { return false };
        let seated = SEAT.try_with(|holder| {
            let mut holder = holder.0.borrow_mut();
            if holder.as_ref().is_none_or(|seat| seat.instance != hall.instance || seat.shared) {
                *holder = hall.find_seat().map(std::boxed::Box::new);
            } else if !hall.step_in(holder.as_ref().map_or(0, |seat| seat.index)) {
                *holder = None;
            }
            let seat = holder.as_deref();
            if let Some(seat) = seat {
                seat.cpu.inside().store(1, Relaxed);
            }
            CURRENT.set(seat.map_or(ptr::null(), ptr::from_ref));
            seat.is_some()
        });
        match seated {
            Ok(true) => {
                DEPTH.set(1);
                return true;
            }
            // The heap closed for good while we stood at its door: look for another.
            Ok(false) => {}
            Err(_) => return false,
        }
    }
}

/// Lets this thread in through a closed door, for the owner who has not opened it yet. `None` where there is no CPU slot.
pub(super) fn enter_with_key<T>(hall: &'static Hall, f: impl FnOnce(&Inside<'_>) -> T) -> Option<T> {
    /// Dropped last, when the thread is out again.
    struct Key(Seat);
    impl Drop for Key {
        fn drop(&mut self) {
            self.0.hall.pool().release_cpu(self.0.cpu);
        }
    }
    assert!(!is_inside(), "the owner opens its heap from outside");
    let key = Key(hall.seat(hall.pool().claim_cpu()?, false));
    hall.doors[key.0.index as usize].0.store(1, SeqCst);
    key.0.cpu.inside().store(1, Relaxed);
    CURRENT.set(&raw const key.0);
    DEPTH.set(1);
    let inside = Inside { heap: PhantomData, thread: PhantomData };
    let result = f(&inside);
    drop(inside);
    drop(key);
    Some(result)
}

/// A guard over [`enter`], for the heap's owner.
pub(crate) fn enter_guard<'heap>() -> Option<Inside<'heap>> {
    // Made only where the thread got in: one that is dropped takes it out.
    if enter() { Some(Inside { heap: PhantomData, thread: PhantomData }) } else { None }
}

fn leave() {
    let depth = DEPTH.get();
    DEPTH.set(depth.saturating_sub(1));
    if depth != 1 {
        return;
    }
    let seat = CURRENT.replace(ptr::null());
    // SAFETY: this thread was inside until now, so its seat and the hall live.
    if let Some(seat) = unsafe { seat.as_ref() } {
        // Before the door word: behind that, the word in the heap may be the successor's.
        seat.cpu.inside().store(0, Relaxed);
        seat.hall.step_out(seat.index);
        if seat.shared {
            seat.hall.leave_commons();
        }
    }
}

/// True where the process has a heap, be it closed for a hand-over.
pub(super) fn has_heap() -> bool {
    !OPEN.load(Acquire).is_null()
}

/// True where this thread is inside.
pub(crate) fn is_inside() -> bool {
    DEPTH.try_with(Cell::get).unwrap_or(0) > 0
}

fn leave_for_good(seat: &Seat) {
    if seat.shared {
        return;
    }
    let hall = OPEN.load(Acquire);
    // SAFETY: as in `enter`.
    let Some(hall) = (unsafe { hall.as_ref() }) else { return };
    if hall.instance == seat.instance {
        hall.release(seat.cpu);
    }
}

impl Hall {
    /// A hall whose door is closed: threads that look for a heap wait until [`Hall::reopen`].
    ///
    /// `None` where the file system has no room for a CPU slot.
    pub(crate) fn new(pool: Pool<BlockHost>) -> Option<Self> {
        let nr = pool.geometry().max_cpus as usize;
        let commons = pool.claim_cpu()?.index();
        Some(Self {
            pool: UnsafeCell::new(ManuallyDrop::new(pool)),
            instance: INSTANCES.fetch_add(1, Relaxed),
            doors: (0..nr).map(|_| Door(AtomicU32::new(0))).collect(),
            closed: AtomicBool::new(true),
            commons,
            commons_taken: Mutex::new(false),
            commons_free: Condvar::new(),
            asymmetric: sys::register_membarrier(),
            waiting: Mutex::new(()),
            opened: Condvar::new(),
        })
    }

    /// The pool. Only for threads that are inside, and for the owner, who closes the door before it retires the hall.
    #[inline(always)]
    pub(crate) fn pool(&self) -> &Pool<BlockHost> {
        // SAFETY: dropped by `retire` alone, when no such thread is left.
        unsafe { &*self.pool.get() }
    }

    /// Makes this the heap of the process. An error where there is one already.
    pub(crate) fn announce(self: std::boxed::Box<Self>) -> Result<&'static Self, std::boxed::Box<Self>> {
        let hall = std::boxed::Box::into_raw(self);
        match OPEN.compare_exchange(ptr::null_mut(), hall, AcqRel, Acquire) {
            // SAFETY: lives until `close`.
            Ok(_) => Ok(unsafe { &*hall }),
            // SAFETY: just made from a box, and nobody saw it.
            Err(_) => Err(unsafe { std::boxed::Box::from_raw(hall) }),
        }
    }

    /// Takes the heap away from the threads and drops the pool.
    ///
    /// # Safety
    ///
    /// - The door is closed, and is never opened again.
    /// - The caller does not use the pool any more.
    pub(crate) unsafe fn retire(&'static self) {
        OPEN.store(ptr::null_mut(), SeqCst);
        {
            // Threads that wait at the door leave it: they look at OPEN again.
            let _guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.opened.notify_all();
        }
        // SAFETY: with the door closed nobody is inside, and nobody gets in: `step_in` and `claim` look at `closed`
        // before they touch the pool.
        unsafe { ManuallyDrop::drop(&mut *self.pool.get()) };
    }

    /// Numbers this heap among those that the process has opened.
    pub(crate) fn instance(&self) -> u64 {
        self.instance
    }

    /// A seat for this thread, which is inside then; `None` where the heap is gone for good.
    fn find_seat(&'static self) -> Option<Seat> {
        match self.claim() {
            Claim::Gone => return None,
            Claim::Own(cpu) => {
                return Some(self.seat(cpu, false));
            }
            Claim::Full => {}
        }
        let mut taken = self.commons_taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken {
            taken = self.commons_free.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken = true;
        drop(taken);
        if !self.step_in(self.commons) {
            self.leave_commons();
            return None;
        }
        Some(self.seat(self.pool().cpu(self.commons), true))
    }

    fn seat(&'static self, cpu: Cpu<'static>, shared: bool) -> Seat {
        let pool = self.pool();
        Seat {
            magazines: pool.magazines(cpu),
            base: pool.host().base(),
            bytes: pool.host().reserved(),
            zeroes: pool.scrub() == Scrub::OnFree,
            hall: self,
            cpu,
            index: cpu.index(),
            instance: self.instance,
            shared,
        }
    }

    fn leave_commons(&self) {
        *self.commons_taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.commons_free.notify_one();
    }

    /// Claims a CPU slot and steps in with it. Claiming writes to the heap, so it happens with the door held open.
    fn claim(&'static self) -> Claim {
        loop {
            if !self.wait_while_closed() {
                return Claim::Gone;
            }
            let guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if self.closed.load(SeqCst) {
                continue;
            }
            // `close` takes the same lock to close, so the door stays open until the guard is dropped.
            let Some(cpu) = self.pool().claim_cpu() else { return Claim::Full };
            self.doors[cpu.index() as usize].0.store(1, SeqCst);
            drop(guard);
            return Claim::Own(cpu);
        }
    }

    /// Gives a CPU slot back. Like [`Hall::claim`] it holds the door open instead of stepping in: the slot's door word is
    /// the next thread's as soon as the slot is free.
    fn release(&self, cpu: Cpu<'_>) {
        while self.wait_while_closed() {
            let _guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if !self.closed.load(SeqCst) {
                return self.pool().release_cpu(cpu);
            }
        }
    }

    /// Goes through the door; false where the heap is gone for good.
    #[inline]
    fn step_in(&self, index: u32) -> bool {
        let door = &self.doors[index as usize].0;
        loop {
            door.store(1, Relaxed);
            if self.asymmetric {
                compiler_fence(SeqCst)
            } else {
                fence(SeqCst)
            }
            if !self.closed.load(Acquire) {
                return true;
            }
            door.store(0, Release);
            if !self.wait_while_closed() {
                return false;
            }
        }
    }

    #[inline]
    fn step_out(&self, index: u32) {
        self.doors[index as usize].0.store(0, Release);
    }

    /// Waits for the door to open; false where it never will, as the heap is gone.
    fn wait_while_closed(&self) -> bool {
        let mut guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while self.closed.load(SeqCst) {
            if !ptr::eq(OPEN.load(SeqCst), self) {
                return false;
            }
            guard = self
                .opened
                .wait_timeout(guard, Duration::from_millis(20))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    fn everyone_sees(&self) {
        if self.asymmetric { sys::membarrier() } else { fence(SeqCst) }
    }

    /// Closes the door and waits until everyone is out.
    ///
    /// # Errors
    ///
    /// After `timeout`, how many threads are inside still: the door is open again.
    pub(crate) fn close(&self, timeout: Duration) -> Result<(), usize> {
        {
            let _guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.closed.store(true, SeqCst);
        }
        self.everyone_sees();
        // None is further off than the clock reaches.
        let deadline = Instant::now().checked_add(timeout);
        let mut spins = 0u32;
        for door in &self.doors {
            while door.0.load(Acquire) != 0 {
                spins += 1;
                if spins < 1000 {
                    std::hint::spin_loop();
                    continue;
                }
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    let inside = self.doors.iter().filter(|door| door.0.load(Relaxed) != 0).count();
                    self.reopen();
                    return Err(inside.max(1));
                }
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        Ok(())
    }

    /// Runs `work` with the right to allocate and free, while the door is closed to all others: by the owner, who has closed it.
    ///
    /// # Panics
    ///
    /// Where this thread is inside already.
    pub(crate) fn while_closed<T>(&'static self, work: impl FnOnce() -> T) -> T {
        struct Out;
        impl Drop for Out {
            fn drop(&mut self) {
                CURRENT.set(ptr::null());
                DEPTH.set(0);
            }
        }
        assert!(!is_inside(), "the owner works behind the closed door, and is outside of it");
        // Nobody has the commons: with the door closed nobody is inside.
        let seat = std::boxed::Box::new(self.seat(self.pool().cpu(self.commons), true));
        CURRENT.set(&raw const *seat);
        DEPTH.set(1);
        let _out = Out;
        work()
    }

    /// Opens the door again.
    pub(crate) fn reopen(&self) {
        let _guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.closed.store(false, SeqCst);
        self.opened.notify_all();
    }
}
