//! The byte form of types: the golden file of version 1, and bytes that nobody wrote.

use heirloom_abi::types::{
    ARRAY, CaseDesc, FieldDesc, FieldRules, Hook, Lineage, Shape, TUPLE, TypeDesc, TypeKind, TypeRules,
    TypeView, VariantDesc, fingerprint, first_change, first_difference, flat_len, flatten, hooks, nr_hooks,
    rules_form, rules_len,
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

/// An enum with data, in a struct that takes what its ancestors left.
const EVENT: &TypeDesc = &TypeDesc {
    name: "Event",
    size: 16,
    align: 8,
    rules: &TypeRules { removed: &["Gone"], from: &[], back_to: &[], rollback: true },
    kind: TypeKind::DataEnum {
        repr: "u8",
        cases: &[
            CaseDesc {
                variant: VariantDesc { name: "Quiet", discriminant: 0, was: &["Silent"] },
                fields: &[],
            },
            CaseDesc {
                variant: VariantDesc { name: "Loud", discriminant: 4, was: &[] },
                fields: &[FieldDesc { name: "at", offset: 8, ty: U64, rules: FieldRules::NONE }],
            },
        ],
    },
};
const fn hook() -> (heirloom_abi::types::ConvertFn, heirloom_abi::types::DropFn) {
    (|_, _| {}, |_| {})
}
const NEVER: heirloom_abi::types::DropFn = hook().1;
const LOG: &TypeDesc = &TypeDesc {
    name: "Log",
    size: 24,
    align: 8,
    rules: &TypeRules {
        removed: &[],
        from: &[Lineage { ty: PAIR, convert: hook().0, drop_made: NEVER, drop_other: NEVER }],
        back_to: &[],
        rollback: false,
    },
    kind: TypeKind::Struct {
        fields: &[
            FieldDesc { name: "event", offset: 0, ty: EVENT, rules: FieldRules::NONE },
            FieldDesc {
                name: "count",
                offset: 16,
                ty: U64,
                rules: FieldRules { was: &["nr"], default: Some((NEVER, NEVER)), secret: true },
            },
        ],
    },
};
static LOG_FORM: [u8; flat_len(LOG)] = flatten(LOG);
static LOG_RULES: [u8; rules_len(LOG)] = rules_form(LOG);

fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    let path = format!("{}/tests/types/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("HEIRLOOM_BLESS").is_some() {
        std::fs::write(&path, written).unwrap();
    }
    std::fs::read(&path).unwrap()
}

#[test]
fn version_2_is_as_it_was_released() {
    let golden = golden("v2.bin", &LOG_FORM);
    assert_eq!(golden, LOG_FORM, "the writer of version 2 has changed");
    let text = format!("{:#}", TypeView::parse(&golden).unwrap());
    let expected = "struct Log { // 24 bytes\n    event: enum Event: u8 { // 16 bytes\n        Quiet = 0,\n        Loud = 4 { at: \
                    u64 at 8 },\n    }, // at 0\n    count: u64, // at 16\n}";
    assert_eq!(text, expected);
    let mut lower = golden;
    lower[2] = 1;
    assert!(TypeView::parse(&lower).is_err(), "version 1 has no enums with data");
    let mut higher = FORM.to_vec();
    higher[2] = 2;
    assert!(TypeView::parse(&higher).is_err(), "what version 1 can say is said in version 1");
}

#[test]
fn rules_version_1_is_as_it_was_released() {
    let golden = golden("rules-v1.bin", &LOG_RULES);
    assert_eq!(golden, LOG_RULES, "the writer of rules has changed");
    assert!(TypeView::parse(&golden).is_err(), "a form with rules is no description of a layout");
    let log = TypeView::parse_rules(&golden).unwrap();
    let history = log.history();
    let from: Vec<_> = history.from.map(|relative| (relative.hook, relative.ty.to_string())).collect();
    assert_eq!(from, [(1, "([u8; 4], Level)".to_owned())]);
    let Shape::Struct(fields) = log.shape else { panic!("a struct") };
    let rules: Vec<_> = fields
        .map(|field| {
            (field.name, field.rules.was.collect::<Vec<_>>(), field.rules.default, field.rules.secret)
        })
        .collect();
    assert_eq!(rules, [("event", vec![], None, false), ("count", vec!["nr"], Some(0), true)]);
    let event = fields.into_iter().next().unwrap().ty;
    assert!(event.history().rollback && event.history().removed.eq(["Gone"]));
    assert!(
        first_change(&TypeView::parse(&LOG_FORM).unwrap(), &log).is_none(),
        "rules are no part of the type"
    );
    assert_eq!(nr_hooks(LOG), 2);
    assert!(matches!(hooks::<2>(LOG), [Some(Hook::Default(..)), Some(Hook::Convert { .. })]));
}

#[test]
fn changed_rules_are_refused_or_read_and_never_panic() {
    for at in 0..LOG_RULES.len() {
        for byte in [0, 1, 2, 7, 0x7f, 0xff] {
            let mut changed = LOG_RULES;
            changed[at] = byte;
            if let Ok(ty) = TypeView::parse_rules(&changed) {
                let _ = (format!("{ty:#}"), ty.history().from.count(), ty.history().back_to.count());
            }
            assert!(TypeView::parse_rules(&LOG_RULES[..at]).is_err());
        }
    }
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
