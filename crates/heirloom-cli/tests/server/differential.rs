//! Random commands to this server and to a real redis-server, whose replies must be the same.
//!
//! `HEIRLOOM_DIFFERENTIAL_SEED` and `HEIRLOOM_DIFFERENTIAL_COMMANDS` choose another run; a failure prints what to set. Replies that have no
//! order are sorted; what is left out is what depends on chance or the clock: SPOP, RANDOMKEY, TIME, INFO.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::Value;

use crate::support::{PATIENCE, Random, Server, find};

struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    fn start() -> Option<Self> {
        let program = find("redis-server", "redis-server")?;
        // Freed before it is taken; where somebody else takes it in between, the server does not start, and that is seen.
        let port = std::net::TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let process = Command::new(program)
            .args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        Some(Self { process, port })
    }

    fn connect(&self, suffix: &str) -> redis::Connection {
        let since = Instant::now();
        loop {
            let client =
                redis::Client::open(format!("redis://127.0.0.1:{}/{suffix}", self.port)).expect("an address");
            match client.get_connection() {
                Ok(connection) => return connection,
                Err(error) if since.elapsed() > PATIENCE => panic!("redis-server does not answer: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn random_commands_have_the_replies_of_redis_server() {
    let Some(redis) = Redis::start() else { return };
    let server = Server::start(&[]);
    let seed = setting("HEIRLOOM_DIFFERENTIAL_SEED", 1);
    let nr = setting("HEIRLOOM_DIFFERENTIAL_COMMANDS", 6000);
    println!("HEIRLOOM_DIFFERENTIAL_SEED={seed} HEIRLOOM_DIFFERENTIAL_COMMANDS={nr}");
    for (suffix, salt) in [("", 0), ("?protocol=resp3", 1)] {
        let client =
            redis::Client::open(format!("redis://127.0.0.1:{}/{suffix}", server.port)).expect("an address");
        let mut ours = client.get_connection().expect("the server answers");
        let mut theirs = redis.connect(suffix);
        let mut random = Random(seed.wrapping_mul(2).wrapping_add(salt));
        for connection in [&mut ours, &mut theirs] {
            redis::cmd("FLUSHALL").exec(connection).expect("all keys go");
        }
        let mut log: Vec<String> = Vec::new();
        for number in 0..nr / 2 {
            let words = if number % 200 == 199 { vec!["DBSIZE".to_owned()] } else { command(&mut random) };
            log.push(words.join(" "));
            let (a, b) = (reply(&mut ours, &words), reply(&mut theirs, &words));
            if a != b && is_beyond_us(&words, &b) {
                let words = ["DEL".to_owned(), words[1].clone()];
                assert_eq!(reply(&mut ours, &words), reply(&mut theirs, &words));
            } else if a != b {
                let from = log.len().saturating_sub(40);
                panic!(
                    "seed {seed}, command {number} {suffix}: {words:?}\n  heirloom: {a}\n  redis:    {b}\nafter\n  {}",
                    log[from..].join("\n  ")
                );
            }
        }
        for words in [vec!["KEYS", "*"], vec!["SCAN", "0", "COUNT", "100000"]] {
            let words: Vec<_> = words.into_iter().map(str::to_owned).collect();
            assert_eq!(reply(&mut ours, &words), reply(&mut theirs, &words));
        }
    }
}

/// Whether a sum is so large that only a long double holds it, or holds it so exactly: ours is a double there.
fn is_beyond_us(words: &[String], theirs: &str) -> bool {
    matches!(words[0].as_str(), "INCRBYFLOAT" | "HINCRBYFLOAT") && theirs.len() > 34
}

/// A reply in a form that has no accidents of order.
fn reply(connection: &mut redis::Connection, words: &[String]) -> String {
    let mut command = redis::cmd(&words[0]);
    words[1..].iter().for_each(|word| {
        command.arg(word.as_bytes());
    });
    let value = match command.query::<Value>(connection) {
        Ok(value) => value,
        Err(error) => {
            assert!(!error.is_io_error(), "{words:?}: {error}");
            // Redis cuts what it quotes at a zero byte.
            let detail = error.detail().map(|detail| detail.split('\0').next());
            return format!("error {:?} {detail:?}", error.code());
        }
    };
    let name = words[0].to_ascii_uppercase();
    match (name.as_str(), value) {
        ("KEYS" | "HKEYS" | "HVALS" | "SMEMBERS", Value::Array(values) | Value::Set(values)) => {
            sorted(values, 1)
        }
        ("HGETALL", Value::Array(values)) => sorted(values, 2),
        ("HGETALL", Value::Map(pairs)) => {
            sorted(pairs.into_iter().flat_map(|(key, value)| [key, value]).collect(), 2)
        }
        ("SCAN" | "SSCAN" | "HSCAN", Value::Array(mut parts)) => {
            assert_eq!(parts.len(), 2);
            let Some(Value::Array(values)) = parts.pop() else { panic!("{words:?}") };
            format!("{:?} {}", parts[0], sorted(values, if name == "HSCAN" { 2 } else { 1 }))
        }
        (_, value) => format!("{value:?}"),
    }
}

fn sorted(values: Vec<Value>, size: usize) -> String {
    let mut parts: Vec<_> = values.chunks(size).map(|part| format!("{part:?}")).collect();
    parts.sort();
    format!("{parts:?}")
}

const KEYS: [&str; 12] =
    ["a", "b", "c", "d", "e", "f", "g", "h", "list", "set", "hash", "k\u{e9}y with \"quotes\""];
const FIELDS: [&str; 8] = ["f1", "f2", "f3", "f4", "f5", "", "longer-field-name", "9"];
const VALUES: [&str; 16] = [
    "",
    "1",
    "-1",
    "10",
    "007",
    "3.5",
    "-0.25",
    "1e3",
    "abc",
    "9223372036854775807",
    "-9223372036854775808",
    " 5",
    "value\r\nwith\0bytes",
    "a value that is longer than what fits into a few words of memory, so that it lies elsewhere",
    "9223372036854775808",
    "0",
];
const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "-1",
    "2",
    "-2",
    "5",
    "100",
    "-100",
    "9223372036854775807",
    "-9223372036854775808",
    "x",
    "",
    "1.5",
    "01",
];

/// Every command with as many arguments as it takes, and now and then one less or more.
fn command(random: &mut Random) -> Vec<String> {
    let future = (4_000_000_000 + random.below(1000)).to_string();
    let future_ms = format!("{future}{:03}", random.below(1000));
    // Deadlines are absolute, as two servers do not see one clock.
    let times = ["EXAT", "PXAT", "EXAT", "EX", "PX", "exat"];
    let time = random.pick(&times);
    let when = match (time, random.below(12)) {
        (_, 0) => random.pick(&["0", "-1", "x", "9223372036854775807"]),
        ("PXAT", _) => &future_ms,
        ("EX" | "PX", _) => random.pick(&["0", "-5", "9223372036854775807", ""]),
        _ => &future,
    };
    let (key, other, field, value, number) = (
        random.pick(&KEYS),
        random.pick(&KEYS),
        random.pick(&FIELDS),
        random.pick(&VALUES),
        random.pick(&NUMBERS),
    );
    let (field2, value2, number2) = (random.pick(&FIELDS), random.pick(&VALUES), random.pick(&NUMBERS));
    let pattern = random.pick(&["*", "a", "?", "[a-d]", "[^a-d]*", "l*t", "*\\*", "s[ae]t"]);
    let condition = random.pick(&["NX", "XX", "GT", "LT", "nx", "ZZ"]);
    let templates: [&[&str]; 92] = [
        &["GET", key],
        &["get", other],
        &["SET", key, value],
        &["SET", key, value, "NX"],
        &["SET", key, value, "XX"],
        &["SET", key, value, time, when],
        &["SET", key, value, time, when, condition, "GET"],
        &["SET", key, value, "KEEPTTL"],
        &["SET", key, value, "GET"],
        &["SET", key, value, "NX", "XX"],
        &["SET", key, value, "KEEPTTL", time, when],
        &["SET", key, value, time],
        &["SETNX", key, value],
        &["SETEX", key, "0", value],
        &["SETEX", key, random.pick(&["-2", "x", "9223372036854775807"]), "x"],
        &["PSETEX", key, "-1", value],
        &["GETSET", key, value],
        &["GETDEL", key],
        &["GETEX", key],
        &["GETEX", key, "PERSIST"],
        &["GETEX", key, time, when],
        &["GETRANGE", key, number, number2],
        &["SUBSTR", key, number, number2],
        &["MGET", key, other, "none", key],
        &["MSET", key, value, other, value2],
        &["MSET", key, value, other],
        &["MSETNX", key, value, other, value2],
        &["APPEND", key, value],
        &["STRLEN", key],
        &["INCR", key],
        &["DECR", key],
        &["INCRBY", key, number],
        &["DECRBY", key, number],
        &["INCRBYFLOAT", key, value],
        &["DEL", key],
        &["DEL", key, other, key],
        &["UNLINK", key, "none"],
        &["EXISTS", key, other, key],
        &["TOUCH", key, other],
        &["TYPE", key],
        &["KEYS", pattern],
        &["RENAME", key, other],
        &["RENAMENX", key, other],
        &["EXPIREAT", key, &future],
        &["EXPIREAT", key, &future, condition],
        &["PEXPIREAT", key, &future_ms],
        &["PEXPIREAT", key, &future_ms, condition, "XX"],
        &["EXPIRE", key, random.pick(&["0", "-1", "x", "", "-100", "9223372036854775807"]), condition],
        &["PEXPIRE", key, "-1"],
        &["EXPIRETIME", key],
        &["PEXPIRETIME", key],
        &["PERSIST", key],
        &["HSET", key, field, value],
        &["HSET", key, field, value, field2, value2],
        &["HSET", key, field, value, field2],
        &["HMSET", key, field, value, field2, value2],
        &["HSETNX", key, field, value],
        &["HGET", key, field],
        &["HMGET", key, field, field2, "none"],
        &["HGETALL", key],
        &["HKEYS", key],
        &["HVALS", key],
        &["HDEL", key, field],
        &["HDEL", key, field, field2, "f1"],
        &["HLEN", key],
        &["HEXISTS", key, field],
        &["HSTRLEN", key, field],
        &["HINCRBY", key, field, number],
        &["HINCRBYFLOAT", key, field, value],
        &["HSCAN", key, "0", "COUNT", "1000"],
        &["HSCAN", key, "0", "MATCH", "f*", "COUNT", "1000"],
        &["LPUSH", key, value],
        &["RPUSH", key, value, value2, "x"],
        &["LPUSHX", key, value],
        &["RPUSHX", key, value, value2],
        &["LPOP", key],
        &["RPOP", key],
        &["LPOP", key, number],
        &["RPOP", key, "2"],
        &["LLEN", key],
        &["LRANGE", key, number, number2],
        &["LINDEX", key, number],
        &["SADD", key, field],
        &["SADD", key, field, field2, value],
        &["SREM", key, field, field2],
        &["SISMEMBER", key, field],
        &["SMISMEMBER", key, field, field2],
        &["SMEMBERS", key],
        &["SCARD", key],
        &["SSCAN", key, "0", "COUNT", "1000"],
        &["SCAN", "0", "COUNT", "1000", "TYPE", "list"],
        &["SELECT", random.pick(&["0", "0", "0", "16", "-1", "x"])],
    ];
    let mut words: Vec<String> =
        templates[random.below(92) as usize].iter().map(|word| (*word).to_owned()).collect();
    match random.below(60) {
        0 => drop(words.pop()),
        // A relative time would be one: two servers do not see one clock.
        1 if !words.last().is_some_and(|last| matches!(last.as_str(), "EX" | "PX")) => {
            words.push(value2.to_owned());
        }
        _ => {}
    }
    // A key of each kind has that kind most of the time.
    let kind = match words[0].as_bytes()[0].to_ascii_uppercase() {
        b'H' => "hash",
        b'L' | b'R' if words[0] != "RENAME" && words[0] != "RENAMENX" => "list",
        b'S' if matches!(
            words[0].as_str(),
            "SADD" | "SREM" | "SISMEMBER" | "SMISMEMBER" | "SMEMBERS" | "SCARD" | "SSCAN"
        ) =>
        {
            "set"
        }
        _ => return words,
    };
    if words.len() > 1 && random.below(3) > 0 {
        words[1] = kind.to_owned();
    }
    words
}
