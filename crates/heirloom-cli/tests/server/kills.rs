//! `kill -9` of a server over a heap file while clients write: whatever was acknowledged is there afterwards, and what was asked for and not
//! acknowledged has happened up to some command and not from there on.
//!
//! ```text
//! client 0..N   keys of its own: texts, a counter, hashes, lists, a set, names that change; one at a time, or fifty
//! all clients   one counter, one hash
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::life::HeapFile;
use crate::support::{Connection, Random, Server, request};

const NR_CLIENTS: usize = 6;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Text(String),
    Hash(BTreeMap<String, String>),
    List(Vec<String>),
    Set(BTreeSet<String>),
}

/// What a client knows of its keys.
type Model = BTreeMap<String, Value>;

type Words = Vec<String>;

struct Client {
    nr: usize,
    random: Random,
    /// All that was acknowledged.
    model: Model,
    /// What was asked for behind that, and may have happened.
    asked: Vec<Words>,
    acknowledged: u64,
    /// Of them, increments of the counter that all share.
    shared: u64,
}

impl Client {
    fn new(nr: usize, seed: u64) -> Self {
        let random = Random(seed ^ (nr as u64) << 32);
        Self { nr, random, model: Model::new(), asked: Vec::new(), acknowledged: 0, shared: 0 }
    }

    fn next_command(&mut self) -> Words {
        let (nr, stamp) = (self.nr, self.acknowledged * 31 + self.random.below(1000));
        let mut key = |kind: &str, most: u64| format!("{kind}:{nr}:{}", self.random.below(most));
        let value = format!("{stamp:x}").repeat((stamp % 40) as usize + 1);
        let mut words: Vec<&str> = Vec::new();
        let (text, few, hash, other, list) =
            (key("text", 3000), key("text", 40), key("hash", 3), key("hash", 3), key("list", 2));
        let (count, set) = (key("count", 1), key("set", 1));
        // Long commands spend their time in the store, where a kill is to find them.
        let several = (stamp % 60) as usize + 1;
        let fields: Vec<String> =
            (0..several).map(|nth| format!("f{}", (stamp as usize + 7 * nth) % 700)).collect();
        let own = format!("c{nr}:{}", stamp % 50);
        match stamp % 20 {
            0..3 => words.extend(["SET", &text, &value]),
            3 => words.extend(["APPEND", &few, &value]),
            4 => words.extend(["DEL", &text]),
            5 => words.extend(["INCR", &count]),
            6..9 => {
                words.extend(["HSET", &hash]);
                fields.iter().for_each(|field| words.extend([field.as_str(), &value]));
            }
            9 => {
                words.extend(["HDEL", &hash]);
                words.extend(fields.iter().map(String::as_str));
            }
            10 | 11 => {
                words.extend(["RPUSH", &list]);
                words.extend(fields.iter().map(String::as_str));
            }
            12 => words.extend(["LPUSH", &list, &value, "second"]),
            13 => words.extend([if stamp % 3 == 0 { "RPOP" } else { "LPOP" }, &list]),
            14 => {
                words.extend(["SADD", &set]);
                words.extend(fields.iter().map(String::as_str));
            }
            15 | 16 => words.extend(["RENAME", &hash, &other]),
            17 => words.extend(["HSET", "shared-hash", &own, &value]),
            18 => words.extend(["DEL", if stamp % 3 == 0 { &list } else { &set }]),
            _ => words.extend(["INCR", "shared-count"]),
        }
        words.into_iter().map(str::to_owned).collect()
    }

    /// Writes until the server is gone.
    fn write(&mut self, mut connection: Connection) {
        let batch = if self.nr.is_multiple_of(2) { 1 } else { 50 };
        loop {
            self.asked = (0..batch).map(|_| self.next_command()).collect();
            let mut bytes = Vec::new();
            for words in &self.asked {
                bytes.extend(request(&words.iter().map(String::as_str).collect::<Vec<_>>()));
            }
            if connection.0.get_mut().write_all(&bytes).is_err() {
                return;
            }
            while !self.asked.is_empty() {
                let reply = connection.reply();
                if !reply.ends_with(b"\r\n") {
                    return;
                }
                let words = self.asked.remove(0);
                let is_fault = reply.starts_with(b"-") && !reply.starts_with(b"-ERR no such key");
                assert!(!is_fault, "{words:?}: {}", reply.escape_ascii());
                imagine(&mut self.model, &words);
                self.acknowledged += 1;
                self.shared += u64::from(words[1] == "shared-count");
            }
        }
    }

    /// Compares what is there with what was acknowledged and what may have come behind that.
    fn check(&mut self, found: &Model) {
        let mut at = self.model.clone();
        let mut best = differences(&at, found);
        for words in std::mem::take(&mut self.asked) {
            if best.is_empty() {
                break;
            }
            self.shared += u64::from(words[1] == "shared-count");
            for part in parts(&words) {
                imagine(&mut at, &part);
                if differences(&at, found).is_empty() {
                    best.clear();
                    break;
                }
            }
        }
        assert!(best.is_empty(), "client {}, {} acknowledged: {best:#?}", self.nr, self.acknowledged);
        self.model = at;
    }
}

fn differences(wanted: &Model, found: &Model) -> Vec<String> {
    let keys: BTreeSet<_> = wanted.keys().chain(found.keys()).collect();
    let differ = keys.into_iter().filter(|key| wanted.get(*key) != found.get(*key));
    differ.map(|key| format!("{key}: {:?} in place of {:?}", found.get(key), wanted.get(key))).collect()
}

/// What a command does one after the other, so that a kill may leave a part of it: fields and members, but not elements.
fn parts(words: &[String]) -> Vec<Words> {
    let width = match words[0].as_str() {
        "HSET" => 2,
        "HDEL" | "SADD" => 1,
        _ => return vec![words.to_vec()],
    };
    words[2..].chunks(width).map(|part| [&words[..2], part].concat()).collect()
}

/// What a command does to a client's own keys.
fn imagine(model: &mut Model, words: &[String]) {
    let key = words[1].clone();
    if key == "shared-count" {
        return;
    }
    match words[0].as_str() {
        "SET" => drop(model.insert(key, Value::Text(words[2].clone()))),
        "APPEND" => match model.entry(key).or_insert_with(|| Value::Text(String::new())) {
            Value::Text(text) => text.push_str(&words[2]),
            other => panic!("{other:?}"),
        },
        "DEL" => drop(model.remove(&key)),
        "INCR" => {
            let count = match model.get(&key) {
                Some(Value::Text(text)) => text.parse::<u64>().expect("a number"),
                _ => 0,
            };
            model.insert(key, Value::Text((count + 1).to_string()));
        }
        "HSET" => match model.entry(key).or_insert_with(|| Value::Hash(BTreeMap::new())) {
            Value::Hash(fields) => {
                fields.extend(words[2..].chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())));
            }
            other => panic!("{other:?}"),
        },
        "HDEL" => {
            if let Some(Value::Hash(fields)) = model.get_mut(&key) {
                words[2..].iter().for_each(|field| drop(fields.remove(field)));
                if fields.is_empty() {
                    model.remove(&key);
                }
            }
        }
        push @ ("RPUSH" | "LPUSH") => match model.entry(key).or_insert_with(|| Value::List(Vec::new())) {
            Value::List(list) => {
                for value in &words[2..] {
                    list.insert(if push == "LPUSH" { 0 } else { list.len() }, value.clone());
                }
            }
            other => panic!("{other:?}"),
        },
        pop @ ("RPOP" | "LPOP") => {
            if let Some(Value::List(list)) = model.get_mut(&key) {
                list.remove(if pop == "LPOP" { 0 } else { list.len() - 1 });
                if list.is_empty() {
                    model.remove(&key);
                }
            }
        }
        "SADD" => match model.entry(key).or_insert_with(|| Value::Set(BTreeSet::new())) {
            Value::Set(members) => members.extend(words[2..].iter().cloned()),
            other => panic!("{other:?}"),
        },
        "RENAME" => {
            if words[1] != words[2]
                && let Some(value) = model.remove(&key)
            {
                model.insert(words[2].clone(), value);
            }
        }
        other => panic!("{other}"),
    }
}

/// All keys there are, those of each client by themselves; the shared hash is dealt to its clients.
fn read_all(client: &mut redis::Connection) -> Vec<Model> {
    let mut found = vec![Model::new(); NR_CLIENTS];
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(client).expect("keys");
    let nr_keys: usize = redis::cmd("DBSIZE").query(client).expect("a number");
    assert_eq!(keys.len(), nr_keys, "DBSIZE");
    for part in keys.chunks(500) {
        let mut pipe = redis::pipe();
        for key in part {
            match key.split(':').next() {
                Some("hash" | "shared-hash") => pipe.cmd("HGETALL").arg(key),
                Some("list") => pipe.cmd("LRANGE").arg(key).arg(0).arg(-1),
                Some("set") => pipe.cmd("SMEMBERS").arg(key),
                _ => pipe.cmd("GET").arg(key),
            };
        }
        let values: Vec<redis::Value> = pipe.query(client).expect("values");
        for (key, value) in part.iter().zip(values) {
            let from =
                |value: redis::Value| -> Vec<String> { redis::from_redis_value(value).expect("texts") };
            if key == "shared-count" {
                continue;
            }
            if key == "shared-hash" {
                for pair in from(value).chunks(2) {
                    let nr: usize =
                        pair[0][1..pair[0].find(':').expect("a colon")].parse().expect("a client");
                    let fields = found[nr].entry(key.clone()).or_insert_with(|| Value::Hash(BTreeMap::new()));
                    if let Value::Hash(fields) = fields {
                        fields.insert(pair[0].clone(), pair[1].clone());
                    }
                }
                continue;
            }
            let mut parts = key.split(':');
            let value = match parts.next() {
                Some("hash") => {
                    let flat = from(value);
                    Value::Hash(flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
                }
                Some("list") => Value::List(from(value)),
                Some("set") => Value::Set(from(value).into_iter().collect()),
                _ => Value::Text(redis::from_redis_value(value).expect("a text")),
            };
            let nr: usize = parts.next().and_then(|nr| nr.parse().ok()).expect("a client's");
            found[nr].insert(key.clone(), value);
        }
    }
    found
}

fn info(client: &mut redis::Connection, name: &str) -> String {
    let info: String = redis::cmd("INFO").query(client).expect("INFO");
    let prefix = format!("{name}:");
    let line = info.lines().find_map(|line| line.strip_prefix(&prefix));
    line.unwrap_or_else(|| panic!("no {name} in {info}")).to_owned()
}

fn kill_again_and_again(name: &str, kills: usize, seed: u64) {
    println!("seed {seed}");
    let file = HeapFile::new(name);
    let place = file.argument();
    let arguments = ["--heap", place.as_str(), "--shards", "2"];
    let mut random = Random(seed);
    let mut clients: Vec<Client> = (0..NR_CLIENTS).map(|nr| Client::new(nr, seed)).collect();
    let (mut repaired, mut longest) = (0, Duration::ZERO);
    for kill in 0..=kills {
        let since = Instant::now();
        let server = Server::start(&arguments);
        let mut client = server.client();
        if kill > 0 {
            let _: Option<String> = redis::cmd("GET").arg("text:0:0").query(&mut client).expect("a reply");
            longest = longest.max(since.elapsed());
            assert_eq!(info(&mut client, "origin"), "recovered");
            assert_eq!(info(&mut client, "keys_lost_by_kills"), "0");
            repaired += info(&mut client, "shards_repaired").parse::<u64>().expect("a number");
        }
        let found = read_all(&mut client);
        let shared: Option<u64> = redis::cmd("GET").arg("shared-count").query(&mut client).expect("a count");
        // Those that were asked for and not acknowledged may count, too.
        let may: u64 =
            clients.iter().flat_map(|client| &client.asked).filter(|w| w[1] == "shared-count").count() as u64;
        let acknowledged: u64 = clients.iter().map(|client| client.shared).sum();
        let range = acknowledged..=acknowledged + may;
        assert!(range.contains(&shared.unwrap_or(0)), "{shared:?} increments of {range:?}");
        clients.iter_mut().zip(&found).for_each(|(client, found)| client.check(found));
        // Counted anew, whoever's it was.
        clients.iter_mut().for_each(|client| client.shared = 0);
        clients[0].shared = shared.unwrap_or(0);
        if kill == kills {
            let _: String = redis::cmd("FLUSHALL").query(&mut client).expect("OK");
            assert_eq!(info(&mut client, "used_memory"), "0", "what is counted is what is there");
            server.stop();
            break;
        }
        std::thread::scope(|scope| {
            for client in &mut clients {
                let connection = server.connect();
                scope.spawn(move || client.write(connection));
            }
            std::thread::sleep(Duration::from_micros(20_000 + random.below(100_000)));
            server.kill();
        });
    }
    let acknowledged: u64 = clients.iter().map(|client| client.acknowledged).sum();
    let keys: usize = clients.iter().map(|client| client.model.len()).sum();
    println!(
        "{kills} kills, {acknowledged} writes acknowledged, {keys} keys at the end, {repaired} shards repaired, nothing lost; \
         start to the first GET at most {longest:?}"
    );
    assert!(acknowledged > 100 * kills as u64);
    // What was being made when a kill came belongs to nobody; it can be told, and given back.
    let before = verify(&file);
    println!("{before}");
    let server = Server::start(&["--heap", &place, "--reclaim-leaks"]);
    let reclaimed: u64 = info(&mut server.client(), "leaks_reclaimed").parse().expect("a number");
    server.stop();
    assert_eq!(before["leaks"]["objects"], reclaimed, "{before}");
    let after = verify(&file);
    assert_eq!((&after["ok"], &after["leaks"]["objects"]), (&true.into(), &0.into()), "{after}");
}

/// All checks over a heap that no server has open, leaks included; panics where anything is in doubt.
pub(crate) fn verify(file: &HeapFile) -> serde_json::Value {
    let verified = std::process::Command::new(env!("CARGO_BIN_EXE_heirloom"))
        .args(["verify", "--leaks", "--json", &file.path()])
        .output()
        .expect("it runs");
    let said: serde_json::Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    assert_eq!(
        (&said["broken"], &said["leaks"]["certain"]),
        (&serde_json::json!([]), &true.into()),
        "{said}"
    );
    said
}

#[test]
fn what_was_acknowledged_outlives_kills() {
    kill_again_and_again("kills", 8, 1);
}

#[test]
#[ignore = "takes minutes: HEIRLOOM_KILLS of them, or 200"]
fn what_was_acknowledged_outlives_many_kills() {
    let kills = std::env::var("HEIRLOOM_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(200);
    let seed =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |at| at.as_secs());
    kill_again_and_again("many-kills", kills, seed);
}
