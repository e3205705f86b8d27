//! The canary: with the one order swapped that loses objects (see `slab`, the trap), a crash test must see a live object
//! listed as free. If it does not, the crash tests see nothing at all.
//!
//! Two CPUs are driven by one thread: at each step of a publisher the owner collects and allocates, then all stops. In a
//! program of its own, for the knob turns the order for all of it. Only with the feature `knobs`.
#![cfg(feature = "knobs")]

mod common;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use common::cut::{cut, is_listed_free};
use common::*;
use heirloom_slab::{Scrub, clear_hook, set_hook, set_wrong_order};

/// Stops the publisher at its step `at`, lets the owner allocate `nr` objects, and crashes. None where the publisher has
/// fewer steps; else how many live objects the successor finds listed as free.
fn live_but_free(at: u64, nr: usize) -> Option<u64> {
    let (host, pool) = new_pool(geometry(), 4, Scrub::OnFree);
    let pool = Rc::new(pool);
    let (owner, other) = (pool.claim_cpu().unwrap().index(), pool.claim_cpu().unwrap().index());
    let size = 64;
    // One whole slab, so that the owner has no free slot but those that come back from the other.
    let made: Vec<_> = (0..64).filter_map(|_| alloc(&pool, pool.cpu(owner), size, 1)).collect();
    let steps = Rc::new(Cell::new(0));
    let found = Rc::new(Cell::new(None));
    // A first round is published whole and not collected yet, so the owner knows that there is something in the word.
    for object in made.iter().take(8) {
        free(&pool, pool.cpu(other), *object);
    }
    pool.release_cpu(pool.cpu(other));
    assert_eq!(pool.claim_cpu().unwrap().index(), other);
    for object in made.iter().take(40).skip(8) {
        free(&pool, pool.cpu(other), *object);
    }
    let live: BTreeMap<u64, Object> = made.iter().skip(40).map(|object| (object.offset, *object)).collect();
    let live = RefCell::new(live);
    let hook = {
        let (pool, host, steps, found) = (pool.clone(), host.clone(), steps.clone(), found.clone());
        move || {
            steps.set(steps.get() + 1);
            if steps.get() != at {
                return;
            }
            for _ in 0..nr {
                let Some(object) = alloc(&pool, pool.cpu(owner), size, 2) else { break };
                live.borrow_mut().insert(object.offset, object);
            }
            let wrong = cut(&host, |_, _| {
                live.borrow().values().filter(|object| is_listed_free(&host, object.offset)).count() as u64
            });
            found.set(Some(wrong));
        }
    };
    set_hook(hook);
    // The other's thread ends: its magazine and its accumulator are published.
    pool.release_cpu(pool.cpu(other));
    clear_hook();
    found.get()
}

fn most_live_but_free() -> u64 {
    let mut most = 0;
    for nr in [1, 8, 40] {
        let found = (1..).map_while(|at| live_but_free(at, nr));
        most = most.max(found.max().unwrap());
    }
    most
}

#[test]
fn the_swapped_order_is_caught_and_the_right_one_is_clean() {
    assert_eq!(most_live_but_free(), 0, "in the right order no live object is listed as free");
    set_wrong_order(true);
    let most = most_live_but_free();
    set_wrong_order(false);
    assert!(most > 0, "in the swapped order a live object is listed as free, and the test sees it");
}
