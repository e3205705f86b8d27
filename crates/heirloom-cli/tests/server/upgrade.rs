//! Upgrades under load: no command fails, no connection drops, no key is lost or changed.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::support::{Connection, Server, request};

/// Writes numbers under keys of its own and reads them back, so many requests at a time, until it is told to stop.
fn load(port: u16, client: usize, pipeline: u64, stop: &AtomicBool, worst_us: &AtomicU64) -> u64 {
    let mut connection = Connection::open(port);
    let mut round = 0;
    while !stop.load(Relaxed) {
        let since = Instant::now();
        let mut bytes = Vec::new();
        for slot in 0..pipeline {
            bytes.extend(request(&["SET", &format!("c{client}:{slot}"), &format!("{round}")]));
            bytes.extend(request(&["GET", &format!("c{client}:{slot}")]));
        }
        // In two pieces that cut a request, so that one half of it may be handed over.
        let (first, second) = bytes.split_at(bytes.len() / 2 + 3);
        connection.0.get_mut().write_all(first).expect("the connection lives");
        if round % 8 == 0 {
            std::thread::yield_now();
        }
        connection.0.get_mut().write_all(second).expect("the connection lives");
        let value = format!("${}\r\n{round}\r\n", round.to_string().len());
        for slot in 0..pipeline {
            assert_eq!(connection.reply(), b"+OK\r\n", "client {client}, round {round}, slot {slot}");
            assert_eq!(connection.reply(), value.as_bytes(), "client {client}, round {round}, slot {slot}");
        }
        worst_us.fetch_max(since.elapsed().as_micros() as u64, Relaxed);
        round += 1;
    }
    round
}

#[test]
fn upgrades_under_load_lose_nothing() {
    let mut server = Server::start(&[]);
    let (port, stop, worst_us) = (server.port, AtomicBool::new(false), AtomicU64::new(0));
    let (stop, worst_us) = (&stop, &worst_us);
    let rounds: Vec<u64> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..12)
            .map(|client| {
                scope.spawn(move || load(port, client, if client % 2 == 0 { 1 } else { 40 }, stop, worst_us))
            })
            .collect();
        for generation in 2..=5 {
            std::thread::sleep(Duration::from_millis(150));
            let (status, answer) = server.upgrade(&[]);
            assert_eq!((status, answer["generation"].as_u64()), (0, Some(generation)), "{answer}");
            println!("{answer}");
        }
        // One that is asked for by a signal.
        let pid = rustix::process::Pid::from_raw(server.pid.cast_signed()).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::USR2).expect("it lives");
        let mut other = Connection::open(port);
        let since = Instant::now();
        let info = loop {
            let info = other.ask(&["INFO"]);
            if info.contains("generation:6") {
                break info;
            }
            assert!(since.elapsed() < crate::support::PATIENCE, "{info}");
        };
        let line = info.lines().find_map(|line| line.strip_prefix("process_id:")).expect("a pid");
        server.pid = line.parse().expect("a number");
        stop.store(true, Relaxed);
        clients.into_iter().map(|client| client.join().expect("no command fails")).collect()
    });
    println!("rounds {rounds:?}, the longest {} us", worst_us.load(Relaxed));
    let mut connection = server.connect();
    for (client, round) in rounds.iter().enumerate() {
        assert!(*round > 0);
        let last = (round - 1).to_string();
        let expected = format!("${}\r\n{last}\r\n", last.len());
        assert_eq!(connection.ask(&["GET", &format!("c{client}:0")]), expected);
    }
}

#[test]
fn an_upgrade_in_place_keeps_the_process() {
    let mut server = Server::start(&["--channel", "exec"]);
    let mut connection = server.connect();
    connection.ask(&["SET", "key", "value"]);
    let pid = server.pid;
    // Asked again at once, at the same socket.
    for generation in 2..=12 {
        let (status, answer) = server.upgrade(&[]);
        assert_eq!((status, answer["generation"].as_u64()), (0, Some(generation)), "{answer}");
        assert_eq!(server.pid, pid);
        assert_eq!(connection.ask(&["GET", "key"]), "$5\r\nvalue\r\n");
    }
}
