//! The life of a server: the heap, what a predecessor left, the listeners, and then whatever is asked of the main thread.
//!
//! ```text
//! can the heap be kept as asked? -> heap -> store -> ears (signals, control socket) -> clients, listeners -> Ready
//!                                                       '-- upgrade: `upgrade::pack`     stop: `kept::leave`, end
//! ```
//!
//! The ears are open before anybody is told that there is somebody to be asked: a signal that nobody waits for would end the process.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use heirloom::live_update::PreserveFigures;
use heirloom::{Heap, HeapError, Options, Origin};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::config::{Backing, Config};
use crate::ears::{Ears, Event};
use crate::kept::{self, NotKept};
use crate::net::worker::Workers;
use crate::net::{accept, chores};
use crate::server::{Arrival, Server};
use crate::store::{Repair, Store};
use crate::upgrade::control::{self, Answer};
use crate::upgrade::{pack, unpack};

/// Descriptors besides those of clients: listeners, reactors, the heap, a hand-over.
const OTHER_DESCRIPTORS: u64 = 64;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The heap.
    #[error(transparent)]
    Heap(#[from] HeapError),
    /// Nobody would keep the heap in the way that was asked for.
    #[error(transparent)]
    NotKept(#[from] NotKept),
    /// Sockets that the service manager has opened.
    #[error("the sockets that the service manager has opened cannot be used: {0}")]
    Activated(io::Error),
    /// An address.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// Threads or signals.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// What the server says while it lives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// It serves.
    Ready {
        /// Where.
        addresses: Vec<SocketAddr>,
        /// Its generation.
        generation: u32,
        /// Where the heap came from.
        origin: Origin,
        /// Clients that came along.
        clients: u64,
        /// Microseconds in which none was served.
        blackout_us: u64,
        /// Keys given up because a kill had left them half changed.
        keys_lost: u64,
    },
    /// The heap file could not be taken over and was renamed.
    SetAside {
        /// Its name now.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An upgrade was refused or called off.
    NotUpgraded(String),
    /// It was told to end, and no client is served any more.
    Stopping,
    /// It ends with a heap that was to go to the next kernel, and there is none or it cannot: the heap ends here.
    NotPreserved(String),
    /// The heap is preserved for the next kernel, as long as this process lives.
    Preserved {
        /// What was preserved, and how long it took.
        figures: PreserveFigures,
    },
    /// It ends, as it was told to.
    Stopped,
}

/// Serves clients until the process is told to stop, or hands over.
///
/// Called first thing in the process: it may start the program anew to get the heap's addresses.
///
/// # Errors
///
/// [`ServeError`]: the server did not start.
pub fn serve(mut config: Config, notify: &dyn Fn(Notice)) -> Result<(), ServeError> {
    raise_descriptor_limit(config.max_clients as u64);
    kept::look_ahead(&config.heap)?;
    let heap = Heap::inherit_or_create("heirloom-serve", options(&config))?;
    if let Some((path, reason)) = heap.set_aside() {
        notify(Notice::SetAside { path: path.to_owned(), reason: reason.to_owned() });
    }
    kept::check(&config.heap)?;
    let nr_threads = match config.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        nr => nr,
    };
    let nr_shards = if config.shards == 0 { 4 * nr_threads } else { config.shards };
    let (store, repair) = Store::open(&heap.enter(), nr_shards);
    let workers = Arc::new(Workers::start(nr_threads)?);
    let mut ears = Ears::open(unpack::control_socket(&heap))?;
    let unpacked = unpack::unpack(&heap);
    let mut arrival = Arrival { repair, ..Arrival::default() };
    if let Some(unpacked) = &unpacked {
        unpacked.apply_settings(&mut config);
        arrival.clients = unpacked.nr_clients();
    }
    let (listeners, answer, clients) = match unpacked {
        Some(mut unpacked) => {
            let listeners = std::mem::take(&mut unpacked.listeners);
            (listeners, unpacked.answer.take(), Some(unpacked))
        }
        None => (listen_on_all(&config)?, None, None),
    };
    let listeners: Vec<_> = listeners.into_iter().map(Arc::new).collect();
    let addresses: Vec<_> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    arrival.blackout_us = clients.as_ref().map_or(0, unpack::Unpacked::blackout_us);
    let server = Arc::new(Server::new(heap, store, config, arrival));
    server.port.store(addresses.first().map_or(0, |address| address.port().into()), Relaxed);
    if let Some(clients) = clients {
        clients.start_clients(&server, &workers);
    }
    for listener in &listeners {
        workers.first().handle.spawn(accept::accept_all(server.clone(), workers.clone(), listener.clone()));
    }
    workers.first().handle.spawn(chores::do_all(server.clone()));
    let generation = server.heap.generation();
    if let Some(answer) = answer {
        let text = format!(
            "pid={} generation={generation} clients={} blackout_us={}",
            std::process::id(),
            arrival.clients,
            arrival.blackout_us
        );
        control::answer(&answer, &Answer::Upgraded(text));
    }
    let Arrival { clients, blackout_us, repair: Repair { keys_lost, .. } } = arrival;
    let origin = server.heap.origin();
    notify(Notice::Ready { addresses, generation, origin, clients, blackout_us, keys_lost });
    ears.watch(&server);
    upgrade_until_stopped(&server, &listeners, &mut ears, notify);
    notify(Notice::Stopping);
    // All that uses the heap goes first: it is closed in order, or frozen.
    let _rested = server.rest();
    drop(listeners);
    workers.stop();
    if server.config.heap == Backing::LiveUpdate {
        kept::leave(&server.heap, &mut ears, notify);
    }
    // Whoever waits for clients to say so holds the server too.
    drop(ears);
    drop(server);
    notify(Notice::Stopped);
    Ok(())
}

fn options(config: &Config) -> Options {
    let mut options = Options::new().cold_start(config.cold_start).seal(config.seal);
    options = options.reclaim_leaks(config.reclaim_leaks);
    if let Backing::File(path) = &config.heap {
        options = options.file(path);
    }
    if config.heap_limit > 0 {
        options = options.size_limit(config.heap_limit);
    }
    crate::upgrade::forget_clients(crate::store::keep_shards(options))
}

/// Listens on the sockets that the service manager holds for this server, if it does, or else on its own.
fn listen_on_all(config: &Config) -> Result<Vec<TcpListener>, ServeError> {
    let activated = accept::activated().map_err(ServeError::Activated)?;
    if !activated.is_empty() {
        return Ok(activated);
    }
    let listen = |&ip| {
        let address = SocketAddr::new(ip, config.port);
        accept::listen(address).map_err(|error| ServeError::Listen { address, error })
    };
    config.bind.iter().map(listen).collect()
}

/// Lets the process have a descriptor for every client, and another while it is handed over.
fn raise_descriptor_limit(max_clients: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = 2 * max_clients + OTHER_DESCRIPTORS;
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(limit.maximum.map_or(wanted, |maximum| wanted.min(maximum)));
        // Where it is not allowed, fewer clients find room; they are told.
        let _is_raised = setrlimit(Resource::Nofile, limit);
    }
}

/// Does what is asked of the main thread, until it is to stop.
fn upgrade_until_stopped(
    server: &Arc<Server>,
    listeners: &[Arc<TcpListener>],
    ears: &mut Ears,
    notify: &dyn Fn(Notice),
) {
    while let Event::Upgrade(request) = ears.hear() {
        let (program, answer) = match &request {
            Some(request) => (request.program.as_deref(), Some(&request.answer)),
            None => (None, None),
        };
        let reason = pack::upgrade(server, listeners, ears.control(), program, answer).to_string();
        if let Some(answer) = answer {
            control::answer(answer, &Answer::Refused(reason.clone()));
        }
        notify(Notice::NotUpgraded(reason));
    }
}
