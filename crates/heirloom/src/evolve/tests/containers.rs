//! Collections of every kind around a type that changes.

use super::*;
use crate::sync::OnceLock;
use crate::{BTreeMap, BTreeSet, BoxSlice, BoxStr, Interner, Symbol, VecDeque};

mod old {
    use super::*;

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(rollback)]
    pub struct Item {
        pub nr: u32,
        pub text: String,
    }

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(rollback)]
    pub struct All {
        pub sorted: BTreeMap<u32, Item>,
        pub names: BTreeMap<String, u8>,
        pub ids: BTreeSet<u16>,
        pub ring: VecDeque<Item>,
        pub slice: BoxSlice<Item>,
        pub label: BoxStr,
        pub once: OnceLock<Item>,
        pub never: OnceLock<Item>,
        pub words: Interner,
        pub word: Option<Symbol>,
    }
}

mod new {
    use super::*;

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(rollback)]
    pub struct Item {
        pub text: String,
        pub nr: u64,
        #[heritable(default = [7; 9])]
        pub more: [u64; 9],
    }

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(rollback)]
    pub struct All {
        pub word: Option<Symbol>,
        pub words: Interner,
        pub never: OnceLock<Item>,
        pub once: OnceLock<Item>,
        pub label: BoxStr,
        pub slice: BoxSlice<Item>,
        pub ring: VecDeque<Item>,
        pub ids: BTreeSet<u64>,
        pub names: BTreeMap<String, u32>,
        pub sorted: BTreeMap<u64, Item>,
    }
}

fn text(nr: u32) -> String {
    format!("{nr}{}", " and so much more that it takes a block".repeat(nr as usize % 2)).as_str().into()
}

fn item(nr: u32) -> old::Item {
    old::Item { nr, text: text(nr) }
}

fn is_item(nr: u32, found: &new::Item) -> bool {
    found.nr == u64::from(nr) && found.text == text(nr) && found.more == [7; 9]
}

fn make(len: u32) -> old::All {
    let turned = if len < 3 { 0 } else { 3 };
    let mut ring: VecDeque<old::Item> = (0..len).map(|nr| item(nr + turned)).collect();
    // So that it goes around the end of its block.
    for nr in (0..turned).rev() {
        ring.pop_back();
        ring.push_front(item(nr));
    }
    let once = OnceLock::new();
    assert!(once.set(item(len)).is_ok());
    let mut words = Interner::new();
    let word = (0..len).map(|nr| words.intern(&text(nr))).last();
    old::All {
        sorted: (0..len).map(|nr| (nr * 2, item(nr))).collect(),
        names: (0..len).map(|nr| (text(nr), nr as u8)).collect(),
        ids: (0..len as u16).collect(),
        ring,
        slice: BoxSlice::try_from_vec((0..len).map(item).collect()).ok().unwrap(),
        label: BoxStr::try_from_str(&text(len)).unwrap(),
        once,
        never: OnceLock::new(),
        words,
        word,
    }
}

fn lengths() -> &'static [u32] {
    if cfg!(miri) { &[0, 3, 40] } else { &[0, 1, 2, 3, 4, 5, 6, 7, 15, 31, 32, 33, 63, 64, 100, 1000, 3000] }
}

#[test]
fn every_collection_arrives_whole_and_works() {
    let (old, new) = (said!(old::All), said!(new::All));
    for &len in lengths() {
        let from = make(len);
        let mut all: new::All = forward(&old, &new, &from).unwrap();
        all.sorted.check();
        all.names.check();
        assert_eq!(
            (all.sorted.len(), all.ids.len(), all.ring.len()),
            (len as usize, len as usize, len as usize)
        );
        assert!((0..len).all(|nr| is_item(nr, &all.sorted[&u64::from(nr * 2)])));
        assert!((0..len).all(|nr| all.names[&text(nr)] == nr % 256));
        assert!(all.ids.iter().copied().eq((0..len).map(u64::from)));
        assert!((0..).zip(&all.ring).all(|(nr, found)| is_item(nr, found)));
        assert!(
            (0..).zip(all.slice.iter()).all(|(nr, found)| is_item(nr, found))
                && all.slice.len() == len as usize
        );
        assert!(
            is_item(len, all.once.get().unwrap()) && all.never.get().is_none() && *all.label == *text(len)
        );
        assert_eq!(all.words.len(), len as usize);
        assert!((0..len).all(|nr| all.words.get(&text(nr)).is_some()), "its table is in order");
        assert_eq!(all.word, len.checked_sub(1).and_then(|nr| all.words.get(&text(nr))));

        // Each of them goes on.
        all.words.intern("a word that was not there before");
        all.ring.push_front(new::Item { text: String::new(), nr: 0, more: [0; 9] });
        all.ring.push_back(new::Item { text: String::new(), nr: 0, more: [0; 9] });
        for nr in 0..u64::from(len) {
            all.sorted.insert(nr * 2 + 1, new::Item { text: String::new(), nr, more: [0; 9] });
            all.ids.remove(&(nr / 2));
        }
        for nr in 0..u64::from(len) {
            assert!(all.sorted.remove(&(nr * 2)).is_some());
        }
        all.sorted.check();
        drop(all);
        // And the old ones are whole.
        assert!((0..).zip(&from.ring).all(|(nr, found)| found.nr == nr));
        assert!(from.sorted.values().all(|found| found.text == text(found.nr)));
        from.sorted.check();
    }
}

#[test]
fn and_back_again() {
    let (old, new) = (said!(old::All), said!(new::All));
    for &len in lengths() {
        let there: new::All = forward(&old, &new, &make(len)).unwrap();
        let mut all: old::All = back(&new, &old, &there).unwrap();
        drop(there);
        all.sorted.check();
        assert!(all.sorted.iter().all(|(key, found)| *key == found.nr * 2 && found.text == text(found.nr)));
        assert!((0..).zip(&all.ring).all(|(nr, found)| found.nr == nr && found.text == text(nr)));
        assert_eq!((all.ring.len(), all.slice.len(), &*all.label), (len as usize, len as usize, &*text(len)));
        all.ring.extend((0..9).map(item));
    }
}

#[test]
fn what_no_room_has_begun_is_undone() {
    let (old, new) = (said!(old::All), said!(new::All));
    let from = make(40);
    let step = if cfg!(miri) { 60 } else { 3 };
    for limit in (0..).map(|nr| nr * step) {
        crate::alloc::fail_after(limit);
        let outcome = forward::<_, new::All>(&old, &new, &from);
        crate::alloc::never_fail();
        match outcome {
            Err(error) => assert!(matches!(error, ConvertError::NoRoom(_)), "{error}"),
            Ok(_) => return assert!(limit > 100),
        }
    }
}

/// All of it is given back by its description alone, to the last block: Miri and the sanitizers tell of others.
#[test]
fn every_collection_is_given_back_by_its_description() {
    let said = said!(old::All);
    for &len in lengths() {
        let all = std::mem::ManuallyDrop::new(make(len));
        let shapes = Shapes::of(&TypeView::parse(&said.form).unwrap());
        // SAFETY: it is a value of that type, and is not used any more.
        let nr = unsafe { release(&shapes, std::ptr::from_ref(&*all).cast()) };
        assert!(nr >= u64::from(len) * 3, "{nr} blocks");
    }
}

/// A map is built in the order of its old keys, so whatever might change their order, or make two of them one, is refused.
#[test]
fn keys_keep_their_order_or_are_refused() {
    mod keys {
        use super::*;

        macro_rules! key {
            ($name:ident { $($(#[$rule:meta])* $field:ident: $ty:ty),* } $(, $on:meta)?) => {
                #[derive(Heritable, PartialEq, Eq, PartialOrd, Ord, Hash)]
                #[repr(C)]
                #[heritable(name = "Key")]
                $(#[$on])?
                pub struct $name { $($(#[$rule])* pub $field: $ty),* }
            };
        }
        key!(Old { a: u32, b: u32 });
        key!(Wider { a: u64, b: u32 });
        key!(Swapped { b: u32, a: u32 });
        key!(Longer {
            a: u32,
            b: u32,
            #[heritable(default)]
            c: u8
        });
        key!(Before {
            #[heritable(default)]
            c: u8,
            a: u32,
            b: u32
        });
        key!(Shorter { a: u32 }, heritable(removed = "b"));

        #[derive(Heritable, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        #[heritable(name = "Kind")]
        pub enum Kind {
            A = 1,
            B = 2,
        }

        #[derive(Heritable, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        #[heritable(name = "Kind")]
        pub enum Turned {
            B = 1,
            A = 2,
        }
    }
    use keys::*;
    let old = said!(BTreeMap<Old, u8>);
    let from: BTreeMap<Old, u8> = (0..90).map(|nr| (Old { a: nr / 9, b: nr % 9 }, nr as u8)).collect();
    let wider: BTreeMap<Wider, u8> = forward(&old, &said!(BTreeMap<Wider, u8>), &from).unwrap();
    wider.check();
    assert!((0..90).all(|nr| wider[&Wider { a: u64::from(nr / 9), b: nr % 9 }] == nr as u8));
    let longer: BTreeMap<Longer, u8> = forward(&old, &said!(BTreeMap<Longer, u8>), &from).unwrap();
    longer.check();
    for new in [said!(BTreeMap<Swapped, u8>), said!(BTreeMap<Before, u8>), said!(BTreeMap<Shorter, u8>)] {
        let reason = refusal(&old, &new);
        assert!(reason.contains("BTreeMap.key: keys might become one, or their order another"), "{reason}");
    }
    refusal(&said!(BTreeSet<Kind>), &said!(BTreeSet<Turned>));

    // A table finds its own order; two keys must not become one.
    let old = said!(HashMap<Old, u8>);
    let reason = refusal(&old, &said!(HashMap<Shorter, u8>));
    assert!(reason.contains("HashMap.key: two keys might become one"), "{reason}");
    let from: HashMap<Old, u8> = (0..90).map(|nr| (Old { a: nr / 9, b: nr % 9 }, nr as u8)).collect();
    let swapped: HashMap<Swapped, u8> = forward(&old, &said!(HashMap<Swapped, u8>), &from).unwrap();
    assert!((0..90).all(|nr| swapped[&Swapped { a: nr / 9, b: nr % 9 }] == nr as u8));
}

/// Strings as the first version laid them out, by hand: start, capacity, length.
#[test]
fn strings_of_the_first_form_become_short_ones() {
    use heirloom_abi::types::TypeDesc;

    #[repr(C)]
    struct First(*const u8, u64, u64);

    const FIRST: &TypeDesc = &TypeDesc::collection("String", 1, 24, 8, &[]);
    static FORM: [u8; flat_len(FIRST)] = flatten(FIRST);
    let old = Said { form: FORM.to_vec(), rules: std::vec::Vec::new(), hooks: std::vec::Vec::new() };
    for text in ["", "short", "exactly twenty-three by", "and one that is too long to lie within"] {
        let bytes: Vec<u8> = text.bytes().collect();
        let first = First(bytes.as_ptr(), bytes.capacity() as u64, bytes.len() as u64);
        let mut new: String = forward(&old, &said!(String), &first).unwrap();
        assert_eq!(&*new, text);
        new.push_str(" and more");
    }
}

/// Lengths, heights and addresses of a heap that was damaged: an error, and never a fault.
#[test]
fn heads_that_contradict_themselves_are_errors() {
    fn refused<A, B>(old: &Said, new: &Said, head: &[u64; 8]) {
        let outcome = match find_way(&old.form, &new.form, Some(&new.rules)) {
            Ok(Way::Planned(plan)) => {
                let mut to = MaybeUninit::<B>::zeroed();
                let from = std::ptr::from_ref(head).cast();
                let mut conversion = Conversion::new(Ground::new(0x1000..0x2000));
                assert!(size_of::<A>() <= size_of_val(head));
                // SAFETY: what is read are the words of the head; where they lead to is not the ground.
                unsafe { conversion.run(&plan, &new.hooks, &mut |_| {}, from, to.as_mut_ptr().cast()) }
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(outcome, Err(ConvertError::Shape), "{head:x?}");
    }
    let (vec, wider) = (said!(Vec<u32>), said!(Vec<u64>));
    refused::<Vec<u32>, Vec<u64>>(&vec, &wider, &[0x1000, 4, 5, 0, 0, 0, 0, 0]);
    refused::<Vec<u32>, Vec<u64>>(&vec, &wider, &[0x1ff8, 4, 4, 0, 0, 0, 0, 0]);
    refused::<Vec<u32>, Vec<u64>>(&vec, &wider, &[0x1001, 4, 4, 0, 0, 0, 0, 0]);
    refused::<Vec<u32>, Vec<u64>>(&vec, &wider, &[0x1000, 1 << 62, 1 << 62, 0, 0, 0, 0, 0]);
    let (ring, wider) = (said!(VecDeque<u32>), said!(VecDeque<u64>));
    refused::<VecDeque<u32>, VecDeque<u64>>(&ring, &wider, &[0x1000, 4, 4, 5, 0, 0, 0, 0]);
    refused::<VecDeque<u32>, VecDeque<u64>>(&ring, &wider, &[0x1000, 4, 0, 5, 0, 0, 0, 0]);
    refused::<VecDeque<u32>, VecDeque<u64>>(&ring, &wider, &[0x1000, 4, 3, 2, 0, 0, 0, 0]);
    let (map, wider) = (said!(HashMap<u32, u32>), said!(HashMap<u32, u64>));
    refused::<HashMap<u32, u32>, HashMap<u32, u64>>(&map, &wider, &[0x1100, 6, 1, 0, 0, 0, 0, 0]);
    refused::<HashMap<u32, u32>, HashMap<u32, u64>>(&map, &wider, &[0x1010, 7, 1, 0, 0, 0, 0, 0]);
    let (tree, wider) = (said!(BTreeMap<u32, u32>), said!(BTreeMap<u32, u64>));
    refused::<BTreeMap<u32, u32>, BTreeMap<u32, u64>>(&tree, &wider, &[0x1ffc, 1, 0, 0, 0, 0, 0, 0]);
    refused::<BTreeMap<u32, u32>, BTreeMap<u32, u64>>(&tree, &wider, &[0x4000, 1, 0, 0, 0, 0, 0, 0]);
    let (boxed, wider) = (said!(Box<u32>), said!(Box<u64>));
    refused::<Box<u32>, Box<u64>>(&boxed, &wider, &[0x2000, 0, 0, 0, 0, 0, 0, 0]);
    let (text, bytes) = (said!((String, u32)), said!((String, u64)));
    refused::<(String, u32), (String, u64)>(&text, &bytes, &[0x1000, 9, 8 | 1 << 63, 0, 0, 0, 0, 0]);
    refused::<(String, u32), (String, u64)>(&text, &bytes, &[0x1000, 9, 24 << 56, 0, 0, 0, 0, 0]);
}
