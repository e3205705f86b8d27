//! The life of a server: the heap, what a predecessor left, the listeners, and then whatever is asked of the main thread.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use heirloom::{Heap, HeapError, Options, Origin};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::config::{Backing, Config};
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
    /// It ends, as it was told to.
    Stopped,
}

/// What the main thread is asked to do.
enum Event {
    Upgrade(Option<control::Request>),
    Stop,
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
    let heap = Heap::inherit_or_create("heirloom-serve", options(&config))?;
    if let Some((path, reason)) = heap.set_aside() {
        notify(Notice::SetAside { path: path.to_owned(), reason: reason.to_owned() });
    }
    let nr_threads = match config.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        nr => nr,
    };
    let nr_shards = if config.shards == 0 { 4 * nr_threads } else { config.shards };
    let (store, repair) = Store::open(&heap.enter(), nr_shards);
    let workers = Arc::new(Workers::start(nr_threads)?);
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
    wait(&server, &listeners, notify)?;
    // All that uses the heap goes first: a heap file is closed in order.
    let _rested = server.rest();
    drop(listeners);
    workers.stop();
    drop(server);
    notify(Notice::Stopped);
    Ok(())
}

fn options(config: &Config) -> Options {
    let mut options = Options::new().cold_start(config.cold_start).seal(config.seal);
    if let Backing::File(path) = &config.heap {
        options = options.file(path);
    }
    if config.heap_limit > 0 {
        options = options.size_limit(config.heap_limit);
    }
    crate::upgrade::forget_clients(crate::store::keep_shards(options))
}

fn listen_on_all(config: &Config) -> Result<Vec<TcpListener>, ServeError> {
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
fn wait(server: &Arc<Server>, listeners: &[Arc<TcpListener>], notify: &dyn Fn(Notice)) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (sender, mut events) = mpsc::channel(4);
        listen_for_signals(&sender)?;
        listen_for_requests(&sender)?;
        let stopping = server.clone();
        let on_stop = sender.clone();
        tokio::spawn(async move {
            stopping.stopped().await;
            let _is_heard = on_stop.send(Event::Stop).await;
        });
        while let Some(event) = events.recv().await {
            let Event::Upgrade(request) = event else { break };
            let (program, answer) = match &request {
                Some(request) => (request.program.as_deref(), Some(&request.answer)),
                None => (None, None),
            };
            let reason = pack::upgrade(server, listeners, program, answer).to_string();
            if let Some(answer) = answer {
                control::answer(answer, &Answer::Refused(reason.clone()));
            }
            notify(Notice::NotUpgraded(reason));
        }
        Ok(())
    })
}

fn listen_for_signals(sender: &mpsc::Sender<Event>) -> io::Result<()> {
    let signals = [
        (SignalKind::user_defined2(), true),
        (SignalKind::terminate(), false),
        (SignalKind::interrupt(), false),
    ];
    for (kind, is_upgrade) in signals {
        let (mut signal, sender) = (signal(kind)?, sender.clone());
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                let event = if is_upgrade { Event::Upgrade(None) } else { Event::Stop };
                if sender.send(event).await.is_err() {
                    break;
                }
            }
        });
    }
    Ok(())
}

fn listen_for_requests(sender: &mpsc::Sender<Event>) -> io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(control::listen()?)?;
    let sender = sender.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Some(request) = control::read(stream).await
                && sender.send(Event::Upgrade(Some(request))).await.is_err()
            {
                break;
            }
        }
    });
    Ok(())
}
