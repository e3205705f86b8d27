//! Clients that mean no good: no protocol, lengths without bytes, no reading, no speaking, too many. The server answers what can be
//! answered, keeps its memory within bounds, and goes on serving others.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::support::{Connection, PATIENCE, Random, Server, request};

fn is_well(server: &Server) {
    assert_eq!(server.connect().ask(&["PING"]), "+PONG\r\n");
}

fn info(server: &Server, name: &str) -> u64 {
    let text = server.connect().ask(&["INFO"]);
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).expect("a figure");
    line.parse().expect("a number")
}

/// Bytes of the process that are its own: what it could be made to waste.
fn private_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let kib = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    kib.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

#[test]
fn what_is_no_request_gets_an_error_and_the_end() {
    let server = Server::start(&[]);
    let cases: [(&[u8], &str); 7] = [
        (b"*x\r\n", "-ERR Protocol error: invalid multibulk length"),
        (b"*2147483647\r\n", "-ERR Protocol error: invalid multibulk length"),
        (b"*1\r\n$999999999999\r\n", "-ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length"),
        (b"*1\r\nGET\r\n", "-ERR Protocol error: expected '$', got 'G'"),
        (b"SET \"a\r\n", "-ERR Protocol error: unbalanced quotes in request"),
        (&[b'x'; 70_000], "-ERR Protocol error: too big inline request"),
    ];
    for (bytes, error) in cases {
        let mut connection = server.connect();
        connection.send(bytes);
        let reply = String::from_utf8_lossy(&connection.reply()).into_owned();
        assert!(reply.starts_with(error), "{reply}");
        assert_eq!(connection.reply(), b"", "the connection ends");
        is_well(&server);
    }
    let mut connection = server.connect();
    assert!(connection.ask(&["NO\r\nSUCH"]).starts_with("-ERR unknown command"));
    assert_eq!(connection.ask(&["PING"]), "+PONG\r\n", "a wrong command does not end the connection");
}

#[test]
fn random_bytes_do_no_harm() {
    let server = Server::start(&[]);
    let mut random = Random(7);
    println!("seed 7");
    let pieces: [&[u8]; 12] = [
        b"*3\r\n",
        b"$3\r\n",
        b"SET\r\n",
        b"GET",
        b"\r\n",
        b"*-1\r\n",
        b"$0\r\n\r\n",
        b"PING\r\n",
        b"$1000000\r\n",
        b"\0",
        b"\"",
        b"*1000\r\n",
    ];
    for _ in 0..300 {
        let mut bytes = Vec::new();
        for _ in 0..random.below(40) {
            match random.below(4) {
                0 => bytes.push(random.next() as u8),
                _ => bytes.extend(pieces[random.below(12) as usize]),
            }
        }
        let mut stream = server.connect().0.into_inner();
        // It may have ended the connection before all was sent.
        let _ = stream.write_all(&bytes).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let mut replies = Vec::new();
        let _ = stream.read_to_end(&mut replies);
    }
    is_well(&server);
}

#[test]
fn announced_lengths_take_no_memory() {
    let server = Server::start(&[]);
    is_well(&server);
    let before = private_bytes(server.pid);
    let connections: Vec<Connection> = (0..200)
        .map(|_| {
            let mut connection = server.connect();
            connection.send(b"*1000000\r\n$3\r\nSET\r\n$536870912\r\nabc");
            connection
        })
        .collect();
    is_well(&server);
    let more = private_bytes(server.pid).saturating_sub(before);
    assert!(more < 16 << 20, "{more} bytes for 200 announcements");
    drop(connections);
}

#[test]
fn a_client_that_does_not_read_is_not_executed_for() {
    let server = Server::start(&[]);
    server.connect().ask(&["SET", "big", &"x".repeat(1 << 20)]);
    let mut stream = server.connect().0.into_inner();
    stream.set_nonblocking(true).unwrap();
    // Gigabytes of replies, of which none is read.
    let asked = request(&["GET", "big"]).repeat(1000);
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(500) {
        let _ = stream.write(&asked);
    }
    let buffered = info(&server, "client_buffers_bytes");
    assert!(buffered < 8 << 20, "{buffered} bytes are kept for it");
    // And it gets all that it asked for once it reads.
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut replies = vec![0; 20 << 20];
    stream.read_exact(&mut replies).unwrap();
    let one = [b"$1048576\r\n".to_vec(), vec![b'x'; 1 << 20], b"\r\n".to_vec()].concat();
    assert!(replies.chunks(one.len()).all(|reply| one.starts_with(reply)));
}

#[test]
fn buffers_of_all_clients_have_a_limit() {
    let server = Server::start(&["--client-memory", "8M"]);
    let part = [b"*2\r\n$3\r\nGET\r\n$4194304\r\n".to_vec(), vec![b'x'; 2 << 20]].concat();
    let mut connections: Vec<_> = (0..16).map(|_| server.connect().0.into_inner()).collect();
    for stream in &mut connections {
        // Those that make it too much are let go, some while they still send.
        let _ = stream.write_all(&part);
    }
    let since = Instant::now();
    while info(&server, "evicted_clients") == 0 {
        assert!(since.elapsed() < PATIENCE, "nobody is let go");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(info(&server, "client_buffers_bytes") < 16 << 20);
    is_well(&server);
}

#[test]
fn a_flood_of_connections_leaves_room_for_those_that_are_there() {
    let server = Server::start(&["--maxclients", "50"]);
    let mut first = server.connect();
    assert_eq!(first.ask(&["PING"]), "+PONG\r\n");
    let mut flood: Vec<_> = (0..400).map(|_| server.connect()).collect();
    let refused =
        flood.iter_mut().map(Connection::reply_now).filter(|reply| reply.starts_with(b"-ERR max number"));
    assert_eq!(refused.count(), 351);
    assert_eq!(first.ask(&["PING"]), "+PONG\r\n");
    drop(flood);
    let since = Instant::now();
    while server.connect().ask(&["PING"]) != "+PONG\r\n" {
        assert!(since.elapsed() < PATIENCE, "nobody is admitted any more");
    }
}

impl Connection {
    /// A reply that came without a request, where there is one.
    fn reply_now(&mut self) -> Vec<u8> {
        self.0.get_ref().set_read_timeout(Some(Duration::from_millis(30))).expect("a time limit");
        self.reply()
    }
}

#[test]
fn silent_clients_go_after_the_timeout() {
    let server = Server::start(&["--timeout", "1"]);
    let mut half_open = server.connect();
    half_open.send(b"*2\r\n$3\r\nGET\r\n");
    let since = Instant::now();
    assert_eq!(half_open.reply(), b"", "it is let go");
    assert!(since.elapsed() < PATIENCE);
    is_well(&server);
}

#[test]
fn without_the_password_little_is_listened_to() {
    let server = Server::start(&["--requirepass", "secret"]);
    let mut connection = server.connect();
    assert_eq!(connection.ask(&["GET", "a"]), "-NOAUTH Authentication required.\r\n");
    assert!(connection.ask(&["AUTH", "wrong"]).starts_with("-WRONGPASS"));
    assert!(connection.ask(&["HELLO", "3"]).starts_with("-NOAUTH"));
    assert_eq!(connection.ask(&["AUTH", "secret"]), "+OK\r\n");
    assert_eq!(connection.ask(&["SET", "a", "1"]), "+OK\r\n");
    let mut stranger = server.connect();
    stranger.send(b"*2\r\n$4\r\nAUTH\r\n$20000\r\n");
    assert_eq!(stranger.reply(), b"-ERR Protocol error: unauthenticated bulk length\r\n");
}

#[test]
fn a_full_heap_refuses_or_evicts_and_goes_on() {
    let value = "x".repeat(10_000);
    let server = Server::start(&["--maxmemory", "4M", "--maxmemory-policy", "noeviction"]);
    let mut connection = server.connect();
    let replies: Vec<_> = (0..1000).map(|i| connection.ask(&["SET", &format!("k{i}"), &value])).collect();
    assert!(replies.iter().filter(|reply| *reply == "+OK\r\n").count() > 300);
    assert!(replies.last().unwrap().starts_with("-OOM command not allowed"), "{:?}", replies.last());
    assert_eq!(connection.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]), "+OK\r\n");
    for i in 0..2000 {
        assert_eq!(connection.ask(&["SET", &format!("n{i}"), &value]), "+OK\r\n");
    }
    assert!(info(&server, "used_memory") < 5 << 20 && info(&server, "evicted_keys") > 1500);
    // The heap itself is full, before any limit of the cache's own.
    let mut server = Server::start(&["--heap-limit", "96M"]);
    let mut connection = server.connect();
    for i in 0..15_000 {
        assert_eq!(connection.ask(&["SET", &format!("k{i}"), &value]), "+OK\r\n", "number {i}");
    }
    assert!(info(&server, "evicted_keys") > 1000);
    // And it is handed over, with what clients have sent in part.
    let bytes = request(&["SET", "in two parts", &"y".repeat(60_000)]);
    let mut others: Vec<_> = (0..8).map(|_| server.connect()).collect();
    others.iter_mut().for_each(|other| other.send(&bytes[..50_000]));
    std::thread::sleep(Duration::from_millis(50));
    let (status, answer) = server.upgrade(&[]);
    assert_eq!(status, 0, "{answer}");
    for other in &mut others {
        other.send(&bytes[50_000..]);
        // What was sent in part is whole; room for a value of that size may take more evictions than a command has.
        let reply = other.reply();
        assert!(reply == b"+OK\r\n" || reply.starts_with(b"-OOM"), "{}", reply.escape_ascii());
    }
    is_well(&server);
}
