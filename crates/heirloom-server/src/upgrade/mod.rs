//! Upgrades of the running server: everything goes to the next program, and no client notices more than a pause.
//!
//! ```text
//! predecessor                                   successor
//!   asked by SIGUSR2 or over the control socket
//!   can it inherit? start it -----------------> reads the heap's header and types
//!   <------------------------------------ ready
//!   rest: clients into a root of the heap,
//!         their sockets and the listeners packed
//!   ------------------------------------------> takes the heap, the clients, the listeners
//!   exit                                        answers who asked; serves
//! ```
//!
//! - `pack`: the predecessor's side. `unpack`: the successor's. `control`: who may ask, and how the answer comes. `reserve`: room for it.
//!
//! # Invariants
//!
//! - *nobody is lost*: a client is in the root and its socket is packed, or the hand-over is called off and this process goes on.
//! - *nothing is lost*: what a client has sent and not been answered, and what it has been answered and not fetched, is in the root.

pub(crate) mod control;
pub(crate) mod pack;
pub(crate) mod reserve;
pub(crate) mod unpack;

use heirloom::sync::Mutex;
use heirloom::{Heritable, OnPoison, Options, Vec};

heirloom::root! {
    static HANDED: Mutex<Handed> = "server-clients";
}

/// Says what becomes of clients that were being packed when everything was killed: nothing, as they are gone.
pub(crate) fn forget_clients(options: Options) -> Options {
    reserve::forget(options.on_poison(&HANDED, OnPoison::replace()))
}

/// What a server hands over besides its store.
#[derive(Default, Heritable)]
#[repr(C)]
pub(crate) struct Handed {
    clients: Vec<ClientRecord>,
    settings: SettingsRecord,
    /// When the predecessor came to rest, on the monotonic clock.
    rested_ns: u64,
    next_client: u64,
    started_ms: u64,
    connections: u64,
    rejected: u64,
    commands: u64,
    errors: u64,
    nr_listeners: u64,
    /// 1 while this is a hand-over's, and not what an old one left.
    is_packed: u64,
    spare: [u64; 4],
}

/// Settings as clients have changed them.
#[derive(Default, Heritable)]
#[repr(C)]
struct SettingsRecord {
    max_memory: u64,
    max_clients: u64,
    timeout_s: u64,
    policy: Vec<u8>,
    has_password: u64,
    password: Vec<u8>,
}

/// A client.
#[derive(Default, Heritable)]
#[repr(C)]
struct ClientRecord {
    id: u64,
    database: u64,
    connected_ms: u64,
    active_ms: u64,
    is_resp3: u32,
    is_stranger: u32,
    is_closing: u32,
    reserved: u32,
    name: Vec<u8>,
    library: Vec<u8>,
    library_version: Vec<u8>,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// The name of a client's socket on its way.
fn socket_name(client: u64) -> String {
    format!("client-{client}")
}

/// The name of a listening socket on its way.
fn listener_name(index: u64) -> String {
    format!("listener-{index}")
}

/// The name of the connection over which the upgrade was asked for.
const ANSWER: &str = "answer";

/// The name of the socket for requests, where the successor is the same process.
const CONTROL: &str = "control";
