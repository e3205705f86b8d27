//! `kill -9` of a program under load: whatever it had acknowledged is there at the next start, and every record is whole.
//!
//! ```text
//! acknowledged                          a few kills, as a test
//! acknowledged --kills 1000             with a table
//! acknowledged --store keeper           in a memfd that a keeper holds, instead of a file
//! ```
//!
//! The load puts and removes records of several sizes in maps of the heap, a map a thread, and writes each change to a pipe when
//! it is made. After the kill the parent reads the pipe to its end: a thread had at most one change under way that it had not
//! acknowledged. That has happened or not; all others have, and one key that is gone or torn is a failure. The next start recovers, looks at every object and free byte, and tells what it has; `verify` looks at the file.

mod load;

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use heirloom::foreign::{Image, Target};
use load::{ACK_BYTES, Ack, Reported};

struct Run {
    dir: PathBuf,
    store: String,
}

fn main() -> ExitCode {
    match std::env::var(load::ROLE).as_deref() {
        Ok("load") => load::load(),
        Ok("check") => load::check(),
        Ok("close") => load::close(),
        _ => {}
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list" || arg == "--ignored") {
        return ExitCode::SUCCESS;
    }
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    let kills = value("--kills").and_then(|kills| kills.parse().ok());
    let store = value("--store").cloned();
    // As a test: both.
    let stores = store.map_or(vec!["file".to_owned(), "keeper".to_owned()], |store| vec![store]);
    println!(
        "| kept by | kills | acknowledged | unacknowledged that happened | maps that were being changed | threads inside | recovery, median | worst |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for store in stores {
        let base =
            if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let dir = base.join(format!("heirloom-acknowledged-{}-{store}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let run = Run { dir, store };
        let outcome = run.kills(kills.unwrap_or(25));
        // With that a keeper ends.
        let _ = run.command("close").stderr(Stdio::null()).status();
        if outcome.is_ok() {
            let _ = fs::remove_dir_all(&run.dir);
        }
        match outcome {
            Ok(row) => println!("{row}"),
            Err(fault) => {
                println!("{fault}\nthe heap is left in {}", run.dir.display());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

impl Run {
    fn kills(&self, kills: usize) -> Result<String, String> {
        let mut random = load::Random(u64::from(std::process::id()) << 16 | 0x5bd1);
        let mut has: HashMap<u64, u64> = HashMap::new();
        let (mut acknowledged, mut unacknowledged, mut half, mut inside) = (0, 0, 0, 0);
        let mut took = Vec::new();
        for nr in 0..kills {
            if nr % 100 == 99 {
                eprintln!("{} of {kills} kills", nr + 1);
            }
            let acks =
                self.load_and_kill(nr as u64 + 1, Duration::from_micros(2_000 + random.next() % 20_000))?;
            acknowledged += acks.len();
            let under_way = load::under_way(nr as u64 + 1, &acks);
            for ack in &acks {
                match ack.version {
                    0 => drop(has.remove(&ack.key)),
                    version => drop(has.insert(ack.key, version)),
                }
            }
            let Reported { found, doubtful, threads_inside, recovery } = self.check()?;
            for key in 0..load::KEYS {
                let (expected, found) = (has.get(&key), found.get(&key));
                if expected != found {
                    // The one change that the thread had not acknowledged has happened, whole, or not.
                    let change = under_way[&load::thread_of(key)];
                    if change.key != key || change.to != found.copied() {
                        let torn = if found == Some(&load::TORN) { ", torn" } else { "" };
                        return Err(format!(
                            "kill {nr}: key {key} was acknowledged as {expected:?}, and is {found:?}{torn}; \
                             under way was {change:?}, maps being changed {doubtful:#b}"
                        ));
                    }
                    unacknowledged += 1;
                }
            }
            has = found;
            half += doubtful.count_ones();
            inside += threads_inside;
            took.push(recovery);
            self.verify()?;
        }
        if acknowledged == 0 {
            return Err("the load did nothing".to_owned());
        }
        took.sort_unstable();
        let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
        let store = &self.store;
        Ok(format!(
            "| {store} | {kills} | {acknowledged} | {unacknowledged} | {half} | {inside} | {median} us | {worst} us |"
        ))
    }

    fn command(&self, role: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(load::ROLE, role).env(load::DIR, &self.dir).env(load::STORE, &self.store);
        command.stdin(Stdio::null());
        command
    }

    fn load_and_kill(&self, seed: u64, after: Duration) -> Result<Vec<Ack>, String> {
        let mut child =
            self.command("load").env(load::SEED, seed.to_string()).stdout(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            // What is read before the kill makes room for more.
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).map(|_| bytes)
        });
        let ready = self.dir.join("ready");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !ready.exists() {
            if Instant::now() > deadline || child.try_wait().unwrap().is_some() {
                let _ = child.kill();
                return Err("the load did not begin: see what it printed".to_owned());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
        fs::remove_file(&ready).unwrap();
        let bytes = reader.join().unwrap().map_err(|error| error.to_string())?;
        // A write of so few bytes is never cut.
        if bytes.len() % ACK_BYTES != 0 {
            return Err(format!("{} bytes of acknowledgements", bytes.len()));
        }
        Ok(bytes.chunks_exact(ACK_BYTES).map(Ack::read).collect())
    }

    fn check(&self) -> Result<Reported, String> {
        let output = self.command("check").output().unwrap();
        if !output.status.success() {
            return Err(format!("the next start: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Reported::read(&output.stdout).ok_or_else(|| "the next start told nothing".to_owned())
    }

    /// The file as `heirloom verify` sees it, closed in order by now. A keeper's heap is gone with its orderly end, so there the
    /// next start has looked alone, and left as a crash does.
    fn verify(&self) -> Result<(), String> {
        if self.store != "file" {
            return Ok(());
        }
        let image = Image::open(&Target::File(self.dir.join("heap"))).map_err(|error| error.to_string())?;
        let verdict = image.verify().map_err(|error| error.to_string())?;
        if verdict.is_clean() { Ok(()) } else { Err(format!("verify: {:?}", verdict.broken)) }
    }
}
