//! What the server knows of a client besides its bytes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// A client's side of the conversation, changed by its own commands alone.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) database: usize,
    pub(crate) is_resp3: bool,
    /// The password has yet to be given.
    pub(crate) is_stranger: bool,
    /// What has been written is sent, then the connection ends.
    pub(crate) is_closing: bool,
    pub(crate) card: Arc<Card>,
}

/// What other clients may see of a client.
#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) id: u64,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) local: Option<SocketAddr>,
    /// Milliseconds of the Unix epoch.
    pub(crate) connected_ms: u64,
    /// As above; when it last sent something.
    pub(crate) active_ms: AtomicU64,
    pub(crate) is_killed: AtomicBool,
    names: Mutex<Names>,
}

/// What a client calls itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) name: Vec<u8>,
    pub(crate) library: Vec<u8>,
    pub(crate) library_version: Vec<u8>,
    pub(crate) database: usize,
    pub(crate) is_resp3: bool,
    pub(crate) last_command: &'static str,
}

impl Card {
    pub(crate) fn new(
        id: u64,
        peer: Option<SocketAddr>,
        local: Option<SocketAddr>,
        connected_ms: u64,
        now_ms: u64,
        names: Names,
    ) -> Self {
        Self {
            id,
            peer,
            local,
            connected_ms,
            active_ms: AtomicU64::new(now_ms),
            is_killed: AtomicBool::new(false),
            names: Mutex::new(names),
        }
    }

    pub(crate) fn names(&self) -> Names {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn change_names(&self, change: impl FnOnce(&mut Names)) {
        change(&mut self.names.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A line of CLIENT LIST.
    pub(crate) fn line(&self, now_ms: u64) -> String {
        let address = |address: Option<SocketAddr>| address.map_or(String::new(), |at| at.to_string());
        let names = self.names();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!(
            "id={} addr={} laddr={} name={} age={} idle={} flags=N db={} lib-name={} lib-ver={} resp={} cmd={}",
            self.id,
            address(self.peer),
            address(self.local),
            text(&names.name),
            now_ms.saturating_sub(self.connected_ms) / 1000,
            now_ms.saturating_sub(self.active_ms.load(Relaxed)) / 1000,
            names.database,
            text(&names.library),
            text(&names.library_version),
            if names.is_resp3 { 3 } else { 2 },
            names.last_command,
        )
    }
}

impl Session {
    /// A client that has just come.
    pub(crate) fn new(card: Arc<Card>, is_stranger: bool) -> Self {
        Self { database: 0, is_resp3: false, is_stranger, is_closing: false, card }
    }
}
