//! What outlives what: hand-overs, stops and kills.

use std::path::PathBuf;

use crate::support::{Server, find};

/// A heap file on tmpfs that goes with the test.
pub(crate) struct HeapFile(PathBuf);

impl HeapFile {
    pub(crate) fn new(name: &str) -> Self {
        Self(format!("/dev/shm/heirloom-test-serve-{}-{name}", std::process::id()).into())
    }

    pub(crate) fn argument(&self) -> String {
        format!("file:{}", self.0.display())
    }

    pub(crate) fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for HeapFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_heap_file_outlives_a_stop_and_a_kill() {
    let file = HeapFile::new("restart");
    let place = file.argument();
    let arguments = ["--heap", &place];
    let server = Server::start(&arguments);
    let mut connection = server.connect();
    for i in 0..5000 {
        connection.ask(&["SET", &format!("key{i}"), &format!("value {i}")]);
    }
    connection.ask(&["RPUSH", "list", "a", "b", "c"]);
    connection.ask(&["HSET", "hash", "f", "1"]);
    connection.ask(&["SET", "later", "x", "EXAT", "4000000000"]);
    connection.ask(&["SET", "soon", "x", "PX", "50"]);
    server.stop();
    let server = Server::start(&arguments);
    let mut connection = server.connect();
    let since = std::time::Instant::now();
    while connection.ask(&["DBSIZE"]) != ":5003\r\n" {
        assert!(since.elapsed() < crate::support::PATIENCE, "one has expired while nobody served");
    }
    assert_eq!(connection.ask(&["GET", "key4999"]), "$10\r\nvalue 4999\r\n");
    assert_eq!(connection.ask(&["EXPIRETIME", "later"]), ":4000000000\r\n");
    assert_eq!(connection.ask(&["LLEN", "list"]), ":3\r\n");
    for i in 0..1000 {
        connection.ask(&["SET", &format!("after{i}"), "x"]);
    }
    server.kill();
    let server = Server::start(&arguments);
    let mut connection = server.connect();
    assert_eq!(connection.ask(&["DBSIZE"]), ":6003\r\n");
    let info = connection.ask(&["INFO", "heirloom"]);
    assert!(info.contains("origin:recovered") && info.contains("keys_lost_by_kills:0"), "{info}");
    for i in 0..1000 {
        assert_eq!(connection.ask(&["DEL", &format!("after{i}")]), ":1\r\n");
    }
    assert_eq!(connection.ask(&["HGET", "hash", "f"]), "$1\r\n1\r\n");
}

#[test]
fn no_key_value_field_or_element_is_taken_for_a_leak() {
    let file = HeapFile::new("leaks");
    let place = file.argument();
    let server = Server::start(&["--heap", &place]);
    let mut connection = server.connect();
    for i in 0..2000 {
        let (key, value) = (format!("key{i}"), "v".repeat(i % 300));
        connection.ask(&["SET", &key, &value]);
        connection.ask(&["HSET", &format!("hash{}", i % 7), &key, &value]);
        connection.ask(&["RPUSH", &format!("list{}", i % 5), &value, "x"]);
        connection.ask(&["SADD", "set", &key]);
        if i % 3 == 0 {
            connection.ask(&["EXPIRE", &key, "100000"]);
            connection.ask(&["LPOP", &format!("list{}", i % 5)]);
            connection.ask(&["DEL", &format!("key{}", i / 2)]);
        }
    }
    // Its inside has moved to another block by then.
    connection.ask(&["EXPIRE", "hash3", "100000"]);
    connection.ask(&["RENAME", "hash4", "renamed"]);
    connection.ask(&["SET", "large", &"v".repeat(3 << 20)]);
    server.stop();
    let found = crate::kills::verify(&file);
    let leaks = &found["leaks"];
    assert_eq!((&leaks["objects"], &leaks["reached"]), (&0.into(), &found["objects"]), "{found}");
    assert!(found["objects"].as_u64().is_some_and(|objects| objects > 7000), "{found}");
    assert_eq!(found["ok"], true);
}

#[test]
fn settings_that_clients_made_go_along() {
    let mut server = Server::start(&[]);
    let mut connection = server.connect();
    for (name, value) in
        [("maxmemory", "123456789"), ("maxmemory-policy", "volatile-ttl"), ("timeout", "321")]
    {
        assert_eq!(connection.ask(&["CONFIG", "SET", name, value]), "+OK\r\n");
    }
    connection.ask(&["CLIENT", "SETNAME", "me"]);
    connection.ask(&["SELECT", "3"]);
    connection.ask(&["SET", "in-three", "x"]);
    connection.ask(&["CONFIG", "SET", "requirepass", "secret"]);
    let id = connection.ask(&["CLIENT", "ID"]);
    assert_eq!(server.upgrade(&[]).0, 0);
    // The same connection, on the other side.
    assert_eq!(connection.ask(&["CLIENT", "ID"]), id);
    assert_eq!(connection.ask(&["CLIENT", "GETNAME"]), "$2\r\nme\r\n");
    assert_eq!(connection.ask(&["GET", "in-three"]), "$1\r\nx\r\n");
    assert_eq!(connection.ask(&["CONFIG", "GET", "timeout"]), "*2\r\n");
    let mut other = server.connect();
    assert_eq!(other.ask(&["PING"]), "-NOAUTH Authentication required.\r\n");
    assert_eq!(other.ask(&["AUTH", "secret"]), "+OK\r\n");
    let info = other.ask(&["INFO", "memory"]);
    assert!(info.contains("maxmemory:123456789") && info.contains("volatile-ttl"), "{info}");
    let id: i64 = id.trim()[1..].parse().unwrap();
    let new: i64 = other.ask(&["CLIENT", "ID"]).trim()[1..].parse().unwrap();
    assert!(new > id);
}

#[test]
fn a_scan_goes_on_in_the_next_generation() {
    let mut server = Server::start(&[]);
    let mut client = server.client();
    for i in 0..3000 {
        redis::cmd("SET").arg(format!("key{i}")).arg(i).exec(&mut client).unwrap();
    }
    let mut found = std::collections::HashSet::new();
    let (mut cursor, mut calls) = (0_u64, 0);
    loop {
        let (next, keys): (u64, Vec<String>) =
            redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(50).query(&mut client).unwrap();
        found.extend(keys);
        cursor = next;
        calls += 1;
        if cursor == 0 {
            break;
        }
        // The table grows and shrinks meanwhile, and changes hands.
        match calls % 20 {
            5 => assert_eq!(server.upgrade(&[]).0, 0),
            10 => (0..4000).for_each(|i| {
                redis::cmd("SET").arg(format!("more{i}")).arg(i).exec(&mut client).unwrap();
            }),
            15 => (0..4000).for_each(|i| {
                redis::cmd("DEL").arg(format!("more{i}")).exec(&mut client).unwrap();
            }),
            _ => {}
        }
    }
    assert!((0..3000).all(|i| found.contains(&format!("key{i}"))));
    assert!(calls > 20);
}

#[test]
fn who_cannot_inherit_is_refused_and_all_goes_on() {
    let mut server = Server::start(&[]);
    let mut connection = server.connect();
    connection.ask(&["SET", "key", "value"]);
    let Some(other) = find("true", "coreutils") else { return };
    let (status, answer) = server.upgrade(&["--binary", other.to_str().unwrap()]);
    assert_eq!((status, &answer["upgraded"]), (1, &false.into()));
    assert!(answer["reason"].as_str().unwrap().contains("note.heirloom"), "{answer}");
    let (status, answer) = server.upgrade(&["--binary", "/no/such/program"]);
    assert!(status == 1 && answer["reason"].as_str().unwrap().contains("not an executable"), "{answer}");
    assert_eq!(connection.ask(&["GET", "key"]), "$5\r\nvalue\r\n");
    assert_eq!(server.upgrade(&[]).0, 0);
    assert_eq!(connection.ask(&["GET", "key"]), "$5\r\nvalue\r\n");
    server.pid = u32::MAX >> 1;
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_heirloom"))
        .args(["upgrade", "--pid", &server.pid.to_string()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    // For the end of the test.
    server.pid = connection
        .ask(&["INFO", "server"])
        .lines()
        .find_map(|line| line.strip_prefix("process_id:"))
        .and_then(|pid| pid.parse().ok())
        .unwrap();
}
