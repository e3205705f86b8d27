//! Restarts, kills and upgrades the server's unit of a virtual machine, and says after each whether all keys are there.
//!
//! ```text
//! start -> systemctl restart x n -> kill -9 under load x n -> systemctl reload, SIGUSR2 under load -> stop and start -> report
//! ```
//!
//! It runs as a unit of its own beside `heirloom-serve.service` and `heirloom-serve.socket`; `cargo xtask vm fdstore` makes such a machine.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::client::Client;
use crate::EXIT_BROKEN;
use crate::output::print_line;
use crate::service::check::systemctl;

/// First argument of this process; not for people.
pub(crate) const CHECK: &str = "__check-server";

const UNIT: &str = "heirloom-serve.service";
const PORT: u16 = 6379;

/// How long anything may take; the machine is emulated.
const PATIENCE: Duration = Duration::from_secs(120);

/// Keys set between two steps.
const MORE_KEYS: u64 = 2000;

/// A line on the console.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Served(Served<'a>),
    Failed { reason: &'a str },
    ServedAll { stored: &'a str, restarts: &'a str },
}

/// What was found after a step.
#[derive(Debug, Default, Serialize)]
struct Served<'a> {
    step: &'a str,
    generation: u32,
    origin: &'a str,
    /// Keys that were acknowledged, of this life and of those before.
    keys: u64,
    lost: u64,
    /// From the step to the first reply on a connection that was opened then.
    reply_ms: u64,
    /// Of an upgrade, as the server tells it.
    blackout_us: u64,
    /// Commands on connections that were open during an upgrade.
    commands_meanwhile: u64,
}

/// Runs the check: `__check-server RESTARTS KILLS`.
pub(crate) fn run(arguments: &[OsString]) -> ExitCode {
    let number =
        |at: usize| -> usize { arguments.get(at).and_then(|text| text.to_str()?.parse().ok()).unwrap_or(3) };
    let mut check = Check { acknowledged: 0, generation: 0 };
    match check.run(number(0), number(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let said = std::fs::read_to_string("/run/heirloom-serve.log").unwrap_or_default();
            tell(&Line::Failed { reason: &format!("{reason}; the server said: {said}") });
            ExitCode::from(EXIT_BROKEN)
        }
    }
}

struct Check {
    acknowledged: u64,
    /// Of the server, as it was last seen.
    generation: u32,
}

impl Check {
    fn run(&mut self, restarts: usize, kills: usize) -> Result<(), String> {
        self.set_more()?;
        self.look("start", Instant::now(), 0)?;
        for nth in 1..=restarts {
            self.set_more()?;
            let began = Instant::now();
            let step = format!("systemctl restart {nth}");
            self.look_while(&step, began, &|| systemctl(&["restart", UNIT]))?;
        }
        for nth in 1..=kills {
            let stop = AtomicBool::new(false);
            let (from, began) = (self.acknowledged, Instant::now());
            let written = std::thread::scope(|scope| {
                let writer = scope.spawn(|| write(from, &stop));
                std::thread::sleep(Duration::from_millis(300));
                let killed = systemctl(&["kill", "--signal=KILL", "--kill-whom=main", UNIT]);
                stop.store(true, Relaxed);
                let written = writer.join().map_err(|_| "the writer panicked".to_owned())?;
                killed.and(written)
            })?;
            // The writer's connection ended with the server, or it was stopped just before.
            self.acknowledged += written;
            self.look(&format!("kill -9 {nth}"), began, 0)?;
        }
        let upgrades: [(&str, &[&str]); 3] = [
            ("systemctl reload 1", &["reload", UNIT]),
            ("systemctl reload 2", &["reload", UNIT]),
            ("SIGUSR2", &["kill", "--signal=USR2", "--kill-whom=main", UNIT]),
        ];
        for (step, command) in upgrades {
            self.upgrade(step, command)?;
        }
        let restarts = systemctl(&["show", "--property=NRestarts", "--value", UNIT])?;
        self.set_more()?;
        let began = Instant::now();
        systemctl(&["stop", UNIT])?;
        self.look_while("systemctl stop, start", began, &|| systemctl(&["start", UNIT]))?;
        let stored = systemctl(&["show", "--property=NFileDescriptorStore", "--value", UNIT])?;
        tell(&Line::ServedAll { stored: stored.trim(), restarts: restarts.trim() });
        Ok(())
    }

    /// Has the server hand over while a client writes, which must notice nothing.
    fn upgrade(&mut self, step: &str, command: &[&str]) -> Result<(), String> {
        let before = self.generation;
        let (from, began, stop) = (self.acknowledged, Instant::now(), AtomicBool::new(false));
        let (written, outcome) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| write(from, &stop));
            std::thread::sleep(Duration::from_millis(200));
            let outcome = systemctl(command).and_then(|_| wait_for_successor(before));
            std::thread::sleep(Duration::from_millis(200));
            let is_running = !writer.is_finished();
            stop.store(true, Relaxed);
            let written = writer.join().unwrap_or_else(|_| Err("the writer panicked".to_owned()));
            (
                written.and_then(|written| {
                    if is_running { Ok(written) } else { Err("a connection was dropped".to_owned()) }
                }),
                outcome,
            )
        });
        outcome?;
        let written = written?;
        self.acknowledged += written;
        self.look(step, began, written)
    }

    fn set_more(&mut self) -> Result<(), String> {
        let wanted = self.acknowledged..self.acknowledged + MORE_KEYS;
        let set = connect()?.set(wanted);
        self.acknowledged += set;
        if set == MORE_KEYS { Ok(()) } else { Err(format!("{set} of {MORE_KEYS} keys were acknowledged")) }
    }

    /// Looks at the next life of the server while it is on the way: no connection is refused meanwhile, though the old one may drop it.
    fn look_while(
        &mut self,
        step: &str,
        began: Instant,
        act: &(dyn Fn() -> Result<String, String> + Sync),
    ) -> Result<(), String> {
        std::thread::scope(|scope| {
            let acting = scope.spawn(act);
            let looked = self.look(step, began, 0);
            acting.join().map_err(|_| "it panicked".to_owned())??;
            looked
        })
    }

    /// Looks at the server as soon as it is another life than the last one.
    fn look(&mut self, step: &str, began: Instant, commands_meanwhile: u64) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = Client::connect_at_once(PORT, PATIENCE).and_then(|mut client| {
                let generation = client.info("generation")?.parse().unwrap_or(0);
                let reply_ms = began.elapsed().as_millis() as u64;
                Ok((generation > self.generation).then_some((client, generation, reply_ms)))
            });
            match found {
                Ok(Some((client, generation, reply_ms))) => {
                    self.generation = generation;
                    let served =
                        Served { step, generation, reply_ms, commands_meanwhile, ..Served::default() };
                    return self.tell_all(client, served).map_err(|error| format!("{step}: {error}"));
                }
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    return Err(format!("{step}: {error}"));
                }
                Ok(None) | Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
                Ok(None) => return Err(format!("{step}: no new life within {PATIENCE:?}")),
                Err(error) => return Err(format!("{step}: {error}")),
            }
        }
    }

    fn tell_all(&self, mut client: Client, served: Served<'_>) -> std::io::Result<()> {
        let lost = client.count_lost(0..self.acknowledged)?;
        let origin = client.info("origin")?;
        let blackout_us = client.info("last_blackout_us")?.parse().unwrap_or(0);
        tell(&Line::Served(Served { origin: &origin, keys: self.acknowledged, lost, blackout_us, ..served }));
        Ok(())
    }
}

fn connect() -> Result<Client, String> {
    Client::connect(PORT, PATIENCE).map_err(|error| format!("cannot connect: {error}"))
}

/// Sets one key after the other until it is told to stop, or the connection ends. Returns how many were acknowledged.
fn write(from: u64, stop: &AtomicBool) -> Result<u64, String> {
    let mut client = connect()?;
    let mut written = 0;
    while !stop.load(Relaxed) && client.set(from + written..from + written + 1) == 1 {
        written += 1;
    }
    Ok(written)
}

/// Waits until the next generation serves, and looks whether systemd takes its process for the service.
fn wait_for_successor(before: u32) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let say = |error: std::io::Error| error.to_string();
        let mut client = connect()?;
        let generation: u32 = client.info("generation").map_err(say)?.parse().unwrap_or(0);
        if generation > before {
            let (known, serving) = (main_pid()?, client.info("process_id").map_err(say)?);
            let is_it = known == serving;
            return if is_it { Ok(()) } else { Err(format!("systemd knows {known}, and {serving} serves")) };
        }
        if Instant::now() > until {
            return Err(format!("generation {before} still serves"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn main_pid() -> Result<String, String> {
    Ok(systemctl(&["show", "--property=MainPID", "--value", UNIT])?.trim().to_owned())
}

fn tell(line: &Line<'_>) {
    print_line(serde_json::to_string(line).expect("a line has string keys"));
}
