//! A server under a service manager: what it stores, finds again, says, and refuses.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::manager::Manager;
use crate::support::{Connection, Server};

const STORE: [&str; 2] = ["--heap", "fdstore"];

fn set(connection: &mut Connection, keys: std::ops::Range<u32>) {
    for i in keys {
        assert_eq!(connection.ask(&["SET", &format!("key{i}"), &format!("value {i}")]), "+OK\r\n");
    }
}

fn check(connection: &mut Connection, keys: std::ops::Range<u32>) {
    assert_eq!(connection.ask(&["DBSIZE"]), format!(":{}\r\n", keys.len()));
    for i in keys {
        let value = format!("value {i}");
        let reply = connection.ask(&["GET", &format!("key{i}")]);
        assert_eq!(reply, format!("${}\r\n{value}\r\n", value.len()), "key {i}");
    }
}

fn origin(connection: &mut Connection) -> String {
    let info = connection.ask(&["INFO", "heirloom"]);
    let line = info.lines().find_map(|line| line.strip_prefix("origin:"));
    line.unwrap_or_else(|| panic!("{info}")).to_owned()
}

#[test]
fn a_stored_heap_outlives_restarts_and_kills() {
    let mut manager = Manager::new("store");
    let (server, heard) = manager.start(&STORE);
    let position = |word: &str| heard.iter().position(|line| line == word);
    assert!(position("FDSTORE=1").expect("it is stored") < position("READY=1").expect("it is ready"));
    assert!(manager.kept[0].0.starts_with("heirloom-heirloom_serve-"), "{}", manager.kept[0].0);
    set(&mut server.connect(), 0..2000);
    server.stop();
    manager.hear_until(&["STOPPING=1"]);

    let (server, heard) = manager.start(&STORE);
    assert!(!heard.contains(&"FDSTORE=1".to_owned()), "what is stored is not stored again: {heard:?}");
    let mut connection = server.connect();
    assert_eq!(origin(&mut connection), "inherited");
    check(&mut connection, 0..2000);
    set(&mut connection, 2000..4000);
    server.kill();

    let (server, _) = manager.start(&STORE);
    let mut connection = server.connect();
    assert_eq!(origin(&mut connection), "recovered");
    check(&mut connection, 0..4000);
    assert_eq!(manager.kept.len(), 1);
}

#[test]
fn after_an_upgrade_the_manager_knows_the_new_process() {
    let file = std::env::temp_dir().join(format!("heirloom-test-main-pid-{}", std::process::id()));
    let place = format!("file:{}", file.display());
    // One that is stored, and one that is not: it is a service all the same.
    for (name, place) in [("upgraded", "fdstore"), ("upgraded-file", place.as_str())] {
        let mut manager = Manager::new(name);
        let (mut server, _) = manager.start(&["--heap", place]);
        let mut connection = server.connect();
        set(&mut connection, 0..500);
        for generation in 2..=3 {
            let (status, answer) = server.upgrade(&[]);
            assert_eq!((status, answer["generation"].as_u64()), (0, Some(generation)), "{answer}");
            // One from the process that leaves, one from the one that has come.
            let heard = manager.hear_until(&["MAINPID=", "READY=1"]);
            assert!(heard.contains(&format!("MAINPID={}", server.pid)), "{heard:?} of {}", server.pid);
            assert!(!heard.contains(&"FDSTORE=1".to_owned()), "{heard:?}");
        }
        check(&mut connection, 0..500);
        set(&mut connection, 500..1000);
        server.kill();
        let (server, _) = manager.start(&["--heap", place]);
        check(&mut server.connect(), 0..1000);
    }
    let _ = std::fs::remove_file(file);
}

#[test]
fn connections_wait_in_the_managers_socket_while_no_server_runs() {
    let mut manager = Manager::new("socket");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    manager.listener = Some(listener);
    let (mut server, _) = manager.start(&STORE);
    assert_eq!(server.port, port, "the socket takes the place of --port");
    set(&mut server.connect(), 0..100);
    assert_eq!(server.upgrade(&[]).0, 0);
    check(&mut server.connect(), 0..100);
    server.stop();

    let mut early = Connection::open(port);
    early.send(b"GET key7\r\n");
    let (server, _) = manager.start(&STORE);
    assert_eq!(early.reply(), b"$7\r\nvalue 7\r\n");
    check(&mut server.connect(), 0..100);
}

#[test]
fn a_heap_that_nobody_would_keep_is_refused_with_the_reason() {
    let refused = |heap: &str, environment: &[(&str, &str)]| {
        let output = Command::new(env!("CARGO_BIN_EXE_heirloom"))
            .args(["serve", "--port", "0", "--heap", heap])
            .env_remove("NOTIFY_SOCKET")
            .env_remove("FDSTORE")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = refused("fdstore", &[]);
    assert!(said.contains("NOTIFY_SOCKET is not set"), "{said}");
    let manager = ("NOTIFY_SOCKET", "/no/such/socket");
    let said = refused("fdstore", &[manager, ("FDSTORE", "0")]);
    assert!(said.contains("set FileDescriptorStoreMax=8 in its unit"), "{said}");
    let said = refused("fdstore", &[manager]);
    assert!(said.contains("FDSTORE is not set"), "{said}");
    let said = refused("fdstore", &[manager, ("FDSTORE", "8")]);
    assert!(said.contains("could not be given the heap"), "{said}");
    let said = refused("disk", &[]);
    assert!(said.contains("choose memory, file:PATH, fdstore or luo"), "{said}");
    if std::path::Path::new("/dev/liveupdate").exists() {
        println!("skipped: this machine has /dev/liveupdate; a server is not refused there");
    } else {
        let said = refused("luo", &[]);
        assert!(said.contains("/dev/liveupdate cannot be opened"), "{said}");
    }
}

#[test]
fn a_server_is_asked_again_at_once() {
    // Whoever answers that it serves can be asked, and a signal does not end it.
    let mut server = Server::start(&[]);
    let mut connection = server.connect();
    set(&mut connection, 0..10);
    for generation in 2..=9 {
        let (status, answer) = server.upgrade(&[]);
        assert_eq!((status, answer["generation"].as_u64()), (0, Some(generation)), "{answer}");
    }
    check(&mut connection, 0..10);
}
