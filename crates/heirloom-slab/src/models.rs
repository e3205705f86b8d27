//! Loom models of the protocol between CPUs: each function is one run, to be called inside `loom::model`.
//!
//! Loom tries every order of the steps, and every value that a load may see. The pool itself is not here: it lays its
//! records over memory, which loom's atomics cannot do. What is here is the code that the pool calls: publishing
//! and collecting, the list of announced slabs, the magazine under the lock.

use core::array;
use core::cell::Cell;
use std::sync::Arc;
use std::vec::Vec;

use crate::cpu::{Cpu, CpuCache, CpuSlot};
use crate::slab::{Accumulator, Slab, SlabHead};
use crate::sync::{AtomicU32, AtomicU64, Ordering::*};

std::thread_local! {
    static WRONG: Cell<bool> = const { Cell::new(false) };
}

/// Ignores the `publishing` count in the models that this thread runs.
pub fn set_wrong_order(wrong: bool) {
    WRONG.set(wrong);
}

pub(crate) fn is_order_wrong() -> bool {
    WRONG.get()
}

/// A slab of up to two words.
struct Frame {
    at: u64,
    head: SlabHead,
    free: [AtomicU64; 2],
    remote: [AtomicU64; 2],
}

impl Frame {
    fn new(at: u64, nr_slots: u32) -> Self {
        let (half, word) = (|| AtomicU32::new(0), || AtomicU64::new(0));
        let head = SlabHead {
            kind: half(),
            cache: half(),
            units: half(),
            slot_bytes: half(),
            nr_slots: AtomicU32::new(nr_slots),
            nr_free: half(),
            owner: word(),
            reciprocal: word(),
            summary: word(),
            next: word(),
            prev: word(),
            remote_summary: word(),
            remote_next: word(),
            publishing: half(),
            announced: half(),
            head_unit: half(),
            listed: half(),
            object_bytes: word(),
            seal: word(),
            reserved: [word(), word()],
        };
        Self { at, head, free: [word(), word()], remote: [word(), word()] }
    }

    fn slab(&self) -> Slab<'_> {
        Slab { at: self.at, head: &self.head, free: &self.free, remote: &self.remote }
    }
}

/// What a publisher's CPU slot holds of it.
struct Out {
    slab: AtomicU64,
    word: AtomicU64,
    mask: AtomicU64,
}

impl Out {
    fn new(word: u64, mask: u64) -> Self {
        Self { slab: AtomicU64::new(0), word: AtomicU64::new(word), mask: AtomicU64::new(mask) }
    }

    fn accumulator(&self) -> Accumulator<'_> {
        Accumulator { slab: &self.slab, word: &self.word, mask: &self.mask }
    }

    /// What it lists of a word, as the owner sees it. A successor would see the newest value: the owner must at least have
    /// seen the publisher clear what it takes.
    fn listed(&self, word: usize) -> u64 {
        if self.word.load(Relaxed) == word as u64 { self.mask.load(Relaxed) } else { 0 }
    }
}

/// Takes all free slots of a slab: they are live now, and no accumulator may list them.
fn hand_out(slab: &Slab<'_>, outs: &[Out]) -> u32 {
    let mut nr = 0;
    while let Some((word, mask)) = slab.peek(64) {
        slab.drop_free(word, mask);
        for out in outs {
            assert_eq!(out.listed(word) & mask, 0, "a live object is listed as free");
        }
        nr += mask.count_ones();
    }
    nr
}

fn spawn(body: impl FnOnce() + 'static) -> loom::thread::JoinHandle<()> {
    loom::thread::spawn(body)
}

/// Publishers, each with slots `(word, mask)` of one slab, against the owner, who collects and hands out at once. Earlier
/// frees of the first word are published already, so that the owner does not wait for an announcement.
pub fn publish_against_collect(published: u64, frees: &[(u64, u64)]) {
    let shared =
        Arc::new((Frame::new(64, 128), frees.iter().map(|&(w, m)| Out::new(w, m)).collect::<Vec<_>>()));
    if published != 0 {
        shared.0.remote[0].store(published, Relaxed);
        shared.0.head.remote_summary.store(1, Relaxed);
    }
    let publishers: Vec<_> = (0..frees.len())
        .map(|nr| {
            let shared = shared.clone();
            spawn(move || shared.0.slab().publish(&shared.1[nr].accumulator(), |_| ()))
        })
        .collect();
    let slab = shared.0.slab();
    slab.collect();
    let mut nr = hand_out(&slab, &shared.1);
    for publisher in publishers {
        publisher.join().unwrap();
    }
    let collected = slab.collect();
    assert!(!collected.busy, "nobody publishes any more");
    nr += hand_out(&slab, &shared.1);
    let freed = published.count_ones() + frees.iter().map(|(_, mask)| mask.count_ones()).sum::<u32>();
    assert_eq!(nr, freed, "each slot comes back once");
    assert_eq!(slab.head.publishing.load(Relaxed), 0);
}

/// Publishers announce slabs on their owner's list, which the owner empties meanwhile: each free is found by the emptying
/// that comes after it, whatever the one before took away.
pub fn announce_against_drain(slabs: &[usize]) {
    struct Shared {
        frames: Vec<Frame>,
        outs: Vec<Out>,
        pending: AtomicU64,
    }
    let nr_frames = slabs.iter().max().map_or(0, |most| most + 1);
    let shared = Arc::new(Shared {
        frames: (0..nr_frames).map(|nr| Frame::new(nr as u64 + 1, 64)).collect(),
        outs: (0..slabs.len()).map(|nr| Out::new(0, 1 << nr)).collect(),
        pending: AtomicU64::new(0),
    });
    let publishers: Vec<_> = slabs
        .iter()
        .enumerate()
        .map(|(nr, &frame)| {
            let shared = shared.clone();
            spawn(move || {
                let slab = shared.frames[frame].slab();
                slab.publish(&shared.outs[nr].accumulator(), |is_first| {
                    if is_first {
                        slab.push_onto(&shared.pending);
                    }
                });
            })
        })
        .collect();
    let drain = || {
        let mut nr = 0;
        let mut at = shared.pending.swap(0, SeqCst);
        while at != 0 {
            let slab = shared.frames[at as usize - 1].slab();
            at = slab.head.remote_next.load(Relaxed);
            if slab.take_announcement().busy && slab.announce_again() {
                slab.push_onto(&shared.pending);
            }
            nr += hand_out(&slab, &shared.outs);
        }
        nr
    };
    let mut nr = drain();
    for publisher in publishers {
        publisher.join().unwrap();
    }
    nr += drain();
    assert_eq!(nr as usize, slabs.len(), "a notification was lost");
    for frame in &shared.frames {
        assert_eq!(frame.head.announced.load(Relaxed), 0);
    }
}

struct Seat {
    slot: CpuSlot,
    caches: [CpuCache; 1],
}

impl Seat {
    fn new() -> Self {
        let (half, word) = (|| AtomicU32::new(0), || AtomicU64::new(0));
        let slot = CpuSlot::vacant();
        let cache = CpuCache {
            top: half(),
            bottom: half(),
            limit: AtomicU32::new(2),
            nr_partial: half(),
            partial: word(),
            pending: word(),
            search: half(),
            refilled: half(),
            search_stamp: word(),
            idle_units: word(),
            given: word(),
            slots: array::from_fn(|_| word()),
        };
        Self { slot, caches: [cache] }
    }

    fn cpu(&self) -> Cpu<'_> {
        Cpu { index: 0, slot: &self.slot, caches: &self.caches }
    }
}

/// The owner flushes its magazine to its slab and refills from it, each under its lock; a stealing CPU takes the slab under
/// the same lock meanwhile. Each slot is in one pair of hands in the end.
pub fn flush_against_steal() {
    struct Shared {
        frame: Frame,
        seats: [Seat; 2],
    }
    const OWNER: u64 = 1;
    const THIEF: u64 = 2;
    let shared = Arc::new(Shared { frame: Frame::new(64, 4), seats: [Seat::new(), Seat::new()] });
    let owner = shared.seats[0].cpu();
    shared.frame.head.owner.store(OWNER, Relaxed);
    owner.caches[0].push(0);
    owner.caches[0].push(1);

    let thief = {
        let shared = shared.clone();
        spawn(move || {
            let (slab, me) = (shared.frame.slab(), shared.seats[1].cpu().lock(|| ()));
            // Twice: a try that fails must leave the lock to who has it.
            let victim = shared.seats[0].cpu().try_lock().or_else(|| shared.seats[0].cpu().try_lock());
            if victim.is_none() || slab.head.owner.load(SeqCst) != OWNER {
                return;
            }
            slab.head.owner.store(THIEF, SeqCst);
            drop(victim);
            // Its own now, and the victim's lock is free again.
            while let Some((word, mask)) = slab.peek(1) {
                assert!(me.caches[0].push(mask.trailing_zeros().into()));
                slab.drop_free(word, mask);
            }
        })
    };
    let slab = shared.frame.slab();
    {
        let me = owner.lock(|| ());
        if slab.head.owner.load(Acquire) == OWNER {
            let mine = &me.caches[0];
            let bottom = mine.bottom.load(Relaxed);
            assert_eq!(slab.put_free(0, 1 << mine.entry(bottom).load(Relaxed)), 0);
            mine.drop_below(bottom + 1);
        }
    }
    {
        let me = owner.lock(|| ());
        let mine = slab.head.owner.load(Acquire) == OWNER;
        if let Some((word, mask)) = mine.then(|| slab.peek(1)).flatten() {
            assert!(me.caches[0].push(mask.trailing_zeros().into()));
            slab.drop_free(word, mask);
        }
    }
    thief.join().unwrap();
    let mut seen = slab.free[0].load(Relaxed);
    for seat in &shared.seats {
        while let Some(slot) = seat.caches[0].pop() {
            assert_eq!(seen >> slot & 1, 0, "slot {slot} is in two places");
            seen |= 1 << slot;
        }
    }
    assert_eq!(seen, 0b11, "a slot was lost");
}
