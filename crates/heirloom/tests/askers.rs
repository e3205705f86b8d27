//! Programs that ask for a heap and are late, or too many, or elsewhere: none of them becomes a second owner.
//!
//! ```text
//! owner (loses patience soon)     first asker              second asker
//!   OFFER ---------------------->  stands at a point
//!   time out, REFUSE ----------->
//!   OFFER -------------------------------------------------->
//!   ... hands over, or dies        goes on: who owns it?      who owns it?
//! ```

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use heirloom::{Heap, Listener, Options};

const ROLE: &str = "HEIRLOOM_TEST_ASKERS";
const POINT: &str = "HEIRLOOM_POINT";

heirloom::root! { static NUMBER: AtomicU64 = "number"; }

fn options() -> Options {
    Options::new().size_limit(64 << 20).huge_pages(false)
}

/// The other processes. Each says a line, and one that has the heap keeps it until its input ends.
#[test]
fn other() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (what, path) = role.split_once(' ').unwrap();
    let options = if what == "owner" { options() } else { options().ask(path) };
    let heap = loop {
        match Heap::inherit_or_create("asked", options.clone()) {
            Ok(heap) => break heap,
            // On a busy machine the owner may lose patience with this one too.
            Err(error) if what == "insist" && error.to_string().contains("called the hand-over off") => {}
            Err(error) => return println!("<refused: {error}>"),
        }
    };
    if what == "owner" {
        NUMBER.get(&heap.enter()).store(41, Relaxed);
        let listener = Listener::bind(path).unwrap();
        println!("<listens>");
        let error = heap.hand_over_at(&listener).ready_timeout(Duration::from_millis(300)).go().unwrap_err();
        return println!("<kept: {error}>");
    }
    let number = NUMBER.get(&heap.enter()).fetch_add(1, Relaxed);
    println!("<owns generation {} of {:?}: {number}>", heap.generation(), heap.channel());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

struct Other {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Other {
    fn start(what: &str, path: &Path, pause: Option<(&str, &Path)>) -> Self {
        Self::start_by(Command::new(std::env::current_exe().unwrap()), what, path, pause)
    }

    fn start_by(mut command: Command, what: &str, path: &Path, pause: Option<(&str, &Path)>) -> Self {
        command.args(["other", "--exact", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, format!("{what} {}", path.display()));
        if let Some((point, file)) = pause {
            command.env(POINT, format!("pause {point} {}", file.display()));
        }
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// The next thing that it says.
    fn says(&mut self) -> String {
        let mut line = String::new();
        while self.said.read_line(&mut line).unwrap() > 0 {
            if let Some((_, said)) = line.split_once('<') {
                return said.trim_end().trim_end_matches('>').to_owned();
            }
            line.clear();
        }
        panic!("it ended without a word: {:?}", self.child.wait());
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

/// A process that stands at a point, until this goes.
struct Pause(PathBuf);

impl Pause {
    fn new(scene: &Path, name: &str) -> Self {
        let mut file = scene.as_os_str().to_owned();
        file.push(format!("-{name}"));
        Self(file.into())
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.0.exists() {
            assert!(Instant::now() < deadline, "nobody comes by {}", self.0.display());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(self) {
        fs::remove_file(&self.0).unwrap();
    }
}

fn scene(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("heirloom-askers-{}-{name}", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

/// The first asker was refused while it was held up, and the heap went to the second. It had the owner's descriptor, and with it the
/// lock; the owner it had been offered the heap by was gone: it used to recover, beside the second.
#[test]
fn a_late_asker_is_no_second_owner() {
    if std::env::var_os(ROLE).is_some() {
        return;
    }
    let path = scene("late");
    let mut owner = Other::start("owner", &path, None);
    assert_eq!(owner.says(), "listens");
    let pause = Pause::new(&path, "pause");
    let mut late = Other::start("asker", &path, Some(("SuccessorMapped", &pause.0)));
    pause.wait();
    let mut second = Other::start("insist", &path, None);
    assert_eq!(second.says(), "owns generation 2 of Some(Socket): 41");
    owner.child.wait().unwrap();
    pause.end();
    let said = late.says();
    assert!(said.contains("called the hand-over off"), "{said}");
    late.end();
    second.end();
    let _ = fs::remove_file(path);
}

/// As before, and the late one has not even looked at the heap: by then its header names the second as its owner.
#[test]
fn nor_is_one_that_looks_when_the_heap_has_gone() {
    if std::env::var_os(ROLE).is_some() {
        return;
    }
    let path = scene("looks");
    let mut owner = Other::start("owner", &path, None);
    assert_eq!(owner.says(), "listens");
    let pause = Pause::new(&path, "pause");
    let mut late = Other::start("asker", &path, Some(("SuccessorFoundOffer", &pause.0)));
    pause.wait();
    let mut second = Other::start("insist", &path, None);
    assert_eq!(second.says(), "owns generation 2 of Some(Socket): 41");
    owner.child.wait().unwrap();
    // Closed in order, and nobody has the lock.
    second.end();
    pause.end();
    let said = late.says();
    assert!(said.contains("called the hand-over off"), "{said}");
    late.end();
    let _ = fs::remove_file(path);
}

/// Two were offered the heap, one after the other, when its owner is killed: the one that was refused has it not.
#[test]
fn of_two_askers_one_recovers_a_dead_owners_heap() {
    if std::env::var_os(ROLE).is_some() {
        return;
    }
    let path = scene("two");
    let mut owner = Other::start("owner", &path, None);
    assert_eq!(owner.says(), "listens");
    let pauses = [Pause::new(&path, "first"), Pause::new(&path, "second")];
    let [mut first, mut second] = pauses.each_ref().map(|pause| {
        let asker = Other::start("asker", &path, Some(("SuccessorMapped", &pause.0)));
        pause.wait();
        asker
    });
    owner.child.kill().unwrap();
    owner.child.wait().unwrap();
    pauses.into_iter().for_each(Pause::end);
    let said = first.says();
    assert!(said.contains("called the hand-over off"), "{said}");
    let said = second.says();
    // On a busy machine the owner may have lost patience with both.
    let is_refused = said.contains("called the hand-over off");
    assert!(is_refused || said == "owns generation 2 of Some(Socket): 41", "{said}");
    first.end();
    second.end();
    let _ = fs::remove_file(path);
}

/// In a pid namespace of its own it cannot tell whether the owner, or a stranger of its number, has ended.
#[test]
fn an_asker_in_another_pid_namespace_is_refused() {
    if std::env::var_os(ROLE).is_some() {
        return;
    }
    let unshare = ["--pid", "--fork", "--mount-proc"];
    if !Command::new("unshare").args(unshare).arg("true").output().is_ok_and(|output| output.status.success())
    {
        eprintln!(
            "skipped: unshare makes a pid namespace: run as root, outside a container (apt-get install util-linux)"
        );
        return;
    }
    let path = scene("namespace");
    let mut owner = Other::start("owner", &path, None);
    assert_eq!(owner.says(), "listens");
    let mut command = Command::new("unshare");
    command.args(unshare).arg(std::env::current_exe().unwrap());
    let mut asker = Other::start_by(command, "asker", &path, None);
    let said = asker.says();
    assert!(said.contains("in another pid namespace"), "{said}");
    asker.end();
    // The owner listens still.
    let mut other = Other::start("insist", &path, None);
    assert_eq!(other.says(), "owns generation 2 of Some(Socket): 41");
    other.end();
    owner.end();
    let _ = fs::remove_file(path);
}
