extern crate std;

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;

const U64: &TypeDesc = &TypeDesc::primitive("u64", 8, 8);
const U32: &TypeDesc = &TypeDesc::primitive("u32", 4, 4);
const STRING: &TypeDesc = &TypeDesc::collection("String", 1, 24, 8, &[]);

macro_rules! structure {
    ($name:literal, $size:literal, $($field:literal at $offset:literal: $ty:expr),*) => {
        &TypeDesc { name: $name, size: $size, align: 8, rules: TypeRules::NONE, kind: TypeKind::Struct {
            fields: &[$(FieldDesc { name: $field, offset: $offset, ty: $ty, rules: FieldRules::NONE }),*],
        } }
    };
}

const SESSION: &TypeDesc = structure!("Session", 40, "id" at 0: U64, "hits" at 8: U64, "name" at 16: STRING);

const fn map(value: &'static [&'static TypeDesc; 2]) -> TypeDesc {
    TypeDesc::collection("HashMap", 1, 48, 8, value)
}

macro_rules! form {
    ($ty:expr) => {{
        static FORM: [u8; flat_len($ty)] = flatten($ty);
        &FORM
    }};
}

macro_rules! sessions {
    ($session:expr) => {{
        const MAP: &TypeDesc = &map(&[U64, $session]);
        const MUTEX: &TypeDesc = &TypeDesc::collection("Mutex", 1, 64, 8, &[MAP]);
        form!(MUTEX)
    }};
}

fn text(old: &[u8], new: &[u8]) -> String {
    first_difference(old, new).unwrap().map_or(String::from("none"), |found| found.to_string())
}

#[test]
fn a_type_reads_like_rust() {
    let view = TypeView::parse(sessions!(SESSION)).unwrap();
    assert_eq!(view.to_string(), "Mutex<HashMap<u64, Session>>");
    let whole = "Mutex<HashMap<u64, struct Session { // 40 bytes\n    id: u64, // at 0\n    hits: u64, // at 8\n    \
                 name: String, // at 16\n}>>";
    assert_eq!(format!("{view:#}"), whole);
}

#[test]
fn tuples_arrays_and_enums_read_like_rust() {
    const PAIR: &TypeDesc = structure!("(,)", 16, "0" at 0: U64, "1" at 8: U64);
    const PAIRS: &TypeDesc = &TypeDesc {
        name: ARRAY,
        size: 48,
        align: 8,
        rules: TypeRules::NONE,
        kind: TypeKind::Array { elem: PAIR, len: 3 },
    };
    assert_eq!(TypeView::parse(form!(PAIRS)).unwrap().to_string(), "[(u64, u64); 3]");
    assert_eq!(
        format!("{:#}", TypeView::parse(form!(LEVEL)).unwrap()),
        "enum Level: u8 {\n    Low = 1,\n    High = -2,\n}"
    );
}

const fn level(variants: &'static [VariantDesc]) -> TypeDesc {
    TypeDesc {
        name: "Level",
        size: 1,
        align: 1,
        rules: TypeRules::NONE,
        kind: TypeKind::FieldlessEnum { repr: "u8", variants },
    }
}
const LOW: VariantDesc = VariantDesc { name: "Low", discriminant: 1, was: &[] };
const HIGH: VariantDesc = VariantDesc { name: "High", discriminant: -2, was: &[] };
const LEVEL: &TypeDesc = &level(&[LOW, HIGH]);

#[test]
fn the_path_to_a_changed_field_is_named() {
    const NEW: &TypeDesc = structure!("Session", 40, "id" at 0: U64, "hits" at 8: U32, "name" at 16: STRING);
    assert_eq!(
        text(sessions!(SESSION), sessions!(NEW)),
        "Mutex.value: HashMap.value: Session.hits: u64 at 8 -> u32 at 8"
    );
    assert_eq!(text(sessions!(SESSION), sessions!(SESSION)), "none");
}

#[test]
fn a_key_is_told_from_a_value() {
    const OLD: &TypeDesc = &map(&[U64, SESSION]);
    const NEW: &TypeDesc = &map(&[STRING, SESSION]);
    assert_eq!(text(form!(OLD), form!(NEW)), "HashMap.key: u64 -> String");
}

#[test]
fn a_new_field_is_told_before_what_it_moved() {
    const NEW: &TypeDesc =
        structure!("Session", 48, "id" at 0: U64, "age" at 8: U64, "hits" at 16: U64, "name" at 24: STRING);
    let prefix = "Mutex.value: HashMap.value: Session: ";
    assert_eq!(text(sessions!(SESSION), sessions!(NEW)), format!("{prefix}field `age` was added"));
    assert_eq!(text(sessions!(NEW), sessions!(SESSION)), format!("{prefix}field `age` is missing"));
}

#[test]
fn a_renamed_and_a_moved_field_are_told_apart() {
    const NEW: &TypeDesc = structure!("Session", 40, "id" at 0: U64, "count" at 8: U64, "name" at 16: STRING);
    assert_eq!(text(form!(SESSION), form!(NEW)), "Session: field `hits` was renamed to `count`");
    const SWAPPED: &TypeDesc =
        structure!("Session", 40, "hits" at 0: U64, "id" at 8: U64, "name" at 16: STRING);
    assert_eq!(text(form!(SESSION), form!(SWAPPED)), "Session: field `id` moved, offset 0 -> 8");
}

#[test]
fn changes_of_the_whole_are_named() {
    const LARGER: &TypeDesc =
        structure!("Session", 64, "id" at 0: U64, "hits" at 8: U64, "name" at 16: STRING);
    assert_eq!(text(form!(SESSION), form!(LARGER)), "Session: size 40 -> 64 bytes");
    const OTHER: &TypeDesc =
        structure!("Account", 40, "id" at 0: U64, "hits" at 8: U64, "name" at 16: STRING);
    assert_eq!(text(form!(SESSION), form!(OTHER)), "Session -> Account");
    const NEXT: &TypeDesc = &TypeDesc::collection("String", 2, 24, 8, &[]);
    assert_eq!(text(form!(STRING), form!(NEXT)), "String: version of its layout 1 -> 2");
    const EMPTY: &TypeDesc = structure!("Pair", 0, "a" at 0: UNIT, "b" at 0: UNIT);
    const TURNED: &TypeDesc = structure!("Pair", 0, "b" at 0: UNIT, "a" at 0: UNIT);
    assert_eq!(text(form!(EMPTY), form!(TURNED)), "Pair: the same parts are declared in another order");
}
const UNIT: &TypeDesc = &TypeDesc::primitive("()", 0, 1);

#[test]
fn changes_of_an_enum_are_named() {
    const FEWER: &TypeDesc = &level(&[LOW]);
    assert_eq!(text(form!(LEVEL), form!(FEWER)), "Level: variant `High` is missing");
    assert_eq!(text(form!(FEWER), form!(LEVEL)), "Level: variant `High` was added");
    const MOVED: &TypeDesc = &level(&[VariantDesc { name: "Low", discriminant: 7, was: &[] }, HIGH]);
    assert_eq!(text(form!(LEVEL), form!(MOVED)), "Level: variant `Low` has another value, 1 -> 7");
    const TURNED: &TypeDesc = &level(&[HIGH, LOW]);
    assert_eq!(text(form!(LEVEL), form!(TURNED)), "Level: the same parts are declared in another order");
}

#[test]
fn an_array_of_another_length_is_another_type() {
    const THREE: &TypeDesc = &TypeDesc {
        name: ARRAY,
        size: 24,
        align: 8,
        rules: TypeRules::NONE,
        kind: TypeKind::Array { elem: U64, len: 3 },
    };
    const FOUR: &TypeDesc = &TypeDesc {
        name: ARRAY,
        size: 32,
        align: 8,
        rules: TypeRules::NONE,
        kind: TypeKind::Array { elem: U64, len: 4 },
    };
    const OLD: &TypeDesc = structure!("Ring", 40, "slots" at 0: THREE);
    const NEW: &TypeDesc = structure!("Ring", 40, "slots" at 0: FOUR);
    assert_eq!(text(form!(OLD), form!(NEW)), "Ring.slots: [u64; 3] at 0 -> [u64; 4] at 0");
}

#[test]
fn a_linked_type_ends_at_its_own_name() {
    const AGAIN: &TypeDesc = &TypeDesc::recursive("Node", 16, 8);
    const NEXT: &TypeDesc = &TypeDesc::collection("Box", 1, 8, 8, &[AGAIN]);
    const NODE: &TypeDesc = structure!("Node", 16, "value" at 0: U64, "next" at 8: NEXT);
    let view = TypeView::parse(form!(NODE)).unwrap();
    assert_eq!(
        format!("{view:#}"),
        "struct Node { // 16 bytes\n    value: u64, // at 0\n    next: Box<Node>, // at 8\n}"
    );
}

/// Without this, a circle of two types would leave one of them undescribed, and its changes unnoticed.
#[test]
#[should_panic(expected = "names a type that does not enclose it")]
fn a_recursive_part_must_be_enclosed() {
    let stray = TypeDesc::recursive("Node", 16, 8);
    let _ = flat_len(&stray);
}

/// A value that lies within itself would have no end.
#[test]
fn a_recursive_part_that_no_collection_holds_is_refused() {
    const INNER: &TypeDesc = &TypeDesc::primitive("Node", 8, 8);
    for form in [
        Vec::from(*form!(structure!("Node", 8, "inner" at 0: INNER))),
        Vec::from(*form!(structure!("Node", 8, "inner" at 0: structure!("(,)", 8, "0" at 0: INNER)))),
    ] {
        assert!(TypeView::parse(&form).is_ok());
        // The last node: kind, alignment, size, length of the name, name.
        let at = form.len() - (1 + 1 + 8 + 1 + 4);
        let mut hostile = form;
        assert_eq!(hostile[at], tag::PRIMITIVE);
        hostile[at] = tag::RECURSIVE;
        assert_eq!(TypeView::parse(&hostile).unwrap_err(), TypesError::Recursive { at });
    }
}

#[test]
fn a_recursive_part_without_its_struct_is_refused() {
    let mut form = Vec::from(*form!(U64));
    form[4] = tag::RECURSIVE;
    assert_eq!(TypeView::parse(&form).unwrap_err(), TypesError::Recursive { at: 4 });
}

#[test]
fn every_prefix_is_refused() {
    let form = sessions!(SESSION);
    for len in 0..form.len() {
        assert!(matches!(TypeView::parse(&form[..len]), Err(TypesError::Truncated { .. })), "{len} bytes");
    }
    let mut longer = Vec::from(&form[..]);
    longer.push(0);
    assert_eq!(TypeView::parse(&longer).unwrap_err(), TypesError::Trailing { at: form.len(), nr: 1 });
}

#[test]
fn nesting_without_end_is_refused() {
    let mut form = Vec::from(*b"HT\x01\0");
    for _ in 0..4000 {
        form.extend(*b"\x05\0\0\0\0\0\0\0\0\0\x01x\x01\0\0\0\x01");
    }
    assert!(matches!(TypeView::parse(&form), Err(TypesError::TooLong { .. })));
    form.truncate(4 + 100 * 17);
    assert!(matches!(TypeView::parse(&form), Err(TypesError::TooDeep { .. })));
}

#[test]
fn foreign_names_cannot_reach_the_terminal() {
    let mut form = Vec::from(*form!(U64));
    let at = form.len() - 3;
    form[at] = 0x1b;
    assert_eq!(TypeView::parse(&form).unwrap_err(), TypesError::Name { at: 14 });
}

#[test]
fn a_field_outside_its_struct_is_refused() {
    const OUTSIDE: &TypeDesc = structure!("Bad", 8, "far" at 4: U64);
    let error = TypeView::parse(form!(OUTSIDE)).unwrap_err();
    assert_eq!(error, TypesError::Outside { at: 20, offset: 4, inner: 8, size: 8 });
}

#[test]
fn the_fingerprint_is_xxh64() {
    assert_eq!(fingerprint(b""), 0xef46_db37_51d8_e999);
}
