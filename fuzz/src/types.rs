//! Byte forms of types, and the difference between two of them.

use heirloom_abi::types::{
    ARRAY, CaseDesc, FieldDesc, FieldRules, FieldView, Fields, Shape, TUPLE, TypeDesc, TypeKind, TypeRules,
    TypeView, VariantDesc, first_difference, flat_len, flatten, rules_form, rules_len,
};

const U64: &TypeDesc = &TypeDesc::primitive("u64", 8, 8);
const LEVEL: &TypeDesc = &TypeDesc {
    name: "Level",
    size: 8,
    align: 8,
    rules: TypeRules::NONE,
    kind: TypeKind::FieldlessEnum {
        repr: "u64",
        variants: &[VariantDesc { name: "Low", discriminant: 1, was: &[] }],
    },
};
const PAIR: &TypeDesc = &structure(TUPLE, &[field("0", 0, U64), field("1", 8, LEVEL)]);
const PAIRS: &TypeDesc = &TypeDesc {
    name: ARRAY,
    size: 16,
    align: 8,
    rules: TypeRules::NONE,
    kind: TypeKind::Array { elem: PAIR, len: 1 },
};
const AGAIN: &TypeDesc = &TypeDesc::recursive("Node", 16, 8);
const CHILDREN: &TypeDesc = &TypeDesc::collection("Box", 1, 8, 8, &[AGAIN]);
const NODE: &TypeDesc = &structure("Node", &[field("id", 0, U64), field("next", 8, CHILDREN)]);
const MAP: &TypeDesc = &TypeDesc::collection("HashMap", 1, 48, 8, &[PAIRS, NODE]);
static NODE_FORM: [u8; flat_len(NODE)] = flatten(NODE);
static MAP_FORM: [u8; flat_len(MAP)] = flatten(MAP);

const EVENT: &TypeDesc = &TypeDesc {
    name: "Event",
    size: 16,
    align: 8,
    rules: &TypeRules { removed: &["Gone"], from: &[], back_to: &[], rollback: true },
    kind: TypeKind::DataEnum {
        repr: "u8",
        cases: &[CaseDesc {
            variant: VariantDesc { name: "Loud", discriminant: 4, was: &["Noisy"] },
            fields: &[field("at", 8, U64)],
        }],
    },
};
static EVENT_FORM: [u8; flat_len(EVENT)] = flatten(EVENT);
static EVENT_RULES: [u8; rules_len(EVENT)] = rules_form(EVENT);

const fn field(name: &'static str, offset: u64, ty: &'static TypeDesc) -> FieldDesc {
    FieldDesc { name, offset, ty, rules: FieldRules::NONE }
}

const fn structure(name: &'static str, fields: &'static [FieldDesc]) -> TypeDesc {
    TypeDesc { name, size: 16, align: 8, rules: TypeRules::NONE, kind: TypeKind::Struct { fields } }
}

/// Reads `data` as a type, and compares it with ours: there is a difference exactly where the bytes differ.
pub fn run(data: &[u8]) {
    if let Ok(ty) = TypeView::parse_rules(data) {
        walk(&ty);
        walk_history(&ty);
    }
    let Ok(ty) = TypeView::parse(data) else {
        assert!(first_difference(&MAP_FORM, data).is_err() && first_difference(data, &MAP_FORM).is_err());
        return;
    };
    walk(&ty);
    let text = format!("{ty}{ty:#}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    assert!(first_difference(data, data).expect("it was accepted").is_none());
    for (old, new) in [(data, &MAP_FORM[..]), (&MAP_FORM, data)] {
        let found = first_difference(old, new).expect("both were accepted");
        assert_eq!(found.is_none(), old == new);
        assert!(found.is_none_or(|found| !found.to_string().is_empty()));
    }
}

/// What lies inside a type fits in it.
fn walk(ty: &TypeView<'_>) {
    assert!(ty.align.is_power_of_two() && ty.size % ty.align == 0);
    match ty.shape {
        Shape::Struct(fields) => fields.into_iter().for_each(|FieldView { offset, ty: inner, .. }| {
            assert!(offset + inner.size <= ty.size);
            walk(&inner);
        }),
        Shape::Array { len, elem } => elem.into_iter().for_each(|elem| {
            assert_eq!(elem.size.saturating_mul(len), ty.size);
            walk(&elem);
        }),
        Shape::DataEnum { cases, .. } => cases.flat_map(|case| case.fields).for_each(|field| {
            assert!(field.offset + field.ty.size <= ty.size);
            walk(&field.ty);
        }),
        Shape::Collection { args, .. } => args.into_iter().for_each(|arg| walk(&arg)),
        Shape::Primitive | Shape::Enum { .. } | Shape::Recursive => {}
    }
}

/// What a type says of its ancestors can be read to its end.
fn walk_history(ty: &TypeView<'_>) {
    let history = ty.history();
    assert!(history.removed.into_iter().all(|name| !name.is_empty()));
    history.from.into_iter().chain(history.back_to).for_each(|relative| walk(&relative.ty));
    let inner = |fields: Fields<'_>| fields.into_iter().for_each(|field| walk_history(&field.ty));
    match ty.shape {
        Shape::Struct(fields) => inner(fields),
        Shape::DataEnum { cases, .. } => cases.into_iter().for_each(|case| inner(case.fields)),
        Shape::Array { elem: below, .. } | Shape::Collection { args: below, .. } => {
            below.into_iter().for_each(|ty| walk_history(&ty));
        }
        Shape::Primitive | Shape::Enum { .. } | Shape::Recursive => {}
    }
}

/// One form of every kind, and a small one.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![MAP_FORM.to_vec(), NODE_FORM.to_vec(), EVENT_FORM.to_vec(), EVENT_RULES.to_vec()]
}
