//! The server as all its threads see it: heap, store, clients, settings, counters.
//!
//! # Invariants
//!
//! - *at rest*: once [`Server::rest`] has returned, no thread reads from a client, writes to one, accepts one or is inside the heap,
//!   until [`Server::go_on`]. Whoever does any of that holds a lock that `rest` takes once after it has set the flag, and looks at the flag
//!   under it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::Waker;
use std::time::{SystemTime, UNIX_EPOCH};

use heirloom::{Heap, Inside};

use crate::config::{Config, Policy};
use crate::net::connection::Connection;
use crate::protocol::request::{Limits, MAX_ARGUMENTS};
use crate::store::Store;
use crate::store::scan::Random;

/// One server; a process has one.
pub(crate) struct Server {
    pub(crate) heap: Heap,
    pub(crate) store: Store,
    pub(crate) settings: Settings,
    pub(crate) counters: Counters,
    pub(crate) config: Config,
    pub(crate) clients: Mutex<HashMap<u64, Arc<Connection>>>,
    pub(crate) started_ms: u64,
    /// Where the server listens, for INFO.
    pub(crate) port: AtomicU64,
    pub(crate) arrival: Arrival,
    next_client: AtomicU64,
    random: AtomicU64,
    is_resting: AtomicBool,
    sleepers: Mutex<Vec<Waker>>,
    gate: Mutex<()>,
    stop: tokio::sync::Notify,
}

/// How this generation came to be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival {
    /// Microseconds in which no client was served, on the way here; 0 for a first generation.
    pub(crate) blackout_us: u64,
    /// Clients that came along.
    pub(crate) clients: u64,
    /// Keys and shards that a kill of the last owner cost.
    pub(crate) repair: crate::store::Repair,
}

/// Settings that clients may change.
pub(crate) struct Settings {
    pub(crate) max_memory: AtomicU64,
    pub(crate) max_clients: AtomicUsize,
    pub(crate) timeout_s: AtomicU64,
    policy: AtomicUsize,
    password: RwLock<Option<String>>,
}

/// What is counted, over all generations but for what is said to be of now.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) commands: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) evicted_clients: AtomicU64,
    /// Bytes in the buffers of all clients now.
    pub(crate) buffered: AtomicUsize,
}

impl Counters {
    pub(crate) fn note_error(&self) {
        self.errors.fetch_add(1, Relaxed);
    }
}

impl Settings {
    fn new(config: &Config) -> Self {
        Self {
            max_memory: AtomicU64::new(config.max_memory),
            max_clients: AtomicUsize::new(config.max_clients),
            timeout_s: AtomicU64::new(config.timeout_s),
            policy: AtomicUsize::new(config.policy as usize),
            password: RwLock::new(config.password.clone()),
        }
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy::ALL[self.policy.load(Relaxed)]
    }

    pub(crate) fn set_policy(&self, policy: Policy) {
        self.policy.store(policy as usize, Relaxed);
    }

    pub(crate) fn password(&self) -> Option<String> {
        self.password.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_password(&self, password: Option<String>) {
        *self.password.write().unwrap_or_else(PoisonError::into_inner) = password;
    }
}

impl Server {
    pub(crate) fn new(heap: Heap, store: Store, config: Config, arrival: Arrival) -> Self {
        let seed = store.used_bytes() ^ now_ms().rotate_left(32) ^ u64::from(std::process::id());
        Self {
            settings: Settings::new(&config),
            counters: Counters::default(),
            clients: Mutex::new(HashMap::new()),
            started_ms: now_ms(),
            port: AtomicU64::new(u64::from(config.port)),
            arrival,
            next_client: AtomicU64::new(1),
            random: AtomicU64::new(seed),
            is_resting: AtomicBool::new(false),
            sleepers: Mutex::new(Vec::new()),
            gate: Mutex::new(()),
            stop: tokio::sync::Notify::new(),
            heap,
            store,
            config,
        }
    }

    /// What a client may send.
    pub(crate) fn limits(&self, is_stranger: bool) -> Limits {
        if is_stranger {
            return Limits::STRANGER;
        }
        Limits { argument_bytes: self.config.max_argument, nr_arguments: MAX_ARGUMENTS, is_stranger }
    }

    pub(crate) fn clients(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_client(&self) -> u64 {
        self.next_client.fetch_add(1, Relaxed)
    }

    /// Goes on counting clients from here.
    pub(crate) fn count_clients_from(&self, next: u64) {
        self.next_client.fetch_max(next, Relaxed);
    }

    /// A seed that is another one each time.
    pub(crate) fn next_random(&self) -> u64 {
        Random::new(self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed)).next()
    }

    /// Makes room where what is stored takes more than it may. False where that is not possible.
    #[inline]
    pub(crate) fn make_room(&self, inside: &Inside<'_>, clock: u32) -> bool {
        let limit = self.settings.max_memory.load(Relaxed);
        limit == 0 || self.store.used_bytes() <= limit || self.make_room_slowly(inside, clock, limit)
    }

    #[cold]
    fn make_room_slowly(&self, inside: &Inside<'_>, clock: u32, limit: u64) -> bool {
        let mut random = Random::new(self.next_random());
        while self.store.used_bytes() > limit {
            if !self.store.evict_one(inside, self.settings.policy(), &mut random, clock) {
                return false;
            }
        }
        true
    }

    /// Gives up an item for which there is no room in the heap.
    #[cold]
    pub(crate) fn evict(&self, inside: &Inside<'_>, clock: u32) -> bool {
        let mut random = Random::new(self.next_random());
        self.store.evict_one(inside, self.settings.policy(), &mut random, clock)
    }

    /// Whether nothing is to be done now; to be asked under a lock that [`Server::rest`] takes.
    #[inline]
    pub(crate) fn is_resting(&self) -> bool {
        self.is_resting.load(Acquire)
    }

    /// What accepts clients and what looks after expired keys holds this.
    pub(crate) fn gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Comes to rest. Returns all clients there are.
    pub(crate) fn rest(&self) -> Vec<Arc<Connection>> {
        self.is_resting.store(true, SeqCst);
        drop(self.gate());
        let clients: Vec<_> = self.clients().values().cloned().collect();
        for client in &clients {
            client.settle();
        }
        clients
    }

    /// Ends the rest: the hand-over was called off.
    pub(crate) fn go_on(&self) {
        self.is_resting.store(false, SeqCst);
        let sleepers = std::mem::take(&mut *self.sleepers.lock().unwrap_or_else(PoisonError::into_inner));
        sleepers.into_iter().for_each(Waker::wake);
    }

    /// Has a task woken when the rest ends. False where it has ended.
    pub(crate) fn sleep(&self, waker: &Waker) -> bool {
        let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: whoever ends the rest takes it after the flag is down.
        let is_resting = self.is_resting();
        if is_resting {
            sleepers.push(waker.clone());
        }
        is_resting
    }

    /// Asks the main thread to end the server.
    pub(crate) fn stop(&self) {
        self.stop.notify_one();
    }

    /// Waits until somebody does.
    pub(crate) async fn stopped(&self) {
        self.stop.notified().await;
    }
}

/// Milliseconds of the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
