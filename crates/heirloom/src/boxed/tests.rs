use std::cell::Cell;
use std::rc::Rc;

use super::Box;
use crate::alloc::{fail_after, never_fail};

#[test]
fn a_box_owns_its_value() {
    let dropped = Rc::new(Cell::new(0));
    struct Counted(Rc<Cell<u32>>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    drop(Box::new(Counted(dropped.clone())));
    assert_eq!(dropped.get(), 1);
    let inner = Box::into_inner(Box::new(Counted(dropped.clone())));
    assert_eq!(dropped.get(), 1);
    drop(inner);
    let raw = Box::into_raw(Box::new(Counted(dropped.clone())));
    assert_eq!(dropped.get(), 2);
    // SAFETY: `raw` has just come from `into_raw`.
    drop(unsafe { Box::from_raw(raw) });
    assert_eq!(dropped.get(), 3);
}

#[test]
fn a_block_is_given_back_though_its_value_panics() {
    struct Grenade;
    impl Drop for Grenade {
        fn drop(&mut self) {
            panic!("bang");
        }
    }
    let held = Box::new((7_u64, Grenade));
    assert!(std::panic::catch_unwind(|| drop(held)).is_err());
}

#[test]
fn alignment_and_emptiness_are_respected() {
    #[repr(align(256))]
    struct Wide(u8);
    let wide = Box::new(Wide(3));
    assert_eq!(&raw const *wide as usize % 256, 0);
    assert_eq!(wide.0, 3);
    fail_after(0);
    Box::into_inner(Box::new(()));
    never_fail();
}

#[test]
fn zeroed_room_becomes_a_value() {
    // SAFETY: zero bytes are an array of zeros.
    let zeros = unsafe { Box::<[u64; 9]>::new_zeroed().assume_init() };
    assert_eq!(*zeros, [0; 9]);
}

#[test]
fn a_full_heap_is_an_error() {
    fail_after(0);
    let refused = Box::try_new(7_u32);
    never_fail();
    assert!(refused.is_err());
}

#[test]
fn a_box_compares_and_prints_like_its_value() {
    let mut a = Box::new(3);
    assert!(a < Box::new(4));
    *a += 1;
    assert_eq!(a, Box::from(4));
    assert_eq!(format!("{a:?} {a}"), "4 4");
    assert_eq!(a.clone(), a);
}
