//! A service under a stand-in for the service manager, which keeps descriptors as systemd does.
//!
//! ```text
//! manager (the test)                                  service (this test program again, which runs `service` alone)
//! LISTEN_FDS, LISTEN_FDNAMES, NOTIFY_SOCKET --------> inherits, recovers or creates its heap
//!                     <------- FDSTORE=1 FDNAME=.. fd
//!                     <------- READY=1                adds to its heap, does what its role says
//! ```
#![allow(unsafe_code, reason = "gives a child descriptors under numbers of choice")]

use std::io::Write as _;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use heirloom::sync::Mutex;
use heirloom::{Heap, Options, Origin, Vec as HeapVec};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

const ROLE: &str = "HEIRLOOM_TEST_FDSTORE_ROLE";
const NAME: &str = "kept-heap";

heirloom::root! {
    static NUMBERS: Mutex<HeapVec<u64>> = "numbers";
}

/// Keeps what services send.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    kept: Vec<(String, OwnedFd)>,
    /// What was said, a message a string, names of heaps shortened.
    heard: Vec<String>,
}

impl Manager {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("heirloom-fdstore-{}-{test}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { socket, path, kept: Vec::new(), heard: Vec::new() }
    }

    /// Starts the service with all that is kept.
    fn start(&self, role: &str) -> Child {
        self.start_keeping(role, 8)
    }

    fn start_keeping(&self, role: &str, most: usize) -> Child {
        self.start_with(role, most, &[])
    }

    fn start_with(&self, role: &str, most: usize, more: &[(&str, &str)]) -> Child {
        let program = std::env::current_exe().unwrap();
        // The manager knows the process id before the program runs; a shell does too.
        let mut command = Command::new("sh");
        command.args(["-c", "LISTEN_PID=$$ SYSTEMD_EXEC_PID=$$ exec \"$0\" \"$@\""]).arg(program);
        command.args(["--exact", "service", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, role).env("NOTIFY_SOCKET", &self.path).env("FDSTORE", most.to_string());
        command.envs(more.iter().copied());
        let names: Vec<&str> = self.kept.iter().map(|(name, _)| name.as_str()).collect();
        if !names.is_empty() {
            command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        }
        // Out of the way of the numbers that they shall have.
        let copies: Vec<OwnedFd> =
            self.kept.iter().map(|(_, fd)| rustix::io::fcntl_dupfd_cloexec(fd, 100).unwrap()).collect();
        // SAFETY: between fork and exec only dup2 is called.
        unsafe {
            command.pre_exec(move || {
                for (at, fd) in copies.iter().enumerate() {
                    let mut number =
                        std::mem::ManuallyDrop::new(std::os::fd::FromRawFd::from_raw_fd(3 + at as i32));
                    rustix::io::dup2(fd, &mut number)?;
                }
                Ok(())
            });
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Takes one message.
    fn hear(&mut self) -> String {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            &self.socket,
            &mut [std::io::IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
        .unwrap();
        let text = std::str::from_utf8(&bytes[..received.bytes]).unwrap().trim_end().to_owned();
        let fds: Vec<OwnedFd> = ancillary
            .drain()
            .flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
                _ => Vec::new(),
            })
            .collect();
        let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).map(str::to_owned);
        if text.contains("FDSTORE=1") {
            let name = name.clone().expect("stored under a name");
            assert!(text.lines().any(|line| line == "FDPOLL=0"), "{text}");
            self.kept.extend(fds.into_iter().map(|fd| (name.clone(), fd)));
        }
        if text.contains("FDSTOREREMOVE=1") {
            let name = name.expect("removed by its name");
            self.kept.retain(|(kept, _)| *kept != name);
        }
        let said = text.lines().next().unwrap_or_default().to_owned();
        self.heard.push(said.clone());
        said
    }

    /// Hears until a service is ready, and returns what was said before.
    fn hear_until_ready(&mut self) -> Vec<String> {
        self.heard.clear();
        while self.hear() != "READY=1" {}
        self.heard.pop();
        std::mem::take(&mut self.heard)
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The service. Without a role this is a test that does nothing.
#[test]
fn service() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let options = Options::new().size_limit(64 << 20).huge_pages(false).cold_start(role == "cold");
    let heap = match Heap::inherit_or_create(NAME, options) {
        Ok(heap) => heap,
        Err(error) => {
            println!("[refused: {error}]");
            return;
        }
    };
    let origin = match heap.origin() {
        Origin::Created => "created",
        Origin::Inherited => "inherited",
        Origin::Recovered { .. } => "recovered",
    };
    let sum = {
        let inside = heap.enter();
        let mut numbers = NUMBERS.get(&inside).lock();
        let sum: u64 = numbers.iter().sum();
        numbers.extend(1..=1000);
        sum
    };
    let aside = heap.set_aside().map_or(String::new(), |(path, _)| format!(" aside {}", path.display()));
    print!("[{origin} generation {} sum {sum}{aside}]", heap.generation());
    std::io::stdout().flush().unwrap();
    sd_notify::notify(&[sd_notify::NotifyState::Ready]).unwrap();
    match role.as_str() {
        "wait" => std::thread::sleep(Duration::from_secs(600)),
        "hand over" => {
            let next = heirloom::Command::current_exe()
                .unwrap()
                .args(["--exact", "service", "--nocapture", "--test-threads=1"])
                .env(ROLE, "end");
            let Err(error) = heap.hand_over(next);
            print!("[{error}]");
        }
        "reopen" => {
            drop(heap);
            let options = Options::new().size_limit(64 << 20).huge_pages(false);
            let heap = Heap::inherit_or_create(NAME, options).unwrap();
            let inside = heap.enter();
            let mut numbers = NUMBERS.get(&inside).lock();
            let before: u64 = numbers.iter().sum();
            numbers.push(7);
            print!("[again generation {} sum {before}]", heap.generation());
        }
        _ => {}
    }
}

fn kill(mut child: Child) -> String {
    child.kill().unwrap();
    said(child)
}

/// What a service that ends has printed between brackets, one after the other.
fn said(child: Child) -> String {
    said_and_warned(child).0
}

/// The same, and what it has printed to standard error.
fn said_and_warned(child: Child) -> (String, String) {
    let output = child.wait_with_output().unwrap();
    let warned = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8_lossy(&output.stdout);
    let found: Vec<&str> =
        text.split('[').skip(1).filter_map(|rest| rest.split_once(']')).map(|(found, _)| found).collect();
    assert!(!found.is_empty(), "{text}\n{warned}");
    (found.join("; "), warned)
}

const SUM: u64 = 500_500;

#[test]
fn a_heap_lives_through_restarts_and_kills() {
    let mut manager = Manager::new("lives");
    let child = manager.start("end");
    assert_eq!(manager.hear_until_ready(), ["FDSTORE=1"], "stored before the service is ready");
    assert_eq!(said(child), "created generation 1 sum 0");
    assert!(manager.kept[0].0.starts_with("heirloom-kept_heap-"), "{}", manager.kept[0].0);

    // What is stored already is not stored again: the store would fill up.
    let child = manager.start("wait");
    assert_eq!(manager.hear_until_ready(), [""; 0]);
    assert_eq!(kill(child), format!("inherited generation 2 sum {SUM}"));
    for generation in 3..6 {
        let child = manager.start("wait");
        assert_eq!(manager.hear_until_ready(), [""; 0]);
        let sum = SUM * (generation - 1);
        assert_eq!(kill(child), format!("recovered generation {generation} sum {sum}"));
    }
    assert_eq!(manager.kept.len(), 1);
}

#[test]
fn what_the_manager_keeps_locks_nothing_and_a_living_owner_does() {
    let mut manager = Manager::new("lock");
    let owner = manager.start("wait");
    manager.hear_until_ready();
    let refused = said(manager.start("end"));
    assert!(refused.starts_with("refused: the heap belongs to process"), "{refused}");
    assert_eq!(kill(owner), "created generation 1 sum 0");
    let child = manager.start("end");
    manager.hear_until_ready();
    assert_eq!(said(child), format!("recovered generation 2 sum {SUM}"));
}

#[test]
fn a_successor_becomes_the_service_and_does_not_store_again() {
    let mut manager = Manager::new("successor");
    let child = manager.start("hand over");
    assert_eq!(manager.hear_until_ready(), ["FDSTORE=1"]);
    // One from the process that leaves, one from the one that has come, in whatever order.
    let mut heard = [manager.hear(), manager.hear()];
    heard.sort();
    assert!(heard[0].starts_with("MAINPID=") && heard[1] == "READY=1", "{heard:?}");
    assert_eq!(said(child), format!("created generation 1 sum 0; inherited generation 2 sum {SUM}"));
    let child = manager.start("end");
    assert_eq!(manager.hear_until_ready(), [""; 0]);
    assert_eq!(said(child), format!("inherited generation 3 sum {}", 2 * SUM));
}

#[test]
fn a_damaged_heap_is_refused_or_set_aside_and_replaced_in_that_order() {
    let mut manager = Manager::new("damaged");
    let child = manager.start("end");
    manager.hear_until_ready();
    said(child);
    // The version of the header's identifiable first part.
    rustix::io::pwrite(&manager.kept[0].1, &[0x55; 64], 8).unwrap();
    let refused = said(manager.start("end"));
    assert!(refused.starts_with("refused: "), "{refused}");

    let child = manager.start("cold");
    assert_eq!(manager.hear_until_ready(), ["FDSTORE=1", "FDSTOREREMOVE=1"]);
    let told = said(child);
    let path = told.strip_prefix("created generation 1 sum 0 aside ").unwrap_or_else(|| panic!("{told}"));
    assert!(std::fs::metadata(path).unwrap().len() > 4096);
    std::fs::remove_file(path).unwrap();
    assert_eq!(manager.kept.len(), 1);
    let child = manager.start("end");
    manager.hear_until_ready();
    assert_eq!(said(child), format!("inherited generation 2 sum {SUM}"));
}

#[test]
fn descriptors_that_are_no_heap_of_ours_are_passed_over() {
    let mut manager = Manager::new("foreign");
    let (pipe, _other_end) = rustix::pipe::pipe().unwrap();
    let child = manager.start("end");
    manager.hear_until_ready();
    said(child);
    // A pipe under our name, a socket of somebody else's, and the right heap under the wrong id.
    let (name, heap) = manager.kept.pop().unwrap();
    let socket = UnixDatagram::unbound().unwrap();
    let wrong = format!("{}-{:032x}", name.rsplit_once('-').unwrap().0, 7);
    manager.kept.push((name.clone(), pipe));
    manager.kept.push(("listen".to_owned(), socket.into()));
    manager.kept.push((wrong, heap.as_fd().try_clone_to_owned().unwrap()));
    assert!(heap.as_raw_fd() > 0);
    let child = manager.start("end");
    assert_eq!(manager.hear_until_ready(), ["FDSTORE=1"]);
    assert_eq!(said(child), "created generation 1 sum 0");
    // And with the right one among them it is found.
    manager.kept.retain(|(kept, _)| *kept != name);
    manager.kept.truncate(2);
    manager.kept.push((name, heap));
    let child = manager.start("end");
    assert_eq!(manager.hear_until_ready(), [""; 0]);
    assert_eq!(said(child), format!("inherited generation 2 sum {SUM}"));
}

/// `LISTEN_FDS` tells of the start alone. The second opening found nothing, made a heap that was stored beside the first, and at the next
/// start one of the two was thrown away.
#[test]
fn a_heap_that_is_opened_again_is_the_one_that_is_kept() {
    let mut manager = Manager::new("again");
    let service = manager.start("reopen");
    assert_eq!(manager.hear_until_ready(), ["FDSTORE=1"]);
    assert_eq!(said(service), format!("created generation 1 sum 0; again generation 2 sum {SUM}"));
    let service = manager.start("end");
    assert_eq!(manager.hear_until_ready(), [""; 0]);
    assert_eq!(said(service), format!("inherited generation 3 sum {}", SUM + 7));
    assert_eq!(manager.kept.len(), 1);
}

/// Breaks the record of roots, behind a header that is whole.
fn break_roots(heap: &OwnedFd) {
    use heirloom_abi::heap::{HEADER_BYTES, Header, Host};
    let mut page = [0; HEADER_BYTES];
    rustix::io::pread(heap, &mut page, 0).unwrap();
    let len = rustix::fs::fstat(heap).unwrap().st_size as u64;
    let header = Header::read(&page, len, &Host::current(4096)).unwrap();
    rustix::io::pwrite(heap, &[0x55; 64], header.identity.roots.offset).unwrap();
}

/// The manager did not hear that the old heap can go. It has seen more generations than the one in its place, and must not be taken
/// for the one that counts.
#[test]
fn a_heap_that_was_set_aside_does_not_come_back() {
    let mut manager = Manager::new("aside");
    for generation in 1..4 {
        let child = manager.start("end");
        manager.hear_until_ready();
        assert!(said(child).contains(&format!("generation {generation} ")));
    }
    break_roots(&manager.kept[0].1);
    let old = (manager.kept[0].0.clone(), manager.kept[0].1.try_clone().unwrap());
    // The store has room for one: it drops what comes while it is full.
    let child = manager.start_keeping("cold", 1);
    assert_eq!(manager.hear_until_ready(), ["FDSTORE=1", "FDSTOREREMOVE=1", "FDSTORE=1"]);
    manager.kept.truncate(1);
    let told = said(child);
    let path = told.strip_prefix("created generation 1 sum 0 aside ").unwrap_or_else(|| panic!("{told}"));
    std::fs::remove_file(path).unwrap();

    manager.kept.insert(0, old);
    let child = manager.start("cold");
    assert_eq!(manager.hear_until_ready(), ["FDSTOREREMOVE=1"]);
    assert_eq!(said(child), format!("inherited generation 2 sum {SUM}"));
    assert_eq!(manager.kept.len(), 1);
}

/// Two heaps of one name, both whole: one is opened, the other copied to a file before it goes.
#[test]
fn a_second_heap_of_the_name_is_copied_before_it_goes() {
    let mut managers = [Manager::new("one"), Manager::new("other")];
    for (nr_lives, manager) in managers.iter_mut().enumerate() {
        for _ in 0..=nr_lives {
            let child = manager.start("end");
            manager.hear_until_ready();
            said(child);
        }
    }
    let [mut manager, mut other] = managers;
    manager.kept.append(&mut other.kept);
    let child = manager.start("end");
    assert_eq!(manager.hear_until_ready(), ["FDSTOREREMOVE=1"]);
    let (told, warned) = said_and_warned(child);
    assert_eq!(told, format!("inherited generation 3 sum {}", 2 * SUM));
    let path = warned.split("it is in ").nth(1).and_then(|rest| rest.split(" now").next());
    let path = path.unwrap_or_else(|| panic!("{warned}"));
    let image = heirloom::foreign::Image::open(&path.parse().unwrap()).unwrap();
    assert_eq!(image.summary().unwrap().generation, 1);
    std::fs::remove_file(path).unwrap();
}

/// A successor that is held up behind its acknowledgement has not said yet that it is the service, and its predecessor ends: the manager
/// knows by then.
#[test]
fn the_manager_knows_the_successor_before_the_predecessor_ends() {
    let mut manager = Manager::new("main");
    let pause = manager.path.with_extension("pause");
    // Set by what the service inherits.
    let order = format!("pause SuccessorAcknowledged {}", pause.display());
    let mut child = manager.start_with("hand over", 8, &[("HEIRLOOM_POINT", &order)]);
    assert_eq!(manager.hear_until_ready(), ["FDSTORE=1"]);
    assert!(child.wait().unwrap().success());
    manager.socket.set_nonblocking(true).unwrap();
    let heard = manager.hear();
    manager.socket.set_nonblocking(false).unwrap();
    let successor = std::fs::read_to_string(&pause).unwrap();
    assert_eq!(heard, format!("MAINPID={successor}"));
    std::fs::remove_file(pause).unwrap();
    assert_eq!(manager.hear_until_ready(), [""; 0]);
}
