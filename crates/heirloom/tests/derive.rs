//! The derive and the `root!` macro, seen from a program that forbids unsafe code.
#![forbid(unsafe_code)]

use std::marker::PhantomData;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use heirloom::Heritable;
use heirloom::note::{CandidateError, HeapFormat, read_candidate, read_own};
use heirloom_abi::types::{TypeView, first_difference, flat_len, flatten};

macro_rules! form {
    ($ty:ty) => {{
        static FORM: [u8; flat_len(<$ty as Heritable>::TYPE)] = flatten(<$ty as Heritable>::TYPE);
        &FORM
    }};
}

fn whole(form: &[u8]) -> String {
    format!("{:#}", TypeView::parse(form).unwrap())
}

#[derive(Default, Heritable)]
#[repr(C)]
struct Session {
    id: AtomicU64,
    hits: u32,
    r#type: (u8, u8),
    level: Level,
}

#[derive(Default, Heritable)]
#[repr(u8)]
enum Level {
    #[default]
    Guest = 1,
    #[heritable(name = "Member")]
    Subscriber,
}

#[test]
fn a_struct_is_described_as_it_was_declared() {
    let expected = "struct Session { // 16 bytes\n    id: AtomicU64, // at 0\n    hits: u32, // at 8\n    \
                    type: (u8, u8), // at 12\n    level: enum Level: u8 {\n        Guest = 1,\n        Member = 2,\n    }, \
                    // at 14\n}";
    assert_eq!(whole(form!(Session)), expected);
    let _ = Level::Subscriber;
}

#[derive(Heritable)]
#[repr(transparent)]
struct Meters(f64);

#[derive(Heritable)]
#[repr(C)]
struct Unit;

#[derive(Heritable)]
#[repr(C, align(64))]
struct Ring<T: Copy, const N: usize>
where
    T: Send,
{
    slots: [T; N],
    unit: Unit,
    of: PhantomData<T>,
}

#[test]
fn wrappers_units_and_parameters_are_described() {
    assert_eq!(whole(form!(Meters)), "struct Meters { // 8 bytes\n    0: f64, // at 0\n}");
    let ring = whole(form!(Ring<u16, 3>));
    assert!(ring.starts_with("struct Ring { // 64 bytes\n    slots: [u16; 3], // at 0\n"), "{ring}");
    let difference = first_difference(form!(Ring<u16, 3>), form!(Ring<u16, 4>)).unwrap().unwrap();
    assert_eq!(difference.to_string(), "Ring.slots: [u16; 3] at 0 -> [u16; 4] at 0");
}

/// The same names at another place in the program: nothing has changed for who reads the bytes.
mod moved {
    use heirloom::Heritable;

    #[derive(Heritable)]
    #[repr(transparent)]
    pub(crate) struct Meters(f64);

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(name = "Unit")]
    pub(crate) struct Nothing;
}

#[test]
fn a_type_that_only_moved_is_the_same() {
    assert_eq!(form!(Meters), form!(moved::Meters));
    assert_eq!(form!(Unit), form!(moved::Nothing));
}

#[derive(Heritable)]
#[repr(C)]
struct Node<T> {
    value: T,
    #[heritable(recursive)]
    children: heirloom::Vec<(u64, Node<T>)>,
    #[heritable(recursive)]
    rest: heirloom::Vec<Self>,
}

#[derive(Heritable)]
#[repr(C)]
struct Outer {
    inner: heirloom::Vec<Inner>,
}

#[derive(Heritable)]
#[repr(C)]
struct Inner {
    #[heritable(recursive = Outer)]
    back: heirloom::Vec<Outer>,
}

#[test]
fn a_type_that_reaches_itself_has_an_end() {
    let node = whole(form!(Node<u64>));
    assert!(node.contains("children: Vec<(u64, Node)>, // at 8\n    rest: Vec<Node>, // at 32"), "{node}");
    let outer = whole(form!(Outer));
    assert!(outer.contains("back: Vec<Outer>, // at 0"), "{outer}");
    let difference = first_difference(form!(Node<u64>), form!(Node<i64>)).unwrap().unwrap();
    assert_eq!(difference.to_string(), "Node.value: u64 at 0 -> i64 at 0");
}

heirloom::root! {
    /// Used, and public as far as a test can be.
    pub static SESSION: Session = "session";
    pub(crate) static COUNTER: AtomicU64 = "counter";
    /// Its note must be in the binary all the same.
    static UNUSED: AtomicU64 = "unused";
}

#[test]
fn the_roots_of_this_very_binary_are_found_in_it() {
    let path = std::env::current_exe().unwrap();
    for candidate in [read_candidate(&path).unwrap(), read_own().unwrap()] {
        let roots: Vec<_> = candidate.roots().collect();
        let counter = form!(AtomicU64).as_slice();
        assert_eq!(roots, [("counter", counter), ("session", form!(Session)), ("unused", counter)]);
        let own = [(SESSION.name(), SESSION.type_bytes()), (COUNTER.name(), COUNTER.type_bytes())];
        candidate.check(own, HeapFormat::CURRENT).unwrap();
        let error = candidate.check([("counter", SESSION.type_bytes())], HeapFormat::CURRENT).unwrap_err();
        let text = "root \"counter\" has another type: Session -> AtomicU64; declare what it is made from: #[heritable(from = ..)] on the type around it (heap -> program)";
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(SESSION.fingerprint(), heirloom_abi::types::fingerprint(form!(Session)));
}

#[test]
fn a_program_that_does_not_link_heirloom_has_no_note() {
    let error = read_candidate(Path::new("/bin/true"));
    assert!(matches!(error, Err(CandidateError::NoNote)), "{error:?}");
}
