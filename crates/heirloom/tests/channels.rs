//! The places where a start finds a heap: which is taken, who is refused, what is left behind. `tests/faults` has the deaths.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heirloom::{BackingError, Channel, HandOverError, Heap, HeapError, Listener, Options};

mod common;

use common::{Scratch, turn};

const ROLE: &str = "HEIRLOOM_TEST_CHANNELS";

heirloom::root! { static NUMBER: AtomicU64 = "number"; }

fn options() -> Options {
    Options::new().size_limit(64 << 20)
}

/// The other process: opens a heap and prints what came of it. `crash NAME` ends without closing it.
#[test]
fn other() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (what, name) = role.split_once(' ').unwrap();
    let options = match what {
        "ask" => options().ask(name),
        "cold" => options().keeper(true).cold_start(true),
        _ => options().keeper(true),
    };
    match Heap::inherit_or_create(if what == "ask" { "socket" } else { name }, options) {
        Ok(heap) => {
            let number = NUMBER.get(&heap.enter()).fetch_add(1, Relaxed);
            println!("<{:?} {} {number}>", heap.channel(), heap.generation());
            if what == "crash" {
                std::process::abort();
            }
        }
        Err(error) => println!("<{error}>"),
    }
}

fn run_other(role: &str) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["other", "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    let output = command.stderr(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = text.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    said.unwrap_or_else(|| panic!("{text}")).0.to_owned()
}

/// The process that keeps a heap of this name, and its heap.
fn keeper_and_heap(name: &str) -> (u32, fs::File) {
    let wanted = format!("heirloom-keeper {name}");
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse::<u32>().ok()?;
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        (line.trim_end_matches('\0') == wanted).then_some(pid)
    });
    let pid = pids.last().expect("a keeper");
    let heap = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().find_map(|entry| {
        let path = entry.ok()?.path();
        let is_heap = fs::read_link(&path).ok()?.to_str()?.starts_with("/memfd:heirloom");
        is_heap.then(|| fs::File::options().read(true).write(true).open(path).unwrap())
    });
    (pid, heap.expect("it has the heap"))
}

/// Two starts find that the kept heap is damaged. One has it set aside and makes a new one; the other's request came to the keeper of
/// that, and its heap was set aside while it was in use.
#[test]
fn a_keeper_sets_the_heap_aside_that_was_found_and_no_other() {
    use std::os::unix::fs::FileExt;
    if std::env::var_os(ROLE).is_some() {
        return;
    }
    let _turn = turn();
    let name = format!("aside-{}", std::process::id());
    assert_eq!(run_other(&format!("crash {name}")), "None 1 0");
    let (old_keeper, heap) = keeper_and_heap(&name);
    heap.write_all_at(&[0x55; 64], 8).unwrap();
    let pause = Scratch::new("keeper-pause");
    let mut late = Command::new(std::env::current_exe().unwrap());
    late.args(["other", "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, format!("cold {name}"));
    late.env("HEIRLOOM_POINT", format!("pause FinderFound {}", pause.0.display()));
    let late = late.stdout(Stdio::piped()).spawn().unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !pause.0.exists() {
        assert!(std::time::Instant::now() < deadline, "it does not come by");
        std::thread::sleep(Duration::from_millis(1));
    }
    let heap = Heap::inherit_or_create(&name, options().keeper(true).cold_start(true)).unwrap();
    assert!(heap.set_aside().is_some());
    NUMBER.get(&heap.enter()).store(41, Relaxed);
    fs::remove_file(&pause.0).unwrap();
    let late = late.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&late.stdout);
    assert!(!said.contains("None 1 0"), "it has a new heap too: {said}");
    assert_eq!(keepers(&name), 1);
    drop(heap);
    assert!(is_left_alone(&name));
    let _ = Command::new("kill").arg(old_keeper.to_string()).status();
}

/// A file with capabilities makes its process a privileged one, and the keeper too: that used to return to `main` and run the program a
/// second time, with an empty environment, while the first waited for it without end.
#[test]
fn no_keeper_is_made_of_a_program_with_capabilities() {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    if std::env::var_os(ROLE).is_some() {
        return;
    }
    let copy = std::env::temp_dir().join(format!("heirloom-capable-{}", std::process::id()));
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    // Version 2, effective; what is permitted: to bind to low ports. Nothing is inheritable.
    let words = [0x0200_0001_u32, 1 << 10, 0, 0, 0];
    let capabilities: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let flags = rustix::fs::XattrFlags::empty();
    let is_set = rustix::fs::setxattr(&copy, "security.capability", &capabilities, flags).is_ok();
    let run = |role: &str, keeper: &str| {
        let mut command = Command::new(&copy);
        command.args(["other", "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
        if !keeper.is_empty() {
            command.env("HEIRLOOM_KEEPER", keeper);
        }
        command.stderr(Stdio::null()).current_dir("/").uid(NOBODY).gid(NOBODY).output()
    };
    let name = format!("capable-{}", std::process::id());
    let (started, as_keeper) = (run(&format!("open {name}"), ""), run("open nothing", "3:4:5:name"));
    fs::remove_file(&copy).unwrap();
    let (true, Ok(started), Ok(as_keeper)) = (is_set, started, as_keeper) else {
        eprintln!("skipped: only root can give a program capabilities, and play another user");
        return;
    };
    let said = String::from_utf8_lossy(&started.stdout);
    assert!(said.contains("capabilities"), "{said} {started:?}");
    assert_eq!(as_keeper.status.code(), Some(2), "{as_keeper:?}");
}

fn keepers(name: &str) -> usize {
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    sockets
        .lines()
        .filter(|line| line.contains("heirloom-keeper/") && line.ends_with(&format!("/{name}")))
        .count()
}

/// Whether nobody keeps the heap any more. A keeper that was told to go takes a moment to be gone.
fn is_left_alone(name: &str) -> bool {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while keepers(name) > 0 && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    keepers(name) == 0
}

#[test]
fn a_kept_heap_outlives_its_program_and_has_one_owner() {
    if std::env::var_os(ROLE).is_some() {
        return;
    }
    let _turn = turn();
    let name = format!("kept-{}", std::process::id());
    assert_eq!(run_other(&format!("crash {name}")), "None 1 0");
    assert_eq!(keepers(&name), 1);
    assert_eq!(run_other(&format!("crash {name}")), "Some(Keeper) 2 1");
    let heap = Heap::inherit_or_create(&name, options().keeper(true)).unwrap();
    assert_eq!((heap.channel(), heap.generation()), (Some(Channel::Keeper), 3));
    let recovery = heap.recovery().expect("its owner died");
    assert_eq!((recovery.generation, recovery.roots.len()), (2, 1), "{recovery}");
    // The lock says that it has an owner, whoever asks the keeper.
    let refused = run_other(&format!("open {name}"));
    assert!(refused.contains(&format!("belongs to process {}", std::process::id())), "{refused}");
    assert_eq!(NUMBER.get(&heap.enter()).load(Relaxed), 2);
    drop(heap);
    assert!(is_left_alone(&name), "closed in order, nobody keeps it");
    assert_eq!(run_other(&format!("open {name}")), "None 1 0");
    assert!(is_left_alone(&name));
}

#[test]
fn a_program_that_asks_gets_the_heap_and_one_that_does_not_fit_none() {
    if std::env::var_os(ROLE).is_some() {
        return;
    }
    let _turn = turn();
    let scratch = Scratch::new("socket");
    let heap = Heap::inherit_or_create("socket", options()).unwrap();
    NUMBER.get(&heap.enter()).store(41, Relaxed);
    let refusals = Arc::new(Mutex::new(Vec::new()));
    let log = refusals.clone();
    let listener = Listener::bind(&scratch.0).unwrap();
    let listener = listener.on_refusal(move |refusal| log.lock().unwrap().push(refusal.reason.clone()));
    // Nobody asks.
    let error = heap.hand_over_at(&listener).ask_timeout(Duration::from_millis(20)).go().unwrap_err();
    assert!(matches!(error, HandOverError::NobodyAsked { .. }), "{error}");
    // Somebody who would get it, and a program that is none of ours; the last moment calls the first one off.
    let path = scratch.0.clone();
    let error = std::thread::scope(|scope| {
        scope.spawn(move || {
            let script = "import socket, struct, sys\n\
                s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
                s.connect(sys.argv[1])\n\
                s.send(struct.pack('<4sHHII16s', b'HLHO', 1, 7, 38, 0, b'') + b'socket')\n\
                s.recv(1000)\n";
            match Command::new("python3").arg("-c").arg(script).arg(&path).status() {
                Ok(status) => assert!(status.success()),
                Err(_) => eprintln!("left out: python3 plays another program: apt-get install python3"),
            }
            let said = run_other(&format!("ask {}", path.display()));
            assert!(said.contains("called the hand-over off"), "{said}");
        });
        heap.hand_over_at(&listener).at_rest(|_| Err("not yet")).go().unwrap_err()
    });
    assert!(error.to_string().contains("not yet"), "{error}");
    let refusals = refusals.lock().unwrap();
    assert!(refusals.iter().all(|reason| reason.contains("cannot take this heap over")), "{refusals:?}");
    assert_eq!(NUMBER.get(&heap.enter()).fetch_add(1, Relaxed), 41);
    // What is no socket's any more is taken over; what another listens to is not.
    assert_eq!(Listener::bind(&scratch.0).err().unwrap().kind(), std::io::ErrorKind::AddrInUse);
    drop(listener);
    assert!(!scratch.0.exists());
}

/// Needs root and room for huge pages; a memfd of huge pages, which needs neither, is tried in any case by the unit tests.
#[test]
fn a_heap_on_hugetlbfs_is_refused_with_the_reason() {
    if std::env::var_os(ROLE).is_some() {
        return;
    }
    let _turn = turn();
    let dir = std::env::temp_dir().join(format!("heirloom-test-hugetlbfs-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let mounted =
        Command::new("mount").args(["-t", "hugetlbfs", "none"]).arg(&dir).stderr(Stdio::null()).status();
    if mounted.is_ok_and(|status| status.success()) {
        let error = Heap::inherit_or_create("huge", options().file(dir.join("heap"))).err().unwrap();
        let _ = Command::new("umount").arg(&dir).status();
        assert!(matches!(error, HeapError::Backing(BackingError::HugePages { .. })), "{error}");
    } else {
        eprintln!("skipped: hugetlbfs cannot be mounted here: run as root, outside a container");
    }
    let _ = fs::remove_dir(Path::new(&dir));
}
