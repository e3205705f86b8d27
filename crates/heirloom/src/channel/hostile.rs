//! What may come to a socket, or out of one, that is no hand-over: refused, logged, and without effect.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::ask::Asked;
use super::keeper::Keeper;
use super::message::Message;
use super::socket::AtSocket;
use super::tests::Fake;
use super::*;
use crate::sys::Place;

struct Scene {
    path: PathBuf,
    listener: Listener,
    refusals: Arc<Mutex<Vec<Refusal>>>,
}

impl Scene {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("heirloom-hostile-{}-{name}", sys::pid()));
        let refusals = Arc::new(Mutex::new(Vec::new()));
        let log = refusals.clone();
        let listener = Listener::bind(&path).unwrap();
        let listener = listener.on_refusal(move |refusal| log.lock().unwrap().push(refusal.clone()));
        Self { path, listener, refusals }
    }

    fn connect(&self) -> OwnedFd {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match sys::connect(Place::Path(&self.path)) {
                Ok(connection) => return connection,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Lets the heap be asked for while `ask` asks; then nobody has it but its owner, as before.
    fn offer(&self, ask: impl FnOnce(&Self) + Send) -> HandOverError {
        let fake = Fake::new();
        let options = ChannelOptions { ready: Duration::from_millis(500), ..ChannelOptions::default() };
        let error = std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                ask(self);
                self.listener.stop();
            });
            let error = AtSocket(&self.listener).hand_over(&fake, &options).unwrap_err();
            asking.join().unwrap();
            error
        });
        fake.assert_goes_on(0, 0);
        error
    }

    fn reasons(&self) -> Vec<String> {
        self.refusals.lock().unwrap().iter().map(|refusal| refusal.reason.clone()).collect()
    }
}

/// Waits until the other end has closed.
fn wait_for_close(connection: &OwnedFd) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match sys::receive(connection.as_fd(), &mut [0; 600]).unwrap() {
            Some(0) => return,
            Some(_) => {}
            None => {
                assert!(Instant::now() < deadline, "it does not close");
                sys::wait_readable(&[connection.as_fd()], Some(deadline)).unwrap();
            }
        }
    }
}

#[test]
fn what_is_no_question_is_refused() {
    let scene = Scene::new("question");
    let error = scene.offer(|scene| {
        let ask = Message::Ask("other".into());
        let mut whole = vec![b'H', b'L', b'H', b'O', 1, 0, 7, 0];
        whole.extend_from_slice(&[36, 0, 0, 0, 0, 0, 0, 0]);
        whole.extend_from_slice(&[0; 16]);
        whole.extend_from_slice(b"test");
        for len in [1, 8, 31, 35] {
            let connection = scene.connect();
            sys::send(connection.as_fd(), &whole[..len]).unwrap();
            wait_for_close(&connection);
        }
        for message in [ask, Message::Frozen, Message::Acknowledge, Message::Taken(7)] {
            let connection = scene.connect();
            message.send(connection.as_fd(), [0; 16]).unwrap();
            wait_for_close(&connection);
        }
        let connection = scene.connect();
        sys::send(connection.as_fd(), &[0x55; 70_000]).unwrap();
        wait_for_close(&connection);
    });
    assert!(matches!(error, HandOverError::Stopped), "{error}");
    assert_eq!(scene.listener.nr_refused(), 9, "{:?}", scene.reasons());
    assert!(
        scene.reasons().iter().any(|reason| reason.contains("no heap \"other\"")),
        "{:?}",
        scene.reasons()
    );
}

/// Descriptors that come with a question are not a question's; they are closed.
#[test]
fn a_question_with_descriptors_is_refused() {
    let scene = Scene::new("descriptors");
    let null = File::open("/dev/null").unwrap();
    scene.offer(|scene| {
        let connection = scene.connect();
        let ask = Message::Ask("test".into());
        ask.send_with(connection.as_fd(), [0; 16], &[null.as_fd(), null.as_fd()]).unwrap();
        wait_for_close(&connection);
    });
    assert_eq!(scene.reasons(), ["a message with 2 descriptors"]);
}

/// Hundreds of silent connections: the owner's answer to the next one is none the later for it, and it has kept none of them.
#[test]
fn a_flood_of_connections_has_no_effect() {
    const NR: usize = 600;
    let scene = Scene::new("flood");
    let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
    scene.offer(|scene| {
        let mut silent = Vec::new();
        for nr in 0..NR {
            silent.push(scene.connect());
            if nr % 100 == 50 {
                let connection = scene.connect();
                Message::Ask("other".into()).send(connection.as_fd(), [0; 16]).unwrap();
                wait_for_close(&connection);
            }
            // This side may not have them all open either.
            if silent.len() > 64 {
                silent.remove(0);
            }
        }
        silent.iter().for_each(wait_for_close);
    });
    assert_eq!(scene.listener.nr_refused(), NR as u64 + 6);
    // Not a line for each.
    assert!(scene.refusals.lock().unwrap().len() < NR / 2, "{}", scene.refusals.lock().unwrap().len());
    let after = std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(after < before + 100, "{before} descriptors before, {after} after");
}

/// This process asks itself: what it would hand over it has already.
#[test]
fn nobody_inherits_from_itself() {
    let scene = Scene::new("itself");
    scene.offer(|scene| {
        let connection = scene.connect();
        Message::Ask("test".into()).send(connection.as_fd(), [0; 16]).unwrap();
        wait_for_close(&connection);
    });
    assert_eq!(scene.reasons(), ["it is this very process"]);
}

/// A program of another user cannot even connect; where the socket's mode lets it, who it is is looked at.
#[test]
fn another_user_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    if sys::own_uid() != 0 {
        eprintln!("skipped: only root can play another user");
        return;
    }
    let python = std::process::Command::new("python3").arg("--version").output();
    if python.is_err() {
        eprintln!("skipped: python3 plays the other user: apt-get install python3");
        return;
    }
    let scene = Scene::new("user");
    let script = "import socket, sys\n\
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        try:\n    s.connect(sys.argv[1])\n\
        except PermissionError:\n    print('permission'); sys.exit()\n\
        print(s.recv(100))\n";
    let ask = || {
        let mut command = std::process::Command::new("python3");
        let output =
            command.arg("-c").arg(script).arg(&scene.path).current_dir("/").uid(NOBODY).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(ask(), "permission");
    scene.offer(|scene| {
        std::fs::set_permissions(&scene.path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(ask(), "b''", "not a word about the heap");
    });
    let refusals = scene.refusals.lock().unwrap();
    assert_eq!(refusals.len(), 1);
    assert_eq!((refusals[0].uid, refusals[0].reason.as_str()), (NOBODY, "another user"));
}

/// A program that cannot inherit, and one that asks and says nothing more.
#[test]
fn a_program_that_does_not_fit_is_refused() {
    let python = std::process::Command::new("python3").arg("--version").output();
    if python.is_err() {
        eprintln!("skipped: python3 plays the program: apt-get install python3");
        return;
    }
    let scene = Scene::new("program");
    let script = "import socket, struct, sys, time\n\
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        s.connect(sys.argv[1])\n\
        s.send(struct.pack('<4sHHII16s', b'HLHO', 1, 7, 36, 0, b'') + b'test')\n\
        m, fds, flags, a = socket.recv_fds(s, 4096, 4)\n\
        print(struct.unpack('<H', m[6:8])[0], len(fds))\n\
        print(len(s.recv(100)))\n";
    // `Fake` takes any program, so this one is offered the heap, and then not waited for longer than it may take.
    scene.offer(|scene| {
        let mut command = std::process::Command::new("python3");
        let output = command.arg("-c").arg(script).arg(&scene.path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.starts_with("8 1\n"), "the offer with one descriptor: {text} {output:?}");
    });
    assert!(scene.reasons()[0].contains("gave no answer"), "{:?}", scene.reasons());
}

/// What a conversion takes was added to the patience with a command, and not with a program that asks: it was ended in the middle of it.
#[test]
fn a_program_that_has_to_convert_objects_is_waited_for() {
    let python = std::process::Command::new("python3").arg("--version").output();
    if python.is_err() {
        eprintln!("skipped: python3 plays the program: apt-get install python3");
        return;
    }
    let scene = Scene::new("convert");
    let script = "import socket, struct, sys, time\n\
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        s.connect(sys.argv[1])\n\
        head = lambda kind, len, id: struct.pack('<4sHHII16s', b'HLHO', 1, kind, len, 0, id)\n\
        s.send(head(7, 36, b'') + b'test')\n\
        id = socket.recv_fds(s, 4096, 4)[0][16:32]\n\
        s.send(head(1, 32, id))\n\
        m, fds, flags, a = socket.recv_fds(s, 4096, 4)\n\
        print(struct.unpack('<H', m[6:8])[0], len(fds), flush=True)\n\
        time.sleep(0.1)\n\
        s.send(head(3, 32, id))\n";
    let mut to_convert = Fake::new();
    to_convert.patience = Duration::from_secs(20);
    let options = ChannelOptions { ack: Duration::from_millis(1), ..ChannelOptions::default() };
    let mut program = std::process::Command::new("python3");
    let program = program.arg("-c").arg(script).arg(&scene.path).stdout(std::process::Stdio::piped());
    let program = program.spawn().unwrap();
    let pid = program.id();
    let handed = AtSocket(&scene.listener).hand_over(&to_convert, &options);
    let output = program.wait_with_output().unwrap();
    assert_eq!(handed.unwrap().pid, pid);
    // Frozen, and the heap's own descriptor with it.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 1\n");
}

/// Plays an owner that offers what is no heap: the one who asked gets an error, and nothing is mapped.
#[test]
fn what_is_no_heap_is_not_taken() {
    let path = std::env::temp_dir().join(format!("heirloom-hostile-{}-owner", sys::pid()));
    let _ = std::fs::remove_file(&path);
    let listener = sys::listen(Place::Path(&path), 4).unwrap();
    let text = std::env::temp_dir().join(format!("heirloom-hostile-{}-text", sys::pid()));
    std::fs::write(&text, "no heap at all, but long enough to be looked at ".repeat(200)).unwrap();
    let memfd = sys::memfd_create("nothing").unwrap();
    sys::set_len(memfd.as_fd(), 1 << 20).unwrap();
    let garbage = sys::memfd_create("garbage").unwrap();
    let mut bytes = vec![0xa5; 8192];
    bytes[..8].copy_from_slice(b"HEIRLOOM");
    sys::write_start(garbage.as_fd(), &bytes).unwrap();
    let (pipe, _other) = rustix::pipe::pipe().unwrap();
    let huge = rustix::fs::MemfdFlags::HUGETLB | rustix::fs::MemfdFlags::HUGE_2MB;
    let huge = rustix::fs::memfd_create("huge", huge);
    let offers: Vec<OwnedFd> = [
        File::open("/dev/null").unwrap().into(),
        File::open("/").unwrap().into(),
        File::options().read(true).write(true).open(&text).unwrap().into(),
        File::open(&text).unwrap().into(),
        memfd,
        garbage,
        pipe,
    ]
    .into_iter()
    // Where the system has huge pages at all.
    .chain(huge.ok())
    .collect();
    for offer in &offers {
        let outcome = std::thread::scope(|scope| {
            let asking = scope.spawn(|| Asked::new(&path, &[]).find("test").map(|found| found.map(adopt)));
            sys::wait_readable(&[listener.as_fd()], Some(Instant::now() + Duration::from_secs(20))).unwrap();
            let connection = sys::accept(listener.as_fd()).unwrap().unwrap();
            Message::Offer.send_with(connection.as_fd(), [7; 16], &[offer.as_fd()]).unwrap();
            asking.join().unwrap()
        });
        let error = outcome.unwrap().expect("an offer").unwrap_err();
        println!("{offer:?}: {error}");
    }
    // And messages that are none.
    for bytes in [&b"HL"[..], &[0; 32], &[0xff; 4000]] {
        let outcome = std::thread::scope(|scope| {
            let asking = scope.spawn(|| Asked::new(&path, &[]).find("test").map(|found| found.is_some()));
            sys::wait_readable(&[listener.as_fd()], Some(Instant::now() + Duration::from_secs(20))).unwrap();
            let connection = sys::accept(listener.as_fd()).unwrap().unwrap();
            sys::send(connection.as_fd(), bytes).unwrap();
            asking.join().unwrap()
        });
        assert!(matches!(outcome, Err(SourceError::Incoming(IncomingError::Protocol { .. }))), "{outcome:?}");
    }
    let _ = (std::fs::remove_file(&path), std::fs::remove_file(&text));
}

/// A start under load was not let run for longer than its keeper waits for a question, took the closed connection for "there is no
/// keeper", and would have made a new heap. Only the system says that there is none.
#[test]
fn a_keeper_that_closes_a_connection_is_asked_again() {
    let name = format!("closes-{}", sys::pid());
    let keeper = Keeper::new(&name);
    assert!(keeper.find(&name).unwrap().is_none(), "nobody listens");
    let listener = sys::listen(Place::Abstract(&Keeper::address(&name)), 4).unwrap();
    let heap = sys::memfd_create("kept").unwrap();
    let found = std::thread::scope(|scope| {
        let asking = scope.spawn(|| keeper.find(&name).map(|found| found.is_some()));
        for nr in 0..3 {
            sys::wait_readable(&[listener.as_fd()], Some(Instant::now() + Duration::from_secs(20))).unwrap();
            let connection = sys::accept(listener.as_fd()).unwrap().unwrap();
            if nr == 2 {
                Message::Offer.send_with(connection.as_fd(), [7; 16], &[heap.as_fd()]).unwrap();
                return asking.join().unwrap();
            }
        }
        unreachable!("the third was answered")
    });
    assert!(found.unwrap());
}

fn adopt(found: Found) -> Result<(), BackingError> {
    let Found::Offered(incoming) = found else { panic!("it is an offer") };
    Backing::adopt_fd(incoming.take_fd().expect("it can be copied")).map(drop)
}
