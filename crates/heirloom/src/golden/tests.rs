//! One value of each collection, of the version that its module names now.

use super::check;
use crate::arc::{self, Arc};
use crate::rc::{self, Rc};
use crate::{
    BTreeMap, BTreeSet, Box, BoxSlice, BoxStr, ByteString, HashMap, HashSet, Interner, String, Symbol, Vec,
    VecDeque,
};

const LONG: &str = "a text that is too long to lie in the string itself";

/// A file is named for its type and version: a new version has a file of its own.
macro_rules! golden {
    ($($test:ident $version:expr, $build:expr, $is_right:expr;)*) => {$(
        #[test]
        fn $test() {
            check(&format!("{}-v{}", stringify!($test), $version), || $build, $is_right);
        }
    )*};
}

golden! {
    boxed crate::boxed::FORMAT_VERSION, Box::new(7_u64), |value: &mut Box<u64>| assert_eq!(**value, 7);

    vec crate::vec::FORMAT_VERSION, Vec::from([1_u64, 2, 3]), |value: &mut Vec<u64>| {
        assert_eq!(*value, [1, 2, 3]);
        value.push(4);
    };

    vec_deque crate::vec_deque::FORMAT_VERSION, {
        let mut deque = VecDeque::from([3_u64, 4, 1, 2]);
        deque.rotate_left(2);
        deque
    }, |value: &mut VecDeque<u64>| {
        assert_eq!(*value, [1, 2, 3, 4]);
        value.push_front(0);
    };

    byte_string crate::byte_string::FORMAT_VERSION,
        [ByteString::new(), ByteString::from(b"short"), ByteString::from(LONG)],
        |value: &mut [ByteString; 3]| {
            assert!(value[0].is_empty() && value[1] == b"short" && value[2] == LONG);
            assert!(value[1].is_inline() && !value[2].is_inline());
            value[2].push(b'!');
        };

    string crate::string::FORMAT_VERSION, [String::new(), String::from("naïve"), String::from(LONG)],
        |value: &mut [String; 3]| {
            assert!(value[0].is_empty() && value[1] == "naïve" && value[2] == LONG);
            value[1].push_str(LONG);
        };

    box_slice crate::boxed::SLICE_FORMAT_VERSION, BoxSlice::from([1_u64, 2, 3]),
        |value: &mut BoxSlice<u64>| assert_eq!(*value, [1, 2, 3][..]);

    box_str crate::boxed::STR_FORMAT_VERSION, BoxStr::from("text"), |value: &mut BoxStr| assert_eq!(*value, *"text");

    // The keys lie where std's way of feeding numbers to a hasher leads, which is not part of the format.
    hash_map crate::hash_map::FORMAT_VERSION, {
        let mut map: HashMap<u64, u64> = (0..9).map(|key| (key, key * key)).collect();
        map.remove(&4);
        map
    }, |value: &mut HashMap<u64, u64>| {
        assert!((0..9).all(|key| value.get(&key).copied() == (key != 4).then_some(key * key)));
        value.insert(4, 0);
    };

    hash_set crate::hash_set::FORMAT_VERSION, (0..5).collect(), |value: &mut HashSet<u64>| {
        assert!((0..9).all(|key| value.contains(&key) == (key < 5)));
    };

    // Two leaves of up to 31 pairs below a root.
    btree_map crate::btree_map::FORMAT_VERSION, (0..40).map(|key| (key, key * key)).collect(),
        |value: &mut BTreeMap<u64, u64>| {
            assert!(value.iter().map(|(&key, &value)| (key, value)).eq((0..40).map(|key| (key, key * key))));
            value.retain(|key, _| key % 7 == 0);
            assert!(value.keys().copied().eq((0..40).step_by(7)));
        };

    btree_set crate::btree_set::FORMAT_VERSION, (0..5).collect(), |value: &mut BTreeSet<u64>| {
        assert!(value.iter().copied().eq(0..5));
    };

    rc crate::rc::FORMAT_VERSION, {
        let one = Rc::new(7_u64);
        (one.clone(), Rc::downgrade(&one), one, rc::Weak::new())
    }, |value: &mut (Rc<u64>, rc::Weak<u64>, Rc<u64>, rc::Weak<u64>)| {
        assert!(Rc::ptr_eq(&value.0, &value.2) && *value.0 == 7 && Rc::strong_count(&value.0) == 2);
        assert!(value.1.upgrade().is_some() && value.3.upgrade().is_none());
    };

    arc crate::arc::FORMAT_VERSION, {
        let one = Arc::new(7_u64);
        [Arc::downgrade(&one), arc::Weak::new(), Arc::downgrade(&one)]
    }, |value: &mut [arc::Weak<u64>; 3]| {
        assert!(value.iter().all(|weak| weak.upgrade().is_none()));
        assert!(value[0].ptr_eq(&value[2]) && !value[0].ptr_eq(&value[1]));
    };

    interner crate::interner::FORMAT_VERSION, ["a", "b", LONG, ""].into_iter().collect(), |value: &mut Interner| {
        let symbols: std::vec::Vec<Symbol> = ["a", "b", LONG, ""].map(|text| value.get(text).unwrap()).into();
        assert!(symbols.iter().map(|symbol| symbol.index()).eq(0..4));
        assert_eq!((&value[symbols[2]], value.get("c")), (LONG, None));
        value.intern("c");
    };
}
