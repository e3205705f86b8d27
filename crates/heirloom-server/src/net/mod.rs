//! Connections: threads that serve clients, each with a reactor of its own.
//!
//! ```text
//! listener --accept--> client --dealt to the thread with the fewest--> worker: tokio, one thread
//!                                                                        '-- connection: read, execute all that came, write once
//! ```

pub(crate) mod accept;
pub(crate) mod chores;
pub(crate) mod connection;
pub(crate) mod worker;
