use heirloom_abi::types::{TypeDesc, flat_len, flatten_into};

use super::Shapes;
use super::shapes::Parts;
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
