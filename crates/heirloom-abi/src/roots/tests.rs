//! Records written, torn and read back.
extern crate std;

use std::vec::Vec;
use std::{format, vec};

use super::layout::{ENTRY_BYTES, Layout};
use super::*;
use crate::types::{TypeDesc, flat_len, flatten};

const U64: &TypeDesc = &TypeDesc::primitive("u64", 8, 8);
static FORM: [u8; flat_len(U64)] = flatten(U64);

fn root(name: &str) -> NewRoot<'_> {
    NewRoot { name, object_offset: 0x20_0000, ty: &FORM, generation: 3 }
}

fn with_roots(names: &[&str]) -> Vec<u8> {
    let mut region = vec![0xaa; MIN_BYTES];
    init(&mut region).unwrap();
    for name in names {
        add(&mut region, &root(name)).unwrap();
    }
    region
}

#[test]
fn roots_are_found_by_name() {
    let region = with_roots(&["sessions", "counters"]);
    let roots = Roots::read(&region).unwrap();
    assert_eq!(roots.len(), 2);
    let found = roots.find("counters").unwrap();
    assert_eq!((found.index, found.object_offset, found.object_bytes), (1, 0x20_0000, 8));
    assert_eq!((found.state, found.ty, found.generation), (RootState::Live, &FORM[..], 3));
    assert_eq!(roots.find("others"), None);
}

#[test]
fn the_head_says_how_much_is_used() {
    let head = head_bytes(MIN_BYTES).unwrap();
    let used = |names: &[&str]| used_bytes(&with_roots(names)[..head], MIN_BYTES).unwrap();
    assert_eq!((used(&[]), used(&["a"])), (head, head + FORM.len()));
    let two = with_roots(&["a", "b"]);
    assert_eq!(used(&["a", "b"]), Roots::read(&two).unwrap().descriptions_end);
    assert_eq!(used_bytes(&two[..head - 1], MIN_BYTES), Err(RootsError::Region { found: head - 1 }));
}

#[test]
fn a_poisoned_root_stays_readable() {
    let mut region = with_roots(&["a", "b"]);
    set_state(&mut region, 1, RootState::Poisoned).unwrap();
    assert_eq!(Roots::read(&region).unwrap().find("b").unwrap().state, RootState::Poisoned);
    let missing = set_state(&mut region, 2, RootState::Live);
    assert_eq!(missing, Err(RootsError::NoSuchRoot { index: 2, nr: 2 }));
}

/// ```text
/// before  |header|a|         |form of a|
/// after   |header|a|b|       |form of a|form of b|    any mixture of steps 1 and 2 may have been written
/// ```
#[test]
fn a_kill_between_any_two_bytes_leaves_the_old_record_or_the_new() {
    let before = with_roots(&["a"]);
    let after = with_roots(&["a", "b"]);
    let entry_at = Layout::entry_at(1);
    let description_at = Roots::read(&before).unwrap().descriptions_end;
    let mut torn = before.clone();
    let order = (description_at..description_at + FORM.len())
        .chain(entry_at + 1..entry_at + ENTRY_BYTES)
        .chain([entry_at]);
    for at in order {
        assert_eq!(Roots::read(&torn).unwrap().len(), 1, "before byte {at}");
        let mut next = torn.clone();
        add(&mut next, &root("b")).unwrap();
        assert_eq!(next, after, "the next call writes over what was left");
        torn[at] = after[at];
    }
    assert_eq!(torn, after);
    assert_eq!(Roots::read(&torn).unwrap().len(), 2);
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let mut region = with_roots(&["a"]);
    let before = region.clone();
    let mut refused = |root| {
        let error = add(&mut region, &root).unwrap_err();
        assert_eq!(region, before);
        error
    };
    assert_eq!(refused(root("a")), RootsError::Duplicate { first: 0, second: 1 });
    assert_eq!(refused(root("")), RootsError::Name { index: 1 });
    assert_eq!(refused(root("a\nb")), RootsError::Name { index: 1 });
    let odd = NewRoot { object_offset: 3, ..root("b") };
    let object = RootsError::Object { index: 1, offset: 3, bytes: 8, size: 8, align: 8 };
    assert_eq!(refused(odd), object);
    let large = [0; MIN_BYTES];
    assert!(matches!(refused(NewRoot { ty: &large, ..root("b") }), RootsError::NoRoom { wanted: 4096, .. }));
    let malformed = NewRoot { ty: &FORM[1..], ..root("b") };
    assert!(matches!(refused(malformed), RootsError::Type { index: 1, .. }));
}

/// ```text
/// |a0|        |a0|a1|        a1 counts          |a0|a1|     retire a1: a0 counts again
///                            retire a0: its entry and its description are room
/// ```
#[test]
fn a_root_changes_its_object_and_back() {
    let mut region = with_roots(&["a", "b"]);
    let moved = NewRoot { object_offset: 0x40_0000, ..root("a") };
    assert_eq!(supersede(&mut region, &moved, Batch::ALONE), Ok(2));
    let read = |region: &[u8]| {
        let roots = Roots::read(region).unwrap();
        let found = roots.find("a").unwrap();
        (roots.len(), roots.iter_all().count(), found.object_offset, found.serial)
    };
    assert_eq!(read(&region), (2, 3, 0x40_0000, 1));
    let mut back = region.clone();
    retire(&mut back, 2).unwrap();
    assert_eq!(read(&back), (2, 2, 0x20_0000, 0));
    retire(&mut region, 0).unwrap();
    assert_eq!(read(&region), (2, 2, 0x40_0000, 1));
    assert_eq!(retire(&mut region, 0), Err(RootsError::NoSuchRoot { index: 0, nr: 3 }));
    assert_eq!(add(&mut region, &root("c")), Ok(0), "a retired entry is room");
    let missing = RootsError::NoSuchRoot { index: 3, nr: 3 };
    assert_eq!(supersede(&mut region, &root("z"), Batch::ALONE), Err(missing));
}

#[test]
fn a_root_can_change_for_ever() {
    let mut region = with_roots(&["a", "b"]);
    for nr in 0..1000 {
        let old = Roots::read(&region).unwrap().find("a").unwrap().index;
        let next = NewRoot { object_offset: 0x20_0000 + nr * 8, ..root("a") };
        supersede(&mut region, &next, Batch::ALONE).unwrap();
        retire(&mut region, old).unwrap();
    }
    assert_eq!(Roots::read(&region).unwrap().find("a").unwrap().serial, 1000);
}

/// As for `add`, where the entry and the description are written over those of a retired root.
#[test]
fn a_kill_while_a_retired_entry_is_used_again_leaves_the_old_record_or_the_new() {
    let mut before = with_roots(&["x", "a"]);
    retire(&mut before, 0).unwrap();
    let mut after = before.clone();
    let next = NewRoot { object_offset: 0x40_0000, ..root("a") };
    assert_eq!(supersede(&mut after, &next, Batch::ALONE), Ok(0));
    let mut torn = before.clone();
    let descriptions_at = Layout::new(MIN_BYTES).unwrap().descriptions_at;
    let entry_at = Layout::entry_at(0);
    let order = (descriptions_at..descriptions_at + FORM.len()).chain(entry_at + 1..entry_at + ENTRY_BYTES);
    for at in order {
        assert_eq!(Roots::read(&torn).unwrap().find("a").unwrap().object_offset, 0x20_0000);
        torn[at] = after[at];
    }
    torn[entry_at] = after[entry_at];
    assert_eq!(torn, after);
    assert_eq!(Roots::read(&torn).unwrap().find("a").unwrap().object_offset, 0x40_0000);
}

#[test]
fn a_full_record_says_so() {
    let mut region = with_roots(&[]);
    let error = (0..).find_map(|nr| add(&mut region, &root(&format!("root {nr}"))).err());
    assert_eq!(error, Some(RootsError::Full { nr: 8 }));
    assert_eq!(Roots::read(&region).unwrap().len(), 8);
}

#[test]
fn every_flipped_bit_of_the_used_part_is_refused() {
    let region = with_roots(&["a", "b"]);
    let end = Roots::read(&region).unwrap().descriptions_end;
    let entries = 0..Layout::entry_at(2);
    let descriptions = Layout::new(MIN_BYTES).unwrap().descriptions_at..end;
    for (at, bit) in entries.chain(descriptions).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut flipped = region.clone();
        flipped[at] ^= 1 << bit;
        assert!(Roots::read(&flipped).is_err(), "byte {at}, bit {bit}");
    }
}

#[test]
fn a_root_behind_an_empty_entry_is_refused() {
    let mut region = with_roots(&["a", "b"]);
    region[Layout::entry_at(0)] = EMPTY;
    assert_eq!(Roots::read(&region).unwrap_err(), RootsError::Gap { index: 1 });
}

/// ```text
/// |a0|b0|           |a0|b0|a1|          |a0|b0|a1|b1|       a1 counts together with b1
/// ```
#[test]
fn roots_that_change_together_change_by_the_last_store() {
    let mut region = with_roots(&["a", "b", "c"]);
    let at = |region: &[u8], name: &str| Roots::read(region).unwrap().find(name).unwrap().object_offset;
    let moved = |name| NewRoot { object_offset: 0x40_0000, ..root(name) };
    let batch = new_batch(&region, 2).unwrap();
    assert_eq!(batch, Batch { id: 1, nr_roots: 2 });
    supersede(&mut region, &moved("a"), batch).unwrap();
    assert_eq!((at(&region, "a"), at(&region, "b")), (0x20_0000, 0x20_0000));
    let roots = Roots::read(&region).unwrap();
    assert_eq!((roots.len(), roots.iter_all().count()), (3, 4));
    assert!(roots.iter().all(|root| root.serial == 0));

    // Cut here, the next one begins anew, and what was left does not count for it.
    let mut again = region.clone();
    let next = new_batch(&again, 2).unwrap();
    assert_eq!(next.id, 2);
    assert_eq!(supersede(&mut again, &moved("b"), next), Ok(4));
    assert_eq!((at(&again, "a"), at(&again, "b")), (0x20_0000, 0x20_0000));
    assert_eq!(supersede(&mut again, &moved("a"), next), Ok(5));
    assert_eq!((at(&again, "a"), at(&again, "b")), (0x40_0000, 0x40_0000));
    assert_eq!(Roots::read(&again).unwrap().find("a").unwrap().serial, 2);

    supersede(&mut region, &moved("b"), batch).unwrap();
    assert_eq!((at(&region, "a"), at(&region, "b")), (0x40_0000, 0x40_0000));
    // To retire one takes all back.
    let mut back = region.clone();
    retire(&mut back, 4).unwrap();
    assert_eq!((at(&back, "a"), at(&back, "b")), (0x20_0000, 0x20_0000));
    // Nothing is taken back by retiring what was before, one after the other, nor by the next change of one of them.
    for before in [0, 1] {
        retire(&mut region, before).unwrap();
        assert_eq!((at(&region, "a"), at(&region, "b")), (0x40_0000, 0x40_0000));
    }
    let alone = NewRoot { object_offset: 0x60_0000, ..root("a") };
    let next = new_batch(&region, 1).unwrap();
    supersede(&mut region, &alone, next).unwrap();
    let is_old = |root: &Root<'_>| root.name == "a" && root.serial == 1;
    let old = Roots::read(&region).unwrap().iter_all().find(is_old).unwrap().index;
    retire(&mut region, old).unwrap();
    assert_eq!((at(&region, "a"), at(&region, "b")), (0x60_0000, 0x40_0000));
}

#[test]
fn a_poisoned_root_stays_so_when_it_changes() {
    let mut region = with_roots(&["a"]);
    set_state(&mut region, 0, RootState::Poisoned).unwrap();
    supersede(&mut region, &NewRoot { object_offset: 0x40_0000, ..root("a") }, Batch::ALONE).unwrap();
    let found = Roots::read(&region).unwrap().find("a").unwrap();
    assert_eq!((found.serial, found.state), (1, RootState::Poisoned));
}
