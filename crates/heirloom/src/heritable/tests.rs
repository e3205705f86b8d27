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
