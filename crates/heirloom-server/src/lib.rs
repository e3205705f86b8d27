//! A cache with the Redis protocol that lives through upgrades of itself.
//!
//! ```text
//! clients ==TCP==> net: accept, workers, connections --protocol--> command: registry, handlers --> store: shards, tables, items
//!                                                                                                    '-- in the heap
//! serve: start, ears, stop; kept: by whom        upgrade: everything to the next program, the clients included
//! ```
//!
//! [`serve()`] is what `heirloom serve` calls, [`ask`] what `heirloom upgrade` does.
//!
//! # Invariants
//!
//! - *in the heap*: keys and values lie in the heap and nowhere else; between two batches of commands they are whole.
//! - *loopback by default*: nobody else is listened to unless the settings say so.
//! - *never stopped by a client*: no bytes of a client panic, hang or exhaust the server.

mod command;
pub mod config;
mod ears;
mod kept;
mod net;
pub mod protocol;
mod serve;
mod server;
mod session;
mod store;
mod upgrade;

pub use config::{Backing, Config, Policy};
pub use kept::NotKept;
pub use serve::{Notice, ServeError, serve};
pub use upgrade::control::{Answer, AskError, ask};
