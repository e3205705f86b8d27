//! Plans carried out on real values: what comes out is read as the other type, and dropped as such.
#![expect(unsafe_code, reason = "reads a value as the type that it was converted to")]
#![expect(
    unreachable_pub,
    dead_code,
    reason = "each module stands for a program of its own, of which parts are used here"
)]

use std::mem::MaybeUninit;

use heirloom_abi::types::{Hook, flat_len, flatten, hooks, nr_hooks, rules_form, rules_len};

use super::convert::{Conversion, ConvertError, Ground};
use super::release::release;
use super::shape::Shapes;
use super::{NoWay, Plan, Way, find_way, find_way_back};
use crate::Heritable;
use crate::sync::Mutex;
use crate::{Box, HashMap, HashSet, Maybe, String, Vec};
use heirloom_abi::types::TypeView;

/// What a binary says of a type.
struct Said {
    form: std::vec::Vec<u8>,
    rules: std::vec::Vec<u8>,
    hooks: std::vec::Vec<Option<Hook>>,
}

macro_rules! said {
    ($ty:ty) => {{
        static FORM: [u8; flat_len(<$ty as Heritable>::TYPE)] = flatten(<$ty as Heritable>::TYPE);
        static RULES: [u8; rules_len(<$ty as Heritable>::TYPE)] = rules_form(<$ty as Heritable>::TYPE);
        static HOOKS: [Option<Hook>; nr_hooks(<$ty as Heritable>::TYPE)] = hooks(<$ty as Heritable>::TYPE);
        Said { form: FORM.to_vec(), rules: RULES.to_vec(), hooks: HOOKS.to_vec() }
    }};
}

mod containers;
mod deep;
mod secrets;
mod shared;

fn carry_out<A, B>(plan: &Plan, hooks: &[Option<Hook>], from: &A) -> Result<B, ConvertError> {
    let mut to = MaybeUninit::<B>::zeroed();
    let mut progress = |_| {};
    let mut conversion = Conversion::new(Ground::everywhere());
    // SAFETY: the plan leads from `A` to `B`, whose descriptions it was made from.
    unsafe {
        conversion.run(
            plan,
            hooks,
            &mut progress,
            std::ptr::from_ref(from).cast(),
            to.as_mut_ptr().cast(),
        )?;
        conversion.count_kept();
        conversion.keep();
        Ok(to.assume_init())
    }
}

fn forward<A, B>(old: &Said, new: &Said, from: &A) -> Result<B, ConvertError> {
    match find_way(&old.form, &new.form, Some(&new.rules)) {
        Ok(Way::Planned(plan)) => carry_out(&plan, &new.hooks, from),
        other => panic!("{other:?}"),
    }
}

fn back<A, B>(new: &Said, old: &Said, from: &A) -> Result<B, ConvertError> {
    match find_way_back(&new.rules, &old.form) {
        Ok(Way::Planned(plan)) => carry_out(&plan, &new.hooks, from),
        other => panic!("{other:?}"),
    }
}

fn refusal(old: &Said, new: &Said) -> std::string::String {
    match find_way(&old.form, &new.form, Some(&new.rules)) {
        Err(NoWay::Refused(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

mod one {
    use super::*;

    #[derive(Heritable)]
    #[repr(C)]
    pub struct Session {
        pub id: u64,
        pub hits: u32,
        pub level: Level,
        pub name: String,
        pub tags: Vec<String>,
        pub parent: Option<Box<u64>>,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Heritable)]
    #[repr(u8)]
    pub enum Level {
        Guest = 1,
        Member = 2,
    }

    #[derive(Heritable)]
    #[repr(C, u8)]
    pub enum Event {
        Login { at: u32 },
        Logout { at: u32, why: String },
    }

    #[derive(Heritable)]
    #[repr(C)]
    pub struct All {
        pub sessions: Mutex<HashMap<u64, Session>>,
        pub log: Vec<Event>,
        pub seen: HashSet<u32>,
        pub pair: (u8, u64),
        pub grid: [[u16; 2]; 3],
    }
}

mod two {
    use super::*;

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(removed = "tags", rollback)]
    pub struct Session {
        pub name: String,
        #[heritable(was = "hits")]
        pub visits: u64,
        pub level: Level,
        #[heritable(default)]
        pub notes: Vec<u64>,
        pub id: u64,
        #[heritable(default = Maybe::Some(7))]
        pub seen: Maybe<u32>,
        pub parent: Option<Box<u64>>,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Heritable)]
    #[repr(u16)]
    #[heritable(rollback)]
    pub enum Level {
        Admin = 9,
        #[heritable(was = "Guest")]
        Visitor = 1,
        Member = 5,
    }

    #[derive(Heritable)]
    #[repr(u8)]
    #[heritable(rollback)]
    pub enum Event {
        Renamed(String) = 9,
        Logout { why: String, at: u64 },
        Login { at: u64 },
    }

    #[derive(Heritable)]
    #[repr(C)]
    pub struct All {
        pub log: Vec<Event>,
        pub sessions: Mutex<HashMap<u64, Session>>,
        pub grid: [[u32; 2]; 3],
        pub seen: HashSet<u64>,
        pub pair: (u32, u64),
    }
}

fn make() -> one::All {
    let session = |id: u64| one::Session {
        id,
        hits: id as u32 * 3,
        level: if id.is_multiple_of(2) { one::Level::Guest } else { one::Level::Member },
        name: format!("{}{id}", "a name that is too long for the string itself ".repeat(id as usize % 2))
            .as_str()
            .into(),
        tags: (0..id % 4).map(|nr| format!("tag {nr}").as_str().into()).collect(),
        parent: (id.is_multiple_of(3)).then(|| Box::new(id + 1)),
    };
    one::All {
        sessions: Mutex::new((0..200).map(|id| (id, session(id))).collect()),
        log: (0..50)
            .map(|at| match at % 2 {
                0 => one::Event::Login { at },
                _ => one::Event::Logout { at, why: "for a reason that takes a block of its own".into() },
            })
            .collect(),
        seen: (0..100).collect(),
        pair: (3, 4),
        grid: [[1, 2], [3, 4], [5, 6]],
    }
}

#[test]
fn every_field_arrives_where_it_belongs() {
    let (old, new) = (said!(one::All), said!(two::All));
    let from = make();
    let mut all: two::All = forward(&old, &new, &from).unwrap();
    for (id, session) in all.sessions.get_mut().iter_mut() {
        assert_eq!((session.id, session.visits), (*id, id * 3));
        assert_eq!(
            session.level,
            if id.is_multiple_of(2) { two::Level::Visitor } else { two::Level::Member }
        );
        assert!(session.name.ends_with(&id.to_string()));
        assert_eq!(session.parent.as_deref().copied(), (id.is_multiple_of(3)).then_some(id + 1));
        assert_eq!((session.seen, session.notes.len()), (Maybe::Some(7), 0));
        session.notes.push(1);
        session.name.push_str(" and more");
    }
    // Every key is found, and a new one has room: the table is in order.
    let sessions = all.sessions.get_mut();
    assert_eq!(sessions.len(), 200);
    assert!((0..200).all(|id| sessions.contains_key(&id)) && !sessions.contains_key(&200));
    // The keys are wider, so the set has to find its order again.
    assert!((0..100).all(|nr| all.seen.contains(&nr)) && !all.seen.contains(&100));
    assert!(all.seen.insert(1 << 40) && all.seen.contains(&(1 << 40)));
    for (nr, event) in all.log.iter().enumerate() {
        match event {
            two::Event::Login { at } => assert_eq!((*at, nr % 2), (nr as u64, 0)),
            two::Event::Logout { at, why } => assert_eq!((*at, why.len()), (nr as u64, 42)),
            two::Event::Renamed(_) => panic!("nobody was renamed"),
        }
    }
    assert_eq!((all.pair, all.grid), ((3, 4), [[1, 2], [3, 4], [5, 6]]));
    drop(all);
    // The old one is whole: its own destructor, and every text in it.
    assert_eq!(from.sessions.lock().values().map(|session| session.tags.len()).sum::<usize>(), 300);
}

#[test]
fn and_back_but_for_what_was_lost() {
    let (old, new) = (said!(one::Session), said!(two::Session));
    let sessions = make().sessions;
    let first = &sessions.lock()[&1];
    let there: two::Session = forward(&old, &new, first).unwrap();
    let mut back_again: one::Session = back(&new, &old, &there).unwrap();
    assert_eq!((back_again.id, back_again.hits, back_again.level), (1, 3, one::Level::Member));
    assert!(back_again.name == first.name && back_again.tags.is_empty());
    back_again.tags.push("a vector made of bytes works".into());

    let far = two::Session { visits: 1 << 32, ..there };
    let error = back::<_, one::Session>(&new, &old, &far).err();
    assert_eq!(error.unwrap().to_string(), "Session.hits: a value does not fit in the narrower type");
    let admin = two::Session { visits: 0, level: two::Level::Admin, ..far };
    let error = back::<_, one::Session>(&new, &old, &admin).err();
    assert!(error.unwrap().to_string().contains("variant `Admin`"));
}

#[test]
fn what_is_given_back_by_its_description_leaves_nothing() {
    // Miri and the sanitizers tell where anything was left, or given back twice.
    let said = said!(one::All);
    let all = std::mem::ManuallyDrop::new(make());
    let shapes = Shapes::of(&TypeView::parse(&said.form).unwrap());
    // SAFETY: it is a value of that type, and is not used any more.
    let nr = unsafe { release(&shapes, std::ptr::from_ref(&*all).cast()) };
    assert_eq!(nr, 100 + 67 + 25 + 150 + 3, "names, parents, reasons, tags, tables");
}

#[test]
fn a_slip_is_named_with_what_to_write() {
    mod slip {
        use super::*;

        #[derive(Heritable)]
        #[repr(C)]
        #[heritable(name = "Point")]
        pub struct Old {
            pub x: u32,
            pub y: u32,
        }

        #[derive(Heritable)]
        #[repr(C)]
        #[heritable(name = "Point")]
        pub struct Less {
            pub x: u32,
        }

        #[derive(Heritable)]
        #[repr(C)]
        #[heritable(name = "Point")]
        pub struct More {
            pub x: u32,
            pub y: u32,
            pub z: u32,
        }

        #[derive(Heritable)]
        #[repr(C)]
        #[heritable(name = "Point")]
        pub struct Narrow {
            pub x: u32,
            pub y: u16,
        }
    }
    let old = said!(Vec<slip::Old>);
    let reason = refusal(&old, &said!(Vec<slip::Less>));
    assert!(reason.starts_with("Vec.value: Point: field `y` is missing; "), "{reason}");
    assert!(reason.contains("#[heritable(removed = \"y\")]"), "{reason}");
    let reason = refusal(&old, &said!(Vec<slip::More>));
    assert!(reason.starts_with("Vec.value: Point: field `z` was added; "), "{reason}");
    let reason = refusal(&old, &said!(Vec<slip::Narrow>));
    assert!(reason.starts_with("Vec.value: Point.y: u32 -> u16; "), "{reason}");
    assert!(
        find_way_back(&old.rules, &said!(Vec<slip::Less>).form).is_err(),
        "nothing is lost without a word"
    );
}

mod chain {
    use super::*;

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(name = "Name")]
    pub struct V1 {
        pub whole: String,
    }

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(name = "Name", from = V1)]
    pub struct V2 {
        pub first: String,
        pub last: String,
    }

    impl From<&V1> for V2 {
        fn from(old: &V1) -> Self {
            let (first, last) = old.whole.split_once(' ').expect("two words");
            Self { first: first.into(), last: last.into() }
        }
    }

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(name = "Name", from = V2, back_to = V2)]
    pub struct V3 {
        pub last: String,
        pub initial: char,
        pub first: String,
    }

    impl From<&V2> for V3 {
        fn from(old: &V2) -> Self {
            let initial = old.first.chars().next().expect("a letter");
            Self { last: old.last.clone(), initial, first: old.first.clone() }
        }
    }

    impl From<&V3> for V2 {
        fn from(new: &V3) -> Self {
            Self { first: new.first.clone(), last: new.last.clone() }
        }
    }
}

#[test]
fn a_chain_of_the_programs_own_conversions_runs_in_order() {
    let names = ["Ada Lovelace-with-a-very-long-name-indeed", "Alan Turing"];
    let old: Vec<chain::V1> = names.iter().map(|name| chain::V1 { whole: (*name).into() }).collect();
    let (one, three) = (said!(Vec<chain::V1>), said!(Vec<chain::V3>));
    let new: Vec<chain::V3> = forward(&one, &three, &old).unwrap();
    assert_eq!((new[0].initial, &*new[0].first, &*new[0].last), ('A', "Ada", &names[0][4..]));
    assert_eq!(&*new[1].last, "Turing");
    let two: Vec<chain::V2> = back(&three, &said!(Vec<chain::V2>), &new).unwrap();
    assert_eq!((&*two[1].first, &*two[1].last), ("Alan", "Turing"));
    match find_way(&one.form, &three.form, Some(&three.rules)) {
        Ok(Way::Planned(plan)) => assert_eq!(plan.chain, ["Name", "Name"]),
        other => panic!("{other:?}"),
    }
}

/// The second conversion panics, after the first value was made: nothing is left of it.
#[test]
fn a_panic_undoes_what_was_made() {
    let old: Vec<chain::V1> = ["a name-that-is-long-enough-for-a-block", "nobody"]
        .iter()
        .map(|name| chain::V1 { whole: (*name).into() })
        .collect();
    let error = forward::<_, Vec<chain::V2>>(&said!(Vec<chain::V1>), &said!(Vec<chain::V2>), &old).err();
    assert_eq!(error, Some(ConvertError::Panicked { message: "two words".to_owned() }));
    assert_eq!(&*old[0].whole, "a name-that-is-long-enough-for-a-block");
}

#[test]
fn no_room_undoes_what_was_made() {
    let (old, new) = (said!(one::All), said!(two::All));
    let from = make();
    for limit in [0, 1, 2, 5, 50, 150] {
        crate::alloc::fail_after(limit);
        let outcome = forward::<_, two::All>(&old, &new, &from);
        crate::alloc::never_fail();
        assert!(matches!(outcome, Err(ConvertError::NoRoom(_))), "{limit}");
    }
}

/// A new variant that fits, and a new name, change no byte.
#[test]
fn the_same_layout_is_only_described_anew() {
    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(name = "Login")]
    struct Old {
        at: u32,
        level: one::Level,
    }
    mod new {
        #[derive(crate::Heritable)]
        #[repr(u8)]
        pub enum Level {
            Guest = 1,
            Member = 2,
            Admin = 3,
        }
    }
    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(name = "Login")]
    struct New {
        #[heritable(was = "at")]
        time: u32,
        level: new::Level,
    }
    let (old, new) = (said!(HashMap<u64, Old>), said!(HashMap<u64, New>));
    match find_way(&old.form, &new.form, Some(&new.rules)) {
        Ok(Way::Planned(plan)) => assert!(plan.is_same_layout),
        other => panic!("{other:?}"),
    }
}

/// A tree, whose nodes are reached through themselves.
#[test]
fn a_type_that_reaches_itself_is_converted_all_the_way() {
    mod tree {
        use super::*;

        #[derive(Heritable)]
        #[repr(C)]
        #[heritable(name = "Node")]
        pub struct Old {
            pub value: u16,
            #[heritable(recursive)]
            pub children: Vec<Old>,
        }

        #[derive(Heritable)]
        #[repr(C)]
        #[heritable(name = "Node")]
        pub struct New {
            #[heritable(recursive)]
            pub children: Vec<New>,
            pub value: u64,
        }
    }
    fn grow(depth: u16) -> tree::Old {
        tree::Old { value: depth, children: (0..depth).map(grow).collect() }
    }
    fn sum(node: &tree::New) -> u64 {
        node.value + node.children.iter().map(sum).sum::<u64>()
    }
    let new: tree::New = forward(&said!(tree::Old), &said!(tree::New), &grow(7)).unwrap();
    assert_eq!((new.children.len(), sum(&new)), (7, 127));
}
