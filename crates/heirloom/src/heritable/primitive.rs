//! The types of the language.

use std::marker::PhantomData;
use std::mem::offset_of;
use std::num::NonZero;
use std::sync::atomic::{
    AtomicBool, AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32,
    AtomicU64, AtomicUsize,
};

use heirloom_abi::types::{ARRAY, TUPLE};

use super::{FieldDesc, FieldRules, Heritable, TypeDesc, TypeKind, TypeRules};

macro_rules! primitive {
    ($($ty:ty)*) => { $(
        // SAFETY: no pointers; layout and valid values are part of the language, and follow from the name.
        unsafe impl Heritable for $ty {
            const TYPE: &'static TypeDesc =
                &TypeDesc::primitive(stringify!($ty), size_of::<$ty>(), align_of::<$ty>());
        }
    )* };
}

primitive!(());

primitive! {
    u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 bool char
    AtomicBool AtomicU8 AtomicU16 AtomicU32 AtomicU64 AtomicUsize
    AtomicI8 AtomicI16 AtomicI32 AtomicI64 AtomicIsize
}

// SAFETY: elements one after the other, each of which is heritable.
unsafe impl<T: Heritable, const N: usize> Heritable for [T; N] {
    const TYPE: &'static TypeDesc = &TypeDesc {
        name: ARRAY,
        size: size_of::<Self>() as u64,
        align: align_of::<Self>() as u64,
        rules: TypeRules::NONE,
        kind: TypeKind::Array { elem: T::TYPE, len: N as u64 },
    };
}

// SAFETY: no bytes.
unsafe impl<T: Heritable> Heritable for PhantomData<T> {
    const TYPE: &'static TypeDesc = &TypeDesc::collection("PhantomData", 1, 0, 1, &[T::TYPE]);
}

macro_rules! tuple {
    ($($ty:ident $index:tt)+) => {
        // SAFETY: each field is heritable. The compiler may choose their order, but the offsets it chose are told.
        unsafe impl<$($ty: Heritable),+> Heritable for ($($ty,)+) {
            const TYPE: &'static TypeDesc = &TypeDesc {
                name: TUPLE,
                size: size_of::<Self>() as u64,
                align: align_of::<Self>() as u64,
                rules: TypeRules::NONE, kind: TypeKind::Struct {
                    fields: &[$(FieldDesc {
                        name: stringify!($index),
                        offset: offset_of!(Self, $index) as u64,
                        ty: $ty::TYPE,
                        rules: FieldRules::NONE,
                    }),+],
                },
            };
        }
    };
}

tuple!(A 0);
tuple!(A 0 B 1);
tuple!(A 0 B 1 C 2);
tuple!(A 0 B 1 C 2 D 3);

/// A type that is never all zeroes, so that `Option` keeps its `None` there.
///
/// No other `Option` is heritable: where the compiler keeps `None` of any other type is not specified.
///
/// # Safety
///
/// - No value consists of zero bytes only, and the compiler knows it: `Option<Self>` has the size of `Self`.
/// - All zeroes is the only bit pattern that is not a value of the part where `None` is kept.
#[diagnostic::on_unimplemented(
    message = "`Option<{Self}>` cannot live in a heap",
    label = "where the compiler keeps `None` of this is not specified: the next binary may look elsewhere",
    note = "use `heirloom::Maybe<{Self}>`, whose layout is fixed; `Option::from` and `Maybe::from` convert",
    note = "`Option` itself is fine around `heirloom::Box` and `NonZero`, whose `None` is all zeroes everywhere"
)]
pub unsafe trait ZeroNiche: Heritable {}

// SAFETY: `None` is all zeroes, by the contract of `ZeroNiche`; everything else is a `T`.
unsafe impl<T: ZeroNiche> Heritable for Option<T> {
    const TYPE: &'static TypeDesc = {
        assert!(size_of::<Self>() == size_of::<T>(), "a ZeroNiche has no place for None");
        &TypeDesc::collection("Option", 1, size_of::<Self>(), align_of::<Self>(), &[T::TYPE])
    };
}

macro_rules! non_zero {
    ($($ty:ty)*) => { $(
        // SAFETY: the layout of the integer, without zero.
        unsafe impl Heritable for NonZero<$ty> {
            const TYPE: &'static TypeDesc =
                &TypeDesc::collection("NonZero", 1, size_of::<$ty>(), align_of::<$ty>(), &[<$ty>::TYPE]);
        }

        // SAFETY: zero is the one value that is missing, and `Option` is specified to use it.
        unsafe impl ZeroNiche for NonZero<$ty> {}
    )* };
}

non_zero!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);
