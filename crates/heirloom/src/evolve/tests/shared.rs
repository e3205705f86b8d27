//! Values that several pointers share: one before, one behind.

use super::*;
use crate::arc::{self, Arc};
use crate::rc::{self, Rc};
use crate::sync::Mutex;

mod old {
    use super::*;

    #[derive(Heritable)]
    #[repr(C)]
    pub struct Doc {
        pub id: u32,
        pub text: String,
    }

    #[derive(Heritable)]
    #[repr(C)]
    pub struct Index {
        pub by_id: HashMap<u32, Arc<Doc>>,
        pub recent: Vec<Arc<Doc>>,
        pub watched: Vec<arc::Weak<Doc>>,
        pub newest: Option<Arc<Doc>>,
        pub oldest: Option<Arc<Doc>>,
        pub words: Vec<Rc<String>>,
    }

    /// A tree whose nodes know the one above.
    #[derive(Heritable)]
    #[repr(C)]
    pub struct Node {
        pub nr: u32,
        #[heritable(recursive)]
        pub up: rc::Weak<Node>,
        #[heritable(recursive)]
        pub down: Mutex<Vec<Rc<Node>>>,
    }
}

mod new {
    use super::*;

    #[derive(Heritable)]
    #[repr(C)]
    pub struct Doc {
        pub text: String,
        pub id: u64,
    }

    #[derive(Heritable)]
    #[repr(C)]
    pub struct Index {
        pub words: Vec<Rc<String>>,
        pub oldest: Option<Arc<Doc>>,
        pub newest: Option<Arc<Doc>>,
        pub watched: Vec<arc::Weak<Doc>>,
        pub recent: Vec<Arc<Doc>>,
        pub by_id: HashMap<u32, Arc<Doc>>,
    }

    #[derive(Heritable)]
    #[repr(C)]
    pub struct Node {
        #[heritable(recursive)]
        pub down: Mutex<Vec<Rc<Node>>>,
        #[heritable(recursive)]
        pub up: rc::Weak<Node>,
        pub nr: u64,
    }
}

fn make() -> old::Index {
    let docs: std::vec::Vec<_> = (0..100)
        .map(|id| Arc::new(old::Doc { id, text: "a text that takes a block of its own".into() }))
        .collect();
    let mut watched: Vec<_> = docs.iter().step_by(7).map(Arc::downgrade).collect();
    // One whose value is gone, and one that never named any.
    watched.push(Arc::downgrade(&Arc::new(old::Doc { id: 0, text: String::new() })));
    watched.push(arc::Weak::new());
    let word = Rc::new(String::from("a word that is shared and does not change"));
    old::Index {
        by_id: (0..).zip(docs.iter().cloned()).collect(),
        recent: docs.iter().rev().take(10).cloned().collect(),
        watched,
        newest: docs.last().cloned(),
        oldest: None,
        words: (0..5).map(|_| word.clone()).collect(),
    }
}

#[test]
fn what_was_shared_is_shared() {
    let (old, new) = (said!(old::Index), said!(new::Index));
    let from = make();
    let word = from.words[0].clone();
    let all: new::Index = forward(&old, &new, &from).unwrap();
    for (id, doc) in &all.by_id {
        assert_eq!((doc.id, doc.text.len()), (u64::from(*id), 36));
        let expected = 1 + usize::from(*id >= 90) + usize::from(*id == 99);
        assert_eq!(Arc::strong_count(doc), expected, "document {id}");
        assert_eq!(Arc::weak_count(doc), usize::from(id.is_multiple_of(7)));
    }
    for (nr, doc) in all.recent.iter().enumerate() {
        assert!(Arc::ptr_eq(doc, &all.by_id[&(99 - nr as u32)]));
    }
    assert!(Arc::ptr_eq(all.newest.as_ref().unwrap(), &all.by_id[&99]) && all.oldest.is_none());
    for (nr, weak) in all.watched.iter().enumerate() {
        let found = weak.upgrade();
        assert_eq!(found.is_some(), nr < 15, "the others named nothing");
        assert!(found.is_none_or(|doc| Arc::ptr_eq(&doc, &all.by_id[&(nr as u32 * 7)])));
    }
    // What does not change is the same one for both.
    assert!(all.words.iter().all(|other| Rc::ptr_eq(other, &word)));
    assert_eq!(Rc::strong_count(&word), 1 + 5 + 5);
    // The old ones are counted as they were.
    assert!(
        from.by_id.iter().all(|(id, doc)| {
            Arc::strong_count(doc) == 1 + usize::from(*id >= 90) + usize::from(*id == 99)
        })
    );
    drop(all);
    assert_eq!(Rc::strong_count(&word), 1 + 5);
    drop(from);
    assert_eq!((Rc::strong_count(&word), word.len()), (1, 41));
}

#[test]
fn no_room_leaves_every_count_as_it_was() {
    let (old, new) = (said!(old::Index), said!(new::Index));
    let from = make();
    for limit in [0, 1, 3, 10, 50, 120, 200] {
        crate::alloc::fail_after(limit);
        let outcome = forward::<_, new::Index>(&old, &new, &from);
        crate::alloc::never_fail();
        assert!(matches!(outcome, Err(ConvertError::NoRoom(_))), "{limit}");
        assert_eq!((Rc::strong_count(&from.words[0]), Arc::strong_count(&from.by_id[&99])), (5, 3));
    }
}

#[test]
fn the_old_ones_are_given_back_with_the_last_pointer() {
    let (old, new) = (said!(old::Index), said!(new::Index));
    let from = std::mem::ManuallyDrop::new(make());
    let all: new::Index = forward(&old, &new, &*from).unwrap();
    let shapes = Shapes::of(&TypeView::parse(&old.form).unwrap());
    // SAFETY: it is a value of that type, and is not used any more.
    let nr = unsafe { release(&shapes, std::ptr::from_ref(&*from).cast()) };
    // The table, four vectors, each document and its text; of the watched, the block of one that was gone.
    assert_eq!(nr, 1 + 3 + 200 + 1);
    assert_eq!((Rc::strong_count(&all.words[0]), all.words[0].len()), (5, 41));
}

/// Weak pointers lead up, so a node is come by while its own value is not made yet.
#[test]
fn a_cycle_through_weak_pointers_comes_to_its_end() {
    fn grow(nr: u32, up: rc::Weak<old::Node>, depth: u32) -> Rc<old::Node> {
        let node = Rc::new(old::Node { nr, up, down: Mutex::new(Vec::new()) });
        for child in 0..if depth == 0 { 0 } else { 3 } {
            let child = grow(nr * 3 + child + 1, Rc::downgrade(&node), depth - 1);
            node.down.lock().push(child);
        }
        node
    }
    fn check(node: &Rc<new::Node>, nr: u64) -> u64 {
        assert_eq!((node.nr, Rc::strong_count(node)), (nr, 1));
        let down = node.down.lock();
        assert_eq!(Rc::weak_count(node), down.len());
        let below: u64 = (0..)
            .zip(down.iter())
            .map(|(place, child)| {
                assert!(Rc::ptr_eq(&child.up.upgrade().unwrap(), node));
                check(child, nr * 3 + place + 1)
            })
            .sum();
        below + 1
    }
    let from = grow(0, rc::Weak::new(), 4);
    let root: Rc<new::Node> = forward(&said!(Rc<old::Node>), &said!(Rc<new::Node>), &from).unwrap();
    assert_eq!((check(&root, 0), root.up.upgrade().is_none()), (121, true));
    drop(from);
    assert_eq!(check(&root, 0), 121);
}

/// Two roots, each converted by a plan of its own, in one conversion.
#[test]
fn roots_that_change_together_share_what_they_shared() {
    let (old, new) = (said!(Vec<Arc<old::Doc>>), said!(Vec<Arc<new::Doc>>));
    let (old_map, new_map) = (said!(HashMap<u8, Arc<old::Doc>>), said!(HashMap<u8, Arc<new::Doc>>));
    let docs: Vec<_> = (0..9)
        .map(|id| Arc::new(old::Doc { id, text: "long enough for a block of its own".into() }))
        .collect();
    let map: HashMap<u8, _> = (0..).zip(docs.iter().cloned()).collect();
    let plan = |old: &Said, new: &Said| match find_way(&old.form, &new.form, Some(&new.rules)) {
        Ok(Way::Planned(plan)) if plan.makes_shared() => plan,
        other => panic!("{other:?}"),
    };
    let (plan, plan_map) = (plan(&old, &new), plan(&old_map, &new_map));
    let mut to = MaybeUninit::<(Vec<Arc<new::Doc>>, HashMap<u8, Arc<new::Doc>>)>::zeroed();
    let mut conversion = Conversion::new(Ground::everywhere());
    // SAFETY: the plans lead from these types to the parts of the pair, which is read once both are made.
    let (vec, map) = unsafe {
        let at = &raw mut (*to.as_mut_ptr()).0;
        conversion.run(&plan, &new.hooks, &mut |_| {}, std::ptr::from_ref(&docs).cast(), at.cast()).unwrap();
        let at = &raw mut (*to.as_mut_ptr()).1;
        let from = std::ptr::from_ref(&map).cast();
        conversion.run(&plan_map, &new_map.hooks, &mut |_| {}, from, at.cast()).unwrap();
        conversion.count_kept();
        conversion.keep();
        to.assume_init()
    };
    for (id, doc) in vec.iter().enumerate() {
        assert!(Arc::ptr_eq(doc, &map[&(id as u8)]));
        assert_eq!((Arc::strong_count(doc), doc.id), (2, id as u64));
    }
}

/// One value in the old program, of two types of one name in the new: it cannot be both.
#[test]
fn a_value_is_not_shared_between_two_types() {
    mod other {
        use super::*;

        #[derive(Heritable)]
        #[repr(C)]
        pub struct Doc {
            pub id: u64,
            pub text: String,
        }
    }
    type Old = (Arc<old::Doc>, Arc<old::Doc>);
    type New = (Arc<new::Doc>, Arc<other::Doc>);
    let doc = |id| Arc::new(old::Doc { id, text: String::new() });
    let (old, new) = (said!(Old), said!(New));
    let apart: New = forward(&old, &new, &(doc(1), doc(2))).unwrap();
    assert_eq!((apart.0.id, apart.1.id), (1, 2));
    let same = doc(3);
    let error = forward::<_, New>(&old, &new, &(same.clone(), same.clone())).err();
    assert!(error.as_ref().is_some_and(|error| error.to_string().contains("shared")), "{error:?}");
    assert_eq!(Arc::strong_count(&same), 1);
}
