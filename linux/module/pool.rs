// SPDX-License-Identifier: GPL-2.0

//! The pool of this kernel: who may touch it when, and what an allocation or a free does.
//!
//! ```text
//!  open ----pause (check, unpublish)----> paused ----> open      callers that may sleep wait; frees are put off, and done then
//!   |
//!   +------freeze (a kexec begins)------> frozen ----> open      only by `thaw`; nothing is allocated, nothing freed
//! ```
//!
//! Every use of a CPU slot is a stretch with interrupts off ([`OnCpu`]), so the slot is the CPU's alone. Whoever closes the door
//! waits until all such stretches have ended, and then has the pool to itself.
//!
//! # Invariants
//!
//! - *counted*: `live` of all slots together is the number of objects in hands.
//! - *pinned*: while an object lives the module cannot be unloaded.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};

use heirloom_slab::{Contents, Found, Host, Pool};
use kernel::prelude::*;

use crate::host::{Kho, BLOCK_BYTES};
use crate::linux::{self, Locked, OnCpu};

/// The most CPU slots that a control area of 4 MiB, the largest piece that Linux gives, has room for.
pub(crate) const MAX_SLOTS: usize = 12;

/// The largest object: a block without its header.
pub(crate) const MAX_BYTES: usize = 240 * 1024;

/// Alignment of every object.
const ALIGN: usize = 16;

const OPEN: u32 = 0;
const PAUSED: u32 = 1;
const FROZEN: u32 = 2;

/// One line of memory for each slot, so that CPUs do not wait for each other.
#[repr(align(64))]
struct Slot {
    /// Objects allocated less objects freed here.
    live: AtomicI64,
    /// Taken where CPUs share slots.
    lock: AtomicBool,
}

/// The pool, and what is known of it in this kernel alone.
pub(crate) struct Heirloom {
    pub(crate) pool: Pool<Kho>,
    /// Physical address and bytes of the names and the control area behind them.
    pub(crate) blob: (u64, u64),
    /// The generation: 1 for the kernel that made the pool.
    pub(crate) generation: u32,
    /// Objects and blocks that were inherited.
    pub(crate) inherited: (u64, u64),
    nr_slots: u32,
    is_shared: bool,
    slots: [Slot; MAX_SLOTS],
    door: AtomicU32,
    /// First of the objects whose free was put off, as offset.
    put_off: AtomicU64,
    is_pinned: AtomicBool,
    is_work_due: AtomicBool,
    /// Whether a free looks for the slot in the CPU's magazine too.
    pub(crate) is_careful: AtomicBool,
}

static CURRENT: AtomicPtr<Heirloom> = AtomicPtr::new(core::ptr::null_mut());

/// The pool, once there is one.
pub(crate) fn current() -> Option<&'static Heirloom> {
    // SAFETY: what is stored there was leaked by `install`, and is freed by `take_down` alone, when nobody can call us any more.
    unsafe { CURRENT.load(Acquire).as_ref() }
}

/// Makes a pool the current one.
pub(crate) fn install(heirloom: KBox<Heirloom>) {
    CURRENT.store(KBox::into_raw(heirloom), Release);
}

/// The module ends: takes the pool off. The caller knows that nobody uses it.
pub(crate) fn take_off() -> Option<KBox<Heirloom>> {
    let raw = CURRENT.swap(core::ptr::null_mut(), AcqRel);
    // SAFETY: it came from `KBox::into_raw`, and is nobody's any more.
    (!raw.is_null()).then(|| unsafe { KBox::from_raw(raw) })
}

/// The pool's lock of a shared slot.
struct Shared<'a>(Option<&'a AtomicBool>);

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        if let Some(lock) = self.0 {
            lock.store(false, Release);
        }
    }
}

impl Heirloom {
    pub(crate) fn new(pool: Pool<Kho>, blob: (u64, u64)) -> Self {
        let nr_cpus = linux::nr_cpus();
        let nr_slots = nr_cpus.min(pool.geometry().max_cpus).min(MAX_SLOTS as u32);
        Self {
            pool,
            blob,
            generation: 1,
            inherited: (0, 0),
            nr_slots,
            is_shared: nr_slots < nr_cpus,
            slots: core::array::from_fn(|_| Slot { live: AtomicI64::new(0), lock: AtomicBool::new(false) }),
            door: AtomicU32::new(OPEN),
            put_off: AtomicU64::new(0),
            is_pinned: AtomicBool::new(false),
            is_work_due: AtomicBool::new(false),
            is_careful: AtomicBool::new(false),
        }
    }

    /// Claims a CPU slot for each CPU, as far as there are any. Before the pool is used.
    pub(crate) fn claim_slots(&mut self, nr_live: u64) -> bool {
        for expected in 0..self.nr_slots {
            // Nobody else claims, so the slots come in order.
            if self.pool.claim_cpu().map(|cpu| cpu.index()) != Some(expected) {
                return false;
            }
        }
        self.slots[0].live.store(nr_live as i64, Relaxed);
        if nr_live > 0 {
            self.pin();
        }
        true
    }

    /// CPU slots in use, and whether CPUs share them.
    pub(crate) fn slots(&self) -> (u32, bool) {
        (self.nr_slots, self.is_shared)
    }

    /// Objects in hands.
    pub(crate) fn nr_live(&self) -> i64 {
        self.slots.iter().map(|slot| slot.live.load(Relaxed)).sum()
    }

    /// Whether the pool is frozen.
    pub(crate) fn is_frozen(&self) -> bool {
        self.door.load(Relaxed) == FROZEN
    }

    /// Allocates; null where that fails.
    pub(crate) fn alloc(&self, size: usize, gfp: u32) -> *mut u8 {
        if size == 0 || size > MAX_BYTES {
            return core::ptr::null_mut();
        }
        let mut may_grow = false;
        // A block fetched for us may be taken by somebody else: then it is fetched again, a few times.
        for _ in 0..8 {
            match self.try_alloc(size, may_grow) {
                Ok(offset) => {
                    if !self.is_pinned.load(Relaxed) {
                        self.pin();
                    }
                    if self.pool.host().wants_work() {
                        self.ask_for_work();
                    }
                    return self.pool.address(offset);
                }
                Err(FROZEN) => break,
                Err(OPEN) if !may_grow => {
                    // Who may not sleep cannot wait for other CPUs either.
                    if linux::may_sleep(gfp) {
                        self.have_handed_in(size);
                    }
                    may_grow = true;
                }
                Err(_) if !linux::may_sleep(gfp) => break,
                Err(PAUSED) => drop(Locked::take()),
                Err(_) => {
                    if !self.pool.host().fill(1) {
                        break;
                    }
                }
            }
        }
        self.ask_for_work();
        core::ptr::null_mut()
    }

    /// Allocates from what the pool has; for a slot of a cache it takes a block only if it `may_grow`. Where that fails, says how the door
    /// stands.
    fn try_alloc(&self, size: usize, may_grow: bool) -> Result<u64, u32> {
        let on_cpu = OnCpu::enter();
        let door = self.door.load(Acquire);
        if door != OPEN {
            return Err(door);
        }
        let (slot, _shared) = self.slot(&on_cpu);
        let cpu = self.pool.cpu(slot);
        let offset = match self.pool.cache_for(size, ALIGN) {
            Some(cache) if may_grow => self.pool.alloc(cpu, cache),
            Some(cache) => self.pool.alloc_within(cpu, cache),
            None => self.pool.alloc_large(size as u64, Contents::Zeroed),
        };
        let offset = offset.map_err(|_| OPEN)?;
        let live = &self.slots[slot as usize].live;
        live.store(live.load(Relaxed) + 1, Relaxed);
        Ok(offset)
    }

    /// Before the pool grows: what CPUs hold back of the cache for such objects goes to its slabs.
    fn have_handed_in(&self, size: usize) {
        if let Some(cache) = self.pool.cache_for(size, ALIGN).filter(|&cache| self.pool.are_held_back(cache))
        {
            linux::interrupt_all(cache);
        }
    }

    /// On each CPU, for [`Heirloom::have_handed_in`].
    pub(crate) fn hand_in(&self, cache: usize) {
        let on_cpu = OnCpu::enter();
        if self.door.load(Acquire) == OPEN {
            let (slot, _shared) = self.slot(&on_cpu);
            self.pool.hand_in(self.pool.cpu(slot), cache);
        }
    }

    /// The slot of the CPU that we are on.
    fn slot(&self, on_cpu: &OnCpu) -> (u32, Shared<'_>) {
        let slot = on_cpu.cpu % self.nr_slots;
        if !self.is_shared {
            return (slot, Shared(None));
        }
        let lock = &self.slots[slot as usize].lock;
        while lock.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
            core::hint::spin_loop();
        }
        (slot, Shared(Some(lock)))
    }

    /// Gives an object back; what is none is reported.
    pub(crate) fn free(&self, object: *mut u8) {
        let on_cpu = OnCpu::enter();
        let Some(found) = self.find(object) else {
            pr_err!("free of {:#x}, where no object of the pool starts\n", linux::phys(object));
            return;
        };
        match self.door.load(Acquire) {
            OPEN => self.free_found(&on_cpu, &found),
            PAUSED => self.put_off(found.start),
            _ => pr_err!("free of {:#x} while the pool is frozen: the object is handed over\n", found.start),
        }
        drop(on_cpu);
        self.ask_for_work();
    }

    fn free_found(&self, on_cpu: &OnCpu, found: &Found) {
        let (slot, _shared) = self.slot(on_cpu);
        let cpu = self.pool.cpu(slot);
        match found.cache {
            Some(cache) => {
                if self.is_careful.load(Relaxed) && self.pool.is_listed_free(cpu, found) {
                    return self.pool.host().report(heirloom_slab::Fault::DoubleFree(found.start));
                }
                // SAFETY: a slot starts there; whether the caller is its owner is what `heirloom_free` asks of the caller. The
                // CPU is ours while interrupts are off, and all bytes of the slot are zeroed.
                unsafe { self.pool.free(cpu, cache, found.start, found.bytes as usize) }
            }
            // SAFETY: as above.
            None => unsafe { self.pool.free_large(found.start) },
        }
        let live = &self.slots[slot as usize].live;
        live.store(live.load(Relaxed) - 1, Relaxed);
    }

    /// The object that starts at an address.
    pub(crate) fn find(&self, object: *const u8) -> Option<Found> {
        let offset = linux::phys(object);
        let block = offset & !(BLOCK_BYTES - 1);
        // Block 0 is the firmware's, and what an empty entry of the table names.
        if block == 0 || !linux::is_plain(object) || !linux::is_plain(linux::address(block)) {
            return None;
        }
        self.pool.find(offset).filter(|found| found.start == offset)
    }

    /// The object of a handle.
    pub(crate) fn object(&self, handle: u64) -> Option<NonNull<u8>> {
        let object = linux::address(handle);
        self.find(object)?;
        NonNull::new(object)
    }

    /// Keeps an object that was freed behind a closed door in a list through its own first word.
    fn put_off(&self, start: u64) {
        // SAFETY: the object was given back, and is nobody's until the door opens.
        let link: &AtomicU64 = unsafe { &*self.pool.address(start).cast() };
        let mut first = self.put_off.load(Relaxed);
        loop {
            link.store(first, Relaxed);
            match self.put_off.compare_exchange_weak(first, start, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    /// Runs `work` while nobody else uses the pool, and opens the door again. The caller holds the lock.
    pub(crate) fn paused<T>(&self, _locked: &Locked, work: impl FnOnce(&Pool<Kho>) -> T) -> T {
        let was = self.door.swap(if self.is_frozen() { FROZEN } else { PAUSED }, AcqRel);
        linux::wait_for_all();
        if was == OPEN {
            self.pool.settle_all();
        }
        let done = work(&self.pool);
        if was == OPEN {
            self.open();
        }
        done
    }

    /// A kexec begins: everything into the bitmaps, a checksum over each record, no block that no table names.
    pub(crate) fn freeze(&self) {
        let _locked = Locked::take();
        if self.door.swap(FROZEN, AcqRel) == FROZEN {
            return;
        }
        linux::wait_for_all();
        self.pool.freeze(true);
        self.pool.host().spill(0);
    }

    /// The kexec was called off.
    pub(crate) fn thaw(&self) -> bool {
        let _locked = Locked::take();
        if !self.is_frozen() {
            return false;
        }
        self.pool.thaw();
        self.pool.host().level();
        self.open();
        true
    }

    fn open(&self) {
        self.door.store(OPEN, Release);
        let mut at = self.put_off.swap(0, AcqRel);
        while at != 0 {
            let object = self.pool.address(at);
            // SAFETY: it was put off, so its first word is the link.
            at = unsafe { &*object.cast::<AtomicU64>() }.load(Relaxed);
            self.free(object);
        }
    }

    /// The module ends, and no object lives: gives every block back. False where one is left.
    pub(crate) fn take_down(&self) -> bool {
        self.freeze();
        self.pool.check(false, |_| ()).blocks == 0
    }

    fn pin(&self) {
        if !self.is_pinned.swap(true, SeqCst) {
            linux::pin();
        }
    }

    fn ask_for_work(&self) {
        if !self.is_work_due.load(Relaxed) && !self.is_work_due.swap(true, Relaxed) {
            linux::work_later();
        }
    }

    /// What is done a moment after allocations and frees, where sleeping is allowed.
    pub(crate) fn work(&self) {
        self.is_work_due.store(false, Relaxed);
        if self.is_frozen() {
            return;
        }
        if self.nr_live() == 0 {
            let _locked = Locked::take();
            if !self.is_frozen() {
                let _on_cpu = OnCpu::enter();
                self.pool.trim();
            }
        }
        let frozen = {
            let _locked = Locked::take();
            let frozen = self.is_frozen();
            if !frozen {
                self.pool.host().level();
            }
            frozen
        };
        if frozen || !self.is_pinned.load(Relaxed) || self.nr_live() != 0 {
            return;
        }
        // An allocation that does not see this pins anew; one that did not see it has ended when the wait is over.
        self.is_pinned.store(false, SeqCst);
        linux::wait_for_all();
        if self.nr_live() != 0 && !self.is_pinned.swap(true, SeqCst) {
            return;
        }
        linux::unpin();
    }
}
