//! The successor's side of an upgrade.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use heirloom::Heap;

use super::pack::monotonic_ns;
use super::{
    ANSWER, CONTROL, ClientRecord, HANDED, Handed, SettingsRecord, listener_name, reserve, socket_name,
};
use crate::config::{Config, Policy};
use crate::net::accept;
use crate::net::connection::State;
use crate::net::worker::Workers;
use crate::server::{Server, now_ms};
use crate::session::{Card, Names, Session};

/// What a predecessor has handed over.
pub(crate) struct Unpacked {
    handed: Handed,
    sockets: std::vec::Vec<(ClientRecord, OwnedFd)>,
    /// Listening sockets, in the order of the addresses.
    pub(crate) listeners: std::vec::Vec<TcpListener>,
    /// Who asked for the upgrade.
    pub(crate) answer: Option<UnixStream>,
}

/// Takes what was handed over with the heap; `None` where there was no predecessor, or one that had stopped.
pub(crate) fn unpack(heap: &Heap) -> Option<Unpacked> {
    let mut handed = {
        let inside = heap.enter();
        std::mem::take(&mut *HANDED.get(&inside).lock())
    };
    if handed.is_packed == 0 {
        return None;
    }
    let listeners = (0..handed.nr_listeners).filter_map(|index| heap.take_descriptor(&listener_name(index)));
    let listeners: std::vec::Vec<_> = listeners.map(TcpListener::from).collect();
    if listeners.is_empty() {
        // A heap that was left behind between packing and the end: its clients are gone.
        return None;
    }
    let clients = std::mem::take(&mut handed.clients);
    let with_socket = |client: ClientRecord| {
        let socket = heap.take_descriptor(&socket_name(client.id))?;
        Some((client, socket))
    };
    let sockets = clients.into_iter().filter_map(with_socket).collect();
    let answer = heap.take_descriptor(ANSWER).map(UnixStream::from);
    Some(Unpacked { handed, sockets, listeners, answer })
}

/// Takes the socket for requests that a predecessor has handed over which was this very process.
pub(crate) fn control_socket(heap: &Heap) -> Option<OwnedFd> {
    heap.take_descriptor(CONTROL)
}

impl Unpacked {
    /// Goes on with the settings as clients had changed them.
    pub(crate) fn apply_settings(&self, config: &mut Config) {
        let SettingsRecord { max_memory, max_clients, timeout_s, policy, has_password, password } =
            &self.handed.settings;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        config.max_memory = *max_memory;
        config.max_clients = *max_clients as usize;
        config.timeout_s = *timeout_s;
        config.policy = Policy::by_name(&text(policy)).unwrap_or_default();
        config.password = (*has_password != 0).then(|| text(password));
    }

    /// How many clients came along.
    pub(crate) fn nr_clients(&self) -> u64 {
        self.sockets.len() as u64
    }

    /// Microseconds since the predecessor came to rest.
    pub(crate) fn blackout_us(&self) -> u64 {
        monotonic_ns().saturating_sub(self.handed.rested_ns) / 1000
    }

    /// Serves the clients that came along.
    pub(crate) fn start_clients(self, server: &Arc<Server>, workers: &Workers) {
        let (handed, counters) = (&self.handed, &server.counters);
        counters.connections.store(handed.connections, Relaxed);
        counters.rejected.store(handed.rejected, Relaxed);
        counters.commands.store(handed.commands, Relaxed);
        counters.errors.store(handed.errors, Relaxed);
        server.count_clients_from(handed.next_client);
        let with_state = |(client, socket): (ClientRecord, OwnedFd)| {
            let stream = TcpStream::from(socket);
            (state(client, &stream), stream)
        };
        let clients: std::vec::Vec<_> = self.sockets.into_iter().map(with_state).collect();
        // What was packed is gone; before anybody else takes its place, the next hand-over's is.
        reserve::hold(&server.heap);
        for (state, stream) in clients {
            if let Err(error) = accept::start(server, workers, stream, state) {
                eprintln!("heirloom serve: a client was lost in the upgrade: {error}");
            }
        }
    }
}

fn state(client: ClientRecord, stream: &TcpStream) -> State {
    let (is_resp3, database) =
        (client.is_resp3 != 0, client.database as usize % crate::store::shard::NR_DATABASES);
    let names = Names {
        name: client.name.to_vec(),
        library: client.library.to_vec(),
        library_version: client.library_version.to_vec(),
        database,
        is_resp3,
        last_command: "",
    };
    let (peer, local) = (stream.peer_addr().ok(), stream.local_addr().ok());
    let card =
        Card::new(client.id, peer, local, client.connected_ms, client.active_ms.max(1).min(now_ms()), names);
    let session = Session {
        database,
        is_resp3,
        is_stranger: client.is_stranger != 0,
        is_closing: client.is_closing != 0,
        card: Arc::new(card),
    };
    State::with_buffers(session, client.input.to_vec(), client.output.to_vec())
}
