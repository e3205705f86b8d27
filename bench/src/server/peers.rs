//! The servers, and their processes.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// No server takes longer to start or to stop.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Heirloom,
    Redis,
    Memcached,
}

impl Peer {
    pub(super) const ALL: [Self; 3] = [Self::Heirloom, Self::Redis, Self::Memcached];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Heirloom => "heirloom serve",
            Self::Redis => "redis-server",
            Self::Memcached => "memcached",
        }
    }

    /// The program, or what to install.
    pub(super) fn program(self, heirloom: &Path) -> Result<PathBuf, String> {
        let name = match self {
            Self::Heirloom => {
                return heirloom.is_file().then(|| heirloom.to_owned()).ok_or_else(|| {
                    format!("{} is missing: cargo build --release, or --binary", heirloom.display())
                });
            }
            Self::Redis => "redis-server",
            Self::Memcached => "memcached",
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file());
        found.ok_or_else(|| format!("{name} is not installed: try `apt-get install {name}`"))
    }
}

/// A running server.
pub(super) struct Server {
    pub(super) peer: Peer,
    pub(super) port: u16,
    /// The process that serves now; an upgrade makes it another.
    pub(super) pid: u32,
    child: Child,
}

impl Server {
    /// Starts one that keeps what it must keep over a restart in `dir`, if there is one.
    pub(super) fn start(
        peer: Peer,
        heirloom: &Path,
        dir: Option<&Path>,
        port: Option<u16>,
    ) -> Result<Self, String> {
        let mut command = Command::new(peer.program(heirloom)?);
        let port = match port {
            Some(port) => port,
            None => free_port()?,
        };
        let text = port.to_string();
        match peer {
            Peer::Heirloom => {
                command.args(["serve", "--quiet", "--port", &text]);
                if let Some(dir) = dir {
                    command.args(["--heap", &format!("file:{}", dir.join("heap").display())]);
                }
            }
            Peer::Redis => {
                command.args(["--port", &text, "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]);
                if let Some(dir) = dir {
                    command.arg("--dir").arg(dir);
                }
            }
            Peer::Memcached => {
                command.args([
                    "-p",
                    &text,
                    "-U",
                    "0",
                    "-l",
                    "127.0.0.1",
                    "-u",
                    "root",
                    "-c",
                    "2048",
                    "-m",
                    "4096",
                ]);
                command.args(["-t", "2"]);
                if let Some(dir) = dir {
                    command.arg("-e").arg(dir.join("items"));
                }
            }
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.map_err(|error| format!("{}: {error}", peer.name()))?;
        Ok(Self { peer, port, pid: child.id(), child })
    }

    /// Waits until it listens.
    pub(super) fn wait_until_up(&mut self) -> Result<(), String> {
        let since = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("{} ended: {status}", self.peer.name()));
            }
            if since.elapsed() > PATIENCE {
                return Err(format!("{} does not listen", self.peer.name()));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    pub(super) fn signal(&self, signal: rustix::process::Signal) -> Result<(), String> {
        let pid = rustix::process::Pid::from_raw(self.pid.cast_signed()).ok_or("no process")?;
        rustix::process::kill_process(pid, signal).map_err(|error| error.to_string())
    }

    pub(super) fn wait_for_end(&mut self) -> Result<(), String> {
        let since = Instant::now();
        while self.child.try_wait().map_err(|error| error.to_string())?.is_none() {
            if since.elapsed() > PATIENCE {
                return Err(format!("{} does not end", self.peer.name()));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Bytes of memory that are this process's.
    pub(super) fn memory_bytes(&self) -> Result<u64, String> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid))
            .map_err(|error| error.to_string())?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
        };
        let kib = field("RssAnon:").zip(field("RssShmem:")).map(|(anonymous, shared)| anonymous + shared);
        kib.map(|kib| kib << 10).ok_or_else(|| "the system does not tell".to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.signal(rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    Ok(listener.local_addr().map_err(|error| error.to_string())?.port())
}
