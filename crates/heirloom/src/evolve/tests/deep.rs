//! Values that own values that own values: longer than any stack.

use super::*;

mod list {
    use super::*;

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(name = "Link")]
    pub struct Old {
        pub nr: u32,
        #[heritable(recursive)]
        pub next: Option<Box<Old>>,
        #[heritable(recursive)]
        pub more: Vec<Old>,
    }

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(name = "Link")]
    pub struct New {
        #[heritable(recursive)]
        pub more: Vec<New>,
        #[heritable(recursive)]
        pub next: Option<Box<New>>,
        pub nr: u64,
    }
}

const LINKS: u32 = if cfg!(miri) { 500 } else { 1_000_000 };

/// A list of a million boxes, every other one of which is in a vector: what would be a call each ends every stack there is.
#[test]
fn a_list_of_a_million_links_is_converted_and_given_back() {
    let mut from = list::Old { nr: 0, next: None, more: Vec::new() };
    for nr in 1..LINKS {
        from = match nr % 2 {
            0 => list::Old { nr, next: Some(Box::new(from)), more: Vec::new() },
            _ => list::Old { nr, next: None, more: std::iter::once(from).collect() },
        };
    }
    let (old, new) = (said!(list::Old), said!(list::New));
    let from = std::mem::ManuallyDrop::new(from);
    let to: list::New = forward(&old, &new, &*from).unwrap();
    let to = std::mem::ManuallyDrop::new(to);
    let (mut at, mut nr) = (&*to, LINKS - 1);
    loop {
        assert_eq!(at.nr, u64::from(nr));
        match at.next.as_deref().or(at.more.first()) {
            Some(next) => (at, nr) = (next, nr - 1),
            None => break,
        }
    }
    assert_eq!(nr, 0);
    for (said, at) in [(old, std::ptr::from_ref(&*from).cast()), (new, std::ptr::from_ref(&*to).cast())] {
        let shapes = Shapes::of(&TypeView::parse(&said.form).unwrap());
        // SAFETY: it is a value of that type, and is not used any more.
        assert_eq!(unsafe { release(&shapes, at) }, u64::from(LINKS) - 1);
    }
}

mod wrapped {
    use super::*;

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(name = "Cell")]
    pub struct One {
        pub nr: u32,
        #[heritable(recursive)]
        pub next: Vec<One>,
    }

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(name = "Cell")]
    pub struct Two {
        pub nr: u64,
        #[heritable(recursive)]
        pub next: Vec<Two>,
    }

    /// What is made by code holds what is made by code: each level is a walk of its own.
    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(name = "Cell", from = Two)]
    pub struct Three {
        pub nr: u64,
    }

    impl From<&Two> for Three {
        fn from(old: &Two) -> Self {
            assert!(old.nr != 13, "bad luck");
            Self { nr: old.nr * 2 + old.next.len() as u64 }
        }
    }
}

/// The way leads through an ancestor that is made by names, outside the heap, and given back if the program's code panics or there is no room.
#[test]
fn an_ancestor_on_the_way_is_given_back_whatever_happens() {
    let (old, new) = (said!(Vec<wrapped::One>), said!(Vec<wrapped::Three>));
    let cell =
        |nr| wrapped::One { nr, next: (0..nr % 4).map(|nr| wrapped::One { nr, next: Vec::new() }).collect() };
    let good: Vec<_> = (0..12).map(cell).collect();
    let made: Vec<wrapped::Three> = forward(&old, &new, &good).unwrap();
    assert!((0..).zip(&made).all(|(nr, cell)| cell.nr == nr * 2 + nr % 4));
    let bad: Vec<_> = (0..20).map(cell).collect();
    let error = forward::<_, Vec<wrapped::Three>>(&old, &new, &bad).err();
    assert_eq!(error, Some(ConvertError::Panicked { message: "bad luck".to_owned() }));
    for limit in 0..9 {
        crate::alloc::fail_after(limit);
        let outcome = forward::<_, Vec<wrapped::Three>>(&old, &new, &good);
        crate::alloc::never_fail();
        assert!(matches!(outcome, Err(ConvertError::NoRoom(_))), "{limit}");
    }
}

mod filled {
    use super::*;

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(name = "Card")]
    pub struct One {
        pub nr: u32,
        pub text: String,
    }

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(name = "Card")]
    pub struct Two {
        #[heritable(default = "a default that takes a block of its own".into())]
        pub note: String,
        pub nr: u64,
        pub text: String,
    }

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(name = "Card", from = Two)]
    pub struct Three {
        pub whole: String,
    }

    impl From<&Two> for Three {
        fn from(old: &Two) -> Self {
            Self { whole: [&*old.note, &*old.text].concat().as_str().into() }
        }
    }
}

/// A default that was made in an ancestor on the way lies outside the heap, and goes before the room that it lies in.
#[test]
fn a_default_on_the_way_is_dropped_where_it_lies() {
    let (old, new) = (said!(Vec<filled::One>), said!(Vec<filled::Three>));
    let from: Vec<_> =
        (0..3).map(|nr| filled::One { nr, text: "a text that takes a block of its own".into() }).collect();
    for limit in 0.. {
        crate::alloc::fail_after(limit);
        let outcome = forward::<_, Vec<filled::Three>>(&old, &new, &from);
        crate::alloc::never_fail();
        match outcome {
            Err(ConvertError::NoRoom(_) | ConvertError::Panicked { .. }) => {}
            Err(error) => panic!("{error}"),
            Ok(made) => {
                assert!(made.iter().all(|card| card.whole.len() == 39 + 36));
                break;
            }
        }
    }
}
