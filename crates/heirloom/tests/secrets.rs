//! Fields that are marked secret: out of the heap at the freeze, back if the hand-over is called off.
//!
//! The successor is this test again. It speaks the protocol by hand, looks through the whole frozen heap, and ends.
#![allow(unsafe_code, reason = "uses inherited descriptors")]

mod common;

use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

use common::{Scratch, turn};
use heirloom::sync::Mutex;
use heirloom::{
    Box, Command, HandOverError, HashMap, Heap, Heritable, Maybe, Options, String, TransactError, Vec,
};
use heirloom_abi::heap::{Header, Host};

const CHILD: &str = "HEIRLOOM_TEST_SECRETS";
/// A path: the successor makes a file there once the heap is frozen, and goes on when somebody has removed it.
const WAITS: &str = "HEIRLOOM_TEST_SECRETS_WAITS";
const TOKEN: &str = "a-token-that-is-longer-than-a-string-holds-itself";
const SHORT: &str = "a-short-secret";

#[derive(Heritable)]
#[repr(C)]
struct Account {
    id: u64,
    #[heritable(secret)]
    key: [u8; 32],
    #[heritable(secret, default = String::from("none"))]
    token: String,
    #[heritable(secret)]
    words: Vec<u32>,
    sessions: Vec<Session>,
    boxed: Maybe<Box<Session>>,
    public: String,
}

#[derive(Heritable)]
#[repr(C)]
struct Session {
    #[heritable(secret)]
    cookie: String,
    at: u64,
}

heirloom::root! {
    static ACCOUNTS: Mutex<HashMap<u64, Account>> = "accounts";
}

fn session(id: u64) -> Session {
    Session { cookie: format!("{SHORT}{id}").as_str().into(), at: id }
}

fn fill(heap: &Heap) {
    let inside = heap.enter();
    let mut accounts = ACCOUNTS.get(&inside).lock();
    for id in 0..50 {
        let account = Account {
            id,
            key: [0xA7; 32],
            token: format!("{TOKEN}{id}").as_str().into(),
            words: [0x5EC2_E7A7; 9].into_iter().collect(),
            sessions: (0..id % 4).map(session).collect(),
            boxed: if id % 2 == 0 { Maybe::Some(Box::new(session(id))) } else { Maybe::None },
            public: "a-public-text-that-is-longer-than-a-string-holds-itself".into(),
        };
        accounts.insert(id, account);
    }
    // What they leave in the table and behind the last element must not stay.
    for id in 40..50 {
        let mut account = accounts.remove(&id).unwrap();
        account.sessions.pop();
    }
    accounts.get_mut(&3).unwrap().sessions.pop();
}

/// Checks all fields; `whole` says whether the secrets are there.
fn check(heap: &Heap, whole: bool) {
    let inside = heap.enter();
    let accounts = ACCOUNTS.get(&inside).lock();
    assert_eq!(accounts.len(), 40);
    for (id, account) in accounts.iter() {
        assert_eq!((account.id, account.public.len()), (*id, 55));
        let sessions = account.sessions.iter().chain(account.boxed.as_ref().map(|session| &**session));
        for session in sessions {
            let cookie = format!("{SHORT}{}", session.at);
            assert_eq!(&*session.cookie, if whole { &*cookie } else { "" });
        }
        let token = format!("{TOKEN}{id}");
        assert_eq!(&*account.token, if whole { &*token } else { "none" });
        assert_eq!(account.key, if whole { [0xA7; 32] } else { [0; 32] });
        assert_eq!(account.words.len(), if whole { 9 } else { 0 });
        assert!(account.words.iter().all(|&word| word == 0x5EC2_E7A7));
    }
}

/// Says which secrets stand in some bytes.
fn find_secrets(bytes: &[u8]) -> std::vec::Vec<&'static str> {
    let words = 0x5EC2_E7A7_u32.to_le_bytes().repeat(2);
    let wanted: [(&str, &[u8]); 4] =
        [("token", TOKEN.as_bytes()), ("cookie", SHORT.as_bytes()), ("key", &[0xA7; 16]), ("words", &words)];
    let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    let mut found: std::vec::Vec<_> =
        wanted.iter().filter(|(_, needle)| has(needle)).map(|(name, _)| *name).collect();
    if !has(b"a-public-text") {
        found.push("nothing at all: not even what is public");
    }
    found
}

#[test]
fn successor() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let ticket = std::env::var("HEIRLOOM_HANDOVER").unwrap();
    let fields: std::vec::Vec<_> = ticket.split(':').collect();
    // SAFETY: the ticket is for this process, and nothing else owns these numbers.
    let (heap, mut peer) = unsafe {
        let file = |field: &str| std::fs::File::from_raw_fd(field.parse().unwrap());
        (file(fields[3]), file(fields[4]))
    };
    let mut page = [0; 4096];
    heap.read_exact_at(&mut page, 0).unwrap();
    let header = Header::read(&page, heap.metadata().unwrap().len(), &Host::current(4096)).unwrap();
    let mut ready = [0; 32];
    ready[..16].copy_from_slice(&[b'H', b'L', b'H', b'O', 1, 0, 1, 0, 32, 0, 0, 0, 0, 0, 0, 0]);
    ready[16..].copy_from_slice(&header.identity.id);
    assert_eq!(peer.write(&ready).unwrap(), 32);
    let mut frozen = [0; 512];
    assert!(peer.read(&mut frozen).unwrap() >= 32);
    if let Some(path) = std::env::var_os(WAITS) {
        std::fs::write(&path, "frozen").unwrap();
        wait_until(|| !std::path::Path::new(&path).exists());
    }
    let mut bytes = vec![0; heap.metadata().unwrap().len() as usize];
    heap.read_exact_at(&mut bytes, 0).unwrap();
    let found = find_secrets(&bytes);
    if !found.is_empty() {
        eprintln!("in the frozen heap: {found:?}");
    }
    std::process::exit(if found.is_empty() { 33 } else { 44 });
}

#[test]
fn a_frozen_heap_has_no_secrets_and_a_called_off_hand_over_has_all() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let _turn = turn();
    let options = Options::new().size_limit(64 << 20).block_size(64 << 10);
    let heap = Heap::inherit_or_create("secrets", options).unwrap();
    fill(&heap);
    check(&heap, true);
    let before = heap.scan().unwrap().live_objects;
    for _ in 0..2 {
        let command =
            Command::current_exe().unwrap().args(["successor", "--exact", "--nocapture"]).env(CHILD, "1");
        match heap.hand_over(command).unwrap_err() {
            HandOverError::Died { ended, .. } => assert!(format!("{ended:?}").contains("33"), "{ended:?}"),
            other => panic!("{other}"),
        }
        check(&heap, true);
        assert_eq!(heap.scan().unwrap().live_objects, before);
    }
}

/// Far beyond what it takes: something is broken then.
fn wait_until(is_so: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !is_so() {
        assert!(begin.elapsed().as_secs() < 60, "it did not come to be");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// ```text
/// one      freeze: secrets out | waits for the successor ...... | which ends: secrets back
/// other                          to a program that is not there
///                                to one that is: the heap is under way
/// ```
#[test]
fn another_hand_over_meanwhile_loses_no_secret() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let _turn = turn();
    let frozen = Scratch::new("secrets-frozen");
    let options = Options::new().size_limit(64 << 20).block_size(64 << 10);
    let heap = Heap::inherit_or_create("secrets", options).unwrap();
    fill(&heap);
    let before = heap.scan().unwrap().live_objects;
    let successor =
        || Command::current_exe().unwrap().args(["successor", "--exact", "--nocapture"]).env(CHILD, "1");
    std::thread::scope(|scope| {
        let one = scope.spawn(|| heap.hand_over(successor().env(WAITS, &frozen.0)).unwrap_err());
        wait_until(|| frozen.0.exists());
        let nowhere = heap.hand_over(Command::new("/nowhere/at/all")).unwrap_err();
        assert!(matches!(nowhere, HandOverError::Command(_)), "{nowhere}");
        let late = heap.hand_over(successor()).unwrap_err();
        assert!(matches!(late, HandOverError::UnderWay), "{late}");
        std::fs::remove_file(&frozen.0).unwrap();
        match one.join().unwrap() {
            HandOverError::Died { ended, .. } => assert!(format!("{ended:?}").contains("33"), "{ended:?}"),
            other => panic!("{other}"),
        }
    });
    check(&heap, true);
    assert_eq!(heap.scan().unwrap().live_objects, before);
}

#[test]
fn a_closed_file_has_no_secrets() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let _turn = turn();
    let file = Scratch::new("secrets");
    let options = || Options::new().size_limit(64 << 20).block_size(64 << 10).file(&file.0);
    let heap = Heap::inherit_or_create("secrets", options()).unwrap();
    fill(&heap);
    drop(heap);
    assert_eq!(find_secrets(&std::fs::read(&file.0).unwrap()), std::vec::Vec::<&str>::new());
    let heap = Heap::inherit_or_create("secrets", options()).unwrap();
    check(&heap, false);
    heap.check().unwrap();
}

#[test]
fn an_old_secret_does_not_stay_in_a_diary() {
    let _turn = turn();
    let path = Scratch::new("secrets-diary");
    let heap = Heap::inherit_or_create("secrets", Options::new().file(&path.0).size_limit(64 << 20)).unwrap();
    fill(&heap);
    {
        let inside = heap.enter();
        let mut accounts = ACCOUNTS.get(&inside).lock();
        let account = accounts.get_mut(&1).unwrap();
        account.key = *b"the key before, of 32 bytes.....";
        let changed: Result<(), TransactError> = heap.transact(|tx| {
            *tx.change(&mut account.key)? = [0xA7; 32];
            tx.set(&mut account.token, String::from(TOKEN))
        });
        changed.unwrap();
    }
    drop(heap);
    let file = std::fs::read(&path.0).unwrap();
    for secret in [b"the key before", TOKEN.as_bytes(), &[0xA7; 32]] {
        assert!(!file.windows(secret.len()).any(|window| window == secret), "{secret:?}");
    }
}
