use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::Write as _;

use proptest::prelude::*;

use super::{ByteString, INLINE_BYTES};
use crate::Vec;
use crate::alloc::{fail_after, never_fail};

#[derive(Clone, Debug)]
enum Op {
    Push(u8),
    Pop,
    Extend(std::vec::Vec<u8>),
    Insert(u8, std::vec::Vec<u8>),
    Remove(u8),
    RemoveRange(u8, u8),
    Truncate(u8),
    Clear,
    Resize(u8, u8),
    SplitOff(u8),
    Retain,
    Reserve(u8),
    ShrinkToFit,
    Clone,
    CloneFrom(std::vec::Vec<u8>),
    ThroughVec,
    Write(u8, u8),
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..30);
    prop_oneof![
        6 => any::<u8>().prop_map(Op::Push),
        2 => Just(Op::Pop),
        4 => bytes().prop_map(Op::Extend),
        2 => (any::<u8>(), bytes()).prop_map(|(at, bytes)| Op::Insert(at, bytes)),
        2 => any::<u8>().prop_map(Op::Remove),
        2 => any::<(u8, u8)>().prop_map(|(a, b)| Op::RemoveRange(a, b)),
        2 => any::<u8>().prop_map(Op::Truncate),
        1 => Just(Op::Clear),
        1 => any::<(u8, u8)>().prop_map(|(len, byte)| Op::Resize(len % 64, byte)),
        1 => any::<u8>().prop_map(Op::SplitOff),
        1 => Just(Op::Retain),
        1 => any::<u8>().prop_map(Op::Reserve),
        2 => Just(Op::ShrinkToFit),
        1 => Just(Op::Clone),
        1 => bytes().prop_map(Op::CloneFrom),
        1 => Just(Op::ThroughVec),
        2 => any::<(u8, u8)>().prop_map(|(at, byte)| Op::Write(at, byte)),
    ]
}

fn run(ops: &[Op]) {
    let mut ours = ByteString::new();
    let mut theirs = std::vec::Vec::new();
    for op in ops {
        let len = theirs.len();
        let within = |at: u8| usize::from(at) % (len + 1);
        match op {
            Op::Push(byte) => (ours.push(*byte), theirs.push(*byte)).0,
            Op::Pop => assert_eq!(ours.pop(), theirs.pop()),
            Op::Extend(bytes) => (ours.extend_from_slice(bytes), theirs.extend_from_slice(bytes)).0,
            Op::Insert(at, bytes) => {
                ours.insert_slice(within(*at), bytes);
                theirs.splice(within(*at)..within(*at), bytes.iter().copied());
            }
            Op::Remove(at) if len > 0 => {
                assert_eq!(ours.remove(within(*at) % len), theirs.remove(within(*at) % len));
            }
            Op::Remove(_) => {}
            Op::RemoveRange(a, b) => {
                let (a, b) = (within(*a), within(*b));
                ours.remove_range(a.min(b)..a.max(b));
                theirs.drain(a.min(b)..a.max(b));
            }
            Op::Truncate(at) => (ours.truncate((*at).into()), theirs.truncate((*at).into())).0,
            Op::Clear => (ours.clear(), theirs.clear()).0,
            Op::Resize(to, byte) => (ours.resize((*to).into(), *byte), theirs.resize((*to).into(), *byte)).0,
            Op::SplitOff(at) => {
                assert_eq!(ours.split_off(within(*at)), theirs.split_off(within(*at)));
            }
            Op::Retain => (ours.retain(|byte| byte % 2 == 1), theirs.retain(|byte| byte % 2 == 1)).0,
            Op::Reserve(more) => {
                ours.reserve((*more).into());
                assert!(ours.capacity() >= len + usize::from(*more));
            }
            Op::ShrinkToFit => {
                ours.shrink_to_fit();
                assert_eq!(ours.is_inline(), len <= INLINE_BYTES);
            }
            Op::Clone => ours = ours.clone(),
            Op::CloneFrom(bytes) => {
                ours.clone_from(&ByteString::from(bytes.as_slice()));
                theirs.clone_from(bytes);
            }
            Op::ThroughVec => ours = ByteString::from(ours.into_vec()),
            Op::Write(at, byte) if len > 0 => {
                ours[within(*at) % len] = *byte;
                theirs[within(*at) % len] = *byte;
            }
            Op::Write(..) => {}
        }
        assert_eq!(ours, theirs);
        assert!(ours.capacity() >= ours.len());
        assert!(!ours.is_inline() || ours.capacity() == INLINE_BYTES);
        assert!(ours.is_inline() || ours.capacity() > INLINE_BYTES);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_behaves_like_a_vector_of_std(ops in prop::collection::vec(op(), 1..if cfg!(miri) { 20 } else { 120 })) {
        run(&ops);
    }
}

/// ```text
/// 0 ......... 22 | 23            0 .. 8  | 8 .. 16 | 16 .. 24
/// contents       | 23            address | 24      | 64 and bit 63
/// ```
#[test]
fn the_24th_byte_moves_the_contents_into_a_block() {
    fail_after(0);
    let mut string: ByteString = (0..23).collect();
    assert!(string.try_push(23).is_err());
    assert!(string.is_inline() && string.len() == 23, "and a full heap leaves it as it was");
    never_fail();
    string.push(23);
    assert!(!string.is_inline() && string.capacity() == 64);
    assert!(string.iter().copied().eq(0..24));
    let start = string.as_ptr();
    let vec = string.into_vec();
    assert_eq!((vec.as_ptr(), vec.capacity()), (start, 64), "a vector takes the block over");
    let mut string = ByteString::from(vec);
    assert_eq!(string.as_ptr(), start, "and gives it back");
    string.pop();
    assert!(!string.is_inline(), "a string keeps its block until it is told to shrink");
    string.shrink_to_fit();
    assert!(string.is_inline() && string.iter().copied().eq(0..23));
}

#[test]
fn a_full_heap_leaves_the_bytes_unchanged() {
    let mut string = ByteString::from([7; 48]);
    assert_eq!(string.capacity(), 48);
    fail_after(0);
    let outcomes = [
        string.try_push(1),
        string.try_extend_from_slice(b"x"),
        string.try_insert_slice(3, b"x"),
        string.try_reserve(1),
        string.try_reserve(usize::MAX),
        ByteString::try_with_capacity(24).map(drop),
        ByteString::try_from_slice(&[0; 24]).map(drop),
        string.try_clone().map(drop),
    ];
    let written = string.write(b"w");
    string.shrink_to_fit();
    let short = ByteString::from("needs no memory");
    never_fail();
    assert!(outcomes.iter().all(Result::is_err) && written.is_err());
    assert_eq!(string, [7; 48]);
    drop(short);
}

#[test]
fn it_prints_compares_and_hashes_like_a_slice() {
    let hash = |job: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        job(&mut hasher);
        hasher.finish()
    };
    for text in ["short", "longer than what fits into the string itself"] {
        let string = ByteString::from(text);
        assert_eq!(hash(&|h| string.hash(h)), hash(&|h| text.as_bytes().hash(h)));
        assert!(string == *text && string == text && *text.as_bytes() == string);
        let vec = Vec::from(text.as_bytes());
        assert!(string.cmp(&ByteString::from("z")).is_lt() && string == vec);
        assert_eq!(format!("{string:?}"), format!("b\"{text}\""));
    }
    assert_eq!(format!("{:?}", ByteString::from([0, b'"', 0xFF])), r#"b"\x00\"\xff""#);
    let mut written = ByteString::default();
    write!(written, "{}-{}", 1, 2).unwrap();
    written.extend(b"!");
    assert_eq!(written, b"1-2!");
    let map = crate::HashMap::from([(ByteString::from(b"k"), 1)]);
    assert_eq!(map.get(&b"k"[..]), Some(&1));
}
