//! Clients that are not ours, unchanged: the Rust crate `redis`, Python's `redis`, redis-cli, redis-benchmark.

use std::collections::{HashMap, HashSet};
use std::process::{Command, Stdio};

use redis::Commands as _;

use crate::support::{Server, find};

#[test]
fn the_rust_client_gets_what_it_expects() {
    let server = Server::start(&[]);
    for suffix in ["", "?protocol=resp3"] {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/{suffix}", server.port)).unwrap();
        let mut connection = client.get_connection().unwrap();
        redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
        let () = connection.set("key", 42).unwrap();
        assert_eq!(connection.get::<_, i64>("key").unwrap(), 42);
        assert_eq!(connection.incr::<_, _, i64>("key", 8).unwrap(), 50);
        assert_eq!(connection.get::<_, Option<String>>("none").unwrap(), None);
        let () = connection.hset_multiple("hash", &[("a", "1"), ("b", "2")]).unwrap();
        let hash: HashMap<String, i64> = connection.hgetall("hash").unwrap();
        assert_eq!(hash, HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]));
        let () = connection.rpush("list", &["x", "y", "z"]).unwrap();
        assert_eq!(connection.lrange::<_, Vec<String>>("list", 0, -1).unwrap(), ["x", "y", "z"]);
        let () = connection.sadd("set", &["p", "q"]).unwrap();
        let set: HashSet<String> = connection.smembers("set").unwrap();
        assert_eq!(set, HashSet::from(["p".to_owned(), "q".to_owned()]));
        let () = connection.set_ex("soon", "x", 100).unwrap();
        assert!((1..=100).contains(&connection.ttl::<_, i64>("soon").unwrap()));
        let error = connection.lpush::<_, _, i64>("key", 1).unwrap_err();
        assert_eq!(error.code(), Some("WRONGTYPE"));
        let both: (i64, String) =
            redis::pipe().cmd("INCR").arg("n").cmd("GET").arg("key").query(&mut connection).unwrap();
        assert_eq!(both, (1, "50".to_owned()));
        let keys: HashSet<String> = connection.scan().unwrap().map(Result::unwrap).collect();
        assert_eq!(keys.len(), 6);
        let (keys, info): (i64, String) =
            redis::pipe().cmd("DBSIZE").cmd("INFO").arg("heirloom").query(&mut connection).unwrap();
        assert_eq!(keys, 6);
        assert!(info.contains("generation:1\r\n"), "{info}");
    }
}

const PYTHON: &str = r#"
import sys
try:
    import redis
except ImportError:
    sys.exit(77)
port = int(sys.argv[1])
for protocol in (2, 3):
    r = redis.Redis(port=port, protocol=protocol, decode_responses=True)
    r.flushall()
    assert r.ping()
    assert r.set("key", "value", ex=100) is True
    assert r.get("key") == "value" and 0 < r.ttl("key") <= 100
    assert r.set("key", "other", nx=True) is None
    assert r.set("key", "third", get=True) == "value"
    assert r.mset({"a": 1, "b": 2}) and r.mget("a", "none", "b") == ["1", None, "2"]
    assert r.incrbyfloat("a", 0.5) == 1.5
    assert r.hset("hash", mapping={"f": "1", "g": "2"}) == 2
    assert r.hgetall("hash") == {"f": "1", "g": "2"} and r.hincrby("hash", "f", 4) == 5
    assert r.rpush("list", *range(5)) == 5
    assert r.lrange("list", 1, -2) == ["1", "2", "3"] and r.lpop("list", 2) == ["0", "1"]
    assert r.sadd("set", "x", "y") == 2 and r.smembers("set") == {"x", "y"} and r.sismember("set", "x")
    assert r.type("set") == "set" and r.exists("set", "none") == 1
    assert sorted(r.scan_iter(match="*", count=3)) == sorted(r.keys("*"))
    assert dict(r.hscan_iter("hash")) == {"f": "5", "g": "2"}
    with r.pipeline(transaction=False) as pipe:
        for i in range(1000):
            pipe.set(f"p{i}", i).get(f"p{i}")
        replies = pipe.execute()
    assert replies[1::2] == [str(i) for i in range(1000)]
    try:
        r.lpush("key", 1)
        raise AssertionError("no error")
    except redis.ResponseError as error:
        assert "WRONGTYPE" in str(error)
    info = r.info()
    assert info["redis_mode"] == "standalone" and info["generation"] >= 1, info
    assert r.config_get("maxmemory") == {"maxmemory": "0"}
    assert r.client_setname("me") and r.client_getname() == "me"
    assert any(client["name"] == "me" for client in r.client_list())
    assert r.rename("key", "renamed") and r.get("renamed") == "third"
    assert r.dbsize() == len(r.keys()) and len(r.command()) > 80
print("ok", redis.__version__)
"#;

#[test]
fn the_python_client_gets_what_it_expects() {
    let Some(python) = find("python3", "python3") else { return };
    let server = Server::start(&[]);
    let output =
        Command::new(python).args(["-c", PYTHON, &server.port.to_string()]).output().expect("python3 runs");
    if output.status.code() == Some(77) {
        println!("skipped: python3 has no module redis; try `pip install redis`");
        return;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_tools_of_redis_work() {
    let (Some(cli), Some(benchmark)) =
        (find("redis-cli", "redis-tools"), find("redis-benchmark", "redis-tools"))
    else {
        return;
    };
    let server = Server::start(&["--requirepass", "secret"]);
    let port = server.port.to_string();
    let run = |program, arguments: &[&str]| {
        let output = Command::new(program)
            .args(["-p", &port, "-a", "secret"])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the tool runs");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).replace('\r', "\n")
    };
    assert_eq!(run(&cli, &["SET", "key", "value"]), "OK\n");
    assert_eq!(run(&cli, &["GET", "key"]), "value\n");
    assert_eq!(run(&cli, &["-3", "HSET", "hash", "field", "1"]), "1\n");
    assert!(
        run(&cli, &["--bigkeys"]).contains("Biggest string found"),
        "it scans, and asks for types and sizes"
    );
    assert!(run(&cli, &["INFO"]).contains("# Heirloom"));
    let tests = "ping_inline,ping_mbulk,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,lrange_100,mset";
    let table = run(&benchmark, &["-t", tests, "-n", "2000", "-c", "20", "-P", "4", "--csv"]);
    assert!(!table.to_lowercase().contains("error"), "{table}");
    assert_eq!(table.lines().filter(|line| line.starts_with('"')).count(), 16, "a head and 15 rows: {table}");
}
