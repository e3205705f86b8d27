//! Who takes part: the systems by name, what memory each needs, and which of them fit.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use super::chain::{self, Chain};
use super::floor;
use super::sample::Sample;
use super::server::{self, Server};
use super::snapshot::Snapshot;

/// A system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    Floor,
    FloorExec,
    Spawn,
    Exec,
    AtFreeze,
    Rkyv,
    RkyvChecked,
    Bincode,
    Memcached,
    Redis,
}

/// All of them, the floors first.
pub(super) const SYSTEMS: [System; 10] = [
    System::Floor,
    System::FloorExec,
    System::Spawn,
    System::Exec,
    System::AtFreeze,
    System::Rkyv,
    System::RkyvChecked,
    System::Bincode,
    System::Memcached,
    System::Redis,
];

/// One system with its objects.
pub(super) trait Contestant {
    fn system(&self) -> System;

    /// Hands over once.
    fn sample(&mut self) -> Result<Sample, String>;
}

impl System {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::FloorExec => "floor-exec",
            Self::Spawn => "heirloom-spawn",
            Self::Exec => "heirloom-exec",
            Self::AtFreeze => "heirloom-atfreeze",
            Self::Rkyv => "rkyv",
            Self::RkyvChecked => "rkyv-checked",
            Self::Bincode => "bincode",
            Self::Memcached => "memcached",
            Self::Redis => "redis",
        }
    }

    pub(super) fn is_floor(self) -> bool {
        matches!(self, Self::Floor | Self::FloorExec)
    }

    /// Memory that it holds all the time, and more of it during a hand-over, in bytes an object. Seen at 10 million, rounded up.
    fn bytes_per_object(self) -> (u64, u64) {
        match self {
            Self::Floor | Self::FloorExec => (0, 0),
            Self::Spawn | Self::AtFreeze => (182, 0),
            // One chain of generations serves both channels.
            Self::Exec => (0, 0),
            Self::Rkyv | Self::RkyvChecked => (0, 360),
            Self::Bincode => (0, 540),
            Self::Memcached => (300, 0),
            Self::Redis => (260, 200),
        }
    }
}

/// The systems of these names, or all.
pub(super) fn chosen(names: &[String]) -> Result<Vec<System>, String> {
    let by_name = |name: &String| {
        let known = || SYSTEMS.map(System::name).join(", ");
        let found = SYSTEMS.into_iter().find(|system| system.name() == name);
        found.ok_or_else(|| format!("no system `{name}`; there are {}", known()))
    };
    if names.is_empty() { Ok(SYSTEMS.to_vec()) } else { names.iter().map(by_name).collect() }
}

/// Those of the systems that have room beside each other, and says which ones have not.
pub(super) fn fitting(systems: &[System], count: u64) -> Vec<System> {
    let room = available_bytes() / 10 * 9;
    let (mut held, mut most) = (0, 0);
    let mut fitting = Vec::new();
    for &system in systems {
        let (always, more) = system.bytes_per_object();
        // `exec` alone has a chain of its own.
        let is_alone = system == System::Exec && !systems.contains(&System::Spawn);
        let always = if is_alone { System::Spawn.bytes_per_object().0 } else { always };
        let needed = held + always * count + most.max(more * count);
        if needed > room {
            let (name, gib) = (system.name(), needed as f64 / f64::from(1 << 30));
            let room = room as f64 / f64::from(1 << 30);
            eprintln!(
                "{name} is left out at {count} objects: with those before it it takes {gib:.1} GiB, and {room:.1} are free"
            );
            continue;
        }
        held += always * count;
        most = most.max(more * count);
        fitting.push(system);
    }
    fitting
}

fn available_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Starts them, each with its objects.
pub(super) fn start(
    systems: &[System],
    program: &Path,
    count: u64,
    huge_pages: bool,
) -> Result<Vec<Box<dyn Contestant>>, String> {
    let mut started: Vec<Box<dyn Contestant>> = Vec::new();
    let mut shared: Option<Rc<RefCell<Chain>>> = None;
    for &system in systems {
        match system {
            System::Floor | System::FloorExec => {
                started.push(Box::new(floor::Floor::new(system, program, count)));
            }
            System::Spawn | System::Exec => {
                let chain = match &shared {
                    Some(chain) => chain.clone(),
                    None => Rc::new(RefCell::new(Chain::start(program, count, "on-free", huge_pages)?)),
                };
                shared = Some(chain.clone());
                started.push(Box::new(chain::ByChannel { system, chain }));
            }
            System::AtFreeze => {
                let chain = Rc::new(RefCell::new(Chain::start(program, count, "at-freeze", huge_pages)?));
                started.push(Box::new(chain::ByChannel { system, chain }));
            }
            System::Rkyv | System::RkyvChecked | System::Bincode => {
                started.push(Box::new(Snapshot::new(system, program, count)));
            }
            System::Memcached | System::Redis => match server::find(system) {
                Ok(kind) => started.push(Box::new(Server::start(kind, count)?)),
                Err(reason) => eprintln!("{} is left out: {reason}", system.name()),
            },
        }
    }
    Ok(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_found_by_name_and_others_are_named() {
        assert_eq!(chosen(&["redis".to_owned()]), Ok(vec![System::Redis]));
        assert_eq!(chosen(&[]).map(|all| all.len()), Ok(SYSTEMS.len()));
        assert!(chosen(&["valkey".to_owned()]).is_err_and(|error| error.contains("bincode")));
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_the_floors_always_fit() {
        let all = fitting(&SYSTEMS, 1_000_000_000_000);
        assert_eq!(all, [System::Floor, System::FloorExec, System::Exec].map(|system| system)[..2].to_vec());
    }
}
