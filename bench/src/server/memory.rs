//! Bytes of the process a key.

use serde::Serialize;

use super::Args;
use super::load::{KEY_BYTES, fill};
use super::peers::{Peer, Server};
use crate::output::Output;

#[derive(Serialize)]
struct Row {
    bench: &'static str,
    server: &'static str,
    keys: u64,
    key_bytes: usize,
    value_bytes: usize,
    bytes_a_key: f64,
    overhead: f64,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), String> {
    let mut rows = Vec::new();
    let bar = output.progress(9);
    for value_bytes in [8, 64, 512] {
        for peer in Peer::ALL {
            let mut server = Server::start(peer, &args.binary, None, None)?;
            server.wait_until_up()?;
            let before = server.memory_bytes()?;
            fill(peer, server.port, args.keys, value_bytes)?;
            let bytes_a_key = (server.memory_bytes()? - before) as f64 / args.keys as f64;
            let row = Row {
                bench: "server-memory",
                server: peer.name(),
                keys: args.keys,
                key_bytes: KEY_BYTES,
                value_bytes,
                bytes_a_key,
                overhead: bytes_a_key - (KEY_BYTES + value_bytes) as f64,
            };
            output.json(&row);
            rows.push(vec![
                format!("{KEY_BYTES} + {value_bytes}"),
                row.server.to_owned(),
                format!("{:.1}", row.bytes_a_key),
                format!("{:.1}", row.overhead),
            ]);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    output.table(
        &format!("Bytes a key, {} keys", args.keys),
        &["key + value", "server", "bytes", "beyond key and value"],
        &rows,
    );
    Ok(())
}
