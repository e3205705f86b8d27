#![expect(unsafe_code, reason = "leaves a pointer as a kill would")]

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;

use proptest::prelude::*;

use super::{Atomic, Count, Local, Shared, Weak};
use crate::alloc::{fail_after, never_fail};
use crate::arc::{self, Arc};
use crate::rc::{self, Rc};
use crate::testing::{Counted, Grenade, Live, panics};

/// Runs random steps on `Shared` and on std's `Rc`, which counts like std's `Arc`.
fn run<C: Count>(ops: &[(u8, u8)]) {
    use std::rc::{Rc, Weak as StdWeak};
    let (live, shadow) = (Live::default(), Live::default());
    let mut ours: std::vec::Vec<Shared<Counted, C>> = std::vec::Vec::new();
    let mut theirs: std::vec::Vec<Rc<Counted>> = std::vec::Vec::new();
    let mut weak: std::vec::Vec<(Weak<Counted, C>, StdWeak<Counted>)> = std::vec::Vec::new();
    for &(op, id) in ops {
        let at = |len: usize| usize::from(id) % len.max(1);
        let (i, w) = (at(ours.len()), at(weak.len()));
        match op {
            0 => {
                ours.push(Shared::new(Counted::new(id, &live)));
                theirs.push(Rc::new(Counted::new(id, &shadow)));
            }
            1 if !ours.is_empty() => {
                ours.push(ours[i].clone());
                theirs.push(theirs[i].clone());
            }
            2 if !ours.is_empty() => {
                ours.swap_remove(i);
                theirs.swap_remove(i);
            }
            3 if !ours.is_empty() => weak.push((Shared::downgrade(&ours[i]), Rc::downgrade(&theirs[i]))),
            4 if !ours.is_empty() => {
                let mine = Shared::get_mut(&mut ours[i]).map(|value| value.id = id);
                assert_eq!(mine, Rc::get_mut(&mut theirs[i]).map(|value| value.id = id));
            }
            5 if !ours.is_empty() => {
                match (Shared::try_unwrap(ours.swap_remove(i)), Rc::try_unwrap(theirs.swap_remove(i))) {
                    (Ok(mine), Ok(other)) => assert_eq!(mine.id, other.id),
                    (Err(mine), Err(other)) => (ours.push(mine), theirs.push(other)).0,
                    _ => panic!("one of them was the last"),
                }
            }
            6 if !weak.is_empty() => {
                let (mine, other) = (weak[w].0.upgrade(), weak[w].1.upgrade());
                assert_eq!(mine.is_some(), other.is_some());
                ours.extend(mine);
                theirs.extend(other);
            }
            7 if !weak.is_empty() => drop(weak.swap_remove(w)),
            8 if !weak.is_empty() => weak.push(weak[w].clone()),
            9 if !ours.is_empty() => {
                Shared::make_mut(&mut ours[i]).id ^= 1;
                // Std's moves the value away from its weak pointers instead of cloning it; a clone does the same to them.
                let value = (*theirs[i]).clone();
                if Rc::get_mut(&mut theirs[i]).is_none() {
                    theirs[i] = Rc::new(value);
                }
                Rc::get_mut(&mut theirs[i]).unwrap().id ^= 1;
            }
            _ => {}
        }
        for (mine, other) in ours.iter().zip(&theirs) {
            assert_eq!(mine.id, other.id);
            assert_eq!(Shared::strong_count(mine), Rc::strong_count(other));
            assert_eq!(Shared::weak_count(mine), Rc::weak_count(other));
        }
        assert!(weak.iter().all(|(mine, other)| mine.strong_count() == other.strong_count()));
        assert_eq!(live.get(), shadow.get());
    }
    drop((ours, weak));
    assert_eq!(live.get(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn they_count_like_stds(ops in prop::collection::vec((0..10_u8, any::<u8>()), 1..if cfg!(miri) { 30 } else { 200 })) {
        run::<Local>(&ops);
        run::<Atomic>(&ops);
    }
}

#[test]
fn threads_share_and_the_last_one_drops() {
    struct Loud<'a>(&'a std::sync::atomic::AtomicU32, [u64; 4]);
    impl Drop for Loud<'_> {
        fn drop(&mut self) {
            assert_eq!(self.1, [7; 4]);
            self.0.fetch_add(1, super::Relaxed);
        }
    }
    let dropped = std::sync::atomic::AtomicU32::new(0);
    for _ in 0..if cfg!(miri) { 3 } else { 200 } {
        dropped.store(0, super::Relaxed);
        let first = Arc::new(Loud(&dropped, [7; 4]));
        let weak = Arc::downgrade(&first);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let (mine, weak) = (first.clone(), weak.clone());
                scope.spawn(move || {
                    let more = weak.upgrade().expect("a strong one is in this thread");
                    assert_eq!(more.1, [7; 4]);
                    drop(mine);
                    drop(more);
                    // From here on either may happen, but never half of it.
                    weak.upgrade().into_iter().for_each(|value| assert_eq!(value.1, [7; 4]));
                });
            }
            drop(first);
        });
        assert_eq!((dropped.load(super::Relaxed), weak.strong_count()), (1, 0));
        assert!(weak.upgrade().is_none());
    }
}

/// ```text
/// a kill in the middle of a drop     | nowhere |        block: counts still 2
///                                      ^ where the pointer lay
/// ```
#[test]
fn a_pointer_whose_drop_was_cut_leads_nowhere() {
    let kept = Arc::new(5);
    let mut cut = ManuallyDrop::new(kept.clone());
    assert!(super::let_go(&mut cut.block).is_some(), "killed before it counts down");
    assert_eq!((*kept, Arc::strong_count(&kept)), (5, 2), "the value leaks, at most");
    let cut = ManuallyDrop::into_inner(cut);
    assert!(panics(|| assert_eq!(*cut, 5)));
    assert_eq!((Arc::strong_count(&cut), Arc::weak_count(&cut)), (0, 0));
    assert!(Arc::downgrade(&cut).upgrade().is_none() && Arc::try_unwrap(cut.clone()).is_err());
    drop(cut.clone());
    drop(cut);
    assert_eq!(Arc::strong_count(&kept), 2);
    // SAFETY: the leaked count is given back, for the sake of the leak checker.
    drop(unsafe { std::ptr::read(&kept) });
}

#[test]
fn values_that_panic_give_their_block_back() {
    let dropped = Cell::new(0);
    let one = Rc::new(Grenade(true, &dropped));
    let weak = Rc::downgrade(&one);
    assert!(panics(|| drop(one)));
    assert_eq!(dropped.get(), 1);
    assert!(weak.upgrade().is_none());
    assert!(panics(|| drop(Rc::<u32>::new_cyclic(|_| panic!("bang")))));
}

#[test]
fn cycles_are_held_by_weak_pointers() {
    struct Node {
        parent: RefCell<rc::Weak<Node>>,
        children: RefCell<crate::Vec<Rc<Node>>>,
    }
    let leaf = Rc::new(Node { parent: RefCell::default(), children: RefCell::default() });
    let root = Rc::new(Node { parent: RefCell::default(), children: RefCell::new([leaf.clone()].into()) });
    *leaf.parent.borrow_mut() = Rc::downgrade(&root);
    assert!(Rc::ptr_eq(&leaf.parent.borrow().upgrade().unwrap(), &root));
    assert_eq!((Rc::strong_count(&leaf), root.children.borrow().len()), (2, 1));
    drop(root);
    assert!(leaf.parent.borrow().upgrade().is_none());
    struct Own(arc::Weak<Own>);
    let own = Arc::new_cyclic(|own| Own(own.clone()));
    assert!(Arc::ptr_eq(&own.0.upgrade().unwrap(), &own));
}

#[test]
fn a_full_heap_is_an_error() {
    fail_after(0);
    assert!(Rc::try_new(7_u32).is_err() && Arc::try_new(()).is_err());
    let none = rc::Weak::<u32>::new();
    never_fail();
    assert!(none.upgrade().is_none() && none.clone().ptr_eq(&none));
}

#[test]
fn it_compares_and_prints_like_its_value() {
    let mut a = Rc::new(3);
    let b = a.clone();
    *Rc::make_mut(&mut a) += 1;
    assert!(a > b && *b == 3 && Rc::get_mut(&mut a).is_some());
    assert_eq!(format!("{a:?} {a} {:?}", Rc::downgrade(&a)), "4 4 (Weak)");
    assert_eq!((Rc::into_inner(b), Rc::unwrap_or_clone(a)), (Some(3), 4));
}

/// As std promises: of the last owners, whichever of them looks first, one gets the value.
#[test]
fn one_of_two_last_owners_gets_the_value() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    let (one, other): (std::vec::Vec<_>, std::vec::Vec<_>) = (0..rounds)
        .map(|nr| {
            let owner = Arc::new(nr);
            (owner.clone(), owner)
        })
        .unzip();
    let arrived = AtomicUsize::new(0);
    let give_up = |owners: std::vec::Vec<Arc<usize>>| {
        let one_by_one = owners.into_iter().enumerate().map(|(nr, owner)| {
            // Both at once, as far as can be had.
            arrived.fetch_add(1, SeqCst);
            while arrived.load(SeqCst) < 2 * (nr + 1) {
                std::thread::yield_now();
            }
            Arc::into_inner(owner)
        });
        one_by_one.collect::<std::vec::Vec<_>>()
    };
    let (here, there) = std::thread::scope(|scope| {
        let there = scope.spawn(|| give_up(other));
        (give_up(one), there.join().unwrap())
    });
    for (nr, got) in here.into_iter().zip(there).enumerate() {
        assert!(matches!(got, (Some(value), None) | (None, Some(value)) if value == nr), "{nr}: {got:?}");
    }
}
