use std::marker::PhantomData;
use std::num::NonZero;
use std::sync::atomic::AtomicU64;

use heirloom_abi::types::{TypeView, flat_len, flatten};

use super::Heritable;

macro_rules! text {
    ($ty:ty) => {{
        static FORM: [u8; flat_len(<$ty>::TYPE)] = flatten(<$ty>::TYPE);
        let view = TypeView::parse(&FORM).unwrap();
        assert_eq!((view.size, view.align), (size_of::<$ty>() as u64, align_of::<$ty>() as u64));
        view.to_string()
    }};
}

#[test]
fn types_of_the_language_are_described() {
    assert_eq!(text!(u8), "u8");
    assert_eq!(text!(()), "()");
    assert_eq!(text!(AtomicU64), "AtomicU64");
    assert_eq!(text!([[u16; 3]; 2]), "[[u16; 3]; 2]");
    assert_eq!(text!((u8,)), "(u8,)");
    assert_eq!(text!((u8, u64, char, bool)), "(u8, u64, char, bool)");
    assert_eq!(text!(PhantomData<u32>), "PhantomData<u32>");
    assert_eq!(text!(Option<NonZero<u32>>), "Option<NonZero<u32>>");
}

macro_rules! whole {
    ($ty:ty) => {{
        static FORM: [u8; flat_len(<$ty>::TYPE)] = flatten(<$ty>::TYPE);
        assert_eq!(FORM[2], 2, "the version that knows enums with data");
        format!("{:#}", TypeView::parse(&FORM).unwrap())
    }};
}

/// ```text
/// repr(C, u8)  0 tag | 4 padding | 8 payload: Click { u32 at 8, u64 at 16 }, Key { u8 at 8 }
/// repr(u8)     0 tag | 4 u32 | 8 u64                                        Key { u8 at 1 }
/// ```
#[test]
fn enums_with_data_are_described_as_the_language_lays_them_out() {
    macro_rules! event {
        ($repr:meta) => {{
            #[derive(crate::Heritable)]
            #[$repr]
            #[expect(dead_code, reason = "only described")]
            enum Event<T> {
                Click { x: u32, at: T } = 3,
                Key(u8),
                Quiet,
            }
            let event = Event::Click { x: 1, at: 2_u64 };
            let Event::Click { x, at } = &event else { unreachable!() };
            let start = std::ptr::from_ref(&event).addr();
            let found = (std::ptr::from_ref(x).addr() - start, std::ptr::from_ref(at).addr() - start);
            let Event::Key(key) = &Event::<u64>::Key(1) else { return };
            assert_eq!(*key, 1);
            (whole!(Event<u64>), found)
        }};
    }
    let (text, at) = event!(repr(C, u8));
    assert_eq!(at, (8, 16));
    assert_eq!(
        text,
        "enum Event: u8 { // 24 bytes\n    Click = 3 { x: u32 at 8, at: u64 at 16 },\n    Key = 4 { 0: u8 at 8 },\n    Quiet = 5,\n}"
    );
    let (text, at) = event!(repr(u8));
    assert_eq!(at, (4, 8));
    assert_eq!(
        text,
        "enum Event: u8 { // 16 bytes\n    Click = 3 { x: u32 at 4, at: u64 at 8 },\n    Key = 4 { 0: u8 at 1 },\n    Quiet = 5,\n}"
    );
}

#[test]
fn maybe_and_outcome_are_enums_like_any_other() {
    let text = whole!(crate::Maybe<u32>);
    assert_eq!(text, "enum Maybe: u8 { // 8 bytes\n    None = 0,\n    Some = 1 { 0: u32 at 4 },\n}");
    let text = whole!(crate::Outcome<(), crate::String>);
    assert_eq!(
        text,
        "enum Outcome: u8 { // 32 bytes\n    Ok = 0 { 0: () at 8 },\n    Err = 1 { 0: String at 8 },\n}"
    );
}

/// A list is an enum that reaches itself.
#[test]
fn an_enum_encloses_its_own_recursion() {
    #[derive(crate::Heritable)]
    #[repr(u8)]
    #[expect(dead_code, reason = "only described")]
    enum List {
        End,
        Next(u64, #[heritable(recursive)] crate::Box<List>),
    }
    assert!(whole!(List).contains("1: Box<List> at 16"));
}
