//! Secrets in collections of every kind: taken out, and put back.

use std::cell::Cell;

use super::*;
use crate::evolve::secret::{Kept, find};
use crate::rc::Rc;
use crate::sync::OnceLock;
use crate::{BTreeMap, BoxSlice, VecDeque};

const TOKEN: &str = "a token that is longer than a string holds itself";

#[derive(Heritable)]
#[repr(C)]
struct Account {
    id: u32,
    #[heritable(secret)]
    key: [u8; 5],
    #[heritable(secret)]
    token: String,
    #[heritable(secret)]
    turns: VecDeque<u16>,
}

#[derive(Heritable)]
#[repr(C)]
struct All {
    tree: BTreeMap<u32, Account>,
    ring: VecDeque<Account>,
    shared: Vec<Rc<Account>>,
    once: OnceLock<Account>,
    slice: BoxSlice<Account>,
    plain: BTreeMap<u32, u32>,
}

fn account(id: u32) -> Account {
    let mut turns: VecDeque<u16> = (3..7).collect();
    turns.pop_back();
    (0..3).rev().for_each(|nr| turns.push_front(nr));
    Account { id, key: [7; 5], token: TOKEN.into(), turns }
}

fn accounts(all: &All) -> impl Iterator<Item = &Account> {
    let shared = all.shared.iter().map(|account| &**account);
    all.tree.values().chain(&all.ring).chain(shared).chain(all.once.get()).chain(all.slice.iter())
}

/// Takes the secrets out of a value of this type.
fn take<T>(kept: &mut Kept, said: &Said, value: &mut T) -> Result<(), std::string::String> {
    let shapes = find(&said.rules).unwrap().unwrap();
    // SAFETY: a value of that type, which is borrowed.
    unsafe { kept.take(&shapes, &said.hooks, std::ptr::from_mut(value).cast()) }
}

#[test]
#[cfg_attr(miri, ignore = "what is kept outside the heap is bytes, which have no provenance")]
fn secrets_come_out_of_every_collection_and_back() {
    let shared = Rc::new(account(5000));
    let once = OnceLock::new();
    assert!(once.set(account(6000)).is_ok());
    let mut ring: VecDeque<Account> = (0..9).map(account).collect();
    // Around the end, and with room that had one in it.
    ring.rotate_left(4);
    ring.pop_front();
    let mut all = All {
        tree: (0..200).map(|id| (id, account(id))).collect(),
        ring,
        shared: [shared.clone(), shared.clone(), shared].into_iter().collect(),
        once,
        slice: BoxSlice::try_from_vec((0..4).map(account).collect()).ok().unwrap(),
        plain: (0..9).map(|nr| (nr, nr)).collect(),
    };
    let said = said!(All);
    let mut kept = Kept::default();
    take(&mut kept, &said, &mut all).unwrap();
    assert!(accounts(&all).all(|found| {
        found.key == [0; 5] && found.token.is_empty() && found.turns.is_empty() && found.turns.capacity() == 0
    }));
    assert_eq!(accounts(&all).count(), 200 + 8 + 3 + 1 + 4);
    // SAFETY: nobody has used it meanwhile.
    assert_eq!(unsafe { kept.put_back() }, 0);
    assert!(accounts(&all).all(|found| {
        found.key == [7; 5] && &*found.token == TOKEN && found.turns.iter().copied().eq(0..6)
    }));
    assert!(all.tree.iter().all(|(key, found)| *key == found.id) && all.plain.len() == 9);
}

#[test]
#[cfg_attr(miri, ignore = "what is kept outside the heap is bytes, which have no provenance")]
fn a_default_that_panics_takes_nothing() {
    thread_local! {
        static LEFT: Cell<u32> = const { Cell::new(2) };
    }
    fn default() -> String {
        LEFT.set(LEFT.get().checked_sub(1).expect("no more defaults"));
        String::new()
    }
    #[derive(Heritable)]
    #[repr(C)]
    struct Named {
        #[heritable(secret, default = default())]
        name: String,
    }
    let mut all: Vec<Named> = (0..4).map(|_| Named { name: TOKEN.into() }).collect();
    let mut kept = Kept::default();
    let error = take(&mut kept, &said!(Vec<Named>), &mut all).unwrap_err();
    assert!(error.contains("panicked"), "{error}");
    assert_eq!(all.iter().filter(|named| named.name.is_empty()).count(), 2);
    // SAFETY: nobody has used it meanwhile.
    assert_eq!(unsafe { kept.put_back() }, 0);
    assert!(all.iter().all(|named| &*named.name == TOKEN));
}
