//! Hand-overs of a real heap: chains of generations over both channels, candidates that cannot inherit.
//!
//! The test runs its own binary: `life` is one generation, told by the environment what to do, and writes a line a generation to
//! a file. The process that starts it is not part of the chain.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use heirloom::sync::{Mutex, RwLock};
use heirloom::{Channel, Command, HandOverError, HashMap, Heap, Heritable, Options, String, Vec};

const PLAN: &str = "HEIRLOOM_TEST_PLAN";
const LOG: &str = "HEIRLOOM_TEST_LOG";

#[derive(Heritable)]
#[repr(C)]
struct Session {
    identity: u64,
    visits: u64,
    name: String,
}

#[derive(Heritable, Default)]
#[repr(C)]
struct Journal {
    generations: u64,
    notes: Vec<String>,
}

heirloom::root! {
    static SESSIONS: Mutex<HashMap<u64, Session>> = "sessions";
    static JOURNAL: RwLock<Journal> = "journal";
}

const NR: u64 = 20_000;

fn log(line: &str) {
    let path = std::env::var_os(LOG).unwrap();
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

fn use_heap(heap: &Heap) {
    let inside = heap.enter();
    let mut sessions = SESSIONS.get(&inside).lock();
    let generation = u64::from(heap.generation());
    if generation == 1 {
        for i in 0..NR {
            sessions.insert(
                i,
                Session { identity: i, visits: 0, name: String::from(format!("session {i}").as_str()) },
            );
        }
    }
    assert_eq!(sessions.len() as u64, NR);
    for i in 0..NR {
        let session = sessions.get_mut(&i).unwrap();
        assert_eq!((session.identity, session.visits), (i, generation - 1), "session {i}");
        assert_eq!(session.name.as_str(), format!("session {i}"));
        session.visits += 1;
    }
    // A tenth goes and comes again.
    for i in (generation % 10..NR).step_by(10) {
        sessions.remove(&i);
        sessions.insert(
            i,
            Session { identity: i, visits: generation, name: String::from(format!("session {i}").as_str()) },
        );
    }
    let mut journal = JOURNAL.get(&inside).write();
    journal.generations += 1;
    assert_eq!(journal.generations, generation);
    journal.notes.push(String::from(format!("generation {generation}").as_str()));
}

fn me() -> Command {
    Command::current_exe().unwrap().args(["life", "--exact", "--nocapture", "--test-threads=1"])
}

/// One generation.
#[test]
fn life() {
    let Ok(plan) = std::env::var(PLAN) else { return };
    let heap = Heap::inherit_or_create("chain", Options::new().size_limit(256 << 20)).unwrap();
    let generation = heap.generation();
    if plan == "claimed" {
        log(&format!("{generation} has it"));
        return if generation == 1 { call_off_and_hand_over(&heap) } else { log("done") };
    }
    use_heap(&heap);
    let scan = heap.scan().unwrap();
    log(&format!(
        "{generation} pid {} blocks {} stale {}",
        std::process::id(),
        scan.blocks,
        scan.stale_bytes
    ));
    let mut words = plan.split(' ');
    let (what, last) = (words.next().unwrap(), words.next().unwrap().parse::<u32>().unwrap());
    if generation == 1 && what == "refusals" {
        refusals(&heap, words.next().unwrap());
    }
    if generation == last {
        log("done");
        return;
    }
    let channel = if what == "exec" || what == "mixed" && generation.is_multiple_of(2) {
        Channel::Exec
    } else {
        Channel::Spawn
    };
    let error = heap.hand_over_with(me(), channel).unwrap_err();
    log(&format!("hand-over failed: {error}"));
}

/// A successor dies when the heap is its own already, and another follows.
fn call_off_and_hand_over(heap: &Heap) {
    let error = heap.hand_over(me().env("HEIRLOOM_POINT", "kill SuccessorClaimed")).unwrap_err();
    assert!(matches!(error, HandOverError::Died { .. }), "{error}");
    heap.check().unwrap();
    assert_eq!(heap.generation(), 1);
    let error = heap.hand_over(me()).unwrap_err();
    log(&format!("hand-over failed: {error}"));
}

/// Candidates that cannot inherit: each is refused for its own reason, and the heap is as it was.
fn refusals(heap: &Heap, scratch: &str) {
    let path = |name: &str| PathBuf::from(scratch).join(name);
    let expect = |command: Command, word: &str| {
        let error = heap.hand_over(command).unwrap_err();
        assert!(error.to_string().contains(word), "{error} does not say {word:?}");
        heap.check().unwrap();
        log(&format!("refused: {error}"));
    };
    expect(Command::new(path("missing")), "missing");
    fs::write(path("text"), "#!/bin/sh\n").unwrap();
    expect(Command::new(path("text")), "execut");
    let executable = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    executable("text");
    expect(Command::new(path("text")), "ELF");
    expect(Command::new("/bin/true"), "heirloom");
    // The same program with a field renamed in the note of its root.
    let mut binary = fs::read(std::env::current_exe().unwrap()).unwrap();
    let (mut at, mut changed) = (0, 0);
    while let Some(found) = binary[at..].windows(6).position(|window| window == b"visits") {
        at += found;
        // In the note a name follows its length; elsewhere (texts, debug information) a change is harmless.
        binary[at..at + 6].copy_from_slice(b"visitz");
        changed += 1;
    }
    assert!(changed > 0);
    fs::write(path("changed"), &binary).unwrap();
    executable("changed");
    expect(Command::new(path("changed")), "visit");
    // Another machine.
    binary[18] = 0xf3;
    fs::write(path("machine"), &binary).unwrap();
    executable("machine");
    expect(Command::new(path("machine")), "machine");
    // A thread that is inside.
    let inside = heap.enter();
    let error = heap.hand_over(me()).unwrap_err();
    assert!(matches!(error, HandOverError::Door { .. }), "{error}");
    drop(inside);
    // A successor that never asks for the heap: it can inherit, but does something else.
    let error = heap.hand_over(Command::current_exe().unwrap().arg("--list")).unwrap_err();
    assert!(matches!(error, HandOverError::Died { .. } | HandOverError::Protocol { .. }), "{error}");
    log(&format!("refused: {error}"));
    // After all of these it allocates, frees, and hands over.
    let inside = heap.enter();
    let mut sessions = SESSIONS.get(&inside).lock();
    sessions.insert(NR, Session { identity: 0, visits: 0, name: String::from("extra") });
    assert!(sessions.remove(&NR).is_some());
}

fn run(plan: &str, name: &str) -> std::vec::Vec<std::string::String> {
    let dir = std::env::temp_dir().join(format!("heirloom-hand-over-{}-{name}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join("log");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["life", "--exact", "--nocapture", "--test-threads=1"])
        .env(PLAN, plan.replace("DIR", dir.to_str().unwrap()))
        .env(LOG, &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    let lines = loop {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let ended = text.lines().any(|line| line == "done" || line.contains("failed"));
        if ended || Instant::now() > deadline {
            break text.lines().map(str::to_owned).collect();
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "a generation ended with {status}:\n{text}");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let _ = child.wait();
    fs::remove_dir_all(&dir).unwrap();
    lines
}

fn chain(plan: &str, name: &str, last: usize) {
    if std::env::var_os(PLAN).is_some() {
        return;
    }
    let lines = run(plan, name);
    println!("{}", lines.join("\n"));
    let generations: std::vec::Vec<_> = lines.iter().filter(|line| line.contains(" pid ")).collect();
    assert_eq!(generations.len(), last, "{lines:?}");
    assert!(generations.iter().all(|line| line.ends_with("stale 0")), "{lines:?}");
    assert_eq!(lines.last().map(|line| line.as_str()), Some("done"));
    let blocks = |line: &str| line.split(' ').nth(4).unwrap().parse::<u64>().unwrap();
    assert!(blocks(generations[last - 1]) <= blocks(generations[0]) + 2, "blocks grow: {lines:?}");
}

#[test]
fn ten_generations_by_spawn() {
    chain("spawn 10", "spawn", 10);
}

#[test]
fn ten_generations_by_exec_in_one_process() {
    chain("exec 10", "exec", 10);
}

#[test]
fn generations_by_turns() {
    chain("mixed 6", "mixed", 6);
}

#[test]
fn candidates_that_cannot_inherit_are_refused_and_the_next_one_is_not() {
    chain("refusals 2 DIR", "refusals", 2);
}

/// ```text
/// 1: owns ... frozen | 2: claims, killed | 1: taken back ... frozen | 3: owns
/// ```
#[test]
fn the_number_of_a_successor_that_had_claimed_the_heap_is_not_given_again() {
    if std::env::var_os(PLAN).is_some() {
        return;
    }
    assert_eq!(run("claimed", "claimed"), ["1 has it", "3 has it", "done"]);
}
