//! Systems that live in the program that uses them: each in a process of its own, which is killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use heirloom::sync::Mutex;
use heirloom::{HashMap, Heap, Options};

use crate::{PATIENCE, RECORD, System, record};

const NAMES: [&str; 5] = ["heirloom", "lmdb", "redb", "sled", "boost"];

pub(crate) fn all() -> Vec<Box<dyn System>> {
    NAMES.map(|name| Box::new(Embedded { name }) as Box<dyn System>).into()
}

struct Embedded {
    name: &'static str,
}

impl Embedded {
    /// The program that plays it; Boost's is C++, and compiled here.
    fn command(&self, role: &str, dir: &Path, number: u64) -> Result<Command, String> {
        let mut command = if self.name == "boost" {
            Command::new(compile_boost(dir.parent().unwrap_or(dir))?)
        } else {
            let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
            command.args([role, self.name]);
            command
        };
        if self.name == "boost" {
            command.arg(role);
        }
        command.arg(dir).arg(number.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
        Ok(command)
    }
}

impl System for Embedded {
    fn name(&self) -> &'static str {
        self.name
    }

    fn load_and_die(
        &mut self,
        dir: &Path,
        from: u64,
        enough: &mut dyn FnMut(u64) -> bool,
    ) -> Result<u64, String> {
        let mut child = self.command("load", dir, from)?.spawn().map_err(|error| error.to_string())?;
        let mut acks = child.stdout.take().ok_or("no pipe")?;
        // Each acknowledgement is a byte.
        let (mut has, mut buffer) = (from, vec![0; 4096]);
        let since = Instant::now();
        while !enough(has) {
            match acks.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(nr) => has += nr as u64,
            }
            if since.elapsed() > PATIENCE {
                break;
            }
        }
        child.kill().map_err(|error| error.to_string())?;
        child.wait().map_err(|error| error.to_string())?;
        while let Ok(nr @ 1..) = acks.read(&mut buffer) {
            has += nr as u64;
        }
        if has == from { Err("it acknowledged nothing".to_owned()) } else { Ok(has) }
    }

    fn start_and_check(&mut self, dir: &Path, expected: u64) -> Result<(Duration, u64), String> {
        let began = Instant::now();
        let mut child = self.command("check", dir, expected)?.spawn().map_err(|error| error.to_string())?;
        let answers = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in answers.lines().map_while(Result::ok) {
                let _ = tell.send((line, Instant::now()));
            }
        });
        let outcome = (|| {
            let (first, at) = told.recv_timeout(PATIENCE).map_err(|_| "no answer")?;
            if first == "lost" {
                return Ok((at - began, expected));
            }
            let (lost, _) =
                told.recv_timeout(PATIENCE).map_err(|_| "it ended as it looked at the records")?;
            Ok((at - began, lost.parse().map_err(|_| "no number")?))
        })();
        let _ = child.kill();
        let status = child.wait().map_err(|error| error.to_string())?;
        outcome.map_err(|reason: &str| format!("{reason}; {status}"))
    }
}

fn compile_boost(dir: &Path) -> Result<PathBuf, String> {
    let (source, program) = (
        dir.join("heirloom-crash-boost.cpp"),
        dir.join(format!("heirloom-crash-boost-{}", std::process::id())),
    );
    if !program.exists() {
        std::fs::write(&source, include_str!("boost.cpp")).map_err(|error| error.to_string())?;
        let compiled = Command::new("c++").args(["-O2", "-o"]).arg(&program).arg(&source).output();
        let _ = std::fs::remove_file(&source);
        if !compiled.is_ok_and(|output| output.status.success()) {
            return Err("it needs a C++ compiler and Boost: apt-get install g++ libboost-dev".to_owned());
        }
    }
    Ok(program)
}

/// What all of them can do.
trait Store {
    fn put(&mut self, key: u64, value: &[u8]);
    /// Whether the record of a key is there, and is `value`.
    fn has(&self, key: u64, value: &[u8]) -> bool;
}

pub(crate) fn live(role: &str, name: &str, dir: &Path, number: u64) -> ! {
    let mut store: Box<dyn Store> = match name {
        "heirloom" => Box::new(Heirloom::open(dir)),
        "lmdb" => Box::new(Lmdb::open(dir)),
        "redb" => Box::new(Redb::open(dir)),
        _ => Box::new(Sled::open(dir)),
    };
    let mut out = std::io::stdout();
    if role == "load" {
        for key in number.. {
            store.put(key, &record(key));
            // Standard output is a pipe: the flush is the acknowledgement.
            if out.write_all(b"+").and_then(|()| out.flush()).is_err() {
                break;
            }
        }
        std::process::exit(1);
    }
    let middle = number / 2;
    println!("{}", if store.has(middle, &record(middle)) { "here" } else { "lost" });
    println!("{}", (0..number).filter(|&key| !store.has(key, &record(key))).count());
    // As it was killed before, so it ends now.
    std::mem::forget(store);
    std::process::exit(0)
}

heirloom::root! { static RECORDS: Mutex<HashMap<u64, [u8; RECORD]>> = "records"; }

struct Heirloom(Heap);

impl Heirloom {
    fn open(dir: &Path) -> Self {
        let options = Options::new().file(dir.join("heap")).size_limit(2 << 30);
        Self(Heap::inherit_or_create("crash", options).expect("the heap opens"))
    }
}

impl Store for Heirloom {
    fn put(&mut self, key: u64, value: &[u8]) {
        let inside = self.0.enter();
        RECORDS.get(&inside).lock().insert(key, value.try_into().expect("a record"));
    }

    fn has(&self, key: u64, value: &[u8]) -> bool {
        let inside = self.0.enter();
        RECORDS.get(&inside).lock().get(&key).is_some_and(|found| found == value)
    }
}

type LmdbRecords = heed::Database<heed::types::U64<heed::byteorder::BigEndian>, heed::types::Bytes>;

struct Lmdb(heed::Env, LmdbRecords);

impl Lmdb {
    fn open(dir: &Path) -> Self {
        let mut options = heed::EnvOpenOptions::new();
        options.map_size(2 << 30);
        // A commit does not wait for the disk that there is none of: a killed process has lost nothing by that.
        #[expect(
            unsafe_code,
            reason = "promises that nobody else changes the file, and that the system does not crash"
        )]
        // SAFETY: the file lies in a directory of this run, and one process at a time opens it.
        let env = unsafe { options.flags(heed::EnvFlags::NO_SYNC).open(dir) }.expect("LMDB opens");
        let mut change = env.write_txn().expect("a transaction");
        let records = env.create_database(&mut change, None).expect("a database");
        change.commit().expect("a commit");
        Self(env, records)
    }
}

impl Store for Lmdb {
    fn put(&mut self, key: u64, value: &[u8]) {
        let mut change = self.0.write_txn().expect("a transaction");
        self.1.put(&mut change, &key, value).expect("a put");
        change.commit().expect("a commit");
    }

    fn has(&self, key: u64, value: &[u8]) -> bool {
        let look = self.0.read_txn().expect("a transaction");
        self.1.get(&look, &key).expect("a get") == Some(value)
    }
}

const TABLE: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("records");

struct Redb(redb::Database);

impl Redb {
    fn open(dir: &Path) -> Self {
        Self(redb::Database::create(dir.join("redb")).expect("redb opens"))
    }
}

impl Store for Redb {
    fn put(&mut self, key: u64, value: &[u8]) {
        // Its default durability; on tmpfs there is nothing to wait for.
        let change = self.0.begin_write().expect("a transaction");
        change.open_table(TABLE).expect("a table").insert(key, value).expect("an insert");
        change.commit().expect("a commit");
    }

    fn has(&self, key: u64, value: &[u8]) -> bool {
        let look = self.0.begin_read().expect("a transaction");
        let Ok(table) = look.open_table(TABLE) else { return false };
        table.get(key).expect("a get").is_some_and(|found| found.value() == value)
    }
}

struct Sled(sled::Db);

impl Sled {
    fn open(dir: &Path) -> Self {
        Self(sled::open(dir.join("sled")).expect("sled opens"))
    }
}

impl Store for Sled {
    fn put(&mut self, key: u64, value: &[u8]) {
        self.0.insert(key.to_be_bytes(), value).expect("an insert");
        // Without it, what is in its buffers is not to be acknowledged.
        self.0.flush().expect("a flush");
    }

    fn has(&self, key: u64, value: &[u8]) -> bool {
        self.0.get(key.to_be_bytes()).expect("a get").is_some_and(|found| *found == *value)
    }
}
