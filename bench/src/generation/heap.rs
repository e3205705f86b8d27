//! One life over a heap of Heirloom's.
//!
//! ```text
//! generation 1   make the objects ----+
//! generation n   inherit, read one ---+--> read all, tell the sample, wait for the order, hand over by that channel
//! ```
//!
//! A thread answers until the door closes, so that the blackout is what a client would see, not the time between two
//! well-chosen moments. What predecessor and successor must know of each other stands in the heap.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;

use heirloom::sync::RwLock;
use heirloom::{Channel, Command, Heap, Heritable, Inside, Options, Scrub, Vec};

use super::objects::{fill, is_whole, mix, size_bytes, sum};
use super::sample::{Sample, now_ns, private_bytes, us_between};
use super::{hear, say};

heirloom::root! {
    static OBJECTS: RwLock<Objects> = "objects";
    static JOURNAL: Journal = "journal";
}

/// All objects, and what must come out when they are read.
#[derive(Default, Heritable)]
#[repr(C)]
struct Objects {
    table: Vec<Vec<u8>>,
    /// Of the words of all that are there, wrapping.
    sum: u64,
}

/// What the successor has to know of its predecessor.
#[derive(Default, Heritable)]
#[repr(C)]
struct Journal {
    last_answer_ns: AtomicU64,
    /// Memory that the predecessor held beside the heap.
    private_bytes: AtomicU64,
}

/// How many of the objects are dropped before each hand-over of a heap that is scrubbed at the freeze: one of so many.
const DROPPED: usize = 10;

/// What the arguments say; the successor is given the same.
struct Plan<'a> {
    arguments: &'a [&'a str],
    count: u64,
    scrub: Scrub,
    huge_pages: bool,
}

impl<'a> Plan<'a> {
    fn parse(arguments: &'a [&'a str]) -> Result<Self, String> {
        let &[count, scrub, pages] = arguments else { return Err("heap COUNT SCRUB PAGES".to_owned()) };
        let count = count.parse().map_err(|_| format!("no number of objects: `{count}`"))?;
        let scrub = if scrub == "at-freeze" { Scrub::AtFreeze } else { Scrub::OnFree };
        Ok(Self { arguments, count, scrub, huge_pages: pages == "huge" })
    }

    /// The objects that a generation leaves out, so that there is something to be scrubbed at the freeze.
    fn dropped_by(&self, generation: u32) -> impl Iterator<Item = usize> + use<> {
        let first = generation as usize % DROPPED;
        let count = if self.scrub == Scrub::AtFreeze { self.count as usize } else { 0 };
        (first..count).step_by(DROPPED)
    }
}

pub(super) fn live(arguments: &[&str], main_ns: u64) -> Result<(), String> {
    let plan = Plan::parse(arguments)?;
    let options = Options::new().scrub(plan.scrub).huge_pages(plan.huge_pages);
    let heap = Heap::inherit_or_create("handover", options).map_err(|error| error.to_string())?;
    let opened_ns = now_ns();
    let sample = if heap.generation() == 1 {
        make(&heap, &plan)?;
        // The pages are in this process's tables, as a program's are that has worked with them.
        Sample { pid: std::process::id(), ..Sample::default() }
    } else {
        measure(&heap, &plan, main_ns, opened_ns)?
    };
    refill(&heap, &plan)?;
    say(&serde_json::to_string(&sample).map_err(|error| error.to_string())?)?;
    match hear()?.as_str() {
        "spawn" => hand_over(&heap, &plan, Channel::Spawn),
        "exec" => hand_over(&heap, &plan, Channel::Exec),
        "" => Ok(()),
        other => Err(format!("an order that is none: `{other}`")),
    }
}

fn make(heap: &Heap, plan: &Plan<'_>) -> Result<(), String> {
    let inside = heap.enter();
    let mut objects = OBJECTS.get(&inside).write();
    objects.table.try_reserve_exact(plan.count as usize).map_err(|error| error.to_string())?;
    for number in 0..plan.count {
        let object = made(number)?;
        objects.sum = objects.sum.wrapping_add(sum(&object));
        objects.table.push(object);
    }
    Ok(())
}

fn made(number: u64) -> Result<Vec<u8>, String> {
    let size = size_bytes(number);
    let mut object = Vec::try_with_capacity(size).map_err(|error| error.to_string())?;
    object.resize(size, 0);
    fill(number, &mut object);
    Ok(object)
}

/// Answers for the first time, reads everything, and sums up.
fn measure(heap: &Heap, plan: &Plan<'_>, main_ns: u64, opened_ns: u64) -> Result<Sample, String> {
    let inside = heap.enter();
    let whole = answer(&inside, mix(main_ns));
    let first_ns = now_ns();
    if !whole {
        return Err("the first object that was read is not whole".to_owned());
    }
    let objects = OBJECTS.get(&inside).read();
    let all = objects.table.iter().fold(0u64, |all, object| all.wrapping_add(sum(object)));
    let all_ns = now_ns();
    if all != objects.sum || objects.table.len() as u64 != plan.count {
        return Err(format!("{} objects with another sum than before", objects.table.len()));
    }
    let stats = heap.stats();
    let frozen_ns = stats.frozen_ns + stats.freeze_us * 1000;
    let journal = JOURNAL.get(&inside);
    let private = private_bytes("self");
    Ok(Sample {
        freeze_us: stats.freeze_us as f64,
        blackout_us: us_between(journal.last_answer_ns.load(Relaxed), first_ns),
        first_read_us: us_between(frozen_ns, first_ns),
        read_all_us: us_between(first_ns, all_ns),
        start_us: us_between(frozen_ns, main_ns),
        open_us: us_between(frozen_ns.max(main_ns), opened_ns),
        peak_bytes: journal.private_bytes.load(Relaxed) + private + stats.held_bytes,
        pid: std::process::id(),
    })
}

/// One answer: an object, read and compared byte by byte.
fn answer(inside: &Inside<'_>, random: u64) -> bool {
    let objects = OBJECTS.get(inside).read();
    let number = random % (objects.table.len() as u64).max(1);
    objects.table.get(number as usize).is_some_and(|object| object.is_empty() || is_whole(number, object))
}

/// Makes the objects again that the predecessor had dropped.
fn refill(heap: &Heap, plan: &Plan<'_>) -> Result<(), String> {
    let inside = heap.enter();
    let mut objects = OBJECTS.get(&inside).write();
    for index in plan.dropped_by(heap.generation().saturating_sub(1)) {
        if objects.table[index].is_empty() {
            let object = made(index as u64)?;
            objects.sum = objects.sum.wrapping_add(sum(&object));
            objects.table[index] = object;
        }
    }
    Ok(())
}

fn drop_some(inside: &Inside<'_>, plan: &Plan<'_>, generation: u32) {
    let mut objects = OBJECTS.get(inside).write();
    for index in plan.dropped_by(generation) {
        let object = std::mem::take(&mut objects.table[index]);
        objects.sum = objects.sum.wrapping_sub(sum(&object));
    }
}

fn hand_over(heap: &Heap, plan: &Plan<'_>, channel: Channel) -> Result<(), String> {
    let inside = heap.enter();
    drop_some(&inside, plan, heap.generation());
    JOURNAL.get(&inside).private_bytes.store(private_bytes("self"), Relaxed);
    drop(inside);
    let successor = Command::current_exe().map_err(|error| error.to_string())?;
    let successor = successor.arg("heap").args(plan.arguments);
    let (answered, has_answered) = mpsc::channel();
    std::thread::scope(|scope| {
        // It ends with the process. Should the hand-over be called off, so does this one.
        scope.spawn(move || {
            for number in 0u64.. {
                let inside = heap.enter();
                let whole = answer(&inside, mix(number));
                JOURNAL.get(&inside).last_answer_ns.store(now_ns(), Relaxed);
                drop(inside);
                if !whole {
                    eprintln!("heirloom-generation: an object is not whole");
                    std::process::exit(1);
                }
                if number == 100 {
                    let _ = answered.send(());
                }
                std::thread::yield_now();
            }
        });
        // The first answers fault pages in, and are not what a serving program's last one is like.
        has_answered.recv().map_err(|error| error.to_string())?;
        let Err(error) = heap.hand_over_with(successor, channel);
        eprintln!("heirloom-generation: the hand-over was called off: {error}");
        std::process::exit(1)
    })
}
