//! One program in five versions: each takes the heap of the one before it, checks every field of every object, and hands it on.
//!
//! ```text
//! chain-v1 --objects 1000000 --file F chain-v2 chain-v3 chain-v4 chain-v5 chain-v4 chain-v3
//!    fills, checks | migrates, checks | ..                            rolled back, checks | ..
//! ```
//!
//! Each generation prints a line of JSON. A hand-over that is called off is no error where the next one was told to kill itself: then
//! this generation checks that all is as it was, and ends.

mod content;
#[cfg(feature = "rkyv")]
mod peer;
mod schema;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use heirloom::arc::Arc;
use heirloom::sync::Mutex;
use heirloom::{BTreeMap, Command, HandOverError, HashMap, Heap, Migrate, OnPoison, Options, Vec};
use serde_json::json;

use schema::{Doc, Event, Recent, Session, VERSION};

heirloom::root! {
    static SESSIONS: Mutex<HashMap<u64, Session>> = "sessions";
    static EVENTS: Mutex<Vec<Event>> = "events";
    static DOCS: Mutex<BTreeMap<u32, Arc<Doc>>> = "docs";
    static RECENT: Mutex<Recent> = "recent";
}

/// Sessions that the function saw which is to repair them.
static REPAIRED: AtomicUsize = AtomicUsize::new(0);

/// How long after its start of the migration a successor ends itself, in microseconds.
const KILL_AFTER: &str = "CHAIN_KILL_AFTER_US";

struct Args {
    objects: u64,
    file: Option<std::string::String>,
    /// The heap has been at version 3, where notes are dropped.
    lost_notes: bool,
    /// Roots migrate when they are first used, and not at the opening.
    at_first_use: bool,
    /// Says that it is there, and ends when its standard input does.
    stay: bool,
    /// Begins another hand-over while the one to the next is under way, and calls it off.
    twice: bool,
    /// Ends as by a kill, while it changes the sessions.
    die: bool,
    /// What becomes of the sessions if it did.
    on_poison: Option<std::string::String>,
    next: std::vec::Vec<std::string::String>,
}

fn main() {
    let args = read_args();
    if let Err(error) = live(&args) {
        eprintln!("chain v{VERSION}: {error}");
        std::process::exit(1);
    }
}

fn read_args() -> Args {
    let mut args = std::env::args().skip(1);
    let (lost_notes, next) = (VERSION >= 3, std::vec::Vec::new());
    let mut read = Args {
        objects: 1000,
        file: None,
        lost_notes,
        at_first_use: false,
        stay: false,
        twice: false,
        die: false,
        on_poison: None,
        next,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| usage());
        match arg.as_str() {
            "--objects" => read.objects = value().parse().unwrap_or_else(|_| usage()),
            "--file" => read.file = Some(value()),
            "--lost-notes" => read.lost_notes = true,
            "--at-first-use" => read.at_first_use = true,
            "--stay" => read.stay = true,
            "--twice" => read.twice = true,
            "--die" => read.die = true,
            "--on-poison" => read.on_poison = Some(value()),
            path if !path.starts_with('-') => read.next.push(arg),
            _ => usage(),
        }
    }
    read
}

fn usage() -> ! {
    eprintln!(
        "usage: chain [--objects N] [--file PATH] [--lost-notes] [--at-first-use] [--stay] [--twice] [NEXT-PROGRAM ..]"
    );
    std::process::exit(2)
}

type AnyError = Box<dyn std::error::Error>;

fn live(args: &Args) -> Result<(), AnyError> {
    let started = Instant::now();
    if let Ok(after) = std::env::var(KILL_AFTER) {
        let after = Duration::from_micros(after.parse()?);
        kill_at(started + after);
    }
    let mut options = Options::new().size_limit(16 << 30).block_size(1 << 20);
    if let Some(file) = &args.file {
        options = options.file(file);
    }
    if args.at_first_use {
        options = options.migrate(Migrate::AtFirstUse);
    }
    if let Some(what) = &args.on_poison {
        options = options.on_poison(
            &SESSIONS,
            match what.as_str() {
                "replace" => OnPoison::replace(),
                "repair" => OnPoison::repair(|sessions: &mut Mutex<HashMap<u64, Session>>| {
                    REPAIRED.store(sessions.get_mut().len(), Relaxed);
                }),
                "keep" => OnPoison::keep(),
                _ => usage(),
            },
        );
    }
    let heap = Heap::inherit_or_create("chain", options)?;
    let opened = started.elapsed();
    fill(&heap, args.objects);
    let first_use = started.elapsed() - opened;
    let checked = check(&heap, args)?;
    let stats = heap.stats();
    let live = heap.scan()?.live_objects;
    let mut line = json!({
        "version": VERSION,
        "generation": heap.generation(),
        "origin": format!("{:?}", heap.origin()),
        "checked": checked,
        "live_objects": live,
        "opened_ms": opened.as_secs_f64() * 1e3,
        "first_use_ms": first_use.as_secs_f64() * 1e3,
        "migration_ms": stats.migration_us as f64 / 1e3,
        "freeze_ms": stats.freeze_us as f64 / 1e3,
        "held_mib": stats.held_bytes >> 20,
        "remedies": heap.poisoned().iter().map(|root| format!("{} {:?}", root.root, root.remedy)).collect::<std::vec::Vec<_>>(),
        "repaired": REPAIRED.load(Relaxed),
    });
    #[cfg(feature = "rkyv")]
    peer::measure(&heap, &mut line);
    println!("{}", std::mem::take(&mut line));
    if args.die {
        let inside = heap.enter();
        let _changing = SESSIONS.get(&inside).lock();
        kill();
    }
    if args.stay {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    }
    let Some(next) = args.next.first() else { return Ok(()) };
    let error = hand_on(&heap, args, next)?;
    if !matches!(error, HandOverError::Died { .. }) || std::env::var_os("CHAIN_KILLS").is_none() {
        return Err(error.into());
    }
    let checked = check(&heap, args)?;
    let scan = heap.scan()?;
    let whole = scan.live_objects == live && scan.stale_bytes == 0;
    println!(
        "{}",
        json!({ "old": "whole", "checked": checked, "nothing_left_over": whole, "why": error.to_string() })
    );
    Ok(())
}

/// Fills what is empty.
fn fill(heap: &Heap, objects: u64) {
    let inside = heap.enter();
    let mut sessions = SESSIONS.get(&inside).lock();
    if sessions.is_empty() {
        sessions.extend((0..objects).map(|id| (id, content::session(id))));
    }
    let mut events = EVENTS.get(&inside).lock();
    if events.is_empty() {
        events.extend((0..objects / 10).map(content::event));
    }
    let mut docs = DOCS.get(&inside).lock();
    let mut recent = RECENT.get(&inside).lock();
    if docs.is_empty() {
        docs.extend((0..objects as u32 / 10).map(|id| (id, Arc::new(content::doc(id)))));
        recent.docs.extend(docs.values().rev().take(RECENT_DOCS).cloned());
        recent.oldest = docs.get(&0).map(Arc::downgrade).unwrap_or_default();
    }
}

/// Documents that are in both roots.
const RECENT_DOCS: usize = 40;

/// Checks that documents are what they were, and shared as they were.
fn check_docs(inside: &heirloom::Inside<'_>, objects: u64) -> Result<(), AnyError> {
    let (docs, recent) = (DOCS.get(inside).lock(), RECENT.get(inside).lock());
    let nr = objects as u32 / 10;
    let nr_recent = RECENT_DOCS.min(nr as usize);
    if docs.len() as u32 != nr || recent.docs.len() != nr_recent {
        return Err(format!("{} documents, {} of them recent", docs.len(), recent.docs.len()).into());
    }
    for (id, doc) in docs.iter() {
        let owners = 1 + usize::from(nr - id <= nr_recent as u32);
        let (strong, weak) = (Arc::strong_count(doc), Arc::weak_count(doc));
        if !content::is_doc(*id, doc) || (strong, weak) != (owners, usize::from(*id == 0)) {
            return Err(format!("document {id} is not what it was, or has {strong} and {weak} owners").into());
        }
    }
    let same = |(back, doc): (u32, &Arc<Doc>)| {
        docs.get(&(nr - 1 - back)).is_some_and(|other| Arc::ptr_eq(doc, other))
    };
    let oldest = recent.oldest.upgrade();
    let is_oldest = oldest.as_ref().map(Arc::as_ptr) == docs.get(&0).map(Arc::as_ptr);
    if !(0..).zip(&recent.docs).all(same) || !is_oldest {
        return Err("a document is not shared any more".into());
    }
    Ok(())
}

/// Checks every field of every object, and returns how many there are.
fn check(heap: &Heap, args: &Args) -> Result<u64, AnyError> {
    let inside = heap.enter();
    let sessions = SESSIONS.get(&inside).lock();
    let events = EVENTS.get(&inside).lock();
    if sessions.len() as u64 != args.objects || events.len() as u64 != args.objects / 10 {
        return Err(format!("{} sessions and {} events", sessions.len(), events.len()).into());
    }
    for id in 0..args.objects {
        let session = sessions.get(&id).ok_or_else(|| format!("session {id} is not found"))?;
        content::check_session(id, session, args.lost_notes)?;
    }
    for (nr, event) in events.iter().enumerate() {
        content::check_event(nr as u64, event)?;
    }
    check_docs(&inside, args.objects)?;
    Ok(sessions.len() as u64 + events.len() as u64)
}

/// Hands the heap on; returns why it was called off.
fn hand_on(heap: &Heap, args: &Args, next: &str) -> Result<HandOverError, AnyError> {
    let mut command = Command::new(next).arg("--objects").arg(args.objects.to_string());
    if let Some(file) = &args.file {
        command = command.arg("--file").arg(file);
    }
    if args.lost_notes {
        command = command.arg("--lost-notes");
    }
    if args.at_first_use {
        command = command.arg("--at-first-use");
    }
    for further in &args.next[1..] {
        command = command.arg(further);
    }
    if let Ok(after) = std::env::var("CHAIN_KILLS") {
        command = command.env(KILL_AFTER, after);
    }
    let report = heap.check_candidate(&command)?;
    for root in &report.roots {
        eprintln!("chain v{VERSION} -> {next}: {}: {}", root.name, root.way);
    }
    let other = || match heap.hand_over_to(Command::current_exe()?).at_rest(|_| Err("not this one")).go() {
        Err(HandOverError::NotAtRest { .. }) => Ok(()),
        Err(error) => Err(AnyError::from(error)),
        Ok(never) => match never {},
    };
    let leaving = heap.hand_over_to(command);
    let leaving = if args.twice {
        leaving.at_rest(move |_| other().map_err(|error| error.to_string()))
    } else {
        leaving
    };
    match leaving.go() {
        Ok(never) => match never {},
        Err(error) => Ok(error),
    }
}

/// Ends this process as a power switch would, at that moment.
fn kill_at(moment: Instant) {
    std::thread::spawn(move || {
        // Sleeping is as exact as the system's timer; the last stretch is waited out.
        if let Some(left) = moment.checked_duration_since(Instant::now()) {
            std::thread::sleep(left.saturating_sub(Duration::from_micros(100)));
        }
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        kill();
    });
}

#[expect(unsafe_code, reason = "sends a signal")]
fn kill() {
    // SAFETY: no memory is touched.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}
