//! What the server is told: addresses, limits, where the heap lies.

use std::net::IpAddr;
use std::path::PathBuf;

/// All settings. Those that clients may change (`CONFIG SET`) are where it starts from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to listen on.
    pub bind: Vec<IpAddr>,
    /// The port; 0 lets the system choose one.
    pub port: u16,
    /// Threads that serve clients; 0 is one a processor.
    pub threads: usize,
    /// Shards of a new heap; 0 is four a thread. A power of two, at most 64.
    pub shards: usize,
    /// The most bytes that keys and values may take; 0 is no limit.
    pub max_memory: u64,
    /// What gives way when they do.
    pub policy: Policy,
    /// The password that clients must give.
    pub password: Option<String>,
    /// The most clients at a time.
    pub max_clients: usize,
    /// The longest argument of a command, in bytes.
    pub max_argument: usize,
    /// The most bytes that what clients have sent in part, and have not fetched, may take.
    pub client_memory: u64,
    /// Seconds after which a silent client is let go; 0 is never.
    pub timeout_s: u64,
    /// Seconds after which the system asks whether a silent client is still there; 0 is never.
    pub keepalive_s: u64,
    /// Where the heap lies.
    pub heap: Backing,
    /// The most bytes the heap may take, records and free memory included; 0 leaves it to the library.
    pub heap_limit: u64,
    /// Whether a heap file that cannot be taken over is set aside.
    pub cold_start: bool,
    /// Whether what kills have left without an owner is looked for, and given back, when the heap is found at the start.
    pub reclaim_leaks: bool,
    /// How an upgrade starts the next program.
    pub channel: heirloom::Channel,
    /// Whether closing a heap file writes checksums and opening it compares them.
    pub seal: bool,
}

/// Where the heap lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Backing {
    /// In memory that goes from process to process and ends with the last.
    #[default]
    Memory,
    /// In a file, best on tmpfs, which also outlives a stop and a crash.
    File(PathBuf),
    /// In memory that the service manager keeps (systemd's file descriptor store), which also outlives a stop and a crash.
    FdStore,
    /// In memory that the Live Update Orchestrator hands to the next kernel.
    LiveUpdate,
}

/// What gives way when memory is full; the names are those of Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Policy {
    /// Nothing: writes are refused.
    NoEviction,
    /// What has not been used for longest.
    #[default]
    AllKeysLru,
    /// Of the keys with a deadline, what has not been used for longest.
    VolatileLru,
    /// Anything.
    AllKeysRandom,
    /// Anything with a deadline.
    VolatileRandom,
    /// What expires first.
    VolatileTtl,
}

impl Policy {
    /// All policies.
    pub const ALL: [Self; 6] = [
        Self::NoEviction,
        Self::AllKeysLru,
        Self::VolatileLru,
        Self::AllKeysRandom,
        Self::VolatileRandom,
        Self::VolatileTtl,
    ];

    /// The name by which Redis knows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoEviction => "noeviction",
            Self::AllKeysLru => "allkeys-lru",
            Self::VolatileLru => "volatile-lru",
            Self::AllKeysRandom => "allkeys-random",
            Self::VolatileRandom => "volatile-random",
            Self::VolatileTtl => "volatile-ttl",
        }
    }

    /// Finds a policy by its name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name().eq_ignore_ascii_case(name))
    }

    pub(crate) const fn only_expiring(self) -> bool {
        matches!(self, Self::VolatileLru | Self::VolatileRandom | Self::VolatileTtl)
    }
}

impl std::str::FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::by_name(text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("`{text}` is no policy: choose one of {names}")
        })
    }
}

impl std::fmt::Display for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Backing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            None if text == "fdstore" => Ok(Self::FdStore),
            None if text == "luo" => Ok(Self::LiveUpdate),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err(format!("`{text}` is no place for a heap: choose memory, file:PATH, fdstore or luo")),
        }
    }
}

impl std::fmt::Display for Backing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::FdStore => f.write_str("fdstore"),
            Self::LiveUpdate => f.write_str("luo"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: vec![IpAddr::from([127, 0, 0, 1])],
            port: 6379,
            threads: 0,
            shards: 0,
            max_memory: 0,
            policy: Policy::default(),
            password: None,
            max_clients: 10_000,
            max_argument: 512 << 20,
            client_memory: 1 << 30,
            timeout_s: 0,
            keepalive_s: 300,
            heap: Backing::default(),
            heap_limit: 0,
            cold_start: false,
            reclaim_leaks: false,
            channel: heirloom::Channel::Spawn,
            seal: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        for text in ["memory", "fdstore", "luo", "file:/dev/shm/cache"] {
            assert_eq!(text.parse::<Backing>().map(|place| place.to_string()), Ok(text.to_owned()));
        }
        for text in ["file:", "fdstore:x", "disk", ""] {
            assert!(text.parse::<Backing>().is_err(), "{text}");
        }
    }
}
