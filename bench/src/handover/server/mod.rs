//! Servers that keep their data over a restart: memcached with `-e`, Redis with SAVE.
//!
//! ```text
//! answer | stop: SIGUSR1, or SAVE and SHUTDOWN | (gap) | start | .. until the first GET hits | GET all
//! ```
//!
//! They listen on a socket in a directory of their own on tmpfs and nowhere else, hold as many bytes as the objects need, and are
//! ended when their contestant is dropped; should this program be killed, the system ends them.
#![expect(unsafe_code, reason = "asks the system, in the child, to end it with its parent")]

mod client;
mod memcached;
mod redis;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::memcached::Memcached;
use self::redis::Redis;
use super::contestant::{Contestant, System};
use super::objects::{fill, is_whole, mix, size_bytes, sum};
use super::sample::{Sample, now_ns, private_bytes, us_between};

/// No server takes longer to start or to stop with what fits into this machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Objects asked for at a time.
const BATCH: u64 = 100;

/// A server's protocol and its ways of starting and stopping.
pub(super) trait Kind {
    fn system(&self) -> System;
    /// The command that starts it, its data in `dir`.
    fn command(&self, dir: &Path, count: u64) -> Command;
    /// Stores all objects and says how many there are.
    fn store(&self, socket: &Path, count: u64) -> Result<u64, String>;
    /// Fetches objects by number, in this order, and hands each to `each`; an error for the first that is not there.
    fn fetch(
        &self,
        connection: &mut client::Connection,
        numbers: &mut dyn Iterator<Item = u64>,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), String>;
    /// Makes it stop so that it keeps its data; it may end some time later.
    fn stop(&self, server: &Child, socket: &Path) -> Result<(), String>;
    /// True where it must not be started again within the second of its stop.
    fn needs_another_second(&self) -> bool;
}

/// The server's kind, or what to install.
pub(super) fn find(system: System) -> Result<Box<dyn Kind>, String> {
    let (program, package) = match system {
        System::Memcached => ("memcached", "memcached"),
        _ => ("redis-server", "redis-server"),
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
        return Err(format!("{program} is not installed: try `apt-get install {package}`"));
    }
    Ok(if system == System::Memcached { Box::new(Memcached) } else { Box::new(Redis) })
}

/// A server that runs and has the objects.
pub(super) struct Server {
    kind: Box<dyn Kind>,
    process: Process,
    dir: TmpfsDir,
    count: u64,
    /// Of all words of all objects.
    sum: u64,
}

impl Server {
    pub(super) fn start(kind: Box<dyn Kind>, count: u64) -> Result<Self, String> {
        let dir = TmpfsDir::new()?;
        let process = Process::start(kind.command(dir.path(), count))?;
        let mut server = Self { kind, process, dir, count, sum: 0 };
        server.wait_until_up()?;
        let stored = server.kind.store(&server.socket(), count)?;
        if stored != count {
            return Err(format!("it keeps {stored} of {count} objects"));
        }
        server.sum = (0..count).fold(0, |all, number| {
            let mut object = vec![0; size_bytes(number)];
            fill(number, &mut object);
            all.wrapping_add(sum(&object))
        });
        Ok(server)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// Asks for an object until it is there: a server that loads its data may answer before it has them.
    fn wait_until_up(&mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while client::Connection::open(&self.socket()).is_err() {
            self.process.still_there(until)?;
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    /// One answer, and when it was there.
    fn answer(&mut self, number: u64) -> Result<u64, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut whole = false;
            let fetched = client::Connection::open(&self.socket()).and_then(|mut connection| {
                let mut each = |number, object: &[u8]| whole = is_whole(number, object);
                self.kind.fetch(&mut connection, &mut std::iter::once(number), &mut each)
            });
            match fetched {
                Ok(()) if whole => return Ok(now_ns()),
                Ok(()) => return Err("an object is not whole".to_owned()),
                Err(error) => {
                    self.process.still_there(until).map_err(|end| format!("{end}; {error}"))?;
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
        }
    }

    fn read_all(&self) -> Result<(), String> {
        let mut connection = client::Connection::open(&self.socket())?;
        let mut all = 0u64;
        for start in (0..self.count).step_by(BATCH as usize) {
            let mut numbers = start..(start + BATCH).min(self.count);
            let mut each = |_, object: &[u8]| all = all.wrapping_add(sum(object));
            self.kind.fetch(&mut connection, &mut numbers, &mut each)?;
        }
        if all == self.sum { Ok(()) } else { Err("the objects have another sum than before".to_owned()) }
    }

    fn held_bytes(&self) -> u64 {
        private_bytes(&self.process.0.id().to_string()) + self.dir.bytes()
    }
}

impl Contestant for Server {
    fn system(&self) -> System {
        self.kind.system()
    }

    fn sample(&mut self) -> Result<Sample, String> {
        let (before_bytes, dir_bytes) = (self.held_bytes(), self.dir.bytes());
        let last_ns = self.answer(mix(now_ns()) % self.count)?;
        self.kind.stop(&self.process.0, &self.socket())?;
        self.process.wait_for_end()?;
        let stopped_ns = now_ns();
        // What it left is there while the old process still was.
        let left_bytes = self.dir.bytes();
        if self.kind.needs_another_second() {
            wait_for_next_second();
        }
        let started_ns = now_ns();
        self.process = Process::start(self.kind.command(self.dir.path(), self.count))?;
        let first_ns = self.answer(mix(started_ns) % self.count)?;
        self.read_all()?;
        let all_ns = now_ns();
        Ok(Sample {
            freeze_us: us_between(last_ns, stopped_ns),
            // Without the gap, which is a defect's and not the design's.
            blackout_us: us_between(last_ns, stopped_ns) + us_between(started_ns, first_ns),
            first_read_us: us_between(started_ns, first_ns),
            read_all_us: us_between(first_ns, all_ns),
            start_us: 0.0,
            open_us: us_between(started_ns, first_ns),
            peak_bytes: (before_bytes + left_bytes.saturating_sub(dir_bytes)).max(self.held_bytes()),
            pid: self.process.0.id(),
        })
    }
}

/// Waits until the wall clock shows another second than now.
fn wait_for_next_second() {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // And a little more: the server's own clock ticks once a second.
    std::thread::sleep(Duration::from_millis(2200 - u64::from(since.subsec_millis())));
}

/// A server's process; dropped, it is ended.
struct Process(Child);

impl Process {
    fn start(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: between fork and exec the child makes one system call, which needs no memory of its own.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let program = command.get_program().to_string_lossy().into_owned();
        command.spawn().map(Self).map_err(|error| format!("{program}: {error}"))
    }

    fn still_there(&mut self, until: Instant) -> Result<(), String> {
        match self.0.try_wait() {
            Ok(Some(status)) => Err(format!("it ended with {status}")),
            Ok(None) if Instant::now() > until => Err(format!("it gave no answer for {PATIENCE:?}")),
            Ok(None) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn wait_for_end(&mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.0.try_wait().map_err(|error| error.to_string())?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        Err(format!("it did not end within {PATIENCE:?}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory of our own on tmpfs; dropped, it is gone with all that is in it.
pub(super) struct TmpfsDir(PathBuf);

impl TmpfsDir {
    pub(super) fn new() -> Result<Self, String> {
        use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("heirloom-bench-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = Path::new("/dev/shm").join(name);
        std::fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Memory behind the files in it.
    fn bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.blocks() * 512).sum()
    }
}

impl Drop for TmpfsDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
