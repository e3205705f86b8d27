//! Requests a second.

use std::time::Duration;

use serde::Serialize;

use super::Args;
use super::load::{Load, Operation, fill};
use super::peers::{Peer, Server};
use crate::output::Output;
use crate::statistics::Figure;

const KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 64;

#[derive(Serialize)]
struct Row {
    bench: &'static str,
    server: &'static str,
    operation: &'static str,
    pipeline: usize,
    per_second: f64,
    spread: f64,
    beside_redis: f64,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), String> {
    let mut servers = Vec::new();
    for peer in Peer::ALL {
        let mut server = Server::start(peer, &args.binary, None, None)?;
        server.wait_until_up()?;
        fill(peer, server.port, KEYS, VALUE_BYTES)?;
        servers.push(server);
    }
    let cases: Vec<_> = [1, 16]
        .into_iter()
        .flat_map(|pipeline| [(Operation::Set, pipeline), (Operation::Get, pipeline)])
        .collect();
    let mut samples = vec![vec![Vec::new(); servers.len()]; cases.len()];
    let bar = output.progress((args.rounds * cases.len() * servers.len()) as u64);
    for round in 0..args.rounds {
        for (case, &(operation, pipeline)) in cases.iter().enumerate() {
            // Whoever is first within a round is another one in the next.
            for step in 0..servers.len() {
                let index = (round + step) % servers.len();
                let server = &servers[index];
                let load = Load {
                    peer: server.peer,
                    port: server.port,
                    operation,
                    pipeline,
                    clients: args.clients,
                    keys: KEYS,
                    value_bytes: VALUE_BYTES,
                };
                samples[case][index].push(load.run(Duration::from_secs_f64(args.seconds))?);
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    let mut rows = Vec::new();
    for (case, &(operation, pipeline)) in cases.iter().enumerate() {
        let figures: Vec<_> = samples[case].iter().filter_map(|samples| Figure::of(samples)).collect();
        for (server, figure) in servers.iter().zip(&figures) {
            let row = Row {
                bench: "server-throughput",
                server: server.peer.name(),
                operation: operation.name(),
                pipeline,
                per_second: figure.median,
                spread: figure.spread,
                beside_redis: figure.median / figures[1].median,
            };
            output.json(&row);
            rows.push(vec![
                format!("{} x{pipeline}", row.operation),
                row.server.to_owned(),
                format!("{:.0}", row.per_second),
                format!("{:.0} %", row.spread * 100.0),
                format!("{:.2}", row.beside_redis),
            ]);
        }
    }
    output.table(
        &format!("Requests a second, {} connections, {VALUE_BYTES} bytes a value", args.clients),
        &["requests at a time", "server", "a second", "spread", "of redis-server"],
        &rows,
    );
    Ok(())
}
