//! From the stop to the first answer.
//!
//! ```text
//! all keys are there | stop: SIGTERM; SAVE and SHUTDOWN; SIGUSR1 | start | .. until a GET of a key is answered with its value
//! ```
//!
//! memcached drops everything if it is started within the second of its stop, so that second is waited for and not counted.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Serialize;

use super::Args;
use super::load::{Operation, fill, request};
use super::peers::{PATIENCE, Peer, Server};
use crate::output::Output;

const VALUE_BYTES: usize = 64;

#[derive(Serialize)]
struct Row {
    bench: &'static str,
    server: &'static str,
    keys: u64,
    stop_ms: f64,
    first_get_ms: f64,
}

/// A directory on tmpfs.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), String> {
    let mut rows = Vec::new();
    for peer in Peer::ALL {
        let dir = Dir(format!("/dev/shm/heirloom-bench-restart-{}-{peer:?}", std::process::id()).into());
        std::fs::create_dir_all(&dir.0).map_err(|error| error.to_string())?;
        let mut server = Server::start(peer, &args.binary, Some(&dir.0), None)?;
        server.wait_until_up()?;
        fill(peer, server.port, args.keys, VALUE_BYTES)?;
        let began = Instant::now();
        match peer {
            Peer::Heirloom => server.signal(Signal::TERM)?,
            Peer::Memcached => server.signal(Signal::USR1)?,
            Peer::Redis => {
                let mut stream =
                    TcpStream::connect(("127.0.0.1", server.port)).map_err(|error| error.to_string())?;
                stream.write_all(b"SAVE\r\nSHUTDOWN NOSAVE\r\n").map_err(|error| error.to_string())?;
            }
        }
        server.wait_for_end()?;
        let stop = began.elapsed();
        if peer == Peer::Memcached {
            std::thread::sleep(Duration::from_millis(2200));
        }
        let port = server.port;
        drop(server);
        let began = Instant::now();
        let server = Server::start(peer, &args.binary, Some(&dir.0), Some(port))?;
        while !has_answered(peer, server.port, args.keys / 2) {
            if began.elapsed() > PATIENCE {
                return Err(format!("{} does not answer", peer.name()));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let row = Row {
            bench: "server-restart",
            server: peer.name(),
            keys: args.keys,
            stop_ms: stop.as_secs_f64() * 1e3,
            first_get_ms: began.elapsed().as_secs_f64() * 1e3,
        };
        output.json(&row);
        rows.push(vec![
            row.server.to_owned(),
            format!("{:.1}", row.stop_ms),
            format!("{:.1}", row.first_get_ms),
        ]);
    }
    output.table(
        &format!("Restart with {} keys, ms", args.keys),
        &["server", "stop", "start to first GET"],
        &rows,
    );
    Ok(())
}

/// Whether a GET is answered with the value: a server that loads its data may answer before it has it.
fn has_answered(peer: Peer, port: u16, number: u64) -> bool {
    let get = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut bytes = Vec::new();
        request(peer, Operation::Get, number, &[], &mut bytes);
        stream.write_all(&bytes)?;
        let mut reply = vec![0; 512];
        let len = stream.read(&mut reply)?;
        Ok(reply[..len].windows(VALUE_BYTES).any(|part| part == [b'v'; VALUE_BYTES]))
    };
    get().unwrap_or(false)
}
