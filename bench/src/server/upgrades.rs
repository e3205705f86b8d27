//! Upgrades in a row under load: every reply of every client is looked at.
//!
//! Half of the clients send one request at a time, half several. Each owns its keys, writes a number that grows, and reads it back; at the
//! end every key is asked for once more. The pause of a client is the longest time from a batch to its last reply.
//!
//! The same load for as long without any upgrade says what a pause is that nobody has caused: fifty clients, each a thread of its own,
//! share the processors with the server.
//!
//! ```text
//! batch         |------------------------------|          is a pause of the upgrade if the two overlap
//! upgrade              |-- asked .. answered --|-- TAIL: the old process ends
//! ```

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Args;
use super::peers::{PATIENCE, Peer, Server};
use crate::output::Output;

/// How long the old process may take to be gone.
const TAIL: Duration = Duration::from_millis(100);

/// Batches that took longer are remembered with their times.
const SLOW: Duration = Duration::from_millis(5);

/// Requests at a time of those that send several.
const PIPELINE: u64 = 16;

#[derive(Serialize)]
struct Row {
    bench: &'static str,
    upgrades: u32,
    clients: usize,
    commands: u64,
    failed: u64,
    longest_pause_us: u64,
    longest_beside_upgrades_us: u64,
    longest_without_us: u64,
    p999_without_us: u64,
    p50_us: u64,
    p99_us: u64,
    p999_us: u64,
    blackout_median_us: u64,
    blackout_longest_us: u64,
}

/// What a client has seen.
struct Seen {
    commands: u64,
    times_us: Vec<u32>,
    /// Those that took long: when they began, and ended.
    slow: Vec<(Instant, Instant)>,
    /// The last number under each of its keys.
    last: u64,
}

struct Client {
    number: usize,
    stream: BufReader<TcpStream>,
    pipeline: u64,
}

impl Client {
    fn open(port: u16, number: usize) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        let pipeline = if number.is_multiple_of(2) { 1 } else { PIPELINE };
        Ok(Self { number, stream: BufReader::new(stream), pipeline })
    }

    fn key(&self, slot: u64) -> String {
        format!("client:{}:{slot}", self.number)
    }

    /// Writes and reads until it is told to stop; the numbers go on behind `last`.
    fn run(mut self, stop: &AtomicBool, last: u64) -> Result<Seen, String> {
        let mut seen = Seen { commands: 0, times_us: Vec::new(), slow: Vec::new(), last };
        let failed = |what: String| format!("client {}: {what}", self.number);
        while !stop.load(Relaxed) {
            let (round, mut bytes) = (seen.last + 1, Vec::new());
            for slot in 0..self.pipeline {
                let (key, value) = (self.key(slot), round.to_string());
                let (key_len, len) = (key.len(), value.len());
                let _ = write!(bytes, "*3\r\n$3\r\nSET\r\n${key_len}\r\n{key}\r\n${len}\r\n{value}\r\n");
                let _ = write!(bytes, "*2\r\n$3\r\nGET\r\n${key_len}\r\n{key}\r\n");
            }
            let began = Instant::now();
            self.stream.get_mut().write_all(&bytes).map_err(|error| failed(error.to_string()))?;
            for _ in 0..self.pipeline {
                for expected in ["OK".to_owned(), round.to_string()] {
                    let reply = reply(&mut self.stream).map_err(|error| failed(error.to_string()))?;
                    if reply != expected {
                        return Err(failed(format!("`{reply}` instead of `{expected}`")));
                    }
                }
            }
            let took = began.elapsed();
            seen.times_us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
            if took > SLOW {
                seen.slow.push((began, began + took));
            }
            seen.commands += 2 * self.pipeline;
            seen.last = round;
        }
        Ok(seen)
    }
}

/// A line or a bulk string, without what says that it is one.
fn reply(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.trim_end();
    if let Some(digits) = line.strip_prefix('$')
        && let Ok(len) = digits.parse::<usize>()
    {
        let mut bytes = vec![0; len + 2];
        stream.read_exact(&mut bytes)?;
        bytes.truncate(len);
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(line.strip_prefix('+').unwrap_or(line).to_owned())
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), String> {
    let mut server = Server::start(Peer::Heirloom, &args.binary, None, None)?;
    server.wait_until_up()?;
    super::load::fill(Peer::Heirloom, server.port, args.keys, 64)?;
    let port = server.port;
    let (mut blackouts, mut windows) = (Vec::new(), Vec::new());
    let pause = Duration::from_millis(500);
    let without = load(port, args, 0, || {
        std::thread::sleep(pause * (args.upgrades + 1));
        Ok(())
    })?;
    let last = without.iter().map(|seen| seen.last).max().unwrap_or(0);
    let seen = load(port, args, last, || {
        for _ in 0..args.upgrades {
            std::thread::sleep(pause);
            let asked = Instant::now();
            blackouts.push(upgrade(args, &mut server)?);
            windows.push((asked, Instant::now() + TAIL));
        }
        std::thread::sleep(pause);
        Ok(())
    })?;
    let wrong = look_at_all(port, args, &seen)?;
    let is_beside =
        |&(began, ended): &(Instant, Instant)| !windows.iter().any(|&(from, to)| began < to && ended > from);
    let beside = seen.iter().flat_map(|seen| &seen.slow).filter(|slow| is_beside(slow));
    let longest_beside = beside.map(|&(began, ended)| ended - began).max().unwrap_or(Duration::ZERO);
    let (times, times_without) = (sorted(&seen), sorted(&without));
    blackouts.sort_unstable();
    let share = |times: &[u32], share: f64| u64::from(times[((times.len() - 1) as f64 * share) as usize]);
    let at = |of: f64| share(&times, of);
    let row = Row {
        bench: "server-upgrades",
        upgrades: args.upgrades,
        clients: args.clients,
        commands: seen.iter().map(|seen| seen.commands).sum(),
        failed: wrong,
        longest_pause_us: at(1.0),
        longest_beside_upgrades_us: longest_beside.as_micros() as u64,
        longest_without_us: share(&times_without, 1.0),
        p999_without_us: share(&times_without, 0.999),
        p50_us: at(0.5),
        p99_us: at(0.99),
        p999_us: at(0.999),
        blackout_median_us: blackouts[blackouts.len() / 2],
        blackout_longest_us: blackouts[blackouts.len() - 1],
    };
    output.json(&row);
    let figures = [
        ("upgrades", u64::from(row.upgrades)),
        ("connections, all kept", row.clients as u64),
        ("commands, all answered as expected", row.commands),
        ("keys lost or changed", row.failed),
        ("longest pause of a client, us", row.longest_pause_us),
        ("of those that no upgrade overlaps, us (0: at most 5000)", row.longest_beside_upgrades_us),
        ("of the same load without upgrades, us", row.longest_without_us),
        ("p99.9 without upgrades, us", row.p999_without_us),
        ("p50 of a batch, us", row.p50_us),
        ("p99, us", row.p99_us),
        ("p99.9, us", row.p999_us),
        ("blackout as the server tells it, median, us", row.blackout_median_us),
        ("longest, us", row.blackout_longest_us),
    ];
    let rows: Vec<_> =
        figures.iter().map(|(name, figure)| vec![(*name).to_owned(), figure.to_string()]).collect();
    output.table(&format!("Upgrades under load, {} keys besides", args.keys), &["", "figure"], &rows);
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} keys are not as they were left")) }
}

/// Runs all clients while something is done; what they have seen.
fn load(
    port: u16,
    args: &Args,
    last: u64,
    act: impl FnOnce() -> Result<(), String>,
) -> Result<Vec<Seen>, String> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..args.clients)
            .map(|number| {
                let stop = &stop;
                scope.spawn(move || Client::open(port, number)?.run(stop, last))
            })
            .collect();
        let acted = act();
        stop.store(true, Relaxed);
        let seen: Vec<_> = clients
            .into_iter()
            .map(|client| client.join().map_err(|_| "a client panicked".to_owned())?)
            .collect();
        acted.and_then(|()| seen.into_iter().collect())
    })
}

fn sorted(seen: &[Seen]) -> Vec<u32> {
    let mut times: Vec<u32> = seen.iter().flat_map(|seen| seen.times_us.iter().copied()).collect();
    times.sort_unstable();
    times
}

/// Has the server hand over. Returns its blackout in microseconds.
fn upgrade(args: &Args, server: &mut Server) -> Result<u64, String> {
    let pid = server.pid.to_string();
    let asked = Command::new(&args.binary).args(["upgrade", "--json", "--pid", &pid]).output();
    let asked = asked.map_err(|error| error.to_string())?;
    let answer: serde_json::Value =
        serde_json::from_slice(&asked.stdout).map_err(|error| error.to_string())?;
    let (Some(pid), Some(blackout)) = (answer["pid"].as_u64(), answer["blackout_us"].as_u64()) else {
        return Err(format!("not upgraded: {answer}"));
    };
    server.pid = pid as u32;
    Ok(blackout)
}

/// Asks for every key once more. Returns how many are not as they were left.
fn look_at_all(port: u16, args: &Args, seen: &[Seen]) -> Result<u64, String> {
    let mut wrong = 0;
    for (number, seen) in seen.iter().enumerate() {
        let mut client = Client::open(port, number)?;
        for slot in 0..client.pipeline {
            let request = format!("GET {}\r\n", client.key(slot));
            client.stream.get_mut().write_all(request.as_bytes()).map_err(|error| error.to_string())?;
            wrong += u64::from(
                reply(&mut client.stream).map_err(|error| error.to_string())? != seen.last.to_string(),
            );
        }
    }
    let mut stream = Client::open(port, 0)?.stream;
    for start in (0..args.keys).step_by(500) {
        let (mut bytes, end) = (Vec::new(), (start + 500).min(args.keys));
        for key in start..end {
            super::load::request(Peer::Heirloom, super::load::Operation::Get, key, &[], &mut bytes);
        }
        stream.get_mut().write_all(&bytes).map_err(|error| error.to_string())?;
        for _ in start..end {
            wrong += u64::from(reply(&mut stream).map_err(|error| error.to_string())? != "v".repeat(64));
        }
    }
    Ok(wrong)
}
