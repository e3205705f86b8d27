//! The byte form of types: the golden file of version 1, and bytes that nobody wrote.

use heirloom_abi::types::{
    ARRAY, FieldDesc, FieldRules, TUPLE, TypeDesc, TypeKind, TypeRules, TypeView, VariantDesc, fingerprint,
    first_difference, flat_len, flatten,
};
use proptest::collection::vec;
use proptest::prelude::*;

const U8: &TypeDesc = &TypeDesc::primitive("u8", 1, 1);
const U64: &TypeDesc = &TypeDesc::primitive("u64", 8, 8);
const STRING: &TypeDesc = &TypeDesc::collection("String", 1, 24, 8, &[]);
const AGAIN: &TypeDesc = &TypeDesc::recursive("Session", 72, 8);
const CHILDREN: &TypeDesc = &TypeDesc::collection("Vec", 1, 24, 8, &[AGAIN]);
const BYTES: &TypeDesc = &TypeDesc {
    name: ARRAY,
    size: 4,
    align: 1,
    rules: TypeRules::NONE,
    kind: TypeKind::Array { elem: U8, len: 4 },
};
const LEVEL: &TypeDesc = &TypeDesc {
    name: "Level",
    size: 1,
    align: 1,
    rules: TypeRules::NONE,
    kind: TypeKind::FieldlessEnum {
        repr: "i8",
        variants: &[
            VariantDesc { name: "Low", discriminant: -1, was: &[] },
            VariantDesc { name: "High", discriminant: 1, was: &[] },
        ],
    },
};
const PAIR: &TypeDesc = &TypeDesc {
    name: TUPLE,
    size: 8,
    align: 1,
    rules: TypeRules::NONE,
    kind: TypeKind::Struct {
        fields: &[
            FieldDesc { name: "0", offset: 0, ty: BYTES, rules: FieldRules::NONE },
            FieldDesc { name: "1", offset: 4, ty: LEVEL, rules: FieldRules::NONE },
        ],
    },
};
/// One of every kind.
const SESSION: &TypeDesc = &TypeDesc {
    name: "Session",
    size: 72,
    align: 8,
    rules: TypeRules::NONE,
    kind: TypeKind::Struct {
        fields: &[
            FieldDesc { name: "id", offset: 0, ty: U64, rules: FieldRules::NONE },
            FieldDesc { name: "name", offset: 8, ty: STRING, rules: FieldRules::NONE },
            FieldDesc { name: "pair", offset: 32, ty: PAIR, rules: FieldRules::NONE },
            FieldDesc { name: "children", offset: 40, ty: CHILDREN, rules: FieldRules::NONE },
        ],
    },
};
static FORM: [u8; flat_len(SESSION)] = flatten(SESSION);

#[test]
fn version_1_is_as_it_was_released() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/types/v1.bin");
    if std::env::var_os("HEIRLOOM_BLESS").is_some() {
        std::fs::write(path, FORM).unwrap();
    }
    let golden = std::fs::read(path).unwrap();
    assert_eq!(golden, FORM, "the writer of version 1 has changed");
    let text = format!("{:#}", TypeView::parse(&golden).unwrap());
    let expected = "struct Session { // 72 bytes\n    id: u64, // at 0\n    name: String, // at 8\n    pair: ([u8; 4], enum \
                    Level: i8 {\n        Low = -1,\n        High = 1,\n    }), // at 32\n    children: Vec<Session>, \
                    // at 40\n}";
    assert_eq!(text, expected);
    assert_eq!(fingerprint(&golden), 0x1b1f_c91c_bdc1_5535);
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    (vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), any::<prop::sample::Index>(), 0..4u8).prop_map(
        |(changes, cut, kind)| {
            let mut form = FORM.to_vec();
            for (at, byte) in changes {
                let at = at.index(form.len());
                form[at] = byte;
            }
            match kind {
                0 => form.truncate(cut.index(FORM.len())),
                1 => form.extend_from_within(cut.index(FORM.len())..),
                _ => {}
            }
            form
        },
    )
}

proptest! {
    #[test]
    fn changed_bytes_are_refused_or_read_and_never_panic(form in mutated()) {
        if let Ok(view) = TypeView::parse(&form) {
            let _ = format!("{view} {view:#}");
        }
        if let Ok(found) = first_difference(&FORM, &form) {
            prop_assert_eq!(found.is_none(), form == FORM);
            let _ = found.map(|found| found.to_string());
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read_and_never_panic(mut form in vec(any::<u8>(), 0..400)) {
        form.splice(..0, *b"HT\x01\0");
        if let Ok(view) = TypeView::parse(&form) {
            let _ = format!("{view} {view:#}");
        }
    }
}
