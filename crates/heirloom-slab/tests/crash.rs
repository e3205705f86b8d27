//! A crash after each store of the allocator, without a kill: the knobs stop it there, the memory is recovered as a
//! successor would, compared with the model, and put back as it was.
//!
//! Only with the feature `knobs`.
#![cfg(feature = "knobs")]
#![expect(unsafe_code, reason = "drives the allocator")]

mod common;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::cut::{View, cut, judge};
use common::*;
use heirloom_slab::{Contents, Cpu, Pool, Scrub, clear_hook, set_hook};

/// A pool with its model, cut at each `stride`th step of what `during` is given.
struct Crashing {
    host: TestHost,
    pool: Pool<TestHost>,
    model: Rc<RefCell<BTreeMap<u64, Object>>>,
    cuts: Rc<Cell<u64>>,
    stride: u64,
}

impl Crashing {
    fn new(nr_blocks: usize, scrub: Scrub, stride: u64) -> Self {
        let (host, pool) = new_pool(geometry(), nr_blocks, scrub);
        Self { host, pool, model: Rc::default(), cuts: Rc::default(), stride }
    }

    /// Runs `operation`; wherever it is cut, the model holds, and at most `in_flight` objects more.
    fn during<T>(&self, in_flight: u64, operation: impl FnOnce(&Pool<TestHost>) -> T) -> T {
        let (host, model, cuts, stride) =
            (self.host.clone(), self.model.clone(), self.cuts.clone(), self.stride);
        set_hook(move || {
            cuts.set(cuts.get() + 1);
            if cuts.get() % stride != 0 {
                return;
            }
            let deep = cuts.get() % (stride * 61) == 0;
            if deep {
                cut_the_recovery(&host, &model, in_flight);
            }
            cut(&host, |pool, tally| {
                judge(&host, &model.borrow(), in_flight, tally);
                if deep {
                    goes_on(pool, &model.borrow());
                    judge_bytes(&host, &model.borrow());
                }
            });
        });
        let result = operation(&self.pool);
        clear_hook();
        result
    }

    fn alloc(&self, cpu: Cpu<'_>, size: usize, mark: u8) -> Option<Object> {
        let offset = self.during(1, |pool| match pool.cache_for(size, 16) {
            Some(cache) => pool.alloc(cpu, cache).ok(),
            None => pool.alloc_large(size as u64, Contents::Any).ok(),
        })?;
        // SAFETY: the object is ours, `size` bytes long.
        unsafe { self.pool.address(offset).write_bytes(mark, size) };
        let object = Object { offset, size, mark };
        assert!(self.model.borrow_mut().insert(offset, object).is_none(), "{object:?} was live");
        Some(object)
    }

    fn free(&self, cpu: Cpu<'_>, object: Object) {
        verify(&self.pool, object);
        self.model.borrow_mut().remove(&object.offset);
        // SAFETY: the object is ours, and nothing was written beyond its size.
        self.during(1, |pool| unsafe {
            match pool.cache_for(object.size, 16) {
                Some(cache) => pool.free(cpu, cache, object.offset, object.size),
                None => pool.free_large(object.offset),
            }
        });
    }

    /// Resizes a large object where it is, if it can be.
    fn resize(&self, mut object: Object, size: usize) -> bool {
        // While it is cut, the object keeps the bytes that both sizes have.
        let kept = Object { size: size.min(object.size), ..object };
        self.model.borrow_mut().insert(object.offset, kept);
        let resized = self.during(0, |pool| resize(pool, &mut object, size));
        self.model.borrow_mut().insert(object.offset, object);
        resized
    }

    fn nth(&self, nr: usize) -> Option<Object> {
        let model = self.model.borrow();
        model.values().nth(nr % model.len().max(1)).copied()
    }
}

/// The recovery itself is cut at some of its steps, and done again.
fn cut_the_recovery(host: &TestHost, model: &Rc<RefCell<BTreeMap<u64, Object>>>, in_flight: u64) {
    // SAFETY: the pool stands still.
    let before = unsafe { host.bytes() }.to_vec();
    let (inner, model, steps) = (host.clone(), model.clone(), Cell::new(0u64));
    set_hook(move || {
        steps.set(steps.get() + 1);
        if steps.get() % 23 == 0 {
            cut(&inner, |_, tally| judge(&inner, &model.borrow(), in_flight, tally));
        }
    });
    // SAFETY: as above.
    unsafe { Pool::recover(View::new(host), 0, host.control_bytes()) }.unwrap();
    clear_hook();
    // SAFETY: as above.
    unsafe { host.bytes() }.copy_from_slice(&before);
}

/// A recovered pool hands out what is free, and nothing that is not.
fn goes_on(pool: &Pool<View>, model: &BTreeMap<u64, Object>) {
    let cpu = pool.claim_cpu().unwrap();
    let mut made = Vec::new();
    for size in [16usize, 100, 700, 3000, 9000] {
        for _ in 0..20 {
            let room = pool.usable_bytes(size, 16) as u64;
            let cache = pool.cache_for(size, 16);
            let Ok(offset) = cache
                .map_or_else(|| pool.alloc_large(size as u64, Contents::Any), |cache| pool.alloc(cpu, cache))
            else {
                continue;
            };
            if let Some((_, below)) = model.range(..offset + room).next_back() {
                assert!(below.offset + below.size as u64 <= offset, "{offset:#x} overlaps {below:?}");
            }
            // SAFETY: the object is ours.
            unsafe { pool.address(offset).write_bytes(0xee, size) };
            made.push((cache, offset, size));
        }
    }
    for (cache, offset, size) in made {
        // SAFETY: it was made above and is not used any more.
        unsafe {
            match cache {
                Some(cache) => pool.free(cpu, cache, offset, size),
                None => pool.free_large(offset),
            }
        }
    }
    pool.freeze(true);
    let tally = pool.check(true, |broken| panic!("after going on: {broken}"));
    assert_eq!(tally.stale_bytes, 0);
}

fn judge_bytes(host: &TestHost, model: &BTreeMap<u64, Object>) {
    // SAFETY: nobody works on the memory meanwhile.
    let bytes: &[u8] = unsafe { host.bytes() };
    for object in model.values() {
        let there = &bytes[object.offset as usize..][..object.size];
        assert!(there.iter().all(|&byte| byte == object.mark), "a live object keeps its bytes: {object:?}");
    }
}

/// Random operations of three CPUs, one at a time, each cut everywhere.
pub(crate) fn random_operations(seed: u64, nr: usize, scrub: Scrub, stride: u64) -> u64 {
    let mut random = Random(seed);
    let crashing = Crashing::new(14, scrub, stride);
    let pool = &crashing.pool;
    // Some keep idle slabs and empty blocks near.
    pool.set_spare_blocks((seed % 3) as u32);
    let mut cpus: [u32; 3] = std::array::from_fn(|_| pool.claim_cpu().unwrap().index());
    for step in 0..nr {
        let cpu = random.below(3) as usize;
        let mark = (step as u8).max(1);
        match random.below(100) {
            0..=44 => {
                let size = match random.below(12) {
                    0..=5 => 1 + random.below(200),
                    6..=9 => 200 + random.below(4000),
                    10 => 4000 + random.below(20_000),
                    _ => 60_000 + random.below(90_000),
                };
                crashing.alloc(pool.cpu(cpus[cpu]), size as usize, mark);
            }
            45..=59 => {
                // Runs of one size fill and empty whole slabs.
                let size = [24usize, 500, 2000][random.below(3) as usize];
                for _ in 0..random.below(24) {
                    crashing.alloc(pool.cpu(cpus[cpu]), size, mark);
                }
            }
            60..=74 => {
                let from = random.below(1 << 20) as usize;
                for _ in 0..random.below(40) {
                    let Some(object) = crashing.nth(from) else { break };
                    crashing.free(pool.cpu(cpus[cpu]), object);
                }
            }
            75..=92 => {
                let Some(object) = crashing.nth(random.below(1 << 20) as usize) else { continue };
                crashing.free(pool.cpu(cpus[cpu]), object);
            }
            93..=94 => {
                let large = |object: &&Object| pool.cache_for(object.size, 16).is_none();
                let Some(object) = crashing.model.borrow().values().find(large).copied() else { continue };
                let size = object.size / 2 + random.below(2 * object.size as u64) as usize;
                if pool.cache_for(size, 16).is_none() {
                    crashing.resize(object, size);
                }
            }
            95 => {
                let cache = pool.cache_for(1 + random.below(300) as usize, 16).unwrap();
                crashing.during(0, |pool| pool.hand_in(pool.cpu(cpus[cpu]), cache));
            }
            96..=97 => {
                crashing.during(0, |pool| pool.release_cpu(pool.cpu(cpus[cpu])));
                cpus[cpu] = crashing.during(0, |pool| pool.claim_cpu().unwrap().index());
            }
            _ => {
                crashing.during(0, |pool| pool.freeze(step % 2 == 0));
                let tally = check(pool, true);
                judge(&crashing.host, &crashing.model.borrow(), 0, tally);
                crashing.during(0, Pool::thaw);
            }
        }
    }
    assert_eq!(*crashing.host.0.faults.lock().unwrap(), []);
    crashing.cuts.get()
}

#[test]
fn each_store_may_be_the_last_when_slots_are_zeroed_on_free() {
    for seed in 1..3 {
        let cuts = random_operations(seed + 0x9e37_79b9_7f4a_7c15, 220, Scrub::OnFree, 5);
        assert!(cuts > 3_000, "{cuts} steps are too few to mean anything");
    }
}

#[test]
fn each_store_may_be_the_last_when_slots_are_zeroed_at_the_freeze() {
    for seed in 1..3 {
        let cuts = random_operations(seed + 0xd134_2543_de82_ef95, 220, Scrub::AtFreeze, 5);
        assert!(cuts > 3_000, "{cuts} steps are too few to mean anything");
    }
}

/// Slots that another CPU frees travel from its magazine through the accumulator to the owner's remote words.
#[test]
fn frees_of_anothers_slots_may_be_cut_anywhere() {
    for scrub in [Scrub::OnFree, Scrub::AtFreeze] {
        let crashing = Crashing::new(8, scrub, 1);
        let pool = &crashing.pool;
        let (owner, other) = (pool.claim_cpu().unwrap(), pool.claim_cpu().unwrap());
        let made: Vec<_> = (0..200).filter_map(|mark| crashing.alloc(owner, 64, mark as u8 | 1)).collect();
        for object in made.iter().step_by(2) {
            crashing.free(other, *object);
        }
        // The owner finds them, and the other frees on.
        for mark in 0..60 {
            crashing.alloc(owner, 64, mark | 1);
        }
        for cpu in [other, owner] {
            crashing.during(0, |pool| pool.hand_in(cpu, pool.cache_for(64, 16).unwrap()));
        }
        for object in made.iter().skip(1).step_by(2) {
            crashing.free(other, *object);
        }
        crashing.during(0, |pool| pool.release_cpu(other));
        crashing.during(0, |pool| pool.release_cpu(owner));
        let third = pool.cpu(crashing.during(0, |pool| pool.claim_cpu().unwrap().index()));
        for mark in 0..100 {
            crashing.alloc(third, 64, mark | 1);
        }
        assert_eq!(crashing.host.nr_taken(), 1, "what was freed was used again");
    }
}

/// An object that grows where it is takes units or blocks first, and then says so.
#[test]
fn growth_in_place_may_be_cut_anywhere() {
    for scrub in [Scrub::OnFree, Scrub::AtFreeze] {
        // | control | block of slabs: units of `run` .. | block | block .. |
        let crashing = Crashing::new(12, scrub, 1);
        let pool = &crashing.pool;
        let cpu = pool.claim_cpu().unwrap();
        let (unit, block) = (pool.geometry().unit_bytes() as usize, pool.geometry().block_bytes() as usize);
        let mut sizes = vec![3 * unit];
        while sizes[sizes.len() - 1] + 3 * unit < block - pool.geometry().header_units() as usize * unit {
            sizes.push(sizes[sizes.len() - 1] + 2 * unit + 8);
        }
        let run = crashing.alloc(cpu, sizes[0], 0x11).unwrap();
        for &size in &sizes[1..] {
            assert!(crashing.resize(crashing.nth(0).unwrap(), size), "the units behind it are free: {size}");
        }
        assert_eq!(crashing.nth(0).unwrap().offset, run.offset);
        assert!(!crashing.resize(crashing.nth(0).unwrap(), block), "a run of units stays in its block");
        crashing.free(cpu, crashing.nth(0).unwrap());

        let huge = crashing.alloc(cpu, block, 0x22).unwrap();
        for size in [block + 1, 2 * block, 3 * block + 100, 5 * block] {
            assert!(crashing.resize(crashing.nth(0).unwrap(), size), "the blocks behind it are free: {size}");
        }
        assert!(!crashing.resize(crashing.nth(0).unwrap(), block), "it gives no blocks back where it is");
        assert_eq!(crashing.nth(0).unwrap().offset, huge.offset);
        let wall = crashing.alloc(cpu, block, 0x33).unwrap();
        assert!(!crashing.resize(crashing.nth(0).unwrap(), 6 * block), "something is behind it");
        crashing.free(cpu, wall);
        assert!(crashing.resize(crashing.nth(0).unwrap(), 6 * block), "nothing is behind it any more");
        while crashing.nth(0).is_some() {
            crashing.free(cpu, crashing.nth(0).unwrap());
        }
        pool.freeze(true);
        judge(&crashing.host, &crashing.model.borrow(), 0, check(pool, true));
        assert_eq!(crashing.host.nr_taken(), 0, "what it grew over was given back");
        assert!(crashing.cuts.get() > 100, "{} cuts", crashing.cuts.get());
    }
}

/// `alloc_into` loses nothing: wherever it is cut, the place holds the object or the slot is free.
#[test]
fn a_place_holds_the_object_or_the_slot_is_free() {
    // The place: in a slot, in a huge object's second block, and in memory that is no block's.
    for place_in in 0..3 {
        let crashing = Crashing::new(12, Scrub::OnFree, 1);
        let (pool, host) = (&crashing.pool, &crashing.host);
        let cpu = pool.claim_cpu().unwrap();
        let huge = crashing.alloc(cpu, 150_000, 0).unwrap();
        let holder = crashing.alloc(cpu, 64, 0).unwrap();
        let place_offset = match place_in {
            0 => holder.offset + 8,
            1 => huge.offset + 100_000 / 8 * 8,
            _ => host.control_bytes() - 64,
        };
        // SAFETY: the place is memory of ours (the last bytes before the blocks are nobody's), aligned to 8.
        let place = unsafe { &*pool.address(place_offset).cast::<AtomicU64>() };
        let size = 48;
        let cache = pool.cache_for(size, 16).unwrap();
        for _ in 0..100 {
            place.store(0, Ordering::Relaxed);
            let (cuts, live) = (Cell::new(0), crashing.model.borrow().len() as u64);
            let inner = host.clone();
            set_hook(move || {
                cuts.set(cuts.get() + 1);
                // SAFETY: the pool stands still.
                let there = u64::from_le_bytes(
                    unsafe { inner.bytes() }[place_offset as usize..][..8].try_into().unwrap(),
                );
                cut(&inner, |pool, tally| {
                    if there == 0 {
                        let unknown = u64::from(place_in == 2);
                        assert!((live..=live + unknown).contains(&tally.live_objects), "a slot was lost");
                    } else {
                        assert_eq!(tally.live_objects, live + 1, "the object that the place holds is live");
                        let offset = there - pool.address(0).addr() as u64;
                        assert!(!common::cut::is_listed_free(&inner, offset));
                    }
                });
            });
            let offset = pool.alloc_into(cpu, cache, place, place_offset).unwrap();
            clear_hook();
            assert_eq!(place.load(Ordering::Relaxed), pool.address(offset).addr() as u64);
            crashing.model.borrow_mut().insert(offset, Object { offset, size: 0, mark: 0 });
        }
    }
}
