//! Descriptors that travel with the heap, over both channels that start a successor: thousands of them, none, and those that
//! cannot travel.
//!
//! The test runs its own binary: `life` is one generation, and tells what it saw in a file.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use heirloom::{Channel, Command, HandOverError, Heap, Options};

const PLAN: &str = "HEIRLOOM_TEST_LUGGAGE";

heirloom::root! { static NOTE: heirloom::sync::Mutex<u64> = "note"; }

fn me() -> Command {
    Command::current_exe().unwrap().args(["life", "--exact", "--nocapture", "--test-threads=1"])
}

fn is_close_on_exec(fd: &OwnedFd) -> bool {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    u32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 != 0
}

/// One generation: the first packs `nr` descriptors, the first of them a connection to the test; the second writes to each.
#[test]
fn life() {
    let Ok(plan) = std::env::var(PLAN) else { return };
    let words: std::vec::Vec<_> = plan.split(' ').collect();
    let (channel, nr, log) = (words[0], words[1].parse::<usize>().unwrap(), words[2]);
    let heap = Heap::inherit_or_create("luggage", Options::new().size_limit(64 << 20)).unwrap();
    if heap.generation() == 2 {
        assert_eq!(*NOTE.get(&heap.enter()).lock(), 7, "what was done in the last moment");
        let listener = heap.take_descriptor("listener").expect("the listener came along");
        assert!(is_close_on_exec(&listener));
        assert!(heap.take_descriptor("listener").is_none(), "it is taken once");
        let mut answered = 0;
        for (name, fd) in heap.take_descriptors() {
            assert!(is_close_on_exec(&fd), "{name}");
            let nth: u32 = name.strip_prefix("client-").unwrap().parse().unwrap();
            fs::File::from(fd).write_all(&nth.to_le_bytes()).unwrap();
            answered += 1;
        }
        assert_eq!(heap.take_descriptors().count(), 0);
        fs::write(log, format!("{:?} {answered}", heap.channel().unwrap())).unwrap();
        return;
    }
    // Where the successor writes to nobody, and it is seen whether it can.
    let clients: std::vec::Vec<fs::File> =
        (0..nr).map(|_| fs::OpenOptions::new().write(true).open("/dev/null").unwrap()).collect();
    let echo = UnixStream::connect(format!("{log}.socket")).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let channel = if channel == "exec" { Channel::Exec } else { Channel::Spawn };
    // A name twice calls it off; all is as before.
    let error = heap
        .hand_over_to(me())
        .channel(channel)
        .at_rest(|luggage| luggage.add("a", &listener).and_then(|()| luggage.add("a", &listener)))
        .go()
        .unwrap_err();
    assert!(matches!(error, HandOverError::NotAtRest { .. }), "{error}");
    assert!(listener.local_addr().is_ok());
    let error = heap
        .hand_over_to(me())
        .channel(channel)
        .at_rest(|luggage| {
            *NOTE.get(&heap.enter()).lock() = 7;
            luggage.add("listener", &listener)?;
            for (nth, client) in clients.iter().enumerate().skip(1) {
                luggage.add(&format!("client-{nth}"), client)?;
            }
            luggage.add("client-0", &echo)
        })
        .go()
        .unwrap_err();
    fs::write(log, error.to_string()).unwrap();
}

fn travels(channel: &str, nr: usize) {
    if std::env::var_os(PLAN).is_some() {
        return;
    }
    let log = std::env::temp_dir().join(format!("heirloom-luggage-{}-{channel}-{nr}", std::process::id()));
    let socket = format!("{}.socket", log.display());
    let _ = fs::remove_file(&socket);
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["life", "--exact", "--nocapture", "--test-threads=1"])
        .env(PLAN, format!("{channel} {nr} {}", log.display()))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let (mut client, _) = listener.accept().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !log.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let text = fs::read_to_string(&log).unwrap_or_default();
    let mut answer = std::vec::Vec::new();
    client.read_to_end(&mut answer).unwrap();
    let _ = (fs::remove_file(&log), fs::remove_file(&socket));
    let expected = if channel == "exec" { "Exec" } else { "Spawn" };
    assert_eq!(text, format!("{expected} {nr}"));
    assert_eq!(answer, 0u32.to_le_bytes(), "the successor answered the predecessor's client");
}

fn enough_descriptors(nr: u64) -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let limit = line.split_ascii_whitespace().nth(3).unwrap().parse().unwrap_or(u64::MAX);
    // Each is open twice while it is packed.
    nr.min(limit.saturating_sub(100) / 2)
}

#[test]
fn a_few_descriptors_travel() {
    travels("spawn", 3);
    travels("exec", 3);
}

#[test]
fn thousands_of_descriptors_travel() {
    let nr = enough_descriptors(5000) as usize;
    println!("{nr} descriptors, as many as RLIMIT_NOFILE allows");
    travels("spawn", nr);
    travels("exec", nr);
}
