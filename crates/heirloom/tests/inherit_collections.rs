//! Every collection in a real heap: filled by one generation, found, changed and emptied by the next, and nothing left behind.

use heirloom::arc::{Arc, Weak};
use heirloom::rc::Rc;
use heirloom::sync::Mutex;
use heirloom::{
    BTreeMap, BTreeSet, Box, BoxSlice, BoxStr, ByteString, HashMap, HashSet, Heap, Heritable, Interner,
    Options, String, Symbol, Vec, VecDeque,
};

mod common;

use common::{Scratch, turn};

/// One of each, and some of them in one another.
#[derive(Heritable, Default)]
#[repr(C)]
struct Everything {
    map: HashMap<ByteString, Vec<String>>,
    set: HashSet<String>,
    ordered: BTreeMap<String, BTreeMap<u64, VecDeque<u64>>>,
    numbers: BTreeSet<u64>,
    queue: VecDeque<String>,
    slices: Vec<BoxSlice<String>>,
    texts: Vec<BoxStr>,
    names: Interner,
    handles: Vec<Symbol>,
    last: Option<Symbol>,
    shared: Vec<Arc<Node>>,
    root: Option<Arc<Node>>,
    boxed: Option<Box<Vec<u64>>>,
}

/// A node of a graph whose edges go both ways.
#[derive(Heritable)]
#[repr(C)]
struct Node {
    text: String,
    #[heritable(recursive)]
    parent: Weak<Node>,
}

heirloom::root! {
    static EVERYTHING: Mutex<Everything> = "everything";
}

const NR: u64 = 1000;

/// Short for odd numbers, long for even ones.
fn text(i: u64) -> std::string::String {
    if i % 2 == 1 { format!("{i:05}") } else { format!("{i:05}: too long to lie in the string itself") }
}

fn fill(all: &mut Everything) {
    let root = Arc::new(Node { text: "root".into(), parent: Weak::new() });
    for i in 0..NR {
        let t = text(i);
        all.map.entry(t.as_str().into()).or_default().extend([String::from(t.as_str()), "x".into()]);
        all.set.insert(t.as_str().into());
        all.ordered.entry(text(i % 50).as_str().into()).or_default().entry(i).or_default().extend([i, i + 1]);
        all.numbers.insert(i * 7919 % NR);
        if i % 3 == 0 {
            all.queue.push_front(t.as_str().into())
        } else {
            all.queue.push_back(t.as_str().into())
        }
        all.slices.push(BoxSlice::from([t.as_str().into(), String::new()]));
        all.texts.push(t.as_str().into());
        all.handles.push(all.names.intern(&text(i % 100)));
        all.shared.push(Arc::new(Node { text: t.as_str().into(), parent: Arc::downgrade(&root) }));
    }
    all.last = all.handles.last().copied();
    all.root = Some(root);
    all.boxed = Some(Box::new((0..NR).collect()));
}

fn verify(all: &Everything) {
    let root = all.root.as_ref().unwrap();
    for i in 0..NR {
        let t = text(i);
        assert_eq!(all.map[t.as_bytes()], [String::from(t.as_str()), "x".into()]);
        assert!(all.set.contains(t.as_str()) && all.numbers.contains(&i));
        assert_eq!(all.ordered[text(i % 50).as_str()][&i], [i, i + 1]);
        let slot = i as usize;
        assert_eq!((&*all.slices[slot][0], &*all.texts[slot]), (t.as_str(), t.as_str()));
        assert_eq!(&all.names[all.handles[slot]], text(i % 100));
        assert!(all.shared[slot].text == t && Arc::ptr_eq(&all.shared[slot].parent.upgrade().unwrap(), root));
    }
    assert!(all.ordered.keys().is_sorted() && all.numbers.iter().copied().eq(0..NR));
    assert_eq!((all.queue.len() as u64, all.names.len()), (NR, 100));
    assert_eq!(
        (all.last, Arc::strong_count(root), Arc::weak_count(root) as u64),
        (all.names.get(&text(99)), 1, NR)
    );
    assert!(all.boxed.as_ref().unwrap().iter().copied().eq(0..NR));
}

#[test]
fn the_next_generation_finds_all_of_them() {
    let _turn = turn();
    let scratch = Scratch::new("collections");
    let open = || {
        let options = Options::new().file(&scratch.0).size_limit(64 << 20).block_size(64 << 10);
        Heap::inherit_or_create("collections", options).unwrap()
    };
    let heap = open();
    drop(EVERYTHING.get(&heap.enter()).lock());
    let before = heap.scan().unwrap();
    fill(&mut EVERYTHING.get(&heap.enter()).lock());
    verify(&EVERYTHING.get(&heap.enter()).lock());
    let held = heap.scan().unwrap();
    drop(heap);

    let heap = open();
    assert_eq!(heap.generation(), 2);
    assert_eq!(heap.scan().unwrap().live_objects, held.live_objects);
    {
        let inside = heap.enter();
        let mut all = EVERYTHING.get(&inside).lock();
        verify(&all);
        // What an ancestor allocated grows, shrinks and goes like what is new.
        for i in 0..NR {
            all.map.get_mut(text(i).as_bytes()).unwrap().push("more".into());
            assert!(all.set.remove(text(i).as_str()));
            all.queue.rotate_left(1);
            all.numbers.insert(NR + i);
        }
        all.ordered.retain(|key, _| key.len() > 5);
        assert_eq!((all.ordered.len(), all.set.len(), all.numbers.len() as u64), (25, 0, 2 * NR));
        let root = all.root.take().unwrap();
        assert_eq!(Arc::into_inner(root).unwrap().text, "root");
        assert!(all.shared.iter().all(|node| node.parent.upgrade().is_none()));
        *all = Everything::default();
    }
    heap.check().unwrap();
    let after = heap.scan().unwrap();
    // The thread's diary stays: one page, for whoever comes next.
    assert_eq!((after.live_objects, after.live_bytes), (before.live_objects + 1, before.live_bytes + 4096));

    // For one thread alone, in the same memory.
    let one = Rc::new(BTreeSet::from([3_u64, 1, 2]));
    let two = one.clone();
    assert_eq!(heap.scan().unwrap().live_objects, after.live_objects + 2);
    drop((one, two));
    assert_eq!(heap.scan().unwrap().live_objects, after.live_objects);
}

/// What shows that strings and nodes are as small as they are said to be.
#[test]
fn small_things_need_no_memory_of_their_own() {
    let _turn = turn();
    let options = Options::new().size_limit(64 << 20).block_size(64 << 10);
    let heap = Heap::inherit_or_create("small", options).unwrap();
    // A thread outside enters for each call, and no one is inside while the heap is looked through.
    let live = || {
        let scan = heap.scan().unwrap();
        (scan.live_objects, scan.live_bytes)
    };
    let (objects, _) = live();
    let keys: [ByteString; 3] = ["", "user:1", "a key of 23 characters."].map(ByteString::from);
    assert_eq!(live().0, objects);
    let long = ByteString::from("a key of 24 characters..");
    assert_eq!((live().0, keys[2].len(), long.len()), (objects + 1, 23, 24));
    drop(long);

    let (objects, bytes) = live();
    let map: BTreeMap<u64, u64> = (0..31).map(|key| (key, key)).collect();
    assert_eq!(live(), (objects + 1, bytes + 512), "31 pairs are one leaf, and that is a whole slot");
    drop(map);
    let map: BTreeMap<u64, u64> = (0..30_000).map(|key| (key, key)).collect();
    // 1,000 leaves of 30 pairs but for those that went up; about a thirtieth as many inner nodes.
    let per_pair = (live().1 - bytes) as f64 / 30_000.0;
    assert!(per_pair < 18.5, "keys that come in order need {per_pair} bytes a pair");
    drop(map);
    assert_eq!(live(), (objects, bytes));
}
