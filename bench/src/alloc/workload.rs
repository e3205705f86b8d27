//! The workloads, each generic over the allocator, so that what can be inlined is.
//!
//! ```text
//! pair             alloc, free, alloc, free ..
//! batch            1,000 allocs, then 1,000 frees in the same order    batch-shuffled   .. in a random order
//! replace          a working set of 100,000: a random object goes, a new one takes its place
//! cross            one thread allocates, another frees; a ring of pointers between them
//! grow             16 objects double in turn, five times: none can count on the room behind it
//! zeroed           as pair, with memory that must be zero
//! ```
//!
//! Each operation writes the first word of what it got. Threads are bound to a CPU each, and begin together.
#![expect(unsafe_code, reason = "touches what allocators hand out")]

use std::fmt;
use std::str::FromStr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::contestant::Contestant;
use super::sizes::{Drawn, Known, Random, Size, Sizes};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    Pair,
    Batch,
    BatchShuffled,
    Replace,
    Cross,
    Grow,
    Zeroed,
}

/// All of them.
pub(crate) const ALL: [Workload; 7] = [
    Workload::Pair,
    Workload::Batch,
    Workload::BatchShuffled,
    Workload::Replace,
    Workload::Cross,
    Workload::Grow,
    Workload::Zeroed,
];

/// Objects of a batch.
const BATCH: usize = 1000;

/// Objects of a working set, and the most memory that one may take.
const WORKING_SET: usize = 100_000;
const WORKING_SET_BYTES: usize = 512 << 20;

/// Objects of `grow` that double in turn, and how often.
const GROWING: usize = 16;
const DOUBLINGS: usize = 5;

/// Places of the ring of `cross`, and how many are passed on at once.
const RING: usize = 4096;
const PASSED_ON: usize = 64;

impl Workload {
    /// Whether it can run on so many threads.
    pub(crate) fn takes(self, threads: usize) -> bool {
        self != Self::Cross || threads == 2
    }

    /// Runs about `ops` operations on each thread, and returns how many they were and the wall time of one in nanoseconds.
    ///
    /// The compiler knows the usual sizes, as it knows that of a type; a mix and other sizes come up at run time.
    pub(super) fn run<C: Contestant>(self, size: Size, threads: usize, ops: usize) -> (usize, f64) {
        match size {
            Size::Fixed(16) => self.run_sized::<C, _>(&Known::<16>, threads, ops),
            Size::Fixed(64) => self.run_sized::<C, _>(&Known::<64>, threads, ops),
            Size::Fixed(256) => self.run_sized::<C, _>(&Known::<256>, threads, ops),
            Size::Fixed(1024) => self.run_sized::<C, _>(&Known::<1024>, threads, ops),
            Size::Fixed(4096) => self.run_sized::<C, _>(&Known::<4096>, threads, ops),
            Size::Fixed(65536) => self.run_sized::<C, _>(&Known::<65536>, threads, ops),
            size => self.run_sized::<C, _>(&Drawn::new(size), threads, ops),
        }
    }

    fn run_sized<C: Contestant, S: Sizes>(self, sizes: &S, threads: usize, ops: usize) -> (usize, f64) {
        if self == Self::Cross {
            return cross::<C, S>(sizes, ops);
        }
        let barrier = Barrier::new(threads);
        let run_one = |thread: usize| {
            bind(thread);
            let _guard = C::begin_thread();
            let mut work = Work::<C, S>::new(self, sizes, threads, thread);
            barrier.wait();
            let start = Instant::now();
            let done = work.run(ops);
            let elapsed = start.elapsed();
            // Nobody goes on to give its working set back while another is measured still.
            barrier.wait();
            (done, elapsed.as_nanos() as f64)
        };
        let run_one = &run_one;
        let results: Vec<(usize, f64)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|i| scope.spawn(move || run_one(i))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a measuring thread panicked")).collect()
        });
        let done = results[0].0;
        let slowest = results.iter().map(|&(_, ns)| ns).fold(0.0, f64::max);
        (done, slowest / done as f64)
    }
}

/// Binds the calling thread to a CPU, where there is one of this number.
fn bind(thread: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(thread);
    // Not allowed, or not there: it runs where it may.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// Writes the first word of a new object, so that it is an object and not only an address.
#[inline(always)]
fn touch(block: *mut u8, value: usize) {
    // SAFETY: allocators here hand out at least 8 bytes, aligned to 8; a volatile store is one that happens.
    unsafe { block.cast::<usize>().write_volatile(value) }
}

/// One thread's part.
struct Work<'a, C: Contestant, S> {
    workload: Workload,
    sizes: &'a S,
    /// Objects that live now, and their sizes.
    set: Vec<(*mut u8, u32)>,
    order: Vec<u32>,
    random: Random,
    contestant: std::marker::PhantomData<C>,
}

impl<'a, C: Contestant, S: Sizes> Work<'a, C, S> {
    fn new(workload: Workload, sizes: &'a S, threads: usize, thread: usize) -> Self {
        let mut random = Random(0x9e37_79b9 + thread as u64);
        let mut order: Vec<u32> = (0..BATCH as u32).collect();
        for i in (1..BATCH).rev() {
            order.swap(i, (random.next() % (i as u64 + 1)) as usize);
        }
        let mut set = Vec::new();
        match workload {
            Workload::Replace => {
                let nr = WORKING_SET.min(WORKING_SET_BYTES / sizes.average()) / threads;
                set.reserve_exact(nr);
                for i in 0..nr {
                    let size = sizes.at(i);
                    let block = C::alloc(size);
                    touch(block, i);
                    set.push((block, size as u32));
                }
            }
            Workload::Batch | Workload::BatchShuffled | Workload::Grow => set.reserve_exact(BATCH),
            _ => {}
        }
        Self { workload, sizes, set, order, random, contestant: std::marker::PhantomData }
    }

    fn run(&mut self, ops: usize) -> usize {
        match self.workload {
            Workload::Pair => self.pair(ops),
            Workload::Zeroed => self.zeroed(ops),
            Workload::Batch | Workload::BatchShuffled => self.batch(ops),
            Workload::Replace => self.replace(ops),
            Workload::Grow => self.grow(ops),
            Workload::Cross => unreachable!("has threads of its own"),
        }
    }

    #[inline(never)]
    fn pair(&mut self, ops: usize) -> usize {
        for i in 0..ops {
            let size = self.sizes.at(i);
            let block = C::alloc(size);
            touch(block, i);
            // SAFETY: allocated above.
            unsafe { C::free(block, size) };
        }
        ops
    }

    #[inline(never)]
    fn zeroed(&mut self, ops: usize) -> usize {
        for i in 0..ops {
            let size = self.sizes.at(i);
            let block = C::alloc_zeroed(size);
            touch(block, i);
            // SAFETY: allocated above.
            unsafe { C::free(block, size) };
        }
        ops
    }

    #[inline(never)]
    fn batch(&mut self, ops: usize) -> usize {
        let rounds = ops.div_ceil(BATCH);
        for _ in 0..rounds {
            for i in 0..BATCH {
                let size = self.sizes.at(i);
                let block = C::alloc(size);
                touch(block, i);
                self.set.push((block, size as u32));
            }
            if self.workload == Workload::Batch {
                for &(block, size) in &self.set {
                    // SAFETY: allocated above, and freed once.
                    unsafe { C::free(block, size as usize) };
                }
            } else {
                for &i in &self.order {
                    let (block, size) = self.set[i as usize];
                    // SAFETY: allocated above, and freed once, as the order names each once.
                    unsafe { C::free(block, size as usize) };
                }
            }
            self.set.clear();
        }
        rounds * BATCH
    }

    #[inline(never)]
    fn replace(&mut self, ops: usize) -> usize {
        for i in 0..ops {
            let at = ((u128::from(self.random.next()) * self.set.len() as u128) >> 64) as usize;
            let size = self.sizes.at(i);
            let (old, old_size) = self.set[at];
            // SAFETY: the set holds each object once.
            unsafe { C::free(old, old_size as usize) };
            let block = C::alloc(size);
            touch(block, i);
            self.set[at] = (block, size as u32);
        }
        ops
    }

    #[inline(never)]
    fn grow(&mut self, ops: usize) -> usize {
        let rounds = ops.div_ceil(DOUBLINGS * GROWING);
        for i in 0..rounds {
            for n in 0..GROWING {
                let size = self.sizes.at(i * GROWING + n);
                let block = C::alloc(size);
                touch(block, i);
                self.set.push((block, size as u32));
            }
            for _ in 0..DOUBLINGS {
                for (block, size) in &mut self.set {
                    let old = *size as usize;
                    // SAFETY: allocated above, or moved here.
                    *block = unsafe { C::realloc(*block, old, old * 2) };
                    // SAFETY: the second half is the object's; it is 8 aligned where sizes are multiples of 8.
                    touch(unsafe { block.add(old & !7) }, i);
                    *size *= 2;
                }
            }
            for (block, size) in self.set.drain(..) {
                // SAFETY: moved here last.
                unsafe { C::free(block, size as usize) };
            }
        }
        rounds * DOUBLINGS * GROWING
    }
}

impl<C: Contestant, S> Drop for Work<'_, C, S> {
    fn drop(&mut self) {
        for (block, size) in self.set.drain(..) {
            // SAFETY: what is left in the set was allocated and not freed.
            unsafe { C::free(block, size as usize) };
        }
    }
}

/// One thread allocates, the other frees.
fn cross<C: Contestant, S: Sizes>(sizes: &S, ops: usize) -> (usize, f64) {
    let ops = ops.next_multiple_of(PASSED_ON);
    let ring: Vec<AtomicUsize> = (0..RING).map(|_| AtomicUsize::new(0)).collect();
    let (made, taken) = (Line::default(), Line::default());
    let barrier = Barrier::new(2);
    let (ring, made, taken, barrier) = (&ring, &made, &taken, &barrier);
    let elapsed = std::thread::scope(|scope| {
        scope.spawn(move || {
            bind(0);
            let _guard = C::begin_thread();
            barrier.wait();
            let mut seen = 0;
            for i in 0..ops {
                if i % PASSED_ON == 0 {
                    made.0.store(i, Ordering::Release);
                    while i + PASSED_ON - seen > RING {
                        seen = taken.0.load(Ordering::Acquire);
                        std::hint::spin_loop();
                    }
                }
                let block = C::alloc(sizes.at(i));
                touch(block, i);
                ring[i % RING].store(block.expose_provenance(), Ordering::Relaxed);
            }
            made.0.store(ops, Ordering::Release);
        });
        let consumer = scope.spawn(move || {
            bind(1);
            let _guard = C::begin_thread();
            barrier.wait();
            let start = Instant::now();
            let mut seen = 0;
            for i in 0..ops {
                while i == seen {
                    seen = made.0.load(Ordering::Acquire);
                    std::hint::spin_loop();
                }
                let block = std::ptr::with_exposed_provenance_mut(ring[i % RING].load(Ordering::Relaxed));
                // SAFETY: the producer allocated it for this size, and it is taken from the ring once.
                unsafe { C::free(block, sizes.at(i)) };
                if (i + 1) % PASSED_ON == 0 {
                    taken.0.store(i + 1, Ordering::Release);
                }
            }
            start.elapsed()
        });
        consumer.join().expect("the freeing thread panicked")
    });
    (ops, elapsed.as_nanos() as f64 / ops as f64)
}

/// A number on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicUsize);

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pair => "pair",
            Self::Batch => "batch",
            Self::BatchShuffled => "batch-shuffled",
            Self::Replace => "replace",
            Self::Cross => "cross",
            Self::Grow => "grow",
            Self::Zeroed => "zeroed",
        })
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ALL.into_iter()
            .find(|workload| workload.to_string() == text)
            .ok_or_else(|| format!("no workload `{text}`"))
    }
}
