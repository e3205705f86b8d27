//! The hardware: memory, its map, what was placed for the successor.
#![expect(unsafe_code, reason = "a mapping plays physical memory")]

use core::fmt;
use core::ops::Range;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::*};
use std::boxed::Box;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::vec::Vec;

use super::fault;
use crate::boot_info::{BootInfo, MemoryRange, Options};
use crate::kfence::GuardPool;
use crate::phys::PAGE_BYTES;
use crate::platform::{Handover, Platform};

const MIB: u64 = 1 << 20;

/// Bytes of the image that a hosted successor is: a pattern that it finds whole, or does not boot.
const IMAGE_BYTES: u64 = 256 << 10;

/// A small machine: 48 MiB below 4 GiB in two ranges, 32 MiB above, two nodes.
pub fn small_map() -> Vec<MemoryRange> {
    const GIB4: u64 = 1 << 32;
    std::vec![
        MemoryRange { range: MIB..33 * MIB, node: 0 },
        MemoryRange { range: 40 * MIB..56 * MIB, node: 0 },
        MemoryRange { range: GIB4..GIB4 + 32 * MIB, node: 1 },
    ]
}

/// A hosted machine's hardware.
pub struct Hardware {
    /// Boxed, for the fault handler knows its address.
    bus: Box<Bus>,
    memory: Vec<MemoryRange>,
    state: Mutex<State>,
    started: Instant,
    is_talkative: AtomicBool,
}

/// What the fault handler reaches: memory and its guard pool.
pub(super) struct Bus {
    base: NonNull<u8>,
    bytes: usize,
    /// The guard pool that faults go to.
    guard: AtomicPtr<()>,
    /// One bit for each page that was closed since all were opened: it may be so still.
    closed: Vec<AtomicU64>,
}

// SAFETY: the mapping is the hardware's own; the rest are atomics.
unsafe impl Send for Bus {}
// SAFETY: as above.
unsafe impl Sync for Bus {}

struct State {
    /// Where the running generation's image stands.
    image: Range<u64>,
    /// Where the successor's was placed.
    placed: Option<Range<u64>>,
    handover: Option<Handover>,
}

/// What one boot is booted with.
#[derive(Clone, Debug)]
pub struct Power {
    memory: Vec<MemoryRange>,
    reserved: Vec<Range<u64>>,
    handover: Option<Handover>,
}

impl Power {
    /// The boot information.
    pub fn info(&self, options: Options) -> BootInfo<'_> {
        BootInfo { memory: &self.memory, reserved: &self.reserved, handover: self.handover, options }
    }

    /// What the predecessor passed on.
    pub fn handover(&self) -> Option<Handover> {
        self.handover
    }
}

impl Hardware {
    /// Maps memory for these ranges, which are page aligned; the rest, up to the highest, is a hole. Its first image stands at the
    /// start of the first range.
    ///
    /// # Errors
    ///
    /// The system refuses the mapping or the fault handler.
    pub fn new(memory: Vec<MemoryRange>) -> io::Result<Self> {
        let end = memory.iter().map(|range| range.range.end).max().unwrap_or(0).max(PAGE_BYTES);
        let bus = Box::new(Bus::new(end as usize)?);
        for MemoryRange { range, .. } in &memory {
            bus.protect(range.start, range.end - range.start, libc::PROT_READ | libc::PROT_WRITE)?;
        }
        let start = memory.first().map_or(0, |range| range.range.start);
        let image = start..start + IMAGE_BYTES;
        let state = State { image: image.clone(), placed: None, handover: None };
        let new = Self {
            bus,
            memory,
            state: Mutex::new(state),
            started: Instant::now(),
            is_talkative: AtomicBool::new(false),
        };
        new.write_image(&image);
        // SAFETY: the bus lies in a box that is the hardware's until it is dropped, which forgets it first.
        unsafe { fault::register(new.bus.address()) }?;
        Ok(new)
    }

    /// Has the console shown on standard error.
    pub fn set_talkative(&self, on: bool) {
        self.is_talkative.store(on, Relaxed);
    }

    /// What the next boot is booted with: cold at first, the handover after a jump.
    ///
    /// Guard pages of an earlier boot are open again, as page tables are new.
    pub fn power(&self) -> Power {
        let state = self.state();
        self.bus.guard.store(null_mut(), Release);
        self.bus.open_all();
        Power {
            memory: self.memory.clone(),
            reserved: std::vec![state.image.clone()],
            handover: state.handover,
        }
    }

    /// Forgets the handover: the next boot is cold, over the same bytes.
    pub fn cut_power(&self) {
        self.state().handover = None;
    }

    /// True if the running generation's image is whole.
    pub fn is_image_whole(&self) -> bool {
        let image = self.state().image.clone();
        (image.start..image.end).step_by(8).all(|at| self.load(at) == image_word(at - image.start))
    }

    /// The word at a physical address of memory, for tests that look from outside.
    ///
    /// # Panics
    ///
    /// Where the address is no aligned word of memory.
    pub fn load(&self, phys: u64) -> u64 {
        // SAFETY: `word` found it to be memory; bytes that a machine changes meanwhile are read as they are.
        unsafe { self.word(phys).read_volatile() }
    }

    /// Writes the word at a physical address of memory, as damage does.
    ///
    /// # Panics
    ///
    /// Where the address is no aligned word of memory.
    pub fn store(&self, phys: u64, value: u64) {
        // SAFETY: as for `load`.
        unsafe { self.word(phys).write_volatile(value) }
    }

    fn word(&self, phys: u64) -> *mut u64 {
        let inside = |range: &MemoryRange| range.range.start <= phys && phys + 8 <= range.range.end;
        assert!(phys % 8 == 0 && self.memory.iter().any(inside), "{phys:#x} is no word of memory");
        self.bus.base.as_ptr().wrapping_add(phys as usize).cast()
    }

    fn write_image(&self, image: &Range<u64>) {
        for at in (image.start..image.end).step_by(8) {
            self.store(at, image_word(at - image.start));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The word of an image at an offset.
fn image_word(at: u64) -> u64 {
    (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Drop for Hardware {
    fn drop(&mut self) {
        fault::forget(self.bus.address());
    }
}

impl Bus {
    fn new(bytes: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping that overlaps nothing.
        let base = unsafe { libc::mmap(null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let nr_words = (bytes as u64 / PAGE_BYTES).div_ceil(64);
        let closed = (0..nr_words).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { base, bytes, guard: AtomicPtr::new(null_mut()), closed })
    }

    fn address(&self) -> *mut Self {
        core::ptr::from_ref(self).cast_mut()
    }

    fn protect(&self, phys: u64, bytes: u64, access: core::ffi::c_int) -> io::Result<()> {
        let at = self.base.as_ptr().wrapping_add(phys as usize);
        // SAFETY: a part of our own mapping; whoever uses it then faults, which is what is wanted.
        let result = unsafe { libc::mprotect(at.cast(), bytes as usize, access) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Closes a page. A system that refuses leaves it open: then a slip is not seen, and nothing is harmed.
    fn close(&self, page: u64) {
        let number = page / PAGE_BYTES;
        let Some(word) = self.closed.get((number / 64) as usize) else { return };
        word.fetch_or(1 << (number % 64), AcqRel);
        let _ = self.protect(page, PAGE_BYTES, libc::PROT_NONE);
    }

    /// Opens a page, whatever the bits say: a fault handler may run between the two steps of `close` on another thread, and a
    /// fault that is answered without opening its page comes again for ever. So the bit stays, too.
    fn open(&self, page: u64) {
        let _ = self.protect(page, PAGE_BYTES, libc::PROT_READ | libc::PROT_WRITE);
    }

    fn open_all(&self) {
        for (at, word) in self.closed.iter().enumerate() {
            let mut bits = word.swap(0, AcqRel);
            while bits != 0 {
                let bit = u64::from(bits.trailing_zeros());
                bits &= bits - 1;
                self.open((at as u64 * 64 + bit) * PAGE_BYTES);
            }
        }
    }

    /// A fault: whether it was the guard pool's. Called from the signal handler.
    pub(super) fn on_fault(&self, address: usize, is_write: bool) -> bool {
        let inside = address.wrapping_sub(self.base.as_ptr().addr()) < self.bytes;
        let Some(guard) = NonNull::new(self.guard.load(Acquire)).filter(|_| inside) else { return false };
        // SAFETY: the pointer is stored by `watch`, and taken out before its machine jumps.
        let guard = unsafe { GuardPool::from_raw(guard) };
        // SAFETY: as above.
        unsafe { guard.on_fault(&FaultView(self), address, is_write) }.is_some()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody uses any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

// SAFETY: the mapping is readable and writable in all ranges of the boot information, starts at no null pointer and stays until the
// hardware is dropped; nobody else uses it but the image's bytes, which are reserved. Guard pages keep their bytes under mprotect.
unsafe impl Platform for Hardware {
    fn direct_map(&self) -> NonNull<u8> {
        self.bus.base
    }

    fn guard(&self, page: u64) {
        self.bus.close(page);
    }

    fn unguard(&self, page: u64) {
        self.bus.open(page);
    }

    fn watch(&self, guard: Option<GuardPool>) {
        let raw = guard.map_or(null_mut(), |guard| guard.into_raw().as_ptr());
        self.bus.guard.store(raw, Release);
    }

    fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn caller(&self) -> u64 {
        // SAFETY: asks for a number.
        unsafe { libc::gettid() as u64 }
    }

    fn print(&self, text: fmt::Arguments<'_>) {
        if self.is_talkative.load(Relaxed) {
            std::eprint!("{text}");
        }
    }

    fn pause(&self) {
        std::thread::yield_now();
    }

    fn load_successor(&self, room: &mut dyn FnMut(u64, u64) -> Option<u64>) -> Option<u64> {
        let start = room(IMAGE_BYTES, PAGE_BYTES)?;
        let placed = start..start + IMAGE_BYTES;
        self.write_image(&placed);
        self.state().placed = Some(placed);
        Some(start)
    }

    fn jump(&self, _entry: u64, handover: Handover) {
        let mut state = self.state();
        state.handover = Some(handover);
        if let Some(placed) = state.placed.take() {
            state.image = placed;
        }
    }
}

/// The hardware as a signal handler may see it: it opens pages, and nothing else.
struct FaultView<'b>(&'b Bus);

// SAFETY: the same memory as the hardware's.
unsafe impl Platform for FaultView<'_> {
    fn direct_map(&self) -> NonNull<u8> {
        self.0.base
    }

    fn guard(&self, page: u64) {
        self.0.close(page);
    }

    fn unguard(&self, page: u64) {
        self.0.open(page);
    }

    fn watch(&self, _guard: Option<GuardPool>) {}

    fn now_ns(&self) -> u64 {
        0
    }

    fn caller(&self) -> u64 {
        0
    }

    fn print(&self, _text: fmt::Arguments<'_>) {}

    fn jump(&self, _entry: u64, _handover: Handover) {}
}
