//! What no root reaches is found, named and given back; what is reached never is.

mod common;

use std::mem;

use common::{Scratch, turn};
use heirloom::Interner;
use heirloom::arc::{Arc, Weak};
use heirloom::boxed::BoxSlice;
use heirloom::foreign::trace::Leaks;
use heirloom::foreign::{Image, Target};
use heirloom::sync::{Mutex, OnceLock, RwLock};
use heirloom::{
    BTreeMap, BTreeSet, Box, ByteString, HashMap, HashSet, Heap, Heritable, Maybe, Options, String, Vec,
    VecDeque,
};

#[derive(Heritable)]
#[repr(C)]
struct Session {
    id: u64,
    user: String,
    level: Level,
    is_open: bool,
    pages: Vec<u32>,
}

#[derive(Heritable)]
#[repr(u8)]
enum Level {
    Guest = 3,
    Member = 7,
}

#[derive(Default, Heritable)]
#[repr(C)]
struct Tree {
    value: u64,
    #[heritable(recursive)]
    left: Option<Box<Tree>>,
    #[heritable(recursive)]
    right: Option<Box<Tree>>,
}

#[derive(Default, Heritable)]
#[repr(C)]
struct Everything {
    sessions: HashMap<u64, Box<Session>>,
    by_name: HashMap<String, Vec<Vec<u64>>>,
    tree: Tree,
    locks: Vec<RwLock<Vec<u8>>>,
    rows: [Vec<u16>; 3],
    pairs: Vec<(u64, String)>,
    events: VecDeque<Event>,
    words: HashSet<ByteString>,
    last: Maybe<Box<Event>>,
    pool: Interner,
    slices: Vec<BoxSlice<String>>,
    once: [OnceLock<String>; 2],
    ordered: BTreeMap<String, Box<u64>>,
    numbers: BTreeSet<u64>,
    weak: Vec<Weak<String>>,
    shared: Vec<Arc<String>>,
}

#[derive(Heritable)]
#[repr(u8)]
#[expect(dead_code, reason = "what is in it is looked at from outside alone")]
enum Event {
    Start = 1,
    Said(String),
    Joined {
        #[heritable(recursive)]
        events: Vec<Event>,
        at: u64,
    } = 9,
}

heirloom::root! {
    static ALL: Mutex<Everything> = "all";
    static TEXT: RwLock<String> = "text";
}

const TEXT_OF: &str = "long enough that no inline form holds it, whichever there may be";

fn session(id: u64) -> Session {
    Session {
        id,
        user: format!("user number {id}, with a name that is not short").as_str().into(),
        level: if id.is_multiple_of(2) { Level::Guest } else { Level::Member },
        is_open: id.is_multiple_of(3),
        pages: (0..id as u32 % 40).collect(),
    }
}

fn options(path: &Scratch) -> Options {
    Options::new().file(&path.0).size_limit(256 << 20)
}

/// For a heap that this process has had open before.
fn reclaiming(path: &Scratch) -> Options {
    // SAFETY: the tests forget what they hold before they close a heap.
    #[expect(unsafe_code, reason = "opens a heap more than once in one process")]
    unsafe {
        options(path).reclaim_leaks(true).holds_nothing()
    }
}

fn fill(heap: &Heap) {
    let inside = heap.enter();
    let mut all = ALL.get(&inside).lock();
    for id in 0..5000 {
        all.sessions.insert(id, Box::new(session(id)));
        let rows = (0..id % 5).map(|row| (0..row).collect()).collect();
        all.by_name.insert(format!("name {id}").as_str().into(), rows);
        all.pairs.push((id, TEXT_OF.into()));
        all.rows[id as usize % 3].push(id as u16);
    }
    for id in (0..5000).step_by(3) {
        all.sessions.remove(&id);
    }
    let mut tree = &mut all.tree;
    for value in 0..100_000 {
        tree.value = value;
        let next = if value % 2 == 0 { &mut tree.left } else { &mut tree.right };
        tree = next.insert(Box::new(Tree::default()));
    }
    all.events.push_back(Event::Start);
    for nr in 0..3000 {
        // Around the end of the ring too.
        all.events.push_back(Event::Said(TEXT_OF.into()));
        let events = std::iter::once(Event::Said(TEXT_OF.into())).collect();
        all.events.push_back(Event::Joined { events, at: nr });
        if nr % 2 == 0 {
            all.events.pop_front();
        }
        all.words.insert(format!("{TEXT_OF} {nr}").as_bytes().into());
    }
    for nr in 0..2000 {
        all.pool.intern(&format!("{TEXT_OF} {nr}"));
        all.slices.push((0..nr % 7).map(|_| String::from(TEXT_OF)).collect::<Vec<_>>().into());
    }
    all.once[1].get_or_init(|| TEXT_OF.into());
    for nr in 0..2000_u64 {
        all.ordered.insert(format!("{TEXT_OF} {nr}").as_str().into(), Box::new(nr));
        all.numbers.insert(nr * 7919 % 2003);
        let shared = Arc::new(String::from(TEXT_OF));
        // The weak ones are seen first; every third has an owner.
        all.weak.push(Arc::downgrade(&shared));
        if nr % 3 == 0 {
            all.shared.push(shared.clone());
            all.shared.push(shared);
        }
    }
    all.last = Maybe::Some(Box::new(Event::Said(TEXT_OF.into())));
    for len in 0..50 {
        all.locks.push(RwLock::new((0..len).collect()));
    }
    // Larger than a slot, and larger than a block.
    for nr in [100_000, 3_000_000] {
        all.by_name.insert("large".into(), std::iter::once((0..nr).collect()).collect());
    }
    *TEXT.get(&inside).write() = TEXT_OF.repeat(1000).as_str().into();
}

fn leaks(path: &Scratch) -> Leaks {
    Image::open(&Target::File(path.0.clone())).unwrap().leaks().unwrap()
}

#[test]
fn a_heap_whose_objects_are_all_reached_has_no_leaks() {
    let _turn = turn();
    let path = Scratch::new("no-leaks");
    let heap = Heap::inherit_or_create("leaks", options(&path)).unwrap();
    fill(&heap);
    // Running: what the magazines hold is no leak either, but the answer is in doubt.
    let running = leaks(&path);
    assert_eq!((running.objects, running.is_certain()), (0, false), "{running:?}");
    let live = heap.scan().unwrap().live_objects;
    drop(heap);
    let closed = leaks(&path);
    assert_eq!((closed.objects, closed.doubts.as_slice(), closed.reached), (0, &[][..], live));
}

#[test]
fn what_is_forgotten_is_reported_with_its_type() {
    let _turn = turn();
    let path = Scratch::new("leaks");
    let heap = Heap::inherit_or_create("leaks", options(&path)).unwrap();
    fill(&heap);
    let inside = heap.enter();
    for id in 1..=20 {
        // The session, its name and, of all but none, its pages.
        mem::forget(Box::new(session(id)));
    }
    mem::forget(String::from(TEXT_OF));
    let map: HashMap<String, Vec<Vec<u64>>> =
        (0..10).map(|id| (format!("{TEXT_OF} {id}").as_str().into(), Vec::new())).collect();
    mem::forget(map);
    mem::forget((0..50_000).collect::<Vec<u64>>());
    mem::forget(Box::new(Event::Joined { events: Vec::new(), at: 7 }));
    drop(inside);
    drop(heap);
    let found = leaks(&path);
    assert!(found.is_certain(), "{found:?}");
    let count = |likely: &str| -> u64 {
        found.rows.iter().filter(|row| row.likely.as_deref() == Some(likely)).map(|row| row.objects).sum()
    };
    // Bytes that are text may be of either.
    let texts = count("block of String") + count("block of ByteString or block of String");
    assert_eq!(count("Session"), 20, "{found:#?}");
    assert_eq!(count("block of Vec<u32>"), 20, "{found:#?}");
    assert_eq!(texts, 20 + 1 + 10, "{found:#?}");
    assert_eq!(count("block of HashMap<String, Vec<Vec<u64>>>"), 1, "{found:#?}");
    assert_eq!(count("Event"), 1, "{found:#?}");
    assert_eq!(found.objects, 20 * 3 + 1 + 11 + 1 + 1, "{found:#?}");
    let large = found.rows.iter().find(|row| row.cache == "large").unwrap();
    // Numbers could be any numbers.
    assert!(large.objects == 1 && large.bytes >= 50_000 * 8 && large.likely.is_some(), "{large:?}");

    // The next owner does not care, another one does.
    let heap = Heap::inherit_or_create("leaks", options(&path)).unwrap();
    assert!(heap.reclaimed().is_none());
    let live = heap.scan().unwrap().live_objects;
    drop(heap);
    let heap = Heap::inherit_or_create("leaks", reclaiming(&path)).unwrap();
    let reclaimed = heap.reclaimed().unwrap();
    assert_eq!((reclaimed.objects, reclaimed.bytes, reclaimed.doubts.len()), (found.objects, found.bytes, 0));
    assert_eq!((heap.stats().reclaimed_objects, heap.stats().reclaimed_bytes), (found.objects, found.bytes));
    assert_eq!(heap.scan().unwrap().live_objects, live - found.objects);
    {
        let inside = heap.enter();
        let all = ALL.get(&inside).lock();
        assert!(all.sessions.iter().all(|(id, kept)| kept.id == *id && kept.pages.len() as u64 == id % 40));
        assert!(all.pairs.iter().all(|(_, text)| text == TEXT_OF));
        assert_eq!(TEXT.get(&inside).read().len(), TEXT_OF.len() * 1000);
    }
    assert_eq!(heap.check(), Ok(()));
    drop(heap);
    let after = leaks(&path);
    assert_eq!((after.objects, after.is_certain()), (0, true));
}

/// ```text
/// locks: [ .., Vec<u8> | address into the middle of an object | .. ]
/// ```
#[test]
fn a_reference_that_leads_nowhere_is_a_doubt_and_nothing_is_given_back() {
    let _turn = turn();
    let path = Scratch::new("doubt");
    let heap = Heap::inherit_or_create("leaks", options(&path)).unwrap();
    fill(&heap);
    {
        let inside = heap.enter();
        mem::forget(Box::new(session(1)));
        let mut all = ALL.get(&inside).lock();
        let (twice, other) = all.pairs.split_at_mut(1);
        // SAFETY: a copy of a string that is never dropped twice: the heap is closed before.
        #[expect(unsafe_code, reason = "makes a heap that is broken")]
        unsafe {
            std::ptr::copy_nonoverlapping(&raw const twice[0].1, &raw mut other[0].1, 1);
        }
    }
    drop(heap);
    let found = leaks(&path);
    assert!(!found.is_certain() && found.objects >= 4, "{found:?}");
    assert!(found.doubts[0].contains("owns what another owns"), "{found:?}");
    let heap = Heap::inherit_or_create("leaks", reclaiming(&path)).unwrap();
    let reclaimed = heap.reclaimed().unwrap();
    assert_eq!((reclaimed.objects, &reclaimed.doubts), (0, &found.doubts));
    assert_eq!(heap.stats().reclaimed_objects, 0);
}

/// ```text
/// weak: [ 0 --> |1 owner| text --> block |     the one owner was on the stack of a thread that died
///         1 --> |0      |                      nobody has it any more
/// ```
#[test]
fn what_a_weak_pointer_can_upgrade_to_is_kept_with_all_it_owns() {
    let _turn = turn();
    let path = Scratch::new("weak");
    let heap = Heap::inherit_or_create("leaks", options(&path)).unwrap();
    {
        let inside = heap.enter();
        let (kept, gone) = (Arc::new(String::from(TEXT_OF)), Arc::new(String::from(TEXT_OF)));
        ALL.get(&inside).lock().weak.extend([Arc::downgrade(&kept), Arc::downgrade(&gone)]);
        mem::forget(kept);
    }
    drop(heap);
    let found = leaks(&path);
    assert_eq!((found.objects, found.doubts.as_slice()), (0, &[][..]), "{found:#?}");
    let heap = Heap::inherit_or_create("leaks", reclaiming(&path)).unwrap();
    assert_eq!(heap.stats().reclaimed_objects, 0);
    {
        let inside = heap.enter();
        let _others: std::vec::Vec<String> =
            (0..1000).map(|_| String::from("x".repeat(64).as_str())).collect();
        let weak = &ALL.get(&inside).lock().weak;
        assert_eq!(weak[0].upgrade().unwrap().as_str(), TEXT_OF);
        assert!(weak[1].upgrade().is_none());
    }
}

#[test]
fn an_owner_that_was_not_counted_is_a_doubt() {
    let _turn = turn();
    for owners in [1, 2] {
        let path = Scratch::new("owners");
        let heap = Heap::inherit_or_create("leaks", options(&path)).unwrap();
        {
            let inside = heap.enter();
            mem::forget(Box::new(7u64));
            let shared = &mut ALL.get(&inside).lock().shared;
            let owner = Arc::new(String::from(TEXT_OF));
            for _ in 1..owners {
                shared.push(owner.clone());
            }
            // SAFETY: a pointer that is never dropped: the heap is closed before.
            #[expect(unsafe_code, reason = "makes a heap that is broken")]
            shared.push(unsafe { std::ptr::read(&raw const owner) });
            shared.push(owner);
        }
        drop(heap);
        let found = leaks(&path);
        assert!(found.objects == 1 && found.doubts.len() == 1, "{found:#?}");
        assert!(found.doubts[0].contains("an owner too many"), "{found:#?}");
    }
}

#[test]
fn a_process_that_had_the_heap_open_before_gives_nothing_back() {
    let _turn = turn();
    let path = Scratch::new("reopened");
    let heap = Heap::inherit_or_create("leaks", options(&path)).unwrap();
    let kept = {
        let inside = heap.enter();
        TEXT.get(&inside);
        Box::new(7u64)
    };
    drop(heap);
    let heap = Heap::inherit_or_create("leaks", options(&path).reclaim_leaks(true)).unwrap();
    let reclaimed = heap.reclaimed().unwrap();
    assert_eq!((reclaimed.objects, reclaimed.doubts.len()), (0, 1), "{reclaimed:?}");
    {
        let _inside = heap.enter();
        let others: std::vec::Vec<Box<u64>> = (0..100).map(Box::new).collect();
        assert!(others.iter().all(|other| !std::ptr::eq(&raw const **other, &raw const *kept)) && *kept == 7);
        mem::forget(kept);
    }
    drop(heap);
    let heap = Heap::inherit_or_create("leaks", reclaiming(&path)).unwrap();
    assert_eq!(heap.stats().reclaimed_objects, 1, "{:?}", heap.reclaimed());
}
