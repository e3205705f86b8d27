//! The predecessor's side of an upgrade.

use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use heirloom::{AllocError, Channel, Command, CommandError, HandOverError, Luggage, Vec};

use super::{
    ANSWER, CONTROL, ClientRecord, HANDED, Handed, SettingsRecord, listener_name, reserve, socket_name,
};
use crate::net::connection::Connection;
use crate::server::Server;

/// Why an upgrade was not made; the server goes on as before.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    /// The program cannot be named.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The hand-over was refused or called off.
    #[error(transparent)]
    HandOver(#[from] HandOverError),
}

/// Why not everything could be packed.
#[derive(Debug, thiserror::Error)]
enum PackError {
    #[error("no room in the heap for what clients have sent: {0}")]
    NoRoom(#[from] AllocError),
    #[error(transparent)]
    Luggage(#[from] heirloom::LuggageError),
}

/// Hands everything to `program`, or to what is installed where this program was started from, with the arguments of this
/// process. Returns only if it was called off.
pub(crate) fn upgrade(
    server: &Arc<Server>,
    listeners: &[Arc<TcpListener>],
    control: &UnixListener,
    program: Option<&Path>,
    answer: Option<&UnixStream>,
) -> UpgradeError {
    let command = match program {
        Some(program) => Command::new(program),
        None => match Command::current_exe() {
            Ok(command) => command,
            Err(error) => return error.into(),
        },
    };
    let command = command.args(std::env::args_os().skip(1));
    let outcome = server
        .heap
        .hand_over_to(command)
        .channel(server.config.channel)
        .at_rest(|luggage: &mut Luggage| pack(server, listeners, control, answer, luggage))
        .go();
    let Err(error) = outcome;
    unpack_again(server);
    server.go_on();
    error.into()
}

/// Comes to rest, and packs.
fn pack(
    server: &Server,
    listeners: &[Arc<TcpListener>],
    control: &UnixListener,
    answer: Option<&UnixStream>,
    luggage: &mut Luggage,
) -> Result<(), PackError> {
    let rested_ns = monotonic_ns();
    let clients = server.rest();
    let inside = server.heap.enter();
    reserve::let_go(&inside);
    let mut records = Vec::try_with_capacity(clients.len())?;
    for client in &clients {
        // One that ended since it was listed needs no successor.
        if let Some(record) = record(client)? {
            luggage.add(&socket_name(record.id), &*client.stream())?;
            records.try_push(record)?;
        }
    }
    for (index, listener) in (0..).zip(listeners) {
        luggage.add(&listener_name(index), listener)?;
    }
    if let Some(answer) = answer {
        luggage.add(ANSWER, answer)?;
    }
    // Its name has the number of this process in it.
    if server.config.channel == Channel::Exec {
        luggage.add(CONTROL, control)?;
    }
    let counters = &server.counters;
    *HANDED.get(&inside).lock() = Handed {
        clients: records,
        settings: settings(server)?,
        rested_ns,
        next_client: server.next_client(),
        started_ms: server.started_ms,
        connections: counters.connections.load(Relaxed),
        rejected: counters.rejected.load(Relaxed),
        commands: counters.commands.load(Relaxed),
        errors: counters.errors.load(Relaxed),
        nr_listeners: listeners.len() as u64,
        is_packed: 1,
        spare: [0; 4],
    };
    Ok(())
}

/// Forgets what was packed: the hand-over was called off.
fn unpack_again(server: &Server) {
    let inside = server.heap.enter();
    *HANDED.get(&inside).lock() = Handed::default();
    drop(inside);
    reserve::hold(&server.heap);
}

fn record(client: &Connection) -> Result<Option<ClientRecord>, AllocError> {
    if client.card.is_killed.load(Relaxed) {
        return Ok(None);
    }
    let state = client.state();
    let (session, names) = (&state.session, client.card.names());
    Ok(Some(ClientRecord {
        id: client.card.id,
        database: session.database as u64,
        connected_ms: client.card.connected_ms,
        active_ms: client.card.active_ms.load(Relaxed),
        is_resp3: session.is_resp3.into(),
        is_stranger: session.is_stranger.into(),
        is_closing: session.is_closing.into(),
        reserved: 0,
        name: bytes(&names.name)?,
        library: bytes(&names.library)?,
        library_version: bytes(&names.library_version)?,
        input: bytes(&state.input)?,
        output: bytes(state.unsent())?,
    }))
}

fn settings(server: &Server) -> Result<SettingsRecord, AllocError> {
    let settings = &server.settings;
    let password = settings.password();
    Ok(SettingsRecord {
        max_memory: settings.max_memory.load(Relaxed),
        max_clients: settings.max_clients.load(Relaxed) as u64,
        timeout_s: settings.timeout_s.load(Relaxed),
        policy: bytes(settings.policy().name().as_bytes())?,
        has_password: password.is_some().into(),
        password: bytes(password.unwrap_or_default().as_bytes())?,
    })
}

fn bytes(from: &[u8]) -> Result<Vec<u8>, AllocError> {
    let mut bytes = Vec::new();
    bytes.try_extend_from_copy(from)?;
    Ok(bytes)
}

/// Nanoseconds of the clock that both sides of a hand-over share.
pub(super) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
