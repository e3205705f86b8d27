//! Byte forms of types, and the difference between two of them.

use heirloom_abi::types::{
    ARRAY, FieldDesc, FieldRules, FieldView, Shape, TUPLE, TypeDesc, TypeKind, TypeRules, TypeView,
    VariantDesc, first_difference, flat_len, flatten,
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

const fn field(name: &'static str, offset: u64, ty: &'static TypeDesc) -> FieldDesc {
    FieldDesc { name, offset, ty, rules: FieldRules::NONE }
}

const fn structure(name: &'static str, fields: &'static [FieldDesc]) -> TypeDesc {
    TypeDesc { name, size: 16, align: 8, rules: TypeRules::NONE, kind: TypeKind::Struct { fields } }
}

/// Reads `data` as a type, and compares it with ours: there is a difference exactly where the bytes differ.
pub fn run(data: &[u8]) {
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

/// One form of every kind, and a small one.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![MAP_FORM.to_vec(), NODE_FORM.to_vec()]
}
