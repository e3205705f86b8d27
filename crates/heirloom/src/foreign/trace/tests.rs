use heirloom_abi::pool::Memory;
use heirloom_abi::types::{FieldDesc, FieldRules, TypeDesc, TypeKind, TypeRules, flat_len, flatten_into};

use super::shapes::Parts;
use super::{Shapes, is_locked};
use crate::heritable::Heritable;
use crate::{arc, boxed, rc, sync};

fn shapes_of(ty: &TypeDesc) -> (Shapes, u32) {
    let mut form = vec![0; flat_len(ty)];
    flatten_into(ty, &mut form);
    let mut shapes = Shapes::default();
    let node = shapes.add(&form).unwrap();
    (shapes, node)
}

/// A new version of a layout, or a new collection, is one here too.
#[test]
fn every_collection_of_this_crate_is_known() {
    type Pair = (u64, u64);
    let types = [
        crate::Box::<Pair>::TYPE,
        boxed::BoxSlice::<Pair>::TYPE,
        boxed::BoxStr::TYPE,
        crate::Vec::<Pair>::TYPE,
        crate::VecDeque::<Pair>::TYPE,
        crate::String::TYPE,
        crate::ByteString::TYPE,
        crate::HashMap::<u64, Pair>::TYPE,
        crate::HashSet::<u64>::TYPE,
        crate::BTreeMap::<u64, Pair>::TYPE,
        crate::BTreeSet::<u64>::TYPE,
        crate::Interner::TYPE,
        crate::Symbol::TYPE,
        rc::Rc::<Pair>::TYPE,
        rc::Weak::<Pair>::TYPE,
        arc::Arc::<Pair>::TYPE,
        arc::Weak::<Pair>::TYPE,
        sync::Mutex::<Pair>::TYPE,
        sync::RwLock::<Pair>::TYPE,
        sync::Once::TYPE,
        sync::OnceLock::<Pair>::TYPE,
        Option::<crate::Box<Pair>>::TYPE,
    ];
    for ty in types {
        let (shapes, node) = shapes_of(ty);
        assert!(matches!(shapes.get(node).parts, Parts::Collection(..)), "{} is not known", ty.name);
    }
}

#[test]
fn a_collection_of_another_version_is_not_guessed_at() {
    let (shapes, node) = shapes_of(&TypeDesc::collection("Vec", 9, 24, 8, &[u64::TYPE]));
    assert!(matches!(&shapes.get(node).parts, Parts::Unknown(name, 9) if name == "Vec"));
    // Nor one that is smaller than its own layout.
    let (shapes, node) = shapes_of(&TypeDesc::collection("Vec", 1, 16, 8, &[u64::TYPE]));
    assert!(matches!(shapes.get(node).parts, Parts::Unknown(..)));
}

#[test]
fn what_leads_nowhere_costs_nothing() {
    let points = |ty: &TypeDesc| {
        let (shapes, node) = shapes_of(ty);
        shapes.get(node).points
    };
    assert!(!points(<[(u64, sync::Mutex<u8>); 9]>::TYPE));
    assert!(points(<[(u64, sync::Mutex<crate::String>); 9]>::TYPE));
}

/// ```text
/// struct A { inner: Mutex<Option<A>> }     no program has it: whoever followed it would not come to an end
/// ```
#[test]
fn a_value_within_itself_is_not_known() {
    static AGAIN: TypeDesc = TypeDesc::recursive("A", 16, 8);
    static OPTION: TypeDesc = TypeDesc::collection("Option", 1, 16, 8, &[&AGAIN]);
    static MUTEX: TypeDesc = TypeDesc::collection("Mutex", 1, 16, 8, &[&OPTION]);
    static BOX: TypeDesc = TypeDesc::collection("Box", 1, 16, 8, &[&AGAIN]);
    let within = |ty: &'static TypeDesc| {
        let fields = vec![FieldDesc { name: "inner", offset: 0, ty, rules: FieldRules::NONE }];
        let kind = TypeKind::Struct { fields: fields.leak() };
        shapes_of(&TypeDesc { name: "A", size: 16, align: 8, rules: TypeRules::NONE, kind })
    };
    let is_cut = |shapes: &Shapes| {
        shapes.iter().any(|(_, ty)| matches!(&ty.parts, Parts::Unknown(name, 0) if name == "A"))
    };
    assert!(is_cut(&within(&OPTION).0) && is_cut(&within(&MUTEX).0));
    // Through a block it is a list.
    assert!(!is_cut(&within(&BOX).0));
}

/// Four bytes of a lock, a value, and so on: little-endian words.
struct Words(std::vec::Vec<u32>);

impl Memory for Words {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Option<()> {
        let bytes: std::vec::Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        let end = offset as usize + buffer.len();
        buffer.copy_from_slice(bytes.get(offset as usize..end)?);
        Some(())
    }

    fn count_nonzero(&self, _: u64, _: u64) -> Option<u64> {
        None
    }
}

#[test]
fn a_lock_is_seen_wherever_it_lies_inline() {
    #[derive(crate::Heritable)]
    #[repr(C, u32)]
    #[expect(dead_code, reason = "its bytes are written here")]
    enum Either {
        Locked(sync::Mutex<u32>),
        Plain(u64),
    }
    fn is_held<T: Heritable>(words: &[u32]) -> bool {
        let mut form = vec![0; flat_len(T::TYPE)];
        flatten_into(T::TYPE, &mut form);
        is_locked(&Words(words.to_vec()), &form, 0, 5)
    }
    const HELD: u32 = 5 << 3 | 1;
    const DONE: u32 = 2;
    type Inner = sync::Mutex<u32>;
    assert!(is_held::<Inner>(&[HELD, 7]) && !is_held::<Inner>(&[HELD - 8, 7]) && !is_held::<Inner>(&[0, 7]));
    assert!(is_held::<sync::Mutex<Inner>>(&[0, HELD, 7]));
    assert!(is_held::<[Inner; 2]>(&[0, 7, HELD, 7]));
    assert!(is_held::<sync::OnceLock<Inner>>(&[DONE, HELD, 7]));
    assert!(!is_held::<sync::OnceLock<Inner>>(&[0, HELD, 7]), "the value is not there");
    assert!(is_held::<Either>(&[0, 0, HELD, 7]));
    assert!(!is_held::<Either>(&[1, 0, HELD, 7]), "it is a number");
}

#[test]
fn a_type_whose_name_says_nothing_may_lead_anywhere() {
    let points = |ty: &TypeDesc| {
        let (shapes, node) = shapes_of(ty);
        shapes.get(node).points
    };
    assert!(points(&TypeDesc::primitive("Handle", 8, 8)));
    for ty in
        [<()>::TYPE, u8::TYPE, i128::TYPE, f32::TYPE, char::TYPE, <std::sync::atomic::AtomicIsize>::TYPE]
    {
        assert!(!points(ty), "{}", ty.name);
    }
}
